/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core.c - one step: an event in, an update out.
 *
 * The rooms (peers, ring, directory, pool, publish, sync, membership, namespaces) do not know each
 * other's events; this file says which room an event goes to, and advance() goes on with what takes
 * several steps.  Every step ends in advance(), so nothing waits for a tick.
 */
#include "core/core.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/metric.h"
#include "base/protection.h"
#include "core/directory.h"
#include "core/inspection.h"
#include "core/membership.h"
#include "core/namespaces.h"
#include "core/peers.h"
#include "core/pool.h"
#include "core/publish.h"
#include "core/ring.h"
#include "core/sync.h"
#include "core/update.h"
#include "core/view.h"

enum { SWEEPS_MAX = 64, CREDIT = 1024 };
#define DIAL_PAUSE_NS UINT64_C(500000000)

struct link {
    bool used;
    enum purpose purpose;
    struct id128 node_id;
    uint64_t incarnation;
    uint16_t peer;                      /* CORE_PEER_NONE until the member is known */
};

/* A namespace whose older pages are being retired. */
struct sweep {
    bool used;
    struct id128 identity;
    uint64_t epoch;
    uint32_t cursor;
};

struct core {
    struct core_config config;
    struct core_view view;
    struct update *update;
    struct peers *peers;
    struct ring_set *rings;
    struct directory *directory;
    struct pool *pool;
    struct publish *publish;
    struct membership *membership;
    struct namespaces *namespaces;
    struct sync_rooms sync;
    bool ring_is_old, dropping;         /* to be built; a holder's locations are being swept */
    bool dropped[CORE_PEERS_MAX];
    struct sweep sweeps[SWEEPS_MAX];
    struct link links[CORE_LINKS_MAX];
};

/* --- peers and their connections --- */

static void drop_peer(struct core *core, uint16_t index)
{
    namespaces_peer_gone(core->namespaces, core->update, index);
    publish_peer_down(core->publish, core->update, index);
    directory_drop_holder(core->directory, index);
    core->dropped[index] = core->dropping = true;
}

static void remove_peer(struct core *core, uint16_t index)
{
    peers_retire(core->peers, core->update, index);
    drop_peer(core, index);
    core->ring_is_old = true;
}

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
    peer->sync = (struct peer_sync){0};
    if (PROTECTED(sync_on_connect))
        sync_want(peer);
    namespaces_tell_all(core->namespaces, core->peers, core->update, index);
}

static void link_up(struct core *core, const struct core_event *event)
{
    CHECK(event->link < CORE_LINKS_MAX);
    core->links[event->link] = (struct link){
        .used = true,
        .purpose = event->u.up.purpose,
        .node_id = event->u.up.node_id,
        .incarnation = event->u.up.incarnation,
        .peer = CORE_PEER_NONE,
    };
    if (event->u.up.purpose == PURPOSE_CONTROL)
        connect_link(core, event->link);
    else if (!membership_is_head(core->membership))
        membership_link_up(core->membership, core->update, event->link);
}

static void link_down(struct core *core, uint32_t number)
{
    struct link *link = &core->links[number];
    if (link->purpose == PURPOSE_DISCOVERY)
        membership_link_down(core->membership, number);
    struct peer *peer = link->peer == CORE_PEER_NONE ? NULL : peers_get(core->peers, link->peer);
    if (peer && peer->link == number) {
        peer->link = LINK_NONE;
        peer->synced_ring_hash = 0;
        sync_peer_down(peer);
        publish_peer_down(core->publish, core->update, link->peer);
    }
    *link = (struct link){.peer = CORE_PEER_NONE};
}

/* Of two nodes the one with the lower id dials. */
static void dial_peers(struct core *core)
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
            peer->dial_at_ns = now_ns + DIAL_PAUSE_NS;
        update_wake_at(core->update, peer->dial_at_ns);
    }
}

/* --- what discovery says --- */

static bool member_reported(void *context, struct update *update, const struct record_member *member)
{
    struct core *core = context;
    uint16_t replaced;
    core->ring_is_old |= peers_report(core->peers, update, member, &replaced);
    if (replaced != CORE_PEER_NONE)
        drop_peer(core, replaced);
    return member->state == MEMBER_LEFT ||
           peers_find(core->peers, member->node_id) != CORE_PEER_NONE;
}

