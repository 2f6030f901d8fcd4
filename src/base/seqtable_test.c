/* SPDX-License-Identifier: Apache-2.0 */
/* seqtable_test.c - the table from one thread: against a plain model, at its limits, its size. */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/seqtable.h"
#include "base/splitmix.h"

static struct id128 key_of(uint64_t number)
{
    return (struct id128){.hi = splitmix_of(2 * number), .lo = splitmix_of(2 * number + 1)};
}

static struct seqtable_value value_of(uint64_t number, uint32_t version)
{
    struct seqtable_value value;
    for (int i = 0; i < SEQTABLE_VALUE_BYTES; i++)
        value.bytes[i] = splitmix_of(number * 1000 + version) >> (i % 8 * 8) ^ i;
    return value;
}

static struct seqtable *new_table(uint64_t max_entries)
{
    struct seqtable *table = NULL;
    assert_int_equal(seqtable_new(max_entries, &table), 0);
    return table;
}

static void put(struct seqtable *table, uint64_t number, uint32_t version)
{
    struct seqtable_value value = value_of(number, version);
    assert_int_equal(seqtable_put(table, key_of(number), &value), 0);
}

static void assert_finds(const struct seqtable *table, uint64_t number, uint32_t version)
{
    struct seqtable_value found, expected = value_of(number, version);
    assert_int_equal(seqtable_find(table, key_of(number), &found), 0);
    assert_memory_equal(&found, &expected, sizeof found);
}

static void assert_misses(const struct seqtable *table, uint64_t number)
{
    struct seqtable_value found;
    assert_int_equal(seqtable_find(table, key_of(number), &found), -ENOENT);
}

static void finds_what_was_put(void **state)
{
    (void)state;
    struct seqtable *table = new_table(1000);
    assert_misses(table, 1);
    put(table, 1, 1);
    assert_finds(table, 1, 1);
    put(table, 1, 2);
    assert_finds(table, 1, 2);
    assert_int_equal(seqtable_count(table), 1);
    assert_int_equal(seqtable_remove(table, key_of(1)), 0);
    assert_misses(table, 1);
    assert_int_equal(seqtable_remove(table, key_of(1)), -ENOENT);
    assert_int_equal(seqtable_count(table), 0);
    seqtable_free(table);
}

static void refuses_absurd_sizes(void **state)
{
    (void)state;
    struct seqtable *table = NULL;
    assert_int_equal(seqtable_new(0, &table), -EINVAL);
    assert_int_equal(seqtable_new(SEQTABLE_ENTRIES_MAX + 1, &table), -EINVAL);
    assert_int_equal(seqtable_new(UINT64_MAX, &table), -EINVAL);
    assert_null(table);
    seqtable_free(NULL);
}

/* A peer may send a digest of zeroes: it must neither be found nor stop the process. */
static void key_zero_is_never_there(void **state)
{
    (void)state;
    struct seqtable *table = new_table(100);
    struct seqtable_value value = value_of(1, 1);
    struct id128 zero = {0};
    assert_int_equal(seqtable_find(table, zero, &value), -ENOENT);
    assert_int_equal(seqtable_put(table, zero, &value), -EINVAL);
    assert_int_equal(seqtable_find(table, zero, &value), -ENOENT);
    assert_int_equal(seqtable_remove(table, zero), -ENOENT);
    assert_int_equal(seqtable_count(table), 0);
    seqtable_free(table);
}

/* Half of a key being zero is nothing special. */
static void keys_with_a_zero_half(void **state)
{
    (void)state;
    struct seqtable *table = new_table(100);
    struct id128 keys[] = {{.hi = 0, .lo = 7}, {.hi = 7, .lo = 0}, {.hi = 7, .lo = 7}};
    for (uint32_t i = 0; i < 3; i++) {
        struct seqtable_value value = value_of(i, 1);
        assert_int_equal(seqtable_put(table, keys[i], &value), 0);
    }
    for (uint32_t i = 0; i < 3; i++) {
        struct seqtable_value found, expected = value_of(i, 1);
        assert_int_equal(seqtable_find(table, keys[i], &found), 0);
        assert_memory_equal(&found, &expected, sizeof found);
    }
    seqtable_free(table);
}

/* Numbers instead of hashes as keys, as tables of peers have them. */
static void keys_that_are_no_hashes(void **state)
{
    (void)state;
    struct seqtable *table = new_table(4096);
    for (uint64_t i = 1; i <= 4000; i++) {
        struct seqtable_value value = value_of(i, 1);
        assert_int_equal(seqtable_put(table, (struct id128){.lo = i}, &value), 0);
    }
    for (uint64_t i = 1; i <= 4000; i++) {
        struct seqtable_value found, expected = value_of(i, 1);
        assert_int_equal(seqtable_find(table, (struct id128){.lo = i}, &found), 0);
        assert_memory_equal(&found, &expected, sizeof found);
    }
    seqtable_free(table);
}

