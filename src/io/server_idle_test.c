/* SPDX-License-Identifier: Apache-2.0 */
/* server_idle_test.c - which connection makes room for one more, and which does not. */
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/serve_fixture.h"

enum { MOST = 4, ROUNDS = 100 };
#define FOR_EVER UINT64_C(3600000000000)

/* Some bytes came (1), or the other end has hung up (0). */
static int receive(int fd, int64_t within_ms)
{
    char bytes[4096];
    if (socket_wait(fd, POLLIN, after_ms((uint64_t)within_ms)) != 0)
        return -ETIMEDOUT;
    return recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0;
}

static void ask(int fd)
{
    struct message message = {.type = MESSAGE_lookup};
    fixture_send(fd, &message);
    assert_int_equal(receive(fd, 10000), 1);
}

static void expect_end(int fd)
{
    assert_int_equal(receive(fd, 10000), 0);
    close(fd);
}

static uint32_t accepted(const struct fixture *fixture)
{
    struct server_counts counts;
    server_counts(fixture->server, &counts);
    return (uint32_t)counts.accepted;
}

/* As many as one thread takes, each of which has asked something. */
static void fill(struct fixture *fixture, int fds[MOST])
{
    for (uint32_t i = 0; i < MOST; i++) {
        fds[i] = fixture_dial(fixture, PURPOSE_CHANNEL);
        ask(fds[i]);
    }
    assert_int_equal(accepted(fixture), MOST);
}

static void close_all(int *fds, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        close(fds[i]);
}

static void test_longest_idle_makes_room(void **state)
{
    struct fixture *fixture = *state;
    struct server_counts counts;
    int fds[MOST];
    fill(fixture, fds);
    ask(fds[0]);
    int fd = fixture_dial(fixture, PURPOSE_CHANNEL);
    ask(fd);
    expect_end(fds[1]);
    fds[1] = fixture_dial(fixture, PURPOSE_TOOL);
    expect_end(fds[2]);
    fds[2] = fd;
    ask(fds[0]);
    ask(fds[2]);
    ask(fds[3]);
    server_counts(fixture->server, &counts);
    assert_int_equal(counts.spared, 2);
    assert_int_equal(counts.connections_refused, 0);
    close_all(fds, MOST);
}

/* Nothing is said on a channel that has queue pairs, and they end with it.  It takes no serving
 * thread's place (server_pair.c). */
static void test_one_with_queue_pairs_stays(void **state)
{
    struct fixture *fixture = *state;
    struct record_queue queues[2] = {{7, 8}, {9, 10}};
    struct message pair = {.type = MESSAGE_pair};
    int fds[MOST];
    fill(fixture, fds);
    pair.u.pair.queues = queues;
    pair.u.pair.n_queues = 2;
    fixture_send(fds[0], &pair);
    assert_int_equal(receive(fds[0], 10000), 1);
    int more[2];
    for (uint32_t i = 0; i < 2; i++) {
        more[i] = fixture_dial(fixture, PURPOSE_CHANNEL);
        ask(more[i]);
    }
    expect_end(fds[1]);
    for (int i = 2; i < MOST; i++) { /* more than one wish at a time counts once */
        server_make_room(fixture->server);
        expect_end(fds[i]);
    }
    for (int i = 0; i < ROUNDS; i++) {
        server_make_room(fixture->server);
        ask(fds[0]);
    }
    close_all(more, 2);
    close(fds[0]);
    WAIT_FOR(atomic_load(&fixture->guests_now) == 0);
}

static void test_descriptors_are_given_back(void **state)
{
    struct fixture *fixture = *state;
    int fds[MOST];
    fill(fixture, fds);
    server_make_room(fixture->server);
    expect_end(fds[0]);
    close_all(fds + 1, MOST - 1);
}

static void test_who_has_just_asked_stays(void **state)
{
    struct fixture *fixture = *state;
    struct server_counts counts;
    int fds[MOST];
    fill(fixture, fds);
    int fd = fixture_dial(fixture, PURPOSE_CHANNEL);
    expect_end(fd);
    server_make_room(fixture->server);
    for (uint32_t i = 0; i < MOST; i++)
        ask(fds[i]);
    server_counts(fixture->server, &counts);
    assert_int_equal(counts.spared, 0);
    assert_int_equal(counts.connections_refused, 1);
    close_all(fds, MOST);
}

static int setup(void **state, uint64_t spare_ns)
{
    struct server_setup server = {.threads = 1, .connections_max = MOST, .spare_ns = spare_ns};
    return fixture_setup(state, &server);
}

static int setup_strict(void **state)
{
    return setup(state, 1);
}

static int setup_lenient(void **state)
{
    return setup(state, FOR_EVER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_longest_idle_makes_room, setup_strict,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_one_with_queue_pairs_stays, setup_strict,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_descriptors_are_given_back, setup_strict,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_who_has_just_asked_stays, setup_lenient,
                                        fixture_teardown),
    };
    return cmocka_run_group_tests_name("server_idle", tests, NULL, NULL);
}
