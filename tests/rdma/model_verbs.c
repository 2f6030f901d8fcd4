/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_verbs.c - the table of verbs.h for the model: devices, memory, completion queues, events.
 *
 * Limits and refusals are those of real adapters, and misuse that a real one would punish at some
 * later time (a key of another device, a destroyed queue pair) is asserted or refused at once.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "model_internal.h"
#include "model_queue.h"

static struct model *model_of(const struct verbs *verbs)
{
    return (struct model *)(uintptr_t)verbs;
}

/* --- devices ---------------------------------------------------------------------------------- */

struct adapter *model_adapter(struct model *model, const char *name)
{
    for (uint32_t i = 0; i < model->adapter_count; i++)
        if (!strcmp(model->adapters[i].name, name) && !model->adapters[i].is_removed)
            return &model->adapters[i];
    return NULL;
}

static int prepare_fork(const struct verbs *verbs)
{
    (void)verbs;
    return 0;
}

static int list(const struct verbs *verbs, char (*ret_names)[VERBS_NAME_BYTES], uint32_t *ret_n)
{
    struct model *model = model_of(verbs);
    *ret_n = 0;
    for (uint32_t i = 0; i < model->adapter_count; i++)
        if (!model->adapters[i].is_removed)
            memcpy(ret_names[(*ret_n)++], model->adapters[i].name, VERBS_NAME_BYTES);
    return 0;
}

static int device_open(const struct verbs *verbs, const char *name,
                       struct verbs_device **ret_device)
{
    struct adapter *adapter = model_adapter(model_of(verbs), name);
    if (!adapter)
        return -ENODEV;
    struct verbs_device *device = calloc(1, sizeof *device);
    CHECK(device);
    device->adapter = adapter;
    device->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    CHECK(device->event_fd >= 0);
    LIST_INSERT_HEAD(&adapter->openings, device, link);
    adapter->model->counts.devices_open++;
    *ret_device = device;
    return 0;
}

static bool has_objects(const struct model *model, const struct verbs_device *device)
{
    for (uint32_t i = 0; i < MODEL_MEMORIES_MAX; i++)
        if (model->memories[i].device == device)
            return true;
    for (uint32_t i = 0; i < model->queue_count; i++)
        if (model->queues[i]->device == device && model->queues[i]->state != QUEUE_DESTROYED)
            return true;
    return false;
}

static void device_close(const struct verbs *verbs, struct verbs_device *device)
{
    if (!device)
        return;
    CHECK(!has_objects(model_of(verbs), device));
    model_of(verbs)->counts.devices_open--;
    LIST_REMOVE(device, link);
    close(device->event_fd);
    free(device);
}

static int query_device(const struct verbs *verbs, struct verbs_device *device,
                        struct verbs_device_info *ret_info)
{
    struct model *model = model_of(verbs);
    if (device->adapter->is_removed)
        return -EIO;
    *ret_info = (struct verbs_device_info){
        .firmware = "model",
        .guid = (uint64_t)(device->adapter - model->adapters) + 1,
        .port_count = 1,
        .is_usable = true,
        .limits = {.queues = MODEL_QUEUES_MAX,
                   .completion_queues = MODEL_QUEUES_MAX,
                   .memories = MODEL_MEMORIES_MAX,
                   .depth = MODEL_DEPTH_MAX,
                   .completions = COMPLETIONS_DEPTH_MAX,
                   .segments = SEGMENTS_MAX,
                   .reads_served = model->settings.reads_asked,
                   .reads_asked = model->settings.reads_asked,
                   .memory_bytes = UINT64_MAX,
                   .page_size_bits = 1 << 12},
    };
    return 0;
}

static int query_port(const struct verbs *verbs, struct verbs_device *device, uint32_t port,
                      struct verbs_port_info *ret_info)
{
    if (device->adapter->is_removed)
        return -EIO;
    if (port != 1)
        return -EINVAL;
    *ret_info = (struct verbs_port_info){
        .state = device->adapter->is_up ? VERBS_PORT_ACTIVE : VERBS_PORT_DOWN,
        .link = VERBS_LINK_ETHERNET,
        .mtu_bytes = PORT_MTU_BYTES,
        .mtu_max_bytes = PORT_MTU_BYTES,
        .speed_mbps = (uint32_t)(model_of(verbs)->settings.gbit_per_s * 1000),
        .message_bytes = MESSAGE_MAX_BYTES,
    };
    return 0;
}

static int query_gids(const struct verbs *verbs, struct verbs_device *device,
                      struct verbs_gid *ret_gids, uint32_t *ret_n)
{
    (void)verbs;
    if (device->adapter->is_removed)
        return -EIO;
    ret_gids[0] = (struct verbs_gid){
        .index = device->adapter->gid_index, .port = 1, .type = VERBS_GID_ROCE_V2};
    memcpy(ret_gids[0].bytes, device->adapter->gid, VERBS_GID_BYTES);
    *ret_n = 1;
    return 0;
}

/* --- events ----------------------------------------------------------------------------------- */

void model_report(struct adapter *adapter, struct verbs_event event)
{
    struct verbs_device *device;
    LIST_FOREACH (device, &adapter->openings, link) {
        CHECK(device->event_count < EVENTS_WAITING_MAX);
        device->events[(device->event_first + device->event_count++) % EVENTS_WAITING_MAX] = event;
        eventfd_write(device->event_fd, 1);
    }
}

static int event_fd(const struct verbs *verbs, const struct verbs_device *device)
{
    (void)verbs;
    return device->event_fd;
}

