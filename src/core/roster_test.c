/* SPDX-License-Identifier: Apache-2.0 */
/* roster_test.c - who is listed, since when, and what a reader is told. */
#include "core/roster_test_harness.h"

enum { LINK = 3 };

/* Time goes by in small steps: a table that is not aged for long seems to have been stopped. */
static void pass(struct fixture *f, uint64_t ms)
{
    for (uint64_t step; ms > 0; ms -= step) {
        step = ms < 500 ? ms : 500;
        f->now_ns += step * WORLD_MS;
        roster_age(f->roster, f->now_ns);
    }
    update_begin(f->update, f->now_ns);
}

static bool join(struct fixture *f, uint32_t id, uint64_t incarnation)
{
    struct record_member member = world_member(id, incarnation);
    return roster_join(f->roster, f->now_ns, LINK + id, &member);
}

static bool beat(struct fixture *f, uint32_t id, uint64_t incarnation)
{
    struct message_heartbeat heartbeat = {
        .node_id = world_id(id), .incarnation = incarnation, .counter = ++f->counter};
    return roster_heartbeat(f->roster, f->now_ns, LINK + id, &heartbeat);
}

static const struct message_members *ask(struct fixture *f, uint64_t table, uint64_t version)
{
    update_begin(f->update, f->now_ns);
    roster_answer(f->roster, f->update, table, version, &f->answer);
    return &f->answer;
}

static int state_in(const struct message_members *list, uint32_t id)
{
    for (uint32_t i = 0; i < list->n_members; i++)
        if (id128_equal(list->members[i].node_id, world_id(id)))
            return list->members[i].state;
    return 0;
}

static int state_of(struct fixture *f, uint32_t id)
{
    return state_in(ask(f, 0, 0), id);
}

static void answer_brings_what_has_changed(void **state)
{
    struct fixture *f = *state;
    assert_true(join(f, 5, 1));
    assert_true(join(f, 6, 1));
    struct message_members all = *ask(f, 0, 0);
    assert_int_equal(all.whole, 1);
    assert_int_equal(all.n_members, 2);
    const struct message_members *news = ask(f, all.table, all.version);
    assert_int_equal(news->whole, 0);
    assert_int_equal(news->n_members, 0);
    assert_int_equal(news->version, all.version);
    join(f, 7, 1);
    news = ask(f, all.table, all.version);
    assert_int_equal(news->n_members, 1);
    assert_int_equal(state_in(news, 7), MEMBER_ALIVE);
    assert_int_equal(ask(f, all.table + 1, all.version)->whole, 1); /* of another table */
    assert_int_equal(ask(f, all.table, all.version + 99)->whole, 1);
}

static void heartbeats_change_nothing(void **state)
{
    struct fixture *f = *state;
    join(f, 5, 1);
    uint64_t version = ask(f, 0, 0)->version;
    for (int i = 0; i < 50; i++) {
        pass(f, 2000);
        assert_true(beat(f, 5, 1));
        assert_true(join(f, 5, 1));
    }
    assert_int_equal(ask(f, 0, 0)->version, version);
}

static void silent_member_is_suspect_then_dead(void **state)
{
    struct fixture *f = *state;
    join(f, 5, 1);
    pass(f, 5999);
    assert_int_equal(state_of(f, 5), MEMBER_ALIVE);
    pass(f, 1);
    struct message_members all = *ask(f, 0, 0);
    assert_int_equal(state_in(&all, 5), MEMBER_SUSPECT);
    assert_true(beat(f, 5, 1)); /* it speaks: alive again, and everybody is told */
    assert_int_equal(state_in(ask(f, all.table, all.version), 5), MEMBER_ALIVE);
    pass(f, 29999);
    all = *ask(f, 0, 0);
    assert_int_equal(state_in(&all, 5), MEMBER_SUSPECT);
    pass(f, 1);
    assert_int_equal(state_in(ask(f, all.table, all.version), 5), MEMBER_DEAD);
    assert_int_equal(state_of(f, 5), 0);
    assert_false(beat(f, 5, 1)); /* it sees that it is not listed, and joins */
    assert_true(join(f, 5, 1));
    assert_int_equal(state_of(f, 5), MEMBER_ALIVE);
}

