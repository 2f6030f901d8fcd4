/* SPDX-License-Identifier: Apache-2.0 */
/* room_plain_test.c - room_make against the rule in plain words: all prices from scratch each time.
 *
 * Random pools of units with several parts, some pinned, some retired.  Both must name the same
 * window, or none. */
#include "core/room.h"

#include "base/splitmix.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* So few that neither ROOM_STEPS nor the bound in parts is reached. */
enum { SLOTS = 40, UNITS = 250, GROUPS = 4, SEEDS = 20, STEPS = 1000, MAX_SLOTS = 1024 };

struct pool {
    struct extents *x;
    struct replacement *r;
    uint64_t random;
    bool pinned[SLOTS];
    uint32_t n_found, n_refused;
};

/* The payload as a row of extents, free ones too. */
struct row {
    uint32_t ids[2 * SLOTS + 1], n;
};

struct window {
    uint32_t first, last, begun_with; /* places in the row */
};

static uint32_t random_below(struct pool *pool, uint32_t limit)
{
    return (uint32_t)(splitmix_next(&pool->random) % limit);
}

static bool may_evict(void *context, uint32_t slot)
{
    return !((struct pool *)context)->pinned[slot];
}

/* --- the rule --- */

static uint32_t slot_at(const struct pool *pool, const struct row *row, uint32_t place)
{
    return extents_slot(pool->x, row->ids[place]);
}

static uint64_t units_of(const struct pool *pool, const struct row *row, struct window window)
{
    uint64_t units = 0;
    for (uint32_t i = window.first; i <= window.last; i++)
        units += extents_units(pool->x, row->ids[i]);
    return units;
}

/* Each unit with a part in the window, once. */
static uint64_t price_of(const struct pool *pool, const struct row *row, struct window window)
{
    bool is_paid[SLOTS] = {false};
    uint64_t price = 0;
    for (uint32_t i = window.first; i <= window.last; i++) {
        uint32_t parts[REPLACEMENT_UNIT_MAX], slot = slot_at(pool, row, i);
        if (slot == SLOT_NONE)
            continue;
        uint32_t n = replacement_unit(pool->r, slot, parts);
        uint64_t weight = replacement_is_retired(pool->r, slot)
                              ? 1
                              : UINT64_C(2) << replacement_heat(pool->r, slot);
        for (uint32_t j = 0; j < n && !is_paid[parts[0]]; j++)
            price += weight * extents_units(pool->x, extents_of_slot(pool->x, parts[j]));
        is_paid[parts[0]] = true;
    }
    return price;
}

static bool is_free_at(const struct pool *pool, const struct row *row, uint32_t place)
{
    return place < row->n && slot_at(pool, row, place) == SLOT_NONE;
}

/* The window grown by one page on a side, without the free space behind it; false: it cannot be. */
static bool grown(const struct pool *pool, const struct row *row, struct window window, int side,
                  struct window *ret_window)
{
    uint32_t place = side < 0 ? window.first - 1 : window.last + 1;
    if (place >= row->n || pool->pinned[slot_at(pool, row, place)])
        return false;
    *(side < 0 ? &window.first : &window.last) = place;
    *ret_window = window;
    return true;
}

static struct window with_free(const struct pool *pool, const struct row *row, struct window window)
{
    window.first -= is_free_at(pool, row, window.first - 1);
    window.last += is_free_at(pool, row, window.last + 1);
    return window;
}

static uint64_t rate_of(const struct pool *pool, const struct row *row, struct window window,
                        int side, uint64_t wanted)
{
    struct window larger;
    if (!grown(pool, row, window, side, &larger))
        return UINT64_MAX;
    uint64_t price = price_of(pool, row, larger) - price_of(pool, row, window);
    uint64_t room = units_of(pool, row, with_free(pool, row, larger)) - units_of(pool, row, window);
    uint64_t needed = wanted - units_of(pool, row, window);
    return price * 64 / (room < needed ? room : needed);
}

static bool find_window(const struct pool *pool, const struct row *row, uint64_t wanted,
                        struct window *ret_window)
{
    struct window window = with_free(pool, row, *ret_window);
    while (units_of(pool, row, window) < wanted) {
        uint64_t before = rate_of(pool, row, window, -1, wanted);
        uint64_t after = rate_of(pool, row, window, 1, wanted);
        if (before == UINT64_MAX && after == UINT64_MAX)
            return false;
        grown(pool, row, window, before <= after ? -1 : 1, &window);
        window = with_free(pool, row, window);
    }
    struct window less = window;
    for (less.first++; less.first <= window.begun_with && units_of(pool, row, less) >= wanted;
         less.first++)
        window = less;
    less = window;
    for (less.last--; less.last >= window.begun_with && less.last < row->n &&
                      units_of(pool, row, less) >= wanted;
         less.last--)
        window = less;
    *ret_window = window;
    return true;
}

