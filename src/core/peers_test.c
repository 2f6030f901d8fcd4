/* SPDX-License-Identifier: Apache-2.0 */
/* peers_test.c - one index for each life of a node, used again only when it was let go of. */
#include "core/peers.h"

#include "core/core_test_harness.h"

struct fixture {
    struct core_config config;
    struct update *update;
    struct peers *peers;
    struct core_view view; /* the tables that peers.c writes, and no others */
    uint16_t replaced;
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    fixture->config = world_config(0);
    fixture->update = update_new();
    update_begin(fixture->update, 1000);
    assert_int_equal(peers_new(&fixture->config, &fixture->peers), 0);
    fixture->view.peers = peers_by_index(fixture->peers);
    fixture->view.peer_ids = peers_by_id(fixture->peers);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    protection_enable_all();
    peers_free(fixture->peers);
    update_free(fixture->update);
    free(fixture);
    return 0;
}

static bool report(struct fixture *fixture, uint32_t id, uint64_t incarnation,
                   enum member_state state)
{
    struct record_member member = world_member(id, incarnation);
    member.state = (uint8_t)state;
    return peers_report(fixture->peers, fixture->update, &member, &fixture->replaced);
}

static uint16_t index_of(const struct fixture *fixture, uint32_t id, uint64_t incarnation)
{
    uint16_t peer = CORE_PEER_NONE;
    view_peer_index(&fixture->view, world_id(id), incarnation, &peer);
    return peer;
}

static const struct core_peer_change *last_change(const struct fixture *fixture, size_t *ret_n)
{
    static struct core_update update;
    update_end(fixture->update, &update);
    *ret_n = update.n_peer_changes;
    return update.n_peer_changes ? &update.peer_changes[update.n_peer_changes - 1] : NULL;
}

static void this_node_is_always_index_0(void **state)
{
    struct fixture *fixture = *state;
    struct view_peer self;
    assert_int_equal(peers_find(fixture->peers, world_id(0)), CORE_SELF);
    assert_int_equal(index_of(fixture, 0, 100), CORE_SELF);
    assert_int_equal(view_peer(&fixture->view, CORE_SELF, &self), 0);
    assert_true(self.same_host);
    assert_false(report(fixture, 0, 101, MEMBER_ALIVE)); /* whatever others say of it */
    assert_int_equal(peers_count(fixture->peers), 1);
}

static void member_is_known_to_readers_at_once(void **state)
{
    struct fixture *fixture = *state;
    struct view_peer peer;
    size_t n;
    assert_true(report(fixture, 5, 1, MEMBER_ALIVE));
    uint16_t index = index_of(fixture, 5, 1);
    assert_int_equal(view_peer(&fixture->view, index, &peer), 0);
    assert_true(id128_equal(peer.node_id, world_id(5)));
    assert_false(peer.same_host);
    assert_int_equal(index_of(fixture, 5, 2), CORE_PEER_NONE);
    const struct core_peer_change *change = last_change(fixture, &n);
    assert_int_equal(n, 1);
    assert_int_equal(change->peer, index);
    assert_string_equal(change->host, "127.0.0.1");
    assert_int_equal(change->control_port, 2005);
    assert_false(report(fixture, 5, 1, MEMBER_ALIVE)); /* no news */
    assert_int_equal(peers_get(fixture->peers, index)->dial_at_ns, 1000);
}

static void suspect_is_news_and_stays_on_the_ring(void **state)
{
    struct fixture *fixture = *state;
    struct view_peer peer;
    size_t n;
    report(fixture, 5, 1, MEMBER_ALIVE);
    assert_false(report(fixture, 5, 1, MEMBER_SUSPECT));
    assert_int_equal(view_peer(&fixture->view, index_of(fixture, 5, 1), &peer), 0);
    assert_int_equal(peer.state, MEMBER_SUSPECT);
    assert_int_equal(last_change(fixture, &n)->state, MEMBER_SUSPECT);
    assert_int_equal(peers_count(fixture->peers), 2);
}

static void same_host_takes_boot_id_and_user(void **state)
{
    struct fixture *fixture = *state;
    struct view_peer peer;
    struct record_member member = world_member(5, 1);
    member.boot_id = fixture->config.boot_id;
    peers_report(fixture->peers, fixture->update, &member, &fixture->replaced);
    member = world_member(6, 1);
    member.boot_id = fixture->config.boot_id;
    member.uid = fixture->config.uid + 1;
    peers_report(fixture->peers, fixture->update, &member, &fixture->replaced);
    view_peer(&fixture->view, index_of(fixture, 5, 1), &peer);
    assert_true(peer.same_host);
    view_peer(&fixture->view, index_of(fixture, 6, 1), &peer);
    assert_false(peer.same_host);
}

/* A restarted node gets an index of its own; its former one means nothing any more, and is given to
 * nobody before the directory has swept it. */
static void newer_life_has_another_index(void **state)
{
    struct fixture *fixture = *state;
    struct view_peer peer;
    report(fixture, 5, 1, MEMBER_ALIVE);
    uint16_t former = index_of(fixture, 5, 1);
    assert_true(report(fixture, 5, 2, MEMBER_ALIVE));
    assert_int_equal(fixture->replaced, former);
    assert_int_equal(index_of(fixture, 5, 1), CORE_PEER_NONE);
    assert_int_equal(view_peer(&fixture->view, former, &peer), -ENOENT);
    assert_int_not_equal(index_of(fixture, 5, 2), former);
    assert_int_equal(peers_count(fixture->peers), 2);

    report(fixture, 6, 1, MEMBER_ALIVE);
    assert_int_not_equal(index_of(fixture, 6, 1), former);
    peers_forget(fixture->peers, former);
    report(fixture, 7, 1, MEMBER_ALIVE);
    assert_int_equal(index_of(fixture, 7, 1), former);
}

