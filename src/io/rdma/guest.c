/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest.c - the answering side of a link.
 *
 * Rails pair up by subnet, then by index, then as they can.  The answer has the keys of the pool's
 * slices: who is a member may read all of it.
 */
#include "io/rdma/guest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "io/rdma/pairing.h"

enum { GUEST_REASON_BYTES = 192 };
/* A driver may take a second for an address that does not resolve, and all guests wait for it: who
 * took so long, and failed, is not tried again for a while. */
#define SLOW_NS UINT64_C(100000000)
#define UNREACHED_NS UINT64_C(10000000000)

struct guest {
    LIST_ENTRY(guest) link; /* among those of the rail */
    struct id128 member;
    struct rail *rail;
    uint32_t n;
    struct verbs_queue *queues[PAIR_MAX];
};

static struct rail *choose_rail(struct rail *rails, uint32_t n_rails, const struct pairing *theirs)
{
    struct rail *best = NULL;
    uint32_t best_rank = 0;
    for (uint32_t i = 0; i < n_rails; i++) {
        bool shares = false;
        if (atomic_load(&rails[i].is_dead) || !pairing_reaches(&rails[i], theirs, &shares))
            continue;
        uint32_t rank = 1 + 2 * shares + (theirs->rail % n_rails == i);
        if (rank > best_rank) {
            best_rank = rank;
            best = &rails[i];
        }
    }
    return best;
}

/* With the rail's mutex. */
static uint32_t count_of(const struct rail *rail, struct id128 member)
{
    uint32_t n = 0;
    struct guest *guest;
    LIST_FOREACH (guest, &rail->guests, link)
        n += id128_equal(guest->member, member) ? PAIR_MAX : 0;
    return n;
}

static bool enter(struct guest *guest, struct id128 member, struct rail *rail)
{
    *guest = (struct guest){.rail = rail, .member = member};
    pthread_mutex_lock(&rail->mutex);
    bool has_room = rail->n_guests + PAIR_MAX <= RAIL_GUESTS_MAX &&
                    count_of(rail, member) + PAIR_MAX <= RAIL_GUESTS_OF_ONE_MAX;
    if (has_room) {
        rail->n_guests += PAIR_MAX;
        LIST_INSERT_HEAD(&rail->guests, guest, link);
    }
    pthread_mutex_unlock(&rail->mutex);
    return has_room;
}

static int make_queue(struct guest *guest, const struct pairing *theirs, uint32_t index,
                      struct record_queue *ret_queue)
{
    struct rail *rail = guest->rail;
    struct verbs_queue_request request = {
        .completions = rail->guest_completions, .port = rail->port, .depth = 1, .segments = 1};
    struct verbs_queue_made made;
    struct verbs_path path;
    uint32_t psn = pairing_random_psn();
    int error = pairing_path(rail, theirs, index, psn, &path);
    if (!error)
        error = rail->verbs->queue_create(rail->verbs, rail->device, &request,
                                          &guest->queues[index], &made);
    if (error)
        return error;
    guest->n = index + 1;
    *ret_queue = (struct record_queue){made.number, psn};
    return rail->verbs->queue_connect(rail->verbs, guest->queues[index], &path);
}

static uint32_t list_slices(struct memory *memory, const struct arena *arena, uint32_t rail,
                            struct record_slice *slices)
{
    uint32_t keys[SLICES_MAX];
    uint32_t n = memory_remote_keys(memory, arena->headers, rail, keys, SLICES_MAX);
    for (uint32_t i = 0; i < n; i++)
        slices[i].remote_key = keys[i];
    return n;
}

void guest_refuse(struct message_paired *ret_paired, int error, const char *reason)
{
    *ret_paired =
        (struct message_paired){.error = error, .reason = {reason, (uint32_t)strlen(reason)}};
}

static bool is_unreached(struct rail *rail, struct id128 member, struct id128 gid)
{
    bool is_so = false;
    uint64_t now_ns = clock_now_ns();
    pthread_mutex_lock(&rail->mutex);
    for (uint32_t i = 0; i < RAIL_UNREACHED_MAX; i++)
        is_so |= now_ns < rail->unreached[i].until_ns &&
                 id128_equal(rail->unreached[i].member, member) &&
                 id128_equal(rail->unreached[i].gid, gid);
    pthread_mutex_unlock(&rail->mutex);
    return is_so;
}

