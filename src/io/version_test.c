/* SPDX-License-Identifier: Apache-2.0 */
/*
 * version_test.c - connections on which two versions of the protocol could be spoken.
 *
 * Built with the tests' next build (wire/next.h), where `note` is of version 2 and both ends can be
 * told to speak 1, 2, or both.  The other end of a connection hangs up on what is too new for it.
 */
#include <poll.h>
#include <sched.h>
#include <unistd.h>

#include "base/protection.h"
#include "io/buffer.h"
#include "io/channel_internal.h"
#include "io/dial.h"
#include "io/serve_fixture.h"
#include "io/socket.h"

static const struct message note = {.type = MESSAGE_note, .u.note = {.number = 7}};

static int start(void **state)
{
    return fixture_setup(state, &(struct server_setup){0});
}

static int stop(void **state)
{
    protection_enable_all();
    return fixture_teardown(state);
}

static struct message_hello hello_of(uint16_t version_min, uint16_t version_max)
{
    struct message_hello hello = fixture_hello(2);
    hello.version_min = version_min;
    hello.version_max = version_max;
    return hello;
}

/* --- control connections -------------------------------------------------------------------- */

/* This end of a control connection, on a loop of its own. */
struct caller {
    struct loop *loop;
    struct conn_set *set;
    struct message_hello hello;
    struct conn *conn;
    uint32_t opened, messages, closed;
};

static void caller_open(void *context, struct conn *conn, const struct message_hello *theirs)
{
    struct caller *caller = context;
    (void)theirs;
    caller->conn = conn;
    caller->opened++;
}

static void caller_message(void *context, struct conn *conn, const struct message *message)
{
    struct caller *caller = context;
    (void)conn;
    caller->messages += message->type == MESSAGE_heard;
}

static void caller_close(void *context, struct conn *conn, int error, const char *reason)
{
    struct caller *caller = context;
    (void)conn;
    (void)error;
    (void)reason;
    caller->closed++;
}

static void caller_dial(struct caller *caller, const struct fixture *fixture, uint16_t version_max)
{
    static const struct conn_callbacks callbacks = {
        .on_open = caller_open, .on_message = caller_message, .on_close = caller_close};
    struct conn *conn;
    *caller = (struct caller){.hello = hello_of(1, version_max)};
    assert_int_equal(loop_new(&caller->loop), 0);
    assert_int_equal(conn_set_new(caller->loop, &caller->hello, &callbacks, caller, &caller->set),
                     0);
    assert_int_equal(conn_dial(caller->set, &fixture->address, PURPOSE_CONTROL, caller, &conn), 0);
    while (caller->opened + caller->closed == 0)
        loop_run_once(caller->loop, LOOP_FOREVER);
    assert_int_equal(caller->opened, 1);
}

/* Sends @message, and behind it one that comes back, or is hung up on. */
static int caller_send(struct caller *caller, const struct message *message)
{
    const struct message heard = {.type = MESSAGE_heard};
    int error = conn_send(caller->conn, message);
    assert_int_equal(conn_send(caller->conn, &heard), 0);
    while (caller->messages + caller->closed == 0)
        loop_run_once(caller->loop, LOOP_FOREVER);
    return error;
}

static void caller_end(struct caller *caller)
{
    conn_set_free(caller->set);
    loop_free(caller->loop);
}

/* The fixture speaks 1 to @theirs, the caller 1 to @mine. */
static void expect_control(struct fixture *fixture, uint16_t theirs, uint16_t mine,
                           uint16_t version, int error)
{
    struct caller caller;
    fixture->hello.version_max = theirs;
    caller_dial(&caller, fixture, mine);
    assert_int_equal(conn_version(caller.conn), version);
    assert_int_equal(caller_send(&caller, &note), error);
    assert_int_equal(caller.closed, 0);
    caller_end(&caller);
}

static void control_carries_what_both_know(void **state)
{
    expect_control(*state, 2, 2, 2, 0);
    expect_control(*state, 1, 2, 1, -EPROTONOSUPPORT);
    expect_control(*state, 2, 1, 1, -EPROTONOSUPPORT);
    expect_control(*state, 1, 1, 1, -EPROTONOSUPPORT);
}

static void frames_are_looked_at_too(void **state)
{
    struct fixture *fixture = *state;
    struct caller caller;
    uint8_t frame[64];
    int64_t len = message_encode(&note, frame, sizeof frame);
    fixture->hello.version_max = 1;
    caller_dial(&caller, fixture, 2);
    assert_int_equal(conn_send_frame(caller.conn, frame, (size_t)len), -EPROTONOSUPPORT);
    caller_end(&caller);
}

