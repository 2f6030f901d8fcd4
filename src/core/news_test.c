/* SPDX-License-Identifier: Apache-2.0 */
/* news_test.c - who is told that a table has changed, how often, and how much in a step. */
#include "core/roster_test_harness.h"

enum { MEMBERS = 150, FIRST_LINK = 200, TOLD_A_STEP = 64 };

static void join(struct fixture *f, uint32_t number)
{
    struct record_member member = {.node_id = world_id(number),
                                   .incarnation = 1,
                                   .version = 1,
                                   .state = MEMBER_ALIVE,
                                   .host = {"10.0.0.1", 8},
                                   .control_port = (uint16_t)number};
    assert_true(roster_join(f->roster, f->now_ns, FIRST_LINK + number, &member));
}

/* How many are told in a step at this time. */
static size_t tell(struct fixture *f, uint64_t after_ms)
{
    f->now_ns += after_ms * WORLD_MS;
    update_begin(f->update, f->now_ns);
    news_tell(&f->news, f->roster, f->update);
    update_end(f->update, &f->ended);
    for (size_t i = 0; i < f->ended.n_sends; i++) {
        const struct message *message = f->ended.sends[i].message;
        assert_int_equal(message->type, MESSAGE_members);
        assert_true(news_is(&message->u.members));
        assert_int_equal(message->u.members.n_members, 0);
    }
    return f->ended.n_sends;
}

static void those_who_speak_are_told_once(void **state)
{
    struct fixture *f = *state;
    struct record_member hearsay = {
        .node_id = world_id(9), .incarnation = 1, .state = MEMBER_ALIVE, .host = {"10.0.0.9", 8}};
    join(f, 1);
    join(f, 2);
    roster_hear(f->roster, f->now_ns, &hearsay);
    assert_int_equal(tell(f, 0), 2);
    assert_int_equal(f->ended.sends[0].link, FIRST_LINK + 1);
    assert_int_equal(f->ended.sends[1].link, FIRST_LINK + 2);
    assert_int_equal(tell(f, 0), 0);
    assert_int_equal(tell(f, 1000), 0);
    assert_true(f->ended.wake_at_ns == UINT64_MAX);
}

static void changes_that_come_together_are_told_together(void **state)
{
    struct fixture *f = *state;
    join(f, 1);
    assert_int_equal(tell(f, 0), 1);
    join(f, 2);
    join(f, 3);
    assert_int_equal(tell(f, 1), 0);
    assert_true(f->ended.wake_at_ns == f->now_ns - 1 * WORLD_MS + NEWS_PAUSE_NS);
    assert_int_equal(tell(f, 98), 0);
    assert_int_equal(tell(f, 1), 3);
}

static void many_are_told_over_several_steps(void **state)
{
    struct fixture *f = *state;
    for (uint32_t i = 1; i <= MEMBERS; i++)
        join(f, i);
    assert_int_equal(tell(f, 0), TOLD_A_STEP);
    assert_true(f->ended.wake_at_ns == f->now_ns);
    /* Who joins meanwhile is told in the next round at the latest. */
    join(f, MEMBERS + 1);
    assert_int_equal(tell(f, 0), TOLD_A_STEP);
    assert_int_equal(tell(f, 0), MEMBERS + 1 - 2 * TOLD_A_STEP);
    assert_int_equal(tell(f, 0), 0);
    assert_int_equal(tell(f, 100), TOLD_A_STEP);
}

static void who_hung_up_is_not_told(void **state)
{
    struct fixture *f = *state;
    struct id128 node_id;
    join(f, 1);
    join(f, 2);
    while (roster_link_down(f->roster, f->now_ns, FIRST_LINK + 1, &node_id))
        ;
    assert_int_equal(tell(f, 0), 1);
    assert_int_equal(f->ended.sends[0].link, FIRST_LINK + 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(those_who_speak_are_told_once),
        TEST(changes_that_come_together_are_told_together),
        TEST(many_are_told_over_several_steps),
        TEST(who_hung_up_is_not_told),
    };
    return cmocka_run_group_tests_name("core/news", tests, NULL, NULL);
}
