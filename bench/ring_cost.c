/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring_cost.c - how evenly a ring spreads keys, and what it costs: `bench-ring-cost [KEYS]`.
 *
 * Prints the Markdown table of docs/directory.md.  The ring of src/core/ring.c stands beside the
 * plain one (the owner is the node of the first point at or behind the key's one place, points in
 * one sorted array) and beside other numbers of points and places, which live only here.  Shares
 * are counted over KEYS keys (default 8 million), so at 1,000 nodes about 1 % of what is called
 * imbalance is the counting.  Times are of the processor, for 1,000 nodes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/hash.h"
#include "base/splitmix.h"
#include "core/ring.h"
#include "rig.h"

enum { NODES_MAX = 1001, JOINS = 8, LOOKUPS = 2000000 };

struct ring_kind {
    uint32_t points, places; /* places 0: the ring of the library */
};

struct point {
    uint64_t position;
    uint16_t node;
};

static struct model {
    uint32_t n, places, bits;
    struct point *points;
    uint32_t *index;
} model;

static struct ring_set *library;

static double cpu_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static struct id128 node_id(uint32_t node)
{
    return (struct id128){splitmix_of(node), splitmix_of(node + UINT64_C(1000000))};
}

/* --- the models --- */

static int compare_points(const void *a, const void *b)
{
    const struct point *left = a, *right = b;
    return (left->position > right->position) - (left->position < right->position);
}

static void index_points(void)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i <= UINT32_C(1) << model.bits; i++) {
        while (at < model.n && model.points[at].position >> (64 - model.bits) < i)
            at++;
        model.index[i] = at;
    }
}

static void model_build(const struct ring_kind *kind, uint32_t n_nodes)
{
    model.n = 0;
    model.places = kind->places;
    for (uint32_t node = 0; node < n_nodes; node++)
        for (uint64_t i = 0; i < kind->points; i++) {
            struct id128 seed[2] = {node_id(node), {i, 0}};
            model.points[model.n++] =
                (struct point){hash_bytes64(seed, sizeof seed, 3), (uint16_t)node};
        }
    qsort(model.points, model.n, sizeof *model.points, compare_points);
    for (model.bits = 1; UINT32_C(1) << model.bits < model.n;)
        model.bits++;
    index_points();
}

static uint16_t model_owner(uint64_t key)
{
    uint64_t best = UINT64_MAX;
    uint16_t owner = 0;
    for (uint64_t place = 0; place < model.places; place++) {
        uint64_t position = splitmix_of(key + place * UINT64_C(0x9e3779b97f4a7c15));
        uint32_t at = model.index[position >> (64 - model.bits)];
        while (at < model.n && model.points[at].position < position)
            at++;
        const struct point *point = &model.points[at == model.n ? 0 : at];
        if (point->position - position < best) {
            best = point->position - position;
            owner = point->node;
        }
    }
    return owner;
}

/* --- both --- */

static double build(const struct ring_kind *kind, uint32_t n_nodes)
{
    static struct ring_node nodes[NODES_MAX];
    for (uint32_t i = 0; i < n_nodes; i++)
        nodes[i] = (struct ring_node){node_id(i), (uint16_t)i};
    double start_s = cpu_s();
    if (kind->places)
        model_build(kind, n_nodes);
    else if (ring_set_build(library, nodes, n_nodes) != 0)
        rig_fail("no ring to build into");
    return cpu_s() - start_s;
}

static uint16_t owner(const struct ring_kind *kind, const struct ring *ring, uint64_t key)
{
    uint16_t owners[CORE_OWNERS_MAX];
    if (kind->places)
        return model_owner(key);
    ring_owners(ring, key, 1, owners);
    return owners[0];
}

static double imbalance(const struct ring_kind *kind, uint32_t n_nodes, uint64_t keys)
{
    static uint32_t counts[NODES_MAX];
    uint32_t most = 0;
    memset(counts, 0, sizeof counts);
    build(kind, n_nodes);
    const struct ring *ring = ring_borrow(library);
    for (uint64_t key = 0; key < keys; key++)
        counts[owner(kind, ring, splitmix_of(key))]++;
    ring_return(library, ring);
    for (uint32_t i = 0; i < n_nodes; i++)
        most = counts[i] > most ? counts[i] : most;
    return most * (double)n_nodes / (double)keys;
}

/* What a joiner takes, times the number of nodes: the keys that are its own afterwards. */
static void joins(const struct ring_kind *kind, uint64_t keys, double *ret_least, double *ret_most)
{
    *ret_least = 9;
    *ret_most = 0;
    for (uint32_t n = 100; n < 100 + JOINS; n++) {
        uint64_t taken = 0;
        build(kind, n);
        const struct ring *ring = ring_borrow(library);
        for (uint64_t key = 0; key < keys / 8; key++)
            taken += owner(kind, ring, splitmix_of(key)) == n - 1;
        ring_return(library, ring);
        double share = (double)taken * n / (double)(keys / 8);
        *ret_least = share < *ret_least ? share : *ret_least;
        *ret_most = share > *ret_most ? share : *ret_most;
    }
}

static double lookup_ns(const struct ring_kind *kind, uint32_t replicas)
{
    uint64_t sum = 0;
    uint16_t owners[CORE_OWNERS_MAX];
    const struct ring *ring = ring_borrow(library);
    double start_s = cpu_s();
    for (uint64_t i = 0; i < LOOKUPS; i++) {
        if (kind->places)
            sum += model_owner(splitmix_of(i));
        else
            sum += ring_owners(ring, splitmix_of(i), replicas, owners) + owners[0];
    }
    double took_s = cpu_s() - start_s;
    ring_return(library, ring);
    return sum ? took_s * 1e9 / LOOKUPS : 0;
}

static void print_row(const struct ring_kind *kind, uint64_t keys)
{
    double least, most, of_10 = imbalance(kind, 10, keys), of_100 = imbalance(kind, 100, keys);
    joins(kind, keys, &least, &most);
    double of_1000 = imbalance(kind, 1000, keys), build_s = build(kind, 1000);
    uint32_t points = 1000 * kind->points;
    printf("| %s | %u | %u | %.3f | %.3f | %.3f | %.2f to %.2f | %.1f | %.1f | %.0f |\n",
           kind->places == 0   ? "`src/core/ring.c`"
           : kind->places == 1 ? "plain"
                               : "places",
           kind->points, kind->places ? kind->places : RING_PROBES, of_10, of_100, of_1000, least,
           most, build_s * 1e3, (double)ring_bytes(points) / 1e6, lookup_ns(kind, 2));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static const struct ring_kind kinds[] = {{160, 1}, {512, 1}, {1000, 1}, {2000, 1}, {1, 21},
                                             {64, 16}, {128, 8}, {256, 4},  {160, 6},  {160, 0}};
    uint64_t keys = argc == 2 ? rig_number(argv[1]) : 8000000;
    model.points = malloc((size_t)2000 * NODES_MAX * sizeof *model.points);
    model.index = malloc(((UINT64_C(1) << 21) + 1) * sizeof *model.index);
    if (!model.points || !model.index || ring_set_new(160, &library) != 0)
        rig_fail("not enough memory");
    printf(
        "| ring | points a node | places a key | busiest of 10 | of 100 | of 1,000 | a join takes "
        "(of 1/N) | built in ms | MB | look-up ns |\n|---|---|---|---|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        print_row(&kinds[i], keys);
    ring_set_free(library);
    free(model.points);
    free(model.index);
    return 0;
}
