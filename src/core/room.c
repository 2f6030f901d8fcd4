/* SPDX-License-Identifier: Apache-2.0 */
/*
 * room.c - the window of neighbours that costs least to evict.
 *
 * For each of the first few pages in the order of eviction a window is grown, page by page, over
 * the neighbour that gives the most room for its price, until the page fits; then pages at its ends
 * that turned out not to be needed are left out again.  A page's price is the length of what is
 * lost with it, all its unit, times its weight, which doubles with each step of heat; a unit with
 * several parts in the window is paid for once.  The cheapest window wins, the colder one among
 * equals.
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

enum side { BEFORE, AFTER };

/* The neighbour over which a window may grow next. */
struct offer {
    bool is_known;   /* whether it was looked at since the window's end is where it is */
    uint32_t id;     /* EXTENT_NONE: there is none, or it may not go */
    uint32_t leader; /* of its unit */
    uint64_t room;   /* with the free space behind it */
    uint64_t price;
};

struct window {
    uint32_t begun_with; /* extent of the cold page */
    uint32_t ends[2];    /* extents, by side */
    uint64_t units, price;
    uint32_t n_slots;
    struct offer offers[2]; /* by side */
};

static uint32_t neighbour(const struct search *search, uint32_t id, enum side side)
{
    return side == BEFORE ? extents_before(search->x, id) : extents_after(search->x, id);
}

static bool is_free(const struct search *search, uint32_t id)
{
    return id != EXTENT_NONE && extents_slot(search->x, id) == SLOT_NONE;
}

static bool is_inside(const struct search *search, const struct window *window, uint32_t id)
{
    uint64_t offset = extents_offset_units(search->x, id);
    return offset >= extents_offset_units(search->x, window->ends[BEFORE]) &&
           offset <= extents_offset_units(search->x, window->ends[AFTER]);
}

/* What goes with a page, inside the window or beside it, and would stay without it: all its unit,
 * or nothing where another part of that lies inside. */
static uint64_t price_of(struct search *search, const struct window *window, uint32_t id)
{
    uint32_t slot = extents_slot(search->x, id);
    uint64_t weight = replacement_is_retired(search->r, slot)
                          ? WEIGHT_RETIRED
                          : (uint64_t)WEIGHT_COLDEST << replacement_heat(search->r, slot);
    uint32_t parts[REPLACEMENT_UNIT_MAX], n = replacement_unit(search->r, slot, parts);
    uint64_t units = 0;
    search->parts += n;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t part = extents_of_slot(search->x, parts[i]);
        if (part != id && is_inside(search, window, part))
            return 0;
        units += extents_units(search->x, part);
    }
    return units * weight;
}

static void look_beside(struct search *search, struct window *window, enum side side)
{
    struct offer *offer = &window->offers[side];
    uint32_t id = neighbour(search, window->ends[side], side);
    *offer = (struct offer){.is_known = true, .id = EXTENT_NONE};
    if (id == EXTENT_NONE)
        return;
    search->steps++;
    if (!search->may_evict(search->ctx, extents_slot(search->x, id)))
        return;
    uint32_t behind = neighbour(search, id, side);
    offer->id = id;
    offer->leader = replacement_leader(search->r, extents_slot(search->x, id));
    offer->room = extents_units(search->x, id);
    if (is_free(search, behind))
        offer->room += extents_units(search->x, behind);
    offer->price = price_of(search, window, id);
}

/* What a unit of room costs on this side, in 1/64; UINT64_MAX: there is nothing to be had. */
static uint64_t rate_of(struct search *search, struct window *window, enum side side)
{
    struct offer *offer = &window->offers[side];
    if (!offer->is_known)
        look_beside(search, window, side);
    if (offer->id == EXTENT_NONE)
        return UINT64_MAX;
    uint64_t needed = search->units - window->units;
    return offer->price * 64 / (offer->room < needed ? offer->room : needed);
}

/* Moves the end on this side to the neighbour there. */
static void window_extend(const struct search *search, struct window *window, enum side side)
{
    window->ends[side] = neighbour(search, window->ends[side], side);
    window->units += extents_units(search->x, window->ends[side]);
    window->offers[side].is_known = false;
}

static void window_extend_over_free(const struct search *search, struct window *window,
                                    enum side side)
{
    if (is_free(search, neighbour(search, window->ends[side], side)))
        window_extend(search, window, side);
}

/* Takes what this side offers.  The rest of its unit goes along, so that costs nothing more. */
static void window_grow(const struct search *search, struct window *window, enum side side)
{
    const struct offer *taken = &window->offers[side];
    struct offer *other = &window->offers[side == BEFORE ? AFTER : BEFORE];
    window->price += taken->price;
    window->n_slots++;
    if (other->is_known && other->id != EXTENT_NONE && other->leader == taken->leader)
        other->price = 0;
    window_extend(search, window, side);
    window_extend_over_free(search, window, side);
}

/* Leaves out what is at one end as long as the rest is enough. */
static void window_trim(struct search *search, struct window *window, enum side side)
{
    uint32_t *end = &window->ends[side];
    while (*end != window->begun_with) {
        uint64_t units = extents_units(search->x, *end);
        if (window->units - units < search->units)
            return;
        window->units -= units;
        if (!is_free(search, *end)) {
            window->price -= price_of(search, window, *end);
            window->n_slots--;
        }
        *end = neighbour(search, *end, side == BEFORE ? AFTER : BEFORE);
    }
}

/* Only the cold page and the free space around it. */
static struct window window_begin(struct search *search, uint32_t id)
{
    struct window window = {
        .begun_with = id, .ends = {id, id}, .units = extents_units(search->x, id), .n_slots = 1};
    window.price = price_of(search, &window, id);
    window_extend_over_free(search, &window, BEFORE);
    window_extend_over_free(search, &window, AFTER);
    return window;
}

/* The window around one page; false: it cannot be had. */
static bool window_find(struct search *search, uint32_t slot, struct window *ret_window)
{
    uint32_t id = extents_of_slot(search->x, slot);
    CHECK(id != EXTENT_NONE);
    search->steps++;
    if (!search->may_evict(search->ctx, slot))
        return false;
    struct window window = window_begin(search, id);
    while (window.units < search->units) {
        uint64_t before = rate_of(search, &window, BEFORE);
        uint64_t after = rate_of(search, &window, AFTER);
        if ((before == UINT64_MAX && after == UINT64_MAX) || window.n_slots == search->max_slots)
            return false;
        window_grow(search, &window, before <= after ? BEFORE : AFTER);
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
    for (uint32_t id = window->ends[BEFORE];; id = extents_after(search->x, id)) {
        if (!is_free(search, id))
            ret_slots[n++] = extents_slot(search->x, id);
        if (id == window->ends[AFTER])
            return n;
    }
}

static bool is_over(const struct search *search, const struct window *best)
{
    if (best->begun_with != EXTENT_NONE)
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
    struct window best = {.begun_with = EXTENT_NONE, .price = UINT64_MAX};
    uint32_t slot = replacement_victim(r);
    for (int i = 0; i < ROOM_CANDIDATES && slot != SLOT_NONE; i++) {
        try_unit(&search, slot, &best);
        slot = replacement_next(r, slot);
    }
    if (best.begun_with == EXTENT_NONE)
        return -EBUSY;
    *ret_n = window_slots(&search, &best, ret_slots);
    return 0;
}