/* A heartbeat whose counter has not moved is an old one. */
static void counter_must_move(void **state)
{
    struct fixture *f = *state;
    join(f, 5, 1);
    for (int i = 0; i < 6; i++) {
        pass(f, 1000);
        f->counter = 0;
        beat(f, 5, 1);
    }
    assert_int_equal(state_of(f, 5), MEMBER_ALIVE);
    pass(f, 1000);
    assert_int_equal(state_of(f, 5), MEMBER_SUSPECT);
}

static void who_has_left_stays_left(void **state)
{
    struct fixture *f = *state;
    join(f, 5, 1);
    roster_leave(f->roster, f->now_ns, world_id(5), 2); /* another life: not meant */
    assert_int_equal(state_of(f, 5), MEMBER_ALIVE);
    struct message_members all = *ask(f, 0, 0);
    roster_leave(f->roster, f->now_ns, world_id(5), 1);
    assert_int_equal(state_in(ask(f, all.table, all.version), 5), MEMBER_LEFT);
    assert_false(beat(f, 5, 1));
    assert_false(join(f, 5, 1));
    struct record_member hearsay = world_member(5, 1);
    roster_hear(f->roster, f->now_ns, &hearsay);
    assert_int_equal(state_of(f, 5), 0);
    assert_true(join(f, 5, 2));  /* its next life */
    assert_false(join(f, 5, 1)); /* late word of the former */
    roster_leave(f->roster, f->now_ns, world_id(5), 1);
    assert_int_equal(state_of(f, 5), MEMBER_ALIVE);
}

static void member_writes_its_own_record(void **state)
{
    struct fixture *f = *state;
    join(f, 5, 1);
    struct message_members all = *ask(f, 0, 0);
    struct record_member member = world_member(5, 1);
    member.version = 2;
    member.state = MEMBER_DRAINING;
    assert_true(roster_join(f->roster, f->now_ns, LINK, &member));
    assert_int_equal(state_in(ask(f, all.table, all.version), 5), MEMBER_DRAINING);
    assert_false(join(f, 5, 1)); /* version 1 is old news */
    assert_int_equal(state_of(f, 5), MEMBER_DRAINING);
    pass(f, 6000);
    assert_int_equal(state_of(f, 5), MEMBER_SUSPECT);
    assert_true(beat(f, 5, 1));
    assert_int_equal(state_of(f, 5), MEMBER_DRAINING);
    member.version = 3;
    member.state = MEMBER_SUSPECT; /* nobody says that of himself */
    assert_false(roster_join(f->roster, f->now_ns, LINK, &member));
}

/* Two machines from one image. */
static bool join_from(struct fixture *f, uint64_t seat, uint64_t incarnation, uint32_t link)
{
    struct record_member member = world_member(5, incarnation);
    member.seat = seat;
    return roster_join(f->roster, f->now_ns, link, &member);
}

static void hang_up(struct fixture *f, uint32_t link)
{
    struct id128 node_id;
    while (roster_link_down(f->roster, f->now_ns, link, &node_id))
        ;
}

static void copy_of_a_node_is_refused(void **state)
{
    struct fixture *f = *state;
    assert_true(join_from(f, 1, 10, LINK));
    assert_true(join_from(f, 1, 11, LINK + 1)); /* the same seat: the newer life wins */
    assert_false(join_from(f, 2, 12, LINK + 2));
    assert_false(join_from(f, 2, 11, LINK + 2));
    assert_int_equal(ask(f, 0, 0)->members[0].seat, 1);
    hang_up(f, LINK + 1);
    assert_true(join_from(f, 2, 12, LINK + 2)); /* its connection is gone: it moved */
    pass(f, 6000);
    assert_true(join_from(f, 3, 13, LINK + 3)); /* or silent */
    assert_int_equal(ask(f, 0, 0)->members[0].seat, 3);
}

static void young_table_is_not_fresh(void **state)
{
    struct fixture *f = *state;
    pass(f, 7999); /* member_ttl, and a heartbeat */
    assert_int_equal(ask(f, 0, 0)->fresh, 0);
    pass(f, 1);
    assert_int_equal(ask(f, 0, 0)->fresh, 1);
    roster_feed(f->roster, f->now_ns, false);
    assert_int_equal(ask(f, 0, 0)->fresh, 0);
    roster_feed(f->roster, f->now_ns, true);
    pass(f, 7999);
    assert_int_equal(ask(f, 0, 0)->fresh, 0);
    assert_true(protection_disable("fresh_masters_only"));
    assert_int_equal(ask(f, 0, 0)->fresh, 1);
}

