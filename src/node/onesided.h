/* SPDX-License-Identifier: Apache-2.0 */
/*
 * onesided.h - of the pages that come from other hosts, those that RDMA brings.
 *
 * What it takes it marks; the rest is left to streams.h.  After onesided_finish() no adapter writes
 * to the caller's memory.
 */
#ifndef NODE_ONESIDED_H
#define NODE_ONESIDED_H

#include "io/rdma/reading.h"
#include "node/streams.h"

struct onesided {
    struct node *node;
    struct stream_page *pages;
    uint32_t n, n_peers;
    struct reading_page *wanted; /* wanted[i] is of pages[origins[i]] */
    uint32_t *origins;
    struct reading_peer peers[READING_PEERS_MAX]; /* their links, borrowed */
    struct reading reading;
};

/* Pages that it takes are marked PEERCACHE_VIA_RDMA.  With protocol=rdma those that it cannot take
 * get an error. */
void onesided_begin(struct onesided *onesided, struct node *node, struct stream_page *pages,
                    uint32_t n, uint64_t deadline_ns);
/* The marked pages' errors: as streams_finish(); where a rail failed they are -EINPROGRESS, and go
 * on in the next round, another way. */
void onesided_finish(struct onesided *onesided, uint64_t deadline_ns);

#endif
