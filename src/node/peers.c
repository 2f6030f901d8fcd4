/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peers.c - what this process keeps to reach a peer: its channels and the mapping of its pool.
 *
 * The core says when an index gets a new meaning (peers_apply).  A mapping is made by the first
 * reader that wants it and undone when the peer is gone and its last reader has returned it.
 */
#include "node/peers.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "node/discovery.h"
#include "node/internal.h"
#include "node/probe.h"
#include "node/rdma.h"

#define ATTACH_PAUSE_NS UINT64_C(1000000000)
/* For a host's name, or for one of a peer's channels when all are lent. */
#define CHANNEL_TIMEOUT_NS UINT64_C(200000000)

static void detach_if_unused(struct node_peer *peer)
{
    if (!peer->is_mapped || peer->readers > 0 || !(peer->is_gone || peer->mapping_is_old))
        return;
    arena_detach(&peer->mapping);
    peer->is_mapped = peer->mapping_is_old = false;
}

static void forget(struct node_peer *peer)
{
    peer->is_gone = true;
    detach_if_unused(peer);
    rdma_forget_peer(peer);
    if (peer->channels)
        channel_pool_stop(peer->channels);
}

static void describe(struct node *node, struct node_peer *peer,
                     const struct core_peer_change *change)
{
    peer->identity = (struct shm_identity){
        .node_id = change->node_id,
        .boot_id = change->boot_id,
        .incarnation = change->incarnation,
        .cluster = hash_bytes64(node->config.cluster, strlen(node->config.cluster), 0),
    };
    memcpy(peer->host, change->host, sizeof peer->host);
    peer->control_port = change->control_port;
    peer->state = change->state;
}

static void introduce(struct node *node, struct node_peer *peer)
{
    struct channel_peer to = {
        .address = address_of(peer->host, peer->control_port),
        .node_id = peer->identity.node_id,
        .incarnation = peer->identity.incarnation,
    };
    struct channel_pool *made;
    peer->mapping_is_old = peer->is_mapped;
    detach_if_unused(peer);
    peer->is_gone = false;
    peer->told_protocol = NULL;
    rdma_forget_peer(peer);
    peer->attach_after_ns = 0;
    breaker_succeeded(&node->view->breakers[peer - node->peers]);
    if (peer->channels)
        channel_pool_reset(peer->channels, &to);
    else if (channel_pool_new(&to, &node->hello, node->config.max_channels_per_peer, &made) == 0)
        peer->channels = made; /* else: out of memory, this peer's pages are misses */
}

/* A mapping belongs to one life of one node: while readers of a former meaning of the index still
 * use theirs, the new meaning has none. */
void peers_apply(struct node *node, const struct core_peer_change *change)
{
    struct node_peer *peer = &node->peers[change->peer];
    struct address at = address_of(change->host, change->control_port);
    char id[ID128_TEXT_LEN + 1], address[ADDRESS_TEXT_BYTES];
    id128_format(change->node_id, id);
    address_format(&at, address);
    pthread_mutex_lock(&peer->lock);
    bool is_new = !id128_equal(peer->identity.node_id, change->node_id) ||
                  peer->identity.incarnation != change->incarnation;
    describe(node, peer, change);
    if (change->state == MEMBER_LEFT)
        forget(peer);
    else if (is_new || peer->is_gone)
        introduce(node, peer);
    pthread_mutex_unlock(&peer->lock);
    discovery_members_changed(node);
    if (!log_limit_pass(&node->peer_lines, clock_now_ns()))
        return;
    log_event(LOG_LEVEL_INFO, "peer", "id=%s address=%s state=%s", id, address,
              change->state == MEMBER_LEFT       ? "gone"
              : change->state == MEMBER_SUSPECT  ? "suspect"
              : change->state == MEMBER_DRAINING ? "draining"
                                                 : "alive");
}

/* What members there are is decided by others, so the number of lines about it is not. */
void peers_tell_held_back(struct node *node)
{
    pthread_mutex_lock(&node->core_lock);
    uint32_t n = log_limit_held_back(&node->peer_lines, clock_now_ns());
    pthread_mutex_unlock(&node->core_lock);
    if (n > 0)
        log_event(LOG_LEVEL_WARNING, "peers_not_told",
                  "count=%u reason=\"more peers change than can be told one by one\"", n);
}

