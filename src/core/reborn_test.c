/* SPDX-License-Identifier: Apache-2.0 */
/* reborn_test.c - other lives of a node: its own next one, and those of others with its id. */
#include "core/core_test_cluster.h"

#include "core/twin.h"

/* The shell's part of a rebirth. */
static void be_reborn(int node, struct id128 node_id, uint64_t incarnation)
{
    struct core_event event = {.type = CORE_REBORN, .u.reborn = {node_id, incarnation}};
    world_now->nodes[node]->config.node_id = node_id;
    world_now->nodes[node]->config.incarnation = incarnation;
    world_step(world_now, node, &event);
}

static const struct core_member *member_at(int node, struct id128 id)
{
    static struct core_inspection inspection;
    core_inspect(world_now->nodes[node]->core, &inspection);
    for (uint32_t i = 0; i < inspection.n_members; i++)
        if (id128_equal(inspection.members[i].node_id, id))
            return &inspection.members[i];
    return NULL;
}

static void assert_all_found(uint64_t from, uint64_t n, int holder)
{
    for (uint64_t page = from; page < from + n; page++)
        for (int reader = A; reader < world_now->n; reader++) {
            struct id128 found = {0, 0};
            assert_int_equal(world_find(world_now, reader, page, &found), LOCATE_FOUND);
            assert_true(id128_equal(found, id_of(holder)));
        }
}

/* Entries that a shard attributes to this life of a node. */
static uint32_t entries_of(int owner, struct id128 id, uint64_t incarnation, uint64_t pages)
{
    uint16_t peer = world_peer(world_now, owner, id, incarnation);
    uint32_t n = 0;
    for (uint64_t page = 1; peer != CORE_PEER_NONE && page <= pages; page++) {
        struct location places[CORE_HOLDERS_MAX];
        for (int i = world_holders(world_now, owner, page, places); i > 0; i--)
            n += places[i - 1].holder == peer;
    }
    return n;
}

/* Pages and generations stay, and all is found again under the new incarnation and no other. */
static void pages_of_a_reborn_node_are_found_again(void **state)
{
    (void)state;
    world_now = cluster(3);
    world_set(world_now, B, 1, 40);
    world_run(world_now);
    uint32_t before = entries_of(A, id_of(B), 100, 40) + entries_of(C, id_of(B), 100, 40);
    assert_true(before > 0);
    be_reborn(B, id_of(B), 101);
    world_pass(world_now, 8000);
    assert_all_found(1, 40, B);
    assert_int_equal(entries_of(A, id_of(B), 100, 40) + entries_of(C, id_of(B), 100, 40), 0);
    assert_int_equal(entries_of(A, id_of(B), 101, 40) + entries_of(C, id_of(B), 101, 40), before);
    for (int node = A; node <= C; node++) {
        assert_int_equal(member_at(node, id_of(B))->incarnation, 101);
        assert_true(member_at(node, id_of(B))->is_connected);
    }
    uint32_t op = world_set(world_now, B, 101, 5);
    world_run(world_now);
    assert_int_equal(world_done(world_now, B, op)->error, 0);
    assert_all_found(101, 5, B);
}

static void head_is_reborn_as_a_young_one(void **state)
{
    (void)state;
    world_now = cluster(3);
    world_set(world_now, C, 1, 20);
    world_run(world_now);
    /* It was stopped for longer than ring_grace: nobody is taken off the ring for it. */
    world_now->now_ns += 60000 * WORLD_MS;
    be_reborn(A, id_of(A), 101);
    assert_non_null(member_at(A, id_of(B)));
    world_pass(world_now, 20000);
    assert_all_found(1, 20, C);
    for (int node = A; node <= C; node++)
        for (int other = A; other <= C; other++)
            assert_true(member_at(node, id_of(other))->is_connected);
    assert_int_equal(member_at(C, id_of(A))->incarnation, 101);
}

/* They are suspect meanwhile, and are news when they join again. */
static void others_join_a_reborn_head_late(void **state)
{
    (void)state;
    world_now = cluster(3);
    world_set(world_now, C, 1, 20);
    world_run(world_now);
    world_now->is_cut = true;
    be_reborn(A, id_of(A), 101);
    world_pass(world_now, 8000);
    assert_int_equal(member_at(A, id_of(B))->state, MEMBER_SUSPECT);
    world_now->is_cut = false;
    world_pass(world_now, 8000);
    assert_true(member_at(A, id_of(B))->is_connected);
    assert_all_found(1, 20, C);
}

static void node_with_another_id_takes_its_pages_along(void **state)
{
    (void)state;
    world_now = cluster(3);
    struct id128 former = id_of(B);
    world_set(world_now, B, 1, 40);
    world_run(world_now);
    be_reborn(B, world_id(50), 200);
    world_pass(world_now, 50000);
    assert_all_found(1, 40, B);
    for (int node = A; node <= C; node++)
        assert_null(member_at(node, former));
    assert_true(view_ring_hash(world_now->nodes[A]->view) ==
                view_ring_hash(world_now->nodes[B]->view));
}

