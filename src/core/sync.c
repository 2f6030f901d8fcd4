/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sync.c - one walk over the slots serves all peers that are to be told something.
 *
 * What is noted is sent by sync_notes.c; that old owners forget is seen to by sync_forget.c.
 *
 * The walk goes round and round in pieces of SYNC_PIECE slots, and a peer rides along: it gets on
 * where the walk is and off when it has been round once.  What is for it is noted, and sent as its
 * credit allows; a peer with too many notes waits where it is, so that there may be several places
 * from which the walk goes on, each for those who wait there.  So a ring change costs one walk and
 * not one for each peer.
 *
 * A page sealed or retired meanwhile is told by the ordinary announce and retract, on the same
 * ordered connection, so nobody need look back.  A note is good only while the slot's filling is
 * live.
 */
#include "core/sync.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/protection.h"
#include "core/sync_internal.h"

enum {
    PIECES_A_STEP = 4,          /* some 0.3 ms */
    CREDIT_MAX = 4 * BATCH_MAX, /* whatever the peer grants */
};

#define NOTES_BYTES (sizeof(struct sync_note[CORE_PEERS_MAX][SYNC_NOTES_MAX]))

int sync_new(const struct sync_rooms *rooms, struct sync **ret_sync)
{
    struct sync *sync = calloc(1, sizeof *sync);
    if (!sync)
        return -ENOMEM;
    sync->notes = mmap(NULL, NOTES_BYTES, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (sync->notes == MAP_FAILED) {
        free(sync);
        return -ENOMEM;
    }
    sync->rooms = *rooms;
    *ret_sync = sync;
    return 0;
}

void sync_free(struct sync *sync)
{
    if (!sync)
        return;
    munmap(sync->notes, NOTES_BYTES);
    free(sync);
}

/* --- what happens --- */

void sync_connected(struct sync *sync, struct peer *peer)
{
    peer->sync = (struct peer_sync){.credit = SYNC_FIRST_CREDIT};
    if (!PROTECTED(sync_on_connect))
        peer->sync.told = rings_newest(sync->rooms.rings);
    sync->is_idle = false;
}

void sync_peer_down(struct sync *sync, struct peer *peer)
{
    peer->sync = (struct peer_sync){0};
    sync->is_idle = false;
}

/* Doubles at most with each answer, whatever the peer grants: others may have just begun. */
void sync_answered(struct sync *sync, struct peer *peer, uint32_t batch, uint32_t credit)
{
    struct peer_sync *s = &peer->sync;
    uint32_t n = batch & ~SYNC_BATCH, most = 2 * s->credit;
    s->unanswered -= n < s->unanswered ? n : s->unanswered;
    s->credit = credit < most ? credit : most;
    if (s->credit > CREDIT_MAX)
        s->credit = CREDIT_MAX;
    if (s->credit == 0)
        s->credit = 1;
    sync->is_idle = false;
}

/* --- rides --- */

bool sync_can_talk(uint16_t index, const struct peer *peer)
{
    return index == CORE_SELF || peer->link != LINK_NONE;
}

void sync_get_on(struct sync *sync, struct peer *peer, enum sync_ride ride)
{
    uint32_t end = pool_slot_end(sync->rooms.pool);
    struct peer_sync *s = &peer->sync;
    s->ride = (uint8_t)ride;
    s->follows = rings_newest(sync->rooms.rings);
    s->start = s->cursor = sync->at < end ? sync->at : 0;
    s->has_been_round = end == 0;
    s->n_notes = 0;
}

void sync_get_off(struct peer *peer)
{
    peer->sync.ride = SYNC_NONE;
    peer->sync.n_notes = 0;
}

static void say(struct update *update, const struct peer *peer, enum sync_kind kind, uint64_t hash)
{
    update_send(update, peer->link, MESSAGE_sync)->u.sync =
        (struct message_sync){.kind = (uint8_t)kind, .ring_hash = hash};
}

static uint64_t hash_of(const struct sync *sync, uint64_t serial)
{
    return ring_hash(rings_get(sync->rooms.rings, serial));
}

/* Not before all is answered: an owner that is silent does not hear of one beginning after
 * another. */
static void begin_whole(struct sync *sync, struct update *update, uint16_t index, struct peer *peer)
{
    if (peer->sync.unanswered > 0)
        return;
    sync_get_on(sync, peer, SYNC_WHOLE);
    if (index == CORE_SELF)
        directory_sync_begin(sync->rooms.directory, CORE_SELF);
    else
        say(update, peer, SYNC_BEGINS, hash_of(sync, peer->sync.follows));
}

static void begin_ride(struct sync *sync, struct update *update, uint16_t index, struct peer *peer)
{
    struct peer_sync *s = &peer->sync;
    const struct rings *rings = sync->rooms.rings;
    if (s->told < rings_newest(rings) && s->told > 0 && index != CORE_SELF &&
        !PROTECTED(sync_on_ring_change))
        s->told = rings_newest(rings);
    if (s->told < rings->first)
        begin_whole(sync, update, index, peer);
    else if (s->told < rings_newest(rings))
        sync_get_on(sync, peer, SYNC_GAINED);
}

/* All has been sent: the peer is told so. */
static void end_ride(struct sync *sync, struct update *update, uint16_t index, struct peer *peer)
{
    struct peer_sync *s = &peer->sync;
    enum sync_ride ride = s->ride;
    sync_get_off(peer);
    if (ride == SYNC_FORGET)
        return;
    s->told = s->follows;
    uint64_t hash = hash_of(sync, s->told);
    if (index != CORE_SELF)
        say(update, peer, ride == SYNC_WHOLE ? SYNC_ENDS : SYNC_TOLD_GAINED, hash);
    else
        peer->synced_ring_hash = hash;
    if (index == CORE_SELF && ride == SYNC_WHOLE)
        directory_sync_end(sync->rooms.directory, CORE_SELF);
}

/* A whole sync goes on under the ring that it began with, as long as that one counts; the rest
 * begins anew with what the peer gains by the newest. */
void sync_ring_changed(struct sync *sync, const struct update *update)
{
    const struct rings *rings = sync->rooms.rings;
    for (uint16_t i = 0; peers_next(sync->rooms.peers, &i); i++) {
        struct peer *peer = peers_get(sync->rooms.peers, i);
        if (peer->sync.ride != SYNC_WHOLE || peer->sync.follows < rings->first)
            sync_get_off(peer);
    }
    sync->forget_at_ns = update_now_ns(update);
    if (rings->n < RINGS_MAX) /* else there is no time to lose */
        sync->forget_at_ns += sync->rooms.patience_ns;
    sync->is_idle = false;
}

/* --- the walk --- */

static bool can_ride(const struct peer_sync *s)
{
    return s->ride != SYNC_NONE && !s->has_been_round && s->n_notes + SYNC_PIECE <= SYNC_NOTES_MAX;
}

/* The next peer that rides and has room for what a piece may bring. */
static const struct peer *next_rider(struct sync *sync)
{
    struct peers *peers = sync->rooms.peers;
    for (int round = 0; round < 2; round++) {
        for (uint16_t i = sync->next; peers_next(peers, &i); i++) {
            const struct peer *peer = peers_get(peers, i);
            if (!can_ride(&peer->sync))
                continue;
            sync->next = i + 1u;
            return peer;
        }
        sync->next = 0;
    }
    return NULL;
}

static bool contains(const uint16_t *peers, uint32_t n, uint16_t peer)
{
    for (uint32_t i = 0; i < n; i++)
        if (peers[i] == peer)
            return true;
    return false;
}

/* A page's owners by each ring that counts. */
struct owners {
    uint32_t n[RINGS_MAX];
    uint16_t peers[RINGS_MAX][CORE_OWNERS_MAX];
};

/* Whether a peer that owns the page by ring @which is to hear of it by that. */
static bool is_for(const struct rings *rings, const struct peer_sync *s,
                   const struct owners *owners, uint16_t peer, uint32_t which)
{
    uint32_t newest = rings->n - 1, told = (uint32_t)(s->told - rings->first);
    if (s->ride == SYNC_WHOLE)
        return which == s->follows - rings->first;
    if (s->ride == SYNC_GAINED)
        return which == newest && !contains(owners->peers[told], owners->n[told], peer);
    if (which == newest || contains(owners->peers[newest], owners->n[newest], peer))
        return false;
    for (uint32_t i = 0; i < which; i++)
        if (contains(owners->peers[i], owners->n[i], peer))
            return false; /* that one has told it */
    return true;
}

static void tell_self(struct sync *sync, enum sync_ride ride, const struct pool_page *page)
{
    if (ride == SYNC_FORGET)
        directory_remove(sync->rooms.directory, page->digest, CORE_SELF, page->place.generation);
    else
        directory_put(sync->rooms.directory, page->digest, &page->place);
}

static void note_page(struct sync *sync, uint32_t slot, const struct pool_page *page)
{
    struct owners owners;
    const struct rings *rings = sync->rooms.rings;
    for (uint32_t i = 0; i < rings->n; i++)
        owners.n[i] =
            ring_owners(rings->ring[i], page->ring_position, rings->replicas, owners.peers[i]);
    for (uint32_t i = 0; i < rings->n; i++)
        for (uint32_t j = 0; j < owners.n[i]; j++) {
            uint16_t index = owners.peers[i][j];
            struct peer *peer = peers_get(sync->rooms.peers, index);
            if (!peer || !peer->sync.is_riding || !is_for(rings, &peer->sync, &owners, index, i))
                continue;
            if (index == CORE_SELF)
                tell_self(sync, peer->sync.ride, page);
            else
                sync->notes[index][peer->sync.n_notes++] =
                    (struct sync_note){slot, page->place.generation};
        }
}

static void send_and_end(struct sync *sync, struct update *update, uint16_t index,
                         struct peer *peer)
{
    sync_send_notes(sync, update, index, peer);
    if (peer->sync.ride != SYNC_NONE && peer->sync.has_been_round && peer->sync.n_notes == 0 &&
        update_has_room(update))
        end_ride(sync, update, index, peer);
}

/* False: nobody rides who could go on. */
static bool walk_piece(struct sync *sync, struct update *update)
{
    const struct peer *first = next_rider(sync);
    if (!first)
        return false;
    struct peers *peers = sync->rooms.peers;
    uint32_t at = first->sync.cursor, slot_end = pool_slot_end(sync->rooms.pool);
    for (uint16_t i = 0; peers_next(peers, &i); i++) {
        struct peer_sync *s = &peers_get(peers, i)->sync;
        s->is_riding = can_ride(s) && s->cursor == at;
    }
    for (uint32_t slot = at; slot < at + SYNC_PIECE && slot < slot_end; slot++) {
        struct pool_page page;
        if (pool_live_page(sync->rooms.pool, slot, &page))
            note_page(sync, slot, &page);
    }
    sync->at = at + SYNC_PIECE < slot_end ? at + SYNC_PIECE : 0;
    for (uint16_t i = 0; peers_next(peers, &i); i++) {
        struct peer *peer = peers_get(peers, i);
        if (!peer->sync.is_riding)
            continue;
        peer->sync.is_riding = false;
        peer->sync.cursor = sync->at;
        peer->sync.has_been_round = sync->at == peer->sync.start;
        send_and_end(sync, update, i, peer);
    }
    return true;
}

static void advance_rides(struct sync *sync, struct update *update)
{
    uint32_t pieces = 0;
    for (uint16_t i = 0; peers_next(sync->rooms.peers, &i); i++) {
        struct peer *peer = peers_get(sync->rooms.peers, i);
        if (!sync_can_talk(i, peer) || !update_has_room(update))
            continue;
        if (peer->sync.ride == SYNC_NONE)
            begin_ride(sync, update, i, peer);
        send_and_end(sync, update, i, peer);
    }
    while (pieces < PIECES_A_STEP && update_has_room(update) && walk_piece(sync, update))
        pieces++;
    sync->is_idle = pieces < PIECES_A_STEP && update_has_room(update);
}

bool sync_advance(struct sync *sync, struct update *update)
{
    if (!sync->is_idle && sync->rooms.rings->n > 0)
        advance_rides(sync, update);
    sync_advance_forgetting(sync, update);
    return !sync->is_idle && sync->rooms.rings->n > 0;
}
