/* SPDX-License-Identifier: Apache-2.0 */
/* conn_test.c - control connections: two ends on one loop, and ends that the test plays itself. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "io/buffer.h"
#include "io/conn.h"
#include "io/listener.h"
#include "io/resolve.h"
#include "io/test_fds.h"

/* One node's side, and what it was told. */
struct side {
    struct conn_set *set;
    struct message_hello hello;
    struct conn *conn; /* the last that opened */
    uint32_t opened, messages, closed;
    uint32_t last_request;
    uint64_t last_number;
    int error; /* of the last that closed */
    char reason[HELLO_REASON_BYTES];
    int check_error; /* what check_hello() answers */
    enum { DO_NOTHING, DO_CLOSE, DO_ECHO } on_message;
};

struct pair {
    struct loop *loop;
    struct side here, there;
    struct listener *listener;
    struct address address;
};

static uint32_t log_lines;
static char log_line[LOG_LINE_BYTES];

static int check_hello(void *context, const struct message_hello *theirs, char *ret_reason)
{
    struct side *side = context;
    (void)theirs;
    snprintf(ret_reason, HELLO_REASON_BYTES, "not you");
    return side->check_error;
}

static void on_open(void *context, struct conn *conn, const struct message_hello *theirs)
{
    struct side *side = context;
    assert_int_equal(theirs->incarnation, 3);
    assert_memory_equal(theirs->cluster.bytes, "test", 4);
    side->conn = conn;
    side->opened++;
}

static void on_message(void *context, struct conn *conn, const struct message *message)
{
    struct side *side = context;
    side->messages++;
    side->last_request = message->request;
    if (message->type == MESSAGE_heartbeat)
        side->last_number = message->u.heartbeat.counter;
    if (message->type == MESSAGE_members)
        side->last_number = message->u.members.n_members;
    if (side->on_message == DO_CLOSE)
        conn_close(conn);
    if (side->on_message == DO_ECHO)
        assert_int_equal(conn_send(conn, message), 0);
}

static void on_close(void *context, struct conn *conn, int error, const char *reason)
{
    struct side *side = context;
    assert_non_null(conn_peer_text(conn));
    side->closed++;
    side->error = error;
    if (error == -EPROTO)
        conn_tell(conn, "connection_broken", error, reason);
    snprintf(side->reason, sizeof side->reason, "%s", reason);
}

static void side_init(struct side *side, struct loop *loop, uint64_t id)
{
    static const struct conn_callbacks callbacks = {.check_hello = check_hello,
                                                    .on_open = on_open,
                                                    .on_message = on_message,
                                                    .on_close = on_close};
    side->hello = (struct message_hello){.version_min = 1,
                                         .version_max = 1,
                                         .cluster = {"test", 4},
                                         .node_id = {7, id},
                                         .incarnation = 3};
    assert_int_equal(conn_set_new(loop, &side->hello, &callbacks, side, &side->set), 0);
}

static void sink_write(void *context, enum log_level level, const char *line)
{
    (void)context;
    (void)level;
    log_lines++;
    snprintf(log_line, sizeof log_line, "%s", line);
}

static int setup_on(void **state, const char *host)
{
    static struct pair pair;
    static const struct log_sink sink = {.write = sink_write};
    char reason[SOCKET_REASON_BYTES];
    memset(&pair, 0, sizeof pair);
    log_set_sink(&sink);
    log_lines = 0;
    assert_int_equal(loop_new(&pair.loop), 0);
    side_init(&pair.here, pair.loop, 1);
    side_init(&pair.there, pair.loop, 2);
    snprintf(pair.address.host, sizeof pair.address.host, "%s", host);
    if (listener_open(pair.loop, pair.there.set, &pair.address, &pair.listener, reason) == 0)
        pair.address.port = listener_port(pair.listener);
    *state = &pair;
    return 0;
}

static int setup(void **state)
{
    return setup_on(state, "127.0.0.1");
}

static int setup_six(void **state)
{
    return setup_on(state, "::1");
}

static int teardown(void **state)
{
    struct pair *pair = *state;
    listener_close(pair->listener);
    conn_set_free(pair->here.set);
    conn_set_free(pair->there.set);
    loop_free(pair->loop);
    log_set_sink(NULL);
    return 0;
}

