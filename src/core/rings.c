/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rings.c - keeps rings borrowed as long as they count.
 *
 * When a further change finds no room, all older rings are given up: the serials below the new one
 * are void, so that sync.c tells everybody everything.
 */
#include "core/rings.h"

#include <errno.h>

int rings_init(struct rings *rings, uint32_t vnodes, uint32_t replicas)
{
    *rings = (struct rings){.replicas = replicas, .first = 1};
    return ring_set_new(vnodes, &rings->set);
}

void rings_fini(struct rings *rings)
{
    ring_set_free(rings->set);
    rings->set = NULL;
}

static void drop_older(struct rings *rings)
{
    for (uint32_t i = 0; i + 1 < rings->n; i++)
        ring_return(rings->set, rings->ring[i]);
    if (rings->n > 1) {
        rings->first += rings->n - 1;
        rings->ring[0] = rings->ring[rings->n - 1];
        rings->n = 1;
    }
    rings->is_forgetting = false;
}

/* The fall-back is the oldest ring since readers last could do without one. */
static void add(struct rings *rings, const struct ring *ring)
{
    if (rings->n > 0 && !ring_set_has_before(rings->set))
        ring_set_fall_back(rings->set, rings->ring[0]);
    if (rings->n == RINGS_MAX) {
        drop_older(rings);
        ring_return(rings->set, rings->ring[0]);
        rings->first++;
        rings->n = 0;
    }
    rings->ring[rings->n++] = ring;
    rings->is_forgetting = false;
}

int rings_build(struct rings *rings, const struct ring_node *nodes, uint32_t n)
{
    if (ring_set_build(rings->set, nodes, n) != 0)
        return -EBUSY;
    const struct ring *ring = ring_borrow(rings->set);
    const struct ring **last = rings->n > 0 ? &rings->ring[rings->n - 1] : NULL;
    if (last && ring_hash(*last) == ring_hash(ring)) {
        ring_return(rings->set, *last);
        *last = ring;
        return 0;
    }
    add(rings, ring);
    return 1;
}

void rings_settle(struct rings *rings)
{
    drop_older(rings);
}

void rings_complete(struct rings *rings)
{
    if (rings->n == 1)
        ring_set_fall_back(rings->set, NULL);
}

uint64_t rings_newest(const struct rings *rings)
{
    return rings->n > 0 ? rings->first + rings->n - 1 : 0;
}

const struct ring *rings_get(const struct rings *rings, uint64_t serial)
{
    return rings->ring[serial - rings->first];
}

static uint32_t add_owners(const struct rings *rings, uint32_t index, uint64_t position,
                           uint16_t *peers, uint32_t n)
{
    uint16_t owners[CORE_OWNERS_MAX];
    uint32_t n_owners = ring_owners(rings->ring[index], position, rings->replicas, owners);
    for (uint32_t i = 0; i < n_owners; i++) {
        bool is_known = false;
        for (uint32_t j = 0; j < n; j++)
            is_known |= peers[j] == owners[i];
        if (!is_known)
            peers[n++] = owners[i];
    }
    return n;
}

uint32_t rings_owners(const struct rings *rings, uint64_t position,
                      uint16_t ret_peers[RINGS_OWNERS_MAX])
{
    uint32_t n = 0;
    for (uint32_t i = rings->n; i-- > 0;)
        n = add_owners(rings, i, position, ret_peers, n);
    return n;
}

uint32_t rings_owners_of_new(const struct rings *rings, uint64_t position,
                             uint16_t ret_peers[RINGS_OWNERS_MAX])
{
    if (rings->is_forgetting)
        return add_owners(rings, rings->n - 1, position, ret_peers, 0);
    return rings_owners(rings, position, ret_peers);
}
