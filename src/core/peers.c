/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peers.c - the table of peers, and the two tables through which other threads see it.
 *
 * A slot of the table is empty, in use, or retired (gone from the ring, its locations not yet
 * swept).  Only members in use are found by id or walked.
 */
#include "core/peers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/seqtable.h"
#include "core/demand.h"
#include "core/view.h"

struct peers {
    struct seqtable *by_index, *by_id;
    uint32_t count, end; /* members in use; one past the highest index in use */
    struct id128 boot_id;
    uint32_t uid;
    uint64_t table_seed;
    bool retired[CORE_PEERS_MAX];
    struct peer peers[CORE_PEERS_MAX];
};

static struct id128 life_key(const struct peers *peers, const struct peer *peer)
{
    return view_peer_id_key(peers->table_seed, peer->node_id, peer->incarnation);
}

static void unpublish(struct peers *peers, uint16_t index)
{
    seqtable_remove(peers->by_index, view_peer_key(index));
    seqtable_remove(peers->by_id, life_key(peers, &peers->peers[index]));
}

/* False: a table has no room for it; then it is in neither. */
static bool publish(struct peers *peers, uint16_t index)
{
    const struct peer *peer = &peers->peers[index];
    struct view_peer view = {
        .node_id = peer->node_id,
        .incarnation = peer->incarnation,
        .state = peer->state,
        .same_host = id128_equal(peer->boot_id, peers->boot_id) && peer->uid == peers->uid,
        .host = demand_host(peer->boot_id),
    };
    struct seqtable_value by_index = {0}, by_id = {0};
    memcpy(by_index.bytes, &view, sizeof view);
    memcpy(by_id.bytes, &index, sizeof index);
    if (seqtable_put(peers->by_index, view_peer_key(index), &by_index) == 0 &&
        seqtable_put(peers->by_id, life_key(peers, peer), &by_id) == 0)
        return true;
    unpublish(peers, index);
    return false;
}

static void add_self(struct peers *peers, const struct core_config *config)
{
    struct peer *self = &peers->peers[CORE_SELF];
    *self = (struct peer){
        .used = true,
        .state = MEMBER_ALIVE,
        .node_id = config->node_id,
        .boot_id = config->boot_id,
        .incarnation = config->incarnation,
        .uid = config->uid,
        .control_port = config->control_port,
        .discovery_port = config->discovery_port,
        .pool_bytes = config->pool_bytes,
        .link = LINK_NONE,
    };
    memcpy(self->host, config->host, sizeof self->host);
    peers->count = peers->end = 1;
    CHECK(publish(peers, CORE_SELF));
}

int peers_new(const struct core_config *config, struct peers **ret_peers)
{
    struct peers *peers = calloc(1, sizeof *peers);
    if (!peers)
        return -ENOMEM;
    peers->boot_id = config->boot_id;
    peers->uid = config->uid;
    peers->table_seed = config->table_seed;
    if (seqtable_new(2 * CORE_PEERS_MAX, &peers->by_index) != 0 ||
        seqtable_new(2 * CORE_PEERS_MAX, &peers->by_id) != 0) {
        peers_free(peers);
        return -ENOMEM;
    }
    add_self(peers, config);
    *ret_peers = peers;
    return 0;
}

void peers_free(struct peers *peers)
{
    if (!peers)
        return;
    seqtable_free(peers->by_index);
    seqtable_free(peers->by_id);
    free(peers);
}

struct seqtable *peers_by_index(const struct peers *peers)
{
    return peers->by_index;
}

struct seqtable *peers_by_id(const struct peers *peers)
{
    return peers->by_id;
}

struct peer *peers_get(struct peers *peers, uint16_t index)
{
    if (index >= CORE_PEERS_MAX || !peers->peers[index].used)
        return NULL;
    return &peers->peers[index];
}

uint16_t peers_find(const struct peers *peers, struct id128 node_id)
{
    for (uint16_t i = 0; i < peers->end; i++)
        if (peers->peers[i].used && id128_equal(peers->peers[i].node_id, node_id))
            return i;
    return CORE_PEER_NONE;
}

bool peers_next(const struct peers *peers, uint16_t *index)
{
    while (*index < peers->end && !peers->peers[*index].used)
        (*index)++;
    return *index < peers->end;
}