/* The slots of the cheapest window around a part of one of the coldest units; 0: there is none. */
static uint32_t room_by_the_rule(struct pool *pool, uint64_t wanted, uint32_t ret_slots[SLOTS])
{
    struct row row = {.n = 0};
    struct window best = {.first = 1, .last = 0};
    uint64_t best_price = UINT64_MAX;
    for (uint32_t id = extents_first(pool->x); id != EXTENT_NONE; id = extents_after(pool->x, id))
        row.ids[row.n++] = id;
    uint32_t candidate = replacement_victim(pool->r);
    for (int i = 0; i < ROOM_CANDIDATES && candidate != SLOT_NONE; i++) {
        uint32_t parts[REPLACEMENT_UNIT_MAX], n = replacement_unit(pool->r, candidate, parts);
        for (uint32_t j = 0; j < n; j++) {
            uint32_t place = 0;
            while (slot_at(pool, &row, place) != parts[j])
                place++;
            struct window window = {place, place, place};
            if (pool->pinned[parts[j]] || !find_window(pool, &row, wanted, &window) ||
                price_of(pool, &row, window) >= best_price)
                continue;
            best = window;
            best_price = price_of(pool, &row, window);
        }
        candidate = replacement_next(pool->r, candidate);
    }
    uint32_t n = 0;
    for (uint32_t i = best.first; i <= best.last; i++)
        if (!is_free_at(pool, &row, i))
            ret_slots[n++] = slot_at(pool, &row, i);
    return n;
}

/* --- random pools --- */

static void insert(struct pool *pool, uint32_t slot)
{
    for (uint32_t other = slot % GROUPS; other < SLOTS; other += GROUPS)
        if (other != slot && other % 3 && replacement_contains(pool->r, other) &&
            !replacement_is_retired(pool->r, other) &&
            replacement_bind(pool->r, slot, other, SLOT_NONE))
            return;
    replacement_insert(pool->r, slot, random_below(pool, SLOTS));
}

static void evict(struct pool *pool, uint32_t slot)
{
    replacement_remove(pool->r, slot);
    extents_release(pool->x, extents_of_slot(pool->x, slot));
    pool->pinned[slot] = false;
}

static void make_room(struct pool *pool, uint64_t units, uint64_t seed)
{
    uint32_t slots[MAX_SLOTS], expected[SLOTS], n = 0;
    uint32_t n_expected = room_by_the_rule(pool, units, expected);
    int error = room_make(pool->x, pool->r, units, may_evict, pool, slots, MAX_SLOTS, &n);
    bool is_same = error == (n_expected ? 0 : -EBUSY) &&
                   (error || (n == n_expected && memcmp(slots, expected, n * sizeof *slots) == 0));
    if (!is_same)
        fail_msg("seed %llu: %u pages from slot %u, by the rule %u from %u",
                 (unsigned long long)seed, n, slots[0], n_expected, expected[0]);
    *(error ? &pool->n_refused : &pool->n_found) += 1;
    for (uint32_t i = 0; i < n && !error; i++)
        evict(pool, slots[i]);
}

static void store(struct pool *pool, uint32_t slot, uint64_t seed)
{
    uint64_t units = 1 + random_below(pool, 1u << random_below(pool, 8));
    if (extents_take(pool->x, units, slot) == EXTENT_NONE) {
        make_room(pool, units, seed);
        if (extents_take(pool->x, units, slot) == EXTENT_NONE)
            return;
    }
    insert(pool, slot);
}

static void run_seed(uint64_t seed)
{
    struct pool pool = {.random = seed};
    assert_int_equal(extents_new(UNITS, SLOTS, &pool.x), 0);
    assert_int_equal(replacement_new(SLOTS, &pool.r), 0);
    for (int step = 0; step < STEPS; step++) {
        uint32_t slot = random_below(&pool, SLOTS);
        if (extents_of_slot(pool.x, slot) != EXTENT_NONE && random_below(&pool, 4) == 0)
            evict(&pool, slot);
        if (extents_of_slot(pool.x, slot) == EXTENT_NONE)
            store(&pool, slot, seed);
        else if (random_below(&pool, 16) == 0 && !replacement_is_retired(pool.r, slot))
            replacement_retire(pool.r, slot);
        else
            replacement_touch(pool.r, slot);
        pool.pinned[slot] =
            extents_of_slot(pool.x, slot) != EXTENT_NONE && seed % 2 && random_below(&pool, 8) == 0;
    }
    if (pool.n_found < 100 || (seed % 2 && pool.n_refused == 0))
        fail_msg("seed %llu: only %u windows found, %u refused", (unsigned long long)seed,
                 pool.n_found, pool.n_refused);
    extents_free(pool.x);
    replacement_free(pool.r);
}

static void test_window_is_that_of_the_rule(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        run_seed(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_window_is_that_of_the_rule),
    };
    return cmocka_run_group_tests_name("room_plain", tests, NULL, NULL);
}