static bool is_listed(const struct peer *peer, const struct record_member *members, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (id128_equal(members[i].node_id, peer->node_id))
            return true;
    return false;
}

static void members_missing(void *context, struct update *update,
                            const struct record_member *members, uint32_t n)
{
    struct core *core = context;
    (void)update;
    for (uint16_t i = 1; peers_next(core->peers, &i); i++)
        if (!is_listed(peers_get(core->peers, i), members, n))
            remove_peer(core, i);
}

static void build_ring(struct core *core)
{
    struct ring_node nodes[MEMBERS_MAX];
    uint32_t n = 0;
    for (uint16_t i = 0; peers_next(core->peers, &i) && n < MEMBERS_MAX; i++)
        nodes[n++] = (struct ring_node){peers_get(core->peers, i)->node_id, i};
    if (ring_set_build(core->rings, nodes, n) != 0) {
        update_wake_at(core->update, update_now_ns(core->update));
        return;
    }
    core->ring_is_old = false;
    for (uint16_t i = 0; peers_next(core->peers, &i); i++)
        if (PROTECTED(sync_on_ring_change) || i == CORE_SELF)
            sync_want(peers_get(core->peers, i));
    metric_set(core->config.metrics, METRIC_members, n);
}

/* The own shard knows all there is once every alive member has named its pages under this ring. */
static void judge_completeness(struct core *core)
{
    uint64_t hash = view_ring_hash(&core->view);
    bool complete = !core->ring_is_old;
    for (uint16_t i = 0; complete && peers_next(core->peers, &i); i++) {
        const struct peer *peer = peers_get(core->peers, i);
        complete = peer->synced_ring_hash == hash || peer->state == MEMBER_SUSPECT;
    }
    atomic_store_explicit(&core->view.complete_ring_hash, complete ? hash : 0, memory_order_release);
}

/* --- messages between holders and owners --- */

static void take_announce(struct core *core, uint32_t link, uint16_t peer,
                          const struct message_announce *announce)
{
    struct message *reply = update_send(core->update, link, MESSAGE_announced);
    struct record_index *refused =
        update_allocate(core->update, announce->n_entries * sizeof *refused);
    uint32_t n_refused = 0;
    for (uint32_t i = 0; i < announce->n_entries; i++) {
        struct location place = announce->entries[i].place;
        place.holder = peer;
        if (place.length_bytes == 0 ||
            directory_put(core->directory, announce->entries[i].digest, &place) != 0)
            refused[n_refused++].index = (uint16_t)i;
    }
    reply->u.announced = (struct message_announced){
        .batch = announce->batch, .credit = CREDIT, .refused = refused, .n_refused = n_refused};
}

static void take_retract(struct core *core, uint16_t peer, const struct message_retract *retract)
{
    for (uint32_t i = 0; i < retract->n_entries; i++)
        directory_remove(core->directory, retract->entries[i].digest, peer,
                         retract->entries[i].generation);
}

static void take_sync(struct core *core, uint16_t index, const struct message_sync *sync)
{
    struct peer *peer = peers_get(core->peers, index);
    if (!sync->ends) {
        peer->synced_ring_hash = 0;
        directory_sync_begin(core->directory, index);
        return;
    }
    peer->synced_ring_hash = sync->ring_hash;
    directory_sync_end(core->directory, index);
}

/* A reader of another node found these gone: only the filling that it names is forgotten. */
static void take_stale(struct core *core, const struct message_stale *stale)
{
    for (uint32_t i = 0; i < stale->n_entries; i++) {
        uint16_t holder = peers_find(core->peers, stale->entries[i].node_id);
        const struct peer *peer = peers_get(core->peers, holder);
        if (peer && peer->incarnation == stale->entries[i].incarnation)
            directory_remove(core->directory, stale->entries[i].digest, holder,
                             stale->entries[i].generation);
    }
}

static void sweep_namespace(struct core *core, struct id128 identity)
{
    struct sweep *sweep = NULL;
    for (uint32_t i = 0; i < SWEEPS_MAX && !sweep; i++)
        if (!core->sweeps[i].used || id128_equal(core->sweeps[i].identity, identity))
            sweep = &core->sweeps[i];
    if (sweep)                          /* else: its pages are evicted like all that nobody asks for */
        *sweep = (struct sweep){.used = true, .identity = identity,
                                .epoch = namespaces_epoch(core->namespaces, identity)};
}

