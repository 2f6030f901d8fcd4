/* SPDX-License-Identifier: Apache-2.0 */
/* membership_test.c - who is listed, since when, and who is not; the head's side and the node's. */
#include "core/membership.h"

#include "core/core_test_harness.h"

enum { LINK = 3 };

/* One membership room, and what it reports. */
struct fixture {
    struct core_config config;
    struct update *update;
    struct membership *m;
    uint64_t now_ns;
    uint32_t n_reported, n_missing_calls;
    struct record_member reported[MEMBERS_MAX];
    bool has_no_room;
};

static bool on_report(void *context, struct update *update, const struct record_member *member)
{
    struct fixture *fixture = context;
    (void)update;
    fixture->reported[fixture->n_reported++ % MEMBERS_MAX] = *member;
    return !fixture->has_no_room;
}

static void on_missing(void *context, struct update *update, const struct record_member *members,
                       uint32_t n)
{
    struct fixture *fixture = context;
    (void)update, (void)members, (void)n;
    fixture->n_missing_calls++;
}

static struct fixture *fixture_new(uint32_t id)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct membership_sink sink = {on_report, on_missing, fixture};
    fixture->config = world_config(id);
    fixture->update = update_new();
    fixture->now_ns = 5000000 * WORLD_MS;
    assert_int_equal(membership_new(&fixture->config, &sink, &fixture->m), 0);
    return fixture;
}

static void fixture_free(struct fixture *fixture)
{
    membership_free(fixture->m);
    update_free(fixture->update);
    free(fixture);
}

static int setup_head(void **state)
{
    struct fixture *head = fixture_new(0);
    update_begin(head->update, head->now_ns);
    membership_set_head(head->m, head->update, true);
    *state = head;
    return 0;
}

static int setup_node(void **state)
{
    *state = fixture_new(0);
    return 0;
}

static int teardown(void **state)
{
    fixture_free(*state);
    return 0;
}

/* What the last step sent, of one type; NULL: nothing. */
static const struct message *sent(struct fixture *fixture, enum message_type type)
{
    static struct core_update update;
    update_end(fixture->update, &update);
    for (size_t i = 0; i < update.n_sends; i++)
        if (update.sends[i].message->type == type)
            return update.sends[i].message;
    return NULL;
}

static void say(struct fixture *fixture, const struct message *message)
{
    update_begin(fixture->update, fixture->now_ns);
    membership_message(fixture->m, fixture->update, LINK, message);
    membership_tick(fixture->m, fixture->update);
}

static void tick(struct fixture *fixture, uint64_t ms)
{
    fixture->now_ns += ms * WORLD_MS;
    update_begin(fixture->update, fixture->now_ns);
    membership_tick(fixture->m, fixture->update);
}

static const struct message_members *join(struct fixture *head, uint32_t id, uint64_t incarnation)
{
    struct record_member member = world_member(id, incarnation);
    struct message message = {.type = MESSAGE_join, .u.join = {.members = &member, .n_members = 1}};
    say(head, &message);
    return &sent(head, MESSAGE_members)->u.members;
}

static const struct message_members *heartbeat(struct fixture *head, uint32_t id,
                                               uint64_t incarnation, uint64_t known_version)
{
    struct message message = {.type = MESSAGE_heartbeat,
                              .u.heartbeat = {.node_id = world_id(id),
                                              .incarnation = incarnation,
                                              .counter = 2,
                                              .members_version = known_version}};
    say(head, &message);
    return &sent(head, MESSAGE_members)->u.members;
}

static void leave(struct fixture *head, uint32_t id, uint64_t incarnation)
{
    struct message message = {.type = MESSAGE_leave, .u.leave = {world_id(id), incarnation}};
    say(head, &message);
    assert_null(sent(head, MESSAGE_members));
}

/* The state under which a list has a node; 0: it is not in it. */
static int state_in(const struct message_members *list, uint32_t id)
{
    for (uint32_t i = 0; i < list->n_members; i++)
        if (id128_equal(list->members[i].node_id, world_id(id)))
            return list->members[i].state;
    return 0;
}