/* What the former life announced without a reply is announced again by the new one. */
static void operation_under_way_goes_on(void **state)
{
    (void)state;
    world_now = cluster(3);
    uint32_t op = world_set(world_now, B, 1, 20);
    assert_null(world_done(world_now, B, op));
    be_reborn(B, id_of(B), 101);
    assert_null(world_done(world_now, B, op));
    world_pass(world_now, 8000);
    assert_non_null(world_done(world_now, B, op));
    assert_all_found(1, 20, B);
}

static uint32_t connections_of(int node)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < WORLD_LINKS_MAX; i++)
        n += world_now->nodes[node]->links[i].is_up;
    return n;
}

/* A node with three peers that the test plays: nothing may be said on connections of before. */
static void begin_played(void)
{
    struct core_config config = world_config(0);
    world_now = world_new();
    world_add(world_now, &config);
    world_add_played(world_now, 0, 3);
    world_set(world_now, 0, 1, 40);
    world_run(world_now);
    world_forget_heard(world_now);
    world_now->is_cut = true;
}

static void former_connections_are_silent(void **state)
{
    (void)state;
    begin_played();
    assert_int_equal(connections_of(A), 4);
    be_reborn(A, id_of(A), 101);
    world_set(world_now, A, 101, 20);
    world_run(world_now);
    assert_int_equal(connections_of(A), 0);
    assert_null(world_heard(world_now, NULL));
}

static void without_reborn_hangs_up_they_are_not(void **state)
{
    (void)state;
    begin_played();
    assert_true(protection_disable("reborn_hangs_up"));
    be_reborn(A, id_of(A), 101);
    world_set(world_now, A, 101, 20);
    world_run(world_now);
    assert_non_null(world_heard_type(world_now, MESSAGE_announce, NULL));
}

/* What comes over them before they are down is dropped, and the own shard does not call itself
 * complete before all have named their pages anew. */
static void words_for_the_former_life_are_dropped(void **state)
{
    static struct core_inspection inspection;
    struct message sync = {.type = MESSAGE_sync, .u.sync = {.kind = SYNC_ENDS}};
    (void)state;
    begin_played();
    for (uint32_t i = 0; i < 3; i++) {
        sync.u.sync.ring_hash = view_ring_hash(world_now->nodes[A]->view);
        world_say(world_now, A, WORLD_CONTROL + i, &sync);
    }
    world_run(world_now);
    core_inspect(world_now->nodes[A]->core, &inspection);
    assert_true(inspection.is_complete);
    be_reborn(A, id_of(A), 101);
    core_inspect(world_now->nodes[A]->core, &inspection);
    assert_false(inspection.is_complete);
}

/* --- others with this node's id --- */

/* What the core of @config says when a list shows @other; the list has itself first if
 * @is_listed. */
static struct core_yield shown(const struct core_config *config, bool is_listed,
                               struct record_member other)
{
    struct core_update update;
    struct record_member own = world_member(0, config->incarnation);
    struct message list = {
        .type = MESSAGE_members,
        .u.members = {
            .table = 1, .version = 1, .fresh = 1, .listed = 1, .members = &own, .n_members = 1}};
    struct core_event event = {.type = CORE_MESSAGE, .link = WORLD_DISCOVERY, .u.message = &list};
    other.node_id = own.node_id = config->node_id;
    own.seat = config->seat;
    if (world_now)
        world_free(world_now);
    world_now = world_new();
    world_add(world_now, config);
    world_link_up(world_now, 0, WORLD_DISCOVERY, PURPOSE_DISCOVERY, world_id(99), 1);
    event.now_ns = world_now->now_ns;
    if (is_listed)
        core_step(world_now->nodes[0]->core, &event, &update);
    list.u.members = (struct message_members){.table = 1,
                                              .version = 2,
                                              .fresh = 1,
                                              .whole = 1,
                                              .listed = is_listed,
                                              .members = &other,
                                              .n_members = 1};
    core_step(world_now->nodes[0]->core, &event, &update);
    return update.yield;
}

static struct record_member life(uint64_t incarnation, uint64_t seat, enum member_state state)
{
    struct record_member member = world_member(7, incarnation);
    member.seat = seat;
    member.state = (uint8_t)state;
    return member;
}

static void newer_life_of_the_same_seat_ends_this_one(void **state)
{
    struct core_config config = world_config(0);
    (void)state;
    for (uint64_t seat = 0; seat < 2; seat++) {
        config.seat = seat;
        struct core_yield yield = shown(&config, true, life(101, seat, MEMBER_ALIVE));
        assert_int_equal(yield.kind, CORE_YIELD_ALL);
        assert_int_equal(yield.incarnation, 101);
        assert_string_equal(yield.host, "127.0.0.1");
        assert_int_equal(yield.control_port, 2007);
        yield = shown(&config, false, life(99, seat, MEMBER_ALIVE)); /* a former one */
        assert_int_equal(yield.kind, CORE_YIELD_NOT);
    }
}