/* Without the incarnation a location of the former life is believed in the new one. */
static void without_holder_incarnation_lives_are_confused(void **state)
{
    struct fixture *fixture = *state;
    assert_true(protection_disable("holder_incarnation"));
    report(fixture, 5, 2, MEMBER_ALIVE);
    assert_int_not_equal(index_of(fixture, 5, 1), CORE_PEER_NONE);
}

static void retired_member_is_nobodys_and_its_link_is_hung_up(void **state)
{
    struct fixture *fixture = *state;
    struct core_update update;
    report(fixture, 5, 1, MEMBER_ALIVE);
    uint16_t index = index_of(fixture, 5, 1), walk = 1;
    peers_get(fixture->peers, index)->link = 77;
    peers_retire(fixture->peers, fixture->update, index);
    update_end(fixture->update, &update);
    assert_int_equal(update.n_hangups, 1);
    assert_int_equal(update.hangups[0], 77);
    assert_int_equal(update.peer_changes[update.n_peer_changes - 1].state, MEMBER_LEFT);
    assert_null(peers_get(fixture->peers, index));
    assert_int_equal(peers_find(fixture->peers, world_id(5)), CORE_PEER_NONE);
    assert_false(peers_next(fixture->peers, &walk));
    assert_false(report(fixture, 5, 1, MEMBER_LEFT));
    assert_int_equal(peers_count(fixture->peers), 1);
}

static void table_holds_a_full_cluster_and_no_more(void **state)
{
    struct fixture *fixture = *state;
    uint32_t seen = 0;
    for (uint32_t i = 1; i < MEMBERS_MAX; i++)
        assert_true(report(fixture, i, 1, MEMBER_ALIVE));
    assert_false(report(fixture, MEMBERS_MAX, 1, MEMBER_ALIVE));
    assert_int_equal(peers_count(fixture->peers), MEMBERS_MAX);
    for (uint16_t i = 0; peers_next(fixture->peers, &i); i++)
        seen++;
    assert_int_equal(seen, MEMBERS_MAX);
    update_begin(fixture->update, 2000);
    for (uint32_t i = 1; i < MEMBERS_MAX; i++) /* all restart before any is swept */
        assert_true(report(fixture, i, 2, MEMBER_ALIVE));
    for (uint32_t i = 1; i < MEMBERS_MAX; i++)
        assert_int_not_equal(index_of(fixture, i, 2), CORE_PEER_NONE);
    update_begin(fixture->update, 3000);
    report(fixture, 1, 3, MEMBER_ALIVE); /* one index is left */
    report(fixture, 2, 3, MEMBER_ALIVE);
    assert_int_equal(index_of(fixture, 2, 3), CORE_PEER_NONE);
    assert_int_equal(peers_count(fixture->peers), MEMBERS_MAX - 1);
}

static void member_with_the_longest_host_name(void **state)
{
    struct fixture *fixture = *state;
    char host[63];
    size_t n;
    memset(host, 'h', sizeof host);
    struct record_member member = world_member(5, 1);
    member.host = (struct wire_text){host, sizeof host};
    peers_report(fixture->peers, fixture->update, &member, &fixture->replaced);
    assert_int_equal(strlen(last_change(fixture, &n)->host), 63);
}

/* Ids are strangers' words: no choice of them may end the process. */
static void forged_ids_do_no_harm(void **state)
{
    struct fixture *fixture = *state;
    struct record_member member = world_member(5, 1);
    member.node_id = (struct id128){0};
    peers_report(fixture->peers, fixture->update, &member, &fixture->replaced);
    assert_int_equal(peers_count(fixture->peers), 1);
    for (uint64_t i = 1; i <= 600; i++) {
        uint64_t hi = 0x1000 + i;
        member.node_id = (struct id128){hi, (hi << 32 | hi >> 32) ^ 0x1234};
        peers_report(fixture->peers, fixture->update, &member, &fixture->replaced);
    }
    assert_int_equal(peers_count(fixture->peers), 601);
}

/* Which life is there beliefs decide.  Two copies of a state directory: the master lists the one,
 * and when that has another id, the other, whose incarnation may be lower. */
static void life_that_is_reported_replaces_the_one_that_is_here(void **state)
{
    struct fixture *fixture = *state;
    struct record_member first = world_member(5, 9), copy = world_member(5, 3);
    first.seat = 1;
    copy.seat = 2;
    peers_report(fixture->peers, fixture->update, &first, &fixture->replaced);
    uint16_t index = index_of(fixture, 5, 9);
    assert_true(peers_report(fixture->peers, fixture->update, &copy, &fixture->replaced));
    assert_int_equal(fixture->replaced, index);
    assert_int_equal(index_of(fixture, 5, 9), CORE_PEER_NONE);
    assert_int_not_equal(index_of(fixture, 5, 3), CORE_PEER_NONE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(this_node_is_always_index_0),
        TEST(member_is_known_to_readers_at_once),
        TEST(suspect_is_news_and_stays_on_the_ring),
        TEST(same_host_takes_boot_id_and_user),
        TEST(newer_life_has_another_index),
        TEST(without_holder_incarnation_lives_are_confused),
        TEST(retired_member_is_nobodys_and_its_link_is_hung_up),
        TEST(table_holds_a_full_cluster_and_no_more),
        TEST(member_with_the_longest_host_name),
        TEST(forged_ids_do_no_harm),
        TEST(life_that_is_reported_replaces_the_one_that_is_here),
    };
    return cmocka_run_group_tests_name("core/peers", tests, NULL, NULL);
}
