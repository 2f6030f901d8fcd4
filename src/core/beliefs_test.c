/* SPDX-License-Identifier: Apache-2.0 */
/* beliefs_test.c - who is believed to be there, when masters agree, differ, or have nothing to
 * say. */
#include "core/beliefs.h"

#include "core/core_test_harness.h"

enum { A = 0, B = 1, C = 2 };

struct fixture {
    struct core_config config;
    struct update *update;
    struct beliefs *beliefs;
    uint64_t now_ns;
    uint32_t fresh, n_reports;
    struct record_member last;
    bool has_no_room;
};

static bool on_report(void *context, struct update *update, const struct record_member *member)
{
    struct fixture *f = context;
    (void)update;
    f->n_reports++;
    f->last = *member;
    return !f->has_no_room;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct membership_sink sink = {on_report, f};
    f->config = world_config(0);
    f->update = update_new();
    f->now_ns = 5000000 * WORLD_MS;
    f->fresh = 1u << A | 1u << B;
    assert_int_equal(beliefs_new(&f->config, &sink, &f->beliefs), 0);
    update_begin(f->update, f->now_ns);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    protection_enable_all();
    beliefs_free(f->beliefs);
    update_free(f->update);
    free(f);
    return 0;
}

static void judge(struct fixture *f)
{
    beliefs_judge(f->beliefs, f->update, f->fresh);
}

static void pass(struct fixture *f, uint64_t ms)
{
    f->now_ns += ms * WORLD_MS;
    update_begin(f->update, f->now_ns);
    judge(f);
}

static void say_of(struct fixture *f, uint32_t master, uint32_t id, uint64_t incarnation,
                   uint8_t state)
{
    struct record_member member = world_member(id, incarnation);
    struct message_members answer = {.members = &member, .n_members = 1};
    member.state = state;
    beliefs_take(f->beliefs, f->update, master, &answer);
    judge(f);
}

static void say(struct fixture *f, uint32_t master, uint32_t id, uint8_t state)
{
    say_of(f, master, id, 1, state);
}

static void list(struct fixture *f, uint32_t master, const uint32_t *ids, uint32_t n)
{
    struct record_member members[8];
    struct message_members answer = {.whole = 1, .members = members, .n_members = n};
    for (uint32_t i = 0; i < n; i++)
        members[i] = world_member(ids[i], 1);
    beliefs_take(f->beliefs, f->update, master, &answer);
    judge(f);
}

static int believed(struct fixture *f, uint32_t id)
{
    const struct record_member *member = beliefs_find(f->beliefs, world_id(id));
    return member ? member->state : 0;
}

static void one_word_brings_a_member(void **state)
{
    struct fixture *f = *state;
    f->fresh = 0;
    say(f, A, 5, MEMBER_ALIVE);
    assert_int_equal(believed(f, 5), MEMBER_ALIVE);
    assert_int_equal(f->n_reports, 1);
    say(f, B, 5, MEMBER_ALIVE);
    assert_int_equal(f->n_reports, 1);
    say(f, A, 0, MEMBER_ALIVE); /* this node itself is no news */
    assert_int_equal(f->n_reports, 1);
}

/* A master that a member does not reach, or whose process was hung, takes nobody away. */
static void masters_must_agree(void **state)
{
    struct fixture *f = *state;
    say(f, A, 5, MEMBER_ALIVE);
    say(f, B, 5, MEMBER_ALIVE);
    say(f, A, 5, MEMBER_SUSPECT);
    say(f, A, 5, MEMBER_DEAD);
    assert_int_equal(believed(f, 5), MEMBER_ALIVE);
    assert_int_equal(f->n_reports, 1);
    say(f, B, 5, MEMBER_SUSPECT);
    assert_int_equal(believed(f, 5), MEMBER_SUSPECT);
    say(f, B, 5, MEMBER_DEAD);
    assert_int_equal(believed(f, 5), 0);
    assert_int_equal(f->last.state, MEMBER_DEAD);
    say(f, B, 5, MEMBER_ALIVE);
    assert_int_equal(believed(f, 5), MEMBER_ALIVE);
}

