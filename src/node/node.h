/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node.h - one member of the cluster in this process: the core, joined to the outside world.
 *
 *     open / stop / close                      node.c      what a node is made of
 *     control connections                      links.c
 *     seeds, the discovery port, old members   discovery.c
 *     who it is, and other lives of it         life.c
 *     a step of the core, by any thread        step.c
 *     get, set, exists                         fetch.c, store.c, find.c
 *     pages from other hosts                   onesided.c and rdma.c (RDMA), streams.c (TCP)
 *     before it leaves                         drain.c, offer.c; adopt.c
 *     what others read from this node          serve.c
 *     what tools ask                           tool.c, inspect.c
 */
#ifndef NODE_NODE_H
#define NODE_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/address.h"
#include "base/id128.h"
#include "base/metric.h"
#include "peercache.h"

struct node;

enum { NODE_ERROR_BYTES = 256, NODE_SEEDS_MAX = 64 };

enum node_protocol { NODE_PROTOCOL_AUTO, NODE_PROTOCOL_TCP, NODE_PROTOCOL_SHM, NODE_PROTOCOL_RDMA };

struct node_config {
    struct id128 node_id; /* zero: that of a seat of state_dir, or a random one */
    char state_dir[256];  /* "": none */
    char cluster[64];
    struct address seeds[NODE_SEEDS_MAX]; /* where other members may answer, the head first */
    uint32_t n_seeds;                     /* 0: a cluster of one */
    uint32_t max_masters;
    struct address control;                   /* where to listen; port 0: any; host "": chosen */
    char advertised_host[ADDRESS_HOST_BYTES]; /* what others are told; "": chosen */
    uint64_t pool_bytes;
    uint32_t slot_count;      /* 0: chosen from the pool */
    uint32_t directory_limit; /* 0: chosen from the pool */
    uint32_t vnodes, directory_replicas;
    uint32_t serve_threads, max_channels_per_peer;
    uint64_t heartbeat_interval_ns, member_ttl_ns, ring_grace_ns;
    uint64_t get_timeout_ns, set_timeout_ns, exists_timeout_ns, drain_timeout_ns;
    uint64_t spin_ns; /* how long a waiting caller polls before it sleeps */
    enum node_protocol protocol;
    char device_names[256]; /* of RDMA; "": the one that is nearest */
    uint32_t ib_port, service_level, traffic_class;
    int32_t gid_index; /* -1: chosen */
    bool verify_checksum;
    bool hot_pages; /* what readers of several hosts ask for gets more holders */
};

/* What a pool of this size takes of memory, the headers of its slots included. */
uint64_t node_pool_memory_bytes(uint64_t pool_bytes);

int node_open(const struct node_config *config, struct node **ret_node,
              char ret_error[NODE_ERROR_BYTES]);
/* Idempotent, any thread: calls in flight end soon, new ones are refused. */
void node_stop(struct node *node);
/* Stops, and waits for calls in flight, for a while.  False: some have not ended, since a device
 * does not let go of their memory. */
bool node_await_calls(struct node *node);
/* Does that, leaves the cluster, and frees.  NULL is allowed.  False: nothing is freed that calls
 * use which have not ended. */
bool node_close(struct node *node);

/* 0, -ESHUTDOWN after stop, -ECHILD in a forked child.  Every call between is counted. */
int node_enter(struct node *node);
/* The same, also where the node has ended by itself: for looking only. */
int node_enter_to_look(struct node *node);
void node_exit(struct node *node);

/* What a page is called inside a node. */
struct node_page {
    struct id128 digest, parent; /* parent zero: none */
    uint64_t group;              /* 0: none */
    uint64_t ring_position;
    const void *name;
    uint32_t name_len;
    const struct peercache_segment *segments;
    uint32_t segment_count;
    uint64_t length_bytes; /* the segments' sum */
};

/* A namespace as the data path needs it. */
struct node_namespace {
    struct id128 identity;
    uint64_t epoch;
};

enum { NODE_BATCH_MAX = 1024 };

/* Fill @results[i] for each page whose result is PEERCACHE_UNSET; at most NODE_BATCH_MAX pages.
 * A deadline in the past: only what needs no waiting. */
void node_find(struct node *node, const struct node_page *pages, struct peercache_result *results,
               uint32_t n, uint64_t deadline_ns);
void node_fetch(struct node *node, const struct node_namespace *ns, const struct node_page *pages,
                struct peercache_result *results, uint32_t n, uint64_t deadline_ns);
void node_store(struct node *node, const struct node_namespace *ns, const struct node_page *pages,
                struct peercache_result *results, uint32_t n, uint64_t deadline_ns);
/* Whether regions are of use to it. */
bool node_has_rdma(const struct node *node);
/* Memory into which adapters may read.  0 also where it is of no use, and *ret_range NULL then;
 * with protocol=rdma its refusal is an error.  Before node_close() it is removed, which waits for
 * calls that read into it. */
struct memory_range;
int node_region_add(struct node *node, void *base, uint64_t len_bytes,
                    struct memory_range **ret_range, char ret_error[NODE_ERROR_BYTES]);
void node_region_remove(struct node *node, struct memory_range *range);

/* 0, -ETIMEDOUT (it goes on by itself) or -ENOSPC. */
int node_clear(struct node *node, struct id128 identity, uint64_t deadline_ns);

/* 0: it serves.  -ESTALE and a sentence: another process has its id, so it has ended by itself. */
int node_check(const struct node *node, char ret_error[NODE_ERROR_BYTES]);

/* Adds the results of a call to the metrics. */
void node_count_results(struct node *node, enum metric_op op,
                        const struct peercache_result *results, uint32_t n);

uint64_t node_epoch(const struct node *node, struct id128 identity);
const struct node_config *node_config(const struct node *node);

#endif