static void take_epochs(struct core *core, uint32_t link, const struct message_epochs *epochs)
{
    for (uint32_t i = 0; i < epochs->n_entries; i++)
        if (namespaces_hear(core->namespaces, &epochs->entries[i]))
            sweep_namespace(core, epochs->entries[i].identity);
    update_send(core->update, link, MESSAGE_heard)->u.heard.batch = epochs->batch;
}

static void take_touches(struct core *core, const struct message_touch *touch)
{
    for (uint32_t i = 0; i < touch->n_slots; i++)
        pool_touch(core->pool, touch->slots[i].slot, touch->slots[i].generation);
}

static void take_announced(struct core *core, uint16_t peer, const struct message_announced *message)
{
    if (message->batch & SYNC_BATCH)
        sync_announced(peers_get(core->peers, peer));
    else
        publish_announced(core->publish, core->update, peer, message);
}

static void take_leave(struct core *core, uint16_t index)
{
    const struct peer *peer = peers_get(core->peers, index);
    membership_peer_left(core->membership, core->update, peer->node_id, peer->incarnation);
    remove_peer(core, index);
}

/* Only a member may speak on a control connection, and only on its present one: what still comes
 * over a connection that is being hung up is dropped. */
static void take_message(struct core *core, uint32_t number, const struct message *message)
{
    const struct link *link = &core->links[number];
    if (link->purpose == PURPOSE_DISCOVERY) {
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
    case MESSAGE_retract: take_retract(core, peer, &message->u.retract); break;
    case MESSAGE_sync: take_sync(core, peer, &message->u.sync); break;
    case MESSAGE_touch: take_touches(core, &message->u.touch); break;
    case MESSAGE_stale: take_stale(core, &message->u.stale); break;
    case MESSAGE_epochs: take_epochs(core, number, &message->u.epochs); break;
    case MESSAGE_heard:
        namespaces_heard(core->namespaces, core->update, peer, message->u.heard.batch);
        break;
    case MESSAGE_leave: take_leave(core, peer); break;
    default: break;                     /* not a message for a control connection */
    }
}

/* --- what applications ask --- */

static void clear(struct core *core, const struct core_event *event)
{
    int error = namespaces_clear(core->namespaces, core->peers, core->update,
                                 event->u.clear.identity, event->u.clear.ret_epoch,
                                 event->u.clear.ret_op);
    if (error)
        *event->u.clear.ret_op = PUBLISH_OP_NONE;
    else
        sweep_namespace(core, event->u.clear.identity);
}

static void cancel(struct core *core, uint32_t op)
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
            slots[i] = (struct record_touched){touches[from + i].slot, touches[from + i].generation};
        update_send(core->update, peer->link, MESSAGE_touch)->u.touch =
            (struct message_touch){.slots = slots, .n_slots = count};
    }
}

static void report_stale(struct core *core, const struct core_stale *stale)
{
    const struct peer *holder = peers_get(core->peers, stale->peer);
    uint16_t owners[CORE_OWNERS_MAX];
    const struct ring *ring = ring_borrow(core->rings);
    uint32_t n = ring_owners(ring, stale->ring_position, core->config.directory_replicas, owners);
    ring_return(core->rings, ring);
    for (uint32_t i = 0; holder && i < n; i++) {
        const struct peer *owner = peers_get(core->peers, owners[i]);
        if (owners[i] == CORE_SELF) {
            directory_remove(core->directory, stale->digest, stale->peer, stale->generation);
        } else if (owner && owner->link != LINK_NONE) {
            struct record_stale *entry = update_allocate(core->update, sizeof *entry);
            *entry = (struct record_stale){.digest = stale->digest, .node_id = holder->node_id,
                                           .incarnation = holder->incarnation,
                                           .generation = stale->generation};
            update_send(core->update, owner->link, MESSAGE_stale)->u.stale =
                (struct message_stale){.entries = entry, .n_entries = 1};
        }
    }
}

