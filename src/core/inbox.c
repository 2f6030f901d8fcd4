/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inbox.c - messages of other nodes: holders tell this owner what they have, owners answer this
 * holder, readers report what they saw.
 */
#include "core/replacement.h"
#include "core/rooms.h"

static void take_announce(struct core *core, uint32_t link, uint16_t peer,
                          const struct message_announce *announce)
{
    struct message *reply = update_send(core->update, link, MESSAGE_announced);
    struct record_index *refused =
        update_allocate(core->update, announce->n_entries * sizeof *refused);
    uint32_t n_refused = 0;
    if (announce->batch & SYNC_BATCH)
        credit_begin(&core->credit, peer);
    for (uint32_t i = 0; i < announce->n_entries; i++) {
        struct location place = announce->entries[i].place;
        place.holder = peer;
        if (place.length_bytes == 0 ||
            directory_put(core->directory, announce->entries[i].digest, &place) != 0)
            refused[n_refused++].index = (uint16_t)i;
    }
    reply->u.announced = (struct message_announced){.batch = announce->batch,
                                                    .credit = credit_grant(&core->credit),
                                                    .refused = refused,
                                                    .n_refused = n_refused};
}

static void take_retract(struct core *core, uint32_t link, uint16_t peer,
                         const struct message_retract *retract)
{
    for (uint32_t i = 0; i < retract->n_entries; i++)
        directory_remove(core->directory, retract->entries[i].digest, peer,
                         retract->entries[i].generation);
    if (retract->batch != 0)
        update_send(core->update, link, MESSAGE_announced)->u.announced =
            (struct message_announced){.batch = retract->batch,
                                       .credit = credit_grant(&core->credit)};
}

static void take_sync(struct core *core, uint16_t index, const struct message_sync *sync)
{
    struct peer *peer = peers_get(core->peers, index);
    if (sync->kind == SYNC_BEGINS) {
        peer->synced_ring_hash = 0;
        credit_begin(&core->credit, index);
        directory_sync_begin(core->directory, index);
        return;
    }
    peer->synced_ring_hash = sync->ring_hash;
    credit_end(&core->credit, index);
    if (sync->kind == SYNC_ENDS)
        directory_sync_end(core->directory, index);
}

_Static_assert(POOL_WINDOW_MAX / REPLACEMENT_UNIT_MAX >= BATCH_MAX, "one message fits gone[]");

/* A live page of this node can only be reported because its bytes are not what they should be: what
 * is gone is not live.  Kept, it would be missed for ever, and never stored again. */
static void retire_damaged(struct core *core, uint16_t reader, const struct record_stale *entry)
{
    struct pool_page page;
    if (pool_retire_damaged(core->pool, entry->digest, entry->generation, &page))
        update_damage(core->update, peers_get(core->peers, reader)->node_id, page.digest,
                      &page.place);
}

/* A reader found these gone or damaged: only the filling that it names is forgotten. */
void inbox_take_stale(struct core *core, uint16_t reader, const struct message_stale *stale)
{
    for (uint32_t i = 0; i < stale->n_entries; i++) {
        const struct record_stale *entry = &stale->entries[i];
        uint16_t holder = peers_find(core->peers, entry->node_id);
        const struct peer *peer = peers_get(core->peers, holder);
        if (!peer || peer->incarnation != entry->incarnation)
            continue;
        directory_remove(core->directory, entry->digest, holder, entry->generation);
        if (holder == CORE_SELF)
            retire_damaged(core, reader, entry);
    }
}

/* The teller has not heard of a later clear: it hears of it before it has its answer. */
static void tell_later_epoch(struct core *core, uint32_t link, const struct record_epoch *told)
{
    uint64_t epoch = namespaces_epoch(core->namespaces, told->identity);
    if (epoch <= told->epoch)
        return;
    struct record_epoch *later = update_allocate(core->update, sizeof *later);
    *later = (struct record_epoch){told->identity, epoch};
    update_send(core->update, link, MESSAGE_epochs)->u.epochs =
        (struct message_epochs){.entries = later, .n_entries = 1};
}

/* Of several entries of one namespace only the highest can overtake a clear. */
static bool is_highest(const struct message_epochs *epochs, uint32_t index)
{
    const struct record_epoch *entry = &epochs->entries[index];
    for (uint32_t i = 0; i < epochs->n_entries; i++)
        if (id128_equal(epochs->entries[i].identity, entry->identity) &&
            (epochs->entries[i].epoch > entry->epoch ||
             (epochs->entries[i].epoch == entry->epoch && i < index)))
            return false;
    return true;
}