/* --- the head --- */

static void joiner_is_listed_in_the_answer(void **state)
{
    const struct message_members *list = join(*state, 5, 1);
    assert_int_equal(list->n_members, 2);
    assert_int_equal(state_in(list, 0), MEMBER_ALIVE);
    assert_int_equal(state_in(list, 5), MEMBER_ALIVE);
}

/* Until every node has had the time to say that it is there, nobody is missed. */
static void young_head_says_that_its_list_is_not_whole(void **state)
{
    struct fixture *head = *state;
    assert_int_equal(join(head, 5, 1)->whole, 0);
    tick(head, 5999);
    uint64_t version = heartbeat(head, 5, 1, 0)->members_version;
    assert_int_equal(heartbeat(head, 5, 1, 0)->whole, 0);
    assert_int_equal(head->n_missing_calls, 0);
    tick(head, 1);
    assert_int_equal(head->n_missing_calls, 1); /* its own list is whole from now on, too */
    const struct message_members *list = heartbeat(head, 5, 1, 0);
    assert_int_equal(list->whole, 1);
    assert_int_equal(list->members_version, version);
}

static void no_news_is_a_short_answer(void **state)
{
    struct fixture *head = *state;
    tick(head, 7000);
    uint64_t version = join(head, 5, 1)->members_version;
    const struct message_members *list = heartbeat(head, 5, 1, version);
    assert_int_equal(list->n_members, 0);
    assert_int_equal(list->members_version, version);
    assert_int_equal(heartbeat(head, 5, 1, version - 1)->n_members, 2);
}

static void silent_member_is_suspect_then_gone(void **state)
{
    struct fixture *head = *state;
    tick(head, 7000);
    uint64_t version = join(head, 5, 1)->members_version;
    join(head, 6, 1);
    for (int i = 0; i < 6; i++) {
        tick(head, 1000);
        version = heartbeat(head, 6, 1, 0)->members_version;
    }
    assert_int_equal(state_in(heartbeat(head, 6, 1, 0), 5), MEMBER_SUSPECT);
    /* It speaks: alive again, and everybody is told. */
    const struct message_members *list = heartbeat(head, 5, 1, version);
    assert_true(list->members_version > version);
    assert_int_equal(state_in(list, 5), MEMBER_ALIVE);
    version = list->members_version;
    for (int i = 0; i < 30; i++) {
        tick(head, 1000);
        heartbeat(head, 6, 1, version);
    }
    list = heartbeat(head, 6, 1, version);
    assert_int_equal(state_in(list, 5), 0);
    assert_int_equal(list->whole, 1);
    /* Its heartbeat alone does not bring it back: it sees that, and joins. */
    list = heartbeat(head, 5, 1, version);
    assert_int_equal(state_in(list, 5), 0);
    assert_int_equal(list->n_members, 2);
    assert_int_equal(state_in(join(head, 5, 1), 5), MEMBER_ALIVE);
}

static void head_does_not_suspect_itself(void **state)
{
    struct fixture *head = *state;
    tick(head, 100000);
    assert_int_equal(state_in(join(head, 5, 1), 0), MEMBER_ALIVE);
}

static void who_has_left_stays_left(void **state)
{
    struct fixture *head = *state;
    tick(head, 7000);
    join(head, 5, 1);
    join(head, 6, 1);
    leave(head, 5, 2); /* another life: not meant */
    assert_int_equal(state_in(heartbeat(head, 6, 1, 0), 5), MEMBER_ALIVE);
    leave(head, 5, 1);
    assert_int_equal(state_in(heartbeat(head, 6, 1, 0), 5), 0);
    assert_int_equal(state_in(heartbeat(head, 5, 1, 0), 5), 0);
    assert_int_equal(state_in(join(head, 5, 1), 5), 0);
    assert_int_equal(state_in(join(head, 5, 2), 5), MEMBER_ALIVE); /* its next life */
    assert_int_equal(state_in(join(head, 5, 1), 5), MEMBER_ALIVE); /* late word of the former */
    leave(head, 5, 1);
    assert_int_equal(state_in(heartbeat(head, 6, 1, 0), 5), MEMBER_ALIVE);
}

