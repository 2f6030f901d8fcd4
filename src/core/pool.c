/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.c - who may use which part of the payload, and when a page has to go.
 *
 * Room for a page comes from free extents, else from the coldest page (a retired one, where there
 * is one) and as few of its neighbours as are needed (room.h).  Whatever the way, evict_part()
 * makes the slot void before its extent is handed on.
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
#include "base/metric.h"
#include "base/protection.h"
#include "base/seqtable.h"
#include "core/extent.h"
#include "core/group.h"
#include "core/replacement.h"
#include "core/room.h"
#include "peercache.h"

_Static_assert((int)REPLACEMENT_UNIT_MAX == (int)PEERCACHE_GROUP_MAX, "a group is one unit");

enum {
    SWEEP_SLOTS = 1024, /* looked at in one step */
    AHEAD_SHARE = 64,   /* of the pool is kept free or retired */
};

enum state { FREE = 0, FILLING, LIVE, RETIRED };

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
    uint64_t vain_units; /* for so many units or more a search found no window; see take_room() */
    uint32_t n_gone;
    struct pool_usage usage;
    uint8_t claim; /* enum core_claim, of the page that room is made for */
    struct pool_gone gone[POOL_GONE_MAX];
    uint32_t victims[POOL_WINDOW_MAX];
    struct slot slots[];
};

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

static struct location slot_location(const struct pool *pool, uint32_t slot)
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
    struct location place = slot_location(pool, slot);
    if (!is_whole)
        place.length_bytes = 0;
    struct seqtable_value value = {0};
    location_pack(&place, value.bytes);
    return seqtable_put(pool->index, pool->slots[slot].digest, &value);
}

/* The slot that the index names for a digest, filling or live; CORE_SLOT_NONE. */
static uint32_t index_find(const struct pool *pool, struct id128 digest)
{
    struct seqtable_value value;
    struct location place;
    if (seqtable_find(pool->index, digest, &value) != 0)
        return CORE_SLOT_NONE;
    location_unpack(value.bytes, &place);
    return place.slot;
}

/* --- letting pages go --- */

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
    CHECK(slot->state == LIVE);
    withdraw(pool, slot);
    slot->state = RETIRED;
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

static void release_room(struct pool *pool, uint32_t index)
{
    struct slot *slot = &pool->slots[index];
    extents_release(pool->extents, extents_of_slot(pool->extents, index));
    pool->usage.free_bytes += slot->bytes;
    pool->vain_units = UINT64_MAX;
    slot->state = FREE;
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
    if (slot->state == LIVE) {
        note_others_retired(pool, index);
        withdraw(pool, slot);
    } else {
        pool->usage.retired_pages--;
        pool->usage.retired_bytes -= slot->bytes;
    }
    replacement_remove(pool->replacement, index);
    release_room(pool, index);
    metric_add(pool->metrics, METRIC_pages_evicted, 1);
    return 0;
}

/* The others of its group go too: they are of no use, and small ones would crowd the cold end.
 * Those that are pinned stay retired. */
static int pool_evict(struct pool *pool, uint32_t index)
{
    uint32_t parts[REPLACEMENT_UNIT_MAX];
    uint32_t n = replacement_unit(pool->replacement, index, parts);
    int error = evict_part(pool, index);
    for (uint32_t i = 0; i < n && !error; i++)
        if (parts[i] != index)
            evict_part(pool, parts[i]);
    return error;
}

/* --- making room --- */

static bool may_evict(void *context, uint32_t index)
{
    const struct pool *pool = context;
    bool is_live = pool->slots[index].state == LIVE;
    if (pool->claim != CORE_CLAIM_ANY && (is_live || pool->claim == CORE_CLAIM_FREE))
        return false;
    if (!is_live && pool->slots[index].state != RETIRED)
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
        if (pool->slots[victims[i]].state != FREE && pool_evict(pool, victims[i]) != 0)
            return EXTENT_NONE; /* pinned since it was looked at */
    }
    return extents_take(pool->extents, units, slot);
}

