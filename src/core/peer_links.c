/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer_links.c - which control connection belongs to which peer.
 *
 * Of two nodes the one with the lower id dials.  A connection is the peer's only once discovery has
 * told of that member; a newer one replaces it.  Every new connection begins with a sync.
 *
 * A peer that hangs up is dead, or had a reason that is none of its pages' business.  Until it is
 * known which (a probe takes a journey, or is refused; a new connection tells too), it is
 * suspected: exists and set do not count on its pages, and nobody waits for it.  Its silence alone
 * would keep them true for member_ttl.
 */
#include "core/rooms.h"

#include "base/check.h"
#include "base/protection.h"

#define DIAL_PAUSE_NS UINT64_C(500000000)
/* The first pauses are shorter: the other end may hear of this node a moment later. */
enum { SOON_DIALS = 4 };
#define DIAL_SOON_NS UINT64_C(100000000)

/* A caller of whom discovery has not told yet is sent away and calls again soon: what it says until
 * it is known would be lost, and it would wait for answers. */
static void connect_link(struct core *core, uint32_t number)
{
    struct link *link = &core->links[number];
    uint16_t index = peers_find(core->peers, link->node_id);
    struct peer *peer = index == CORE_PEER_NONE ? NULL : peers_get(core->peers, index);
    if (!peer || index == CORE_SELF || peer->incarnation != link->incarnation) {
        update_hangup(core->update, number);
        return;
    }
    if (peer->link != LINK_NONE && peer->link != number) {
        core->links[peer->link].peer = CORE_PEER_NONE;
        update_hangup(core->update, peer->link);
        publish_peer_down(core->publish, core->update, index);
    }
    link->peer = index;
    peer->link = number;
    peer->dials = 0;
    breaker_succeeded(&core->view.breakers[index]);
    sync_connected(core->sync, peer);
    publish_peer_up(core->publish, core->update, index);
    namespaces_tell_all(core->namespaces, core->peers, core->update, index);
}

void peer_links_up(struct core *core, const struct core_event *event)
{
    CHECK(event->link < CORE_LINKS_MAX);
    core->links[event->link] = (struct link){
        .used = true,
        .purpose = event->u.up.purpose,
        .version = event->u.up.version,
        .node_id = event->u.up.node_id,
        .incarnation = event->u.up.incarnation,
        .peer = CORE_PEER_NONE,
    };
    if (event->u.up.purpose == PURPOSE_CONTROL) {
        connect_link(core, event->link);
    } else {
        membership_link_up(core->membership, core->update, event->link, event->u.up.dial,
                           event->u.up.node_id, event->u.up.incarnation);
    }
}

void peer_links_down(struct core *core, uint32_t number)
{
    struct link *link = &core->links[number];
    if (link->purpose == PURPOSE_DISCOVERY)
        membership_link_down(core->membership, core->update, number);
    struct peer *peer = link->peer == CORE_PEER_NONE ? NULL : peers_get(core->peers, link->peer);
    if (peer && peer->link == number) {
        peer->link = LINK_NONE;
        peer->synced_ring_hash = 0;
        sync_peer_down(core->sync, peer);
        credit_end(&core->credit, link->peer);
        if (PROTECTED(suspect_on_hangup))
            update_peer_suspected(core->update, &core->view.breakers[link->peer]);
        publish_peer_down(core->publish, core->update, link->peer);
    }
    *link = (struct link){.peer = CORE_PEER_NONE};
}

void peer_links_renew(struct core *core, uint16_t index)
{
    struct peer *peer = index == CORE_PEER_NONE ? NULL : peers_get(core->peers, index);
    if (peer && index != CORE_SELF && peer->link != LINK_NONE)
        update_hangup(core->update, peer->link);
}

static uint64_t dial_pause_ns(struct peer *peer)
{
    if (peer->dials == SOON_DIALS)
        return DIAL_PAUSE_NS;
    peer->dials++;
    return DIAL_SOON_NS;
}

/* Of two nodes the one with the lower id dials. */
void peer_links_dial(struct core *core)
{
    uint64_t now_ns = update_now_ns(core->update);
    for (uint16_t i = 1; peers_next(core->peers, &i); i++) {
        struct peer *peer = peers_get(core->peers, i);
        if (peer->link != LINK_NONE || id128_compare(core->config.node_id, peer->node_id) > 0)
            continue;
        if (now_ns >= peer->dial_at_ns &&
            update_dial(core->update, &(struct core_dial){.purpose = PURPOSE_CONTROL,
                                                          .host = peer->host,
                                                          .port = peer->control_port,
                                                          .node_id = peer->node_id,
                                                          .incarnation = peer->incarnation}))
            peer->dial_at_ns = now_ns + dial_pause_ns(peer);
        update_wake_at(core->update, peer->dial_at_ns);
    }
}