static void take_read_outcomes(struct core *core, const struct core_event *event)
{
    for (uint32_t i = 0; i < event->u.outcomes.n_touches; i++)
        if (event->u.outcomes.touches[i].peer == CORE_SELF)
            pool_touch(core->pool, event->u.outcomes.touches[i].slot,
                       event->u.outcomes.touches[i].generation);
    pass_on_touches(core, event->u.outcomes.touches, event->u.outcomes.n_touches);
    for (uint32_t i = 0; i < event->u.outcomes.n_stales && i < BATCH_MAX; i++)
        report_stale(core, &event->u.outcomes.stales[i]);
}

static void leave(struct core *core)
{
    for (uint16_t i = 1; peers_next(core->peers, &i); i++) {
        const struct peer *peer = peers_get(core->peers, i);
        if (peer->link != LINK_NONE)
            update_send(core->update, peer->link, MESSAGE_leave)->u.leave =
                (struct message_leave){core->config.node_id, core->config.incarnation};
    }
    membership_leave(core->membership, core->update);
}

/* --- what takes several steps --- */

static void forget_dropped(struct core *core)
{
    if (!core->dropping)
        return;
    core->dropping = false;
    for (uint16_t i = 1; i < CORE_PEERS_MAX; i++) {
        if (!core->dropped[i])
            continue;
        if (directory_holder_is_free(core->directory, i)) {
            core->dropped[i] = false;
            peers_forget(core->peers, i);
            breaker_succeeded(&core->view.breakers[i]);     /* its next meaning begins anew */
        } else {
            core->dropping = true;
        }
    }
}

static bool sweep_namespaces(struct core *core)
{
    for (uint32_t i = 0; i < SWEEPS_MAX; i++) {
        struct sweep *sweep = &core->sweeps[i];
        if (!sweep->used)
            continue;
        sweep->used = pool_sweep_namespace(core->pool, sweep->identity, sweep->epoch, &sweep->cursor);
        return true;
    }
    return false;
}

static void set_gauges(struct core *core)
{
    struct metrics *metrics = core->config.metrics;
    struct pool_usage pool;
    pool_measure(core->pool, &pool);
    metric_set(metrics, METRIC_pool_bytes_used, pool.live_bytes);
    metric_set(metrics, METRIC_pool_bytes_retired, pool.retired_bytes);
    metric_set(metrics, METRIC_pool_bytes_free, pool.free_bytes);
    metric_set(metrics, METRIC_directory_entries, directory_count(core->directory));
    metric_set(metrics, METRIC_directory_bytes, directory_bytes(core->directory));
}

static void advance(struct core *core)
{
    if (core->ring_is_old)
        build_ring(core);
    dial_peers(core);
    bool more = pool_retire_ahead(core->pool);
    more |= sweep_namespaces(core);
    publish_retract_gone(core->publish, core->update);
    more |= sync_advance(&core->sync, core->update);
    more |= directory_sweep(core->directory);
    forget_dropped(core);
    judge_completeness(core);
    set_gauges(core);
    if (more)
        update_wake_at(core->update, update_now_ns(core->update));
}

void core_step(struct core *core, const struct core_event *event, struct core_update *ret_update)
{
    update_begin(core->update, event->now_ns);
    switch (event->type) {
    case CORE_TICK: break;
    case CORE_HEAD: membership_set_head(core->membership, core->update, event->u.is_head); break;
    case CORE_LINK_UP: link_up(core, event); break;
    case CORE_LINK_DOWN: link_down(core, event->link); break;
    case CORE_MESSAGE: take_message(core, event->link, event->u.message); break;
    case CORE_RESERVE:
        publish_reserve(core->publish, core->update, event->u.set.pages, event->u.set.n,
                        event->u.set.ret_op);
        break;
    case CORE_COPIED:
        publish_copied(core->publish, core->update, event->u.set.op, event->u.set.pages,
                       event->u.set.n);
        break;
    case CORE_CANCEL: cancel(core, event->u.set.op); break;
    case CORE_CLEAR: clear(core, event); break;
    case CORE_READ_OUTCOMES: take_read_outcomes(core, event); break;
    case CORE_LEAVE: leave(core); break;
    }
    membership_tick(core->membership, core->update);
    advance(core);
    update_end(core->update, ret_update);
}

/* --- building --- */

