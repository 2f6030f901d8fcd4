/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reborn.c - a node goes on as another life: under the next incarnation, or another node id.
 *
 * To the others it is a node that was restarted.  They drop all that its former life said, and hear
 * of its pages again by the syncs of new connections.  Here pages, slots and generations stay as
 * they are; what others have said to the former life is named anew by them as well, so the own
 * shard does not call itself complete before.
 */
#include "core/rooms.h"

#include "base/check.h"
#include "base/protection.h"
#include "core/twin.h"

/* What still arrives over these connections is dropped from now on: they are nobody's. */
static void hang_up_all(struct core *core)
{
    for (uint16_t i = 1; peers_next(core->peers, &i); i++) {
        struct peer *peer = peers_get(core->peers, i);
        peer->dial_at_ns = update_now_ns(core->update);
        peer->synced_ring_hash = 0;
        if (peer->link == LINK_NONE)
            continue;
        core->links[peer->link].peer = CORE_PEER_NONE;
        peer->link = LINK_NONE;
        sync_peer_down(core->sync, peer);
        credit_end(&core->credit, i);
        publish_peer_down(core->publish, core->update, i);
    }
    for (uint32_t link = 0; link < CORE_LINKS_MAX; link++)
        if (core->links[link].used) {
            core->links[link].is_former = true;
            update_hangup(core->update, link);
        }
}

void reborn_begin(struct core *core, const struct core_event *event)
{
    struct id128 node_id = event->u.reborn.node_id;
    CHECK(!id128_is_zero(node_id));
    core->ring_is_old |= !id128_equal(node_id, core->config.node_id);
    if (PROTECTED(reborn_hangs_up))
        hang_up_all(core);
    core->config.node_id = node_id;
    core->config.incarnation = event->u.reborn.incarnation;
    peers_rename_self(core->peers, node_id, event->u.reborn.incarnation);
    membership_reborn(core->membership, core->update, node_id, event->u.reborn.incarnation);
}

/* A member list has this node's id. */
void reborn_judge(struct core *core, const struct record_member *member)
{
    const struct core_config *config = &core->config;
    struct record_member own = {.incarnation = config->incarnation, .seat = config->seat};
    enum core_yield_kind kind = twin_yields(&own, membership_is_listed(core->membership), member);
    if (kind != CORE_YIELD_NOT)
        update_yield(core->update, kind, member);
}