#define RUN_UNTIL(pair, condition)                                                                 \
    do {                                                                                           \
        uint64_t until_ns_ = clock_now_ns() + 10 * CLOCK_NS_PER_S;                                 \
        while (!(condition)) {                                                                     \
            assert_true(clock_now_ns() < until_ns_);                                               \
            assert_true(loop_run_once((pair)->loop, 10 * CLOCK_NS_PER_MS) >= 0);                   \
        }                                                                                          \
    } while (0)

static struct conn *dial_to(struct pair *pair, const struct address *address)
{
    struct conn *conn = NULL;
    assert_int_equal(conn_dial(pair->here.set, address, PURPOSE_CONTROL, &pair->here, &conn), 0);
    assert_ptr_equal(conn_user(conn), &pair->here);
    return conn;
}

static struct conn *open_pair(struct pair *pair)
{
    struct conn *conn = dial_to(pair, &pair->address);
    struct message message = {.type = MESSAGE_heard};
    assert_int_equal(conn_send(conn, &message), -ENOTCONN);
    RUN_UNTIL(pair, pair->here.opened == 1 && pair->there.opened == 1);
    assert_ptr_equal(conn, pair->here.conn);
    assert_true(conn_is_dialled(conn));
    assert_false(conn_is_dialled(pair->there.conn));
    assert_int_equal(conn_purpose(pair->there.conn), PURPOSE_CONTROL);
    return conn;
}

static struct message heartbeat(uint32_t i)
{
    return (struct message){.type = MESSAGE_heartbeat, .request = i, .u.heartbeat.counter = i * 3};
}

/* --- two good ends -------------------------------------------------------------------------- */

static void test_messages_both_ways(void **state)
{
    struct pair *pair = *state;
    struct conn *conn = open_pair(pair);
    pair->there.on_message = DO_ECHO;
    for (uint32_t i = 1; i <= 1000; i++) {
        struct message message = heartbeat(i);
        assert_int_equal(conn_send(conn, &message), 0);
        if (i % 100 == 0) {
            assert_true(conn_queued_bytes(conn) > 0);
            RUN_UNTIL(pair, pair->here.messages == i);
        }
        assert_true(i % 100 != 0 || pair->here.last_number == i * 3);
    }
    static struct record_member members[MEMBERS_MAX];
    struct message large = {.type = MESSAGE_members, .request = 7};
    large.u.members.members = members;
    large.u.members.n_members = MEMBERS_MAX;
    for (uint32_t i = 0; i < MEMBERS_MAX; i++)
        members[i].host = (struct wire_text){"some.host.of.a.cluster", 22};
    assert_int_equal(conn_send(conn, &large), 0);
    RUN_UNTIL(pair, pair->here.messages == 1001);
    assert_int_equal(pair->here.last_number, MEMBERS_MAX);
    assert_int_equal(pair->here.last_request, 7);
    large.u.members.n_members = MEMBERS_MAX + 1;
    assert_int_equal(conn_send(conn, &large), -EMSGSIZE);
    assert_int_equal(conn_set_counts(pair->here.set)->opened, 1);
}

static void test_last_words_arrive(void **state)
{
    struct pair *pair = *state;
    struct conn *conn = open_pair(pair);
    struct message message = heartbeat(9);
    assert_int_equal(conn_send(conn, &message), 0);
    conn_close(conn);
    assert_int_equal(conn_send(conn, &message), -ENOTCONN);
    RUN_UNTIL(pair, pair->there.closed == 1);
    assert_int_equal(pair->there.last_number, 27);
    assert_int_equal(pair->there.error, -ECONNRESET);
    assert_string_equal(pair->there.reason, "the peer hung up");
    assert_int_equal(pair->here.closed, 0);
}

/* What stands behind the message in the buffer is not handled any more. */
static void test_close_in_a_callback(void **state)
{
    struct pair *pair = *state;
    struct conn *conn = open_pair(pair);
    pair->there.on_message = DO_CLOSE;
    for (uint32_t i = 0; i < 5; i++) {
        struct message message = heartbeat(i);
        assert_int_equal(conn_send(conn, &message), 0);
    }
    RUN_UNTIL(pair, pair->here.closed == 1);
    assert_int_equal(pair->there.messages, 1);
    assert_int_equal(pair->there.closed, 0);
}