/* What is news here is passed on: who cleared may be gone before it has told everybody. */
static void take_epochs(struct core *core, uint32_t link, uint16_t peer,
                        const struct message_epochs *epochs)
{
    struct record_epoch *news = update_allocate(core->update, epochs->n_entries * sizeof *news);
    uint32_t n_news = 0;
    for (uint32_t i = 0; i < epochs->n_entries; i++) {
        const struct record_epoch *told = &epochs->entries[i];
        if (!is_highest(epochs, i))
            continue;
        bool is_news = namespaces_hear(core->namespaces, told);
        if (is_news)
            news[n_news++] = *told;
        else if (epochs->batch != 0)
            tell_later_epoch(core, link, told);
        if (namespaces_overtaken(core->namespaces, core->peers, core->update, told, peer) ||
            is_news)
            sweeps_begin(core, told->identity);
    }
    if (n_news > 0)
        namespaces_pass_on(core->peers, core->update, news, n_news, peer);
    update_send(core->update, link, MESSAGE_heard)->u.heard.batch = epochs->batch;
}

static void take_touches(struct core *core, const struct message_touch *touch)
{
    for (uint32_t i = 0; i < touch->n_slots; i++)
        pool_touch(core->pool, touch->slots[i].slot, touch->slots[i].generation);
}

static void take_announced(struct core *core, uint16_t peer,
                           const struct message_announced *message)
{
    if (message->batch & SYNC_BATCH)
        sync_answered(core->sync, peers_get(core->peers, peer), message->batch, message->credit);
    else
        publish_announced(core->publish, core->update, peer, message);
}

static void take_leave(struct core *core, uint16_t index)
{
    const struct peer *peer = peers_get(core->peers, index);
    membership_peer_left(core->membership, core->update, peer->node_id, peer->incarnation);
    members_remove(core, index);
}

static bool is_self(const struct link *link, struct id128 node_id, uint64_t incarnation)
{
    return id128_equal(link->node_id, node_id) && link->incarnation == incarnation;
}

/* Nobody says of another that it is there, or that it has left. */
static bool speaks_for_itself(const struct link *link, const struct message *message)
{
    const struct message_join *join = &message->u.join;
    const struct message_heartbeat *heartbeat = &message->u.heartbeat;
    const struct message_leave *leave = &message->u.leave;
    switch (message->type) {
    case MESSAGE_join:
        return join->n_members == 1 &&
               is_self(link, join->members[0].node_id, join->members[0].incarnation);
    case MESSAGE_heartbeat: return is_self(link, heartbeat->node_id, heartbeat->incarnation);
    case MESSAGE_leave: return is_self(link, leave->node_id, leave->incarnation);
    default: return true;
    }
}

/* Only a member may speak on a control connection, and only on its present one: what still comes
 * over a connection that is being hung up is dropped. */
void inbox_take(struct core *core, uint32_t number, const struct message *message)
{
    const struct link *link = &core->links[number];
    if (link->is_former)
        return;
    if (link->purpose == PURPOSE_DISCOVERY) {
        if (speaks_for_itself(link, message))
            membership_message(core->membership, core->update, number, message);
        return;
    }
    uint16_t peer = link->peer;
    const struct peer *speaker = peers_get(core->peers, peer);
    if (!speaker || speaker->link != number)
        return;
    switch (message->type) {
    case MESSAGE_announce: take_announce(core, number, peer, &message->u.announce); break;
    case MESSAGE_announced: take_announced(core, peer, &message->u.announced); break;
    case MESSAGE_retract: take_retract(core, number, peer, &message->u.retract); break;
    case MESSAGE_sync: take_sync(core, peer, &message->u.sync); break;
    case MESSAGE_touch: take_touches(core, &message->u.touch); break;
    case MESSAGE_stale: inbox_take_stale(core, peer, &message->u.stale); break;
    case MESSAGE_epochs: take_epochs(core, number, peer, &message->u.epochs); break;
    case MESSAGE_heard:
        namespaces_heard(core->namespaces, core->update, peer, message->u.heard.batch);
        break;
    case MESSAGE_leave: take_leave(core, peer); break;
    default: break; /* not a message for a control connection */
    }
}
