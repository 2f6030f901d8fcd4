/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sync.c - one walk over the slots serves all peers that are to be told something.
 *
 * The walk goes round and round in pieces of PIECE slots, and a peer rides along: it gets on where
 * the walk is and off when it has been round once.  What is for it is noted, and sent as its credit
 * allows; a peer with too many notes waits where it is, so that there may be several places from
 * which the walk goes on, each for those who wait there.  So a ring change costs one walk and not one
 * for each peer.
 *
 * A page sealed or retired meanwhile is told by the ordinary announce and retract, on the same ordered
 * connection, so nobody need look back.  A note is good only while the slot's filling is live.
 */
#include "core/sync.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/protection.h"

enum {
    PIECE = 128,                   /* slots that are looked at in one go */
    PIECES_A_STEP = 4,             /* some 0.3 ms */
    NOTES_MAX = BATCH_MAX + PIECE, /* of one peer */
    CREDIT_MAX = 4 * BATCH_MAX,    /* whatever the peer grants */
};

struct note {
    uint32_t slot;
    uint64_t generation;
};

#define NOTES_BYTES (sizeof(struct note[CORE_PEERS_MAX][NOTES_MAX]))

struct sync {
    struct sync_rooms rooms;
    bool is_idle;  /* nothing to do until something happens */
    uint32_t at;   /* where the walk last was */
    uint16_t next; /* the peer to serve first in the next piece */
    uint64_t forget_at_ns;
    struct note (*notes)[NOTES_MAX]; /* by peer; resident only as far as used */
};

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

static bool can_talk(uint16_t index, const struct peer *peer)
{
    return index == CORE_SELF || peer->link != LINK_NONE;
}

static void get_on(struct sync *sync, struct peer *peer, enum sync_ride ride)
{
    uint32_t end = pool_slot_end(sync->rooms.pool);
    struct peer_sync *s = &peer->sync;
    s->ride = (uint8_t)ride;
    s->follows = rings_newest(sync->rooms.rings);
    s->start = s->cursor = sync->at < end ? sync->at : 0;
    s->has_been_round = end == 0;
    s->n_notes = 0;
}

static void get_off(struct peer *peer)
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

/* Not before all is answered: an owner that is silent does not hear of one beginning after another. */
static void begin_whole(struct sync *sync, struct update *update, uint16_t index, struct peer *peer)
{
    if (peer->sync.unanswered > 0)
        return;
    get_on(sync, peer, SYNC_WHOLE);
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
        get_on(sync, peer, SYNC_GAINED);
}

/* All has been sent: the peer is told so. */
static void end_ride(struct sync *sync, struct update *update, uint16_t index, struct peer *peer)
{
    struct peer_sync *s = &peer->sync;
    enum sync_ride ride = s->ride;
    get_off(peer);
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
            get_off(peer);
    }
    sync->forget_at_ns = update_now_ns(update);
    if (rings->n < RINGS_MAX) /* else there is no time to lose */
        sync->forget_at_ns += sync->rooms.patience_ns;
    sync->is_idle = false;
}

/* --- the walk --- */

static bool can_ride(const struct peer_sync *s)
{
    return s->ride != SYNC_NONE && !s->has_been_round && s->n_notes + PIECE <= NOTES_MAX;
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
                    (struct note){slot, page->place.generation};
        }
}

/* --- what was noted is sent --- */

static uint32_t fill_announce(const struct sync *sync, const struct note *notes, uint32_t n,
                              struct record_entry *entries)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct pool_page page;
        if (pool_live_page(sync->rooms.pool, notes[i].slot, &page) &&
            page.place.generation == notes[i].generation)
            entries[count++] = (struct record_entry){.digest = page.digest, .place = page.place};
    }
    return count;
}

static uint32_t send_announce(const struct sync *sync, struct update *update,
                              const struct peer *peer, const struct note *notes, uint32_t n)
{
    struct record_entry *entries = update_allocate(update, n * sizeof *entries);
    uint32_t count = fill_announce(sync, notes, n, entries);
    if (count > 0)
        update_send(update, peer->link, MESSAGE_announce)->u.announce = (struct message_announce){
            .batch = SYNC_BATCH | count, .entries = entries, .n_entries = count};
    return count;
}

static uint32_t send_retract(const struct sync *sync, struct update *update,
                             const struct peer *peer, const struct note *notes, uint32_t n)
{
    struct record_entry *pages = update_allocate(update, n * sizeof *pages);
    struct record_filling *entries = update_allocate(update, n * sizeof *entries);
    uint32_t count = fill_announce(sync, notes, n, pages);
    for (uint32_t i = 0; i < count; i++)
        entries[i] = (struct record_filling){pages[i].digest, pages[i].place.generation};
    if (count > 0)
        update_send(update, peer->link, MESSAGE_retract)->u.retract = (struct message_retract){
            .batch = SYNC_BATCH | count, .entries = entries, .n_entries = count};
    return count;
}

