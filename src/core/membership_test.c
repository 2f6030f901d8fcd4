/* SPDX-License-Identifier: Apache-2.0 */
/*
 * membership_test.c - a node's talk with its masters, which the test plays.
 */
#include "core/membership.h"

#include <stdio.h>

#include "core/core_test_harness.h"

enum { LINK = 3, OTHER_LINK = 4, SERVED_LINK = 5 };

/* One membership room, and what it reports. */
struct fixture {
    struct core_config config;
    struct update *update;
    struct membership *m;
    uint64_t now_ns;
    uint32_t n_reported, dial;
    struct record_member last;
};

static bool on_report(void *context, struct update *update, const struct record_member *member)
{
    struct fixture *f = context;
    (void)update;
    f->n_reported++;
    f->last = *member;
    return true;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct membership_sink sink = {on_report, f};
    f->config = world_config(0);
    f->update = update_new();
    f->now_ns = 5000000 * WORLD_MS;
    assert_int_equal(membership_new(&f->config, &sink, &f->m), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    membership_free(f->m);
    update_free(f->update);
    free(f);
    return 0;
}

static struct core_update ended(struct fixture *f)
{
    struct core_update update;
    update_end(f->update, &update);
    return update;
}

/* What the last step sent on a link, of one type; NULL: nothing. */
static const struct message *sent(struct fixture *f, uint32_t link, enum message_type type)
{
    struct core_update update = ended(f);
    for (size_t i = 0; i < update.n_sends; i++)
        if (update.sends[i].link == link && update.sends[i].message->type == type)
            return update.sends[i].message;
    return NULL;
}

static void begin(struct fixture *f)
{
    update_begin(f->update, f->now_ns);
}

static void tick(struct fixture *f, uint64_t ms)
{
    f->now_ns += ms * WORLD_MS;
    begin(f);
    membership_tick(f->m, f->update);
}

static void say(struct fixture *f, uint32_t link, const struct message *message)
{
    begin(f);
    membership_message(f->m, f->update, link, message);
    membership_tick(f->m, f->update);
}

/* The dial of the last step is answered by node 99. */
static void link_up(struct fixture *f, uint32_t link)
{
    struct core_update update = ended(f);
    if (update.n_dials > 0)
        f->dial = update.dials[0].number;
    begin(f);
    membership_link_up(f->m, f->update, link, f->dial, world_id(99), 1);
}

static void connect_master(struct fixture *f)
{
    tick(f, 0);
    link_up(f, LINK);
}

static struct message members_message(uint64_t version, bool listed)
{
    return (struct message){
        .type = MESSAGE_members,
        .u.members = {.table = 7, .version = version, .fresh = 1, .listed = listed}};
}

static void tell(struct fixture *f, uint64_t version, bool listed, const uint32_t *ids, uint32_t n)
{
    struct record_member members[8];
    struct message message = members_message(version, listed);
    for (uint32_t i = 0; i < n; i++)
        members[i] = world_member(ids[i], ids[i] == 0 ? 100 : 1);
    message.u.members.whole = n > 0;
    message.u.members.members = members;
    message.u.members.n_members = n;
    say(f, LINK, &message);
}

static uint64_t wake_in_ms(struct fixture *f)
{
    struct core_update update = ended(f);
    return update.wake_at_ns == UINT64_MAX ? UINT64_MAX
                                           : (update.wake_at_ns - f->now_ns) / WORLD_MS;
}

/* --- the node's side --- */

static void node_without_discovery_sleeps(void **state)
{
    struct fixture *f = *state;
    struct membership_sink sink = {on_report, f};
    membership_free(f->m);
    f->config.n_seeds = 0;
    assert_int_equal(membership_new(&f->config, &sink, &f->m), 0);
    tick(f, 1);
    assert_true(wake_in_ms(f) == UINT64_MAX);
}

static void node_dials_until_it_is_connected(void **state)
{
    struct fixture *f = *state;
    tick(f, 0);
    struct core_update update = ended(f);
    assert_int_equal(update.n_dials, 1);
    assert_int_equal(update.dials[0].purpose, PURPOSE_DISCOVERY);
    assert_string_equal(update.dials[0].host, "127.0.0.1");
    assert_int_equal(update.dials[0].port, 1999);
    assert_int_equal(wake_in_ms(f), 500);
    tick(f, 100);
    assert_int_equal(ended(f).n_dials, 0);
    tick(f, 400);
    assert_int_equal(ended(f).n_dials, 1);
    assert_false(membership_is_connected(f->m));
}

static void node_joins_and_then_sends_heartbeats(void **state)
{
    static const uint32_t ids[] = {0, 5};
    struct fixture *f = *state;
    connect_master(f);
    const struct message_join *joined = &sent(f, LINK, MESSAGE_join)->u.join;
    assert_true(id128_equal(joined->members[0].node_id, f->config.node_id));
    assert_int_equal(joined->members[0].incarnation, 100);
    assert_int_equal(joined->members[0].control_port, 2000);
    assert_int_equal(joined->members[0].discovery_port, 1999);
    assert_false(membership_is_connected(f->m));
    tell(f, 77, true, ids, 2);
    assert_true(membership_is_connected(f->m));
    assert_int_equal(f->n_reported, 1);
    tick(f, 2000);
    const struct message_heartbeat *heartbeat = &sent(f, LINK, MESSAGE_heartbeat)->u.heartbeat;
    assert_int_equal(heartbeat->known_version, 77);
    assert_int_equal(heartbeat->table, 7);
    uint64_t counter = heartbeat->counter;
    tick(f, 2000);
    assert_int_equal(sent(f, LINK, MESSAGE_heartbeat)->u.heartbeat.counter, counter + 1);
    tell(f, 77, true, NULL, 0); /* the short answer: no news */
    assert_int_equal(f->n_reported, 1);
}

static void node_that_is_not_listed_joins_again_at_once(void **state)
{
    static const uint32_t ids[] = {0, 5};
    struct fixture *f = *state;
    connect_master(f);
    tell(f, 77, true, ids, 2);
    tick(f, 2000);
    assert_null(sent(f, LINK, MESSAGE_join));
    tell(f, 78, false, NULL, 0);
    assert_non_null(sent(f, LINK, MESSAGE_join));
}

/* A master's word that its table has changed brings the next heartbeat forward, and no more often
 * than ten times a second. */
static void news_are_asked_for_at_once(void **state)
{
    static const uint32_t ids[] = {0, 5};
    const struct message news = {.type = MESSAGE_members};
    struct fixture *f = *state;
    connect_master(f);
    tell(f, 77, true, ids, 2);
    tick(f, 2000);
    tell(f, 77, true, NULL, 0);
    tick(f, 500);
    assert_null(sent(f, LINK, MESSAGE_heartbeat));
    say(f, LINK, &news);
    const struct message *heartbeat = sent(f, LINK, MESSAGE_heartbeat);
    assert_non_null(heartbeat);
    assert_int_equal(heartbeat->u.heartbeat.known_version, 77); /* it has changed nothing else */
    tell(f, 77, true, NULL, 0);
    say(f, LINK, &news);
    assert_null(sent(f, LINK, MESSAGE_heartbeat));
    tick(f, 99);
    assert_null(sent(f, LINK, MESSAGE_heartbeat));
    tick(f, 1);
    assert_non_null(sent(f, LINK, MESSAGE_heartbeat));
    tick(f, 1999);
    assert_null(sent(f, LINK, MESSAGE_heartbeat));
    tick(f, 1);
    assert_non_null(sent(f, LINK, MESSAGE_heartbeat));
}

/* A full cluster does not list it: then it asks again at the pace of heartbeats, not at once. */
static void node_that_is_not_taken_does_not_storm_its_master(void **state)
{
    struct fixture *f = *state;
    connect_master(f);
    tell(f, 77, false, NULL, 0);
    for (uint64_t version = 78; version < 90; version++) {
        tick(f, 2000);
        assert_non_null(sent(f, LINK, MESSAGE_join));
        assert_null(sent(f, LINK, MESSAGE_heartbeat));
        tell(f, version, false, NULL, 0);
        assert_null(sent(f, LINK, MESSAGE_join));
    }
}

static void second_connection_to_a_master_is_given_up(void **state)
{
    struct fixture *f = *state;
    connect_master(f);
    link_up(f, OTHER_LINK);
    assert_int_equal(ended(f).n_hangups, 1);
    assert_int_equal(ended(f).hangups[0], OTHER_LINK);
    membership_link_down(f->m, f->update, OTHER_LINK);
    tell(f, 77, true, NULL, 0);
    assert_true(membership_is_connected(f->m));
    membership_link_down(f->m, f->update, LINK);
    assert_false(membership_is_connected(f->m));
}

static void connection_that_nobody_dialled_for_is_given_up(void **state)
{
    struct fixture *f = *state;
    tick(f, 0);
    begin(f);
    membership_link_up(f->m, f->update, LINK, 4711, world_id(99), 1);
    assert_int_equal(ended(f).n_hangups, 1);
}

static void leaving_node_says_so_and_nothing_more(void **state)
{
    struct fixture *f = *state;
    connect_master(f);
    begin(f);
    membership_leave(f->m, f->update);
    assert_true(id128_equal(sent(f, LINK, MESSAGE_leave)->u.leave.node_id, f->config.node_id));
    tick(f, 100000);
    assert_null(sent(f, LINK, MESSAGE_heartbeat));
    assert_null(sent(f, LINK, MESSAGE_join));
}

static void draining_node_says_so_at_once(void **state)
{
    struct fixture *f = *state;
    static const uint32_t ids[] = {0, 5};
    connect_master(f);
    tell(f, 77, true, ids, 2);
    tick(f, 2000);
    begin(f);
    membership_set_state(f->m, f->update, MEMBER_DRAINING);
    membership_tick(f->m, f->update);
    const struct record_member *own = sent(f, LINK, MESSAGE_join)->u.join.members;
    assert_int_equal(own->state, MEMBER_DRAINING);
    assert_int_equal(own->version, 2);
    assert_int_equal(sent(f, LINK, MESSAGE_join)->u.join.known_version, 77);
}

/* --- the side that serves --- */

static void serve(struct fixture *f)
{
    begin(f);
    membership_serve(f->m, f->update);
    membership_tick(f->m, f->update);
}

static const struct message_members *join(struct fixture *f, uint32_t id)
{
    struct record_member member = world_member(id, 1);
    struct message message = {.type = MESSAGE_join, .u.join = {.members = &member, .n_members = 1}};
    say(f, SERVED_LINK, &message);
    return &sent(f, SERVED_LINK, MESSAGE_members)->u.members;
}

static void lone_server_dials_nobody(void **state)
{
    struct fixture *f = *state;
    serve(f);
    for (int i = 0; i < 100; i++) {
        tick(f, 500);
        assert_int_equal(ended(f).n_dials, 0);
    }
    assert_true(membership_is_connected(f->m));
}

static void joiner_is_answered_and_known(void **state)
{
    struct fixture *f = *state;
    serve(f);
    const struct message_members *list = join(f, 5);
    assert_int_equal(list->n_members, 2);
    assert_int_equal(list->listed, 1);
    assert_int_equal(list->fresh, 0);
    assert_int_equal(f->n_reported, 1);
    assert_true(id128_equal(f->last.node_id, world_id(5)));
    struct message heartbeat = {.type = MESSAGE_heartbeat,
                                .u.heartbeat = {.node_id = world_id(6), .incarnation = 1}};
    say(f, SERVED_LINK, &heartbeat);
    assert_int_equal(sent(f, SERVED_LINK, MESSAGE_members)->u.members.listed, 0);
}

/* A steady heartbeat and its answer are as long in a cluster of two as in one of a thousand. */
static void heartbeat_without_news_is_short(void **state)
{
    static uint8_t frame[FRAME_HEAD_BYTES + FRAME_BODY_MAX_BYTES];
    struct fixture *f = *state;
    serve(f);
    int64_t lengths[2];
    for (int round = 0; round < 2; round++) {
        const struct message_members *list = join(f, round ? 1000 : 1);
        for (uint32_t id = 2; round && id < 1000; id++)
            list = join(f, id);
        struct message heartbeat = {.type = MESSAGE_heartbeat,
                                    .u.heartbeat = {.node_id = world_id(1),
                                                    .incarnation = 1,
                                                    .counter = 9,
                                                    .table = list->table,
                                                    .known_version = list->version}};
        say(f, SERVED_LINK, &heartbeat);
        lengths[round] =
            message_encode(sent(f, SERVED_LINK, MESSAGE_members), frame, sizeof frame) +
            message_encode(&heartbeat, frame, sizeof frame);
    }
    assert_int_equal(lengths[0], lengths[1]);
    assert_in_range(lengths[0], 1, 127);
}

/* The largest answer, the own table's news and the tick stand in one step. */
static void step_of_a_full_server_stays_within_its_memory(void **state)
{
    struct fixture *f = *state;
    const struct message_members *list = NULL;
    serve(f);
    for (uint32_t id = 1; id < MEMBERS_MAX; id++)
        list = join(f, id);
    assert_int_equal(list->n_members, MEMBERS_MAX);
    assert_true(update_has_room(f->update));
}

static void server_passes_on_what_it_believes(void **state)
{
    static const uint32_t ids[] = {0, 5};
    struct fixture *f = *state;
    f->config.seeds[0] = (struct core_service){"10.9.9.9", 1999};
    struct membership_sink sink = {on_report, f};
    membership_free(f->m);
    assert_int_equal(membership_new(&f->config, &sink, &f->m), 0);
    connect_master(f);
    tell(f, 77, true, ids, 2);
    serve(f);
    const struct message_members *list = join(f, 6);
    assert_int_equal(list->n_members, 3);
    assert_int_equal(list->fresh, 0);
}

/* The host that comes before this node's in the order of masters. */
static struct core_service service_before_own(const struct fixture *f)
{
    struct core_service own = {.port = f->config.discovery_port}, other = {.port = own.port};
    memcpy(own.host, f->config.host, sizeof own.host);
    for (int i = 0; i < 100; i++) {
        struct masters masters;
        snprintf(other.host, sizeof other.host, "10.0.0.%d", i);
        masters_begin(&masters, 1, NULL);
        masters_offer(&masters, &own);
        masters_offer(&masters, &other);
        if (masters_have(&masters, &other))
            break;
    }
    return other;
}

/* As a master it had judged a member dead; now that others judge, its table says what they say. */
static void table_of_a_former_master_repeats_what_is_believed(void **state)
{
    struct fixture *f = *state;
    struct membership_sink sink = {on_report, f};
    membership_free(f->m);
    f->config.has_head = false;
    f->config.max_masters = 1;
    f->config.seeds[0] = service_before_own(f);
    assert_int_equal(membership_new(&f->config, &sink, &f->m), 0);
    serve(f);
    join(f, 5);
    for (int i = 0; i < 80; i++)
        tick(f, 500);
    assert_int_equal(f->last.state, MEMBER_DEAD);
    link_up(f, LINK);
    struct record_member members[] = {world_member(0, 100), world_member(5, 1),
                                      world_member(99, 1)};
    members[2].host = (struct wire_text){f->config.seeds[0].host, 8};
    struct message list = members_message(3, true);
    list.u.members.whole = 1;
    list.u.members.members = members;
    list.u.members.n_members = 3;
    say(f, LINK, &list);
    assert_true(world_lists(join(f, 6)->members, join(f, 6)->n_members, world_id(5)));
}

/* Whoever joined here hung up, since others are masters in its eyes, and those have begun anew. */
static void master_to_whom_nobody_speaks_takes_nobody_away(void **state)
{
    static const uint32_t ids[] = {0, 5};
    struct fixture *f = *state;
    struct membership_sink sink = {on_report, f};
    membership_free(f->m);
    f->config.seeds[0] = (struct core_service){"10.9.9.9", 1999};
    assert_int_equal(membership_new(&f->config, &sink, &f->m), 0);
    connect_master(f);
    tell(f, 77, true, ids, 2);
    serve(f);
    join(f, 5);
    begin(f);
    membership_link_down(f->m, f->update, SERVED_LINK);
    for (int i = 0; i < 100; i++) {
        struct message answer = members_message(77, true);
        answer.u.members.fresh = 0;
        tick(f, 500);
        say(f, LINK, &answer);
        assert_int_equal(f->last.state, MEMBER_ALIVE);
    }
    begin(f);
    membership_link_down(f->m, f->update, LINK); /* nobody else is left who could know better */
    tick(f, 500);
    assert_int_equal(f->last.state, MEMBER_DEAD);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(node_without_discovery_sleeps),
        TEST(node_dials_until_it_is_connected),
        TEST(node_joins_and_then_sends_heartbeats),
        TEST(node_that_is_not_listed_joins_again_at_once),
        TEST(news_are_asked_for_at_once),
        TEST(node_that_is_not_taken_does_not_storm_its_master),
        TEST(second_connection_to_a_master_is_given_up),
        TEST(connection_that_nobody_dialled_for_is_given_up),
        TEST(leaving_node_says_so_and_nothing_more),
        TEST(draining_node_says_so_at_once),
        TEST(lone_server_dials_nobody),
        TEST(joiner_is_answered_and_known),
        TEST(heartbeat_without_news_is_short),
        TEST(step_of_a_full_server_stays_within_its_memory),
        TEST(server_passes_on_what_it_believes),
        TEST(table_of_a_former_master_repeats_what_is_believed),
        TEST(master_to_whom_nobody_speaks_takes_nobody_away),
    };
    return cmocka_run_group_tests_name("core/membership", tests, NULL, NULL);
}
