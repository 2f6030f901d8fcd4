/* SPDX-License-Identifier: Apache-2.0 */
/* inspection.c - copies of what a core knows. */
#include "core/inspection.h"

#include <string.h>

#include "core/rooms.h"

static void inspect_members(struct core *core, struct core_inspection *ret)
{
    for (uint16_t i = 0; peers_next(core->peers, &i) && ret->n_members < MEMBERS_MAX; i++) {
        const struct peer *peer = peers_get(core->peers, i);
        struct core_member *member = &ret->members[ret->n_members++];
        *member = (struct core_member){
            .node_id = peer->node_id,
            .incarnation = peer->incarnation,
            .pool_bytes = peer->pool_bytes,
            .control_port = peer->control_port,
            .discovery_port = peer->discovery_port,
            .state = peer->state,
            .protocol_version = peer->link == LINK_NONE ? 0 : core->links[peer->link].version,
            .is_connected = i == CORE_SELF || peer->link != LINK_NONE,
            .is_trusted = view_peer_trusted(&core->view, i),
        };
        memcpy(member->host, peer->host, sizeof member->host);
    }
}

void core_inspect(struct core *core, struct core_inspection *ret_inspection)
{
    const struct ring *ring = ring_borrow(core->rings.set);
    /* The list of members is long, and only what is filled in of it is read. */
    memset(ret_inspection, 0, offsetof(struct core_inspection, members));
    ret_inspection->directory_entries = directory_count(core->directory);
    ret_inspection->directory_bytes = directory_bytes(core->directory);
    ret_inspection->ring_nodes = ring_node_count(ring);
    ret_inspection->is_complete = view_is_complete(&core->view, ring_hash(ring));
    ret_inspection->is_connected = membership_is_connected(core->membership);
    ret_inspection->serves = membership_serves(core->membership);
    ret_inspection->ring_is_old = core->ring_is_old;
    ring_return(core->rings.set, ring);
    pool_measure(core->pool, &ret_inspection->pool);
    ret_inspection->n_masters =
        membership_masters(core->membership, update_now_ns(core->update), ret_inspection->masters);
    inspect_members(core, ret_inspection);
}

void core_usage(const struct core *core, struct pool_usage *ret_usage)
{
    pool_measure(core->pool, ret_usage);
}

bool core_live_page(const struct core *core, uint32_t slot, struct pool_page *ret_page)
{
    return pool_live_page(core->pool, slot, ret_page);
}
