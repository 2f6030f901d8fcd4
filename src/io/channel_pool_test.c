/* SPDX-License-Identifier: Apache-2.0 */
/* channel_pool_test.c - borrowing and returning, alone and in a crowd; peers that change or
 * leave. */
#include <sched.h>
#include <sys/socket.h>

#include "io/channel_internal.h"
#include "io/channel_pool.h"
#include "io/serve_fixture.h"

static struct message_hello mine;
static char reason[HELLO_REASON_BYTES];

static struct channel_pool *new_pool(const struct fixture *fixture, uint32_t max_channels)
{
    struct channel_peer peer = {.address = fixture->address, .node_id = {7, 1}, .incarnation = 3};
    struct channel_pool *pool;
    mine = fixture_hello(2);
    assert_int_equal(channel_pool_new(&peer, &mine, max_channels, &pool), 0);
    return pool;
}

static struct channel *borrow(struct channel_pool *pool)
{
    struct channel *channel;
    assert_int_equal(channel_pool_borrow(pool, after_ms(5000), &channel, reason), 0);
    return channel;
}

static void test_channels_are_used_again(void **state)
{
    struct channel_pool *pool = new_pool(*state, 2);
    struct channel *first = borrow(pool), *second = borrow(pool), *third;
    assert_ptr_not_equal(first, second);
    assert_int_equal(channel_pool_borrow(pool, 0, &third, reason), -EAGAIN);
    assert_int_equal(channel_pool_borrow(pool, after_ms(5), &third, reason), -ETIMEDOUT);
    assert_string_equal(reason,
                        "all 2 channels to the peer are in use: raise max_channels_per_peer");
    channel_pool_return(pool, first);
    assert_int_equal(channel_pool_borrow(pool, 0, &third, reason), 0);
    assert_ptr_equal(first, third);
    channel_pool_return(pool, second);
    channel_pool_return(pool, third);
    assert_int_equal(channel_pool_count(pool), 2);
    channel_pool_free(pool);
}

/* One with an ask under way, a broken one, and one whose other end has gone while it was idle. */
static void test_used_up_channels_are_not(void **state)
{
    struct channel_pool *pool = new_pool(*state, 1);
    struct channel *channel = borrow(pool);
    struct message_lookup lookup = {0};
    assert_int_equal(channel_ask_lookup(channel, 1, &lookup), 0);
    channel_pool_return(pool, channel);
    assert_int_equal(channel_pool_count(pool), 0);
    channel = borrow(pool);
    channel->error = -EPROTO;
    channel_pool_return(pool, channel);
    assert_int_equal(channel_pool_count(pool), 0);
    channel = borrow(pool);
    shutdown(channel->fd, SHUT_RDWR);
    channel_pool_return(pool, channel);
    assert_int_equal(channel_pool_count(pool), 1);
    assert_int_equal(channel_pool_borrow(pool, 0, &channel, reason), 0);
    assert_true(channel->is_opening);
    assert_int_equal(channel_pool_count(pool), 1);
    channel_pool_return(pool, channel);
    channel_pool_free(pool);
}

static int ask_once(struct channel *channel)
{
    struct message_lookup lookup = {0};
    struct channel_done done;
    assert_int_equal(channel_ask_lookup(channel, 1, &lookup), 0);
    assert_int_equal(channel_wait(&channel, 1, -1, after_ms(5000), 0), 0);
    assert_true(channel_next_done(channel, &done));
    return done.error;
}

/* Given back before it was used: the hello that waits there is no end. */
static void test_an_unused_channel_is_kept(void **state)
{
    struct channel_pool *pool = new_pool(*state, 1);
    struct channel *channel = borrow(pool);
    channel_progress(channel);
    WAIT_FOR(recv(channel->fd, reason, 1, MSG_PEEK | MSG_DONTWAIT) > 0);
    channel_pool_return(pool, channel);
    assert_ptr_equal(borrow(pool), channel);
    assert_int_equal(ask_once(channel), 0);
    channel_pool_return(pool, channel);
    channel_pool_free(pool);
}

