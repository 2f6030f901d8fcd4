/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool_room.c - a slot and room for a page that comes: from what is free, else from the coldest
 * page (a retired one, where there is one) and as few of its neighbours as are needed (room.h).
 */
#include "core/pool_internal.h"

#include "base/protection.h"
#include "core/room.h"

static bool may_evict(void *context, uint32_t index)
{
    const struct pool *pool = context;
    bool is_live = pool->slots[index].state == POOL_LIVE;
    if (pool->claim != CORE_CLAIM_ANY && (is_live || pool->claim == CORE_CLAIM_FREE))
        return false;
    if (!is_live && pool->slots[index].state != POOL_RETIRED)
        return false;
    uint64_t word = atomic_load_explicit(&pool->headers[index].word, memory_order_relaxed);
    return slot_word_pins(word) == 0 || !PROTECTED(pins_block_void);
}

static uint32_t take_from_window(struct pool *pool, uint64_t units, uint32_t slot)
{
    uint32_t *victims = pool->victims, n;
    if (room_make(pool->extents, pool->replacement, units, may_evict, pool, victims,
                  POOL_WINDOW_MAX, &n)) {
        if (pool->claim == CORE_CLAIM_ANY)
            pool->vain_units = units; /* a lesser claim in vain says nothing of others */
        return EXTENT_NONE;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (pool->n_gone + REPLACEMENT_UNIT_MAX > POOL_GONE_MAX)
            return EXTENT_NONE; /* each took its group along: once the list is taken, it goes on */
        if (pool->slots[victims[i]].state != POOL_FREE && pool_evict(pool, victims[i]) != 0)
            return EXTENT_NONE; /* pinned since it was looked at */
    }
    return extents_take(pool->extents, units, slot);
}

/* A search in vain is the longest, and would be as vain for the next page of the batch: it is made
 * once, until room is released or the next batch begins, by when pins may be gone. */
uint32_t pool_take_room(struct pool *pool, uint64_t units, uint32_t slot)
{
    uint32_t extent = extents_take(pool->extents, units, slot);
    /* A page that was pinned while the window was being cleared spoils it: one more try. */
    for (int tries = 0; tries < 2; tries++) {
        if (extent != EXTENT_NONE || units >= pool->vain_units || pool_gone_is_long(pool))
            break;
        extent = take_from_window(pool, units, slot);
    }
    return extent;
}

void pool_begin_batch(struct pool *pool)
{
    pool->vain_units = UINT64_MAX;
}

/* The coldest page that is not pinned goes. */
static bool evict_one(struct pool *pool)
{
    uint32_t victim = replacement_victim(pool->replacement);
    for (int i = 0; i < ROOM_CANDIDATES && victim != SLOT_NONE; i++) {
        if (may_evict(pool, victim) && pool_evict(pool, victim) == 0)
            return true;
        victim = replacement_next(pool->replacement, victim);
    }
    return false;
}

uint32_t pool_take_slot(struct pool *pool)
{
    if (pool->free_slots == CORE_SLOT_NONE && pool->slot_end == pool->slot_count &&
        !evict_one(pool))
        return CORE_SLOT_NONE;
    if (pool->free_slots == CORE_SLOT_NONE)
        return pool->slot_end < pool->slot_count ? pool->slot_end++ : CORE_SLOT_NONE;
    uint32_t index = pool->free_slots;
    pool->free_slots = pool->slots[index].next;
    return index;
}

void pool_give_slot_back(struct pool *pool, uint32_t index)
{
    pool->slots[index].next = pool->free_slots;
    pool->free_slots = index;
}