/* Its process was stopped: when it goes on nobody is to blame for silence. */
static void stopped_table_is_young_again(void **state)
{
    struct fixture *f = *state;
    join(f, 5, 1);
    pass(f, 5000);
    beat(f, 5, 1);
    pass(f, 3000);
    assert_int_equal(ask(f, 0, 0)->fresh, 1);
    f->now_ns += 60000 * WORLD_MS;
    roster_age(f->roster, f->now_ns);
    assert_int_equal(state_of(f, 5), MEMBER_ALIVE);
    assert_int_equal(ask(f, 0, 0)->fresh, 0);
    pass(f, 5999);
    assert_int_equal(state_of(f, 5), MEMBER_ALIVE);
    pass(f, 1);
    assert_int_equal(state_of(f, 5), MEMBER_SUSPECT);
    pass(f, 2000);
    assert_int_equal(ask(f, 0, 0)->fresh, 1);
}

static void stopped_table_takes_all_away_without_protection(void **state)
{
    struct fixture *f = *state;
    assert_true(protection_disable("stopped_master_is_young"));
    join(f, 5, 1);
    pass(f, 7000);
    f->now_ns += 60000 * WORLD_MS;
    roster_age(f->roster, f->now_ns);
    assert_int_equal(state_of(f, 5), 0);
}

/* --- hearsay --- */

static void hear(struct fixture *f, uint32_t id, uint64_t incarnation, uint8_t its_state)
{
    struct record_member member = world_member(id, incarnation);
    member.state = its_state;
    roster_hear(f->roster, f->now_ns, &member);
}

static void fed_table_judges_itself(void **state)
{
    struct fixture *f = *state;
    join(f, 5, 1);
    hear(f, 5, 1, MEMBER_SUSPECT);
    hear(f, 5, 1, MEMBER_DEAD);
    assert_int_equal(state_of(f, 5), MEMBER_ALIVE);
    hear(f, 6, 1, MEMBER_DEAD); /* unknown, and stays so */
    assert_int_equal(state_of(f, 6), 0);
    hear(f, 6, 1, MEMBER_ALIVE);
    pass(f, 5999);
    hear(f, 6, 1, MEMBER_ALIVE); /* it is no sign of life */
    assert_int_equal(state_of(f, 6), MEMBER_ALIVE);
    pass(f, 1);
    assert_int_equal(state_of(f, 6), MEMBER_SUSPECT);
    hear(f, 6, 1, MEMBER_ALIVE);
    assert_int_equal(state_of(f, 6), MEMBER_SUSPECT);
    hear(f, 6, 2, MEMBER_ALIVE);
    assert_int_equal(state_of(f, 6), MEMBER_ALIVE);
    hear(f, 6, 1, MEMBER_LEFT);
    assert_int_equal(state_of(f, 6), MEMBER_ALIVE);
    hear(f, 6, 2, MEMBER_LEFT);
    assert_int_equal(state_of(f, 6), 0);
}

static void table_that_is_not_fed_repeats(void **state)
{
    struct fixture *f = *state;
    roster_feed(f->roster, f->now_ns, false);
    hear(f, 5, 1, MEMBER_ALIVE);
    pass(f, 100000);
    assert_int_equal(state_of(f, 5), MEMBER_ALIVE);
    struct message_members all = *ask(f, 0, 0);
    hear(f, 5, 1, MEMBER_SUSPECT);
    assert_int_equal(state_in(ask(f, all.table, all.version), 5), MEMBER_SUSPECT);
    hear(f, 5, 1, MEMBER_ALIVE);
    assert_int_equal(state_of(f, 5), MEMBER_ALIVE);
    hear(f, 5, 1, MEMBER_DEAD);
    assert_int_equal(state_of(f, 5), 0);
    hear(f, 5, 1, MEMBER_ALIVE);
    roster_feed(f->roster, f->now_ns, true); /* from now on it has member_ttl */
    pass(f, 5999);
    assert_int_equal(state_of(f, 5), MEMBER_ALIVE);
}

