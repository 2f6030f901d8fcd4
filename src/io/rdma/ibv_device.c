/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ibv_device.c - verbs.h over libibverbs: devices, what they say of themselves, and memory.
 *
 * Built as a module of its own (module.h says how it is found), so that libpeercache runs where
 * there is no libibverbs.  It translates, and decides nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "io/rdma/ibv.h"
#include "io/rdma/module.h"

int ibv_set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

int ibv_let_go(struct verbs_device *device, int error)
{
    struct ibv_port_attr port;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t now_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
    bool is_gone = error == -EIO && ibv_query_port(device->context, 1, &port) == EIO;
    return gone_judge(&device->gone_ns, error, is_gone, now_ns);
}

/* libibverbs does not always set errno where it fails. */
static int last_error(void)
{
    return errno > 0 ? -errno : -EIO;
}

/* Since Linux 5.12 pinned pages are copied for the child, and nothing is to be done. */
static int prepare_fork(const struct verbs *verbs)
{
    (void)verbs;
    return ibv_is_fork_initialized() == IBV_FORK_DISABLED ? -ibv_fork_init() : 0;
}

static int list(const struct verbs *verbs, char (*ret_names)[VERBS_NAME_BYTES], uint32_t *ret_n)
{
    int n = 0;
    (void)verbs;
    struct ibv_device **devices = ibv_get_device_list(&n);
    if (!devices)
        return last_error();
    if (n > VERBS_DEVICES_MAX)
        n = VERBS_DEVICES_MAX;
    for (int i = 0; i < n; i++)
        snprintf(ret_names[i], VERBS_NAME_BYTES, "%s", ibv_get_device_name(devices[i]));
    *ret_n = (uint32_t)n;
    ibv_free_device_list(devices);
    return 0;
}

static int open_context(const char *name, struct ibv_context **ret_context)
{
    int error = -ENODEV;
    struct ibv_device **devices = ibv_get_device_list(NULL);
    if (!devices)
        return last_error();
    for (struct ibv_device **device = devices; *device; device++) {
        if (strcmp(ibv_get_device_name(*device), name) != 0)
            continue;
        errno = 0;
        *ret_context = ibv_open_device(*device);
        error = *ret_context ? 0 : last_error();
        break;
    }
    ibv_free_device_list(devices);
    return error;
}

static void device_close(const struct verbs *verbs, struct verbs_device *device)
{
    (void)verbs;
    if (!device)
        return;
    if (device->domain)
        ibv_dealloc_pd(device->domain);
    if (device->context)
        ibv_close_device(device->context);
    free(device);
}

static int device_open(const struct verbs *verbs, const char *name,
                       struct verbs_device **ret_device)
{
    struct verbs_device *device = calloc(1, sizeof *device);
    if (!device)
        return -ENOMEM;
    int error = open_context(name, &device->context);
    if (!error)
        error = ibv_set_nonblocking(device->context->async_fd);
    if (!error) {
        device->domain = ibv_alloc_pd(device->context);
        error = device->domain ? 0 : last_error();
    }
    if (error)
        device_close(verbs, device);
    else
        *ret_device = device;
    return error;
}

/* --- what a device says of itself ------------------------------------------------------------- */

static uint32_t not_negative(int number)
{
    return number < 0 ? 0 : (uint32_t)number;
}

static bool is_usable(const struct ibv_device *device)
{
    return device->node_type == IBV_NODE_CA && device->transport_type == IBV_TRANSPORT_IB;
}

static int query_device(const struct verbs *verbs, struct verbs_device *device,
                        struct verbs_device_info *ret_info)
{
    struct ibv_device_attr attr;
    (void)verbs;
    int error = ibv_query_device(device->context, &attr);
    if (error)
        return -error;
    *ret_info = (struct verbs_device_info){
        .guid = be64toh(attr.node_guid),
        .vendor = attr.vendor_id,
        .part = attr.vendor_part_id,
        .port_count = attr.phys_port_cnt,
        .is_usable = is_usable(device->context->device),
        .limits = {.queues = not_negative(attr.max_qp),
                   .completion_queues = not_negative(attr.max_cq),
                   .memories = not_negative(attr.max_mr),
                   .depth = not_negative(attr.max_qp_wr),
                   .completions = not_negative(attr.max_cqe),
                   .segments = not_negative(attr.max_sge_rd ? attr.max_sge_rd : attr.max_sge),
                   .reads_served = not_negative(attr.max_qp_rd_atom),
                   .reads_asked = not_negative(attr.max_qp_init_rd_atom),
                   .memory_bytes = attr.max_mr_size,
                   .page_size_bits = attr.page_size_cap},
    };
    snprintf(ret_info->firmware, sizeof ret_info->firmware, "%.*s",
             (int)sizeof ret_info->firmware - 1, attr.fw_ver);
    return 0;
}

