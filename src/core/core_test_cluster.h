/* SPDX-License-Identifier: Apache-2.0 */
/* core_test_cluster.h - a few cores that know each other, for tests of what they do together. */
#ifndef CORE_CORE_TEST_CLUSTER_H
#define CORE_CORE_TEST_CLUSTER_H

#include "core/core_test_harness.h"

enum { A, B, C };

/* @n cores, the first one the head, all of whom know each other. */
static inline struct world *cluster(int n)
{
    struct world *world = world_new();
    for (int i = 0; i < n; i++) {
        struct core_config config = world_config((uint32_t)i);
        world_add(world, &config);
    }
    world_make_head(world, A);
    world_pass(world, 10000);
    return world;
}

/* Of the test that runs. */
static struct world *world_now;

static inline int teardown(void **state)
{
    (void)state;
    world_free(world_now);
    world_now = NULL;
    return 0;
}

static inline struct id128 id_of(int node)
{
    return world_now->nodes[node]->config.node_id;
}

static inline void assert_found_at(int reader, uint64_t page, int holder)
{
    struct id128 found = {0};
    assert_int_equal(world_find(world_now, reader, page, &found), LOCATE_FOUND);
    assert_true(id128_equal(found, id_of(holder)));
}

static inline void inspect(int node, struct core_inspection *ret)
{
    core_inspect(world_now->nodes[node]->core, ret);
}

static inline bool is_complete(int node)
{
    static struct core_inspection inspection;
    inspect(node, &inspection);
    return inspection.is_complete;
}

static inline uint32_t ring_nodes(int node)
{
    static struct core_inspection inspection;
    inspect(node, &inspection);
    return inspection.ring_nodes;
}

static inline uint32_t control_link(int from, int to)
{
    return world_link_to(world_now, from, to, PURPOSE_CONTROL);
}

#endif
