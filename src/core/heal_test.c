/* SPDX-License-Identifier: Apache-2.0 */
/* heal_test.c - a core whose peers, played by the test, break off their syncs. */
#include "core/core_test_harness.h"

enum { A };

static struct world *world_now;

static int setup(void **state)
{
    (void)state;
    struct core_config config = world_config(0);
    world_now = world_new();
    world_add(world_now, &config);
    world_add_played(world_now, A, 1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    protection_enable_all();
    world_free(world_now);
    return 0;
}

static void name(uint64_t page)
{
    struct record_entry entry = {.digest = world_digest(page),
                                 .place = {.length_bytes = 5, .generation = page}};
    world_say(world_now, A, WORLD_CONTROL,
              &(struct message){.type = MESSAGE_announce,
                                .u.announce = {.batch = 1, .entries = &entry, .n_entries = 1}});
}

static void say_sync(enum sync_kind kind)
{
    world_say(world_now, A, WORLD_CONTROL,
              &(struct message){.type = MESSAGE_sync, .u.sync = {.kind = (uint8_t)kind}});
}

static int holders(uint64_t page)
{
    struct location places[CORE_HOLDERS_MAX];
    return world_holders(world_now, A, page, places);
}

static void sync_breaks_off(uint64_t page)
{
    say_sync(SYNC_BEGINS);
    name(page);
}

/* After so many broken syncs the stamps of entries do not tell any more which of them was last.  The
 * next sync is taken, and then asked for once more, over a new connection. */
static void holder_with_many_broken_syncs_is_asked_again(void **state)
{
    (void)state;
    for (uint64_t page = 1; page <= 3; page++)
        sync_breaks_off(page);
    say_sync(SYNC_BEGINS);
    uint32_t hangups = world_now->nodes[A]->n_hangups;
    say_sync(SYNC_ENDS);
    world_run(world_now);
    assert_int_equal(world_now->nodes[A]->n_hangups, hangups + 1);
    assert_int_equal(holders(1), 0);
    assert_int_equal(holders(3), 1);
    world_link_up(world_now, A, WORLD_CONTROL, PURPOSE_CONTROL, world_id(100), 1);
    say_sync(SYNC_BEGINS);
    say_sync(SYNC_ENDS);
    world_run(world_now);
    assert_int_equal(holders(3), 0);
    assert_int_equal(world_now->nodes[A]->n_hangups, hangups + 1);
}

static void holder_with_few_broken_syncs_is_not(void **state)
{
    (void)state;
    for (uint64_t page = 1; page <= 2; page++)
        sync_breaks_off(page);
    say_sync(SYNC_BEGINS);
    say_sync(SYNC_ENDS);
    world_run(world_now);
    assert_int_equal(world_now->nodes[A]->n_hangups, 0);
    assert_int_equal(holders(2), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(holder_with_many_broken_syncs_is_asked_again),
        TEST(holder_with_few_broken_syncs_is_not),
    };
    return cmocka_run_group_tests_name("core/heal", tests, NULL, NULL);
}
