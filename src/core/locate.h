/* SPDX-License-Identifier: Apache-2.0 */
/*
 * locate.h - where are these pages?  The decisions of one call: whom to ask, what an answer means,
 * whom to ask next.
 *
 * A pure state machine over views, owned by the thread that makes the call:
 *
 *     locate_begin();
 *     while ((n = locate_plan(asks)) > 0)
 *         ask the peers, in parallel; locate_answer() or locate_fail() for each ask
 *
 * after which every key is found, unknown, or failed (no owner answered).
 */
#ifndef CORE_LOCATE_H
#define CORE_LOCATE_H

#include "core/core.h"
#include "core/view.h"

enum { LOCATE_KEYS_MAX = 1024, LOCATE_PLACES_MAX = CORE_HOLDERS_MAX, LOCATE_ASKS_MAX = 256 };

enum locate_state { LOCATE_PENDING, LOCATE_FOUND, LOCATE_UNKNOWN, LOCATE_FAILED };

struct locate_key {
    struct id128 digest;    /* in */
    uint64_t ring_position; /* in */
    uint8_t state;          /* enum locate_state */
    uint8_t n_places;
    uint8_t n_owners, owner; /* the owner to ask now */
    uint8_t n_present;       /* of the owners; those behind them are by the ring before */
    bool was_answered;       /* by a present owner, which did not know all */
    bool is_hot;             /* an owner says that who reads it may publish it */
    uint16_t owners[2 * CORE_OWNERS_MAX];
    struct location places[LOCATE_PLACES_MAX]; /* holder: a peer index of this node */
};

struct locate_ask {
    uint16_t peer;
    uint32_t first, n; /* the keys: locate.order[first .. first + n) */
};

struct locate {
    const struct core_view *view;
    struct locate_key *keys;
    uint32_t n;
    uint64_t ring_hash;
    bool is_read; /* set behind locate_begin(): what is found will be read, and counts as demand */
    uint16_t order[LOCATE_KEYS_MAX];
};

/* @keys have digest and ring position and stay the caller's; n <= LOCATE_KEYS_MAX.  Own pages and
 * what the own shard knows are found at once. */
void locate_begin(struct locate *locate, const struct core_view *view, struct locate_key *keys,
                  uint32_t n);
/* Looks for one key again: in the own pool, unless that was tried, and from its first owner on. */
void locate_again(struct locate *locate, uint32_t key);
/* The asks of the next round, each to another peer or with other keys; 0: all is decided. */
uint32_t locate_plan(struct locate *locate, uint64_t now_ns,
                     struct locate_ask ret_asks[LOCATE_ASKS_MAX]);
/* Fills the message's list of keys, of ask.n. */
void locate_fill_lookup(const struct locate *locate, const struct locate_ask *ask,
                        struct record_key *keys, struct message_lookup *ret_lookup);
void locate_answer(struct locate *locate, const struct locate_ask *ask,
                   const struct message_locations *answer);
void locate_fail(struct locate *locate, const struct locate_ask *ask);

/* Whether a key counts as there: some holder of it is trusted now. */
bool locate_is_there(const struct locate *locate, const struct locate_key *key);

#endif