/* A search in vain is the longest, and would be as vain for the next page of the batch: it is made
 * once, until room is released or the next batch begins, by when pins may be gone. */
static uint32_t take_room(struct pool *pool, uint64_t units, uint32_t slot)
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

/* A header to use; when all are in use, that of a page which must go. */
static uint32_t take_slot(struct pool *pool)
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

static void give_slot_back(struct pool *pool, uint32_t index)
{
    pool->slots[index].next = pool->free_slots;
    pool->free_slots = index;
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
        .state = FILLING,
    };
    pool->usage.free_bytes -= slot->bytes;
    pool->usage.filling_pages++;
    write_header(pool, page);
}

/* Free, and more than what is kept ahead of need anyway. */
static bool is_spare(const struct pool *pool, uint64_t bytes)
{
    const struct pool_usage *usage = &pool->usage;
    return usage->free_bytes >= bytes + usage->total_bytes / AHEAD_SHARE;
}

int pool_reserve(struct pool *pool, struct core_page *page)
{
    uint64_t units = extents_units_of((uint64_t)page->length_bytes + page->name_len);
    if (units * EXTENT_UNIT_BYTES > pool->usage.total_bytes)
        return -EFBIG;
    if (index_find(pool, page->digest) != CORE_SLOT_NONE)
        return -EEXIST;
    if (pool_gone_is_long(pool))
        return -EBUSY;
    if (page->claim == CORE_CLAIM_FREE && !is_spare(pool, units * EXTENT_UNIT_BYTES))
        return -EBUSY;
    pool->claim = page->claim;
    uint32_t index = take_slot(pool);
    if (index == CORE_SLOT_NONE)
        return -EBUSY;
    uint32_t extent = take_room(pool, units, index);
    if (extent == EXTENT_NONE) {
        give_slot_back(pool, index);
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
    return page->slot < pool->slot_end && pool->slots[page->slot].state == FILLING &&
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
    slot->state = LIVE;
    pool->usage.filling_pages--;
    pool->usage.live_pages++;
    pool->usage.live_bytes += slot->bytes;
    uint32_t parent = id128_is_zero(page->parent) ? SLOT_NONE : index_find(pool, page->parent);
    if (parent != SLOT_NONE && pool->slots[parent].state != LIVE)
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
    if (index_find(pool, page->digest) == page->slot)
        seqtable_remove(pool->index, page->digest);
    pool->usage.filling_pages--;
    release_room(pool, page->slot);
}

/* --- order of eviction --- */

void pool_touch(struct pool *pool, uint32_t slot, uint64_t generation)
{
    if (slot < pool->slot_end && pool->slots[slot].state == LIVE &&
        pool->slots[slot].generation == generation)
        replacement_touch(pool->replacement, slot);
}

static bool has_room_ahead(const struct pool *pool)
{
    const struct pool_usage *usage = &pool->usage;
    uint64_t largest_bytes = extents_largest_free(pool->extents) * EXTENT_UNIT_BYTES;
    return largest_bytes + usage->retired_bytes >= usage->total_bytes / AHEAD_SHARE ||
           usage->live_pages < AHEAD_SHARE;
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
        if (slot->state == LIVE && slot->epoch < epoch && id128_equal(slot->identity, identity))
            retire(pool, *cursor);
        ++*cursor;
    }
    return true;
}

bool pool_retire_damaged(struct pool *pool, struct id128 digest, uint64_t generation,
                         struct pool_page *ret_page)
{
    uint32_t index = index_find(pool, digest);
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

/* --- looking --- */

bool pool_live_page(const struct pool *pool, uint32_t slot, struct pool_page *ret_page)
{
    if (slot >= pool->slot_end || pool->slots[slot].state != LIVE)
        return false;
    *ret_page = (struct pool_page){
        .digest = pool->slots[slot].digest,
        .identity = pool->slots[slot].identity,
        .ring_position = pool->slots[slot].ring_position,
        .epoch = pool->slots[slot].epoch,
        .place = slot_location(pool, slot),
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