static void test_names_are_looked_up(void **state)
{
    struct pair *pair = *state;
    struct address address = pair->address;
    snprintf(address.host, sizeof address.host, "localhost");
    (void)dial_to(pair, &address);
    RUN_UNTIL(pair, pair->here.opened + pair->here.closed == 1);
    /* Given up while the thread is at it. */
    for (int i = 0; i < RESOLVE_THREADS_MAX / 2; i++) {
        conn_close(dial_to(pair, &address));
        (void)loop_run_once(pair->loop, 0);
    }
    snprintf(address.host, sizeof address.host, "no host has this name");
    (void)dial_to(pair, &address);
    uint32_t closed = pair->here.closed;
    RUN_UNTIL(pair, pair->here.closed == closed + 1);
    assert_int_equal(pair->here.error, -EHOSTUNREACH);
}

static void test_six(void **state)
{
    struct pair *pair = *state;
    if (pair->listener == NULL)
        skip();
    (void)open_pair(pair);
    assert_non_null(strstr(conn_peer_text(pair->here.conn), "[::1]:"));
    assert_non_null(strstr(conn_peer_text(pair->there.conn), "[::1]:"));
}

/* --- refusals ------------------------------------------------------------------------------- */

static void expect_refusal(struct pair *pair, int error, const char *reason)
{
    uint32_t closed = pair->here.closed;
    (void)dial_to(pair, &pair->address);
    RUN_UNTIL(pair, pair->here.closed == closed + 1);
    assert_int_equal(pair->here.error, error);
    assert_string_equal(pair->here.reason, reason);
    assert_int_equal(pair->here.opened, 0);
    assert_int_equal(pair->there.opened, 0);
    assert_int_equal(pair->there.closed, 0);
}

static void test_refusals(void **state)
{
    struct pair *pair = *state;
    struct message_hello good = pair->here.hello;
    pair->here.hello.cluster = (struct wire_text){"green", 5};
    expect_refusal(
        pair, -EPERM,
        "cluster names differ: a node of 'green' asked one of 'test'; set cluster_name to the same");
    assert_int_equal(log_lines, 1);
    assert_non_null(strstr(log_line, "event=connection_not_accepted peer=127.0.0.1:"));
    assert_non_null(strstr(log_line, "error=EPERM reason=\"cluster names"));
    pair->here.hello = good;
    pair->here.hello.version_min = pair->here.hello.version_max = 6;
    expect_refusal(pair, -EPROTONOSUPPORT,
                   "no protocol version in common: this node speaks 1 to 1, the peer 6 to 6");
    pair->here.hello = good;
    pair->here.hello.auth = 3;
    expect_refusal(pair, -EOPNOTSUPP, "authentication method 3 is not supported, only none (0)");
    pair->here.hello = good;
    pair->there.check_error = -EEXIST;
    expect_refusal(pair, -EEXIST, "not you");
    assert_int_equal(conn_set_counts(pair->there.set)->refused_by_us, 4);
    assert_int_equal(conn_set_counts(pair->here.set)->refused_by_peer, 4);
    /* The dialler is as choosy: the other side has opened by then, and is told. */
    pair->there.check_error = 0;
    pair->here.check_error = -EPERM;
    (void)dial_to(pair, &pair->address);
    RUN_UNTIL(pair, pair->here.closed == 5 && pair->there.closed == 1);
    assert_string_equal(pair->there.reason, "not you");
}

/* One that comes again and again is counted, but does not fill the log; not even once a second. */
static void test_log_is_bounded(void **state)
{
    struct pair *pair = *state;
    pair->there.check_error = -EPERM;
    for (int i = 0; i < 50; i++)
        expect_refusal(pair, -EPERM, "not you");
    assert_int_equal(log_lines, 1);
    assert_int_equal(conn_set_counts(pair->there.set)->refused_by_us, 50);
}

static void test_nobody_listens(void **state)
{
    struct pair *pair = *state;
    char reason[SOCKET_REASON_BYTES];
    struct listener *second;
    char expected[100];
    snprintf(expected, sizeof expected, "port %u on 127.0.0.1 is in use by another process",
             pair->address.port);
    assert_int_equal(listener_open(pair->loop, pair->here.set, &pair->address, &second, reason),
                     -EADDRINUSE);
    assert_string_equal(reason, expected);
    listener_close(pair->listener);
    pair->listener = NULL;
    (void)dial_to(pair, &pair->address);
    RUN_UNTIL(pair, pair->here.closed == 1);
    assert_int_equal(pair->here.error, -ECONNREFUSED);
}

/* --- ends that the test plays --------------------------------------------------------------- */

