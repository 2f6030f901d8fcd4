/* SPDX-License-Identifier: Apache-2.0 */
/* extent_test.c - the extents against a plain map of units, from seeds. */
#include "core/extent.h"

#include "base/splitmix.h"
#include "core/seed_test_harness.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { UNITS = 3000, SLOTS = 300, STEPS = 4000, SEEDS = 20 };

/* Who has each unit, told apart from the extents; SLOT_NONE: nobody. */
struct model {
    uint32_t owner[UNITS];
};

static uint64_t model_longest_run(const struct model *model)
{
    uint64_t longest = 0, run = 0;
    for (int i = 0; i < UNITS; i++) {
        run = model->owner[i] == SLOT_NONE ? run + 1 : 0;
        longest = run > longest ? run : longest;
    }
    return longest;
}

static void model_paint(struct model *model, uint64_t offset, uint64_t units, uint32_t from,
                        uint32_t to)
{
    EXPECT(offset + units <= UNITS);
    for (uint64_t i = offset; i < offset + units; i++) {
        EXPECT(model->owner[i] == from);
        model->owner[i] = to;
    }
}

/* The extents cover the line in order, say what the model says, and no two free ones touch. */
static void compare(const struct extents *x, const struct model *model)
{
    uint64_t offset = 0, free_units = 0;
    uint32_t before = EXTENT_NONE;
    bool before_is_free = false;
    for (uint32_t id = extents_first(x); id != EXTENT_NONE; id = extents_after(x, id)) {
        uint32_t slot = extents_slot(x, id);
        EXPECT(extents_before(x, id) == before);
        EXPECT(extents_offset_units(x, id) == offset);
        EXPECT(!(slot == SLOT_NONE && before_is_free));
        EXPECT(slot == SLOT_NONE || extents_of_slot(x, slot) == id);
        for (uint64_t i = 0; i < extents_units(x, id); i++)
            EXPECT(model->owner[offset + i] == slot);
        offset += extents_units(x, id);
        free_units += slot == SLOT_NONE ? extents_units(x, id) : 0;
        before_is_free = slot == SLOT_NONE;
        before = id;
    }
    EXPECT(offset == UNITS);
    EXPECT(free_units == extents_free_units(x));
}

static void take_one(struct extents *x, struct model *model, uint32_t slot, uint64_t units)
{
    uint64_t longest = model_longest_run(model);
    uint64_t claimed = extents_largest_free(x);
    EXPECT(claimed <= longest && longest <= claimed + claimed / 32);
    uint32_t id = extents_take(x, units, slot);
    if (id == EXTENT_NONE) {
        EXPECT(longest < units + units / 32 + 1);
        return;
    }
    EXPECT(extents_units(x, id) == units);
    model_paint(model, extents_offset_units(x, id), units, SLOT_NONE, slot);
}

static void release_one(struct extents *x, struct model *model, uint32_t slot)
{
    uint32_t id = extents_of_slot(x, slot);
    model_paint(model, extents_offset_units(x, id), extents_units(x, id), slot, SLOT_NONE);
    extents_release(x, id);
    EXPECT(extents_of_slot(x, slot) == EXTENT_NONE);
}

static void run_seed(uint64_t seed)
{
    seed_now = seed;
    uint64_t state = seed;
    struct model model;
    memset(&model, 0xff, sizeof model);
    struct extents *x;
    assert_int_equal(extents_new(UNITS, SLOTS, &x), 0);
    for (int step = 0; step < STEPS; step++) {
        uint32_t slot = splitmix_next(&state) % SLOTS;
        uint64_t limit = UINT64_C(1) << splitmix_next(&state) % 10;
        if (extents_of_slot(x, slot) == EXTENT_NONE)
            take_one(x, &model, slot, 1 + splitmix_next(&state) % limit);
        else
            release_one(x, &model, slot);
        if (step % 16 == 0)
            compare(x, &model);
    }
    for (uint32_t slot = 0; slot < SLOTS; slot++)
        if (extents_of_slot(x, slot) != EXTENT_NONE)
            release_one(x, &model, slot);
    compare(x, &model);
    EXPECT(extents_units(x, extents_first(x)) == UNITS);
    EXPECT(extents_largest_free(x) == UNITS);
    extents_free(x);
}

