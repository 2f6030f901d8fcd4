/* SPDX-License-Identifier: Apache-2.0 */
/* view_test.c - what any thread may ask: copies, no page that is not whole, no dead holder. */
#include "core/view.h"

#include "base/seqtable.h"
#include "core/core_test_harness.h"

enum { SELF };

static int setup(void **state)
{
    struct core_config config = world_config(0);
    struct world *world = world_new();
    config.directory_replicas = 4;
    world_add(world, &config);
    world_add_played(world, SELF, 3);
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    world_free(*state);
    return 0;
}

static const struct core_view *view_of(const struct world *world)
{
    return world->nodes[SELF]->view;
}

static void announce(struct world *world, uint32_t member, uint64_t page, uint64_t generation)
{
    struct record_entry entry = {.digest = world_digest(page),
                                 .place = {.tier = 1,
                                           .slot = 5,
                                           .offset_bytes = 128,
                                           .length_bytes = 77,
                                           .generation = generation}};
    struct message message = {.type = MESSAGE_announce,
                              .u.announce = {.batch = 1, .entries = &entry, .n_entries = 1}};
    world_say(world, SELF, WORLD_CONTROL + member, &message);
}

static void own_page_is_here_once_it_is_whole(void **state)
{
    struct world *world = *state;
    struct location place;
    struct core_page page = world_page(1);
    assert_int_equal(view_own_page(view_of(world), page.digest, &place), -ENOENT);
    uint32_t op = world_reserve(world, SELF, &page, 1);
    assert_int_equal(view_own_page(view_of(world), page.digest, &place), -ENOENT);
    world_copied(world, SELF, op, &page, 1);
    assert_int_equal(view_own_page(view_of(world), page.digest, &place), 0);
    assert_int_equal(place.slot, page.slot);
    assert_int_equal(place.generation, page.generation);
    assert_int_equal(place.offset_bytes, page.offset_bytes);
    assert_int_equal(place.length_bytes, WORLD_PAGE_BYTES);
    assert_int_equal(place.holder, CORE_SELF);
}

static void holders_are_those_that_are_not_dead(void **state)
{
    struct world *world = *state;
    struct location places[CORE_HOLDERS_MAX];
    struct record_member members[3] = {world_member(100, 1), world_member(101, 1),
                                       world_member(102, 1)};
    announce(world, 0, 1, 10);
    announce(world, 1, 1, 11);
    assert_int_equal(view_holders(view_of(world), world_digest(1), places), 2);
    assert_int_equal(places[0].offset_bytes, 128);
    /* Another life of the first one: what its former life had is gone at once. */
    members[0].incarnation = 2;
    world_tell_members(world, SELF, WORLD_DISCOVERY, 2, members, 3);
    assert_int_equal(view_holders(view_of(world), world_digest(1), places), 1);
    assert_int_equal(places[0].generation, 11);
    assert_int_equal(view_holders(view_of(world), world_digest(2), places), 0);
}

static void suspect_is_listed_but_not_asked(void **state)
{
    struct world *world = *state;
    struct location places[CORE_HOLDERS_MAX];
    struct record_member members[3] = {world_member(100, 1), world_member(101, 1),
                                       world_member(102, 1)};
    uint16_t peer = world_peer(world, SELF, world_id(100), 1);
    announce(world, 0, 1, 10);
    assert_true(view_peer_usable(view_of(world), peer, world->now_ns));
    members[0].state = MEMBER_SUSPECT;
    world_tell_members(world, SELF, WORLD_DISCOVERY, 2, members, 3);
    assert_int_equal(view_holders(view_of(world), world_digest(1), places), 1);
    assert_false(view_peer_usable(view_of(world), peer, world->now_ns));
    assert_false(view_peer_trusted(view_of(world), peer));
    members[0].state = MEMBER_DRAINING;
    world_tell_members(world, SELF, WORLD_DISCOVERY, 3, members, 3);
    assert_true(view_peer_trusted(view_of(world), peer));
}

static void open_breaker_lets_one_probe_through(void **state)
{
    struct world *world = *state;
    const struct core_view *view = view_of(world);
    uint16_t peer = world_peer(world, SELF, world_id(100), 1);
    breaker_failed(&view->breakers[peer], world->now_ns);
    assert_false(view_peer_usable(view, peer, world->now_ns));
    uint64_t later_ns = world->now_ns + 1000 * WORLD_MS;
    assert_false(view_peer_trusted(view, peer)); /* asking uses no probe up */
    assert_true(view_peer_usable(view, peer, later_ns));
    assert_false(view_peer_usable(view, peer, later_ns));
    assert_false(view_peer_trusted(view, peer));
    assert_true(view_peer_usable(view, CORE_SELF, 0));
    assert_true(view_peer_trusted(view, CORE_SELF));
    assert_false(view_peer_usable(view, 1999, 0));
    assert_false(view_peer_trusted(view, CORE_PEER_NONE - 1));
}