uint32_t peers_count(const struct peers *peers)
{
    return peers->count;
}

static void tell_shell(struct update *update, uint16_t index, const struct peer *peer)
{
    struct core_peer_change change = {
        .peer = index,
        .node_id = peer->node_id,
        .boot_id = peer->boot_id,
        .incarnation = peer->incarnation,
        .uid = peer->uid,
        .control_port = peer->control_port,
        .discovery_port = peer->discovery_port,
        .state = peer->state,
    };
    memcpy(change.host, peer->host, sizeof change.host);
    update_peer_change(update, &change);
}

static uint16_t find_empty(const struct peers *peers)
{
    if (peers->count >= MEMBERS_MAX)
        return CORE_PEER_NONE;
    for (uint16_t i = 1; i < CORE_PEERS_MAX; i++)
        if (!peers->peers[i].used && !peers->retired[i])
            return i;
    return CORE_PEER_NONE;
}

static bool add(struct peers *peers, struct update *update, const struct record_member *member)
{
    uint16_t index = find_empty(peers);
    if (index == CORE_PEER_NONE || id128_is_zero(member->node_id))
        return false;
    struct peer *peer = &peers->peers[index];
    *peer = (struct peer){
        .used = true,
        .state = member->state,
        .node_id = member->node_id,
        .boot_id = member->boot_id,
        .incarnation = member->incarnation,
        .version = member->version,
        .seat = member->seat,
        .uid = member->uid,
        .control_port = member->control_port,
        .discovery_port = member->discovery_port,
        .pool_bytes = member->pool_bytes,
        .link = LINK_NONE,
        .dial_at_ns = update_now_ns(update),
    };
    memcpy(peer->host, member->host.bytes, member->host.len);
    peer->host[member->host.len] = 0;
    if (!publish(peers, index)) {
        peer->used = false;
        return false;
    }
    peers->count++;
    if (index >= peers->end)
        peers->end = index + 1u;
    tell_shell(update, index, peer);
    return true;
}

bool peers_report(struct peers *peers, struct update *update, const struct record_member *member,
                  uint16_t *ret_replaced)
{
    *ret_replaced = CORE_PEER_NONE;
    uint16_t index = peers_find(peers, member->node_id);
    if (index == CORE_SELF || member->state == MEMBER_LEFT)
        return false;
    if (index == CORE_PEER_NONE)
        return add(peers, update, member);
    struct peer *peer = &peers->peers[index];
    if (member->incarnation != peer->incarnation || member->seat != peer->seat) {
        peers_retire(peers, update, index);
        *ret_replaced = index;
        add(peers, update, member);
        return true;
    }
    if (peer->state != member->state) {
        peer->state = member->state;
        CHECK(publish(peers, index)); /* in place of what is there already */
        tell_shell(update, index, peer);
    }
    return false;
}

void peers_set_own_state(struct peers *peers, uint8_t state)
{
    peers->peers[CORE_SELF].state = state;
    CHECK(publish(peers, CORE_SELF)); /* in place of what is there already */
}

/* Locations of own pages stay what they are: other threads find the index all the time. */
void peers_rename_self(struct peers *peers, struct id128 node_id, uint64_t incarnation)
{
    struct peer *self = &peers->peers[CORE_SELF];
    struct id128 former = life_key(peers, self);
    self->node_id = node_id;
    self->incarnation = incarnation;
    if (!id128_equal(former, life_key(peers, self)))
        seqtable_remove(peers->by_id, former);
    CHECK(publish(peers, CORE_SELF));
}

void peers_retire(struct peers *peers, struct update *update, uint16_t index)
{
    CHECK(index != CORE_SELF && peers->peers[index].used);
    struct peer *peer = &peers->peers[index];
    if (peer->link != LINK_NONE)
        update_hangup(update, peer->link);
    unpublish(peers, index);
    peer->state = MEMBER_LEFT;
    peer->used = false;
    peer->link = LINK_NONE;
    peers->retired[index] = true;
    peers->count--;
    tell_shell(update, index, peer);
}

void peers_forget(struct peers *peers, uint16_t index)
{
    peers->retired[index] = false;
}