static void one_master_suffices_without_protection(void **state)
{
    struct fixture *f = *state;
    assert_true(protection_disable("masters_agree"));
    say(f, A, 5, MEMBER_ALIVE);
    say(f, B, 5, MEMBER_ALIVE);
    say(f, A, 5, MEMBER_SUSPECT);
    assert_int_equal(believed(f, 5), MEMBER_SUSPECT);
}

static void master_that_is_not_fresh_takes_nobody_away(void **state)
{
    struct fixture *f = *state;
    say(f, A, 5, MEMBER_ALIVE);
    f->fresh = 0;
    judge(f);
    say(f, A, 5, MEMBER_DEAD);
    list(f, A, NULL, 0);
    pass(f, 100000);
    assert_int_equal(believed(f, 5), MEMBER_ALIVE);
    assert_int_equal(f->n_reports, 1);
}

/* A hung one does not answer, so it is not among the fresh: what it said last counts no more. */
static void old_word_of_a_hung_master_does_not_hold_anybody(void **state)
{
    struct fixture *f = *state;
    say(f, A, 5, MEMBER_ALIVE);
    say(f, B, 5, MEMBER_ALIVE);
    say(f, B, 5, MEMBER_SUSPECT);
    assert_int_equal(believed(f, 5), MEMBER_ALIVE);
    f->fresh = 1u << B;
    judge(f);
    assert_int_equal(believed(f, 5), MEMBER_SUSPECT);
    f->fresh |= 1u << A;
    judge(f);
    assert_int_equal(believed(f, 5), MEMBER_ALIVE);
}

/* No fresh master knows it: after a restart of all of them it has time to join. */
static void unknown_member_has_time(void **state)
{
    static const uint32_t others[] = {6};
    struct fixture *f = *state;
    say(f, A, 5, MEMBER_ALIVE);
    list(f, A, others, 1);
    list(f, B, others, 1);
    pass(f, 5999);
    assert_int_equal(believed(f, 5), MEMBER_ALIVE);
    pass(f, 1);
    assert_int_equal(believed(f, 5), MEMBER_SUSPECT);
    pass(f, 23999);
    assert_int_equal(believed(f, 5), MEMBER_SUSPECT);
    pass(f, 1);
    assert_int_equal(believed(f, 5), 0);
    assert_int_equal(believed(f, 6), MEMBER_ALIVE);
    assert_int_equal(f->last.state, MEMBER_DEAD);
}

static void unknown_member_that_joins_in_time_was_never_away(void **state)
{
    struct fixture *f = *state;
    say(f, A, 5, MEMBER_ALIVE);
    list(f, A, NULL, 0);
    for (int i = 0; i < 20; i++) {
        pass(f, 5000);
        say(f, B, 5, MEMBER_ALIVE);
        list(f, B, NULL, 0);
    }
    assert_int_equal(f->n_reports, 1);
}

static void master_that_is_given_up_says_nothing(void **state)
{
    struct fixture *f = *state;
    say(f, A, 5, MEMBER_ALIVE);
    say(f, B, 5, MEMBER_SUSPECT);
    beliefs_forget_master(f->beliefs, f->update, A);
    judge(f);
    assert_int_equal(believed(f, 5), MEMBER_SUSPECT);
}

static void who_has_left_is_not_brought_back(void **state)
{
    static const uint32_t ids[] = {5};
    struct fixture *f = *state;
    say(f, A, 5, MEMBER_ALIVE);
    say(f, B, 5, MEMBER_ALIVE);
    say(f, B, 5, MEMBER_LEFT); /* its own word: one master suffices */
    assert_int_equal(believed(f, 5), 0);
    assert_int_equal(f->last.state, MEMBER_LEFT);
    list(f, A, ids, 1);
    say(f, C, 5, MEMBER_ALIVE);
    assert_int_equal(f->n_reports, 2);
    say_of(f, A, 5, 2, MEMBER_ALIVE); /* but its next life is welcome */
    assert_int_equal(believed(f, 5), MEMBER_ALIVE);
}