static void send_raw(int fd, const struct message *message)
{
    uint8_t frame[512];
    int64_t len = message_encode(message, frame, sizeof frame);
    assert_true(len > 0);
    assert_int_equal(send(fd, frame, (size_t)len, MSG_NOSIGNAL), len);
}

/* The reason that the other end refused with; "" if it just hung up. */
static void receive_refusal(struct pair *pair, int fd, char ret_reason[HELLO_REASON_BYTES])
{
    uint8_t bytes[1024];
    struct frame_head head;
    struct message message;
    size_t len = 0;
    ssize_t n;
    while ((n = recv(fd, bytes + len, sizeof bytes - len, MSG_DONTWAIT)) != 0) {
        if (n < 0 && errno != EAGAIN)
            break;
        len += n > 0 ? (size_t)n : 0;
        (void)loop_run_once(pair->loop, CLOCK_NS_PER_MS);
    }
    ret_reason[0] = '\0';
    if (len == 0)
        return;
    assert_int_equal(frame_head_decode(bytes, &head), 0);
    assert_int_equal(head.type, MESSAGE_refuse);
    assert_int_equal(len, FRAME_HEAD_BYTES + head.body_len_bytes);
    assert_int_equal(message_decode(&head, bytes + FRAME_HEAD_BYTES, NULL, &message), 0);
    snprintf(ret_reason, HELLO_REASON_BYTES, "%.*s", (int)message.u.refuse.reason.len,
             message.u.refuse.reason.bytes);
}

static void test_wrong_beginnings(void **state)
{
    struct pair *pair = *state;
    char reason[HELLO_REASON_BYTES];
    struct message message = heartbeat(1);
    int fd = connect_raw(&pair->address);
    send_raw(fd, &message);
    receive_refusal(pair, fd, reason);
    assert_string_equal(reason, "the first message must be a hello");
    close(fd);
    fd = connect_raw(&pair->address);
    assert_int_equal(send(fd, "GET / HTTP/1.0\r\n\r\n", 18, 0), 18);
    receive_refusal(pair, fd, reason);
    assert_string_equal(reason, "");
    close(fd);
    fd = connect_raw(&pair->address);
    assert_int_equal(send(fd, "PCW1\x01\0\0\0\0\0\0\0\xff\xff\xff\xff", 16, 0), 16);
    receive_refusal(pair, fd, reason);
    close(fd);
    assert_int_equal(conn_set_counts(pair->there.set)->garbage, 3);
    assert_int_equal(pair->there.opened + pair->there.closed, 0);
    assert_int_equal(log_lines, 2); /* the reason of the third was told a moment ago */
}

static void test_half_a_hello_times_out(void **state)
{
    struct pair *pair = *state;
    char reason[HELLO_REASON_BYTES];
    conn_set_open_timeout(pair->there.set, 5 * CLOCK_NS_PER_MS);
    int fds[2] = {connect_raw(&pair->address), connect_raw(&pair->address)};
    assert_int_equal(send(fds[1], "PCW1\x01\0\0\0\0\0\0\0\x40\0\0\0abc", 19, 0), 19);
    receive_refusal(pair, fds[0], reason);
    receive_refusal(pair, fds[1], reason);
    assert_int_equal(conn_set_counts(pair->there.set)->timeouts, 2);
    close(fds[0]);
    close(fds[1]);
    /* The same with the roles changed: this side dials, and the accepted socket stays silent. */
    int listener_fd;
    struct address address = {.host = "127.0.0.1"};
    assert_int_equal(socket_listen(&address, &listener_fd, &address.port, reason), 0);
    conn_set_open_timeout(pair->here.set, 5 * CLOCK_NS_PER_MS);
    (void)dial_to(pair, &address);
    RUN_UNTIL(pair, pair->here.closed == 1);
    assert_int_equal(pair->here.error, -ETIMEDOUT);
    assert_string_equal(pair->here.reason, "the peer did not say hello in time");
    close(listener_fd);
}

