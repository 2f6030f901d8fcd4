/* SPDX-License-Identifier: Apache-2.0 */
/* sync_test.c - begin, all that the owner should have, end; under the owner's credit. */
#include "core/sync.h"

#include "core/core_test_harness.h"

enum { SELF };

static struct world *world_with_pages(uint32_t pages)
{
    struct core_config config = world_config(0);
    struct world *world = world_new();
    config.slot_count = 8192;
    config.pool_bytes = 16 << 20;
    config.directory_limit = 100000;
    world_add(world, &config);
    world_run(world);
    for (uint32_t from = 0; from < pages; from += 250)
        world_set(world, SELF, from, pages - from < 250 ? pages - from : 250);
    return world;
}

static int teardown(void **state)
{
    world_free(*state);
    return 0;
}

static void say_announced(struct world *world, uint32_t link, uint32_t batch)
{
    struct message message = {.type = MESSAGE_announced, .u.announced = {.batch = batch}};
    world_say(world, SELF, link, &message);
    world_run(world);
}

struct named {
    uint32_t begins, ends, announces, pages;
    uint64_t ring_hash;
};

/* Listens to what is said on @link, answering announces or not, until nothing more comes. */
static struct named listen(struct world *world, uint32_t link, bool answers)
{
    struct named named = {0};
    const struct message *message;
    uint32_t from;
    while ((message = world_heard(world, &from))) {
        if (from != link)
            continue;
        if (message->type == MESSAGE_sync) {
            named.begins += !message->u.sync.ends;
            named.ends += message->u.sync.ends;
            named.ring_hash = message->u.sync.ring_hash;
        } else if (message->type == MESSAGE_announce) {
            named.announces++;
            named.pages += message->u.announce.n_entries;
            assert_true(message->u.announce.batch & SYNC_BATCH);
            if (answers)
                say_announced(world, link, message->u.announce.batch);
        }
    }
    return named;
}

static void new_connection_is_told_everything(void **state)
{
    struct world *world = *state = world_with_pages(2000);
    world_add_played(world, SELF, 1);
    struct named named = listen(world, WORLD_CONTROL, true);
    assert_int_equal(named.begins, 1);
    assert_int_equal(named.ends, 1);
    assert_int_equal(named.pages, 2000);
    assert_true(named.ring_hash == view_ring_hash(world->nodes[SELF]->view));
}

static void empty_pool_says_so_too(void **state)
{
    struct world *world = *state = world_with_pages(0);
    world_add_played(world, SELF, 1);
    struct named named = listen(world, WORLD_CONTROL, true);
    assert_int_equal(named.begins, 1);
    assert_int_equal(named.ends, 1);
    assert_int_equal(named.announces, 0);
}

static void without_sync_on_connect_nothing_is_named(void **state)
{
    struct world *world = *state = world_with_pages(100);
    assert_true(protection_disable("sync_on_connect"));
    assert_true(protection_disable("sync_on_ring_change"));
    world_add_played(world, SELF, 1);
    assert_int_equal(listen(world, WORLD_CONTROL, true).pages, 0);
}

/* Only a few announces stand unanswered; each answer lets one more go. */
static void owner_is_not_flooded(void **state)
{
    struct world *world = *state = world_with_pages(4000);
    world_add_played(world, SELF, 1);
    struct named named = listen(world, WORLD_CONTROL, false);
    assert_in_range(named.announces, 1, 4);
    assert_int_equal(named.ends, 0);
    uint32_t first = named.announces;
    say_announced(world, WORLD_CONTROL, SYNC_BATCH);
    named = listen(world, WORLD_CONTROL, false);
    assert_int_equal(named.announces, 1);
    for (uint32_t i = 0; i < first; i++)
        say_announced(world, WORLD_CONTROL, SYNC_BATCH);
    named = listen(world, WORLD_CONTROL, true);
    assert_int_equal(named.ends, 1);
}

static struct record_member three_members[3];

static void change_ring(struct world *world, uint64_t version, uint32_t n)
{
    for (uint32_t i = 0; i < 3; i++)
        three_members[i] = world_member(100 + i, 1);
    world_tell_members(world, SELF, WORLD_DISCOVERY, version, three_members, n);
    world_run(world);
}

