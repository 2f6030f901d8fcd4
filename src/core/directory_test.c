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
#include "base/splitmix.h"

enum { A = 3, B = 4, C = 5, LIMIT = 100000 };

static struct id128 key_of(uint64_t number)
{
    return (struct id128){splitmix_of(2 * number), splitmix_of(2 * number + 1)};
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

/* The generation under which a holder has a key, as readers see it; 0: it has not. */
static uint64_t generation_of(const struct directory *directory, uint64_t key, uint16_t holder)
{
    struct location places[CORE_HOLDERS_MAX];
    int n = directory_find(directory_table(directory), directory_overflow(directory), key_of(key),
                           places);
    for (int i = 0; i < n; i++)
        if (places[i].holder == holder)
            return places[i].generation;
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

static void four_holders_of_a_key_stand_side_by_side(void **state)
{
    struct directory *directory = *state;
    for (uint16_t i = 0; i < 4; i++) {
        assert_int_equal(put(directory, 1, A + i, 10 * (i + 1u)), 0);
        for (uint16_t j = 0; j <= i; j++)
            assert_int_equal(generation_of(directory, 1, A + j), 10 * (j + 1u));
    }
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

/* With four places taken, the one that was named longest ago makes room. */
static void fifth_holder_takes_the_place_of_the_oldest(void **state)
{
    struct directory *directory = *state;
    for (uint16_t holder = 10; holder < 15; holder++) {
        put(directory, 1, holder, holder);
        for (uint64_t i = 0; i < LIMIT / 16; i++)
            put(directory, holder * UINT64_C(100000) + i, C, 1);
        if (holder == 12)
            put(directory, 1, 10, 20); /* named again: 11 is the oldest then */
    }
    assert_int_equal(generation_of(directory, 1, 10), 20);
    assert_int_equal(generation_of(directory, 1, 11), 0);
    for (uint16_t holder = 12; holder < 15; holder++)
        assert_int_equal(generation_of(directory, 1, holder), holder);
}

/* A shard keeps the third and fourth holder of some pages only: the rest make do with two. */
static void full_overflow_leaves_two_holders(void **state)
{
    struct directory *directory = *state;
    uint32_t with_three = 0, with_two = 0;
    for (uint64_t key = 0; key < LIMIT / 4; key++) {
        for (uint16_t holder = A; holder <= C; holder++)
            assert_int_equal(put(directory, key, holder, 1), 0);
        int n = 0;
        for (uint16_t holder = A; holder <= C; holder++)
            n += generation_of(directory, key, holder) == 1;
        with_three += n == 3;
        with_two += n == 2;
        assert_int_equal(generation_of(directory, key, C), 1); /* who came last is known */
    }
    assert_int_equal(with_three, LIMIT / 16);
    assert_int_equal(with_three + with_two, LIMIT / 4);
    assert_int_equal(seqtable_count(directory_overflow(directory)), LIMIT / 16);
}

static void retract_reaches_the_overflow(void **state)
{
    struct directory *directory = *state;
    for (uint16_t i = 0; i < 4; i++)
        put(directory, 1, A + i, 10);
    assert_int_equal(directory_remove(directory, key_of(1), A + 3, 9), -ENOENT);
    assert_int_equal(directory_remove(directory, key_of(1), A + 3, 10), 0);
    assert_int_equal(generation_of(directory, 1, A + 3), 0);
    for (uint16_t i = 0; i < 3; i++)
        assert_int_equal(generation_of(directory, 1, A + i), 10);
    /* The first one goes, and another moves up. */
    assert_int_equal(directory_remove(directory, key_of(1), A, 10), 0);
    assert_int_equal(seqtable_count(directory_overflow(directory)), 0);
    assert_int_equal(generation_of(directory, 1, A + 1), 10);
    assert_int_equal(generation_of(directory, 1, A + 2), 10);

    put(directory, 1, A, 10);
    assert_true(protection_disable("retract_overflow"));
    assert_int_equal(directory_remove(directory, key_of(1), A, 10), -ENOENT);
    assert_int_equal(generation_of(directory, 1, A), 10);
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

static void without_the_sweep_what_was_not_named_stays(void **state)
{
    struct directory *directory = *state;
    put(directory, 1, A, 1);
    assert_true(protection_disable("sweep_unnamed"));
    directory_sync_begin(directory, A);
    directory_sync_end(directory, A);
    sweep_all(directory);
    assert_int_equal(generation_of(directory, 1, A), 1);
}

static void name_again(struct directory *directory, uint64_t page)
{
    directory_sync_begin(directory, A);
    put(directory, page, A, 1);
    directory_sync_end(directory, A);
    sweep_all(directory);
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
        name_again(directory, base + 1);
        uint16_t muddled = directory_muddled(directory);
        assert_int_equal(muddled, breaks >= 3 ? A : CORE_PEER_NONE);
        if (muddled == A)
            name_again(directory, base + 1);
        assert_int_equal(directory_muddled(directory), CORE_PEER_NONE);
        assert_int_equal(generation_of(directory, base, A), 0);
        assert_int_equal(generation_of(directory, base + 1, A), 1);
        for (int i = 0; i < breaks; i++)
            assert_int_equal(generation_of(directory, base + 2 + (uint64_t)i, A), 0);
    }
}

static void without_the_second_sync_it_stays(void **state)
{
    struct directory *directory = *state;
    assert_true(protection_disable("muddled_sync_again"));
    for (uint64_t page = 1; page <= 3; page++) {
        directory_sync_begin(directory, A);
        put(directory, page, A, 1);
    }
    name_again(directory, 9);
    assert_int_equal(directory_muddled(directory), CORE_PEER_NONE);
    assert_int_equal(generation_of(directory, 3, A), 1);
}

/* Up to two breaks one sync is enough. */
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

/* Keys of one home bucket, as a member may choose them: they make room among themselves, and each
 * costs a bounded look at its neighbours.  Of the others none is lost. */
static void colliding_keys_drive_out_each_other_alone(void **state)
{
    struct directory *directory = *state;
    enum { OTHERS = 1000, COLLIDING = 2000 };
    struct location place = {.holder = B, .length_bytes = 1, .generation = 1};
    uint32_t kept = 0;
    for (uint64_t i = 0; i < OTHERS; i++)
        put(directory, i, A, 1);
    for (uint64_t i = 0; i < COLLIDING; i++) {
        /* lo ^ rotated hi is the same for all, and so are the first bits of hi */
        struct id128 key = {.hi = UINT64_C(0x7000000000000000) | i};
        key.lo = UINT64_C(0x123456789) ^ (key.hi << 32 | key.hi >> 32);
        assert_int_equal(directory_put(directory, key, &place), 0);
    }
    for (uint64_t i = 0; i < OTHERS; i++)
        kept += generation_of(directory, i, A) == 1;
    assert_in_range(kept, OTHERS - 1, OTHERS); /* one may lie in between */
    assert_in_range(directory_count(directory), OTHERS, OTHERS + 600);
}

/* --- against a model: a map of (key, holder) to the generation, and what of it is doomed --- */

enum { MODEL_KEYS = 300, MODEL_HOLDERS = 6 };

struct model {
    uint64_t generations[MODEL_KEYS][MODEL_HOLDERS]; /* 0: not there */
    bool is_named[MODEL_KEYS][MODEL_HOLDERS];        /* since the holder's sync began */
    bool is_syncing[MODEL_HOLDERS];
};

static int holders_of(const struct model *model, uint64_t key)
{
    int n = 0;
    for (int i = 0; i < MODEL_HOLDERS; i++)
        n += model->generations[key][i] != 0;
    return n;
}

static void compare(const struct directory *directory, const struct model *model)
{
    uint64_t entries = 0;
    for (uint64_t key = 0; key < MODEL_KEYS; key++) {
        entries += holders_of(model, key) > 0;
        for (uint16_t i = 0; i < MODEL_HOLDERS; i++)
            assert_int_equal(generation_of(directory, key, i + 1u), model->generations[key][i]);
    }
    assert_int_equal(directory_count(directory), entries);
}

static void end_sync(struct directory *directory, struct model *model, uint16_t holder)
{
    directory_sync_end(directory, holder + 1u);
    sweep_all(directory);
    for (uint64_t key = 0; key < MODEL_KEYS; key++)
        if (!model->is_named[key][holder])
            model->generations[key][holder] = 0;
    model->is_syncing[holder] = false;
}

static void change(struct directory *directory, struct model *model, uint64_t random,
                   uint64_t generation)
{
    uint64_t key = random / 64 % MODEL_KEYS;
    uint16_t holder = random / 65536 % MODEL_HOLDERS;
    uint64_t *at = &model->generations[key][holder];
    if (random % 64 < 36) {
        if (*at == 0 && holders_of(model, key) == CORE_HOLDERS_MAX)
            return; /* who would make room is not for the model to say */
        assert_int_equal(put(directory, key, holder + 1u, generation), 0);
        *at = generation;
        model->is_named[key][holder] = true;
    } else if (random % 64 < 60) {
        uint64_t which = random >> 60 ? *at : generation; /* the right filling, or a late retract */
        bool is_there = *at && which == *at;
        assert_int_equal(directory_remove(directory, key_of(key), holder + 1u, which),
                         is_there ? 0 : -ENOENT);
        *at = is_there ? 0 : *at;
    } else if (random % 64 < 62 && !model->is_syncing[holder]) {
        directory_sync_begin(directory, holder + 1u);
        model->is_syncing[holder] = true;
        for (uint64_t i = 0; i < MODEL_KEYS; i++)
            model->is_named[i][holder] = false;
    } else if (random % 64 < 63 && model->is_syncing[holder]) {
        end_sync(directory, model, holder);
    } else if (random % 64 == 63 && random >> 62 == 0) {
        directory_drop_holder(directory, holder + 1u);
        sweep_all(directory);
        for (uint64_t i = 0; i < MODEL_KEYS; i++)
            model->generations[i][holder] = 0;
    }
}

static void agrees_with_a_map_of_keys_and_holders(void **state)
{
    struct directory *directory = *state;
    static struct model model;
    for (uint64_t seed = 1; seed <= 5; seed++)
        for (uint64_t i = 0; i < 20000; i++) {
            change(directory, &model, splitmix_of(seed * 1000000 + i), seed * 100000 + i);
            if (i % 400 == 0)
                compare(directory, &model);
        }
    compare(directory, &model);
}

/* Directory and overflow count alike: three holders of each page. */
static void memory_of_both_tables_is_counted(void **state)
{
    struct directory *directory = *state;
    put(directory, 1, A, 1);
    put(directory, 1, B, 1);
    uint64_t before = directory_bytes(directory);
    put(directory, 1, C, 1);
    assert_true(directory_bytes(directory) > before);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(four_holders_of_a_key_stand_side_by_side),
        TEST(announce_is_an_upsert_of_key_and_holder),
        TEST(fifth_holder_takes_the_place_of_the_oldest),
        TEST(full_overflow_leaves_two_holders),
        TEST(retract_reaches_the_overflow),
        TEST(retract_removes_exactly_its_filling),
        TEST(late_retract_spares_the_newer_filling),
        TEST(dropped_holder_is_swept_whole_and_alone),
        TEST(sweep_misses_nothing_while_the_table_changes),
        TEST(index_is_free_only_after_a_whole_walk),
        TEST(sync_sweeps_what_was_not_named),
        TEST(without_the_sweep_what_was_not_named_stays),
        TEST(broken_off_sync_leaves_nothing_behind),
        TEST(without_the_second_sync_it_stays),
        TEST(sync_after_broken_ones_is_enough_alone),
        TEST(sync_during_a_sweep_loses_and_keeps_nothing),
        TEST(colliding_keys_drive_out_each_other_alone),
        TEST(agrees_with_a_map_of_keys_and_holders),
        TEST(memory_of_both_tables_is_counted),
        cmocka_unit_test(at_the_limit_the_oldest_goes),
        cmocka_unit_test(page_named_again_outlives_the_others),
        cmocka_unit_test(key_zero_is_refused_and_costs_nobody),
    };
    return cmocka_run_group_tests_name("core/directory", tests, NULL, NULL);
}
