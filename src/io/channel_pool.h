/* SPDX-License-Identifier: Apache-2.0 */
/*
 * channel_pool.h - the channels to one peer, lent to one application thread at a time.
 */
#ifndef IO_CHANNEL_POOL_H
#define IO_CHANNEL_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "io/channel.h"

enum { CHANNEL_POOL_MAX = 64 };

struct channel_pool;

/* @mine is copied; its texts stay valid as long as the pool.
 * @max_channels: 1 .. CHANNEL_POOL_MAX. */
int channel_pool_new(const struct channel_peer *peer, const struct message_hello *mine,
                     uint32_t max_channels, struct channel_pool **ret_pool);
/* Nothing may be lent any more.  NULL is allowed. */
void channel_pool_free(struct channel_pool *pool);

/* Another address or incarnation: idle channels are closed, lent ones when they come back. */
void channel_pool_reset(struct channel_pool *pool, const struct channel_peer *peer);
/* This node goes on as another life: what is opened from now on says @mine; idle channels are
 * closed, lent ones when they come back. */
void channel_pool_rename(struct channel_pool *pool, const struct message_hello *mine);
/* The peer is gone or this node stops: like reset, and lent channels break at once (-ECONNRESET
 * or -EPIPE for whoever waits on them), and borrowing is -ESHUTDOWN until the next reset. */
void channel_pool_stop(struct channel_pool *pool);

/* An idle channel, else a new one that is being opened (channel_open()), else the next that comes
 * back.  -ETIMEDOUT; or channel_open()'s errors with their reason.  With a deadline in the past
 * nothing is waited for: -EAGAIN, or -ETIMEDOUT where a host name would have to be looked up. */
int channel_pool_borrow(struct channel_pool *pool, uint64_t deadline_ns,
                        struct channel **ret_channel, char ret_reason[HELLO_REASON_BYTES]);
/* Closes it unless it is whole and has no asks under way. */
void channel_pool_return(struct channel_pool *pool, struct channel *channel);

/* Open now, lent ones included. */
uint32_t channel_pool_count(struct channel_pool *pool);

#endif
