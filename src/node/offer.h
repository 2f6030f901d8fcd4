/* SPDX-License-Identifier: Apache-2.0 */
/*
 * offer.h - the asking side of adopt.h: the nodes that may take pages over, and one offer to them.
 *
 * Owned by the thread that drains.
 */
#ifndef NODE_OFFER_H
#define NODE_OFFER_H

#include "node/adopt.h"
#include "node/drain.h"
#include "node/internal.h"

struct receiver {
    uint16_t peer;
    bool is_full[2]; /* for pages that are not hot, and for hot ones */
    bool is_lost;    /* it did not answer, or does not know the question */
};

struct receivers {
    uint32_t n, next; /* they take turns */
    struct receiver list[DRAIN_RECEIVERS_MAX];
};

/* One page of an offer, and what came of it. */
struct offered {
    struct core_page page;
    uint64_t checksum;
    int error; /* 0: taken; -ESTALE: it is gone; -ENOSPC: no room anywhere; -EHOSTUNREACH: nobody
                * answers; -ETIMEDOUT */
};

/* The members that stay, as far as they are known to answer. */
void offer_find_receivers(struct node *node, struct receivers *ret_receivers);

/* Offers the pages, at most ADOPT_PAGES_MAX and ADOPT_BODY_BYTES (unless it is a single one), until
 * each is taken or nobody is left to ask.  @body has room for their bytes. */
void offer_pages(struct node *node, struct receivers *receivers, struct offered *pages, uint32_t n,
                 bool is_hot, uint8_t *body, uint64_t deadline_ns);

/* For the test: what a receiver answered about @n pages, of which @order says which they are.  An
 * answer that is no list of @n is none. */
void offer_take_answer(struct receiver *receiver, struct offered *pages, const json_t *errors,
                       const uint32_t *order, uint32_t n, bool is_hot);

#endif
