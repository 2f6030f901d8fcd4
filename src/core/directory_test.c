/* SPDX-License-Identifier: Apache-2.0 */
/* directory_test.c - the shard: who may change what, what is swept, what goes at the limit. */
#include "core/directory.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/protection.h"
#include "base/seqtable.h"

enum { A = 3, B = 4, C = 5, LIMIT = 100000 };

static uint64_t mix(uint64_t number)
{
    number += UINT64_C(0x9e3779b97f4a7c15);
    number = (number ^ number >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    number = (number ^ number >> 27) * UINT64_C(0x94d049bb133111eb);
    return number ^ number >> 31;
}

static struct id128 key_of(uint64_t number)
{
    return (struct id128){mix(2 * number), mix(2 * number + 1)};
}

static int put(struct directory *directory, uint64_t key, uint16_t holder, uint64_t generation)
{
    return directory_put(directory, key_of(key),
                         &(struct location){.holder = holder,
                                            .tier = 1,
                                            .slot = (uint32_t)key,
                                            .length_bytes = 100,
                                            .generation = generation});
}

/* The generation under which a holder has a key; 0: it has not. */
static uint64_t generation_of(const struct directory *directory, uint64_t key, uint16_t holder)
{
    struct seqtable_value value;
    struct location place;
    if (seqtable_find(directory_table(directory), key_of(key), &value) != 0)
        return 0;
    for (int i = 0; i < 2; i++) {
        location_unpack(value.bytes + i * LOCATION_BYTES, &place);
        if (place.length_bytes && place.holder == holder)
            return place.generation;
    }
    return 0;
}

static void sweep_all(struct directory *directory)
{
    int steps = 0;
    while (directory_sweep(directory))
        assert_true(++steps < 10000);
}

static int setup(void **state)
{
    return directory_new(LIMIT, (struct directory **)state);
}

static int teardown(void **state)
{
    protection_enable_all();
    directory_free(*state);
    return 0;
}

static void two_holders_of_a_key_stand_side_by_side(void **state)
{
    struct directory *directory = *state;
    assert_int_equal(put(directory, 1, A, 10), 0);
    assert_int_equal(put(directory, 1, B, 20), 0);
    assert_int_equal(generation_of(directory, 1, A), 10);
    assert_int_equal(generation_of(directory, 1, B), 20);
    assert_int_equal(directory_count(directory), 1);
}

static void announce_is_an_upsert_of_key_and_holder(void **state)
{
    struct directory *directory = *state;
    put(directory, 1, A, 10);
    put(directory, 1, B, 20);
    put(directory, 1, A, 11);
    assert_int_equal(generation_of(directory, 1, A), 11);
    assert_int_equal(generation_of(directory, 1, B), 20);
}

/* With two places taken, the one that was named longer ago makes room; of equals the first. */
static void third_holder_takes_the_place_of_the_older(void **state)
{
    struct directory *directory = *state;
    put(directory, 1, A, 10);
    for (uint64_t i = 1000; i < 1000 + LIMIT / 16; i++)
        put(directory, i, C, 1);
    put(directory, 1, B, 20);
    put(directory, 1, C, 30);
    assert_int_equal(generation_of(directory, 1, A), 0);
    assert_int_equal(generation_of(directory, 1, B), 20);
    assert_int_equal(generation_of(directory, 1, C), 30);
}

static void retract_removes_exactly_its_filling(void **state)
{
    struct directory *directory = *state;
    put(directory, 1, A, 10);
    put(directory, 1, B, 10);
    assert_int_equal(directory_remove(directory, key_of(1), A, 9), -ENOENT);
    assert_int_equal(directory_remove(directory, key_of(2), A, 10), -ENOENT);
    assert_int_equal(directory_remove(directory, key_of(1), A, 10), 0);
    assert_int_equal(generation_of(directory, 1, A), 0);
    assert_int_equal(generation_of(directory, 1, B), 10);
    assert_int_equal(directory_remove(directory, key_of(1), B, 10), 0);
    assert_int_equal(directory_count(directory), 0);
}

/* The same, twice: a retract that was on its way while the page was set anew. */
static void late_retract_spares_the_newer_filling(void **state)
{
    struct directory *directory = *state;
    put(directory, 1, A, 11);
    directory_remove(directory, key_of(1), A, 10);
    assert_int_equal(generation_of(directory, 1, A), 11);

    assert_true(protection_disable("retract_generation"));
    directory_remove(directory, key_of(1), A, 10);
    assert_int_equal(generation_of(directory, 1, A), 0);
}

/* Removing shifts entries in the table under the walk: none of the holder's may be left behind, and
 * none of the others' may go. */
static void dropped_holder_is_swept_whole_and_alone(void **state)
{
    struct directory *directory = *state;
    enum { KEYS = 30000 };
    for (uint64_t i = 0; i < KEYS; i++) {
        put(directory, i, A, 1);
        if (i % 3 == 0)
            put(directory, i, B, 1);
        put(directory, KEYS + i, B, 1);
    }
    directory_drop_holder(directory, A);
    assert_false(directory_holder_is_free(directory, A));
    sweep_all(directory);
    assert_true(directory_holder_is_free(directory, A));
    for (uint64_t i = 0; i < KEYS; i++) {
        assert_int_equal(generation_of(directory, i, A), 0);
        assert_int_equal(generation_of(directory, i, B), i % 3 == 0);
        assert_int_equal(generation_of(directory, KEYS + i, B), 1);
    }
    assert_int_equal(directory_count(directory), KEYS + KEYS / 3);
}

/* Entries come and go between the pieces of a walk, so that the table shifts and grows under it. */
static void sweep_misses_nothing_while_the_table_changes(void **state)
{
    struct directory *directory = *state;
    enum { KEYS = 20000 };
    for (uint64_t i = 0; i < KEYS; i++)
        put(directory, i, i % 2 ? A : B, 1);
    directory_drop_holder(directory, A);
    uint64_t added = KEYS, removed = 0;
    while (directory_sweep(directory)) {
        for (int i = 0; i < 500 && added < 4 * KEYS; i++)
            put(directory, added++, C, 1);
        for (int i = 0; i < 100 && removed < KEYS; i++, removed += 2)
            directory_remove(directory, key_of(removed), B, 1);
    }
    for (uint64_t i = 0; i < KEYS; i++) {
        assert_int_equal(generation_of(directory, i, A), 0);
        assert_int_equal(generation_of(directory, i, B), i % 2 == 0 && i >= removed);
    }
    for (uint64_t i = KEYS; i < added; i++)
        assert_int_equal(generation_of(directory, i, C), 1);
}

/* What belongs to the index after it was dropped must not be hit by the walk that is under way. */
static void index_is_free_only_after_a_whole_walk(void **state)
{
    struct directory *directory = *state;
    for (uint64_t i = 0; i < 20000; i++)
        put(directory, i, i % 2 ? A : B, 1);
    directory_drop_holder(directory, A);
    assert_true(directory_sweep(directory));
    directory_drop_holder(directory, B);
    while (!directory_holder_is_free(directory, A))
        assert_true(directory_sweep(directory));
    assert_false(directory_holder_is_free(directory, B));
    put(directory, 50000, A, 2);
    sweep_all(directory);
    assert_true(directory_holder_is_free(directory, B));
    assert_int_equal(generation_of(directory, 50000, A), 2);
    assert_int_equal(directory_count(directory), 1);
}

static void sync_sweeps_what_was_not_named(void **state)
{
    struct directory *directory = *state;
    for (uint64_t i = 0; i < 5000; i++) {
        put(directory, i, A, 1);
        put(directory, i, B, 1);
    }
    directory_sync_begin(directory, A);
    for (uint64_t i = 0; i < 5000; i += 2)
        put(directory, i, A, 1);
    sweep_all(directory); /* before the end nothing is swept */
    assert_int_equal(generation_of(directory, 1, A), 1);
    directory_sync_end(directory, A);
    sweep_all(directory);
    for (uint64_t i = 0; i < 5000; i++) {
        assert_int_equal(generation_of(directory, i, A), i % 2 == 0);
        assert_int_equal(generation_of(directory, i, B), 1);
    }
}

/* The connection broke in the middle of a sync, and the next one named less: what was named only
 * before the first, or only in the part that was cut off, is not there. */
static void broken_off_sync_leaves_nothing_behind(void **state)
{
    struct directory *directory = *state;
    for (int breaks = 1; breaks <= 6; breaks++) {
        uint64_t base = (uint64_t)breaks * 100;
        put(directory, base, A, 1);
        put(directory, base + 1, A, 1);
        for (int i = 0; i < breaks; i++) {
            directory_sync_begin(directory, A);
            put(directory, base + 2 + (uint64_t)i, A, 1);
            directory_sweep(directory);
        }
        directory_sync_begin(directory, A);
        put(directory, base + 1, A, 1);
        directory_sync_end(directory, A);
        sweep_all(directory);
        directory_sync_begin(directory, A); /* and nothing odd is left over for the next */
        put(directory, base + 1, A, 1);
        directory_sync_end(directory, A);
        sweep_all(directory);
        assert_int_equal(generation_of(directory, base, A), 0);
        assert_int_equal(generation_of(directory, base + 1, A), 1);
        for (int i = 0; i < breaks; i++)
            assert_int_equal(generation_of(directory, base + 2 + (uint64_t)i, A), 0);
    }
}

/* The same without the healing second sync, as far as it is promised: up to two breaks. */
static void sync_after_broken_ones_is_enough_alone(void **state)
{
    struct directory *directory = *state;
    for (int breaks = 1; breaks <= 2; breaks++) {
        uint64_t base = (uint64_t)breaks * 100;
        put(directory, base, A, 1);
        for (int i = 0; i < breaks; i++) {
            directory_sync_begin(directory, A);
            put(directory, base + 2 + (uint64_t)i, A, 1);
        }
        directory_sync_begin(directory, A);
        put(directory, base + 1, A, 1);
        directory_sync_end(directory, A);
        sweep_all(directory);
        assert_int_equal(generation_of(directory, base, A), 0);
        assert_int_equal(generation_of(directory, base + 1, A), 1);
        for (int i = 0; i < breaks; i++)
            assert_int_equal(generation_of(directory, base + 2 + (uint64_t)i, A), 0);
    }
}

/* A new sync begins while the sweep of the last one is half done. */
static void sync_during_a_sweep_loses_and_keeps_nothing(void **state)
{
    struct directory *directory = *state;
    enum { KEYS = 20000 };
    for (int rounds = 1; rounds <= 7; rounds++) {
        for (uint64_t i = 0; i < KEYS; i++)
            put(directory, i, A, 1);
        for (int round = 0; round < rounds; round++) {
            directory_sync_begin(directory, A);
            for (uint64_t i = 0; i < KEYS; i += 4)
                put(directory, i, A, 1);
            directory_sync_end(directory, A);
            for (int i = 0; i < round; i++)
                directory_sweep(directory);
        }
        sweep_all(directory);
        for (uint64_t i = 0; i < KEYS; i++)
            assert_int_equal(generation_of(directory, i, A), i % 4 == 0);
    }
}

static void at_the_limit_the_oldest_goes(void **state)
{
    struct directory *directory;
    (void)state;
    enum { SMALL = 1000 };
    assert_int_equal(directory_new(SMALL, &directory), 0);
    for (uint64_t i = 0; i < 3 * SMALL; i++) {
        assert_int_equal(put(directory, i, A, 1), 0);
        assert_true(directory_count(directory) <= SMALL);
    }
    uint32_t newest = 0, middle = 0, oldest = 0;
    for (uint64_t i = 0; i < SMALL; i++) {
        oldest += generation_of(directory, i, A) != 0;
        middle += generation_of(directory, SMALL + i, A) != 0;
        newest += generation_of(directory, 2 * SMALL + i, A) != 0;
    }
    assert_int_equal(oldest, 0);
    assert_true(newest >= SMALL * 9 / 10); /* ages are counted in steps, not in entries */
    assert_true(middle <= SMALL / 10);
    directory_free(directory);
}

/* Naming a page again, as every sync does, makes it young. */
static void page_named_again_outlives_the_others(void **state)
{
    struct directory *directory;
    (void)state;
    enum { SMALL = 1000 };
    assert_int_equal(directory_new(SMALL, &directory), 0);
    for (uint64_t i = 0; i < 5 * SMALL; i++) {
        put(directory, i, A, 1);
        put(directory, 0, A, 1);
    }
    assert_int_equal(generation_of(directory, 0, A), 1);
    directory_free(directory);
}

static void key_zero_is_refused_and_costs_nobody(void **state)
{
    struct directory *directory;
    (void)state;
    struct location place = {.holder = A, .length_bytes = 1, .generation = 1};
    assert_int_equal(directory_new(10, &directory), 0);
    for (uint64_t i = 0; i < 10; i++)
        put(directory, i, A, 1);
    assert_true(directory_put(directory, (struct id128){0}, &place) < 0);
    assert_int_equal(directory_count(directory), 10);
    directory_free(directory);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(two_holders_of_a_key_stand_side_by_side),
        TEST(announce_is_an_upsert_of_key_and_holder),
        TEST(third_holder_takes_the_place_of_the_older),
        TEST(retract_removes_exactly_its_filling),
        TEST(late_retract_spares_the_newer_filling),
        TEST(dropped_holder_is_swept_whole_and_alone),
        TEST(sweep_misses_nothing_while_the_table_changes),
        TEST(index_is_free_only_after_a_whole_walk),
        TEST(sync_sweeps_what_was_not_named),
        TEST(broken_off_sync_leaves_nothing_behind),
        TEST(sync_after_broken_ones_is_enough_alone),
        TEST(sync_during_a_sweep_loses_and_keeps_nothing),
        cmocka_unit_test(at_the_limit_the_oldest_goes),
        cmocka_unit_test(page_named_again_outlives_the_others),
        cmocka_unit_test(key_zero_is_refused_and_costs_nobody),
    };
    return cmocka_run_group_tests_name("core/directory", tests, NULL, NULL);
}