/* The head itself was told goodbye, on another connection, before the word for it came. */
static void goodbye_to_the_head_counts_as_leave(void **state)
{
    struct fixture *head = *state;
    tick(head, 7000);
    uint64_t version = join(head, 5, 1)->members_version;
    update_begin(head->update, head->now_ns);
    membership_peer_left(head->m, head->update, world_id(5), 1);
    const struct message_members *list = heartbeat(head, 5, 1, version);
    assert_int_equal(state_in(list, 5), 0);
    assert_int_equal(list->n_members, 1);
}

static void table_full_of_who_left_takes_joiners(void **state)
{
    struct fixture *head = *state;
    tick(head, 7000);
    for (uint32_t id = 1; id < MEMBERS_MAX; id++)
        join(head, id, 1);
    assert_int_equal(state_in(join(head, 5000, 1), 5000), 0); /* a full cluster */
    for (uint32_t id = 1; id < MEMBERS_MAX; id++)
        leave(head, id, 1);
    for (uint32_t id = 2001; id < 2000 + MEMBERS_MAX; id++)
        assert_int_equal(state_in(join(head, id, 1), id), MEMBER_ALIVE);
}

/* The largest answer, the head's own list and the one of the tick stand in one step. */
static void step_of_a_full_head_stays_within_its_memory(void **state)
{
    struct fixture *head = *state;
    const struct message_members *list = NULL;
    for (uint32_t id = 1; id < MEMBERS_MAX; id++)
        list = join(head, id, 1);
    assert_int_equal(list->n_members, MEMBERS_MAX);
    assert_true(update_has_room(head->update));
}

static void new_head_has_another_version(void **state)
{
    struct fixture *head = *state, *next = fixture_new(9);
    uint64_t version = join(head, 5, 1)->members_version;
    next->now_ns = head->now_ns + WORLD_MS;
    update_begin(next->update, next->now_ns);
    membership_set_head(next->m, next->update, true);
    assert_true(heartbeat(next, 5, 1, version)->members_version != version);
    assert_int_equal(heartbeat(next, 5, 1, version)->n_members, 1);
    fixture_free(next);
}

/* --- the node --- */

static void link_up(struct fixture *node)
{
    update_begin(node->update, node->now_ns);
    membership_link_up(node->m, node->update, LINK);
}

static void tell(struct fixture *node, uint64_t version, bool whole, const uint32_t *ids,
                 uint32_t n)
{
    struct record_member members[8];
    for (uint32_t i = 0; i < n; i++)
        members[i] = world_member(ids[i], ids[i] == 0 ? 100 : 1);
    struct message message = {
        .type = MESSAGE_members,
        .u.members = {
            .members_version = version, .whole = whole, .members = members, .n_members = n}};
    say(node, &message);
}

static uint64_t wake_in_ms(struct fixture *node)
{
    struct core_update update;
    update_end(node->update, &update);
    return update.wake_at_ns == UINT64_MAX ? UINT64_MAX
                                           : (update.wake_at_ns - node->now_ns) / WORLD_MS;
}

static void node_without_discovery_sleeps(void **state)
{
    struct fixture *node = *state;
    struct membership_sink sink = {on_report, on_missing, node};
    membership_free(node->m);
    node->config.discovery_host[0] = 0;
    assert_int_equal(membership_new(&node->config, &sink, &node->m), 0);
    tick(node, 1);
    assert_true(wake_in_ms(node) == UINT64_MAX);
}

