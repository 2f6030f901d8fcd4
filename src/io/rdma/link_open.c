/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link_open.c - makes the queue pairs of a link: here, at the peer by a question on a channel, and
 * then a READ of some bytes by each, since what both sides say is only a claim.
 *
 * One thread a link, while it is OPENING; so without its mutex.
 */
#include "io/rdma/link_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "io/rdma/pairing.h"

/* What the opener works with. */
struct opening {
    struct link *link;
    uint64_t deadline_ns;
    char *ret_reason;
    uint32_t psns[PAIR_MAX];
};

__attribute__((format(printf, 3, 4))) static int fail(const struct opening *opening, int error,
                                                      const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(opening->ret_reason, LINK_REASON_BYTES, format, arguments);
    va_end(arguments);
    return error;
}

static int open_queues(struct opening *opening)
{
    struct link *link = opening->link;
    for (uint32_t i = 0; i < PAIR_MAX; i++) {
        int error = queue_open(link->rail, &link->queues[i]);
        if (error == -ENOSPC && link_make_room(link->table))
            error = queue_open(link->rail, &link->queues[i]);
        if (error)
            return fail(opening, error, "no queue pair on %s: %s", link->rail->name,
                        strerror(-error));
    }
    return 0;
}

static int ask(struct opening *opening)
{
    struct link *link = opening->link;
    struct record_queue queues[PAIR_MAX];
    struct pairing own = pairing_of(link->rail);
    struct message_pair message;
    for (uint32_t i = 0; i < PAIR_MAX; i++) {
        opening->psns[i] = pairing_random_psn();
        queues[i] = (struct record_queue){link->queues[i]->made.number, opening->psns[i]};
    }
    own.queues = queues;
    own.n_queues = PAIR_MAX;
    pairing_to_pair(&own, &message);
    int error = channel_ask_pair(link->channel, 0, &message);
    return error ? fail(opening, error, "the peer cannot be asked: %s", strerror(-error)) : 0;
}

static int await_answer(struct opening *opening, struct channel_done *ret_done)
{
    struct channel *channel = opening->link->channel;
    int error = channel_wait(&channel, 1, -1, opening->deadline_ns, 0);
    if (!error)
        error = channel_next_done(channel, ret_done) ? ret_done->error : channel_error(channel);
    if (error)
        return fail(opening, error, "the peer does not answer for RDMA: %s", strerror(-error));
    const struct message_paired *paired = &ret_done->paired;
    if (paired->error)
        return fail(opening, paired->error < 0 ? paired->error : -EPROTO, "%.*s",
                    (int)paired->reason.len, paired->reason.bytes);
    return 0;
}

/* The first header must be within reach, for the probe; pages are checked one by one. */
static int take_source(struct opening *opening, const struct message_paired *paired)
{
    struct link *link = opening->link;
    uint64_t headers_at = paired->headers_addr - paired->base_addr;
    if (paired->headers_addr < paired->base_addr || paired->n_slices == 0 ||
        headers_at / CHAIN_SLICE_BYTES >= paired->n_slices)
        return fail(opening, -EAGAIN, "the peer's pool is not registered");
    link->keys = malloc(paired->n_slices * sizeof *link->keys);
    if (!link->keys)
        return fail(opening, -ENOMEM, "out of memory");
    for (uint32_t i = 0; i < paired->n_slices; i++)
        link->keys[i] = paired->slices[i].remote_key;
    link->source = (struct chain_source){.headers_addr = paired->headers_addr,
                                         .payload_addr = paired->payload_addr,
                                         .payload_bytes = paired->payload_bytes,
                                         .slot_count = paired->slot_count,
                                         .key_count = paired->n_slices,
                                         .base_addr = paired->base_addr,
                                         .keys = link->keys};
    uint64_t end = paired->payload_addr + paired->payload_bytes - paired->base_addr;
    bool is_partial = paired->n_slices < (end + CHAIN_SLICE_BYTES - 1) / CHAIN_SLICE_BYTES;
    link->reopen_at_ns = is_partial ? clock_now_ns() + LINK_PARTIAL_NS : UINT64_MAX;
    return 0;
}

static int connect_queues(struct opening *opening, const struct pairing *theirs)
{
    struct link *link = opening->link;
    for (uint32_t i = 0; i < PAIR_MAX; i++) {
        struct verbs_path path;
        int error = pairing_path(link->rail, theirs, i, opening->psns[i], &path);
        if (!error)
            error = queue_connect(link->queues[i], &path);
        if (error)
            return fail(opening, error, "%s cannot connect to the peer's adapter: %s",
                        link->rail->name, rail_connect_error(error));
    }
    return 0;
}

/* A path that does not carry a small READ is none, whatever both sides say. */
static int probe(struct opening *opening, struct queue *queue, const struct pairing *theirs)
{
    const struct rail *rail = opening->link->rail;
    struct waiters *waiters = opening->link->rail->waiters;
    uint32_t place = waiters_take(waiters);
    struct chain *chain;
    int error = queue_post_probe(queue, &opening->link->source, place, &chain);
    while (!error && chain_end(chain) == CHAIN_UNDER_WAY) {
        uint64_t now_ns = clock_now_ns();
        uint32_t seen = waiters_ticks(waiters, place);
        if (now_ns >= opening->deadline_ns)
            error = -ETIMEDOUT;
        else if (chain_end(chain) == CHAIN_UNDER_WAY)
            waiters_sleep(waiters, place, seen, opening->deadline_ns - now_ns);
    }
    if (error || chain_end(chain) != CHAIN_DONE)
        queue_break(queue);
    bool is_done = chain_end(chain) == CHAIN_DONE;
    queue_release(queue, chain);
    if (is_done)
        return 0;
    char from[GID_TEXT_BYTES], to[GID_TEXT_BYTES];
    struct gid gid = pairing_gid(theirs);
    gid_format(&rail->gid, from);
    gid_format(&gid, to);
    return fail(
        opening, error ? error : -EHOSTUNREACH,
        "a READ from %s (%s) to %s does not come through%s; device_names chooses devices that "
        "reach each other",
        rail->name, from, to,
        atomic_load(&rail->port_is_down) ? ": the port is down" : " (route, firewall, MTU?)");
}

static int connect_and_probe(struct opening *opening, const struct message_paired *paired)
{
    struct pairing theirs = pairing_from_paired(paired);
    int error = connect_queues(opening, &theirs);
    for (uint32_t i = 0; !error && i < PAIR_MAX; i++)
        error = probe(opening, opening->link->queues[i], &theirs);
    return error;
}

int link_open(struct link *link, const struct channel_peer *peer, const struct message_hello *mine,
              uint64_t deadline_ns, char ret_reason[LINK_REASON_BYTES])
{
    struct opening opening = {.link = link, .deadline_ns = deadline_ns, .ret_reason = ret_reason};
    struct channel_done done;
    int error = open_queues(&opening);
    if (!error)
        error = channel_open(peer, mine, deadline_ns, &link->channel, ret_reason);
    if (!error)
        error = ask(&opening);
    if (!error)
        error = await_answer(&opening, &done);
    if (!error)
        error = take_source(&opening, &done.paired);
    if (!error)
        error = connect_and_probe(&opening, &done.paired);
    if (error)
        link_close_parts(link);
    return error;
}
