/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reading.h - the pages of one call that come by RDMA: over all rails of all holders at once.
 *
 * The calling thread posts and takes the verdicts.  After reading_finish() no adapter writes to its
 * memory any more.
 */
#ifndef IO_RDMA_READING_H
#define IO_RDMA_READING_H

#include "io/rdma/rails.h"
#include "peercache.h"

enum { READING_PEERS_MAX = 64, READING_LANES_MAX = 64, READING_RANGES_MAX = 8 };
/* A page of this or more is split over the rails. */
#define READING_SPLIT_BYTES (UINT64_C(2) << 20)

struct reading_page {
    uint32_t peer; /* of the reading's */
    uint32_t slot;
    struct slot_expectation expected;
    const struct peercache_segment *segments; /* they add up to the expected length */
    uint32_t segment_count;
    /* -EINPROGRESS until it is decided; 0: whole.  -ESTALE, -EBADMSG: the header's word.
     * -EOPNOTSUPP, right after reading_begin(): not by RDMA, now.  -EIO, -ETIMEDOUT: a rail's
     * failure, another way may work. */
    int32_t error;
    uint64_t checksum; /* the holder's, with error 0 */
    /* The reading's own. */
    uint32_t whole_bytes;
    uint8_t *bounced; /* where it lands instead, or NULL */
};

/* Pages for one link. */
struct lane {
    struct link *link;
    uint32_t peer, n, n_chains;
    uint64_t bytes, moved_ns;
    bool has_failed;
    struct chain_page *pages;
    uint32_t *origins; /* pages[i] is of the reading's pages[origins[i]] */
    struct chain_cursor cursor;
    struct lane_chain {
        struct queue *queue;
        struct chain *chain;
    } chains[PAIR_MAX * QUEUE_CHAINS];
};

struct reading {
    struct rails *rails;
    struct reading_page *pages;
    uint32_t n, n_lanes, n_ranges, waiter;
    struct lane lanes[READING_LANES_MAX];
    struct memory_range *ranges[READING_RANGES_MAX]; /* borrowed */
    struct verbs_segment *segments;
    uint32_t n_segments, most_segments;
    uint8_t *block; /* of the bounce buffer */
    uint64_t block_bytes;
    struct chain_reads *scratch;
};

/* The links of each peer that were borrowed, at least one; they are returned behind
 * reading_finish(). */
struct reading_peer {
    uint32_t n;
    struct link *links[RAILS_MAX];
};

/* Decides how each page comes, and posts the first of them.  What cannot be read so is
 * -EOPNOTSUPP. */
void reading_begin(struct reading *reading, struct rails *rails, const struct reading_peer *peers,
                   uint32_t n_peers, struct reading_page *pages, uint32_t n);
/* Until all is decided; at the deadline what is missing is given up.  *@is_stopped: likewise. */
void reading_finish(struct reading *reading, uint64_t deadline_ns, const atomic_bool *is_stopped);

#endif
