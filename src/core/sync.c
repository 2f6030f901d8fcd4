/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sync.c - walks the slots once for each peer that wants to be told, in batches, with few of them
 * unanswered at a time.
 *
 * A page sealed or retired while a sync runs is told by the ordinary announce and retract, on the
 * same ordered connection, so the walk need not look back.
 */
#include "core/sync.h"

enum {
    UNANSWERED_MAX = 4,  /* announces to one peer: the receiver is not flooded */
    SLOTS_A_STEP = 4096, /* looked at for one peer in one step */
};

void sync_want(struct peer *peer)
{
    peer->sync.wanted = true;
}

void sync_announced(struct peer *peer)
{
    if (peer->sync.unanswered > 0)
        peer->sync.unanswered--;
}

void sync_peer_down(struct peer *peer)
{
    peer->sync = (struct peer_sync){0};
}

static bool is_owner(const struct ring *ring, uint64_t position, uint32_t replicas, uint16_t index)
{
    uint16_t owners[CORE_OWNERS_MAX];
    uint32_t n = ring_owners(ring, position, replicas, owners);
    for (uint32_t i = 0; i < n; i++)
        if (owners[i] == index)
            return true;
    return false;
}

static void say_sync(struct update *update, uint32_t link, bool ends, uint64_t hash)
{
    struct message *message = update_send(update, link, MESSAGE_sync);
    message->u.sync = (struct message_sync){.ends = ends, .ring_hash = hash};
}

/* Collects live pages that the peer owns, from the sync's cursor on. */
static uint32_t collect(const struct sync_rooms *rooms, const struct ring *ring, uint16_t index,
                        struct peer_sync *sync, uint32_t *budget, struct record_entry *entries)
{
    uint32_t n = 0, end = pool_slot_end(rooms->pool);
    for (; *budget > 0 && n < BATCH_MAX && sync->cursor < end; sync->cursor++, --*budget) {
        struct pool_page page;
        if (pool_live_page(rooms->pool, sync->cursor, &page) &&
            is_owner(ring, page.ring_position, rooms->replicas, index))
            entries[n++] = (struct record_entry){.digest = page.digest, .place = page.place};
    }
    return n;
}

static void name_to_self(const struct sync_rooms *rooms, const struct record_entry *entries,
                         uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        directory_put(rooms->directory, entries[i].digest, &entries[i].place);
}

static void name_to_peer(struct update *update, struct peer *peer,
                         const struct record_entry *entries, uint32_t n)
{
    struct message *message = update_send(update, peer->link, MESSAGE_announce);
    message->u.announce =
        (struct message_announce){.batch = SYNC_BATCH, .entries = entries, .n_entries = n};
    peer->sync.unanswered++;
}

static void begin(const struct sync_rooms *rooms, struct update *update, const struct ring *ring,
                  uint16_t index, struct peer *peer)
{
    peer->sync.wanted = false;
    peer->sync.running = true;
    peer->sync.cursor = 0;
    peer->sync.ring_hash = ring_hash(ring);
    if (index == CORE_SELF)
        directory_sync_begin(rooms->directory, CORE_SELF);
    else
        say_sync(update, peer->link, false, peer->sync.ring_hash);
}

static void end(const struct sync_rooms *rooms, struct update *update, uint16_t index,
                struct peer *peer)
{
    peer->sync.running = false;
    peer->synced_ring_hash = index == CORE_SELF ? peer->sync.ring_hash : peer->synced_ring_hash;
    if (index == CORE_SELF)
        directory_sync_end(rooms->directory, CORE_SELF);
    else
        say_sync(update, peer->link, true, peer->sync.ring_hash);
}

/* True: this peer's sync could go on at once. */
static bool advance_peer(const struct sync_rooms *rooms, struct update *update,
                         const struct ring *ring, uint16_t index, struct peer *peer)
{
    struct peer_sync *sync = &peer->sync;
    if (sync->wanted && sync->unanswered < UNANSWERED_MAX)
        begin(rooms, update, ring, index, peer);
    uint32_t budget = SLOTS_A_STEP;
    while (sync->running && budget > 0) {
        if (sync->unanswered >= UNANSWERED_MAX)
            return false;
        if (!update_has_room(update))
            return true;
        struct record_entry *entries = update_allocate(update, BATCH_MAX * sizeof *entries);
        uint32_t n = collect(rooms, ring, index, sync, &budget, entries);
        if (n > 0 && index == CORE_SELF)
            name_to_self(rooms, entries, n);
        else if (n > 0)
            name_to_peer(update, peer, entries, n);
        if (sync->cursor >= pool_slot_end(rooms->pool))
            end(rooms, update, index, peer);
    }
    return sync->running;
}

bool sync_advance(const struct sync_rooms *rooms, struct update *update)
{
    const struct ring *ring = ring_borrow(rooms->rings);
    bool more = false;
    for (uint16_t i = 0; peers_next(rooms->peers, &i); i++) {
        struct peer *peer = peers_get(rooms->peers, i);
        bool can_talk = i == CORE_SELF || peer->link != LINK_NONE;
        if (can_talk && (peer->sync.wanted || peer->sync.running))
            more |= advance_peer(rooms, update, ring, i, peer);
    }
    ring_return(rooms->rings, ring);
    return more;
}
