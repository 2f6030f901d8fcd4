/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ibv_queue.c - verbs.h over libibverbs: completion queues, queue pairs, and posting.
 *
 * A queue pair keeps the chain of work requests that it hands to the driver: linked once, and what
 * is alike in all reads written once, so that posting writes about 40 bytes a read.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "io/rdma/ibv.h"

enum {
    POLL_BATCH = 32,    /* completions taken from the driver at a time */
    RECEIVE_DEPTH = 1,  /* nothing is ever received; some drivers refuse a depth of 0 */
    MIN_RNR_TIMER = 12, /* 0.64 ms; only sends need it, but the move to RTR must name one */
    RNR_RETRIES = 7,    /* for ever; the same */
};

/* ibv_post() hands our segments to the driver as they are. */
_Static_assert(sizeof(struct verbs_segment) == sizeof(struct ibv_sge) &&
                   offsetof(struct verbs_segment, addr) == offsetof(struct ibv_sge, addr) &&
                   offsetof(struct verbs_segment, len_bytes) == offsetof(struct ibv_sge, length) &&
                   offsetof(struct verbs_segment, local_key) == offsetof(struct ibv_sge, lkey),
               "a segment is laid out as the driver wants it");

static int last_error(void)
{
    return errno > 0 ? -errno : -EIO;
}

/* --- completion queues ------------------------------------------------------------------------ */

void ibv_completions_destroy(const struct verbs *verbs, struct verbs_completions *completions)
{
    (void)verbs;
    if (!completions)
        return;
    if (completions->queue)
        ibv_destroy_cq(completions->queue);
    if (completions->channel)
        ibv_destroy_comp_channel(completions->channel);
    free(completions);
}

int ibv_completions_create(const struct verbs *verbs, struct verbs_device *device, uint32_t depth,
                           struct verbs_completions **ret_completions)
{
    struct verbs_completions *completions = calloc(1, sizeof *completions);
    if (!completions)
        return -ENOMEM;
    int error = 0;
    errno = 0;
    completions->channel = ibv_create_comp_channel(device->context);
    if (completions->channel)
        error = ibv_set_nonblocking(completions->channel->fd);
    if (completions->channel && !error)
        completions->queue =
            ibv_create_cq(device->context, (int)depth, completions, completions->channel, 0);
    if (!completions->queue) {
        error = error ? error : last_error();
        ibv_completions_destroy(verbs, completions);
        return error;
    }
    *ret_completions = completions;
    return 0;
}

static enum verbs_status translate_status(enum ibv_wc_status status)
{
    switch (status) {
    case IBV_WC_SUCCESS: return VERBS_OK;
    case IBV_WC_WR_FLUSH_ERR: return VERBS_FLUSHED;
    case IBV_WC_LOC_LEN_ERR: return VERBS_LENGTH;
    case IBV_WC_LOC_PROT_ERR:
    case IBV_WC_LOC_ACCESS_ERR: return VERBS_LOCAL_ACCESS;
    case IBV_WC_REM_ACCESS_ERR: return VERBS_REMOTE_ACCESS;
    case IBV_WC_REM_INV_REQ_ERR: return VERBS_REMOTE_INVALID;
    case IBV_WC_REM_OP_ERR: return VERBS_REMOTE_FAILED;
    case IBV_WC_RETRY_EXC_ERR:
    case IBV_WC_RNR_RETRY_EXC_ERR:
    case IBV_WC_RESP_TIMEOUT_ERR:
    case IBV_WC_REM_ABORT_ERR: return VERBS_UNREACHABLE;
    case IBV_WC_FATAL_ERR: return VERBS_DEVICE_FAILED;
    default: return VERBS_OTHER;
    }
}

int ibv_poll(const struct verbs *verbs, struct verbs_completions *completions,
             struct verbs_completion *ret_completions, uint32_t most, uint32_t *ret_n)
{
    struct ibv_wc batch[POLL_BATCH];
    (void)verbs;
    int n = ibv_poll_cq(completions->queue, most < POLL_BATCH ? (int)most : POLL_BATCH, batch);
    if (n < 0)
        return -EIO;
    for (int i = 0; i < n; i++)
        ret_completions[i] = (struct verbs_completion){.id = batch[i].wr_id,
                                                       .queue_number = batch[i].qp_num,
                                                       .status = translate_status(batch[i].status),
                                                       .vendor_error = batch[i].vendor_err};
    *ret_n = (uint32_t)n;
    return 0;
}

int ibv_arm(const struct verbs *verbs, struct verbs_completions *completions)
{
    (void)verbs;
    return -ibv_req_notify_cq(completions->queue, 0);
}

int ibv_completions_fd(const struct verbs *verbs, const struct verbs_completions *completions)
{
    (void)verbs;
    return completions->channel->fd;
}

void ibv_woken(const struct verbs *verbs, struct verbs_completions *completions)
{
    struct ibv_cq *queue;
    void *context;
    (void)verbs;
    while (ibv_get_cq_event(completions->channel, &queue, &context) == 0)
        ibv_ack_cq_events(queue, 1);
}

/* --- queue pairs ------------------------------------------------------------------------------ */

static int modify(struct ibv_qp *pair, struct ibv_qp_attr *attr, int mask)
{
    int error = ibv_modify_qp(pair, attr, mask);
    return error < 0 ? last_error() : -error;
}

static int move_to_init(struct ibv_qp *pair, uint32_t port)
{
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_INIT,
                               .port_num = (uint8_t)port,
                               .qp_access_flags = IBV_ACCESS_REMOTE_READ};
    return modify(pair, &attr,
                  IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
}

