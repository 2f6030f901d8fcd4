/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool_internal.h - what the files of the pool share: pool.c (pages that come), pool_room.c (where
 * their room is taken from), pool_leave.c (pages that go).
 */
#ifndef CORE_POOL_INTERNAL_H
#define CORE_POOL_INTERNAL_H

#include "core/extent.h"
#include "core/group.h"
#include "core/pool.h"
#include "core/replacement.h"

enum { POOL_AHEAD_SHARE = 64 }; /* of the pool is kept free or retired */

enum pool_state { POOL_FREE = 0, POOL_FILLING, POOL_LIVE, POOL_RETIRED };

struct slot {
    struct id128 digest;
    struct id128 identity;
    uint64_t ring_position, epoch, generation;
    uint32_t length_bytes, bytes; /* of the payload; of the extent */
    uint32_t next;                /* in the free list */
    uint8_t state;
};

struct pool {
    struct slot_header *headers;
    struct metrics *metrics;
    struct seqtable *index;
    struct extents *extents;
    struct replacement *replacement;
    struct group_table *groups;    /* the leaders of units that have a group */
    uint32_t slot_count, slot_end; /* slots; one past the highest ever used */
    uint64_t generation;           /* the last one given out */
    uint32_t free_slots;           /* list head; never used ones are above slot_end */
    uint64_t
        vain_units; /* for so many units or more a search found no window; see pool_take_room() */
    uint32_t n_gone;
    struct pool_usage usage;
    uint8_t claim; /* enum core_claim, of the page that room is made for */
    struct pool_gone gone[POOL_GONE_MAX];
    uint32_t victims[POOL_WINDOW_MAX];
    struct slot slots[];
};

/* pool.c */
struct location pool_slot_location(const struct pool *pool, uint32_t slot);
/* The slot that the index names for a digest, filling or live; CORE_SLOT_NONE. */
uint32_t pool_index_find(const struct pool *pool, struct id128 digest);

/* pool_room.c */
/* A header to use; when all are in use, that of a page which must go.  CORE_SLOT_NONE. */
uint32_t pool_take_slot(struct pool *pool);
void pool_give_slot_back(struct pool *pool, uint32_t index);
/* An extent of so many units for this slot, or EXTENT_NONE. */
uint32_t pool_take_room(struct pool *pool, uint64_t units, uint32_t slot);

/* pool_leave.c */
/* Makes the slot void, and those of its group; -EBUSY: it is pinned. */
int pool_evict(struct pool *pool, uint32_t index);
/* The slot is void: its extent and its header may be used again. */
void pool_release_room(struct pool *pool, uint32_t index);

#endif