static void node_dials_until_it_is_connected(void **state)
{
    struct fixture *node = *state;
    struct core_update update;
    tick(node, 0);
    update_end(node->update, &update);
    assert_int_equal(update.n_dials, 1);
    assert_int_equal(update.dials[0].purpose, PURPOSE_DISCOVERY);
    assert_int_equal(update.dials[0].port, 1999);
    assert_int_equal(wake_in_ms(node), 500);
    tick(node, 100);
    update_end(node->update, &update);
    assert_int_equal(update.n_dials, 0);
    tick(node, 400);
    update_end(node->update, &update);
    assert_int_equal(update.n_dials, 1);
    assert_false(membership_is_connected(node->m));
}

static void node_joins_and_then_sends_heartbeats(void **state)
{
    static const uint32_t ids[] = {0, 5};
    struct fixture *node = *state;
    link_up(node);
    const struct record_member *self = sent(node, MESSAGE_join)->u.join.members;
    assert_true(id128_equal(self->node_id, node->config.node_id));
    assert_int_equal(self->incarnation, 100);
    assert_int_equal(self->control_port, 2000);
    assert_true(membership_is_connected(node->m));
    tell(node, 77, true, ids, 2);
    assert_int_equal(node->n_reported, 2);
    assert_int_equal(wake_in_ms(node), 2000);
    tick(node, 2000);
    assert_int_equal(sent(node, MESSAGE_heartbeat)->u.heartbeat.members_version, 77);
    uint64_t counter = sent(node, MESSAGE_heartbeat)->u.heartbeat.counter;
    tick(node, 2000);
    assert_int_equal(sent(node, MESSAGE_heartbeat)->u.heartbeat.counter, counter + 1);
    tell(node, 77, true, NULL, 0); /* the short answer: no news */
    assert_int_equal(node->n_reported, 2);
    assert_int_equal(node->n_missing_calls, 1);
}

/* A young head's list brings members and takes none away; it is asked for again. */
static void list_that_is_not_whole_removes_nobody(void **state)
{
    static const uint32_t ids[] = {0, 5};
    struct fixture *node = *state;
    link_up(node);
    tell(node, 77, false, ids, 2);
    assert_int_equal(node->n_reported, 2);
    assert_int_equal(node->n_missing_calls, 0);
    tick(node, 2000);
    assert_int_equal(sent(node, MESSAGE_heartbeat)->u.heartbeat.members_version, 0);
    tell(node, 77, true, ids, 2);
    assert_int_equal(node->n_missing_calls, 1);
}

static void member_for_whom_there_was_no_room_is_told_again(void **state)
{
    static const uint32_t ids[] = {0, 5};
    struct fixture *node = *state;
    link_up(node);
    node->has_no_room = true;
    tell(node, 77, true, ids, 2);
    tick(node, 2000);
    assert_int_equal(sent(node, MESSAGE_heartbeat)->u.heartbeat.members_version, 0);
}

static void forgotten_node_joins_again_at_once(void **state)
{
    static const uint32_t ids[] = {0, 5};
    struct fixture *node = *state;
    link_up(node);
    tell(node, 77, true, ids, 2);
    tick(node, 2000);
    assert_null(sent(node, MESSAGE_join));
    tell(node, 78, true, ids + 1, 1);
    assert_non_null(sent(node, MESSAGE_join));
}

/* A full cluster does not list it: then it asks again at the pace of heartbeats, not at once. */
static void node_that_is_not_taken_does_not_storm_the_head(void **state)
{
    static const uint32_t ids[] = {5};
    struct fixture *node = *state;
    link_up(node);
    for (uint64_t version = 77; version < 90; version++) {
        tell(node, version, true, ids, 1);
        assert_null(sent(node, MESSAGE_join));
        assert_int_equal(wake_in_ms(node), 2000);
        tick(node, 2000);
        assert_non_null(sent(node, MESSAGE_join));
    }
}