/* Of the notes as many as make a full message, and the rest at the end of the ride, as far as the
 * peer's credit goes. */
static void send_notes(struct sync *sync, struct update *update, uint16_t index, struct peer *peer)
{
    struct peer_sync *s = &peer->sync;
    while (s->n_notes > 0 && update_has_room(update)) {
        uint32_t full = s->credit < BATCH_MAX ? s->credit : BATCH_MAX;
        uint32_t n = s->n_notes < full ? s->n_notes : full;
        if (n < full && !s->has_been_round)
            return;
        if (s->unanswered > 0 && s->unanswered + n > s->credit && PROTECTED(sync_credit))
            return;
        s->n_notes -= n;
        const struct note *notes = &sync->notes[index][s->n_notes];
        s->unanswered += s->ride == SYNC_FORGET ? send_retract(sync, update, peer, notes, n)
                                                : send_announce(sync, update, peer, notes, n);
    }
}

static void send_and_end(struct sync *sync, struct update *update, uint16_t index,
                         struct peer *peer)
{
    send_notes(sync, update, index, peer);
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
    for (uint32_t slot = at; slot < at + PIECE && slot < slot_end; slot++) {
        struct pool_page page;
        if (pool_live_page(sync->rooms.pool, slot, &page))
            note_page(sync, slot, &page);
    }
    sync->at = at + PIECE < slot_end ? at + PIECE : 0;
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

/* --- forgetting --- */

static bool is_suspect(const struct peer *peer)
{
    return peer->state == MEMBER_SUSPECT;
}

static bool all_are_told(const struct sync *sync)
{
    for (uint16_t i = 0; peers_next(sync->rooms.peers, &i); i++) {
        const struct peer *peer = peers_get(sync->rooms.peers, i);
        const struct peer_sync *s = &peer->sync;
        if (can_talk(i, peer) && !is_suspect(peer) &&
            (s->ride != SYNC_NONE || s->unanswered > 0 ||
             s->told != rings_newest(sync->rooms.rings)))
            return false;
    }
    return true;
}

/* Who does not answer is not waited for, and told everything when it does. */
static void tell_all_later(struct peer *peer, uint64_t newest)
{
    if (peer->sync.ride != SYNC_WHOLE || peer->sync.follows != newest)
        get_off(peer);
    peer->sync.told = 0;
}

static void begin_forgetting(struct sync *sync)
{
    struct rings *rings = sync->rooms.rings;
    rings->is_forgetting = true;
    sync->is_idle = false;
    for (uint16_t i = 0; peers_next(sync->rooms.peers, &i); i++) {
        struct peer *peer = peers_get(sync->rooms.peers, i);
        if (peer->sync.told != rings_newest(rings))
            tell_all_later(peer, rings_newest(rings));
        else if (can_talk(i, peer) && PROTECTED(old_owners_forget))
            get_on(sync, peer, SYNC_FORGET);
    }
}

static void end_forgetting(struct sync *sync)
{
    struct rings *rings = sync->rooms.rings;
    for (uint16_t i = 0; peers_next(sync->rooms.peers, &i); i++) {
        const struct peer *peer = peers_get(sync->rooms.peers, i);
        if (peer->sync.ride == SYNC_FORGET && !is_suspect(peer))
            return;
    }
    for (uint16_t i = 0; peers_next(sync->rooms.peers, &i); i++) {
        struct peer *peer = peers_get(sync->rooms.peers, i);
        if (peer->sync.ride == SYNC_FORGET)
            tell_all_later(peer, rings_newest(rings));
    }
    rings_settle(rings);
}

static void advance_forgetting(struct sync *sync, struct update *update)
{
    struct rings *rings = sync->rooms.rings;
    if (rings->n < 2)
        return;
    if (rings->is_forgetting)
        end_forgetting(sync);
    else if (update_now_ns(update) < sync->forget_at_ns)
        update_wake_at(update, sync->forget_at_ns);
    else if (all_are_told(sync))
        begin_forgetting(sync);
}

static void advance_rides(struct sync *sync, struct update *update)
{
    uint32_t pieces = 0;
    for (uint16_t i = 0; peers_next(sync->rooms.peers, &i); i++) {
        struct peer *peer = peers_get(sync->rooms.peers, i);
        if (!can_talk(i, peer) || !update_has_room(update))
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
    advance_forgetting(sync, update);
    return !sync->is_idle && sync->rooms.rings->n > 0;
}