/* The answer to a look-up names holders by node and life, each of them once. */
static void answer_names_each_holder_once(void **state)
{
    struct world *world = *state;
    static struct record_holder holders[BATCH_MAX];
    static struct record_found found[FOUND_MAX];
    struct record_key keys[3];
    struct message_lookup lookup = {
        .ring_hash = view_ring_hash(view_of(world)), .keys = keys, .n_keys = 3};
    struct message_locations answer;
    announce(world, 0, 1, 10);
    announce(world, 0, 3, 11);
    announce(world, 1, 3, 12);
    for (uint64_t i = 0; i < 3; i++)
        keys[i].digest = world_digest(1 + i);
    view_answer_lookup(view_of(world), &lookup, holders, found, &answer);
    assert_int_equal(answer.n_holders, 2);
    assert_int_equal(answer.n_found, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_not_equal(found[i].index, 1);
        assert_true(found[i].place.holder < 2);
        if (found[i].place.generation == 11) {
            assert_int_equal(found[i].index, 2);
            assert_true(id128_equal(holders[found[i].place.holder].node_id, world_id(100)));
            assert_int_equal(holders[found[i].place.holder].incarnation, 1);
        }
    }
    assert_int_equal(answer.complete, 0); /* nobody has synced */
    assert_true(answer.ring_hash == lookup.ring_hash);
}

static void say_all_synced(struct world *world)
{
    uint64_t hash = view_ring_hash(view_of(world));
    for (uint32_t i = 0; i < 3; i++)
        for (uint8_t ends = 0; ends < 2; ends++) {
            struct message sync = {.type = MESSAGE_sync,
                                   .u.sync = {.kind = ends, .ring_hash = hash}};
            world_say(world, SELF, WORLD_CONTROL + i, &sync);
        }
    world_run(world);
}

/* "Not here" is final only when nothing was left out of the answer: not for an asker with another
 * ring, and not when the table could not be read just now. */
static void answer_is_complete_only_when_it_is(void **state)
{
    struct world *world = *state;
    static struct record_holder holders[BATCH_MAX];
    static struct record_found found[FOUND_MAX];
    struct record_key key = {world_digest(1)};
    struct message_locations answer;
    say_all_synced(world);
    struct message_lookup lookup = {
        .ring_hash = view_ring_hash(view_of(world)), .keys = &key, .n_keys = 1};
    view_answer_lookup(view_of(world), &lookup, holders, found, &answer);
    assert_int_equal(answer.complete, 1);
    assert_int_equal(answer.n_found, 0);
    lookup.ring_hash++;
    view_answer_lookup(view_of(world), &lookup, holders, found, &answer);
    assert_int_equal(answer.complete, 0);
    lookup.ring_hash--;
    seqtable_inject_again(view_of(world)->directory, 1);
    view_answer_lookup(view_of(world), &lookup, holders, found, &answer);
    assert_int_equal(answer.complete, 0);
    seqtable_inject_again(view_of(world)->directory, 0);
}

/* 256 keys with two holders each, all different, are more than an answer can name. */
static void answer_with_too_many_holders_is_not_complete(void **state)
{
    static struct record_holder holders[BATCH_MAX];
    static struct record_found found[FOUND_MAX];
    static struct record_key keys[BATCH_MAX];
    struct message_locations answer;
    world_free(*state);
    struct core_config config = world_config(0);
    struct world *world = world_new();
    *state = world;
    config.directory_replicas = 4;
    world_add(world, &config);
    world_add_played(world, SELF, 600);
    uint64_t hash = view_ring_hash(view_of(world));
    for (uint32_t i = 0; i < 600; i++) {
        struct message sync = {.type = MESSAGE_sync, .u.sync = {.ring_hash = hash}};
        world_say(world, SELF, WORLD_CONTROL + i, &sync);
        if (i < 2 * BATCH_MAX)
            announce(world, i, i / 2, 1);
        sync.u.sync.kind = SYNC_ENDS;
        world_say(world, SELF, WORLD_CONTROL + i, &sync);
    }
    world_run(world);
    assert_true(view_is_complete(view_of(world), hash));
    for (uint64_t i = 0; i < BATCH_MAX; i++)
        keys[i].digest = world_digest(i);
    struct message_lookup lookup = {.ring_hash = hash, .keys = keys, .n_keys = BATCH_MAX};
    view_answer_lookup(view_of(world), &lookup, holders, found, &answer);
    assert_int_equal(answer.n_holders, BATCH_MAX);
    assert_int_equal(answer.complete, 0);
}

static void peers_have_keys_of_their_own(void **state)
{
    (void)state;
    for (uint16_t i = 0; i < CORE_PEERS_MAX; i++) {
        assert_false(id128_is_zero(view_peer_key(i)));
        assert_false(i > 0 && id128_equal(view_peer_key(i), view_peer_key(i - 1)));
    }
    assert_false(
        id128_equal(view_peer_id_key(1, world_id(1), 1), view_peer_id_key(1, world_id(1), 2)));
    assert_false(
        id128_equal(view_peer_id_key(1, world_id(1), 1), view_peer_id_key(1, world_id(2), 1)));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(own_page_is_here_once_it_is_whole),
        TEST(holders_are_those_that_are_not_dead),
        TEST(suspect_is_listed_but_not_asked),
        TEST(open_breaker_lets_one_probe_through),
        TEST(answer_names_each_holder_once),
        TEST(answer_is_complete_only_when_it_is),
        TEST(answer_with_too_many_holders_is_not_complete),
        cmocka_unit_test(peers_have_keys_of_their_own),
    };
    return cmocka_run_group_tests_name("core/view", tests, NULL, NULL);
}