static void second_discovery_connection_is_given_up(void **state)
{
    struct fixture *node = *state;
    struct core_update update;
    link_up(node);
    update_begin(node->update, node->now_ns);
    membership_link_up(node->m, node->update, LINK + 1);
    update_end(node->update, &update);
    assert_int_equal(update.n_hangups, 1);
    assert_int_equal(update.hangups[0], LINK + 1);
    membership_link_down(node->m, LINK + 1);
    assert_true(membership_is_connected(node->m));
    membership_link_down(node->m, LINK);
    assert_false(membership_is_connected(node->m));
}

static void goodbye_outlasts_older_lists(void **state)
{
    static const uint32_t ids[] = {0, 5, 6};
    struct fixture *node = *state;
    link_up(node);
    update_begin(node->update, node->now_ns);
    membership_peer_left(node->m, node->update, world_id(5), 1);
    tell(node, 77, true, ids, 3);
    assert_int_equal(node->n_reported, 2);
    assert_true(id128_equal(node->reported[1].node_id, world_id(6)));
}

static void leaving_node_says_so_and_nothing_more(void **state)
{
    struct fixture *node = *state;
    link_up(node);
    update_begin(node->update, node->now_ns);
    membership_leave(node->m, node->update);
    assert_true(id128_equal(sent(node, MESSAGE_leave)->u.leave.node_id, node->config.node_id));
    tick(node, 100000);
    assert_null(sent(node, MESSAGE_heartbeat));
    assert_null(sent(node, MESSAGE_join));
}

/* --- a cluster whose head dies --- */

static void restarted_head_moves_no_keys(void **state)
{
    struct world *world = world_new();
    struct core_inspection *inspection = calloc(1, sizeof *inspection);
    (void)state;
    for (uint32_t id = 0; id < 4; id++) {
        struct core_config config = world_config(id);
        world_add(world, &config);
    }
    world_make_head(world, 0);
    world_pass(world, 10000);
    uint64_t hash = view_ring_hash(world->nodes[1]->view);
    /* The head's discovery service begins anew, knowing nobody. */
    for (int node = 1; node < 4; node++)
        world_break(world, node, world_link_to(world, node, 0, PURPOSE_DISCOVERY));
    world_make_head(world, 0);
    for (int i = 0; i < 100; i++) {
        world_pass(world, 100);
        for (int node = 0; node < 4; node++)
            assert_true(view_ring_hash(world->nodes[node]->view) == hash);
    }
    core_inspect(world->nodes[2]->core, inspection);
    assert_int_equal(inspection->n_members, 4);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(inspection->members[i].state, MEMBER_ALIVE);
    free(inspection);
    world_free(world);
}

#define HEAD(name) cmocka_unit_test_setup_teardown(name, setup_head, teardown)
#define NODE(name) cmocka_unit_test_setup_teardown(name, setup_node, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        HEAD(joiner_is_listed_in_the_answer),
        HEAD(young_head_says_that_its_list_is_not_whole),
        HEAD(no_news_is_a_short_answer),
        HEAD(silent_member_is_suspect_then_gone),
        HEAD(head_does_not_suspect_itself),
        HEAD(who_has_left_stays_left),
        HEAD(goodbye_to_the_head_counts_as_leave),
        HEAD(table_full_of_who_left_takes_joiners),
        HEAD(step_of_a_full_head_stays_within_its_memory),
        HEAD(new_head_has_another_version),
        NODE(node_without_discovery_sleeps),
        NODE(node_dials_until_it_is_connected),
        NODE(node_joins_and_then_sends_heartbeats),
        NODE(list_that_is_not_whole_removes_nobody),
        NODE(member_for_whom_there_was_no_room_is_told_again),
        NODE(forgotten_node_joins_again_at_once),
        NODE(node_that_is_not_taken_does_not_storm_the_head),
        NODE(second_discovery_connection_is_given_up),
        NODE(goodbye_outlasts_older_lists),
        NODE(leaving_node_says_so_and_nothing_more),
        cmocka_unit_test(restarted_head_moves_no_keys),
    };
    return cmocka_run_group_tests_name("core/membership", tests, NULL, NULL);
}
