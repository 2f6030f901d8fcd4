/* SPDX-License-Identifier: Apache-2.0 */
/* group_test.c - slots are found by their group's key, also where keys share a bucket. */
#include "core/group.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/extent.h"

enum { SLOTS = 24, STEPS = 20000, KEYS = 64 };

static struct group_table *table_new(uint32_t slots)
{
    struct group_table *table;
    assert_int_equal(group_table_new(slots, &table), 0);
    return table;
}

static void slot_is_found_until_it_is_removed(void **state)
{
    (void)state;
    struct group_table *table = table_new(SLOTS);
    assert_int_equal(group_find(table, 7), SLOT_NONE);
    group_put(table, 0, 7);
    assert_int_equal(group_find(table, 7), 0);
    assert_int_equal(group_find(table, 8), SLOT_NONE);
    group_remove(table, 0);
    assert_int_equal(group_find(table, 7), SLOT_NONE);
    group_remove(table, 0); /* twice does no harm */
    group_put(table, SLOTS - 1, 7);
    assert_int_equal(group_find(table, 7), SLOTS - 1);
    group_table_free(table);
}

/* The first, the middle and the last of a chain go, and the others are still found. */
static void keys_of_one_bucket_are_told_apart(void **state)
{
    (void)state;
    for (uint32_t gone = 0; gone < 3; gone++) {
        struct group_table *table = table_new(SLOTS);
        for (uint32_t slot = 0; slot < 3; slot++)
            group_put(table, slot, (slot + 1) * (UINT64_C(1) << 40));
        group_remove(table, gone);
        for (uint32_t slot = 0; slot < 3; slot++)
            assert_int_equal(group_find(table, (slot + 1) * (UINT64_C(1) << 40)),
                             slot == gone ? SLOT_NONE : slot);
        group_table_free(table);
    }
}

/* Against an array; the keys fall into few buckets. */
static void random_puts_and_removes(void **state)
{
    (void)state;
    uint64_t random = 1, keys[SLOTS] = {0};
    struct group_table *table = table_new(SLOTS);
    for (int step = 0; step < STEPS; step++) {
        random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        uint32_t slot = (uint32_t)(random >> 33) % SLOTS;
        uint64_t key = 1 + (random >> 50) % KEYS * 16, held = SLOT_NONE;
        for (uint32_t i = 0; i < SLOTS; i++)
            if (keys[i] == key)
                held = i;
        if (group_find(table, key) != held)
            fail_msg("step %d", step);
        if (keys[slot]) {
            group_remove(table, slot);
            keys[slot] = 0;
        } else if (held == SLOT_NONE) {
            group_put(table, slot, key);
            keys[slot] = key;
        }
    }
    group_table_free(table);
}

static void limits(void **state)
{
    (void)state;
    struct group_table *table = table_new(1);
    group_put(table, 0, UINT64_MAX);
    assert_int_equal(group_find(table, UINT64_MAX), 0);
    group_table_free(table);
    assert_int_equal(group_table_new(0, &table), -EINVAL);
    assert_int_equal(group_table_new(EXTENTS_MAX_SLOTS + 1u, &table), -EINVAL);
    group_table_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slot_is_found_until_it_is_removed),
        cmocka_unit_test(keys_of_one_bucket_are_told_apart),
        cmocka_unit_test(random_puts_and_removes),
        cmocka_unit_test(limits),
    };
    return cmocka_run_group_tests_name("core/group", tests, NULL, NULL);
}
