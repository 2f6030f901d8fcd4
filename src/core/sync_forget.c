/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sync_forget.c - the end of a ring change: once all are told what they gained, and readers have
 * had time to hear of the new ring, the owners by the rings before are told what they lost.
 */
#include "core/sync_internal.h"

#include "base/protection.h"

static bool is_suspect(const struct peer *peer)
{
    return peer->state == MEMBER_SUSPECT;
}

static bool all_are_told(const struct sync *sync)
{
    for (uint16_t i = 0; peers_next(sync->rooms.peers, &i); i++) {
        const struct peer *peer = peers_get(sync->rooms.peers, i);
        const struct peer_sync *s = &peer->sync;
        if (sync_can_talk(i, peer) && !is_suspect(peer) &&
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
        sync_get_off(peer);
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
        else if (sync_can_talk(i, peer) && PROTECTED(old_owners_forget))
            sync_get_on(sync, peer, SYNC_FORGET);
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

void sync_advance_forgetting(struct sync *sync, struct update *update)
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