/* --- bounds --- */

static void full_table_takes_joiners_in_place_of_who_is_gone(void **state)
{
    struct fixture *f = *state;
    for (uint32_t id = 1; id <= MEMBERS_MAX; id++)
        assert_true(join(f, id, 1));
    assert_false(join(f, 5000, 1)); /* a full cluster */
    assert_int_equal(ask(f, 0, 0)->n_members, MEMBERS_MAX);
    struct message_members all = *ask(f, 0, 0);
    for (uint32_t id = 1; id <= MEMBERS_MAX; id++)
        roster_leave(f->roster, f->now_ns, world_id(id), 1);
    assert_int_equal(ask(f, all.table, all.version)->n_members, MEMBERS_MAX);
    for (uint32_t id = 2001; id <= 2000 + MEMBERS_MAX; id++)
        assert_true(join(f, id, 1));
    /* Who left is forgotten: a reader from before that gets all. */
    assert_int_equal(ask(f, all.table, all.version)->whole, 1);
    assert_int_equal(ask(f, all.table, all.version)->n_members, MEMBERS_MAX);
}

static void who_is_gone_is_forgotten_in_the_end(void **state)
{
    struct fixture *f = *state;
    join(f, 5, 1);
    join(f, 6, 1);
    struct message_members all = *ask(f, 0, 0);
    roster_leave(f->roster, f->now_ns, world_id(5), 1);
    for (int i = 0; i < 59; i++) {
        pass(f, 1000);
        beat(f, 6, 1);
    }
    assert_int_equal(state_in(ask(f, all.table, all.version), 5), MEMBER_LEFT);
    pass(f, 1000);
    assert_int_equal(ask(f, all.table, all.version)->whole, 1);
    assert_int_equal(f->answer.n_members, 1);
}

/* --- answers one after another say the same as the whole list --- */

enum { KEPT_MAX = 64 };

struct reader {
    uint64_t table, version;
    uint8_t states[KEPT_MAX];
    uint64_t incarnations[KEPT_MAX];
};

static void apply(struct reader *reader, const struct message_members *answer)
{
    if (answer->whole)
        memset(reader->states, 0, sizeof reader->states);
    for (uint32_t i = 0; i < answer->n_members; i++) {
        uint32_t id = (uint32_t)(answer->members[i].node_id.hi - world_id(0).hi);
        uint8_t its_state = answer->members[i].state;
        bool is_gone = its_state == MEMBER_LEFT || its_state == MEMBER_DEAD;
        reader->states[id] = is_gone ? 0 : its_state;
        reader->incarnations[id] = answer->members[i].incarnation;
    }
    reader->table = answer->table;
    reader->version = answer->version;
}

static void anything_happens(struct fixture *f, uint64_t random)
{
    uint32_t id = 1 + random / 16 % (KEPT_MAX - 1);
    uint64_t incarnation = 1 + random / 4096 % 3;
    switch (random % 8) {
    case 0: roster_leave(f->roster, f->now_ns, world_id(id), incarnation); break;
    case 1: pass(f, random / 4096 % 4000); break;
    case 2: hear(f, id, incarnation, (uint8_t)(1 + random / 65536 % 5)); break;
    case 3: beat(f, id, incarnation); break;
    case 4:
        if (random / 65536 % 64 == 0)
            roster_feed(f->roster, f->now_ns, random / 8192 % 2);
        break;
    default: join(f, id, incarnation);
    }
}