static void of_two_copies_one_goes(void **state)
{
    struct core_config config = world_config(0);
    (void)state;
    config.seat = 5;
    /* The joiner, whatever the clocks say. */
    assert_int_equal(shown(&config, false, life(99, 6, MEMBER_ALIVE)).kind, CORE_YIELD_ID);
    assert_int_equal(shown(&config, false, life(101, 6, MEMBER_ALIVE)).kind, CORE_YIELD_ID);
    /* Both were members, of two halves of a cluster: the higher incarnation stands. */
    assert_int_equal(shown(&config, true, life(101, 6, MEMBER_ALIVE)).kind, CORE_YIELD_ID);
    assert_int_equal(shown(&config, true, life(99, 6, MEMBER_ALIVE)).kind, CORE_YIELD_NOT);
    assert_int_equal(shown(&config, true, life(100, 6, MEMBER_ALIVE)).kind, CORE_YIELD_ID);
    assert_int_equal(shown(&config, true, life(100, 4, MEMBER_ALIVE)).kind, CORE_YIELD_NOT);
    /* One that is silent may be the same seat before a restart of its host. */
    assert_int_equal(shown(&config, false, life(99, 6, MEMBER_SUSPECT)).kind, CORE_YIELD_NOT);
    teardown(state);
    assert_true(protection_disable("one_life_an_id"));
    assert_int_equal(shown(&config, true, life(101, 6, MEMBER_ALIVE)).kind, CORE_YIELD_NOT);
}

/* Two records of one id, each seen by the other: never both stay, and never both go. */
static void exactly_one_of_two_members_goes(void **state)
{
    (void)state;
    for (uint64_t a = 1; a <= 3; a++)
        for (uint64_t b = 1; b <= 3; b++)
            for (uint64_t seat = 1; seat <= 2; seat++) {
                struct record_member left = life(a, 1, MEMBER_ALIVE),
                                     right = life(b, seat, MEMBER_ALIVE);
                bool left_goes = twin_yields(&left, true, &right) != CORE_YIELD_NOT;
                bool right_goes = twin_yields(&right, true, &left) != CORE_YIELD_NOT;
                bool is_same = a == b && seat == 1;
                assert_int_equal(left_goes + right_goes, is_same ? 0 : 1);
            }
}

/* A new head knows neither of two copies; the one that joins it first stays. */
static void copy_that_a_new_head_keeps_out_goes(void **state)
{
    struct core_config config = world_config(0);
    struct record_member other = world_member(0, 99);
    struct message list = {
        .type = MESSAGE_members,
        .u.members = {.table = 1, .version = 2, .whole = 1, .members = &other, .n_members = 1}};
    struct core_event event = {.type = CORE_MESSAGE, .link = 5, .u.message = &list};
    struct core_update update;
    (void)state;
    config.seat = 5;
    other.seat = 6;
    assert_int_equal(shown(&config, true, other).kind, CORE_YIELD_NOT);
    world_break(world_now, 0, WORLD_DISCOVERY);
    world_link_up(world_now, 0, 5, PURPOSE_DISCOVERY, world_id(98), 1);
    event.now_ns = world_now->now_ns;
    core_step(world_now->nodes[0]->core, &event, &update);
    assert_int_equal(update.yield.kind, CORE_YIELD_ID);
}

static void head_keeps_a_copy_out_while_the_first_is_alive(void **state)
{
    static struct core_inspection inspection;
    struct core_config config = world_config(0), first = world_config(1), copy = first;
    (void)state;
    world_now = world_new();
    world_add(world_now, &config);
    world_make_head(world_now, A);
    first.seat = 5;
    copy.seat = 6;
    copy.incarnation = 900;
    world_add(world_now, &first);
    world_pass(world_now, 10000);
    world_add(world_now, &copy);
    world_pass(world_now, 10000);
    assert_int_equal(member_at(A, world_id(1))->incarnation, 100);
    core_inspect(world_now->nodes[C]->core, &inspection);
    assert_int_equal(member_at(B, world_id(0))->incarnation, 100);
    /* It goes on under another id. */
    be_reborn(C, world_id(60), 901);
    world_pass(world_now, 10000);
    assert_int_equal(member_at(A, world_id(1))->incarnation, 100);
    assert_int_equal(member_at(A, world_id(60))->incarnation, 901);
}

#define TEST(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(pages_of_a_reborn_node_are_found_again),
        TEST(head_is_reborn_as_a_young_one),
        TEST(others_join_a_reborn_head_late),
        TEST(node_with_another_id_takes_its_pages_along),
        TEST(operation_under_way_goes_on),
        TEST(former_connections_are_silent),
        TEST(without_reborn_hangs_up_they_are_not),
        TEST(words_for_the_former_life_are_dropped),
        TEST(newer_life_of_the_same_seat_ends_this_one),
        TEST(of_two_copies_one_goes),
        cmocka_unit_test(exactly_one_of_two_members_goes),
        TEST(copy_that_a_new_head_keeps_out_goes),
        TEST(head_keeps_a_copy_out_while_the_first_is_alive),
    };
    return cmocka_run_group_tests_name("core/reborn", tests, NULL, NULL);
}