void peers_tell_protocol(struct node_peer *peer, const char *protocol, const char *reason)
{
    char id[ID128_TEXT_LEN + 1];
    if (peer->told_protocol && strcmp(peer->told_protocol, protocol) == 0)
        return;
    peer->told_protocol = protocol;
    id128_format(peer->identity.node_id, id);
    log_event(LOG_LEVEL_INFO, "protocol", "peer=%s protocol=%s reason=%s", id, protocol,
              log_quoted(reason));
}

/* With the peer's lock, which it gives up while it waits for the peer: who comes meanwhile finds
 * the pause running and goes another way, and a new meaning of the index is seen by its
 * identity. */
static void try_attach(struct node *node, struct node_peer *peer, uint64_t now_ns,
                       uint64_t deadline_ns)
{
    char reason[SHM_REASON_BYTES];
    struct shm_identity wanted = peer->identity;
    struct arena_mapping mapping;
    peer->attach_after_ns = now_ns + ATTACH_PAUSE_NS;
    pthread_mutex_unlock(&peer->lock);
    int error = shm_attach(&wanted, node->boot_id, deadline_ns, &mapping, reason);
    pthread_mutex_lock(&peer->lock);
    bool is_same = !peer->is_gone && !peer->is_mapped &&
                   id128_equal(peer->identity.node_id, wanted.node_id) &&
                   peer->identity.incarnation == wanted.incarnation;
    if (error == 0 && is_same) {
        peer->mapping = mapping;
        peer->is_mapped = true;
        peers_tell_protocol(peer, "shm", "same host and user");
    } else if (error == 0) {
        arena_detach(&mapping);
    } else if (is_same) {
        bool is_only_way = node->config.protocol == NODE_PROTOCOL_SHM;
        if (!node->rails) /* else rdma.c tells which of the two others it is */
            peers_tell_protocol(peer, is_only_way ? "none" : "tcp", reason);
    }
}

const struct arena_mapping *peers_borrow_mapping(struct node *node, uint16_t index,
                                                 uint64_t deadline_ns)
{
    struct node_peer *peer = &node->peers[index];
    const struct arena_mapping *mapping = NULL;
    uint64_t now_ns = clock_now_ns();
    pthread_mutex_lock(&peer->lock);
    if (node->config.protocol == NODE_PROTOCOL_TCP) {
        peers_tell_protocol(peer, "tcp", "option protocol=tcp");
    } else if (!peer->is_gone && node->config.protocol != NODE_PROTOCOL_RDMA) {
        if (!peer->is_mapped && breaker_is_closed(&node->view->breakers[index]) &&
            now_ns >= peer->attach_after_ns && now_ns < deadline_ns)
            try_attach(node, peer, now_ns, deadline_ns);
        if (peer->is_mapped && !peer->mapping_is_old) {
            peer->readers++;
            mapping = &peer->mapping;
        }
    }
    pthread_mutex_unlock(&peer->lock);
    return mapping;
}

void peers_return_mapping(struct node *node, uint16_t index)
{
    struct node_peer *peer = &node->peers[index];
    pthread_mutex_lock(&peer->lock);
    peer->readers--;
    detach_if_unused(peer);
    pthread_mutex_unlock(&peer->lock);
}

bool peers_may_ask(struct node *node, uint16_t peer)
{
    struct breaker *breaker = &node->view->breakers[peer];
    if (breaker_is_closed(breaker))
        return true;
    if (breaker_allows(breaker, clock_now_ns()))
        probe_request(node, peer);
    return false;
}

uint64_t peers_channel_until(uint64_t now_ns, uint64_t deadline_ns)
{
    uint64_t until_ns = now_ns + CHANNEL_TIMEOUT_NS;
    return until_ns < deadline_ns ? until_ns : deadline_ns;
}

void peers_stop(struct node *node)
{
    for (uint32_t i = 0; i < CORE_PEERS_MAX; i++)
        if (node->peers[i].channels)
            channel_pool_stop(node->peers[i].channels);
}

void peers_close(struct node *node)
{
    for (uint32_t i = 0; i < CORE_PEERS_MAX; i++) {
        struct node_peer *peer = &node->peers[i];
        rdma_free_peer(peer);
        channel_pool_free(peer->channels);
        if (peer->is_mapped)
            arena_detach(&peer->mapping);
        pthread_mutex_destroy(&peer->lock);
    }
}
