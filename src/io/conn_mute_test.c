/* SPDX-License-Identifier: Apache-2.0 */
/* conn_mute_test.c - who is hung up on for saying nothing, and who is not. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "io/conn.h"
#include "io/listener.h"

enum { CALLERS_MAX = 8, FIRST_MEMBER = 5 };
#define FOR_EVER UINT64_C(3600000000000)

/* One who calls; his number is that of his node. */
struct caller {
    struct conn_set *set;
    struct message_hello hello;
    struct conn *conn; /* his end */
    struct conn *here; /* the other one */
    uint32_t closed;   /* of his end */
};

static struct {
    struct loop *loop;
    struct conn_set *set;
    struct message_hello hello;
    struct listener *listener;
    struct address address;
    struct caller callers[CALLERS_MAX];
    uint32_t messages;
    int error; /* of the last that was closed here */
    uint64_t patience_ns;
} world;

/* --- the one who is called --- */

static void on_open(void *context, struct conn *conn, const struct message_hello *theirs)
{
    (void)context;
    struct caller *caller = &world.callers[theirs->node_id.lo];
    caller->here = conn;
    conn_set_user(conn, caller);
    if (world.patience_ns > 0)
        conn_set_patience(conn, world.patience_ns);
}

static void on_message(void *context, struct conn *conn, const struct message *message)
{
    (void)context;
    (void)conn;
    (void)message;
    world.messages++;
}

static void on_close(void *context, struct conn *conn, int error, const char *reason)
{
    (void)context;
    (void)reason;
    struct caller *caller = conn_user(conn);
    caller->here = NULL;
    world.error = error;
}

static enum conn_worth worth(void *context, const struct conn *conn)
{
    (void)context;
    const struct caller *caller = conn_user(conn);
    if (caller == &world.callers[0])
        return CONN_TO_BE_KEPT;
    return caller >= &world.callers[FIRST_MEMBER] ? CONN_OF_MEMBER : CONN_OF_STRANGER;
}

/* --- those who call --- */

static void caller_open(void *context, struct conn *conn, const struct message_hello *theirs)
{
    struct caller *caller = context;
    (void)theirs;
    caller->conn = conn;
}

static void caller_close(void *context, struct conn *conn, int error, const char *reason)
{
    struct caller *caller = context;
    (void)conn;
    (void)error;
    (void)reason;
    caller->conn = NULL;
    caller->closed++;
}

static void dismiss(void *context, enum log_level level, const char *line)
{
    (void)context;
    (void)level;
    (void)line;
}

