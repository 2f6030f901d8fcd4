/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring.c - points in order of position, found through an index by their first bits.
 *
 * Positions, the nodes they belong to, and the index lie apart, so that a look-up touches little
 * memory.  The index also sorts: points are counted by their first bits, dealt out, and put in
 * order among the one or two that share them.  So a ring of 1,024 nodes is built in some
 * milliseconds, and is built anew at every change rather than changed.
 *
 * A reader takes a snapshot by raising its count and looking whether it is still the one that it
 * wanted.  The core builds only into a snapshot that is neither the newest nor the one to fall back
 * to, and whose count is zero.
 */
#include "core/ring.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/splitmix.h"

enum { SEED_POINT = 3, SEED_NODES = 4, NONE = RING_SNAPSHOTS };

struct ring {
    uint64_t hash;
    uint32_t n_nodes, n_points, index_shift;
    uint64_t *positions;
    uint32_t *index; /* first bits -> the first point at or behind them; one more at the end */
    uint16_t *nodes; /* a point's node, by its rank among the node ids */
    _Atomic(uint16_t) peers[MEMBERS_MAX]; /* a node's peer index */
    _Atomic(uint32_t) readers;
};

struct ring_set {
    uint32_t vnodes;
    size_t memory_bytes;
    uint8_t *memory; /* for all snapshots; resident only as far as used */
    struct ring rings[RING_SNAPSHOTS];
    _Atomic(uint32_t) newest, before;
};

static uint32_t index_bits(uint32_t n_points)
{
    uint32_t bits = 1;
    while (UINT32_C(1) << bits < n_points)
        bits++;
    return bits;
}

static size_t index_bytes(uint32_t n_points)
{
    return ((UINT64_C(1) << index_bits(n_points)) + 1) * sizeof(uint32_t);
}

size_t ring_bytes(uint32_t n_points)
{
    size_t bytes = n_points * (sizeof(uint64_t) + sizeof(uint16_t)) + index_bytes(n_points);
    return (bytes + 63) & ~(size_t)63;
}

