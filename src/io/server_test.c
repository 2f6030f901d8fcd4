/* SPDX-License-Identifier: Apache-2.0 */
/* server_test.c - the serving side against clients that are slow, broken, hostile, or tools. */
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/serve_fixture.h"
#include "io/socket.h"
#include "io/test_fds.h"
#include "io/tool_client.h"

enum { STALL_MS = 50 };

static struct server_counts counts_of(const struct fixture *fixture)
{
    struct server_counts counts;
    server_counts(fixture->server, &counts);
    return counts;
}

static void send_read(int fd, uint32_t n, uint32_t length_bytes)
{
    struct record_wanted wanted[GROUP_MAX];
    for (uint32_t i = 0; i < n; i++)
        wanted[i] = (struct record_wanted){{0, i}, fixture_place(i, length_bytes)};
    struct message message = {.type = MESSAGE_read};
    message.u.read.pages = wanted;
    message.u.read.n_pages = n;
    fixture_send(fd, &message);
}

/* Reads until the other end hangs up; how much came. */
static size_t read_to_end(int fd)
{
    char bytes[4096];
    size_t len = 0;
    for (;;) {
        assert_int_equal(socket_wait(fd, POLLIN, after_ms(10000)), 0);
        ssize_t n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno == ECONNRESET))
            return len;
        assert_true(n > 0);
        len += (size_t)n;
    }
}

static void shrink_receive_buffer(int fd)
{
    int size = 4096;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size), 0);
}

/* --- slow and broken readers ---------------------------------------------------------------- */

static void test_reader_that_stops_is_unpinned(void **state)
{
    struct fixture *fixture = *state;
    uint64_t stalled = counts_of(fixture).stalled;
    int fd = fixture_dial(fixture, PURPOSE_CHANNEL);
    shrink_receive_buffer(fd);
    uint64_t begin_ns = clock_now_ns();
    send_read(fd, 1, FIXTURE_PAGE_MAX_BYTES);
    WAIT_FOR(atomic_load(&fixture->pins_now) == 1);
    WAIT_FOR(atomic_load(&fixture->pins_now) == 0);
    assert_true(clock_now_ns() - begin_ns >= STALL_MS * UINT64_C(1000000));
    assert_int_equal(counts_of(fixture).stalled, stalled + 1);
    assert_true(read_to_end(fd) < FIXTURE_PAGE_MAX_BYTES);
    close(fd);
}

/* A reader that is never quite at a standstill gets the time that its bytes deserve, and no more:
 * at half the pace that is asked for it does not get all of them. */
static void test_reader_that_trickles_is_unpinned(void **state)
{
    struct fixture *fixture = *state;
    enum { LENGTH = 2 << 20, TAKE_BYTES = 16 << 10 };
    static char bytes[TAKE_BYTES];
    size_t received = 0;
    ssize_t n = 1;
    int fd = fixture_dial(fixture, PURPOSE_CHANNEL), size = TAKE_BYTES;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size), 0);
    uint64_t begin_ns = clock_now_ns();
    send_read(fd, 1, LENGTH);
    while (n != 0 && received < LENGTH) {
        uint64_t due = (clock_now_ns() - begin_ns) * (SERVER_PACE_MIN_BYTES_PER_S / 2) / 1000000000;
        if (received + TAKE_BYTES > due)
            continue;
        n = recv(fd, bytes, TAKE_BYTES, MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN)
            break;
        received += n > 0 ? (size_t)n : 0;
    }
    assert_true(received < LENGTH);
    WAIT_FOR(atomic_load(&fixture->pins_now) == 0);
    close(fd);
}

static void test_connection_breaks_in_a_payload(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < 10; i++) {
        int fd = fixture_dial(fixture, PURPOSE_CHANNEL);
        char head[200];
        shrink_receive_buffer(fd);
        send_read(fd, 1, FIXTURE_PAGE_MAX_BYTES);
        assert_int_equal(socket_receive_all(fd, head, sizeof head, after_ms(5000)), 0);
        close(fd);
        WAIT_FOR(atomic_load(&fixture->pins_now) == 0);
    }
}

