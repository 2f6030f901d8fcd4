/* SPDX-License-Identifier: Apache-2.0 */
/* room_test.c - what is evicted for a page: enough, not more than needed, and nothing pinned. */
#include "core/room.h"

#include "base/splitmix.h"
#include "core/seed_test_harness.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { SLOTS = 256, UNITS = 4096, SEEDS = 30, STEPS = 3000 };

/* A pool without bytes. */
struct pool {
    struct extents *x;
    struct replacement *r;
    bool pinned[SLOTS];
    uint32_t slots[SLOTS], n; /* what room_make named last */
    uint32_t n_looks;         /* how often it asked */
};

static bool may_evict(void *ctx, uint32_t slot)
{
    struct pool *pool = ctx;
    pool->n_looks++;
    return !pool->pinned[slot];
}

static void pool_init(struct pool *pool, uint64_t units)
{
    memset(pool, 0, sizeof *pool);
    assert_int_equal(extents_new(units, SLOTS, &pool->x), 0);
    assert_int_equal(replacement_new(SLOTS, &pool->r), 0);
}

static void pool_fini(struct pool *pool)
{
    extents_free(pool->x);
    replacement_free(pool->r);
}

static bool pool_store(struct pool *pool, uint32_t slot, uint64_t units, uint32_t parent)
{
    if (extents_take(pool->x, units, slot) == EXTENT_NONE)
        return false;
    replacement_insert(pool->r, slot, parent);
    return true;
}

static int pool_room(struct pool *pool, uint64_t units, uint32_t max_slots)
{
    return room_make(pool->x, pool->r, units, may_evict, pool, pool->slots, max_slots, &pool->n);
}

static void pool_evict(struct pool *pool, uint32_t slot)
{
    replacement_remove(pool->r, slot);
    extents_release(pool->x, extents_of_slot(pool->x, slot));
}

/* Pages of 10 units side by side, slot i at 10 * i, the first the coldest. */
static void pool_fill(struct pool *pool, uint32_t n)
{
    for (uint32_t slot = 0; slot < n; slot++)
        assert_true(pool_store(pool, slot, 10, SLOT_NONE));
}

static void test_one_page_for_one_page(void **state)
{
    (void)state;
    struct pool pool;
    pool_init(&pool, 100);
    pool_fill(&pool, 10);
    replacement_touch(pool.r, 0);
    assert_int_equal(pool_room(&pool, 10, SLOTS), 0);
    assert_int_equal(pool.n, 1);
    assert_int_equal(pool.slots[0], 1);
    pool_fini(&pool);
}

/* The window grows over the colder neighbours. */
static void test_grows_towards_the_colder_side(void **state)
{
    (void)state;
    struct pool pool;
    pool_init(&pool, 100);
    pool_fill(&pool, 10);
    for (uint32_t slot = 0; slot < 10; slot++)
        if (slot != 5 && slot != 4 && slot != 3)
            replacement_touch(pool.r, slot);
    assert_int_equal(pool_room(&pool, 25, SLOTS), 0);
    assert_int_equal(pool.n, 3);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(pool.slots[i], 3 + i);
    pool_fini(&pool);
}

/* The coldest page lies beside a hot one, the next two beside each other: these go. */
static void test_cheapest_window_wins(void **state)
{
    (void)state;
    struct pool pool;
    pool_init(&pool, 100);
    pool_fill(&pool, 10);
    for (uint32_t slot = 1; slot < 10; slot++)
        if (slot != 5 && slot != 6)
            replacement_touch(pool.r, slot);
    replacement_touch(pool.r, 1);
    assert_int_equal(pool_room(&pool, 20, SLOTS), 0);
    assert_int_equal(pool.n, 2);
    assert_int_equal(pool.slots[0], 5);
    assert_int_equal(pool.slots[1], 6);
    pool_fini(&pool);
}