enum { MODEL_KEYS = 3000, MODEL_STEPS = 60000 };

static void check_against_model(const struct seqtable *table, const uint32_t *versions)
{
    uint64_t count = 0;
    for (uint64_t number = 0; number < MODEL_KEYS; number++) {
        if (versions[number]) {
            assert_finds(table, number, versions[number]);
            count++;
        } else {
            assert_misses(table, number);
        }
    }
    assert_int_equal(seqtable_count(table), count);
}

/* Random operations beside an array that says what must be there.  The share of puts swings, so
 * that the table fills, empties, and fills again. */
static void run_model(uint64_t seed)
{
    static uint32_t versions[MODEL_KEYS];
    memset(versions, 0, sizeof versions);
    struct seqtable *table = new_table(MODEL_KEYS);
    for (uint32_t step = 1; step <= MODEL_STEPS; step++) {
        uint64_t random = splitmix_of(seed << 32 | step);
        uint64_t number = random % MODEL_KEYS;
        bool puts = random >> 32 & 1 || (step / 10000 % 2 == 0 && random >> 33 & 1);
        if (puts) {
            put(table, number, step);
            versions[number] = step;
        } else {
            int expected = versions[number] ? 0 : -ENOENT;
            assert_int_equal(seqtable_remove(table, key_of(number)), expected);
            versions[number] = 0;
        }
        if (step % 5000 == 0)
            check_against_model(table, versions);
    }
    seqtable_free(table);
}

static void behaves_like_the_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        print_message("# seed %" PRIu64 "\n", seed);
        run_model(seed);
    }
}

/* 80 to 100 bytes a live entry, at every size on the way up: what the directory promises. */
static void costs_80_to_100_bytes_an_entry(void **state)
{
    (void)state;
    enum { ENTRIES = 400000 };
    struct seqtable *table = new_table(ENTRIES);
    double least = 1e9, most = 0;
    for (uint64_t i = 0; i < ENTRIES; i++) {
        put(table, i, 1);
        if (i < 100000 || i % 1000)
            continue;
        double bytes = (double)seqtable_bytes(table) / (double)seqtable_count(table);
        least = bytes < least ? bytes : least;
        most = bytes > most ? bytes : most;
    }
    print_message("# %.1f to %.1f bytes an entry\n", least, most);
    assert_true(least >= 80 && most <= 100);
    for (uint64_t i = 0; i < ENTRIES; i++)
        assert_finds(table, i, 1);
    seqtable_free(table);
}

static void empty_table_uses_no_memory(void **state)
{
    (void)state;
    struct seqtable *table = new_table(10000000);
    struct seqtable_value found;
    assert_int_equal(seqtable_bytes(table), 0);
    assert_int_equal(seqtable_find(table, key_of(1), &found), -ENOENT);
    put(table, 1, 1);
    assert_int_equal(seqtable_bytes(table), 4096);
    seqtable_free(table);
}

/* What was promised fits; one segment at its limit says so, and overwriting goes on. */
static void full_segment_says_so(void **state)
{
    (void)state;
    enum { MAX = 1000 };
    struct seqtable *table = new_table(MAX);
    uint64_t number = 0;
    int error = 0;
    while (!error) {
        struct seqtable_value value = value_of(number, 1);
        error = seqtable_put(table, key_of(number), &value);
        number += error == 0;
    }
    assert_int_equal(error, -ENOSPC);
    assert_true(number >= MAX && number <= MAX + MAX / 4 + 64);
    assert_int_equal(seqtable_count(table), number);
    assert_misses(table, number);
    put(table, 0, 2);
    assert_finds(table, 0, 2);
    for (uint64_t i = 1; i < number; i++)
        assert_finds(table, i, 1);
    assert_int_equal(seqtable_remove(table, key_of(5)), 0);
    put(table, number, 1);
    assert_finds(table, number, 1);
    seqtable_free(table);
}

