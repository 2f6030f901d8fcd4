/* SPDX-License-Identifier: Apache-2.0 */
/* streams.c - groups of pages asked for and received, on all holders' channels at once. */
#include "node/streams.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "io/copy.h"

/* A busy machine is silent for less. */
#define PATIENCE_NS UINT64_C(20000000)

/* By holder, keeping the caller's order: what the caller wants first is asked for first. */
static void sort_pages(struct streams *s)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_pages; i++) {
        uint16_t peer = s->pages[i].peer;
        uint32_t known = 0;
        while (known < s->n_streams && s->streams[known].peer != peer)
            known++;
        if (known < s->n_streams)
            continue;
        if (s->n_streams == STREAMS_MAX)
            break; /* the rest goes on in the next round */
        struct stream *stream = &s->streams[s->n_streams++];
        *stream = (struct stream){.peer = peer, .first = n};
        for (uint32_t j = i; j < s->n_pages; j++)
            if (s->pages[j].peer == peer) {
                s->sorted[n] = s->pages[j].wanted;
                s->origin[n++] = j;
            }
        stream->n = n - stream->first;
    }
}

static void fail_stream(struct streams *s, struct stream *stream, int error)
{
    for (uint32_t i = stream->first; i < stream->first + stream->n; i++)
        if (s->sorted[i].error == -EINPROGRESS)
            s->sorted[i].error = error;
}

static void ask_more(struct streams *s, struct stream *stream)
{
    while (stream->asked < stream->n) {
        struct channel_page *pages = &s->sorted[stream->first + stream->asked];
        uint32_t n = channel_group_size(pages, stream->n - stream->asked);
        if (channel_ask_read(stream->channel, 0, pages, n) != 0)
            return; /* full, or broken: channel_wait() tells */
        stream->asked += n;
    }
}

static bool borrow(struct streams *s, struct stream *stream, uint64_t until_ns)
{
    struct channel_pool *pool = s->node->peers[stream->peer].channels;
    char reason[HELLO_REASON_BYTES];
    if (!pool || channel_pool_borrow(pool, until_ns, &stream->channel, reason) != 0) {
        stream->channel = NULL;
        return false;
    }
    ask_more(s, stream);
    channel_progress(
        stream->channel); /* the asks are on their way before this host is copied from */
    return true;
}

/* No connection is open or all are lent.  A peer whose breaker is open costs nothing, and one for
 * which hung ones have left no time has not failed. */
static void connect_stream(struct streams *s, struct stream *stream, uint64_t deadline_ns)
{
    struct breaker *breaker = &s->node->view->breakers[stream->peer];
    uint64_t now_ns = clock_now_ns();
    uint64_t until_ns = peers_connect_until(s->node, stream->peer, now_ns, deadline_ns);
    if (now_ns >= deadline_ns)
        return;
    if (breaker_allows(breaker, now_ns)) {
        if (borrow(s, stream, until_ns))
            return;
        if (until_ns - now_ns >= PATIENCE_NS)
            breaker_failed(breaker, clock_now_ns());
    }
    fail_stream(s, stream, -EHOSTUNREACH);
}

void streams_begin(struct streams *s, struct node *node, struct stream_page *pages, uint32_t n,
                   uint64_t deadline_ns)
{
    *s = (struct streams){.node = node, .pages = pages, .n_pages = n};
    if (n == 0)
        return;
    s->sorted = malloc(n * sizeof *s->sorted);
    s->origin = malloc(n * sizeof *s->origin);
    if (!s->sorted || !s->origin) {
        for (uint32_t i = 0; i < n; i++)
            pages[i].wanted.error = -ENOMEM;
        return;
    }
    sort_pages(s);
    for (uint32_t i = 0; i < s->n_streams; i++)
        borrow(s, &s->streams[i], 0);
    for (uint32_t i = 0; i < s->n_streams; i++)
        if (!s->streams[i].channel)
            connect_stream(s, &s->streams[i], deadline_ns);
}

static void advance(struct streams *s, struct stream *stream)
{
    struct channel_done done;
    channel_progress(stream->channel);
    while (channel_next_done(stream->channel, &done))
        stream->has_answered |= done.error == 0;
    ask_more(s, stream);
}

static void close_stream(struct streams *s, struct stream *stream)
{
    struct breaker *breaker = &s->node->view->breakers[stream->peer];
    int error = channel_error(stream->channel);
    channel_pool_return(s->node->peers[stream->peer].channels, stream->channel);
    if (stream->has_answered)
        breaker_succeeded(breaker);
    else if (!atomic_load(&s->node->is_stopping))
        breaker_failed(breaker, clock_now_ns());
    fail_stream(s, stream, error ? -EHOSTUNREACH : -ETIMEDOUT);
    stream->channel = NULL;
}

static uint32_t running(const struct streams *s, struct channel **ret_channels)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_streams; i++)
        if (s->streams[i].channel)
            ret_channels[n++] = s->streams[i].channel;
    return n;
}

static void end_what_is_done(struct streams *s)
{
    for (uint32_t i = 0; i < s->n_streams; i++) {
        struct stream *stream = &s->streams[i];
        if (!stream->channel)
            continue;
        advance(s, stream);
        bool is_done = stream->asked == stream->n && channel_asks(stream->channel) == 0;
        if (is_done || channel_error(stream->channel))
            close_stream(s, stream);
    }
}

static void give_results(struct streams *s)
{
    /* Pages that found no stream or no time for theirs stay -EINPROGRESS. */
    for (uint32_t i = 0; i < s->n_streams; i++)
        for (uint32_t j = s->streams[i].first; j < s->streams[i].first + s->streams[i].n; j++) {
            s->pages[s->origin[j]].wanted.error = s->sorted[j].error;
            s->pages[s->origin[j]].wanted.checksum = s->sorted[j].checksum;
        }
}

void streams_finish(struct streams *s, uint64_t deadline_ns)
{
    struct channel *channels[STREAMS_MAX];
    end_what_is_done(s);
    for (uint32_t n; (n = running(s, channels)) > 0;) {
        if (channel_wait(channels, n, s->node->stop_fd, deadline_ns, s->node->config.spin_ns) != 0)
            break;
        end_what_is_done(s);
    }
    for (uint32_t i = 0; i < s->n_streams; i++)
        if (s->streams[i].channel)
            close_stream(s, &s->streams[i]);
    give_results(s);
    free(s->sorted);
    free(s->origin);
}

uint64_t stream_page_checksum(const struct stream_page *page)
{
    return copy_checksum_segments(page->wanted.segments, page->wanted.n_segments);
}
