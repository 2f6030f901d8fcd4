/* SPDX-License-Identifier: Apache-2.0 */
/*
 * channel_pool.c - the channels to one peer, lent to one application thread at a time.
 *
 * Application threads come as they like and must be able to sleep for a channel, so the pool has a
 * mutex: a message would need a thread to receive it, and a wake-up for each call.  It is held
 * for a few instructions only, never while a connection is made.  Lent channels are kept in a list
 * so that channel_pool_stop() can break them: their sockets are shut down, not closed, and one is
 * taken off the list before it is closed, so no descriptor of somebody else can be hit.
 */
#include "io/channel_pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/thread.h"
#include "io/channel_internal.h"

struct channel_pool {
    pthread_mutex_t mutex;
    pthread_cond_t returned;
    struct message_hello mine;
    struct channel_peer peer;
    uint64_t version; /* of peer; raised by reset and stop */
    bool is_stopped;
    uint32_t max_channels, n_open; /* n_open: idle, lent and being opened */
    uint32_t n_idle, n_lent;
    struct channel *idle[CHANNEL_POOL_MAX]; /* the last one returned goes out first */
    struct {
        struct channel *channel;
        uint64_t version;
    } lent[CHANNEL_POOL_MAX];
};

int channel_pool_new(const struct channel_peer *peer, const struct message_hello *mine,
                     uint32_t max_channels, struct channel_pool **ret_pool)
{
    CHECK(max_channels >= 1 && max_channels <= CHANNEL_POOL_MAX);
    struct channel_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL)
        return -ENOMEM;
    thread_cond_init(&pool->returned);
    pthread_mutex_init(&pool->mutex, NULL);
    pool->peer = *peer;
    pool->mine = *mine;
    pool->max_channels = max_channels;
    *ret_pool = pool;
    return 0;
}

/* With the mutex held. */
static void close_idle(struct channel_pool *pool)
{
    pool->n_open -= pool->n_idle;
    while (pool->n_idle > 0)
        channel_close(pool->idle[--pool->n_idle]);
    pthread_cond_broadcast(&pool->returned);
}

void channel_pool_free(struct channel_pool *pool)
{
    if (pool == NULL)
        return;
    CHECK(pool->n_lent == 0);
    close_idle(pool);
    pthread_cond_destroy(&pool->returned);
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
}

void channel_pool_reset(struct channel_pool *pool, const struct channel_peer *peer)
{
    pthread_mutex_lock(&pool->mutex);
    pool->peer = *peer;
    pool->version++;
    pool->is_stopped = false;
    close_idle(pool);
    pthread_mutex_unlock(&pool->mutex);
}

void channel_pool_rename(struct channel_pool *pool, const struct message_hello *mine)
{
    pthread_mutex_lock(&pool->mutex);
    pool->mine = *mine;
    pool->version++;
    close_idle(pool);
    pthread_mutex_unlock(&pool->mutex);
}

void channel_pool_stop(struct channel_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    pool->version++;
    pool->is_stopped = true;
    for (uint32_t i = 0; i < pool->n_lent; i++)
        shutdown(pool->lent[i].channel->fd, SHUT_RDWR);
    close_idle(pool);
    pthread_mutex_unlock(&pool->mutex);
}

uint32_t channel_pool_count(struct channel_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    uint32_t n = pool->n_open;
    pthread_mutex_unlock(&pool->mutex);
    return n;
}

/* --- lending -------------------------------------------------------------------------------- */

/* With the mutex held, like the following ones. */
static void lend(struct channel_pool *pool, struct channel *channel, uint64_t version)
{
    CHECK(pool->n_lent < CHANNEL_POOL_MAX);
    pool->lent[pool->n_lent].channel = channel;
    pool->lent[pool->n_lent].version = version;
    pool->n_lent++;
}