/* A lane's speed and the number of lanes are bits of a set of which one is given. */
static uint32_t speed_mbps(uint8_t active_speed, uint8_t active_width)
{
    static const uint32_t lane_mbps[] = {2500, 5000, 10000, 10000, 14000, 25000, 50000, 100000};
    static const uint32_t lanes[] = {1, 4, 8, 12, 2};
    int speed = __builtin_ffs(active_speed) - 1, width = __builtin_ffs(active_width) - 1;
    if (speed < 0 || width < 0 || width >= (int)(sizeof lanes / sizeof *lanes))
        return 0;
    return lane_mbps[speed] * lanes[width];
}

static enum verbs_port_state port_state(enum ibv_port_state state)
{
    switch (state) {
    case IBV_PORT_INIT: return VERBS_PORT_INIT;
    case IBV_PORT_ARMED: return VERBS_PORT_ARMED;
    case IBV_PORT_ACTIVE: return VERBS_PORT_ACTIVE;
    default: return VERBS_PORT_DOWN;
    }
}

static enum verbs_link link_of(const struct ibv_port_attr *attr)
{
    switch (attr->link_layer) {
    case IBV_LINK_LAYER_INFINIBAND: return VERBS_LINK_INFINIBAND;
    case IBV_LINK_LAYER_ETHERNET: return VERBS_LINK_ETHERNET;
    default: return VERBS_LINK_UNKNOWN;
    }
}

static int query_port(const struct verbs *verbs, struct verbs_device *device, uint32_t port,
                      struct verbs_port_info *ret_info)
{
    struct ibv_port_attr attr;
    (void)verbs;
    memset(&attr, 0, sizeof attr);
    if (port < 1 || port > UINT8_MAX)
        return -EINVAL;
    int error = ibv_query_port(device->context, (uint8_t)port, &attr);
    if (error)
        return -error;
    *ret_info = (struct verbs_port_info){
        .state = port_state(attr.state),
        .link = link_of(&attr),
        .mtu_bytes = 128u << attr.active_mtu,
        .mtu_max_bytes = 128u << attr.max_mtu,
        .speed_mbps = speed_mbps(attr.active_speed, attr.active_width),
        .message_bytes = attr.max_msg_sz,
        .lid = attr.lid,
    };
    return 0;
}

static enum verbs_gid_type gid_type(uint32_t type)
{
    switch (type) {
    case IBV_GID_TYPE_ROCE_V1: return VERBS_GID_ROCE_V1;
    case IBV_GID_TYPE_ROCE_V2: return VERBS_GID_ROCE_V2;
    default: return VERBS_GID_INFINIBAND;
    }
}

static int query_gids(const struct verbs *verbs, struct verbs_device *device,
                      struct verbs_gid *ret_gids, uint32_t *ret_n)
{
    (void)verbs;
    struct ibv_gid_entry *entries = calloc(VERBS_GIDS_MAX, sizeof *entries);
    if (!entries)
        return -ENOMEM;
    ssize_t n = ibv_query_gid_table(device->context, entries, VERBS_GIDS_MAX, 0);
    for (ssize_t i = 0; i < n; i++) {
        ret_gids[i] = (struct verbs_gid){.port = entries[i].port_num,
                                         .index = entries[i].gid_index,
                                         .type = gid_type(entries[i].gid_type),
                                         .interface = entries[i].ndev_ifindex};
        memcpy(ret_gids[i].bytes, entries[i].gid.raw, VERBS_GID_BYTES);
    }
    free(entries);
    if (n >= 0)
        *ret_n = (uint32_t)n;
    return n < 0 ? (int)n : 0;
}

/* --- events ----------------------------------------------------------------------------------- */