/* The goodbye was not its own, or it came back: once it is forgotten, who lists it is asked
 * again. */
static void master_that_lists_one_that_left_is_asked_again(void **state)
{
    struct fixture *f = *state;
    say(f, A, 5, MEMBER_ALIVE);
    say(f, B, 5, MEMBER_LEFT);
    say(f, A, 5, MEMBER_ALIVE);
    assert_int_equal(believed(f, 5), 0);
    for (int i = 0; i < 70; i++)
        pass(f, 1000);
    assert_int_equal(beliefs_unheard(f->beliefs), 1u << A);
}

static void goodbye_is_believed(void **state)
{
    static const uint32_t ids[] = {5, 6};
    struct fixture *f = *state;
    say(f, A, 5, MEMBER_ALIVE);
    beliefs_left(f->beliefs, f->update, world_id(5), 1);
    beliefs_left(f->beliefs, f->update, world_id(6), 1); /* before any list had it */
    list(f, A, ids, 2);
    list(f, B, ids, 2);
    assert_int_equal(f->n_reports, 1); /* who took the goodbye knows it */
    assert_int_equal(believed(f, 5) + believed(f, 6), 0);
}

/* A young master that heard of it from others must not bring back who is dead for all fresh
 * ones. */
static void dead_member_comes_back_by_a_fresh_word_only(void **state)
{
    struct fixture *f = *state;
    say(f, A, 5, MEMBER_ALIVE);
    say(f, A, 5, MEMBER_DEAD);
    say(f, C, 5, MEMBER_ALIVE);
    assert_int_equal(believed(f, 5), 0);
    f->fresh |= 1u << C;
    judge(f);
    assert_int_equal(believed(f, 5), MEMBER_ALIVE);
}

static void without_fresh_masters_any_word_brings_a_member_back(void **state)
{
    struct fixture *f = *state;
    say(f, A, 5, MEMBER_ALIVE);
    say(f, A, 5, MEMBER_SUSPECT);
    say(f, A, 6, MEMBER_ALIVE);
    say(f, A, 6, MEMBER_DEAD);
    f->fresh = 0;
    judge(f);
    assert_int_equal(believed(f, 5), MEMBER_SUSPECT);
    assert_int_equal(believed(f, 6), 0);
    say(f, A, 5, MEMBER_ALIVE);
    say(f, A, 6, MEMBER_ALIVE);
    assert_int_equal(believed(f, 5), MEMBER_ALIVE);
    assert_int_equal(believed(f, 6), MEMBER_ALIVE);
}

static void newer_life_replaces_the_older(void **state)
{
    struct fixture *f = *state;
    say_of(f, A, 5, 1, MEMBER_ALIVE);
    say_of(f, A, 5, 2, MEMBER_ALIVE);
    assert_int_equal(f->n_reports, 2);
    assert_int_equal(f->last.incarnation, 2);
    say_of(f, B, 5, 1, MEMBER_SUSPECT);
    say_of(f, B, 5, 1, MEMBER_LEFT);
    assert_int_equal(believed(f, 5), MEMBER_ALIVE);
    assert_int_equal(f->n_reports, 2);
    say_of(f, B, 5, 3, MEMBER_LEFT); /* a life that nobody here knew */
    assert_int_equal(believed(f, 5), 0);
}

static void draining_member_is_one(void **state)
{
    struct fixture *f = *state;
    say(f, A, 5, MEMBER_ALIVE);
    say(f, B, 5, MEMBER_ALIVE);
    say(f, A, 5, MEMBER_DRAINING);
    assert_int_equal(believed(f, 5), MEMBER_DRAINING);
    say(f, B, 5, MEMBER_DRAINING);
    assert_int_equal(f->n_reports, 2);
}

static void member_for_whom_there_was_no_room_is_told_again(void **state)
{
    struct fixture *f = *state;
    f->has_no_room = true;
    say(f, A, 5, MEMBER_ALIVE);
    assert_int_equal(believed(f, 5), 0);
    f->has_no_room = false;
    say(f, A, 6, MEMBER_ALIVE);
    assert_int_equal(believed(f, 5), MEMBER_ALIVE);
    assert_int_equal(f->n_reports, 3);
}