static struct channel *take_idle(struct channel_pool *pool)
{
    while (pool->n_idle > 0) {
        struct channel *channel = pool->idle[--pool->n_idle];
        if (channel_is_alive(channel))
            return channel;
        channel_close(channel);
        pool->n_open--;
    }
    return NULL;
}

/* Lets the mutex go, since a name may have to be looked up; the place is taken meanwhile. */
static int open_one(struct channel_pool *pool, uint64_t deadline_ns, struct channel **ret_channel,
                    char *ret_reason)
{
    struct channel_peer peer = pool->peer;
    struct message_hello mine = pool->mine;
    uint64_t version = pool->version;
    struct channel *channel = NULL;
    pool->n_open++;
    pthread_mutex_unlock(&pool->mutex);
    int error = channel_open(&peer, &mine, deadline_ns, &channel, ret_reason);
    pthread_mutex_lock(&pool->mutex);
    if (error == 0 && version != pool->version) {
        channel_close(channel);
        snprintf(ret_reason, HELLO_REASON_BYTES, "the peer or this node has left or was restarted");
        error = -ESTALE;
    }
    if (error < 0) {
        pool->n_open--;
        pthread_cond_signal(&pool->returned);
        return error;
    }
    lend(pool, channel, version);
    *ret_channel = channel;
    return 0;
}

static int wait_returned(struct channel_pool *pool, uint64_t deadline_ns, char *ret_reason)
{
    struct timespec until = {.tv_sec = (time_t)(deadline_ns / CLOCK_NS_PER_S),
                             .tv_nsec = (long)(deadline_ns % CLOCK_NS_PER_S)};
    if (pthread_cond_timedwait(&pool->returned, &pool->mutex, &until) == 0)
        return 0;
    snprintf(ret_reason, HELLO_REASON_BYTES,
             "all %u channels to the peer are in use: raise max_channels_per_peer",
             pool->max_channels);
    return -ETIMEDOUT;
}

static int borrow_locked(struct channel_pool *pool, uint64_t deadline_ns,
                         struct channel **ret_channel, char *ret_reason)
{
    for (;;) {
        if (pool->is_stopped) {
            snprintf(ret_reason, HELLO_REASON_BYTES, "the peer has left, or this node stops");
            return -ESHUTDOWN;
        }
        *ret_channel = take_idle(pool);
        if (*ret_channel != NULL) {
            lend(pool, *ret_channel, pool->version);
            return 0;
        }
        if (pool->n_open < pool->max_channels)
            return open_one(pool, deadline_ns, ret_channel, ret_reason);
        if (deadline_ns <= clock_now_ns()) {
            snprintf(ret_reason, HELLO_REASON_BYTES, "no channel to the peer is idle");
            return -EAGAIN;
        }
        int error = wait_returned(pool, deadline_ns, ret_reason);
        if (error < 0)
            return error;
    }
}

int channel_pool_borrow(struct channel_pool *pool, uint64_t deadline_ns,
                        struct channel **ret_channel, char ret_reason[HELLO_REASON_BYTES])
{
    pthread_mutex_lock(&pool->mutex);
    struct channel *channel = NULL;
    int error = borrow_locked(pool, deadline_ns, &channel, ret_reason);
    pthread_mutex_unlock(&pool->mutex);
    if (error == 0)
        *ret_channel = channel;
    return error;
}

void channel_pool_return(struct channel_pool *pool, struct channel *channel)
{
    pthread_mutex_lock(&pool->mutex);
    uint32_t i = 0;
    while (i < pool->n_lent && pool->lent[i].channel != channel)
        i++;
    CHECK(i < pool->n_lent);
    bool is_current = pool->lent[i].version == pool->version;
    pool->lent[i] = pool->lent[--pool->n_lent];
    bool keep = is_current && channel->error == 0 && channel->n == 0;
    if (keep)
        pool->idle[pool->n_idle++] = channel;
    else
        pool->n_open--;
    pthread_cond_signal(&pool->returned);
    pthread_mutex_unlock(&pool->mutex);
    if (!keep)
        channel_close(channel);
}