/* However much is asked for at once, no more than a group is pinned. */
static void test_pins_are_bounded(void **state)
{
    struct fixture *fixture = *state;
    enum { ASKS = 40, PAGES = 16, LENGTH = 64 << 10 };
    uint64_t groups = counts_of(fixture).groups;
    int fd = fixture_dial(fixture, PURPOSE_CHANNEL);
    static char bytes[FRAME_HEAD_BYTES + 2 + PAGES * 24 + PAGES * LENGTH];
    atomic_store(&fixture->pins_most, 0);
    for (int i = 0; i < ASKS; i++)
        send_read(fd, PAGES, LENGTH);
    for (int i = 0; i < ASKS; i++) {
        assert_int_equal(socket_receive_all(fd, bytes, sizeof bytes, after_ms(10000)), 0);
        assert_memory_equal(bytes + sizeof bytes - LENGTH, fixture_page(fixture, PAGES - 1),
                            LENGTH);
    }
    assert_in_range(atomic_load(&fixture->pins_most), 1, PAGES);
    assert_int_equal(counts_of(fixture).groups, groups + ASKS);
    close(fd);
}

/* A client that asks and asks and does not read is stopped by the socket, and loses no answer. */
static void test_back_pressure(void **state)
{
    struct fixture *fixture = *state;
    int fd = fixture_dial(fixture, PURPOSE_CHANNEL);
    struct record_key keys[BATCH_MAX] = {0};
    struct message message = {.type = MESSAGE_lookup};
    message.u.lookup.keys = keys;
    message.u.lookup.n_keys = BATCH_MAX;
    struct buffer ask = {0};
    size_t sent = 0, answered = 0;
    assert_int_equal(buffer_put_message(&ask, &message, 1 << 20), 0);
    int size = 64 << 10;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
    for (;;) {
        size_t at = sent % buffer_len(&ask);
        ssize_t n = send(fd, ask.bytes + at, buffer_len(&ask) - at, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0)
            break;
        sent += (size_t)n;
        assert_true(sent < 64 << 20);
    }
    size_t answer_len = FRAME_HEAD_BYTES + 1 + 8 + 2 + 24 + 2 + BATCH_MAX * 24;
    char answer[FRAME_HEAD_BYTES + 1 + 8 + 2 + 24 + 2 + BATCH_MAX * 24];
    for (; answered < sent / buffer_len(&ask); answered++)
        assert_int_equal(socket_receive_all(fd, answer, answer_len, after_ms(5000)), 0);
    assert_true(answered > 1);
    buffer_fini(&ask);
    close(fd);
}

/* --- strangers and liars -------------------------------------------------------------------- */

struct rubbish {
    const char *bytes;
    size_t len;
    bool hangs_up; /* the server does, at once; otherwise it waits for more */
};

static const struct rubbish rubbish[] = {
    {"\x01\x02\x03\x04", 4, false},
    {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27, true},
    {"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16, true},
    {"PCW1\x01\0\0\0\0\0\0\0\xff\xff\xff\xff", 16, true}, /* a hello of 4 GiB */
    {"PCW1\x01\0\0\0\0\0\0\0\x03\0\0\0abc", 19, true},    /* a hello that is too short */
    {"PCW1\x01\0\0\0\0\0\0\0\x40\0\0\0abc", 19, false},   /* half a hello */
    {"PCW1\x0f\0\0\0\0\0\0\0\x10\0\0\0", 16, true},       /* a lookup first */
    {"PCW1\x63\0\0\0\0\0\0\0\x10\0\0\0", 16, true},       /* no such type */
    {"PCW1\x01\0\x01\0\0\0\0\0\x40\0\0\0", 16, true},     /* reserved bits */
};

static void test_rubbish_instead_of_a_hello(void **state)
{
    struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof rubbish / sizeof *rubbish; i++) {
        int fd = connect_raw(&fixture->address);
        assert_int_equal(socket_send_all(fd, rubbish[i].bytes, rubbish[i].len, after_ms(5000)), 0);
        if (rubbish[i].hangs_up)
            (void)read_to_end(fd);
        close(fd);
    }
    assert_int_equal(atomic_load(&fixture->n_ended), 0);
    close(fixture_dial(fixture, PURPOSE_CHANNEL));
}