/* Whoever speaks finds room, however many do not. */
static void test_silent_ones_make_room(void **state)
{
    struct pair *pair = *state;
    char byte;
    int fds[12];
    conn_set_silent_max(pair->there.set, 8);
    for (uint32_t i = 0; i < 12; i++) {
        fds[i] = connect_raw(&pair->address);
        RUN_UNTIL(pair, conn_set_counts(pair->there.set)->accepted == i + 1);
    }
    for (uint32_t i = 0; i < 12; i++)
        assert_int_equal(recv(fds[i], &byte, 1, MSG_DONTWAIT), i < 4 ? 0 : -1);
    (void)dial_to(pair, &pair->address);
    RUN_UNTIL(pair, pair->there.opened == 1);
    /* That one took the place of fds[4]; whoever is still there can speak yet. */
    for (uint32_t i = 5; i < 12; i++) {
        struct message hello = {.type = MESSAGE_hello, .u.hello = pair->here.hello};
        hello.u.hello.purpose = PURPOSE_CONTROL;
        send_raw(fds[i], &hello);
        RUN_UNTIL(pair, pair->there.opened == i - 3);
    }
    for (uint32_t i = 0; i < 12; i++)
        close(fds[i]);
    RUN_UNTIL(pair, pair->there.closed == 7);
}

static void test_garbage_behind_the_hello(void **state)
{
    struct pair *pair = *state;
    struct message hello = {.type = MESSAGE_hello, .u.hello = pair->here.hello};
    hello.u.hello.purpose = PURPOSE_CONTROL;
    for (int i = 0; i < 6; i++) {
        int fd = connect_raw(&pair->address);
        struct message message = heartbeat(4);
        send_raw(fd, &hello);
        send_raw(fd, &message);
        if (i % 2 == 0)
            send_raw(fd, &hello);
        else
            assert_int_equal(send(fd, "this is no message", 18, 0), 18);
        RUN_UNTIL(pair, pair->there.closed == (uint32_t)i + 1);
        assert_int_equal(pair->there.error, -EPROTO);
        assert_int_equal(pair->there.messages, i + 1);
        close(fd);
    }
    assert_int_equal(log_lines, 2); /* one a reason */
}

/* A peer that does not read costs the bound and then its connection. */
static void test_output_is_bounded(void **state)
{
    struct pair *pair = *state;
    struct message message = {.type = MESSAGE_hello, .u.hello = pair->here.hello};
    message.u.hello.purpose = PURPOSE_CONTROL;
    int fd = connect_raw(&pair->address);
    send_raw(fd, &message);
    RUN_UNTIL(pair, pair->there.opened == 1);
    struct conn *conn = pair->there.conn;
    struct record_entry entries[BATCH_MAX] = {0};
    message = (struct message){.type = MESSAGE_announce};
    message.u.announce.entries = entries;
    message.u.announce.n_entries = BATCH_MAX;
    int error = 0;
    for (int i = 0; error == 0; i++) {
        error = conn_send(conn, &message);
        assert_true(conn_queued_bytes(conn) <= CONN_OUTPUT_MAX_BYTES);
        if (i % 16 == 0)
            (void)loop_run_once(pair->loop, 0);
    }
    assert_int_equal(error, -ENOBUFS);
    assert_int_equal(pair->there.closed, 0);
    assert_int_equal(conn_send(conn, &message), -ENOTCONN);
    RUN_UNTIL(pair, pair->there.closed == 1);
    assert_int_equal(pair->there.error, -ENOBUFS);
    assert_int_equal(conn_set_counts(pair->there.set)->overflows, 1);
    close(fd);
}

static void test_connect_and_close_leaks_nothing(void **state)
{
    struct pair *pair = *state;
    uint32_t fds = count_fds();
    for (uint32_t i = 0; i < 100; i++) {
        struct conn *conn = dial_to(pair, &pair->address);
        for (uint32_t j = 0; j < i % 6; j++)
            (void)loop_run_once(pair->loop, 0);
        conn_close(conn);
        (void)loop_run_once(pair->loop, 0);
    }
    RUN_UNTIL(pair, count_fds() == fds);
    assert_int_equal(pair->here.closed, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_messages_both_ways),
        TEST(test_last_words_arrive),
        TEST(test_close_in_a_callback),
        TEST(test_names_are_looked_up),
        cmocka_unit_test_setup_teardown(test_six, setup_six, teardown),
        TEST(test_refusals),
        TEST(test_log_is_bounded),
        TEST(test_nobody_listens),
        TEST(test_wrong_beginnings),
        TEST(test_half_a_hello_times_out),
        TEST(test_silent_ones_make_room),
        TEST(test_garbage_behind_the_hello),
        TEST(test_output_is_bounded),
        TEST(test_connect_and_close_leaks_nothing),
    };
    return cmocka_run_group_tests_name("conn", tests, NULL, NULL);
}