static void test_random_against_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        run_seed(seed);
}

/* A pool of pages of one length is full to the last unit, also after random holes were refilled. */
static void test_uniform_pages_fill_all(void **state)
{
    (void)state;
    enum { PAGES = 500, PAGE_UNITS = 2049 };
    struct extents *x;
    uint64_t random = 7;
    assert_int_equal(extents_new((uint64_t)PAGES * PAGE_UNITS, PAGES, &x), 0);
    for (int round = 0; round < 20; round++) {
        for (uint32_t slot = 0; slot < PAGES; slot++)
            if (extents_of_slot(x, slot) == EXTENT_NONE)
                assert_int_not_equal(extents_take(x, PAGE_UNITS, slot), EXTENT_NONE);
        assert_int_equal(extents_free_units(x), 0);
        assert_int_equal(extents_largest_free(x), 0);
        assert_int_equal(extents_take(x, 1, 0), EXTENT_NONE);
        for (uint32_t slot = 0; slot < PAGES; slot++)
            if (splitmix_next(&random) & 1)
                extents_release(x, extents_of_slot(x, slot));
    }
    extents_free(x);
}

/* A hole that is just large enough is found although a smaller one of its bin lies before it. */
static void test_own_bin_is_searched(void **state)
{
    (void)state;
    struct extents *x;
    assert_int_equal(extents_new(1021 + 1 + 1020 + 1, 8, &x), 0);
    uint32_t large = extents_take(x, 1021, 0);
    extents_take(x, 1, 1);
    uint32_t small = extents_take(x, 1020, 2);
    extents_take(x, 1, 3);
    extents_release(x, large);
    extents_release(x, small);
    uint32_t id = extents_take(x, 1021, 4);
    assert_int_equal(extents_offset_units(x, id), 0);
    id = extents_take(x, 1020, 5);
    assert_int_equal(extents_offset_units(x, id), 1022);
    extents_free(x);
}

static void test_take_at_and_neighbours(void **state)
{
    (void)state;
    struct extents *x;
    assert_int_equal(extents_new(100, 4, &x), 0);
    uint32_t a = extents_take(x, 10, 0);
    uint32_t rest = extents_after(x, a);
    assert_int_equal(extents_slot(x, rest), SLOT_NONE);
    uint32_t b = extents_take_at(x, rest, 20, 3);
    assert_int_equal(extents_offset_units(x, b), 10);
    assert_int_equal(extents_slot(x, b), 3);
    assert_int_equal(extents_before(x, b), a);
    assert_int_equal(extents_before(x, a), EXTENT_NONE);
    assert_int_equal(extents_free_units(x), 70);
    assert_int_equal(extents_total_units(x), 100);
    assert_int_equal(extents_max_slots(x), 4);
    extents_free(x);
}

static void test_limits(void **state)
{
    (void)state;
    struct extents *x;
    assert_int_equal(extents_new(0, 1, &x), -EINVAL);
    assert_int_equal(extents_new(1, 0, &x), -EINVAL);
    assert_int_equal(extents_new(EXTENTS_MAX_UNITS + 1, 1, &x), -EINVAL);
    assert_int_equal(extents_new(1, EXTENTS_MAX_SLOTS + 1u, &x), -EINVAL);
    assert_int_equal(extents_new(EXTENTS_MAX_UNITS, 1, &x), 0);
    assert_int_equal(extents_take(x, EXTENTS_MAX_UNITS, 0), 0);
    assert_int_equal(extents_free_units(x), 0);
    extents_free(x);
    extents_free(NULL);
    assert_int_equal(extents_units_of(0), 0);
    assert_int_equal(extents_units_of(1), 1);
    assert_int_equal(extents_units_of(64), 1);
    assert_int_equal(extents_units_of(65), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_against_model),
        cmocka_unit_test(test_uniform_pages_fill_all),
        cmocka_unit_test(test_own_bin_is_searched),
        cmocka_unit_test(test_take_at_and_neighbours),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests_name("extent", tests, NULL, NULL);
}
