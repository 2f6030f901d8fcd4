/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster.h - many cores on one plain network: what the cost model runs on.
 *
 * Every message takes the same time, nothing fails unless it is killed, and pages have no bytes.
 * So a cluster of a thousand fits into one process, and what is counted is what the core decides.
 */
#ifndef SIM_CLUSTER_H
#define SIM_CLUSTER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/core.h"
#include "core/view.h"
#include "limits.h"
#include "wire/schema.h"

enum { CLUSTER_NODES_MAX = MEMBERS_MAX, CLUSTER_PAGE_BYTES = 128 /* of a pool, name included */ };

struct cluster_config {
    uint32_t vnodes, replicas, pages; /* pages: the most that one node holds */
    uint64_t heartbeat_ns, member_ttl_ns, ring_grace_ns;
};

/* What one node has sent and taken, as frames on the wire. */
struct traffic {
    uint64_t messages, bytes;
};

struct cluster_link {
    int node; /* at the other end; NOBODY: no link */
    uint32_t number;
};

struct cluster_node {
    bool is_up;
    struct id128 node_id;
    struct core *core;
    const struct core_view *view;
    struct slot_header *headers;
    uint64_t wake_at_ns, ring_hash, ring_at_ns; /* when it last got another ring */
    uint32_t rings;                             /* how many it has had */
    struct cluster_link *links;
    uint32_t n_links;
    int routes[CORE_PEERS_MAX]; /* peer index -> node */
    struct traffic traffic;
    double step_s; /* of this process's time, spent in its steps */
};

struct cluster {
    struct cluster_config config;
    uint64_t now_ns, busy_ns; /* busy: when something other than signs of life went last */
    uint32_t n_nodes;
    struct cluster_node nodes[CLUSTER_NODES_MAX];
    struct traffic by_type[MESSAGE_TYPE_END];
    uint64_t announced; /* entries that holders named to owners */
};

extern struct cluster cluster;

void cluster_begin(const struct cluster_config *config);
void cluster_end(void);
/* Starts one more node; its number. */
uint32_t cluster_start(void);
/* It is gone, and the connections to it break. */
void cluster_kill(uint32_t node);
/* Fills the node's pool with pages of its own. */
void cluster_fill(uint32_t node, uint32_t pages);
void cluster_step(int node, struct core_event *event);
void cluster_run(uint64_t for_ns);
/* Until nothing but signs of life has gone for @quiet_ns; false: not within @most_ns. */
bool cluster_rest(uint64_t quiet_ns, uint64_t most_ns);
/* Whether all nodes have the same ring, of all nodes. */
bool cluster_agrees(void);
/* Owners of a position as this node sees them, as nodes. */
uint32_t cluster_owners(uint32_t node, uint64_t position, int ret_nodes[CORE_OWNERS_MAX]);

#endif