/* Small parts lie beside each other, large ones too.  The large part of the coldest unit is enough;
 * around its small one, parts of many other units would go. */
static void test_begins_with_the_part_that_fits(void **state)
{
    (void)state;
    struct pool pool;
    pool_init(&pool, 5 * (10 + 50));
    pool_fill(&pool, 5);
    for (uint32_t slot = 5; slot < 10; slot++) {
        assert_int_not_equal(extents_take(pool.x, 50, slot), EXTENT_NONE);
        replacement_bind(pool.r, slot, slot - 5, SLOT_NONE);
    }
    assert_int_equal(pool_room(&pool, 50, SLOTS), 0);
    assert_int_equal(pool.n, 1);
    assert_int_equal(pool.slots[0], 5);
    assert_int_equal(pool_room(&pool, 10, SLOTS), 0);
    assert_int_equal(pool.n, 1);
    assert_int_equal(pool.slots[0], 0);
    pool_fini(&pool);
}

/* The coldest page lies between one that stands for itself, and one as long that takes along what
 * lies elsewhere. */
static void test_price_is_that_of_the_unit(void **state)
{
    (void)state;
    struct pool pool;
    pool_init(&pool, 100);
    pool_fill(&pool, 10);
    replacement_remove(pool.r, 9);
    replacement_touch(pool.r, 4);
    replacement_bind(pool.r, 9, 4, SLOT_NONE);
    replacement_touch(pool.r, 6);
    for (uint32_t slot = 0; slot < 9; slot++)
        pool.pinned[slot] = slot < 4 || slot > 6;
    pool.pinned[9] = true;
    assert_int_equal(pool_room(&pool, 20, SLOTS), 0);
    assert_int_equal(pool.n, 2);
    assert_int_equal(pool.slots[0], 5);
    assert_int_equal(pool.slots[1], 6);
    pool_fini(&pool);
}

/* A unit whose parts lie side by side costs as much as as many bytes of pages that stand for
 * themselves: the colder one goes. */
static void test_unit_is_paid_for_once(void **state)
{
    (void)state;
    struct pool pool;
    pool_init(&pool, 80);
    pool_fill(&pool, 1);
    for (uint32_t slot = 1; slot < 4; slot++) {
        assert_int_not_equal(extents_take(pool.x, 10, slot), EXTENT_NONE);
        replacement_bind(pool.r, slot, 0, SLOT_NONE);
    }
    for (uint32_t slot = 4; slot < 8; slot++)
        assert_true(pool_store(&pool, slot, 10, SLOT_NONE));
    assert_int_equal(pool_room(&pool, 40, SLOTS), 0);
    assert_int_equal(pool.n, 4);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(pool.slots[i], i);
    pool_fini(&pool);
}

/* Free space beside a cold page spares its other neighbours. */
static void test_uses_free_neighbours(void **state)
{
    (void)state;
    struct pool pool;
    pool_init(&pool, 100);
    pool_fill(&pool, 10);
    pool_evict(&pool, 6);
    pool_evict(&pool, 8);
    for (uint32_t slot = 0; slot < 6; slot++)
        replacement_touch(pool.r, slot);
    assert_int_equal(pool_room(&pool, 30, SLOTS), 0);
    assert_int_equal(pool.n, 1);
    assert_int_equal(pool.slots[0], 7);
    pool_fini(&pool);
}

/* The window grew over a small page before it met a large one: the small one stays after all. */
static void test_leaves_out_what_is_not_needed(void **state)
{
    (void)state;
    struct pool pool;
    pool_init(&pool, 100);
    assert_true(pool_store(&pool, 0, 2, SLOT_NONE));
    assert_true(pool_store(&pool, 1, 8, SLOT_NONE));
    assert_true(pool_store(&pool, 2, 90, SLOT_NONE));
    replacement_touch(pool.r, 0);
    replacement_touch(pool.r, 2);
    assert_int_equal(pool_room(&pool, 97, SLOTS), 0);
    assert_int_equal(pool.n, 2);
    assert_int_equal(pool.slots[0], 1);
    assert_int_equal(pool.slots[1], 2);
    pool_fini(&pool);
}