static void nonsense_is_not_believed(void **state)
{
    struct fixture *f = *state;
    say(f, A, 5, 0);
    say(f, A, 5, 77);
    say(f, A, 5, MEMBER_DEAD);
    say(f, A, 5, MEMBER_LEFT);
    assert_int_equal(f->n_reports, 0);
}

/* Thousands of lives in an hour: the table stays bounded, and who is there stays in it. */
static void table_keeps_who_is_there(void **state)
{
    struct fixture *f = *state;
    say(f, A, 5, MEMBER_ALIVE);
    for (uint32_t id = 100; id < 10000; id++) {
        say(f, A, id, MEMBER_ALIVE);
        say(f, A, id, MEMBER_LEFT);
    }
    assert_int_equal(believed(f, 5), MEMBER_ALIVE);
    assert_int_equal(f->n_reports, 1 + 2 * 9900);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* --- copies: two seats with one id --- */

static void say_of_seat(struct fixture *f, uint32_t master, uint64_t seat, uint64_t incarnation,
                        uint8_t state)
{
    struct record_member member = world_member(5, incarnation);
    struct message_members answer = {.members = &member, .n_members = 1};
    member.state = state;
    member.seat = seat;
    beliefs_take(f->beliefs, f->update, master, &answer);
    judge(f);
}

/* A says it once, and B's word about the copy took its place: A must be asked, or nobody is left to
 * say that the first one is there. */
static void master_whose_word_gave_way_to_a_copy_is_asked_again(void **state)
{
    struct fixture *f = *state;
    say_of_seat(f, A, 1, 10, MEMBER_ALIVE);
    assert_int_equal(beliefs_unheard(f->beliefs), 0);
    say_of_seat(f, B, 2, 12, MEMBER_ALIVE);
    assert_int_equal(beliefs_unheard(f->beliefs), 1u << A);
    assert_int_equal(beliefs_unheard(f->beliefs), 0);
    say_of_seat(f, B, 2, 13, MEMBER_ALIVE); /* a restart is told by everybody in time */
    assert_int_equal(beliefs_unheard(f->beliefs), 0);
}

/* A lists one life of a node.  What it says of another takes back what it said of the first. */
static void master_that_speaks_of_another_life_takes_its_word_back(void **state)
{
    struct fixture *f = *state;
    f->fresh = 1u << A;
    say_of_seat(f, A, 1, 10, MEMBER_ALIVE);
    say_of_seat(f, A, 2, 12, MEMBER_LEFT);
    pass(f, 6000);
    assert_int_equal(believed(f, 5), MEMBER_SUSPECT);
    pass(f, 24000);
    assert_int_equal(believed(f, 5), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_word_brings_a_member),
        TEST(masters_must_agree),
        TEST(one_master_suffices_without_protection),
        TEST(master_that_is_not_fresh_takes_nobody_away),
        TEST(old_word_of_a_hung_master_does_not_hold_anybody),
        TEST(unknown_member_has_time),
        TEST(unknown_member_that_joins_in_time_was_never_away),
        TEST(master_that_is_given_up_says_nothing),
        TEST(who_has_left_is_not_brought_back),
        TEST(master_that_lists_one_that_left_is_asked_again),
        TEST(goodbye_is_believed),
        TEST(dead_member_comes_back_by_a_fresh_word_only),
        TEST(without_fresh_masters_any_word_brings_a_member_back),
        TEST(newer_life_replaces_the_older),
        TEST(draining_member_is_one),
        TEST(master_whose_word_gave_way_to_a_copy_is_asked_again),
        TEST(master_that_speaks_of_another_life_takes_its_word_back),
        TEST(member_for_whom_there_was_no_room_is_told_again),
        TEST(nonsense_is_not_believed),
        TEST(table_keeps_who_is_there),
    };
    return cmocka_run_group_tests_name("core/beliefs", tests, NULL, NULL);
}
