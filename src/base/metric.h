/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metric.h - what a node counts, in one table.
 *
 * Any thread adds, relaxed: a reader sees each count sooner or later, and no total at one moment.
 * The data path adds once a batch and not once a page.  Rates are for the reader to compute.
 * Everywhere @metrics may be NULL: then nothing is counted (the simulator's cores).
 */
#ifndef BASE_METRIC_H
#define BASE_METRIC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* kind, name, help.  Shown as peercache_NAME; counters end in _total there. */
#define METRICS(M)                                                                                 \
    M(GAUGE, members, "members on the ring, this node included")                                   \
    M(GAUGE, masters, "discovery masters that this node is connected to, itself included")         \
    M(GAUGE, pool_bytes_used, "bytes of pages that can be found")                                  \
    M(GAUGE, pool_bytes_retired, "bytes of pages that wait for their space to be reused")          \
    M(GAUGE, pool_bytes_free, "bytes of the pool that hold nothing")                               \
    M(GAUGE, directory_entries, "keys that this node knows holders of")                            \
    M(GAUGE, directory_bytes, "memory of this node's shard of the directory")                      \
    M(COUNTER, pages_retired, "pages taken out of the directory to make room")                     \
    M(COUNTER, pages_evicted, "pages whose space was reused")                                      \
    M(COUNTER, pages_damaged, "pages withdrawn because a reader's checksum did not match")         \
    M(COUNTER, announces_sent, "locations told to their owners")                                   \
    M(COUNTER, announces_refused, "locations that an owner did not record")                        \
    M(COUNTER, retracts_sent, "locations taken back at their owners")                              \
    M(COUNTER, lookups_sent, "keys asked of their owners")                                         \
    M(COUNTER, lookups_served, "keys that others asked of this node")                              \
    M(COUNTER, hot_pages_published, "pages of others that this node keeps because many ask")       \
    M(COUNTER, hot_pages_declined, "such pages that were not kept: no room, no time, damaged")     \
    M(COUNTER, pages_adopted, "pages taken over from nodes that left")                             \
    M(COUNTER, pages_served, "pages that others read from this node by TCP")                       \
    M(COUNTER, bytes_served, "bytes of those pages")                                               \
    M(COUNTER, reads_refused, "reads of others that found their page gone")                        \
    M(COUNTER, stale_at_holder, "reads by TCP for which the holder found the page gone")           \
    M(COUNTER, stale_before, "reads that the slot word stopped before the first byte")             \
    M(COUNTER, stale_after, "reads that the slot word stopped after the last byte")                \
    M(GAUGE, rdma_region_bytes, "bytes of the application's memory that RDMA reads straight into") \
    M(COUNTER, rdma_reads_posted, "RDMA READs posted, of payload and of headers")                  \
    M(COUNTER, rdma_chains_posted, "chains of RDMA READs posted, with one doorbell each")          \
    M(COUNTER, rdma_completions_failed, "RDMA READs that failed, and with them their queue pair")  \
    M(COUNTER, rdma_queue_pairs_made, "queue pairs made to read by")                               \
    M(COUNTER, rdma_queue_pairs_broken, "queue pairs destroyed because a read failed or was late") \
    M(COUNTER, rdma_destroys_refused, "queue pairs that a device did not let go of at once")       \
    M(COUNTER, rdma_stale, "pages read by RDMA whose header said that they were let go")           \
    M(COUNTER, rdma_pages_bounced, "pages read by RDMA through the bounce buffer")                 \
    M(COUNTER, rdma_links_opened, "peers and devices between which RDMA was set up")               \
    M(COUNTER, rdma_links_failed, "attempts at that which failed")                                 \
    M(COUNTER, rdma_strangers_refused, "RDMA refused to one that is no member known here")         \
    M(COUNTER, heartbeats_sent, "joins and heartbeats sent to masters")                            \
    M(COUNTER, member_records_received, "members in the answers of masters")

enum metric {
#define M(kind, name, help) METRIC_##name,
    METRICS(M)
#undef M
        METRIC_COUNT
};

enum metric_op { METRIC_OP_GET, METRIC_OP_SET, METRIC_OP_EXISTS, METRIC_OP_COUNT };

enum {
    METRIC_OUTCOMES = 256, /* enum peercache_outcome */
    METRIC_VIAS = 8,       /* enum peercache_via */
};

/* All zero is the start. */
struct metrics {
    _Atomic uint64_t values[METRIC_COUNT];
    _Atomic uint64_t pages[METRIC_OP_COUNT][METRIC_OUTCOMES];
    _Atomic uint64_t read_pages[METRIC_VIAS], read_bytes[METRIC_VIAS];
};

void metric_add(struct metrics *metrics, enum metric metric, uint64_t amount);
/* Gauges only. */
void metric_set(struct metrics *metrics, enum metric metric, uint64_t value);
/* Of a gauge that several threads add to and take from. */
void metric_move(struct metrics *metrics, enum metric metric, int64_t by);
uint64_t metric_get(const struct metrics *metrics, enum metric metric);

/* Pages of a call that ended so. */
void metric_add_pages(struct metrics *metrics, enum metric_op op, uint16_t outcome, uint64_t pages);
/* Pages that a get brought, by the way they came. */
void metric_add_read(struct metrics *metrics, uint8_t via, uint64_t pages, uint64_t bytes);
uint64_t metric_pages(const struct metrics *metrics, enum metric_op op, uint16_t outcome);

/* One number with its labels. */
struct metric_sample {
    const char *name, *help; /* "peercache_..." */
    bool is_counter;
    const char *op;   /* "get", "set", "exists"; NULL: no such label */
    int outcome, via; /* -1: no such label */
    uint64_t value;
};

/* Goes through all samples, those of one name together: @cursor starts at 0; false at the end.
 * Combinations of labels that never occurred are left out. */
bool metric_next(const struct metrics *metrics, size_t *cursor, struct metric_sample *ret_sample);

#endif