static int next_event(const struct verbs *verbs, struct verbs_device *device,
                      struct verbs_event *ret_event)
{
    eventfd_t count;
    (void)verbs;
    if (device->event_count == 0)
        return -EAGAIN;
    *ret_event = device->events[device->event_first];
    device->event_first = (device->event_first + 1) % EVENTS_WAITING_MAX;
    if (--device->event_count == 0)
        eventfd_read(device->event_fd, &count);
    return 0;
}

/* --- memory ----------------------------------------------------------------------------------- */

static int memory_register(const struct verbs *verbs, struct verbs_device *device, void *addr,
                           uint64_t len_bytes, uint32_t rights, struct verbs_memory **ret_memory,
                           struct verbs_keys *ret_keys)
{
    struct model *model = model_of(verbs);
    struct verbs_memory *memory = model->memories;
    if (device->adapter->is_removed)
        return -EIO;
    if (device->adapter->refused_memories > 0) {
        device->adapter->refused_memories--;
        return -ENOMEM;
    }
    while (memory < model->memories + MODEL_MEMORIES_MAX && memory->device)
        memory++;
    if (memory == model->memories + MODEL_MEMORIES_MAX)
        return -ENOMEM;
    *memory = (struct verbs_memory){.device = device,
                                    .addr = (uintptr_t)addr,
                                    .len_bytes = len_bytes,
                                    .rights = rights,
                                    .key = model->next_key += 256};
    model->counts.memories++;
    *ret_memory = memory;
    *ret_keys = (struct verbs_keys){.local = memory->key, .remote = memory->key};
    return 0;
}

static int memory_deregister(const struct verbs *verbs, struct verbs_memory *memory)
{
    if (!memory)
        return 0;
    CHECK(memory->device);
    memory->device = NULL;
    model_of(verbs)->counts.memories--;
    return 0;
}

const struct verbs_memory *model_find_memory(const struct verbs_device *device, uint32_t key,
                                             uint64_t addr, uint64_t len_bytes,
                                             enum verbs_right right)
{
    const struct model *model = device->adapter->model;
    for (uint32_t i = 0; i < MODEL_MEMORIES_MAX; i++) {
        const struct verbs_memory *memory = &model->memories[i];
        if (memory->device == device && memory->key == key && (memory->rights & right) &&
            addr >= memory->addr && addr - memory->addr <= memory->len_bytes &&
            len_bytes <= memory->len_bytes - (addr - memory->addr))
            return memory;
    }
    return NULL;
}

/* --- the model -------------------------------------------------------------------------------- */

static const struct verbs table = {
    .version = "model",
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
    .completions_create = model_completions_create,
    .completions_destroy = model_completions_destroy,
    .poll = model_poll,
    .arm = model_arm,
    .completions_fd = model_completions_fd,
    .woken = model_woken,
    .queue_create = model_queue_create,
    .queue_connect = model_queue_connect,
    .queue_destroy = model_queue_destroy,
    .post = model_post,
};

struct model_settings model_settings_default(uint64_t seed)
{
    return (struct model_settings){
        .seed = seed,
        .gbit_per_s = 400,
        .latency_ns = 3000,
        .asking_ns = 10, /* 100 million reads a second, as adapters of this speed have it */
        .landing_ns = 500,
        .reads_asked = 16,
        .early_permille = 500,
    };
}

struct model *model_new(const struct model_settings *settings)
{
    struct model *model = calloc(1, sizeof *model);
    CHECK(model);
    model->verbs = table;
    model->settings = *settings;
    model->random = settings->seed;
    return model;
}

const struct verbs *model_verbs(struct model *model)
{
    return &model->verbs;
}

void model_add_device(struct model *model, const char *name, uint8_t subnet)
{
    CHECK(model->adapter_count < MODEL_DEVICES_MAX);
    struct adapter *adapter = &model->adapters[model->adapter_count++];
    *adapter = (struct adapter){
        .model = model, .gid = {[10] = 0xff, [11] = 0xff, 10, subnet, 0}, .is_up = true};
    snprintf(adapter->name, sizeof adapter->name, "%s", name);
    adapter->gid[VERBS_GID_BYTES - 1] = (uint8_t)model->adapter_count;
}

void model_free(struct model *model)
{
    model_free_queues(model);
    free(model->heap);
    free(model);
}

struct model_counts model_counts(const struct model *model)
{
    return model->counts;
}

/* --- faults ----------------------------------------------------------------------------------- */

static struct adapter *existing(struct model *model, const char *name)
{
    struct adapter *adapter = model_adapter(model, name);
    CHECK(adapter);
    return adapter;
}

void model_move_gid(struct model *model, const char *device, uint32_t index)
{
    existing(model, device)->gid_index = index;
}

void model_set_port(struct model *model, const char *device, bool is_up)
{
    struct adapter *adapter = existing(model, device);
    if (adapter->is_up == is_up)
        return;
    adapter->is_up = is_up;
    enum verbs_event_kind kind = is_up ? VERBS_EVENT_PORT_UP : VERBS_EVENT_PORT_DOWN;
    model_report(adapter, (struct verbs_event){.kind = kind, .port = 1});
}

void model_remove_device(struct model *model, const char *device)
{
    struct adapter *adapter = existing(model, device);
    adapter->is_removed = true;
    for (uint32_t i = 0; i < model->queue_count; i++) {
        struct verbs_queue *queue = model->queues[i];
        if (queue->adapter == adapter && model_chance(model, 500))
            model_fail_queue(queue, VERBS_FLUSHED);
    }
    model_report(adapter, (struct verbs_event){.kind = VERBS_EVENT_DEVICE_FAILED});
}

void model_hold_queues(struct model *model, const char *device, uint32_t times)
{
    existing(model, device)->held_queues = times;
}

void model_refuse_memory(struct model *model, const char *device, uint32_t times)
{
    existing(model, device)->refused_memories = times;
}
