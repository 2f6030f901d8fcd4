/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.c - the life of a slot up to when its page is live: reserved, filled, published.
 *
 * Where its room comes from stands in pool_room.c, how pages leave in pool_leave.c.
 *
 * Generations come from one counter for all slots.  Pages that are being filled stand in the index
 * too, so that the same page is not filled twice; readers of the index find them by a length of 0
 * to be not there yet.
 */
#include "core/pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/protection.h"
#include "base/seqtable.h"
#include "core/pool_internal.h"
#include "peercache.h"

_Static_assert((int)REPLACEMENT_UNIT_MAX == (int)PEERCACHE_GROUP_MAX, "a group is one unit");

int pool_new(const struct core_config *config, struct pool **ret_pool)
{
    struct pool *pool = calloc(1, sizeof *pool + config->slot_count * sizeof *pool->slots);
    if (!pool)
        return -ENOMEM;
    /* Field by field: the memory is zero already, and stays untouched where it is not used. */
    pool->headers = config->headers;
    pool->metrics = config->metrics;
    pool->slot_count = config->slot_count;
    pool->free_slots = CORE_SLOT_NONE;
    pool->vain_units = UINT64_MAX;
    pool->usage.total_bytes = pool->usage.free_bytes = config->pool_bytes;
    if (seqtable_new(config->slot_count, &pool->index) != 0 ||
        extents_new(config->pool_bytes / EXTENT_UNIT_BYTES, config->slot_count, &pool->extents) !=
            0 ||
        replacement_new(config->slot_count, &pool->replacement) != 0 ||
        group_table_new(config->slot_count, &pool->groups) != 0) {
        pool_free(pool);
        return -ENOMEM;
    }
    *ret_pool = pool;
    return 0;
}

void pool_free(struct pool *pool)
{
    if (!pool)
        return;
    seqtable_free(pool->index);
    extents_free(pool->extents);
    replacement_free(pool->replacement);
    group_table_free(pool->groups);
    free(pool);
}

struct seqtable *pool_index(const struct pool *pool)
{
    return pool->index;
}

/* --- the index --- */

struct location pool_slot_location(const struct pool *pool, uint32_t slot)
{
    return (struct location){
        .holder = CORE_SELF,
        .tier = 1,
        .slot = slot,
        .offset_bytes = pool->headers[slot].offset_bytes,
        .length_bytes = pool->slots[slot].length_bytes,
        .generation = pool->slots[slot].generation,
    };
}

static int index_put(struct pool *pool, uint32_t slot, bool is_whole)
{
    struct location place = pool_slot_location(pool, slot);
    if (!is_whole)
        place.length_bytes = 0;
    struct seqtable_value value = {0};
    location_pack(&place, value.bytes);
    return seqtable_put(pool->index, pool->slots[slot].digest, &value);
}

uint32_t pool_index_find(const struct pool *pool, struct id128 digest)
{
    struct seqtable_value value;
    struct location place;
    if (seqtable_find(pool->index, digest, &value) != 0)
        return CORE_SLOT_NONE;
    location_unpack(value.bytes, &place);
    return place.slot;
}

/* --- filling --- */

static uint64_t next_generation(struct pool *pool, uint32_t index)
{
    uint64_t generation = ++pool->generation;
    CHECK(generation < SLOT_GENERATION_MAX);
    if (!PROTECTED(fresh_generation) && pool->slots[index].generation)
        return pool->slots[index].generation;
    return generation;
}

static void write_header(struct pool *pool, const struct core_page *page)
{
    struct slot_header *header = &pool->headers[page->slot];
    slot_word_fill(&header->word, page->generation);
    slot_word_copy_begin();
    header->digest = page->digest;
    header->offset_bytes = page->offset_bytes;
    header->length_bytes = page->length_bytes;
    header->name_len = page->name_len;
    header->checksum = 0;
}

static void begin_filling(struct pool *pool, struct core_page *page, uint32_t index,
                          uint32_t extent)
{
    struct slot *slot = &pool->slots[index];
    page->slot = index;
    page->generation = next_generation(pool, index);
    page->offset_bytes = extents_offset_units(pool->extents, extent) * EXTENT_UNIT_BYTES;
    *slot = (struct slot){
        .digest = page->digest,
        .ring_position = page->ring_position,
        .identity = page->identity,
        .epoch = page->epoch,
        .generation = page->generation,
        .length_bytes = page->length_bytes,
        .bytes = (uint32_t)(extents_units(pool->extents, extent) * EXTENT_UNIT_BYTES),
        .state = POOL_FILLING,
    };
    pool->usage.free_bytes -= slot->bytes;
    pool->usage.filling_pages++;
    write_header(pool, page);
}

