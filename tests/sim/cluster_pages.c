/* SPDX-License-Identifier: Apache-2.0 */
/* cluster_pages.c - pages of a node's own, and who owns what. */
#include <stdio.h>

#include "base/check.h"
#include "base/hash.h"
#include "cluster.h"
#include "core/inspection.h"
#include "core/ring.h"

enum { FILL_BATCH = 256, PAGE_BYTES = 64, NAME_LEN = 8 };

/* --- pages --- */

static uint32_t fill_batch(uint32_t number, uint32_t first, uint32_t n)
{
    struct core_page pages[FILL_BATCH];
    uint32_t op = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t name[2] = {number, first + i};
        pages[i] = (struct core_page){.digest = hash_bytes128(name, sizeof name, 13),
                                      .identity = {5, 5},
                                      .ring_position = hash_ring_position(name, sizeof name),
                                      .length_bytes = PAGE_BYTES,
                                      .name_len = NAME_LEN};
    }
    cluster_step((int)number,
                 &(struct core_event){.type = CORE_RESERVE,
                                      .u.set = {.pages = pages, .n = n, .ret_op = &op}});
    for (uint32_t i = 0; i < n; i++)
        if (pages[i].error == 0)
            CHECK(slot_word_seal(&cluster.nodes[number].headers[pages[i].slot].word,
                                 pages[i].generation));
    cluster_step((int)number, &(struct core_event){.type = CORE_COPIED,
                                                   .u.set = {.pages = pages, .n = n, .op = op}});
    return n;
}

void cluster_fill(uint32_t number, uint32_t pages)
{
    for (uint32_t first = 0; first < pages;)
        first += fill_batch(number, first, pages - first < FILL_BATCH ? pages - first : FILL_BATCH);
}

/* --- questions --- */

bool cluster_agrees(void)
{
    static struct core_inspection inspection;
    uint32_t n_up = 0;
    uint64_t hash = 0;
    for (uint32_t i = 0; i < cluster.n_nodes; i++)
        n_up += cluster.nodes[i].is_up;
    for (uint32_t i = 0; i < cluster.n_nodes; i++) {
        if (!cluster.nodes[i].is_up)
            continue;
        core_inspect(cluster.nodes[i].core, &inspection);
        hash = hash ? hash : cluster.nodes[i].ring_hash;
        if (inspection.ring_nodes == n_up && cluster.nodes[i].ring_hash == hash &&
            inspection.is_complete)
            continue;
        fprintf(stderr, "sim-cost: at %.3f s node %u has a ring of %u nodes of %u, shard %s\n",
                (double)cluster.now_ns / 1e9, i, inspection.ring_nodes, n_up,
                inspection.is_complete ? "whole" : "not whole");
        return false;
    }
    return true;
}

uint32_t cluster_owners(uint32_t number, uint64_t position, int ret_nodes[CORE_OWNERS_MAX])
{
    uint16_t peers[CORE_OWNERS_MAX];
    const struct cluster_node *node = &cluster.nodes[number];
    const struct ring *ring = ring_borrow(node->view->rings);
    uint32_t n = ring_owners(ring, position, cluster.config.replicas, peers);
    ring_return(node->view->rings, ring);
    for (uint32_t i = 0; i < n; i++)
        ret_nodes[i] = node->routes[peers[i]];
    return n;
}
