/* SPDX-License-Identifier: Apache-2.0 */
/* streams.c - groups of pages asked for and received, on all holders' channels at once. */
#include "node/streams.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "io/copy.h"
#include "io/patience.h"
#include "node/peers.h"
#include "node/probe.h"

/* By holder, keeping the caller's order: what the caller wants first is asked for first. */
static void sort_pages(struct streams *s)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_pages; i++) {
        uint16_t peer = s->pages[i].peer;
        uint32_t known = 0;
        if (s->pages[i].via != PEERCACHE_VIA_TCP)
            continue;
        while (known < s->n_streams && s->streams[known].peer != peer)
            known++;
        if (known < s->n_streams)
            continue;
        if (s->n_streams == STREAMS_MAX)
            break; /* the rest goes on in the next round */
        struct stream *stream = &s->streams[s->n_streams++];
        *stream = (struct stream){.peer = peer, .first = n};
        for (uint32_t j = i; j < s->n_pages; j++)
            if (s->pages[j].peer == peer && s->pages[j].via == PEERCACHE_VIA_TCP) {
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
    stream->moved_ns = clock_now_ns();
    ask_more(s, stream);
    channel_progress(
        stream->channel); /* the asks are on their way before this host is copied from */
    return true;
}

/* All channels are lent, or a host's name is looked up: the peer has not failed for that. */
static void await_channel(struct streams *s, struct stream *stream, uint64_t deadline_ns)
{
    uint64_t now_ns = clock_now_ns();
    if (now_ns < deadline_ns && !borrow(s, stream, peers_channel_until(now_ns, deadline_ns)))
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
            if (pages[i].via == PEERCACHE_VIA_TCP)
                pages[i].wanted.error = -ENOMEM;
        return;
    }
    sort_pages(s);
    for (uint32_t i = 0; i < s->n_streams; i++) {
        struct stream *stream = &s->streams[i];
        stream->is_passed_over = !peers_may_ask(node, stream->peer);
        if (stream->is_passed_over)
            fail_stream(s, stream, -EHOSTUNREACH);
        else
            borrow(s, stream, 0);
    }
    for (uint32_t i = 0; i < s->n_streams; i++)
        if (!s->streams[i].channel && !s->streams[i].is_passed_over)
            await_channel(s, &s->streams[i], deadline_ns);
}

static void advance(struct streams *s, struct stream *stream)
{
    struct channel_done done;
    channel_progress(stream->channel);
    while (channel_next_done(stream->channel, &done))
        ;
    uint64_t received_bytes = channel_received_bytes(stream->channel);
    if (received_bytes != stream->received_bytes) {
        stream->received_bytes = received_bytes;
        stream->moved_ns = clock_now_ns();
    }
    ask_more(s, stream);
}

/* A peer whose link is slow does not fail for that: bytes come.  One that hangs in the middle
 * does. */
static void judge(struct streams *s, const struct stream *stream, bool is_done)
{
    struct breaker *breaker = &s->node->view->breakers[stream->peer];
    uint64_t now_ns = clock_now_ns();
    if (is_done)
        breaker_succeeded(breaker);
    else if ((channel_error(stream->channel) || now_ns - stream->moved_ns >= PATIENCE_BUSY_NS) &&
             !atomic_load(&s->node->is_stopping))
        probe_silent(s->node, stream->peer);
}

static bool is_done(const struct stream *stream)
{
    return stream->asked == stream->n && channel_asks(stream->channel) == 0 &&
           channel_error(stream->channel) == 0;
}

static void close_stream(struct streams *s, struct stream *stream)
{
    int error = channel_error(stream->channel);
    judge(s, stream, is_done(stream));
    channel_pool_return(s->node->peers[stream->peer].channels, stream->channel);
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
        if (is_done(stream) || channel_error(stream->channel))
            close_stream(s, stream);
    }
}

static uint64_t next_stall_ns(const struct streams *s, uint64_t deadline_ns)
{
    uint64_t at_ns = deadline_ns;
    for (uint32_t i = 0; i < s->n_streams; i++)
        if (s->streams[i].channel && s->streams[i].moved_ns + PATIENCE_STALL_NS < at_ns)
            at_ns = s->streams[i].moved_ns + PATIENCE_STALL_NS;
    return at_ns;
}

static void close_stalled(struct streams *s)
{
    uint64_t now_ns = clock_now_ns();
    for (uint32_t i = 0; i < s->n_streams; i++)
        if (s->streams[i].channel && now_ns >= s->streams[i].moved_ns + PATIENCE_STALL_NS)
            close_stream(s, &s->streams[i]);
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
        int error = channel_wait(channels, n, s->node->stop_fd, next_stall_ns(s, deadline_ns),
                                 s->node->config.spin_ns);
        if (error == -ETIMEDOUT && clock_now_ns() < deadline_ns)
            error = 0;
        if (error)
            break;
        end_what_is_done(s);
        close_stalled(s);
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
