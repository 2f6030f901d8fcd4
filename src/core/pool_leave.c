/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool_leave.c - pages that go: retired ahead of need, swept, damaged, or evicted for others.
 *
 * Whatever the way, evict_part() makes the slot void before its extent is handed on.
 */
#include "core/pool_internal.h"

#include <errno.h>

#include "base/check.h"
#include "base/metric.h"
#include "base/protection.h"
#include "base/seqtable.h"

enum { SWEEP_SLOTS = 1024 }; /* looked at in one step */

static void remember_gone(struct pool *pool, const struct slot *slot)
{
    CHECK(pool->n_gone < POOL_GONE_MAX);
    pool->gone[pool->n_gone++] = (struct pool_gone){.digest = slot->digest,
                                                    .ring_position = slot->ring_position,
                                                    .generation = slot->generation};
}

static void withdraw(struct pool *pool, const struct slot *slot)
{
    seqtable_remove(pool->index, slot->digest);
    remember_gone(pool, slot);
    pool->usage.live_pages--;
    pool->usage.live_bytes -= slot->bytes;
}

static void note_retired(struct pool *pool, uint32_t index)
{
    struct slot *slot = &pool->slots[index];
    CHECK(slot->state == POOL_LIVE);
    withdraw(pool, slot);
    slot->state = POOL_RETIRED;
    pool->usage.retired_pages++;
    pool->usage.retired_bytes += slot->bytes;
    metric_add(pool->metrics, METRIC_pages_retired, 1);
}

/* The order of eviction retires the other parts of the unit by itself. */
static void note_others_retired(struct pool *pool, uint32_t index)
{
    uint32_t parts[REPLACEMENT_UNIT_MAX];
    uint32_t n = replacement_unit(pool->replacement, index, parts);
    group_remove(pool->groups, parts[0]);
    for (uint32_t i = 0; i < n; i++)
        if (parts[i] != index)
            note_retired(pool, parts[i]);
}

static void retire(struct pool *pool, uint32_t index)
{
    note_others_retired(pool, index);
    note_retired(pool, index);
    replacement_retire(pool->replacement, index);
}

void pool_release_room(struct pool *pool, uint32_t index)
{
    struct slot *slot = &pool->slots[index];
    extents_release(pool->extents, extents_of_slot(pool->extents, index));
    pool->usage.free_bytes += slot->bytes;
    pool->vain_units = UINT64_MAX;
    slot->state = POOL_FREE;
    if (slot_word_state(atomic_load_explicit(&pool->headers[index].word, memory_order_relaxed)) !=
        SLOT_VOID)
        return; /* only with a protection switched off: the slot is lost, its room is not */
    slot->next = pool->free_slots;
    pool->free_slots = index;
}

static int make_void(struct pool *pool, uint32_t index)
{
    if (!PROTECTED(void_before_reuse))
        return 0;
    int error = slot_word_void(&pool->headers[index].word, pool->slots[index].generation);
    if (error == -EBUSY && !PROTECTED(pins_block_void))
        return 0;
    return error;
}

/* Makes the slot void, and only then hands its room on.  -EBUSY: it is pinned. */
static int evict_part(struct pool *pool, uint32_t index)
{
    struct slot *slot = &pool->slots[index];
    int error = make_void(pool, index);
    if (error)
        return error;
    if (slot->state == POOL_LIVE) {
        note_others_retired(pool, index);
        withdraw(pool, slot);
    } else {
        pool->usage.retired_pages--;
        pool->usage.retired_bytes -= slot->bytes;
    }
    replacement_remove(pool->replacement, index);
    pool_release_room(pool, index);
    metric_add(pool->metrics, METRIC_pages_evicted, 1);
    return 0;
}

/* The others of its group go too: they are of no use, and small ones would crowd the cold end.
 * Those that are pinned stay retired. */
int pool_evict(struct pool *pool, uint32_t index)
{
    uint32_t parts[REPLACEMENT_UNIT_MAX];
    uint32_t n = replacement_unit(pool->replacement, index, parts);
    int error = evict_part(pool, index);
    for (uint32_t i = 0; i < n && !error; i++)
        if (parts[i] != index)
            evict_part(pool, parts[i]);
    return error;
}

static bool has_room_ahead(const struct pool *pool)
{
    const struct pool_usage *usage = &pool->usage;
    uint64_t largest_bytes = extents_largest_free(pool->extents) * EXTENT_UNIT_BYTES;
    return largest_bytes + usage->retired_bytes >= usage->total_bytes / POOL_AHEAD_SHARE ||
           usage->live_pages < POOL_AHEAD_SHARE;
}

bool pool_retire_ahead(struct pool *pool)
{
    for (int i = 0; i < POOL_RETIRE_BATCH && !has_room_ahead(pool); i++) {
        if (pool_gone_is_long(pool))
            return true;
        uint32_t victim = replacement_coldest(pool->replacement);
        if (victim == SLOT_NONE)
            return false;
        retire(pool, victim);
    }
    return !has_room_ahead(pool);
}

bool pool_sweep_namespace(struct pool *pool, struct id128 identity, uint64_t epoch,
                          uint32_t *cursor)
{
    for (uint32_t seen = 0; seen < SWEEP_SLOTS; seen++) {
        if (*cursor >= pool->slot_end)
            return false;
        if (pool_gone_is_long(pool))
            return true;
        const struct slot *slot = &pool->slots[*cursor];
        if (slot->state == POOL_LIVE && slot->epoch < epoch &&
            id128_equal(slot->identity, identity))
            retire(pool, *cursor);
        ++*cursor;
    }
    return true;
}

bool pool_retire_damaged(struct pool *pool, struct id128 digest, uint64_t generation,
                         struct pool_page *ret_page)
{
    uint32_t index = pool_index_find(pool, digest);
    if (!pool_live_page(pool, index, ret_page) || ret_page->place.generation != generation)
        return false;
    retire(pool, index);
    metric_add(pool->metrics, METRIC_pages_damaged, 1);
    return true;
}

uint32_t pool_take_gone(struct pool *pool, const struct pool_gone **ret_gone)
{
    uint32_t n = pool->n_gone;
    *ret_gone = pool->gone;
    pool->n_gone = 0;
    return n;
}

bool pool_gone_is_long(const struct pool *pool)
{
    return pool->n_gone + POOL_WINDOW_MAX + REPLACEMENT_UNIT_MAX > POOL_GONE_MAX;
}
