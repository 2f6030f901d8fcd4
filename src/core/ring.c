/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring.c - points on a circle of 64-bit positions, sorted; owners follow a key clockwise.
 *
 * A reader takes a snapshot by raising its count and looking whether it is still the newest.
 * The core builds only into a snapshot that is not the newest and whose count is zero.
 */
#include "core/ring.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/check.h"
#include "base/hash.h"

enum { SNAPSHOTS = 4, SEED_POINT = 3, SEED_NODES = 4 };

struct point {
    uint64_t position;
    uint16_t peer;
};

struct ring {
    uint64_t hash;
    uint32_t n_nodes, n_points;
    struct point *points;
    _Atomic(uint32_t) readers;
};

struct ring_set {
    uint32_t vnodes;
    size_t points_bytes;
    struct point *memory; /* for SNAPSHOTS rings; resident only as far as used */
    struct ring rings[SNAPSHOTS];
    _Atomic(uint32_t) newest;
};

int ring_set_new(uint32_t vnodes, struct ring_set **ret_set)
{
    struct ring_set *set = calloc(1, sizeof *set);
    if (!set)
        return -ENOMEM;
    size_t points_max = (size_t)vnodes * MEMBERS_MAX;
    set->vnodes = vnodes;
    set->points_bytes = SNAPSHOTS * points_max * sizeof(struct point);
    set->memory = mmap(NULL, set->points_bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (set->memory == MAP_FAILED) {
        free(set);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < SNAPSHOTS; i++)
        set->rings[i].points = set->memory + i * points_max;
    *ret_set = set;
    return 0;
}

void ring_set_free(struct ring_set *set)
{
    if (!set)
        return;
    munmap(set->memory, set->points_bytes);
    free(set);
}

static int compare_points(const void *a, const void *b)
{
    const struct point *left = a, *right = b;
    if (left->position != right->position)
        return left->position < right->position ? -1 : 1;
    return left->peer - right->peer;
}

static int compare_nodes(const void *a, const void *b)
{
    const struct ring_node *left = a, *right = b;
    return id128_compare(left->node_id, right->node_id);
}

static uint64_t hash_nodes(const struct ring_node *nodes, uint32_t n, uint32_t vnodes)
{
    struct ring_node sorted[MEMBERS_MAX];
    memcpy(sorted, nodes, n * sizeof *nodes);
    qsort(sorted, n, sizeof *sorted, compare_nodes);
    uint64_t hash = vnodes;
    for (uint32_t i = 0; i < n; i++)
        hash = hash_bytes64(&sorted[i].node_id, sizeof sorted[i].node_id, hash + SEED_NODES);
    return hash ? hash : 1;
}

static struct ring *find_unused(struct ring_set *set)
{
    uint32_t newest = atomic_load(&set->newest);
    for (uint32_t i = 0; i < SNAPSHOTS; i++)
        if (i != newest && atomic_load(&set->rings[i].readers) == 0)
            return &set->rings[i];
    return NULL;
}

static void add_points(struct ring *ring, const struct ring_node *node, uint32_t vnodes)
{
    struct {
        struct id128 node_id;
        uint64_t vnode;
    } seed = {.node_id = node->node_id};
    for (seed.vnode = 0; seed.vnode < vnodes; seed.vnode++)
        ring->points[ring->n_points++] = (struct point){
            .position = hash_bytes64(&seed, sizeof seed, SEED_POINT), .peer = node->peer};
}

int ring_set_build(struct ring_set *set, const struct ring_node *nodes, uint32_t n)
{
    CHECK(n <= MEMBERS_MAX);
    struct ring *ring = find_unused(set);
    if (!ring)
        return -EBUSY;
    ring->n_points = 0;
    ring->n_nodes = n;
    ring->hash = n ? hash_nodes(nodes, n, set->vnodes) : 0;
    for (uint32_t i = 0; i < n; i++)
        add_points(ring, &nodes[i], set->vnodes);
    qsort(ring->points, ring->n_points, sizeof *ring->points, compare_points);
    atomic_store(&set->newest, (uint32_t)(ring - set->rings));
    return 0;
}

/* A reader that raises the count of a snapshot which is no longer the newest gives it back at
 * once, before it looks inside; so the core never builds under a reader. */
const struct ring *ring_borrow(struct ring_set *set)
{
    for (;;) {
        uint32_t newest = atomic_load(&set->newest);
        struct ring *ring = &set->rings[newest];
        atomic_fetch_add(&ring->readers, 1);
        if (atomic_load(&set->newest) == newest)
            return ring;
        atomic_fetch_sub(&ring->readers, 1);
    }
}

void ring_return(struct ring_set *set, const struct ring *ring)
{
    atomic_fetch_sub(&set->rings[ring - set->rings].readers, 1);
}

uint64_t ring_hash(const struct ring *ring)
{
    return ring->hash;
}

uint32_t ring_node_count(const struct ring *ring)
{
    return ring->n_nodes;
}

static uint32_t first_point_at_or_after(const struct ring *ring, uint64_t position)
{
    uint32_t low = 0, high = ring->n_points;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (ring->points[middle].position < position)
            low = middle + 1;
        else
            high = middle;
    }
    return low == ring->n_points ? 0 : low;
}

static bool contains(const uint16_t *peers, uint32_t n, uint16_t peer)
{
    for (uint32_t i = 0; i < n; i++)
        if (peers[i] == peer)
            return true;
    return false;
}

uint32_t ring_owners(const struct ring *ring, uint64_t position, uint32_t replicas,
                     uint16_t ret_peers[CORE_OWNERS_MAX])
{
    CHECK(replicas <= CORE_OWNERS_MAX);
    uint32_t wanted = replicas < ring->n_nodes ? replicas : ring->n_nodes, n = 0;
    if (wanted == 0)
        return 0;
    uint32_t at = first_point_at_or_after(ring, position);
    for (uint32_t seen = 0; n < wanted && seen < ring->n_points; seen++) {
        uint16_t peer = ring->points[at].peer;
        if (!contains(ret_peers, n, peer))
            ret_peers[n++] = peer;
        if (++at == ring->n_points)
            at = 0;
    }
    return n;
}