/* Small cold pages between large hot ones: a large page that goes takes its cold neighbour along,
 * or the cold ones would stay for ever while the hot ones replace each other. */
static void test_the_cold_page_goes(void **state)
{
    (void)state;
    struct pool pool;
    uint32_t pairs = ROOM_CANDIDATES + 4;
    pool_init(&pool, 100 * (uint64_t)pairs);
    for (uint32_t i = 0; i < pairs; i++) {
        assert_true(pool_store(&pool, i, 2, SLOT_NONE));
        assert_true(pool_store(&pool, pairs + i, 98, SLOT_NONE));
    }
    for (uint32_t i = 0; i < pairs; i++)
        replacement_touch(pool.r, pairs + i);
    assert_int_equal(pool_room(&pool, 50, SLOTS), 0);
    assert_int_equal(pool.n, 2);
    assert_true(pool.slots[0] < pairs || pool.slots[1] < pairs);
    pool_fini(&pool);
}

static void test_goes_round_pinned_pages(void **state)
{
    (void)state;
    struct pool pool;
    pool_init(&pool, 100);
    pool_fill(&pool, 10);
    pool.pinned[0] = pool.pinned[3] = true;
    assert_int_equal(pool_room(&pool, 30, SLOTS), 0);
    assert_int_equal(pool.n, 3);
    for (uint32_t i = 0; i < pool.n; i++)
        assert_in_range(pool.slots[i], 4, 9);
    memset(pool.pinned, 1, sizeof pool.pinned);
    assert_int_equal(pool_room(&pool, 10, SLOTS), -EBUSY);
    pool_fini(&pool);
}

static void test_retired_pages_are_cheapest(void **state)
{
    (void)state;
    struct pool pool;
    pool_init(&pool, 100);
    pool_fill(&pool, 10);
    replacement_retire(pool.r, 7);
    replacement_retire(pool.r, 8);
    assert_int_equal(pool_room(&pool, 20, SLOTS), 0);
    assert_int_equal(pool.n, 2);
    assert_int_equal(pool.slots[0], 7);
    assert_int_equal(pool.slots[1], 8);
    pool_fini(&pool);
}

static void test_limits(void **state)
{
    (void)state;
    struct pool pool;
    pool_init(&pool, 100);
    assert_int_equal(pool_room(&pool, 10, SLOTS), -EBUSY); /* nothing to evict */
    pool_fill(&pool, 10);
    assert_int_equal(pool_room(&pool, 101, SLOTS), -EINVAL);
    assert_int_equal(pool_room(&pool, 100, 9), -EBUSY);
    assert_int_equal(pool_room(&pool, 100, 10), 0);
    assert_int_equal(pool.n, 10);
    pool_fini(&pool);
}

/* A page of a unit of 16 costs 16 times as much to look at, so a search in vain is over sooner. */
static void test_bounded_by_parts(void **state)
{
    (void)state;
    struct pool pool;
    pool_init(&pool, SLOTS * 10);
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        assert_true(extents_take(pool.x, 10, slot) != EXTENT_NONE);
        if (slot < SLOTS / REPLACEMENT_UNIT_MAX)
            replacement_insert(pool.r, slot, SLOT_NONE);
        else
            assert_true(
                replacement_bind(pool.r, slot, slot % (SLOTS / REPLACEMENT_UNIT_MAX), SLOT_NONE));
    }
    assert_int_equal(pool_room(&pool, 2000, 100), -EBUSY);
    assert_in_range(pool.n_looks, 1, 2 * 100 + ROOM_CANDIDATES * REPLACEMENT_UNIT_MAX);
    pool_fini(&pool);
}