/* Keys that all have one home: the probe limit ends it, with nothing lost. */
static void keys_of_one_home_end_at_the_probe_limit(void **state)
{
    (void)state;
    enum { MAX = 4096 };
    struct seqtable *table = new_table(MAX);
    uint64_t stored = 0;
    int error = 0;
    for (uint64_t i = 0; i < MAX && !error; i++) {
        /* The home comes from lo ^ rotated hi: kept equal while the key changes. */
        struct id128 key = {.hi = i, .lo = i << 32};
        struct seqtable_value stored_value = value_of(i, 1);
        if (i == 0)
            key = (struct id128){.hi = 1 << 20, .lo = UINT64_C(1) << 52};
        error = seqtable_put(table, key, &stored_value);
        stored += error == 0;
    }
    assert_int_equal(error, -ENOSPC);
    assert_true(stored >= 256);
    /* Again and again: the segment grows to its end in vain, and what is there stays. */
    struct id128 one_more = {.hi = MAX, .lo = UINT64_C(4096) << 32};
    struct seqtable_value value = {{0}};
    for (int i = 0; i < 30; i++)
        assert_int_equal(seqtable_put(table, one_more, &value), -ENOSPC);
    assert_int_equal(seqtable_find(table, one_more, &value), -ENOENT);
    assert_int_equal(seqtable_remove(table, one_more), -ENOENT);
    for (uint64_t i = 1; i < stored; i++) {
        struct seqtable_value found, expected = value_of(i, 1);
        struct id128 key = {.hi = i, .lo = i << 32};
        assert_int_equal(seqtable_find(table, key, &found), 0);
        assert_memory_equal(&found, &expected, sizeof found);
    }
    assert_int_equal(seqtable_count(table), stored);
    seqtable_free(table);
}

/* What a walk has seen of the keys 0 .. n - 1. */
struct seen {
    uint64_t keys, total;
    uint8_t times[20000];
};

static void see(struct seen *seen, struct id128 key, const struct seqtable_value *value)
{
    for (uint64_t number = 0; number < seen->keys; number++) {
        if (!id128_equal(key, key_of(number)))
            continue;
        struct seqtable_value expected = value_of(number, 1);
        assert_memory_equal(value, &expected, sizeof expected);
        seen->times[number]++;
        seen->total++;
        return;
    }
}

static void walk_sees_all_entries_once(void **state)
{
    (void)state;
    static struct seen seen;
    seen = (struct seen){.keys = 10000};
    struct seqtable *table = new_table(20000);
    for (uint64_t i = 0; i < seen.keys; i++)
        put(table, i, 1);
    struct id128 key;
    struct seqtable_value value;
    uint64_t cursor = 0;
    int got;
    while ((got = seqtable_walk(table, &cursor, 100, &key, &value)) != 0) {
        assert_true(got == 1 || got == -EAGAIN);
        if (got == 1)
            see(&seen, key, &value);
    }
    assert_int_equal(seen.total, seen.keys);
    for (uint64_t i = 0; i < seen.keys; i++)
        assert_int_equal(seen.times[i], 1);
    assert_int_equal(seqtable_walk(table, &cursor, 100, &key, &value), 0);
    seqtable_free(table);
}

/* A walk of an almost empty table that was made for many entries has its bound too. */
static void walk_keeps_to_its_budget(void **state)
{
    (void)state;
    enum { BUDGET = 64 };
    struct seqtable *table = new_table(4000000);
    put(table, 1, 1);
    struct id128 key;
    struct seqtable_value value;
    uint64_t cursor = 0;
    uint32_t calls = 1, found = 0;
    for (int got; (got = seqtable_walk(table, &cursor, BUDGET, &key, &value)) != 0; calls++)
        found += got == 1;
    assert_int_equal(found, 1);
    assert_true(calls >= 1024 / BUDGET); /* 1,024 segments */
    seqtable_free(table);

    /* And so has one of a segment that was emptied: it stays as large as it was. */
    table = new_table(1000);
    for (uint64_t i = 0; i < 1000; i++)
        put(table, i, 1);
    for (uint64_t i = 1; i < 1000; i++)
        assert_int_equal(seqtable_remove(table, key_of(i)), 0);
    cursor = calls = found = 0;
    for (int got; (got = seqtable_walk(table, &cursor, BUDGET, &key, &value)) != 0; calls++)
        found += got == 1;
    assert_int_equal(found, 1);
    assert_true(calls >= 1000 / BUDGET);
    seqtable_free(table);
}

/* A sweep removes what the walk gives it, and something else, and misses nothing that stays. */
static void walk_that_removes_misses_nothing(void **state)
{
    (void)state;
    static struct seen seen;
    seen = (struct seen){.keys = 5000};
    struct seqtable *table = new_table(5000);
    for (uint64_t i = 0; i < seen.keys; i++)
        put(table, i, 1);
    struct id128 key;
    struct seqtable_value value;
    uint64_t cursor = 0, steps = 0;
    for (int got; (got = seqtable_walk(table, &cursor, 1000, &key, &value)) != 0; steps++) {
        if (got != 1)
            continue;
        see(&seen, key, &value);
        if (steps % 2)
            assert_int_equal(seqtable_remove(table, key), 0);
        if (steps % 5 == 0) {
            uint64_t other = splitmix_of(steps) % seen.keys;
            if (seqtable_remove(table, key_of(other)) == 0)
                seen.times[other] |= 128;
        }
    }
    for (uint64_t i = 0; i < seen.keys; i++)
        assert_true(seen.times[i] > 0);
    seqtable_free(table);
}

