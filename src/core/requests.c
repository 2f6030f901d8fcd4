/* SPDX-License-Identifier: Apache-2.0 */
/*
 * requests.c - what the applications of this process ask and report, besides set (publish.c).
 */
#include "core/rooms.h"

void requests_clear(struct core *core, const struct core_event *event)
{
    int error =
        namespaces_clear(core->namespaces, core->peers, core->update, event->u.clear.identity,
                         event->u.clear.ret_epoch, event->u.clear.ret_op);
    if (error)
        *event->u.clear.ret_op = PUBLISH_OP_NONE;
    else
        sweeps_begin(core, event->u.clear.identity);
}

void requests_cancel(struct core *core, uint32_t op)
{
    publish_cancel(core->publish, core->update, op);
    namespaces_cancel(core->namespaces, op);
}

/* A touch of a remote page goes to its holder, one message for each run of the same holder. */
static void pass_on_touches(struct core *core, const struct core_touch *touches, uint32_t n)
{
    for (uint32_t from = 0, end; from < n; from = end) {
        for (end = from + 1; end < n && touches[end].peer == touches[from].peer; end++)
            ;
        const struct peer *peer = peers_get(core->peers, touches[from].peer);
        if (touches[from].peer == CORE_SELF || !peer || peer->link == LINK_NONE)
            continue;
        uint32_t count = end - from < BATCH_MAX ? end - from : BATCH_MAX;
        struct record_touched *slots = update_allocate(core->update, count * sizeof *slots);
        for (uint32_t i = 0; i < count; i++)
            slots[i] =
                (struct record_touched){touches[from + i].slot, touches[from + i].generation};
        update_send(core->update, peer->link, MESSAGE_touch)->u.touch =
            (struct message_touch){.slots = slots, .n_slots = count};
    }
}

static struct record_stale stale_entry(const struct peer *holder, const struct core_stale *stale)
{
    return (struct record_stale){.digest = stale->digest,
                                 .node_id = holder->node_id,
                                 .incarnation = holder->incarnation,
                                 .generation = stale->generation};
}

static void tell_owners(struct core *core, const struct core_stale *stale)
{
    const struct peer *holder = peers_get(core->peers, stale->peer);
    uint16_t owners[RINGS_OWNERS_MAX];
    uint32_t n = rings_owners(&core->rings, stale->ring_position, owners);
    for (uint32_t i = 0; holder && i < n; i++) {
        const struct peer *owner = peers_get(core->peers, owners[i]);
        if (stale->is_damaged && owners[i] == stale->peer)
            continue; /* tell_holder() */
        if (owners[i] == CORE_SELF) {
            directory_remove(core->directory, stale->digest, stale->peer, stale->generation);
        } else if (owner && owner->link != LINK_NONE) {
            struct record_stale *entry = update_allocate(core->update, sizeof *entry);
            *entry = stale_entry(holder, stale);
            update_send(core->update, owner->link, MESSAGE_stale)->u.stale =
                (struct message_stale){.entries = entry, .n_entries = 1};
        }
    }
}

/* Of stales of one holder those that are damaged, in one message. */
static void tell_holder(struct core *core, const struct core_stale *stales, uint32_t n)
{
    const struct peer *holder = peers_get(core->peers, stales->peer);
    bool is_own = stales->peer == CORE_SELF;
    if (!holder || (!is_own && holder->link == LINK_NONE))
        return;
    struct record_stale *entries = update_allocate(core->update, n * sizeof *entries);
    struct message_stale message = {.entries = entries};
    for (uint32_t i = 0; i < n; i++)
        if (stales[i].is_damaged)
            entries[message.n_entries++] = stale_entry(holder, &stales[i]);
    if (is_own)
        inbox_take_stale(core, CORE_SELF, &message);
    else if (message.n_entries > 0)
        update_send(core->update, holder->link, MESSAGE_stale)->u.stale = message;
}

static void report_stales(struct core *core, const struct core_stale *stales, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        tell_owners(core, &stales[i]);
    for (uint32_t from = 0, end; from < n; from = end) {
        for (end = from + 1; end < n && stales[end].peer == stales[from].peer; end++)
            ;
        tell_holder(core, &stales[from], end - from);
    }
}

void requests_take_outcomes(struct core *core, const struct core_event *event)
{
    for (uint32_t i = 0; i < event->u.outcomes.n_touches; i++)
        if (event->u.outcomes.touches[i].peer == CORE_SELF)
            pool_touch(core->pool, event->u.outcomes.touches[i].slot,
                       event->u.outcomes.touches[i].generation);
    pass_on_touches(core, event->u.outcomes.touches, event->u.outcomes.n_touches);
    uint32_t n_stales = event->u.outcomes.n_stales;
    report_stales(core, event->u.outcomes.stales, n_stales < BATCH_MAX ? n_stales : BATCH_MAX);
}

void requests_leave(struct core *core)
{
    for (uint16_t i = 1; peers_next(core->peers, &i); i++) {
        const struct peer *peer = peers_get(core->peers, i);
        if (peer->link != LINK_NONE)
            update_send(core->update, peer->link, MESSAGE_leave)->u.leave =
                (struct message_leave){core->config.node_id, core->config.incarnation};
    }
    membership_leave(core->membership, core->update);
}