/* A ring that changes again and again does not make a silent owner hear a beginning each time. */
static void silent_owner_is_not_told_to_begin_again_and_again(void **state)
{
    struct world *world = *state = world_with_pages(4000);
    world_add_played(world, SELF, 1);
    listen(world, WORLD_CONTROL, false);
    uint32_t begins = 0;
    for (uint64_t version = 2; version < 22; version++) {
        change_ring(world, version, version % 2 ? 1 : 3);
        begins += listen(world, WORLD_CONTROL, false).begins;
    }
    assert_int_equal(begins, 0);
    for (int i = 0; i < 4; i++)
        say_announced(world, WORLD_CONTROL, SYNC_BATCH);
    struct named named = listen(world, WORLD_CONTROL, true);
    assert_int_equal(named.begins, 1);
    assert_int_equal(named.ends, 1);
    assert_int_equal(named.pages, 4000);
    assert_true(named.ring_hash == view_ring_hash(world->nodes[SELF]->view));
}

/* After a ring change an owner is named what is its own now. */
static void ring_change_names_everything_again(void **state)
{
    struct world *world = *state = world_with_pages(2000);
    world_add_played(world, SELF, 2);
    listen(world, WORLD_CONTROL, true);
    world_run(world);
    listen(world, WORLD_CONTROL, true);
    change_ring(world, 2, 3);
    struct named named = listen(world, WORLD_CONTROL, true);
    assert_int_equal(named.begins, 1);
    assert_int_equal(named.ends, 1);
    assert_in_range(named.pages, 2000 * 2 / 4 * 6 / 10, 2000 * 2 / 4 * 14 / 10);

    assert_true(protection_disable("sync_on_ring_change"));
    change_ring(world, 3, 2);
    assert_int_equal(listen(world, WORLD_CONTROL, true).pages, 0);
}

static void own_shard_is_synced_without_messages(void **state)
{
    struct world *world = *state = world_with_pages(1000);
    struct core_inspection *inspection = calloc(1, sizeof *inspection);
    struct location places[CORE_HOLDERS_MAX];
    world_add_played(world, SELF, 3);
    core_inspect(world->nodes[SELF]->core, inspection);
    /* Of four nodes each owns about half of the pages: the others' were swept. */
    assert_in_range(inspection->directory_entries, 300, 700);
    world_tell_members(world, SELF, WORLD_DISCOVERY, 2, NULL, 0);
    world_run(world);
    for (uint64_t page = 0; page < 1000; page++)
        assert_int_equal(world_holders(world, SELF, page, places), 1);
    core_inspect(world->nodes[SELF]->core, inspection);
    assert_true(inspection->is_complete);
    free(inspection);
}

/* The other side: this node is the owner.  It knows all once every member has said so under the
 * ring that it has itself. */
static void owner_is_complete_when_all_have_synced(void **state)
{
    struct world *world = *state = world_with_pages(0);
    const struct core_view *view = world->nodes[SELF]->view;
    world_add_played(world, SELF, 2);
    uint64_t hash = view_ring_hash(view);
    struct message begin = {.type = MESSAGE_sync, .u.sync = {.ring_hash = hash}}, end = begin;
    end.u.sync.ends = 1;
    world_say(world, SELF, WORLD_CONTROL, &begin);
    world_say(world, SELF, WORLD_CONTROL, &end);
    assert_false(view_is_complete(view, hash));
    struct message other = end;
    other.u.sync.ring_hash = hash + 1;
    world_say(world, SELF, WORLD_CONTROL + 1, &begin);
    world_say(world, SELF, WORLD_CONTROL + 1, &other);
    assert_false(view_is_complete(view, hash));
    world_say(world, SELF, WORLD_CONTROL + 1, &begin);
    world_say(world, SELF, WORLD_CONTROL + 1, &end);
    assert_true(view_is_complete(view, hash));
    assert_false(view_is_complete(view, hash + 1));
    assert_false(view_is_complete(view, 0));
    world_say(world, SELF, WORLD_CONTROL + 1, &begin);
    assert_false(view_is_complete(view, hash));
    world_say(world, SELF, WORLD_CONTROL + 1, &end);
    world_break(world, SELF, WORLD_CONTROL + 1);
    assert_false(view_is_complete(view, hash));
}

#define TEST(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(new_connection_is_told_everything),
        TEST(empty_pool_says_so_too),
        TEST(without_sync_on_connect_nothing_is_named),
        TEST(owner_is_not_flooded),
        TEST(silent_owner_is_not_told_to_begin_again_and_again),
        TEST(ring_change_names_everything_again),
        TEST(own_shard_is_synced_without_messages),
        TEST(owner_is_complete_when_all_have_synced),
    };
    return cmocka_run_group_tests_name("core/sync", tests, NULL, NULL);
}
