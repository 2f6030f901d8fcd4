/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publish_internal.h - what the files of publishing share: publish.c (from reserve to the
 * announce), publish_replies.c (what comes of it, or does not come), publish_retract.c (the way
 * back).
 */
#ifndef CORE_PUBLISH_INTERNAL_H
#define CORE_PUBLISH_INTERNAL_H

#include "core/publish.h"

enum {
    BATCHES_MAX = 1024,
    PAIRS_MAX = POOL_GONE_MAX * RINGS_OWNERS_MAX,
    BATCH_NONE = 0xffff, /* its reply interests nobody */
};
/* An owner that has not replied by then hangs: the operation goes on without it, and so do the next
 * ones. */
#define REPLY_TIMEOUT_NS UINT64_C(500000000)

/* A set that has reserved its pages. */
struct op {
    bool used, is_copied, is_unawaited;
    uint32_t serial, n, n_waiting; /* pages that wait for replies */
    uint64_t announced_at_ns;
    struct core_page pages[CORE_BATCH_MAX];
    uint8_t recorded[CORE_BATCH_MAX], pending[CORE_BATCH_MAX]; /* replies that are waited for */
};

/* An announce that waits for its reply. */
struct batch {
    bool used;
    bool is_lost; /* with its connection: it goes out again with the next one */
    uint8_t serial;
    uint16_t peer;
    uint32_t op, n;
    uint64_t sent_ns;
    uint16_t pages[BATCH_MAX];
};

/* An owner and one page of a list. */
struct pair {
    uint16_t peer, page;
    bool is_awaited;
};

struct publish {
    struct publish_rooms rooms;
    bool is_closed;
    struct op ops[PUBLISH_OPS_MAX];
    struct batch batches[BATCHES_MAX];
    struct pair pairs[PAIRS_MAX];
    uint64_t check_at_ns; /* no batch is too old before */
};

struct op *publish_op_find(struct publish *publish, uint32_t number);
uint32_t publish_op_number(const struct publish *publish, const struct op *op);
void publish_op_end_if_answered(struct publish *publish, struct update *update, struct op *op);
void publish_page_answered(struct op *op, uint16_t page, bool is_recorded);

uint32_t publish_batch_number(const struct publish *publish, const struct batch *batch);
/* publish_tick() looks at the batches at this time, or before. */
void publish_check_by(struct publish *publish, uint64_t at_ns);

/* The pairs of a list of pages: added page by page behind @n of them, sorted, and taken in runs
 * that share a peer and fit into one message. */
uint32_t publish_add_pairs(struct publish *publish, const uint16_t *owners, uint32_t n_owners,
                           uint16_t page, uint32_t n);
int publish_compare_pairs(const void *a, const void *b);
uint32_t publish_run_end(const struct publish *publish, uint32_t from, uint32_t n);
uint32_t publish_link_of(const struct publish *publish, uint16_t index);

#endif
