/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copies.h - a get keeps hot pages that it read from another host, so that others find them here.
 *
 * The owner says which (core/invite.h).  The bytes are the caller's until the get returns, so they
 * are copied before that, within bounds that keep it from being much later.  Owned by the thread
 * that makes the call.
 */
#ifndef NODE_COPIES_H
#define NODE_COPIES_H

#include "node/internal.h"

enum {
    COPIES_MAX = 64, /* of one call */
    COPIES_MAX_BYTES = 4 << 20,
    COPIES_TIME_SHARE = 4, /* a call becomes later by a quarter of what it took, or by one page */
};
/* Or by so much, if that is more: less than this would be gone with the wait for the core's
 * lock. */
#define COPIES_TIME_LEAST_NS UINT64_C(100000)

struct copy {
    uint32_t key, place; /* the caller's */
    const struct node_page *page;
    uint64_t checksum; /* the holder's word */
    bool is_damaged;   /* out: the bytes are not those that the holder sealed */
};

struct copies {
    uint32_t n;
    uint64_t bytes;
    struct copy list[COPIES_MAX];
};

/* A hot page was read from another host. */
void copies_note(struct copies *copies, struct node *node, const struct copy *copy);
/* Copies and announces what there is room and time for; nobody waits for the owners. */
void copies_publish(struct copies *copies, struct node *node, const struct node_namespace *ns,
                    uint64_t began_ns, uint64_t deadline_ns);

#endif
