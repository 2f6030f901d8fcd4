/* SPDX-License-Identifier: Apache-2.0 */
/*
 * members.c - what follows from the member list: peers come and go, the ring is built anew, what
 * belonged to the gone is dropped.
 */
#include "core/rooms.h"

#include "base/metric.h"
#include "core/member.h"

/* A few changes are followed at once; of a flood of them one in this time. */
#define RING_PAUSE_NS UINT64_C(20000000)
#define RING_BURST_NS (8 * RING_PAUSE_NS)

static void drop_peer(struct core *core, uint16_t index)
{
    namespaces_peer_gone(core->namespaces, core->update, index);
    publish_peer_gone(core->publish, core->update, index);
    directory_drop_holder(core->directory, index);
    credit_end(&core->credit, index);
    core->dropped_ns[index] = update_now_ns(core->update);
    if (core->forget_at_ns > core->dropped_ns[index] + core->config.ring_grace_ns)
        core->forget_at_ns = core->dropped_ns[index] + core->config.ring_grace_ns;
}

void members_remove(struct core *core, uint16_t index)
{
    peers_retire(core->peers, core->update, index);
    drop_peer(core, index);
    core->ring_is_old = true;
}

/* A new life of a member: the ring is the same, and the new life gets its shard by syncs alone. */
static void replace_peer(struct core *core, uint16_t former, uint16_t present)
{
    if (present != CORE_PEER_NONE)
        namespaces_peer_replaced(core->namespaces, former, present);
    drop_peer(core, former);
    if (present == CORE_PEER_NONE)
        core->ring_is_old = true; /* there was no room for it */
    else
        ring_set_replace(core->rings.set, former, present);
}

/* Whichever life of it is here: another may have taken its place in the beliefs, and gone
 * unseen. */
static void member_gone(struct core *core, const struct record_member *member)
{
    uint16_t index = peers_find(core->peers, member->node_id);
    if (index != CORE_PEER_NONE && index != CORE_SELF)
        members_remove(core, index);
}

static bool member_reported(void *context, struct update *update,
                            const struct record_member *member)
{
    struct core *core = context;
    uint16_t replaced;
    if (id128_equal(member->node_id, core->config.node_id)) {
        reborn_judge(core, member);
        return true;
    }
    if (member_is_gone(member->state)) {
        member_gone(core, member);
        return true;
    }
    bool is_news = peers_report(core->peers, update, member, &replaced);
    if (replaced == CORE_PEER_NONE)
        core->ring_is_old |= is_news;
    else
        replace_peer(core, replaced, peers_find(core->peers, member->node_id));
    return peers_find(core->peers, member->node_id) != CORE_PEER_NONE;
}

struct membership_sink members_sink(struct core *core)
{
    return (struct membership_sink){member_reported, core};
}

static void build_ring(struct core *core)
{
    struct ring_node nodes[MEMBERS_MAX];
    uint32_t n = 0;
    for (uint16_t i = 0; peers_next(core->peers, &i) && n < MEMBERS_MAX; i++)
        nodes[n++] = (struct ring_node){peers_get(core->peers, i)->node_id, i};
    int built = rings_build(&core->rings, nodes, n);
    if (built < 0) {
        update_wake_at(core->update, update_now_ns(core->update));
        return;
    }
    core->ring_is_old = false;
    if (built > 0)
        sync_ring_changed(core->sync, core->update);
    metric_set(core->config.metrics, METRIC_members, n);
}

/* What rings have cost so far is paid off by then: a node does not fall behind that by more than
 * the burst. */
void members_renew_ring(struct core *core)
{
    uint64_t now_ns = update_now_ns(core->update), paid_ns = core->ring_paid_ns;
    if (!core->ring_is_old)
        return;
    if (paid_ns > now_ns + RING_BURST_NS) {
        update_wake_at(core->update, paid_ns - RING_BURST_NS);
        return;
    }
    core->ring_paid_ns = (paid_ns > now_ns ? paid_ns : now_ns) + RING_PAUSE_NS;
    build_ring(core);
}

/* The own shard knows all there is once every alive member has told it everything for this ring. */
void members_judge_completeness(struct core *core)
{
    uint64_t hash = view_ring_hash(&core->view);
    bool complete = !core->ring_is_old;
    for (uint16_t i = 0; complete && peers_next(core->peers, &i); i++) {
        const struct peer *peer = peers_get(core->peers, i);
        complete = peer->synced_ring_hash == hash || peer->state == MEMBER_SUSPECT;
    }
    if (complete)
        rings_complete(&core->rings);
    atomic_store_explicit(&core->view.complete_ring_hash, complete ? hash : 0,
                          memory_order_release);
}

/* Calls that are under way hold places by the index of their holder, so it does not mean another
 * node at once: only when the directory has swept it, and no call can be that old. */
static bool is_forgettable(const struct core *core, uint16_t index)
{
    return update_now_ns(core->update) >= core->dropped_ns[index] + core->config.ring_grace_ns &&
           directory_holder_is_free(core->directory, index);
}

void members_forget_dropped(struct core *core)
{
    uint64_t now_ns = update_now_ns(core->update);
    if (now_ns < core->forget_at_ns)
        return;
    core->forget_at_ns = UINT64_MAX;
    for (uint16_t i = 1; i < CORE_PEERS_MAX; i++) {
        if (core->dropped_ns[i] == 0)
            continue;
        if (is_forgettable(core, i)) {
            core->dropped_ns[i] = 0;
            peers_forget(core->peers, i);
            breaker_succeeded(&core->view.breakers[i]); /* its next meaning begins anew */
        } else if (core->forget_at_ns > core->dropped_ns[i] + core->config.ring_grace_ns) {
            core->forget_at_ns = core->dropped_ns[i] + core->config.ring_grace_ns;
        }
    }
}
