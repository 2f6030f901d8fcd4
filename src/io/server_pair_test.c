/* SPDX-License-Identifier: Apache-2.0 */
/* server_pair_test.c - queue pairs that are long in the making hold up nobody else. */
#include "io/serve_fixture.h"

enum { HOLD_UPS = 4, CONNECTIONS = 4 };

/* One serving thread, so that there is no other that could answer. */
static int setup(void **state)
{
    struct server_setup server = {.threads = 1, .connections_max = CONNECTIONS, .spare_ns = 1};
    return fixture_setup(state, &server);
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    atomic_store(&fixture->pair_hangs, false); /* a test that failed has left it */
    return fixture_teardown(state);
}

static struct record_queue queues[PAIR_MAX] = {{11, 12}, {21, 22}};
static const struct message_pair wanted = {
    .mtu_bytes = 1024, .queues = queues, .n_queues = PAIR_MAX};

static void ask_lookup(struct channel *channel, uint32_t request)
{
    struct record_key key = {.digest = {0, 3}};
    struct message_lookup lookup = {.keys = &key, .n_keys = 1};
    assert_int_equal(channel_ask_lookup(channel, request, &lookup), 0);
}

/* On a new channel. */
static void ask_pair(struct fixture *fixture, struct channel **ret_channel, uint32_t request)
{
    assert_int_equal(fixture_channel(fixture, ret_channel), 0);
    assert_int_equal(channel_ask_pair(*ret_channel, request, &wanted), 0);
}

static void expect_done(struct channel *channel, enum channel_kind kind, uint32_t request)
{
    struct channel_done done;
    assert_int_equal(channel_wait(&channel, 1, -1, after_ms(10000), 0), 0);
    assert_true(channel_next_done(channel, &done));
    assert_int_equal(done.error, 0);
    assert_int_equal(done.kind, kind);
    assert_int_equal(done.request, request);
}

static void test_look_ups_are_answered_meanwhile(void **state)
{
    struct fixture *fixture = *state;
    struct channel *pairs[HOLD_UPS], *other;
    atomic_store(&fixture->pair_hangs, true);
    for (uint32_t i = 0; i < HOLD_UPS; i++) {
        ask_pair(fixture, &pairs[i], i);
    }
    /* It is the wait that sends what was asked first. */
    WAIT_FOR(channel_wait(pairs, HOLD_UPS, -1, after_ms(1), 0) == -ETIMEDOUT &&
             atomic_load(&fixture->pairs_begun) == 1);
    assert_int_equal(fixture_channel(fixture, &other), 0);
    for (uint32_t i = 0; i < 10; i++) {
        ask_lookup(other, i);
        expect_done(other, CHANNEL_LOOKUP, i);
    }
    channel_close(pairs[1]); /* it has waited long enough */
    atomic_store(&fixture->pair_hangs, false);
    for (uint32_t i = 0; i < HOLD_UPS; i++)
        if (i != 1)
            expect_done(pairs[i], CHANNEL_PAIR, i);
    WAIT_FOR(atomic_load(&fixture->guests_now) == HOLD_UPS - 1);
    for (uint32_t i = 0; i < HOLD_UPS; i++)
        if (i != 1)
            channel_close(pairs[i]);
    channel_close(other);
    WAIT_FOR(atomic_load(&fixture->guests_now) == 0);
}

/* What was asked before and behind it is answered, in order. */
static void test_a_channel_goes_on_as_it_was(void **state)
{
    struct fixture *fixture = *state;
    struct channel *channel;
    assert_int_equal(fixture_channel(fixture, &channel), 0);
    ask_lookup(channel, 1);
    assert_int_equal(channel_ask_pair(channel, 2, &wanted), 0);
    ask_lookup(channel, 3);
    expect_done(channel, CHANNEL_LOOKUP, 1);
    expect_done(channel, CHANNEL_PAIR, 2);
    expect_done(channel, CHANNEL_LOOKUP, 3);
    ask_lookup(channel, 4);
    expect_done(channel, CHANNEL_LOOKUP, 4);
    struct server_counts counts;
    server_counts(fixture->server, &counts);
    assert_int_equal(counts.connections, 1);
    server_hang_up(fixture->server);
    WAIT_FOR(atomic_load(&fixture->guests_now) == 0);
    WAIT_FOR(!channel_is_alive(channel));
    channel_close(channel);
}

/* An adapter may take a second for each, and the peer's word is all that is known of it. */
static void test_a_channel_asks_once(void **state)
{
    struct fixture *fixture = *state;
    struct channel *channel;
    atomic_store(&fixture->pair_refuses, true);
    ask_pair(fixture, &channel, 1);
    assert_int_equal(channel_wait(&channel, 1, -1, after_ms(10000), 0), 0);
    assert_int_equal(channel_ask_pair(channel, 2, &wanted), 0);
    WAIT_FOR(channel_wait(&channel, 1, -1, after_ms(1), 0) != -ETIMEDOUT &&
             !channel_is_alive(channel));
    assert_int_equal(atomic_load(&fixture->pairs_begun), 1);
    channel_close(channel);
}

/* Strangers that are refused stay connected, and take no place from who is let in. */
static void test_who_was_refused_makes_room(void **state)
{
    struct fixture *fixture = *state;
    struct channel *refused[CONNECTIONS], *channel;
    atomic_store(&fixture->pair_refuses, true);
    for (uint32_t i = 0; i < CONNECTIONS; i++) {
        ask_pair(fixture, &refused[i], i);
        assert_int_equal(channel_wait(&refused[i], 1, -1, after_ms(10000), 0), 0);
    }
    atomic_store(&fixture->pair_refuses, false);
    ask_pair(fixture, &channel, 9);
    expect_done(channel, CHANNEL_PAIR, 9);
    assert_int_equal(atomic_load(&fixture->guests_now), 1);
    for (uint32_t i = 0; i < CONNECTIONS; i++)
        channel_close(refused[i]);
    channel_close(channel);
    WAIT_FOR(atomic_load(&fixture->guests_now) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_look_ups_are_answered_meanwhile, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_channel_goes_on_as_it_was, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_channel_asks_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_who_was_refused_makes_room, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