static uint64_t random_units(uint64_t *random)
{
    uint64_t limit = UINT64_C(1) << splitmix_next(random) % 12;
    return 1 + splitmix_next(random) % limit;
}

/* Whether a window may have begun with this page, which then goes although it is not needed. */
static bool is_candidate(struct pool *pool, uint32_t slot)
{
    uint32_t candidate = replacement_victim(pool->r);
    for (int i = 0; i < ROOM_CANDIDATES && candidate != SLOT_NONE; i++) {
        if (candidate == slot)
            return true;
        candidate = replacement_next(pool->r, candidate);
    }
    return false;
}

/* What room_make names is not pinned, and there is nothing at either end that is not needed. */
static void check_room(struct pool *pool, uint64_t units)
{
    EXPECT(pool->n >= 1 && pool->n <= SLOTS);
    uint64_t evicted = 0;
    for (uint32_t i = 0; i < pool->n; i++) {
        EXPECT(!pool->pinned[pool->slots[i]]);
        evicted += extents_units(pool->x, extents_of_slot(pool->x, pool->slots[i]));
    }
    uint32_t ends[] = {pool->slots[0], pool->slots[pool->n - 1]};
    for (int i = 0; i < 2; i++) {
        uint64_t end = extents_units(pool->x, extents_of_slot(pool->x, ends[i]));
        EXPECT(evicted - end < units || is_candidate(pool, ends[i]));
    }
    for (uint32_t i = 0; i < pool->n; i++)
        pool_evict(pool, pool->slots[i]);
}

static void store_with_room(struct pool *pool, uint32_t slot, uint64_t units, uint32_t parent)
{
    if (pool_store(pool, slot, units, parent))
        return;
    int rc = pool_room(pool, units, SLOTS);
    bool any_pinned = memchr(pool->pinned, true, sizeof pool->pinned) != NULL;
    EXPECT(rc == 0 || (rc == -EBUSY && any_pinned));
    if (rc)
        return;
    check_room(pool, units);
    EXPECT(pool_store(pool, slot, units, parent));
}

static void run_seed(uint64_t seed, bool with_pins)
{
    seed_now = seed;
    uint64_t random = seed;
    struct pool pool;
    pool_init(&pool, UNITS);
    for (int step = 0; step < STEPS; step++) {
        uint32_t slot = splitmix_next(&random) % SLOTS;
        uint32_t parent = splitmix_next(&random) % 2 ? splitmix_next(&random) % SLOTS : SLOT_NONE;
        if (extents_of_slot(pool.x, slot) == EXTENT_NONE) {
            pool.pinned[slot] = false;
            store_with_room(&pool, slot, random_units(&random), parent);
        } else if (splitmix_next(&random) % 16 == 0 && !replacement_is_retired(pool.r, slot)) {
            replacement_retire(pool.r, slot);
        } else {
            replacement_touch(pool.r, slot);
            pool.pinned[slot] = with_pins && splitmix_next(&random) % 4 == 0;
        }
    }
    pool_fini(&pool);
}

static void test_random_loads(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        run_seed(seed, seed % 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_page_for_one_page),
        cmocka_unit_test(test_grows_towards_the_colder_side),
        cmocka_unit_test(test_cheapest_window_wins),
        cmocka_unit_test(test_begins_with_the_part_that_fits),
        cmocka_unit_test(test_price_is_that_of_the_unit),
        cmocka_unit_test(test_unit_is_paid_for_once),
        cmocka_unit_test(test_uses_free_neighbours),
        cmocka_unit_test(test_leaves_out_what_is_not_needed),
        cmocka_unit_test(test_the_cold_page_goes),
        cmocka_unit_test(test_goes_round_pinned_pages),
        cmocka_unit_test(test_retired_pages_are_cheapest),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_bounded_by_parts),
        cmocka_unit_test(test_random_loads),
    };
    return cmocka_run_group_tests_name("room", tests, NULL, NULL);
}