/* The one fault that the gate is against: the other end takes it for garbage, as it should.  Both
 * ends say their note once the connection is open. */
static void without_the_gate_the_peer_hangs_up(void **state)
{
    struct fixture *fixture = *state;
    struct caller caller;
    assert_true(protection_disable("version_gate"));
    fixture->hello.version_max = 1;
    caller_dial(&caller, fixture, 2);
    while (caller.closed == 0)
        loop_run_once(caller.loop, LOOP_FOREVER);
    caller_end(&caller);
}

/* --- channels and tools --------------------------------------------------------------------- */

static void await_lookup(struct channel *channel)
{
    struct channel_done done;
    const struct message_lookup lookup = {.ring_hash = 9};
    assert_int_equal(channel_ask_lookup(channel, 1, &lookup), 0);
    assert_int_equal(channel_wait(&channel, 1, -1, after_ms(10000), 0), 0);
    assert_true(channel_next_done(channel, &done));
    assert_int_equal(done.error, 0);
    assert_int_equal(done.locations.ring_hash, 9);
}

/* The first ask goes out before anything is agreed on, the second after it. */
static void expect_channel(struct fixture *fixture, uint16_t theirs, uint16_t mine,
                           uint16_t version)
{
    struct channel_peer peer = {.address = fixture->address};
    struct message_hello hello = hello_of(1, mine);
    struct channel *channel;
    char reason[HELLO_REASON_BYTES];
    fixture->hello.version_max = theirs;
    assert_int_equal(channel_open(&peer, &hello, after_ms(5000), &channel, reason), 0);
    assert_int_equal(channel->version, 1);
    await_lookup(channel);
    assert_int_equal(channel->version, version);
    await_lookup(channel);
    channel_close(channel);
}

static void channels_carry_what_both_know(void **state)
{
    expect_channel(*state, 2, 2, 2);
    expect_channel(*state, 1, 2, 1);
    expect_channel(*state, 2, 1, 1);
}

/* Whether the serving side answers the look-up behind a note. */
static bool serves_behind_note(struct fixture *fixture, uint16_t version)
{
    struct message_hello mine = hello_of(1, version);
    struct dial_hello theirs;
    struct buffer out = {0};
    const struct message lookup = {.type = MESSAGE_lookup};
    char reason[HELLO_REASON_BYTES];
    uint8_t head[FRAME_HEAD_BYTES];
    int fd;
    fixture->hello.version_max = 2;
    assert_int_equal(
        dial(&fixture->address, &mine, PURPOSE_CHANNEL, after_ms(5000), &fd, &theirs, reason), 0);
    assert_int_equal(buffer_put_message(&out, &note, 1 << 10), 0);
    assert_int_equal(buffer_put_message(&out, &lookup, 1 << 10), 0);
    assert_int_equal(socket_send_all(fd, out.bytes, buffer_len(&out), after_ms(5000)), 0);
    int error = socket_receive_all(fd, head, sizeof head, after_ms(10000));
    buffer_fini(&out);
    close(fd);
    return error == 0;
}

static void server_refuses_what_is_too_new_for_the_connection(void **state)
{
    assert_true(serves_behind_note(*state, 2));
    assert_false(serves_behind_note(*state, 1));
}

/* --- hellos --------------------------------------------------------------------------------- */

static void no_version_in_common_is_said_by_both_numbers(void **state)
{
    struct fixture *fixture = *state;
    struct message_hello mine = hello_of(2, 2);
    struct dial_hello theirs;
    char reason[HELLO_REASON_BYTES];
    int fd;
    fixture->hello.version_max = 1;
    assert_int_equal(
        dial(&fixture->address, &mine, PURPOSE_TOOL, after_ms(5000), &fd, &theirs, reason),
        -EPROTONOSUPPORT);
    assert_string_equal(reason,
                        "no protocol version in common: this node speaks 1 to 1, the peer 2 to 2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(control_carries_what_both_know, start, stop),
        cmocka_unit_test_setup_teardown(frames_are_looked_at_too, start, stop),
        cmocka_unit_test_setup_teardown(without_the_gate_the_peer_hangs_up, start, stop),
        cmocka_unit_test_setup_teardown(channels_carry_what_both_know, start, stop),
        cmocka_unit_test_setup_teardown(server_refuses_what_is_too_new_for_the_connection, start,
                                        stop),
        cmocka_unit_test_setup_teardown(no_version_in_common_is_said_by_both_numbers, start, stop),
    };
    return cmocka_run_group_tests_name("version", tests, NULL, NULL);
}