static void test_rubbish_on_a_channel(void **state)
{
    struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof rubbish / sizeof *rubbish; i++) {
        int fd = fixture_dial(fixture, PURPOSE_CHANNEL);
        assert_int_equal(socket_send_all(fd, rubbish[i].bytes, rubbish[i].len, after_ms(5000)), 0);
        /* Type 15 is a lookup, and half of one is waited for. */
        if (rubbish[i].hangs_up && rubbish[i].bytes[4] != 0x0f)
            assert_int_equal(read_to_end(fd), 0);
        close(fd);
    }
    /* A group of more bytes than are pinned for one, an empty one, and another purpose's
     * message. */
    for (int i = 0; i < 3; i++) {
        int fd = fixture_dial(fixture, i == 2 ? PURPOSE_TOOL : PURPOSE_CHANNEL);
        send_read(fd, i == 1 ? 0 : 2, i == 0 ? SERVER_GROUP_MAX_BYTES : 5);
        assert_int_equal(read_to_end(fd), 0);
        close(fd);
    }
    assert_true(counts_of(fixture).garbage >= 3);
}

/* The head promises more than is ever kept of a request; as much as is kept is sent. */
static void test_request_longer_than_the_input(void **state)
{
    struct fixture *fixture = *state;
    static uint8_t bytes[2 * SERVER_INPUT_BYTES];
    static const uint32_t lengths[] = {SERVER_INPUT_BYTES + 4096, FRAME_BODY_MAX_BYTES};
    uint64_t garbage = counts_of(fixture).garbage;
    for (uint32_t i = 0; i < 4; i++) {
        int fd = fixture_dial(fixture, i % 2 ? PURPOSE_TOOL : PURPOSE_CHANNEL);
        uint32_t head[] = {FRAME_MAGIC, MESSAGE_members, 0, lengths[i / 2]};
        memcpy(bytes, head, sizeof head);
        (void)socket_send_all(fd, bytes, sizeof bytes, after_ms(5000));
        read_to_end(fd);
        close(fd);
        assert_int_equal(counts_of(fixture).garbage, garbage + i + 1);
    }
}

static void test_connect_and_close_leaks_nothing(void **state)
{
    struct fixture *fixture = *state;
    WAIT_FOR(counts_of(fixture).connections == 0);
    close(fixture_dial(fixture, PURPOSE_CHANNEL));
    WAIT_FOR(counts_of(fixture).connections == 0);
    uint32_t fds = count_fds();
    for (int i = 0; i < 100; i++) {
        if (i % 3 == 0)
            close(connect_raw(&fixture->address));
        else
            close(fixture_dial(fixture, i % 3 == 1 ? PURPOSE_CHANNEL : PURPOSE_TOOL));
    }
    WAIT_FOR(count_fds() <= fds);
    WAIT_FOR(counts_of(fixture).connections == 0);
}

/* --- tools ---------------------------------------------------------------------------------- */

static void test_tool(void **state)
{
    struct fixture *fixture = *state;
    struct message_hello mine = fixture_hello(2);
    char reason[HELLO_REASON_BYTES];
    static const size_t lens[] = {0, 1, 5000, 3 << 20};
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        uint8_t *body = malloc(lens[i] + 1);
        for (size_t j = 0; j < lens[i]; j++)
            body[j] = (uint8_t)(j * 7 + j / 256);
        struct server_request request = {"{\"ask\":\"put\"}", 13, body, lens[i]};
        struct server_answer answer;
        assert_int_equal(
            tool_client_ask(&fixture->address, &mine, &request, after_ms(10000), &answer, reason),
            0);
        assert_int_equal(answer.error, -EDOM);
        assert_string_equal(answer.json, "{\"ask\":\"put\"}");
        assert_int_equal(answer.body_len, lens[i]);
        for (size_t j = 0; j < lens[i]; j++)
            assert_true(answer.body[j] == body[lens[i] - 1 - j]);
        free(answer.json);
        free(answer.body);
        free(body);
    }
}

static void test_tool_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct message_hello mine = fixture_hello(2);
    struct server_answer answer;
    struct server_request request = {"{}", 2, NULL, 0};
    char reason[HELLO_REASON_BYTES];
    int fds[SERVER_TOOLS_MAX], fd = fixture_dial(fixture, PURPOSE_TOOL);
    struct message message = {.type = MESSAGE_request};
    message.u.request.body_len_bytes = UINT64_C(1) << 32;
    fixture_send(fd, &message);
    assert_true(read_to_end(fd) > FRAME_HEAD_BYTES);
    close(fd);
    /* As many as there may be begin a request and do not end it. */
    message.u.request.body_len_bytes = 10;
    for (int i = 0; i < SERVER_TOOLS_MAX; i++) {
        fds[i] = fixture_dial(fixture, PURPOSE_TOOL);
        fixture_send(fds[i], &message);
    }
    int error = 0;
    uint64_t until_ns = after_ms(10000);
    while (error != -EBUSY && clock_now_ns() < until_ns) {
        error =
            tool_client_ask(&fixture->address, &mine, &request, after_ms(5000), &answer, reason);
        if (error == 0) {
            free(answer.json);
            free(answer.body);
        }
    }
    assert_int_equal(error, -EBUSY);
    assert_string_equal(reason, "too many tools ask at once, try again");
    for (int i = 0; i < SERVER_TOOLS_MAX; i++)
        close(fds[i]);
}

