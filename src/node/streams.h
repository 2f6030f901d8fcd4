/* SPDX-License-Identifier: Apache-2.0 */
/*
 * streams.h - pages that come over TCP: one channel a holder, several groups under way on each.
 *
 * The calling thread asks, waits and receives; the bytes land in its own segments.  After
 * streams_finish() nothing writes there any more.
 */
#ifndef NODE_STREAMS_H
#define NODE_STREAMS_H

#include "io/channel.h"
#include "node/internal.h"

enum { STREAMS_MAX = 64 };

struct stream_page {
    uint32_t key, place; /* the caller's */
    uint16_t peer;
    uint8_t via;                /* enum peercache_via: who brings it; TCP here */
    struct channel_page wanted; /* its error is -EINPROGRESS until it is decided */
};

struct stream {
    uint16_t peer;
    uint32_t first, n, asked; /* its pages: sorted[first .. first + n) */
    struct channel *channel;
    uint64_t received_bytes, moved_ns; /* so far; when that last grew */
    bool is_passed_over;
};

struct streams {
    struct node *node;
    struct stream_page *pages;
    uint32_t n_pages, n_streams;
    struct channel_page *sorted; /* by holder, in the caller's order */
    uint32_t *origin;            /* sorted[i] is of pages[origin[i]] */
    struct stream streams[STREAMS_MAX];
};

/* Sends the first asks.  What cannot be asked gets its error; what hung peers have left no time
 * for, or no stream, is still -EINPROGRESS in the end and may be asked for again. */
void streams_begin(struct streams *streams, struct node *node, struct stream_page *pages,
                   uint32_t n, uint64_t deadline_ns);
void streams_finish(struct streams *streams, uint64_t deadline_ns);

/* Of the bytes that landed in the page's segments. */
uint64_t stream_page_checksum(const struct stream_page *page);

#endif
