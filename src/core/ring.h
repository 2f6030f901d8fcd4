/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring.h - consistent hashing: which peers answer for a key.
 *
 * A ring is immutable once built.  It is a pure function of the set of node ids and `vnodes`, so
 * all nodes that see the same members compute the same ring and the same hash of it.
 *
 * Rings are published through a small set of snapshots: the core builds into one that nobody
 * reads, any thread borrows the newest.
 */
#ifndef CORE_RING_H
#define CORE_RING_H

#include <stdint.h>

#include "core/core.h"

struct ring;
struct ring_set;

struct ring_node {
    struct id128 node_id;
    uint16_t peer;
};

int ring_set_new(uint32_t vnodes, struct ring_set **ret_set);
void ring_set_free(struct ring_set *set);

/* The core only.  -EBUSY: readers hold every other snapshot; build again at the next step. */
int ring_set_build(struct ring_set *set, const struct ring_node *nodes, uint32_t n);

/* Any thread; never waits.  Each borrow is returned once, soon. */
const struct ring *ring_borrow(struct ring_set *set);
void ring_return(struct ring_set *set, const struct ring *ring);

/* Equal for equal sets of nodes; 0 only for the ring without nodes. */
uint64_t ring_hash(const struct ring *ring);
uint32_t ring_node_count(const struct ring *ring);
/* The first @replicas distinct peers from @position on; returns how many there are. */
uint32_t ring_owners(const struct ring *ring, uint64_t position, uint32_t replicas,
                     uint16_t ret_peers[CORE_OWNERS_MAX]);

#endif