static void test_reset(void **state)
{
    struct fixture *fixture = *state;
    struct channel_pool *pool = new_pool(fixture, 3);
    struct channel_peer other = {.address = fixture->address, .node_id = {7, 1}, .incarnation = 4};
    struct channel *lent = borrow(pool), *idle = borrow(pool);
    channel_pool_return(pool, idle);
    assert_int_equal(channel_pool_count(pool), 2);
    channel_pool_reset(pool, &other);
    assert_int_equal(channel_pool_count(pool), 1);
    channel_pool_return(pool, lent);
    assert_int_equal(channel_pool_count(pool), 0);
    lent = borrow(pool);
    assert_int_equal(ask_once(lent), -ESTALE);
    channel_pool_return(pool, lent);
    assert_int_equal(channel_pool_count(pool), 0);
    other.incarnation = 3;
    channel_pool_reset(pool, &other);
    channel_pool_return(pool, borrow(pool));
    channel_pool_free(pool);
}

struct waiter {
    struct channel_pool *pool;
    pthread_t thread;
    atomic_bool is_waiting;
    int error;
};

/* Sleeps on an answer that does not come. */
static void *wait_main(void *argument)
{
    struct waiter *waiter = argument;
    struct channel *channel = borrow(waiter->pool);
    struct message_lookup lookup = {0};
    struct channel_done done;
    assert_int_equal(channel_ask_lookup(channel, 1, &lookup), 0);
    assert_int_equal(channel_wait(&channel, 1, -1, after_ms(5000), 0), 0);
    assert_true(channel_next_done(channel, &done));
    channel->asks[channel->first] = (struct channel_ask){.kind = CHANNEL_LOOKUP, .request = 2};
    channel->n = 1;
    atomic_store(&waiter->is_waiting, true);
    waiter->error = channel_wait(&channel, 1, -1, after_ms(10000), 0);
    if (waiter->error == 0 && channel_next_done(channel, &done))
        waiter->error = done.error;
    channel_pool_return(waiter->pool, channel);
    return NULL;
}

static void test_stop(void **state)
{
    struct fixture *fixture = *state;
    struct waiter waiter = {.pool = new_pool(fixture, 1)};
    struct channel *channel;
    assert_int_equal(pthread_create(&waiter.thread, NULL, wait_main, &waiter), 0);
    WAIT_FOR(atomic_load(&waiter.is_waiting));
    channel_pool_stop(waiter.pool);
    assert_int_equal(channel_pool_borrow(waiter.pool, after_ms(5000), &channel, reason),
                     -ESHUTDOWN);
    pthread_join(waiter.thread, NULL);
    assert_int_equal(waiter.error, -ECONNRESET);
    assert_int_equal(channel_pool_count(waiter.pool), 0);
    channel_pool_free(waiter.pool);
}

enum { CROWD = 8, ROUNDS = 200, CROWD_CHANNELS = 3 };

struct one_of_a_crowd {
    struct channel_pool *pool;
    pthread_t thread;
    uint64_t id;
    uint32_t good;
};

/* Nobody ever gets an answer that is another's. */
static void *crowd_main(void *argument)
{
    struct one_of_a_crowd *self = argument;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        struct channel *channel;
        struct channel_done done;
        struct message_lookup lookup = {.ring_hash = self->id * ROUNDS + i};
        char why[HELLO_REASON_BYTES];
        if (channel_pool_borrow(self->pool, after_ms(10000), &channel, why) != 0)
            continue;
        if (channel_ask_lookup(channel, i, &lookup) == 0 &&
            channel_wait(&channel, 1, -1, after_ms(10000), 0) == 0 &&
            channel_next_done(channel, &done) && done.error == 0)
            self->good += done.request == i && done.locations.ring_hash == lookup.ring_hash;
        channel_pool_return(self->pool, channel);
    }
    return NULL;
}

static void test_crowd(void **state)
{
    struct channel_pool *pool = new_pool(*state, CROWD_CHANNELS);
    struct one_of_a_crowd crowd[CROWD] = {0};
    for (uint64_t i = 0; i < CROWD; i++) {
        crowd[i].pool = pool;
        crowd[i].id = i;
        assert_int_equal(pthread_create(&crowd[i].thread, NULL, crowd_main, &crowd[i]), 0);
    }
    for (int i = 0; i < CROWD; i++) {
        pthread_join(crowd[i].thread, NULL);
        assert_int_equal(crowd[i].good, ROUNDS);
    }
    assert_in_range(channel_pool_count(pool), 1, CROWD_CHANNELS);
    channel_pool_free(pool);
}

static int setup(void **state)
{
    struct server_setup server = {0};
    return fixture_setup(state, &server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_channels_are_used_again),
        cmocka_unit_test(test_used_up_channels_are_not),
        cmocka_unit_test(test_an_unused_channel_is_kept),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_crowd),
    };
    return cmocka_run_group_tests_name("channel_pool", tests, setup, fixture_teardown);
}
