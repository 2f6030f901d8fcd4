/* SPDX-License-Identifier: Apache-2.0 */
/* heal_test.c - connections that broke, rings that changed: owners know again what is there. */
#include "core/core_test_cluster.h"

/* Pages set while the connection is broken are named when it is back. */
static void pages_are_named_on_a_new_connection(void **state)
{
    (void)state;
    struct location places[CORE_HOLDERS_MAX];
    world_now = cluster(2);
    world_now->is_cut = true;
    world_break(world_now, A, control_link(A, B));
    world_set(world_now, A, 1, 10);
    assert_int_equal(world_holders(world_now, B, 1, places), 0);
    world_now->is_cut = false;
    world_pass(world_now, 5000);
    for (uint64_t page = 1; page <= 10; page++)
        assert_found_at(B, page, A);
}

static void without_sync_on_connect_they_stay_unknown(void **state)
{
    (void)state;
    struct location places[CORE_HOLDERS_MAX];
    world_now = cluster(2);
    assert_true(protection_disable("sync_on_connect"));
    world_now->is_cut = true;
    world_break(world_now, A, control_link(A, B));
    world_set(world_now, A, 1, 10);
    world_now->is_cut = false;
    world_pass(world_now, 5000);
    assert_int_equal(world_holders(world_now, B, 1, places), 0);
}

static uint32_t lost_pages_after_a_join(void)
{
    uint32_t lost = 0;
    world_now = cluster(2);
    world_set(world_now, A, 1, 200);
    world_run(world_now);
    struct core_config config = world_config(50);
    world_add(world_now, &config);
    world_pass(world_now, 10000);
    assert_int_equal(ring_nodes(A), 3);
    for (uint64_t page = 1; page <= 200; page++)
        lost += world_find(world_now, C, page, NULL) != LOCATE_FOUND;
    return lost;
}

static void pages_are_found_at_their_new_owners(void **state)
{
    (void)state;
    assert_int_equal(lost_pages_after_a_join(), 0);
    assert_true(is_complete(C));
}

/* The new node's own connection brings it what is there; here it is the ring of the other owners
 * that changed: B learns nothing of what A has. */
static void without_sync_on_ring_change_owners_stay_ignorant(void **state)
{
    (void)state;
    struct location places[CORE_HOLDERS_MAX];
    for (int is_off = 0; is_off < 2; is_off++) {
        world_now = cluster(3);
        world_set(world_now, A, 1, 200);
        world_run(world_now);
        if (is_off)
            assert_true(protection_disable("sync_on_ring_change"));
        struct core_event leave = {.type = CORE_LEAVE};
        world_step(world_now, C, &leave);
        world_pass(world_now, 10000);
        assert_int_equal(ring_nodes(B), 2);
        uint32_t known = 0;
        for (uint64_t page = 1; page <= 200; page++)
            known += world_holders(world_now, B, page, places) == 1;
        if (is_off)
            assert_true(known < 200);
        else
            assert_int_equal(known, 200);
        if (!is_off)
            world_free(world_now);
    }
}

/* A retract that was lost with the connection is made good by the sync that follows. */
static void evicted_while_apart_is_forgotten_afterwards(void **state)
{
    (void)state;
    struct location places[CORE_HOLDERS_MAX];
    world_now = cluster(2);
    world_set(world_now, A, 1, 100);
    world_run(world_now);
    world_now->is_cut = true;
    world_break(world_now, A, control_link(A, B));
    for (uint64_t from = 1000; from < 4000; from += 100) {
        world_set(world_now, A, from, 100);
        world_run(world_now);
    }
    assert_int_equal(world_holders(world_now, B, 1, places), 1);
    world_now->is_cut = false;
    world_pass(world_now, 5000);
    assert_int_equal(world_holders(world_now, B, 1, places), 0);
    assert_found_at(B, 3999, A);
}

/* --- syncs that break off --- */

/* A, with a holder that the test plays. */
static void play_holder(void)
{
    struct core_config config = world_config(0);
    world_now = world_new();
    world_add(world_now, &config);
    world_add_played(world_now, A, 1);
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

/* After so many broken syncs the stamps of entries do not tell any more which of them was last.
 * The next sync is taken, and then asked for once more, over a new connection. */
static void holder_with_many_broken_syncs_is_asked_again(void **state)
{
    (void)state;
    play_holder();
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
    play_holder();
    for (uint64_t page = 1; page <= 2; page++)
        sync_breaks_off(page);
    say_sync(SYNC_BEGINS);
    say_sync(SYNC_ENDS);
    world_run(world_now);
    assert_int_equal(world_now->nodes[A]->n_hangups, 0);
    assert_int_equal(holders(2), 0);
}

#define TEST(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(pages_are_named_on_a_new_connection),
        TEST(without_sync_on_connect_they_stay_unknown),
        TEST(pages_are_found_at_their_new_owners),
        TEST(without_sync_on_ring_change_owners_stay_ignorant),
        TEST(evicted_while_apart_is_forgotten_afterwards),
        TEST(holder_with_many_broken_syncs_is_asked_again),
        TEST(holder_with_few_broken_syncs_is_not),
    };
    return cmocka_run_group_tests_name("core/heal", tests, NULL, NULL);
}