static int event_fd(const struct verbs *verbs, const struct verbs_device *device)
{
    (void)verbs;
    return device->context->async_fd;
}

static struct verbs_event translate_event(const struct ibv_async_event *event)
{
    uint32_t port = not_negative(event->element.port_num);
    switch (event->event_type) {
    case IBV_EVENT_DEVICE_FATAL: return (struct verbs_event){.kind = VERBS_EVENT_DEVICE_FAILED};
    case IBV_EVENT_PORT_ERR: return (struct verbs_event){VERBS_EVENT_PORT_DOWN, .port = port};
    case IBV_EVENT_PORT_ACTIVE: return (struct verbs_event){VERBS_EVENT_PORT_UP, .port = port};
    case IBV_EVENT_GID_CHANGE:
    case IBV_EVENT_LID_CHANGE:
    case IBV_EVENT_PKEY_CHANGE:
        return (struct verbs_event){VERBS_EVENT_ADDRESSES_CHANGED, .port = port};
    case IBV_EVENT_QP_FATAL:
    case IBV_EVENT_QP_REQ_ERR:
    case IBV_EVENT_QP_ACCESS_ERR:
    case IBV_EVENT_PATH_MIG_ERR:
        return (struct verbs_event){VERBS_EVENT_QUEUE_FAILED,
                                    .queue_number = event->element.qp->qp_num};
    case IBV_EVENT_CQ_ERR: return (struct verbs_event){.kind = VERBS_EVENT_COMPLETIONS_FAILED};
    default: return (struct verbs_event){.kind = VERBS_EVENT_OTHER};
    }
}

/* Acknowledged at once: an object with an event that nobody has taken cannot be destroyed. */
static int next_event(const struct verbs *verbs, struct verbs_device *device,
                      struct verbs_event *ret_event)
{
    struct ibv_async_event event;
    (void)verbs;
    errno = 0;
    if (ibv_get_async_event(device->context, &event) != 0)
        return last_error();
    *ret_event = translate_event(&event);
    ibv_ack_async_event(&event);
    return 0;
}

/* --- memory ----------------------------------------------------------------------------------- */

static int memory_register(const struct verbs *verbs, struct verbs_device *device, void *addr,
                           uint64_t len_bytes, uint32_t rights, struct verbs_memory **ret_memory,
                           struct verbs_keys *ret_keys)
{
    int access = (rights & VERBS_LOCAL_WRITE ? IBV_ACCESS_LOCAL_WRITE : 0) |
                 (rights & VERBS_REMOTE_READ ? IBV_ACCESS_REMOTE_READ : 0);
    (void)verbs;
    struct verbs_memory *memory = malloc(sizeof *memory);
    if (!memory)
        return -ENOMEM;
    errno = 0;
    memory->device = device;
    memory->range = ibv_reg_mr(device->domain, addr, len_bytes, access);
    if (!memory->range) {
        int error = last_error();
        free(memory);
        return error;
    }
    *ret_memory = memory;
    *ret_keys = (struct verbs_keys){.local = memory->range->lkey, .remote = memory->range->rkey};
    return 0;
}

static int memory_deregister(const struct verbs *verbs, struct verbs_memory *memory)
{
    (void)verbs;
    int error = memory ? ibv_let_go(memory->device, -ibv_dereg_mr(memory->range)) : 0;
    if (!error)
        free(memory);
    return error;
}

/* --- the table -------------------------------------------------------------------------------- */

__attribute__((visibility("default"))) const struct verbs peercache_rdma_verbs = {
    .version = PEERCACHE_VERSION,
    .prepare_fork = prepare_fork,
    .list = list,
    .open = device_open,
    .close = device_close,
    .query_device = query_device,
    .query_port = query_port,
    .query_gids = query_gids,
    .event_fd = event_fd,
    .next_event = next_event,
    .memory_register = memory_register,
    .memory_deregister = memory_deregister,
    .completions_create = ibv_completions_create,
    .completions_destroy = ibv_completions_destroy,
    .poll = ibv_poll,
    .arm = ibv_arm,
    .completions_fd = ibv_completions_fd,
    .woken = ibv_woken,
    .queue_create = ibv_queue_create,
    .queue_connect = ibv_queue_connect,
    .queue_destroy = ibv_queue_destroy,
    .post = ibv_post,
};
