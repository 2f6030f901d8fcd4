/* SPDX-License-Identifier: Apache-2.0 */
/*
 * room.c - the window of neighbours that costs least to evict.
 *
 * For each of the first few pages in the order of eviction a window is grown, page by page, over
 * the neighbour that gives the most room for its price, until the page fits; then pages at its ends
 * that turned out not to be needed are left out again.  A page's price is the length of what is
 * lost with it, all its unit, times its weight, which doubles with each step of heat.  The cheapest
 * window wins, the colder one among equals.
 *
 * Any part of a cold unit will do to begin with: where a large page is needed, the large part alone
 * may be enough, and beside a small part lie small parts of many other units.
 *
 * The cold page that a window began with always goes, even where its neighbours alone would do:
 * otherwise small cold pages stay for ever, and hot large ones go in their place.
 *
 * Pure, without state of its own; it runs in the thread that runs the core.
 */
#include "core/room.h"

#include <errno.h>

#include "base/check.h"

/* A retired page is lost to others already; a live one costs twice as much with each step of heat,
 * since uses come that much closer together among the pages that were used last. */
enum { WEIGHT_RETIRED = 1, WEIGHT_COLDEST = 2 };

struct search {
    const struct extents *x;
    const struct replacement *r;
    uint64_t units;
    room_may_evict *may_evict;
    void *ctx;
    uint32_t max_slots;
    uint32_t steps; /* pages looked at so far */
    uint32_t parts; /* of units, added up for prices so far */
};

struct window {
    uint32_t begun_with;  /* extent of the cold page */
    uint32_t first, last; /* extents at its ends */
    uint64_t units, price;
    uint32_t n_slots;
};

enum side { BEFORE, AFTER };

static uint32_t neighbour(const struct search *search, uint32_t id, enum side side)
{
    return side == BEFORE ? extents_before(search->x, id) : extents_after(search->x, id);
}

static bool is_free(const struct search *search, uint32_t id)
{
    return id != EXTENT_NONE && extents_slot(search->x, id) == SLOT_NONE;
}

static uint64_t price_of(struct search *search, uint32_t id)
{
    uint32_t slot = extents_slot(search->x, id);
    uint64_t weight = replacement_is_retired(search->r, slot)
                          ? WEIGHT_RETIRED
                          : (uint64_t)WEIGHT_COLDEST << replacement_heat(search->r, slot);
    uint32_t parts[REPLACEMENT_UNIT_MAX], n = replacement_unit(search->r, slot, parts);
    uint64_t units = 0;
    search->parts += n;
    for (uint32_t i = 0; i < n; i++)
        units += extents_units(search->x, extents_of_slot(search->x, parts[i]));
    return units * weight;
}

/* Takes the neighbour on one side into the window, whether free or held. */
static void window_grow(struct search *search, struct window *window, enum side side)
{
    uint32_t *end = side == BEFORE ? &window->first : &window->last;
    *end = neighbour(search, *end, side);
    window->units += extents_units(search->x, *end);
    if (is_free(search, *end))
        return;
    window->price += price_of(search, *end);
    window->n_slots++;
}

static void window_grow_over_free(struct search *search, struct window *window)
{
    if (is_free(search, neighbour(search, window->first, BEFORE)))
        window_grow(search, window, BEFORE);
    if (is_free(search, neighbour(search, window->last, AFTER)))
        window_grow(search, window, AFTER);
}

/* What a unit of room costs on this side, in 1/64; UINT64_MAX: there is nothing to be had. */
static uint64_t rate_of(struct search *search, const struct window *window, enum side side)
{
    uint32_t id = neighbour(search, side == BEFORE ? window->first : window->last, side);
    if (id == EXTENT_NONE)
        return UINT64_MAX;
    search->steps++;
    if (!search->may_evict(search->ctx, extents_slot(search->x, id)))
        return UINT64_MAX;
    uint32_t behind = neighbour(search, id, side);
    uint64_t room = extents_units(search->x, id);
    if (is_free(search, behind))
        room += extents_units(search->x, behind);
    uint64_t needed = search->units - window->units;
    return price_of(search, id) * 64 / (room < needed ? room : needed);
}

/* Leaves out what is at one end as long as the rest is enough. */
static void window_trim(struct search *search, struct window *window, enum side side)
{
    uint32_t *end = side == BEFORE ? &window->first : &window->last;
    while (*end != window->begun_with) {
        uint64_t units = extents_units(search->x, *end);
        if (window->units - units < search->units)
            return;
        window->units -= units;
        if (!is_free(search, *end)) {
            window->price -= price_of(search, *end);
            window->n_slots--;
        }
        *end = neighbour(search, *end, side == BEFORE ? AFTER : BEFORE);
    }
}

/* The window around one page; false: it cannot be had. */
static bool window_find(struct search *search, uint32_t slot, struct window *ret_window)
{
    uint32_t id = extents_of_slot(search->x, slot);
    CHECK(id != EXTENT_NONE);
    search->steps++;
    if (!search->may_evict(search->ctx, slot))
        return false;
    struct window window = {.begun_with = id,
                            .first = id,
                            .last = id,
                            .units = extents_units(search->x, id),
                            .price = price_of(search, id),
                            .n_slots = 1};
    window_grow_over_free(search, &window);
    while (window.units < search->units) {
        uint64_t before = rate_of(search, &window, BEFORE);
        uint64_t after = rate_of(search, &window, AFTER);
        if ((before == UINT64_MAX && after == UINT64_MAX) || window.n_slots == search->max_slots)
            return false;
        window_grow(search, &window, before <= after ? BEFORE : AFTER);
        window_grow_over_free(search, &window);
    }
    window_trim(search, &window, BEFORE);
    window_trim(search, &window, AFTER);
    *ret_window = window;
    return true;
}

static uint32_t window_slots(const struct search *search, const struct window *window,
                             uint32_t *ret_slots)
{
    uint32_t n = 0;
    for (uint32_t id = window->first;; id = extents_after(search->x, id)) {
        if (!is_free(search, id))
            ret_slots[n++] = extents_slot(search->x, id);
        if (id == window->last)
            return n;
    }
}

static bool is_over(const struct search *search, const struct window *best)
{
    if (best->first != EXTENT_NONE)
        return search->steps > ROOM_STEPS;
    return search->parts > ROOM_CANDIDATES * 2 * search->max_slots;
}

static void try_unit(struct search *search, uint32_t slot, struct window *best)
{
    uint32_t parts[REPLACEMENT_UNIT_MAX], n = replacement_unit(search->r, slot, parts);
    struct window window;
    for (uint32_t i = 0; i < n && !is_over(search, best); i++)
        if (window_find(search, parts[i], &window) && window.price < best->price)
            *best = window;
}

int room_make(const struct extents *x, struct replacement *r, uint64_t units,
              room_may_evict *may_evict, void *ctx, uint32_t *ret_slots, uint32_t max_slots,
              uint32_t *ret_n)
{
    CHECK(units && max_slots);
    if (units > extents_total_units(x))
        return -EINVAL;
    struct search search = {
        .x = x, .r = r, .units = units, .may_evict = may_evict, .ctx = ctx, .max_slots = max_slots};
    struct window best = {.first = EXTENT_NONE, .price = UINT64_MAX};
    uint32_t slot = replacement_victim(r);
    for (int i = 0; i < ROOM_CANDIDATES && slot != SLOT_NONE; i++) {
        try_unit(&search, slot, &best);
        slot = replacement_next(r, slot);
    }
    if (best.first == EXTENT_NONE)
        return -EBUSY;
    *ret_n = window_slots(&search, &best, ret_slots);
    return 0;
}
