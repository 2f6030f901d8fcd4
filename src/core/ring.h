/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring.h - consistent hashing: which peers answer for a key.
 *
 * Every node has `vnodes` points on a circle of 64-bit positions.  A key has a few places on it; a
 * node is the nearer to the key the shorter the way is from one of these places on to one of the
 * node's points, and the nearest nodes are the key's owners.  How near a node is depends on that
 * node alone: who joins takes keys from all and moves none between others.  docs/directory.md has
 * the figures by which the number of points and places was chosen.
 *
 * A ring is immutable once built, but for the peer index of a node that begins a new life.  Whom
 * it names is a pure function of the set of node ids and `vnodes`, so all nodes that see the same
 * members compute the same ring and the same hash of it.
 *
 * Rings are published through a small set of snapshots: the core builds into one that nobody
 * reads, any thread borrows the newest, and the one before it while that may still be needed.
 */
#ifndef CORE_RING_H
#define CORE_RING_H

#include <stdint.h>

#include "core/core.h"

struct ring;
struct ring_set;

enum { RING_PROBES = 6, /* places of a key */ RING_SNAPSHOTS = 10 };

struct ring_node {
    struct id128 node_id;
    uint16_t peer;
};

int ring_set_new(uint32_t vnodes, struct ring_set **ret_set);
void ring_set_free(struct ring_set *set);

/* The core only.  -EBUSY: readers hold every other snapshot; build again at the next step. */
int ring_set_build(struct ring_set *set, const struct ring_node *nodes, uint32_t n);
/* The core only.  A node has begun a new life: the same node id, another peer index. */
void ring_set_replace(struct ring_set *set, uint16_t old_peer, uint16_t new_peer);
/* The core only.  @ring, which it has borrowed, is what readers fall back to; NULL: to none. */
void ring_set_fall_back(struct ring_set *set, const struct ring *ring);
bool ring_set_has_before(const struct ring_set *set);

/* Any thread; never waits.  Each borrow is returned once, soon; the core may keep one for
 * longer. */
const struct ring *ring_borrow(struct ring_set *set);
/* NULL: there is none to fall back to. */
const struct ring *ring_borrow_before(struct ring_set *set);
/* NULL is allowed. */
void ring_return(struct ring_set *set, const struct ring *ring);

/* Equal for equal sets of nodes and equal `vnodes`; 0 only for the ring without nodes. */
uint64_t ring_hash(const struct ring *ring);
uint32_t ring_node_count(const struct ring *ring);
/* Bytes that a ring of so many points takes. */
size_t ring_bytes(uint32_t n_points);
/* The first @replicas owners of @position, the nearest first; returns how many there are. */
uint32_t ring_owners(const struct ring *ring, uint64_t position, uint32_t replicas,
                     uint16_t ret_peers[CORE_OWNERS_MAX]);

#endif