/* Free, and more than what is kept ahead of need anyway. */
static bool is_spare(const struct pool *pool, uint64_t bytes)
{
    const struct pool_usage *usage = &pool->usage;
    return usage->free_bytes >= bytes + usage->total_bytes / POOL_AHEAD_SHARE;
}

int pool_reserve(struct pool *pool, struct core_page *page)
{
    uint64_t units = extents_units_of((uint64_t)page->length_bytes + page->name_len);
    if (units * EXTENT_UNIT_BYTES > pool->usage.total_bytes)
        return -EFBIG;
    if (pool_index_find(pool, page->digest) != CORE_SLOT_NONE)
        return -EEXIST;
    if (pool_gone_is_long(pool))
        return -EBUSY;
    if (page->claim == CORE_CLAIM_FREE && !is_spare(pool, units * EXTENT_UNIT_BYTES))
        return -EBUSY;
    pool->claim = page->claim;
    uint32_t index = pool_take_slot(pool);
    if (index == CORE_SLOT_NONE)
        return -EBUSY;
    uint32_t extent = pool_take_room(pool, units, index);
    if (extent == EXTENT_NONE) {
        pool_give_slot_back(pool, index);
        return -EBUSY;
    }
    begin_filling(pool, page, index, extent);
    if (index_put(pool, index, false) == 0)
        return 0;
    pool_abandon(pool, page);
    return -EBUSY;
}

static bool is_filling(const struct pool *pool, const struct core_page *page)
{
    return page->slot < pool->slot_end && pool->slots[page->slot].state == POOL_FILLING &&
           pool->slots[page->slot].generation == page->generation;
}

/* The first page of a group is its leader; those that come while it is live are bound to it. */
static void enter_order(struct pool *pool, uint32_t slot, uint64_t group, uint32_t parent)
{
    if (!PROTECTED(groups_leave_whole))
        group = 0;
    uint32_t leader = group ? group_find(pool->groups, group) : SLOT_NONE;
    if (leader != SLOT_NONE && replacement_bind(pool->replacement, slot, leader, parent))
        return;
    replacement_insert(pool->replacement, slot, parent);
    if (group && leader == SLOT_NONE)
        group_put(pool->groups, slot, group);
}

int pool_publish(struct pool *pool, const struct core_page *page)
{
    if (!is_filling(pool, page))
        return -ESTALE;
    struct slot *slot = &pool->slots[page->slot];
    CHECK(slot_word_is_sealed(atomic_load(&pool->headers[page->slot].word), page->generation));
    slot->state = POOL_LIVE;
    pool->usage.filling_pages--;
    pool->usage.live_pages++;
    pool->usage.live_bytes += slot->bytes;
    uint32_t parent = id128_is_zero(page->parent) ? SLOT_NONE : pool_index_find(pool, page->parent);
    if (parent != SLOT_NONE && pool->slots[parent].state != POOL_LIVE)
        parent = SLOT_NONE;
    enter_order(pool, page->slot, page->group, parent);
    CHECK(index_put(pool, page->slot, true) == 0);
    return 0;
}

void pool_abandon(struct pool *pool, const struct core_page *page)
{
    if (!is_filling(pool, page) || !PROTECTED(cancel_drains))
        return;
    slot_word_abandon(&pool->headers[page->slot].word, page->generation);
    if (pool_index_find(pool, page->digest) == page->slot)
        seqtable_remove(pool->index, page->digest);
    pool->usage.filling_pages--;
    pool_release_room(pool, page->slot);
}

/* --- looking --- */

void pool_touch(struct pool *pool, uint32_t slot, uint64_t generation)
{
    if (slot < pool->slot_end && pool->slots[slot].state == POOL_LIVE &&
        pool->slots[slot].generation == generation)
        replacement_touch(pool->replacement, slot);
}

bool pool_live_page(const struct pool *pool, uint32_t slot, struct pool_page *ret_page)
{
    if (slot >= pool->slot_end || pool->slots[slot].state != POOL_LIVE)
        return false;
    *ret_page = (struct pool_page){
        .digest = pool->slots[slot].digest,
        .identity = pool->slots[slot].identity,
        .ring_position = pool->slots[slot].ring_position,
        .epoch = pool->slots[slot].epoch,
        .place = pool_slot_location(pool, slot),
    };
    return true;
}

/* Its leader's. */
uint64_t pool_group(const struct pool *pool, uint32_t slot)
{
    uint32_t parts[REPLACEMENT_UNIT_MAX];
    replacement_unit(pool->replacement, slot, parts);
    return group_key(pool->groups, parts[0]);
}

uint32_t pool_heat(const struct pool *pool, uint32_t slot)
{
    return replacement_heat(pool->replacement, slot);
}

uint32_t pool_slot_end(const struct pool *pool)
{
    return pool->slot_end;
}

void pool_measure(const struct pool *pool, struct pool_usage *ret_usage)
{
    *ret_usage = pool->usage;
}
