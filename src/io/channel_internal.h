/* SPDX-License-Identifier: Apache-2.0 */
/*
 * channel_internal.h - what the files of the asking side share: channel_open.c (until both hellos
 * are there), channel.c (asks), channel_receive.c (answers).
 */
#ifndef IO_CHANNEL_INTERNAL_H
#define IO_CHANNEL_INTERNAL_H

#include "io/buffer.h"
#include "io/channel.h"

enum {
    /* Answers' heads, and whole answers to look-ups: the largest is about 31 KB. */
    CHANNEL_INPUT_BYTES = 64 << 10,
    /* CHANNEL_ASKS_MAX of the largest asks, 4 KB each, fit. */
    CHANNEL_OUTPUT_MAX_BYTES = 64 << 10,
};

struct channel_ask {
    enum channel_kind kind;
    uint32_t request;
    int error;
    union {
        struct message_locations locations;
        struct message_paired paired;
    };
    struct channel_page *pages;
    uint32_t n_pages;
};

/* Where the next payload byte of the first open ask goes. */
struct channel_cursor {
    bool is_in_payload; /* false: the answer's head is not complete yet */
    uint32_t page, segment;
    uint64_t offset_bytes; /* into the segment */
};

struct channel {
    int fd;
    int error;
    uint16_t
        version; /* agreed on; until the peer's hello is here the lowest that this node speaks */
    bool is_opening; /* connecting, or the peer's hello has not come */
    struct channel_peer peer;
    struct message_hello mine;
    /* A ring: n_done answered ones at the front, then those under way. */
    struct channel_ask asks[CHANNEL_ASKS_MAX];
    uint32_t first, n, n_done;
    uint32_t n_new; /* the last of them were added since the last progress */
    uint64_t received_bytes;
    bool has_lists; /* of an answered ask, in the scratch: nothing more is decoded */
    struct channel_cursor cursor;
    struct buffer in, out;
    struct message_scratch scratch;
};

static inline struct channel_ask *channel_ask_at(struct channel *channel, uint32_t index)
{
    return &channel->asks[(channel->first + index) % CHANNEL_ASKS_MAX];
}

/* channel_open.c: the same until is_opening is false. */
int channel_receive_hello(struct channel *channel);
/* channel_receive.c: reads and handles what has come.  0, or what breaks the channel. */
int channel_receive(struct channel *channel);

#endif