/* One that was stopped, for instance: without a bound of its own it would cost all others
 * SERVER_TOOL_TIMEOUT_NS. */
static void test_tool_that_takes_nothing_holds_up_nobody(void **state)
{
    struct fixture *fixture = *state;
    struct message_hello mine = fixture_hello(2);
    struct server_answer answer;
    struct server_request request = {"{}", 2, NULL, 0};
    char reason[HELLO_REASON_BYTES];
    size_t len = 16 << 20;
    uint8_t *body = calloc(1, len);
    int fd = fixture_dial(fixture, PURPOSE_TOOL);
    shrink_receive_buffer(fd);
    struct message message = {.type = MESSAGE_request};
    message.u.request.body_len_bytes = len;
    fixture_send(fd, &message);
    assert_int_equal(socket_send_all(fd, body, len, after_ms(5000)), 0);
    int error =
        tool_client_ask(&fixture->address, &mine, &request, after_ms(5000), &answer, reason);
    if (error)
        fail_msg("%s", reason);
    free(answer.json);
    free(answer.body);
    free(body);
    close(fd);
}

/* The server stops with all kinds of connections in all kinds of states. */
static void test_stop_under_load(void **state)
{
    (void)state;
    for (int round = 0; round < 10; round++) {
        static struct fixture fixture;
        struct server_setup setup = {.send_buffer_bytes = 40000};
        int fds[12];
        fixture_start(&fixture, &setup);
        for (int i = 0; i < 12; i++) {
            fds[i] = i % 4 == 3
                         ? connect_raw(&fixture.address)
                         : fixture_dial(&fixture, i % 4 == 2 ? PURPOSE_TOOL : PURPOSE_CHANNEL);
            if (i % 4 == 0)
                send_read(fds[i], 1, FIXTURE_PAGE_MAX_BYTES);
            if (i % 4 == 1)
                send_read(fds[i], 3, 1000);
        }
        fixture_stop(&fixture);
        for (int i = 0; i < 12; i++)
            close(fds[i]);
    }
}

static int setup(void **state)
{
    struct server_setup server = {.send_buffer_bytes = 64 << 10,
                                  .stall_timeout_ns = STALL_MS * UINT64_C(1000000)};
    return fixture_setup(state, &server);
}

static int setup_paced(void **state)
{
    struct server_setup server = {.send_buffer_bytes = 64 << 10,
                                  .stall_timeout_ns = 5 * STALL_MS * UINT64_C(1000000)};
    return fixture_setup(state, &server);
}

static int setup_patient(void **state)
{
    struct server_setup server = {
        .send_buffer_bytes = 40000, .spin_ns = 1000000, .stall_timeout_ns = UINT64_C(60000000000)};
    return fixture_setup(state, &server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reader_that_stops_is_unpinned),
        cmocka_unit_test_setup_teardown(test_reader_that_trickles_is_unpinned, setup_paced,
                                        fixture_teardown),
        cmocka_unit_test(test_tool_that_takes_nothing_holds_up_nobody),
        cmocka_unit_test(test_stop_under_load),
    };
    const struct CMUnitTest patient[] = {
        cmocka_unit_test(test_connection_breaks_in_a_payload),
        cmocka_unit_test(test_pins_are_bounded),
        cmocka_unit_test(test_back_pressure),
        cmocka_unit_test(test_rubbish_instead_of_a_hello),
        cmocka_unit_test(test_rubbish_on_a_channel),
        cmocka_unit_test(test_request_longer_than_the_input),
        cmocka_unit_test(test_connect_and_close_leaks_nothing),
        cmocka_unit_test(test_tool),
        cmocka_unit_test(test_tool_is_refused),
    };
    return cmocka_run_group_tests_name("server", tests, setup, fixture_teardown) +
           cmocka_run_group_tests_name("server, patient", patient, setup_patient, fixture_teardown);
}