static void fill_view(struct core *core)
{
    core->view.node_id = core->config.node_id;
    core->view.incarnation = core->config.incarnation;
    core->view.directory_replicas = core->config.directory_replicas;
    core->view.headers = core->config.headers;
    core->view.slot_count = core->config.slot_count;
    core->view.pool_index = pool_index(core->pool);
    core->view.directory = directory_table(core->directory);
    core->view.peers = peers_by_index(core->peers);
    core->view.peer_ids = peers_by_id(core->peers);
    core->view.epochs = namespaces_epochs(core->namespaces);
    core->view.rings = core->rings;
}

static int build_rooms(struct core *core)
{
    const struct core_config *config = &core->config;
    struct membership_sink sink = {member_reported, members_missing, core};
    core->update = update_new();
    core->view.breakers = calloc(CORE_PEERS_MAX, sizeof *core->view.breakers);
    if (!core->update || !core->view.breakers)
        return -ENOMEM;
    int error = peers_new(config, &core->peers);
    if (!error)
        error = ring_set_new(config->vnodes, &core->rings);
    if (!error)
        error = directory_new(config->directory_limit, &core->directory);
    if (!error)
        error = pool_new(config, &core->pool);
    if (!error)
        error = namespaces_new(&core->namespaces);
    if (!error)
        error = membership_new(config, &sink, &core->membership);
    if (error)
        return error;
    core->sync = (struct sync_rooms){core->pool, core->directory, core->peers, core->rings,
                                     config->directory_replicas};
    struct publish_rooms rooms = {.pool = core->pool, .directory = core->directory,
                                  .peers = core->peers, .rings = core->rings,
                                  .metrics = config->metrics, .headers = config->headers,
                                  .view = &core->view, .replicas = config->directory_replicas};
    return publish_new(&rooms, &core->publish);
}

static bool config_is_sane(const struct core_config *config)
{
    return config->headers && config->slot_count > 0 && config->pool_bytes >= 64 &&
           config->vnodes > 0 && config->directory_replicas > 0 &&
           config->directory_replicas <= CORE_OWNERS_MAX && config->directory_limit > 0 &&
           !id128_is_zero(config->node_id) && config->heartbeat_interval_ns > 0;
}

int core_new(const struct core_config *config, struct core **ret_core)
{
    if (!config_is_sane(config))
        return -EINVAL;
    struct core *core = calloc(1, sizeof *core);
    if (!core)
        return -ENOMEM;
    core->config = *config;
    for (uint32_t i = 0; i < CORE_LINKS_MAX; i++)
        core->links[i].peer = CORE_PEER_NONE;
    int error = build_rooms(core);
    if (error) {
        core_free(core);
        return error;
    }
    fill_view(core);
    core->ring_is_old = true;
    *ret_core = core;
    return 0;
}

void core_free(struct core *core)
{
    if (!core)
        return;
    publish_free(core->publish);
    membership_free(core->membership);
    namespaces_free(core->namespaces);
    pool_free(core->pool);
    directory_free(core->directory);
    ring_set_free(core->rings);
    peers_free(core->peers);
    update_free(core->update);
    free(core->view.breakers);
    free(core);
}

const struct core_view *core_view(const struct core *core)
{
    return &core->view;
}

/* --- looking, for the thread that steps --- */

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
            .state = peer->state,
            .is_connected = i == CORE_SELF || peer->link != LINK_NONE,
        };
        memcpy(member->host, peer->host, sizeof member->host);
    }
}

void core_inspect(struct core *core, struct core_inspection *ret_inspection)
{
    const struct ring *ring = ring_borrow(core->rings);
    *ret_inspection = (struct core_inspection){
        .directory_entries = directory_count(core->directory),
        .directory_bytes = directory_bytes(core->directory),
        .ring_nodes = ring_node_count(ring),
        .is_complete = view_is_complete(&core->view, ring_hash(ring)),
        .is_connected = membership_is_connected(core->membership),
        .is_head = membership_is_head(core->membership),
    };
    ring_return(core->rings, ring);
    pool_measure(core->pool, &ret_inspection->pool);
    inspect_members(core, ret_inspection);
}

bool core_live_page(const struct core *core, uint32_t slot, struct pool_page *ret_page)
{
    return pool_live_page(core->pool, slot, ret_page);
}
