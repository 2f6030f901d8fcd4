/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.h - the book-keeping of the node's own pages: slots, generations, room, eviction.
 *
 * A slot is free, filling, live (sealed and in the index), or retired: withdrawn from index and
 * directory, still sealed and readable, the first to go when room is needed.  A group is withdrawn
 * whole: with the page that is retired or evicted the others are, in the same step.
 * evict_part() in pool_leave.c is the one place where a slot is made void.
 */
#ifndef CORE_POOL_H
#define CORE_POOL_H

#include "core/core.h"

struct pool;
struct seqtable;

enum {
    POOL_RETIRE_BATCH = 256,
    POOL_WINDOW_MAX = 16384, /* pages that one new page may drive out: 64 MiB of 4 KiB pages */
    POOL_GONE_MAX = POOL_WINDOW_MAX + 2 * POOL_RETIRE_BATCH,
};

/* A page that is no longer here: its owners are to be told. */
struct pool_gone {
    struct id128 digest;
    uint64_t ring_position, generation;
};

struct pool_page {
    struct id128 digest, identity;
    uint64_t ring_position, epoch;
    struct location place; /* holder CORE_SELF */
};

int pool_new(const struct core_config *config, struct pool **ret_pool);
void pool_free(struct pool *pool);
struct seqtable *pool_index(const struct pool *pool);

/* The pages reserved from here on come at about one time, and have one claim: for what the pool was
 * found to have no room, it does not look again until pages left it. */
void pool_begin_batch(struct pool *pool);
/* Takes a slot and room for a page and fills in slot, generation and offset.  What may go for
 * it is its claim.  0; -EEXIST: the page
 * is live or being filled; -EBUSY: all that could make room is pinned or filling, or it would take
 * too many other pages with it; -EFBIG: larger than the pool.  Pages evicted for it are found in
 * pool_take_gone(). */
int pool_reserve(struct pool *pool, struct core_page *page);
/* The page's bytes are there and its word is sealed: live from now on, and bound to the live pages
 * of its group, unless these are REPLACEMENT_UNIT_MAX already.  -ESTALE. */
int pool_publish(struct pool *pool, const struct core_page *page);
/* The page will not be filled. */
void pool_abandon(struct pool *pool, const struct core_page *page);

void pool_touch(struct pool *pool, uint32_t slot, uint64_t generation);
/* Retires cold pages ahead of need, at most POOL_RETIRE_BATCH; true: there is more to do. */
bool pool_retire_ahead(struct pool *pool);
/* Retires the pages of @identity before @epoch, a bounded piece from slot *@cursor on; true: goes
 * on, false: done. */
bool pool_sweep_namespace(struct pool *pool, struct id128 identity, uint64_t epoch,
                          uint32_t *cursor);
/* Retires the live page @digest, if it is this filling of it; *@ret_page says where it lies. */
bool pool_retire_damaged(struct pool *pool, struct id128 digest, uint64_t generation,
                         struct pool_page *ret_page);
/* Pages retired or evicted since the last call; the memory is the pool's until the next change. */
uint32_t pool_take_gone(struct pool *pool, const struct pool_gone **ret_gone);
/* Whether what one more page drives out might not find room in that list: take it first. */
bool pool_gone_is_long(const struct pool *pool);

/* The live page in @slot; false when there is none. */
bool pool_live_page(const struct pool *pool, uint32_t slot, struct pool_page *ret_page);
/* The group that the page in this slot, which is live, is bound to; 0: none. */
uint64_t pool_group(const struct pool *pool, uint32_t slot);
/* replacement_heat() of a slot below pool_slot_end(). */
uint32_t pool_heat(const struct pool *pool, uint32_t slot);
/* One past the highest slot ever used. */
uint32_t pool_slot_end(const struct pool *pool);

struct pool_usage {
    uint64_t total_bytes, free_bytes, live_bytes, retired_bytes;
    uint32_t live_pages, filling_pages, retired_pages;
};
void pool_measure(const struct pool *pool, struct pool_usage *ret_usage);

#endif