int ring_set_new(uint32_t vnodes, struct ring_set **ret_set)
{
    struct ring_set *set = calloc(1, sizeof *set);
    if (!set)
        return -ENOMEM;
    uint32_t points_max = vnodes * MEMBERS_MAX;
    size_t bytes = ring_bytes(points_max);
    set->vnodes = vnodes;
    set->before = NONE;
    set->memory_bytes = RING_SNAPSHOTS * bytes;
    set->memory = mmap(NULL, set->memory_bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (set->memory == MAP_FAILED) {
        free(set);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < RING_SNAPSHOTS; i++) {
        struct ring *ring = &set->rings[i];
        ring->positions = (uint64_t *)(set->memory + i * bytes);
        ring->index = (uint32_t *)(ring->positions + points_max);
        ring->nodes = (uint16_t *)((uint8_t *)ring->index + index_bytes(points_max));
    }
    *ret_set = set;
    return 0;
}

void ring_set_free(struct ring_set *set)
{
    if (!set)
        return;
    munmap(set->memory, set->memory_bytes);
    free(set);
}

/* --- building --- */

static int compare_nodes(const void *a, const void *b)
{
    const struct ring_node *left = a, *right = b;
    return id128_compare(left->node_id, right->node_id);
}

static uint64_t hash_nodes(const struct ring_node *nodes, uint32_t n, uint32_t vnodes)
{
    uint64_t hash = vnodes + ((uint64_t)RING_PROBES << 32);
    for (uint32_t i = 0; i < n; i++)
        hash = hash_bytes64(&nodes[i].node_id, sizeof nodes[i].node_id, hash + SEED_NODES);
    return hash ? hash : 1;
}

static struct ring *find_unused(struct ring_set *set)
{
    uint32_t newest = atomic_load(&set->newest), before = atomic_load(&set->before);
    for (uint32_t i = 0; i < RING_SNAPSHOTS; i++)
        if (i != newest && i != before && atomic_load(&set->rings[i].readers) == 0)
            return &set->rings[i];
    return NULL;
}

static uint64_t point_position(struct id128 node_id, uint64_t vnode)
{
    struct {
        struct id128 node_id;
        uint64_t vnode;
    } seed = {node_id, vnode};
    return hash_bytes64(&seed, sizeof seed, SEED_POINT);
}

/* index[bits] = how many points lie in front of these first bits. */
static void count_points(struct ring *ring, const struct ring_node *nodes, uint32_t vnodes)
{
    uint32_t bits = index_bits(ring->n_points), sum = 0;
    ring->index_shift = 64 - bits;
    memset(ring->index, 0, index_bytes(ring->n_points));
    for (uint32_t i = 0; i < ring->n_nodes; i++)
        for (uint32_t vnode = 0; vnode < vnodes; vnode++)
            ring->index[point_position(nodes[i].node_id, vnode) >> ring->index_shift]++;
    for (uint32_t i = 0; i <= UINT32_C(1) << bits; i++) {
        uint32_t count = ring->index[i];
        ring->index[i] = sum;
        sum += count;
    }
}

/* Dealing out moves each entry of the index to the end of its points, which is where those of the
 * next one begin; so the index is moved up by one afterwards. */
static void deal_out_points(struct ring *ring, const struct ring_node *nodes, uint32_t vnodes)
{
    uint32_t *ends = ring->index, n_ends = UINT32_C(1) << index_bits(ring->n_points);
    for (uint32_t i = 0; i < ring->n_nodes; i++)
        for (uint32_t vnode = 0; vnode < vnodes; vnode++) {
            uint64_t position = point_position(nodes[i].node_id, vnode);
            uint32_t at = ends[position >> ring->index_shift]++;
            ring->positions[at] = position;
            ring->nodes[at] = (uint16_t)i;
        }
    memmove(ends + 1, ends, n_ends * sizeof *ends);
    ends[0] = 0;
}

/* By insertion: no point has to pass more than the few that share its first bits.  Of two points at
 * one position, should that ever be, the one of the lower node id stays first. */
static void sort_points(struct ring *ring)
{
    for (uint32_t i = 1; i < ring->n_points; i++) {
        uint64_t position = ring->positions[i];
        uint16_t node = ring->nodes[i];
        uint32_t at = i;
        for (; at > 0 && ring->positions[at - 1] > position; at--) {
            ring->positions[at] = ring->positions[at - 1];
            ring->nodes[at] = ring->nodes[at - 1];
        }
        ring->positions[at] = position;
        ring->nodes[at] = node;
    }
}

int ring_set_build(struct ring_set *set, const struct ring_node *nodes, uint32_t n)
{
    CHECK(n <= MEMBERS_MAX);
    struct ring_node sorted[MEMBERS_MAX];
    struct ring *ring = find_unused(set);
    if (!ring)
        return -EBUSY;
    memcpy(sorted, nodes, n * sizeof *nodes);
    qsort(sorted, n, sizeof *sorted, compare_nodes);
    ring->n_nodes = n;
    ring->n_points = n * set->vnodes;
    ring->hash = n ? hash_nodes(sorted, n, set->vnodes) : 0;
    for (uint32_t i = 0; i < n; i++)
        atomic_store_explicit(&ring->peers[i], sorted[i].peer, memory_order_relaxed);
    count_points(ring, sorted, set->vnodes);
    deal_out_points(ring, sorted, set->vnodes);
    sort_points(ring);
    atomic_store(&set->newest, (uint32_t)(ring - set->rings));
    return 0;
}

void ring_set_replace(struct ring_set *set, uint16_t old_peer, uint16_t new_peer)
{
    for (uint32_t i = 0; i < RING_SNAPSHOTS; i++)
        for (uint32_t node = 0; node < set->rings[i].n_nodes; node++)
            if (atomic_load_explicit(&set->rings[i].peers[node], memory_order_relaxed) == old_peer)
                atomic_store_explicit(&set->rings[i].peers[node], new_peer, memory_order_relaxed);
}

void ring_set_fall_back(struct ring_set *set, const struct ring *ring)
{
    atomic_store(&set->before, ring ? (uint32_t)(ring - set->rings) : NONE);
}

bool ring_set_has_before(const struct ring_set *set)
{
    return atomic_load(&set->before) != NONE;
}

/* --- reading --- */

/* Who raises the count of a snapshot that is no longer wanted gives it back at once, before looking
 * inside; so the core never builds under a reader. */
static const struct ring *borrow(struct ring_set *set, const _Atomic(uint32_t) *wanted)
{
    for (;;) {
        uint32_t index = atomic_load(wanted);
        if (index == NONE)
            return NULL;
        struct ring *ring = &set->rings[index];
        atomic_fetch_add(&ring->readers, 1);
        if (atomic_load(wanted) == index)
            return ring;
        atomic_fetch_sub(&ring->readers, 1);
    }
}

const struct ring *ring_borrow(struct ring_set *set)
{
    return borrow(set, &set->newest);
}

const struct ring *ring_borrow_before(struct ring_set *set)
{
    return borrow(set, &set->before);
}

void ring_return(struct ring_set *set, const struct ring *ring)
{
    if (ring)
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

/* A place of a key, and the first point that may lie at or behind it. */
struct place {
    uint64_t position;
    uint32_t at;
};

/* The nearest nodes found so far, in order. */
struct nearest {
    uint32_t n, wanted;
    uint64_t distances[CORE_OWNERS_MAX];
    uint16_t nodes[CORE_OWNERS_MAX];
};

static bool is_near_enough(const struct nearest *nearest, uint64_t distance)
{
    return nearest->n < nearest->wanted || distance < nearest->distances[nearest->n - 1];
}

/* A node that is there already with a longer way moves up; else the last one makes room. */
static void add_node(struct nearest *nearest, uint16_t node, uint64_t distance)
{
    uint32_t at = 0;
    while (at < nearest->n && nearest->nodes[at] != node)
        at++;
    if (at < nearest->n && nearest->distances[at] <= distance)
        return;
    if (at == nearest->n)
        at = nearest->n < nearest->wanted ? nearest->n++ : nearest->n - 1;
    for (; at > 0 && nearest->distances[at - 1] > distance; at--) {
        nearest->distances[at] = nearest->distances[at - 1];
        nearest->nodes[at] = nearest->nodes[at - 1];
    }
    nearest->distances[at] = distance;
    nearest->nodes[at] = node;
}

static void add_from(struct nearest *nearest, const struct ring *ring, const struct place *place)
{
    uint32_t at = place->at;
    while (at < ring->n_points && ring->positions[at] < place->position)
        at++;
    for (uint32_t seen = 0; seen < ring->n_points; seen++, at++) {
        if (at == ring->n_points)
            at = 0;
        uint64_t distance = ring->positions[at] - place->position;
        if (!is_near_enough(nearest, distance))
            return;
        add_node(nearest, ring->nodes[at], distance);
    }
}

/* By the finalizer of splitmix64 over numbers that lie far apart.  All places are fetched into the
 * cache before the first is looked at: they lie anywhere in a ring that may be megabytes. */
static void find_places(const struct ring *ring, uint64_t position,
                        struct place ret_places[RING_PROBES])
{
    for (uint32_t i = 0; i < RING_PROBES; i++) {
        ret_places[i].position = splitmix_stir(position + (i + 1) * SPLITMIX_STEP);
        __builtin_prefetch(&ring->index[ret_places[i].position >> ring->index_shift]);
    }
    for (uint32_t i = 0; i < RING_PROBES; i++) {
        ret_places[i].at = ring->index[ret_places[i].position >> ring->index_shift];
        __builtin_prefetch(&ring->positions[ret_places[i].at]);
        __builtin_prefetch(&ring->nodes[ret_places[i].at]);
    }
}

uint32_t ring_owners(const struct ring *ring, uint64_t position, uint32_t replicas,
                     uint16_t ret_peers[CORE_OWNERS_MAX])
{
    CHECK(replicas <= CORE_OWNERS_MAX);
    struct nearest nearest = {.wanted = replicas < ring->n_nodes ? replicas : ring->n_nodes};
    if (nearest.wanted == 0)
        return 0;
    struct place places[RING_PROBES];
    find_places(ring, position, places);
    for (uint32_t i = 0; i < RING_PROBES; i++)
        add_from(&nearest, ring, &places[i]);
    for (uint32_t i = 0; i < nearest.n; i++)
        ret_peers[i] = atomic_load_explicit(&ring->peers[nearest.nodes[i]], memory_order_relaxed);
    return nearest.n;
}