static int setup(void **state)
{
    static const struct conn_callbacks here = {
        .on_open = on_open, .on_message = on_message, .on_close = on_close, .worth = worth};
    static const struct conn_callbacks there = {
        .on_open = caller_open, .on_message = on_message, .on_close = caller_close};
    static const struct log_sink sink = {.write = dismiss};
    char reason[SOCKET_REASON_BYTES];
    (void)state;
    memset(&world, 0, sizeof world);
    log_set_sink(&sink);
    world.hello = (struct message_hello){
        .version_min = 1, .version_max = 1, .cluster = {"test", 4}, .node_id = {1, 0}};
    snprintf(world.address.host, sizeof world.address.host, "127.0.0.1");
    assert_int_equal(loop_new(&world.loop), 0);
    assert_int_equal(conn_set_new(world.loop, &world.hello, &here, NULL, &world.set), 0);
    assert_int_equal(listener_open(world.loop, world.set, &world.address, &world.listener, reason),
                     0);
    world.address.port = listener_port(world.listener);
    for (uint32_t i = 0; i < CALLERS_MAX; i++) {
        struct caller *caller = &world.callers[i];
        caller->hello = world.hello;
        caller->hello.node_id = (struct id128){2, i};
        assert_int_equal(conn_set_new(world.loop, &caller->hello, &there, caller, &caller->set), 0);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    listener_close(world.listener);
    for (uint32_t i = 0; i < CALLERS_MAX; i++)
        conn_set_free(world.callers[i].set);
    conn_set_free(world.set);
    loop_free(world.loop);
    log_set_sink(NULL);
    return 0;
}

#define RUN_UNTIL(condition)                                                                       \
    do {                                                                                           \
        uint64_t until_ns_ = clock_now_ns() + 20 * CLOCK_NS_PER_S;                                 \
        while (!(condition)) {                                                                     \
            assert_true(clock_now_ns() < until_ns_);                                               \
            assert_true(loop_run_once(world.loop, 10 * CLOCK_NS_PER_MS) >= 0);                     \
        }                                                                                          \
    } while (0)

static void dial(uint32_t number)
{
    struct conn *conn;
    assert_int_equal(conn_dial(world.callers[number].set, &world.address, PURPOSE_DISCOVERY,
                               &world.callers[number], &conn),
                     0);
}

static void call(uint32_t number)
{
    dial(number);
    RUN_UNTIL(world.callers[number].conn && world.callers[number].here);
}

static void say(uint32_t number)
{
    struct message message = {.type = MESSAGE_heartbeat};
    uint32_t before = world.messages;
    assert_int_equal(conn_send(world.callers[number].conn, &message), 0);
    RUN_UNTIL(world.messages == before + 1);
}

/* Both ends agree about who is still connected. */
static void expect_connected(const bool *is_connected)
{
    for (uint32_t i = 0; i < CALLERS_MAX; i++) {
        RUN_UNTIL((world.callers[i].conn != NULL) == is_connected[i]);
        assert_int_equal(world.callers[i].here != NULL, is_connected[i]);
    }
}

/* --- patience --- */

static void test_mute_one_is_hung_up_on(void **state)
{
    (void)state;
    world.patience_ns = CLOCK_NS_PER_S;
    call(1);
    uint64_t until_ns = clock_now_ns() + CLOCK_NS_PER_S / 10;
    RUN_UNTIL(clock_now_ns() >= until_ns);
    uint64_t said_ns = clock_now_ns();
    say(1);
    RUN_UNTIL(world.callers[1].here == NULL);
    assert_true(clock_now_ns() >= said_ns + world.patience_ns);
    assert_int_equal(world.error, -ETIMEDOUT);
    assert_int_equal(conn_set_counts(world.set)->timeouts, 1);
    RUN_UNTIL(world.callers[1].closed == 1);
}

static void test_without_patience_nobody_is(void **state)
{
    (void)state;
    conn_set_open_timeout(world.set, 20 * CLOCK_NS_PER_MS);
    call(1);
    uint64_t until_ns = clock_now_ns() + 100 * CLOCK_NS_PER_MS;
    RUN_UNTIL(clock_now_ns() >= until_ns);
    say(1);
}

/* --- room --- */

static void test_longest_mute_stranger_makes_room(void **state)
{
    (void)state;
    conn_set_accepted_max(world.set, 4, 0);
    call(0);            /* is to be kept */
    call(FIRST_MEMBER); /* a member */
    call(1);
    call(2);
    say(1);
    call(3); /* in the place of the second */
    expect_connected(
        (bool[CALLERS_MAX]){[0] = true, [1] = true, [3] = true, [FIRST_MEMBER] = true});
    assert_int_equal(world.error, -EBUSY);
    call(4); /* and of the first, though that one has spoken */
    expect_connected(
        (bool[CALLERS_MAX]){[0] = true, [3] = true, [4] = true, [FIRST_MEMBER] = true});
    assert_int_equal(conn_set_counts(world.set)->spared, 2);
}

static void test_member_makes_room_where_no_stranger_is(void **state)
{
    (void)state;
    conn_set_accepted_max(world.set, 3, 0);
    call(0);
    call(FIRST_MEMBER);
    call(FIRST_MEMBER + 1);
    say(FIRST_MEMBER);
    call(1);
    expect_connected((bool[CALLERS_MAX]){[0] = true, [1] = true, [FIRST_MEMBER] = true});
}

/* However many come, nobody who has just spoken makes room for them. */
static void test_who_has_just_spoken_stays(void **state)
{
    (void)state;
    conn_set_accepted_max(world.set, 3, FOR_EVER);
    for (uint32_t i = 1; i <= 3; i++)
        call(i);
    dial(4);
    RUN_UNTIL(world.callers[4].closed == 1);
    expect_connected((bool[CALLERS_MAX]){[1] = true, [2] = true, [3] = true});
    assert_int_equal(conn_set_counts(world.set)->spared, 0);
}

/* Without descriptors strangers go, and members do not. */
static void test_shortage_takes_strangers_only(void **state)
{
    (void)state;
    conn_set_accepted_max(world.set, CALLERS_MAX, 0);
    call(FIRST_MEMBER);
    call(1);
    conn_set_shortage(world.set);
    conn_set_shortage(world.set);
    expect_connected((bool[CALLERS_MAX]){[FIRST_MEMBER] = true});
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_mute_one_is_hung_up_on),
        TEST(test_without_patience_nobody_is),
        TEST(test_longest_mute_stranger_makes_room),
        TEST(test_member_makes_room_where_no_stranger_is),
        TEST(test_who_has_just_spoken_stays),
        TEST(test_shortage_takes_strangers_only),
    };
    return cmocka_run_group_tests_name("conn_mute", tests, NULL, NULL);
}
