/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ibv.h - what the two files of the module share: the objects behind verbs.h, over libibverbs.
 *
 * Only these files see <infiniband/verbs.h>.  They link with libibverbs and with nothing of ours,
 * since the module is opened by a library that shows none of its own symbols.
 */
#ifndef IO_RDMA_IBV_H
#define IO_RDMA_IBV_H

#include <infiniband/verbs.h>

#include "io/rdma/gone.h"
#include "io/rdma/verbs.h"

struct verbs_device {
    struct ibv_context *context;
    struct ibv_pd *domain;
    _Atomic(uint64_t) gone_ns; /* gone.h */
};

struct verbs_memory {
    struct verbs_device *device;
    struct ibv_mr *range;
};

struct verbs_completions {
    struct ibv_comp_channel *channel;
    struct ibv_cq *queue;
};

struct verbs_queue {
    struct verbs_device *device;
    struct ibv_qp *pair;
    uint32_t port;
    uint32_t chain_max;
    struct ibv_send_wr chain[]; /* linked and filled once, as far as every read is alike */
};

/* What destroying an object of the device has come to: @error, or 0 where the device is gone. */
int ibv_let_go(struct verbs_device *device, int error);
/* Makes what reads a descriptor return -EAGAIN instead of waiting. */
int ibv_set_nonblocking(int fd);

/* ibv_queue.c: the lower half of the table. */
int ibv_completions_create(const struct verbs *verbs, struct verbs_device *device, uint32_t depth,
                           struct verbs_completions **ret_completions);
void ibv_completions_destroy(const struct verbs *verbs, struct verbs_completions *completions);
int ibv_poll(const struct verbs *verbs, struct verbs_completions *completions,
             struct verbs_completion *ret_completions, uint32_t most, uint32_t *ret_n);
int ibv_arm(const struct verbs *verbs, struct verbs_completions *completions);
int ibv_completions_fd(const struct verbs *verbs, const struct verbs_completions *completions);
void ibv_woken(const struct verbs *verbs, struct verbs_completions *completions);
int ibv_queue_create(const struct verbs *verbs, struct verbs_device *device,
                     const struct verbs_queue_request *request, struct verbs_queue **ret_queue,
                     struct verbs_queue_made *ret_made);
int ibv_queue_connect(const struct verbs *verbs, struct verbs_queue *queue,
                      const struct verbs_path *path);
int ibv_queue_destroy(const struct verbs *verbs, struct verbs_queue *queue);
int ibv_post(const struct verbs *verbs, struct verbs_queue *queue, const struct verbs_read *reads,
             uint32_t n, uint32_t *ret_posted);

#endif