/* The segment grows in the middle of the walk: it begins anew, and what stays is seen. */
static void walk_survives_growth(void **state)
{
    (void)state;
    static struct seen seen;
    seen = (struct seen){.keys = 1000};
    struct seqtable *table = new_table(4000);
    for (uint64_t i = 0; i < seen.keys; i++)
        put(table, i, 1);
    struct id128 key;
    struct seqtable_value value;
    uint64_t cursor = 0, added = 0;
    for (int got; (got = seqtable_walk(table, &cursor, 16, &key, &value)) != 0;) {
        if (got == 1)
            see(&seen, key, &value);
        for (int i = 0; i < 3 && added < 3000; i++)
            put(table, 10000 + added++, 1);
    }
    for (uint64_t i = 0; i < seen.keys; i++)
        assert_true(seen.times[i] > 0);
    seqtable_free(table);
}

/* From the key's home on and once round its segment, so the key itself comes first or nearly so. */
static void walk_near_goes_once_round_the_segment(void **state)
{
    (void)state;
    enum { ENTRIES = 10000 }; /* 4 segments: the top two bits of key.hi */
    struct seqtable *table = new_table(ENTRIES);
    uint64_t expected = 0, found = 0;
    struct id128 key;
    struct seqtable_value value;
    uint32_t cursor = 0, until_itself = 0;
    assert_int_equal(seqtable_walk_near(table, key_of(0), &cursor, 9, &key, &value), 0);
    for (uint64_t i = 0; i < ENTRIES; i++) {
        put(table, i, 1);
        expected += key_of(i).hi >> 62 == key_of(0).hi >> 62;
    }
    while (seqtable_walk_near(table, key_of(0), &cursor, UINT32_MAX, &key, &value) == 1) {
        assert_int_equal(key.hi >> 62, key_of(0).hi >> 62);
        found++;
        if (id128_equal(key, key_of(0)))
            until_itself = found;
    }
    assert_int_equal(found, expected);
    assert_in_range(until_itself, 1, 100);
    assert_int_equal(seqtable_walk_near(table, key_of(0), &cursor, UINT32_MAX, &key, &value), 0);
    for (cursor = found = 0; seqtable_walk_near(table, key_of(0), &cursor, 20, &key, &value);)
        found++;
    assert_in_range(found, 1, 20);
    seqtable_free(table);
}

/* Memory that the host program locked cannot be given back to the kernel: growth works all the
 * same, and the half that was left is empty when it is used again. */
static void grows_in_locked_memory(void **state)
{
    (void)state;
    struct seqtable *table = new_table(1000);
    if (mlockall(MCL_CURRENT) != 0) {
        seqtable_free(table);
        skip(); /* not allowed to lock so much here */
    }
    for (uint64_t i = 0; i < 1000; i++)
        put(table, i, 1);
    for (uint64_t i = 0; i < 1000; i++)
        assert_finds(table, i, 1);
    assert_int_equal(seqtable_count(table), 1000);
    munlockall();
    seqtable_free(table);
}

static void injects_again(void **state)
{
    (void)state;
    struct seqtable *table = new_table(100);
    put(table, 1, 1);
    seqtable_inject_again(table, 3);
    int again = 0;
    for (int i = 0; i < 30; i++) {
        struct seqtable_value found;
        again += seqtable_find(table, key_of(1), &found) == -EAGAIN;
    }
    assert_int_equal(again, 10);
    seqtable_inject_again(table, 0);
    assert_finds(table, 1, 1);
    seqtable_free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_was_put),
        cmocka_unit_test(refuses_absurd_sizes),
        cmocka_unit_test(key_zero_is_never_there),
        cmocka_unit_test(keys_with_a_zero_half),
        cmocka_unit_test(keys_that_are_no_hashes),
        cmocka_unit_test(behaves_like_the_model),
        cmocka_unit_test(costs_80_to_100_bytes_an_entry),
        cmocka_unit_test(empty_table_uses_no_memory),
        cmocka_unit_test(full_segment_says_so),
        cmocka_unit_test(keys_of_one_home_end_at_the_probe_limit),
        cmocka_unit_test(walk_sees_all_entries_once),
        cmocka_unit_test(walk_keeps_to_its_budget),
        cmocka_unit_test(walk_that_removes_misses_nothing),
        cmocka_unit_test(walk_survives_growth),
        cmocka_unit_test(walk_near_goes_once_round_the_segment),
        cmocka_unit_test(grows_in_locked_memory),
        cmocka_unit_test(injects_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
