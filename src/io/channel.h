/* SPDX-License-Identifier: Apache-2.0 */
/*
 * channel.h - the asking side of a data connection: look-ups and reads, several under way, answers
 * in the order of the asks, page bytes straight into the caller's segments.
 *
 * A channel is used by one thread at a time, which does the reading and writing itself.  A channel
 * with asks under way must be closed, never put aside: then nothing writes to the caller's memory
 * after the caller has returned.  (A closed channel's bytes end in the kernel.)
 */
#ifndef IO_CHANNEL_H
#define IO_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/address.h"
#include "io/hello.h"
#include "peercache.h"
#include "wire/schema.h"

/* Asks under way on one channel; the next is -EAGAIN. */
enum { CHANNEL_ASKS_MAX = 8 };
/* Payload of one group, unless it is a single larger page; not more than the server accepts. */
enum { CHANNEL_GROUP_MAX_BYTES = 1 << 20 };

/* Who must answer; an id or incarnation of 0 is anybody. */
struct channel_peer {
    struct address address;
    struct id128 node_id;
    uint64_t incarnation;
};

/* One page to read; stays the caller's memory until its ask is done or the channel closed. */
struct channel_page {
    struct id128 digest;
    struct location place; /* length_bytes is the sum of the segments */
    const struct peercache_segment *segments;
    uint32_t n_segments;
    /* -EINPROGRESS from the ask on; 0: the bytes are all there, of the asked generation and length
     * (this is final, also when the channel breaks or is closed before the group's end); -ESTALE,
     * -EBUSY, ...: the holder's word; what broke the channel otherwise. */
    int32_t error;
    uint64_t checksum; /* the holder's, valid with error 0; comparing it is the caller's */
};

enum channel_kind { CHANNEL_LOOKUP = 1, CHANNEL_READ, CHANNEL_PAIR };

struct channel_done {
    enum channel_kind kind;
    uint32_t request;
    int error;                          /* 0, or what broke the channel */
    struct message_locations locations; /* of a look-up; until the next channel_progress() */
    struct message_paired paired;       /* of a pair; likewise */
    struct channel_page *pages;         /* of a read */
    uint32_t n_pages;
};

struct channel;

/* Resolves a host name that is not numeric, by the deadline, and starts to connect; asks may follow
 * at once.  What goes wrong from then on breaks the channel: -ECONNREFUSED; -ESTALE: another node
 * or incarnation answered; a refusal's own error.  @mine: its purpose is not used, its texts stay
 * valid as long as the channel. */
int channel_open(const struct channel_peer *peer, const struct message_hello *mine,
                 uint64_t deadline_ns, struct channel **ret_channel,
                 char ret_reason[HELLO_REASON_BYTES]);
/* Asks under way are dropped, their pages keep the error they have.  NULL is allowed. */
void channel_close(struct channel *channel);

/* 0; -EAGAIN: CHANNEL_ASKS_MAX are under way; -EINVAL: out of bounds; -EPROTONOSUPPORT: an ask of a
 * newer version than both ends speak; or what broke the channel.
 * Asks gather, and go out together in channel_progress() or channel_wait(). */
int channel_ask_lookup(struct channel *channel, uint32_t request,
                       const struct message_lookup *lookup);
/* One group: at most channel_group_size() pages.  Also -EINVAL: lengths and segments disagree. */
int channel_ask_read(struct channel *channel, uint32_t request, struct channel_page *pages,
                     uint32_t n);
/* Queue pairs for RDMA; the peer keeps its own of them until this channel closes. */
int channel_ask_pair(struct channel *channel, uint32_t request, const struct message_pair *pair);
/* How many of the first pages make one group: 1 .. GROUP_MAX. */
uint32_t channel_group_size(const struct channel_page *pages, uint32_t n);

/* Moves what can be moved without waiting.  The number of asks that channel_next_done() has to tell
 * of; a negative errno once the channel is broken and all of them were told. */
int channel_progress(struct channel *channel);
/* False: none.  An answered look-up or pair must be taken before later answers are read. */
bool channel_next_done(struct channel *channel, struct channel_done *ret_done);
uint32_t channel_asks(const struct channel *channel);
/* All that has ever come. */
uint64_t channel_received_bytes(const struct channel *channel);
/* Whether the peer has hung up, as far as is known without waiting; for a channel without asks. */
bool channel_is_alive(const struct channel *channel);
/* 0, or what broke it. */
int channel_error(const struct channel *channel);

/* Makes progress on all of them until one has something done or is broken: polls for @spin_ns, then
 * sleeps.  0; -ETIMEDOUT; -ECANCELED: @wake_fd (-1: none) is readable, and is left so.  Channels
 * without asks are passed over.  At most CHANNEL_WAIT_MAX of them. */
enum { CHANNEL_WAIT_MAX = 1024 };
int channel_wait(struct channel *const *channels, uint32_t n, int wake_fd, uint64_t deadline_ns,
                 uint64_t spin_ns);

#endif