static void note_unreached(struct rail *rail, struct id128 member, struct id128 gid,
                           const char *reason)
{
    char id[ID128_TEXT_LEN + 1];
    id128_format(member, id);
    log_event(LOG_LEVEL_WARNING, "rdma_peer_not_reached", "device=%s peer=%s reason=%s", rail->name,
              id, log_quoted(reason));
    pthread_mutex_lock(&rail->mutex);
    rail->unreached[rail->next_unreached++ % RAIL_UNREACHED_MAX] =
        (struct rail_unreached){member, gid, clock_now_ns() + UNREACHED_NS};
    pthread_mutex_unlock(&rail->mutex);
}

static int fill_guest(struct guest *guest, const struct pairing *theirs,
                      struct record_queue *queues)
{
    int error = theirs->n_queues > 0 ? 0 : -EPROTO;
    for (uint32_t i = 0; i < theirs->n_queues && !error; i++)
        error = make_queue(guest, theirs, i, &queues[i]);
    return error;
}

static void describe(const struct guest *guest, const struct arena *arena,
                     struct message_paired *ret_paired)
{
    struct pairing own = pairing_of(guest->rail);
    pairing_to_paired(&own, ret_paired);
    ret_paired->n_queues = guest->n;
    ret_paired->base_addr = ret_paired->headers_addr = (uintptr_t)arena->headers;
    ret_paired->payload_addr = (uintptr_t)arena->payload;
    ret_paired->payload_bytes = arena->payload_bytes;
    ret_paired->slot_count = arena->slot_count;
}

/* NULL: the answer says why. */
static struct guest *make(struct rail *rail, struct id128 member, const struct pairing *theirs,
                          struct record_queue *queues, struct message_paired *ret_paired)
{
    static _Thread_local char reason[GUEST_REASON_BYTES];
    struct guest *guest = malloc(sizeof *guest);
    if (!guest || !enter(guest, member, rail)) {
        free(guest);
        guest_refuse(ret_paired, -ENOSPC, "the peer has too many queue pairs");
        return NULL;
    }
    uint64_t began_ns = clock_now_ns();
    int error = fill_guest(guest, theirs, queues);
    if (!error)
        return guest;
    snprintf(reason, sizeof reason, "%s of the peer cannot connect to this node's adapter: %s",
             rail->name, rail_connect_error(error));
    guest_refuse(ret_paired, error, reason);
    if (clock_now_ns() - began_ns >= SLOW_NS)
        note_unreached(rail, member, theirs->gid, rail_connect_error(error));
    guest_leave(guest);
    return NULL;
}

void guest_welcome(struct rail *rails, uint32_t n_rails, struct memory *memory,
                   const struct arena *arena, struct id128 member, const struct message_pair *pair,
                   struct record_queue *queues, struct record_slice *slices,
                   struct message_paired *ret_paired, struct guest **ret_guest)
{
    struct pairing theirs = pairing_from_pair(pair);
    struct rail *rail = choose_rail(rails, n_rails, &theirs);
    if (!rail) {
        guest_refuse(ret_paired, -EHOSTUNREACH, "no adapter there reaches this one");
        return;
    }
    uint32_t n_slices = list_slices(memory, arena, rail->index, slices);
    if (n_slices == 0) { /* before anything is made for who will ask again */
        guest_refuse(ret_paired, -EAGAIN, GUEST_NOT_READY);
        return;
    }
    if (is_unreached(rail, member, theirs.gid)) {
        guest_refuse(ret_paired, -EHOSTUNREACH,
                     "the peer's adapter did not reach this node's a moment ago: its log says "
                     "why (rdma_peer_not_reached)");
        return;
    }
    struct guest *guest = make(rail, member, &theirs, queues, ret_paired);
    if (!guest)
        return;
    describe(guest, arena, ret_paired);
    ret_paired->queues = queues;
    ret_paired->slices = slices;
    ret_paired->n_slices = n_slices;
    *ret_guest = guest;
}

/* Nothing is written for a guest, so an adapter that does not let go of it hurts nobody; it is
 * asked until the device itself must go. */
void guest_leave(struct guest *guest)
{
    static const struct timespec pause = {.tv_nsec = 1000000};
    if (!guest)
        return;
    const struct verbs *verbs = guest->rail->verbs;
    for (uint32_t i = 0; i < guest->n; i++)
        while (verbs->queue_destroy(verbs, guest->queues[i]) != 0)
            nanosleep(&pause, NULL);
    pthread_mutex_lock(&guest->rail->mutex);
    guest->rail->n_guests -= PAIR_MAX;
    LIST_REMOVE(guest, link);
    pthread_mutex_unlock(&guest->rail->mutex);
    free(guest);
}