static void changes_add_up_to_the_whole_list(void **state)
{
    struct fixture *f = *state;
    struct reader reader = {0}, whole;
    for (uint64_t i = 0; i < 20000; i++) {
        anything_happens(f, splitmix_of(i));
        if (splitmix_of(i) / 1024 % 3 != 0)
            continue;
        apply(&reader, ask(f, reader.table, reader.version));
        memset(&whole, 0, sizeof whole);
        apply(&whole, ask(f, 0, 0));
        for (uint32_t id = 0; id < KEPT_MAX; id++) {
            assert_int_equal(reader.states[id], whole.states[id]);
            if (whole.states[id])
                assert_int_equal(reader.incarnations[id], whole.incarnations[id]);
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* It spoke once, and where nobody listens for silence it would be there for ever. */
static void who_spoke_to_an_unfed_table_goes_with_its_connection(void **state)
{
    struct fixture *f = *state;
    struct id128 node_id;
    assert_true(join(f, 4, 1));
    assert_false(roster_link_down(f->roster, f->now_ns, LINK + 4, &node_id));
    assert_int_equal(state_of(f, 4), MEMBER_ALIVE); /* fed: its silence will tell */
    roster_feed(f->roster, f->now_ns, false);
    assert_true(join(f, 5, 1));
    assert_true(roster_link_down(f->roster, f->now_ns, LINK + 5, &node_id));
    assert_true(id128_equal(node_id, world_id(5)));
    assert_int_equal(state_of(f, 5), 0);
    assert_false(roster_link_down(f->roster, f->now_ns, LINK + 5, &node_id));
    hear(f, 5, 1, MEMBER_ALIVE); /* this node believes it all the same */
    assert_int_equal(state_of(f, 5), MEMBER_ALIVE);
}

/* The node believes that the newer life has gone; the older one is not there either. */
static void unfed_table_drops_an_older_life_with_the_newer(void **state)
{
    struct fixture *f = *state;
    roster_feed(f->roster, f->now_ns, false);
    hear(f, 5, 1, MEMBER_ALIVE);
    hear(f, 5, 2, MEMBER_LEFT);
    assert_int_equal(state_of(f, 5), 0);
    assert_true(join(f, 6, 1)); /* but who speaks here is there */
    hear(f, 6, 2, MEMBER_LEFT);
    assert_int_equal(state_of(f, 6), MEMBER_ALIVE);
}

/* The belief has changed from the one to the other; only who speaks here stands against it. */
static void unfed_table_repeats_the_copy_that_is_believed(void **state)
{
    struct fixture *f = *state;
    roster_feed(f->roster, f->now_ns, false);
    for (uint64_t seat = 1; seat <= 2; seat++) {
        struct record_member member = world_member(5, 10 + seat);
        member.seat = seat;
        roster_hear(f->roster, f->now_ns, &member);
        assert_int_equal(ask(f, 0, 0)->members[0].seat, seat);
    }
    assert_true(join_from(f, 2, 12, LINK));
    struct record_member member = world_member(5, 11);
    member.seat = 1;
    roster_hear(f->roster, f->now_ns, &member);
    assert_int_equal(ask(f, 0, 0)->members[0].seat, 2);
}

/* It would hide the life that all the others believe in, their only master perhaps, from the new
 * one. */
static void unfed_table_does_not_decide_between_two_lives(void **state)
{
    struct fixture *f = *state;
    roster_feed(f->roster, f->now_ns, false);
    hear(f, 5, 1, MEMBER_ALIVE);
    assert_false(join(f, 5, 2));
    assert_int_equal(ask(f, 0, 0)->members[0].incarnation, 1);
    hear(f, 5, 2, MEMBER_ALIVE); /* the masters have */
    assert_true(join(f, 5, 2));
    assert_true(join(f, 5, 3)); /* who speaks here itself gives way to its next life */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(answer_brings_what_has_changed),
        TEST(heartbeats_change_nothing),
        TEST(silent_member_is_suspect_then_dead),
        TEST(counter_must_move),
        TEST(who_has_left_stays_left),
        TEST(member_writes_its_own_record),
        TEST(copy_of_a_node_is_refused),
        TEST(young_table_is_not_fresh),
        TEST(stopped_table_is_young_again),
        TEST(stopped_table_takes_all_away_without_protection),
        TEST(fed_table_judges_itself),
        TEST(table_that_is_not_fed_repeats),
        TEST(who_spoke_to_an_unfed_table_goes_with_its_connection),
        TEST(unfed_table_drops_an_older_life_with_the_newer),
        TEST(unfed_table_repeats_the_copy_that_is_believed),
        TEST(unfed_table_does_not_decide_between_two_lives),
        TEST(full_table_takes_joiners_in_place_of_who_is_gone),
        TEST(who_is_gone_is_forgotten_in_the_end),
        TEST(changes_add_up_to_the_whole_list),
    };
    return cmocka_run_group_tests_name("core/roster", tests, NULL, NULL);
}