static struct verbs_queue *queue_new(struct ibv_qp *pair, uint32_t port, uint32_t depth)
{
    uint32_t chain_max = depth < VERBS_CHAIN_MAX ? depth : VERBS_CHAIN_MAX;
    struct verbs_queue *queue = calloc(1, sizeof *queue + (chain_max + 1) * sizeof *queue->chain);
    if (!queue)
        return NULL;
    *queue = (struct verbs_queue){.pair = pair, .port = port, .chain_max = chain_max};
    for (uint32_t i = 0; i < chain_max; i++) {
        queue->chain[i].next = &queue->chain[i + 1];
        queue->chain[i].opcode = IBV_WR_RDMA_READ;
    }
    return queue;
}

int ibv_queue_create(const struct verbs *verbs, struct verbs_device *device,
                     const struct verbs_queue_request *request, struct verbs_queue **ret_queue,
                     struct verbs_queue_made *ret_made)
{
    struct ibv_cq *completions = request->completions->queue;
    struct ibv_qp_init_attr attr = {.send_cq = completions,
                                    .recv_cq = completions,
                                    .qp_type = IBV_QPT_RC,
                                    .cap = {.max_send_wr = request->depth,
                                            .max_send_sge = request->segments,
                                            .max_recv_wr = RECEIVE_DEPTH,
                                            .max_recv_sge = 1}};
    (void)verbs;
    errno = 0;
    struct ibv_qp *pair = ibv_create_qp(device->domain, &attr);
    if (!pair)
        return last_error();
    int error = move_to_init(pair, request->port);
    struct verbs_queue *queue = error ? NULL : queue_new(pair, request->port, attr.cap.max_send_wr);
    if (!queue) {
        ibv_destroy_qp(pair);
        return error ? error : -ENOMEM;
    }
    queue->device = device;
    *ret_queue = queue;
    *ret_made = (struct verbs_queue_made){
        .number = pair->qp_num, .depth = attr.cap.max_send_wr, .segments = attr.cap.max_send_sge};
    return 0;
}

static int move_to_rtr(const struct verbs_queue *queue, const struct verbs_path *path)
{
    struct ibv_qp_attr attr = {
        .qp_state = IBV_QPS_RTR,
        .path_mtu = (enum ibv_mtu)(__builtin_ffs((int)path->mtu_bytes) - 8), /* 256 is 1 */
        .dest_qp_num = path->peer_number,
        .rq_psn = path->peer_psn,
        .max_dest_rd_atomic = path->reads_served,
        .min_rnr_timer = MIN_RNR_TIMER,
        .ah_attr = {.dlid = path->peer_lid,
                    .sl = path->service_level,
                    .is_global = path->is_global,
                    .port_num = (uint8_t)queue->port},
    };
    if (path->is_global) {
        attr.ah_attr.grh = (struct ibv_global_route){.sgid_index = (uint8_t)path->gid_index,
                                                     .hop_limit = path->hop_limit,
                                                     .traffic_class = path->traffic_class};
        memcpy(attr.ah_attr.grh.dgid.raw, path->peer_gid, VERBS_GID_BYTES);
    }
    return modify(queue->pair, &attr,
                  IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
                      IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);
}

static int move_to_rts(const struct verbs_queue *queue, const struct verbs_path *path)
{
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_RTS,
                               .sq_psn = path->own_psn,
                               .timeout = path->timeout_exponent,
                               .retry_cnt = path->retry_count,
                               .rnr_retry = RNR_RETRIES,
                               .max_rd_atomic = path->reads_asked};
    return modify(queue->pair, &attr,
                  IBV_QP_STATE | IBV_QP_SQ_PSN | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
                      IBV_QP_RNR_RETRY | IBV_QP_MAX_QP_RD_ATOMIC);
}

int ibv_queue_connect(const struct verbs *verbs, struct verbs_queue *queue,
                      const struct verbs_path *path)
{
    (void)verbs;
    if (path->gid_index > UINT8_MAX)
        return -EINVAL;
    int error = move_to_rtr(queue, path);
    return error ? error : move_to_rts(queue, path);
}

int ibv_queue_destroy(const struct verbs *verbs, struct verbs_queue *queue)
{
    (void)verbs;
    int error = queue ? ibv_let_go(queue->device, -ibv_destroy_qp(queue->pair)) : 0;
    if (!error)
        free(queue);
    return error;
}

/* --- posting ---------------------------------------------------------------------------------- */

static void fill(struct ibv_send_wr *request, const struct verbs_read *read)
{
    request->wr_id = read->id;
    request->sg_list = (struct ibv_sge *)(uintptr_t)read->segments;
    request->num_sge = read->segment_count;
    request->send_flags = (read->flags & VERBS_FENCED ? IBV_SEND_FENCE : 0u) |
                          (read->flags & VERBS_SIGNALLED ? IBV_SEND_SIGNALED : 0u);
    request->wr.rdma.remote_addr = read->remote_addr;
    request->wr.rdma.rkey = read->remote_key;
}

int ibv_post(const struct verbs *verbs, struct verbs_queue *queue, const struct verbs_read *reads,
             uint32_t n, uint32_t *ret_posted)
{
    struct ibv_send_wr *chain = queue->chain, *refused = NULL;
    (void)verbs;
    *ret_posted = 0;
    if (n == 0 || n > queue->chain_max)
        return n ? -ENOMEM : 0;
    for (uint32_t i = 0; i < n; i++)
        fill(&chain[i], &reads[i]);
    chain[n - 1].next = NULL;
    int error = ibv_post_send(queue->pair, chain, &refused);
    chain[n - 1].next = &chain[n];
    *ret_posted = error && refused ? (uint32_t)(refused - chain) : error ? 0 : n;
    return error < 0 ? last_error() : -error;
}
