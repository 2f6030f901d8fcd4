/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rail.h - one RDMA device in use: its completion queue, its places for queue pairs, and the thread
 * that takes its completions (poller.c).
 */
#ifndef IO_RDMA_RAIL_H
#define IO_RDMA_RAIL_H

#include <pthread.h>
#include <sys/queue.h>

#include "base/metric.h"
#include "io/rdma/chain.h"
#include "io/rdma/gid.h"
#include "io/rdma/memory.h"
#include "io/rdma/verbs.h"
#include "io/rdma/waiters.h"
#include "wire/schema.h"

enum {
    RAILS_MAX = MEMORY_RAILS_MAX,
    RAIL_QUEUES_MAX = 128,  /* queue pairs by which this node reads; each holds QUEUE_DEPTH reads */
    RAIL_GUESTS_MAX = 1024, /* queue pairs by which others read from it */
    RAIL_GUESTS_OF_ONE_MAX =
        4 * MEMORY_RAILS_MAX, /* and of one member: two links a device of its */
    RAIL_UNREACHED_MAX = 64,
    QUEUE_DEPTH = 256,
    QUEUE_CHAINS = 4,     /* under way on one queue pair: 4 MiB */
    READS_UNDER_WAY = 16, /* of one queue pair, where both adapters can */
};

/* One place for a queue pair (queue.c).  Its memory lives as long as the rail, so that a late
 * completion always finds it. */
struct queue {
    struct rail *rail;
    uint32_t index;
    pthread_mutex_t mutex;
    bool is_taken;            /* under the rail's mutex */
    struct verbs_queue *pair; /* NULL: none, or destroyed */
    struct verbs_queue_made made;
    atomic_bool has_failed;                 /* nothing is posted any more */
    uint32_t reads_under_way, chains_taken; /* chains_taken: a bit each */
    uint64_t last_sequence;
    struct chain_landing *landings; /* QUEUE_CHAINS */
    struct verbs_memory *landing_memory;
    uint32_t landing_key;
    struct chain chains[QUEUE_CHAINS];
    _Atomic(uint32_t) waiters[QUEUE_CHAINS]; /* the place of who waits for it */
};

/* An adapter of a member that kept this one waiting, in vain: it is refused for a while. */
struct rail_unreached {
    struct id128 member, gid;
    uint64_t until_ns;
};

struct rail {
    const struct verbs *verbs;
    struct verbs_device *device;
    char name[VERBS_NAME_BYTES];
    uint32_t index, port;
    struct gid gid;
    struct verbs_limits limits;
    struct verbs_port_info port_info;
    uint8_t service_level, traffic_class;
    struct verbs_completions *completions, *guest_completions;
    uint32_t queue_limit;  /* of places; the completion queue is as deep as all of them together */
    pthread_mutex_t mutex; /* of is_taken, n_guests, guests, unreached */
    uint32_t n_guests;
    LIST_HEAD(, guest) guests; /* n_guests counts their queue pairs */
    struct rail_unreached unreached[RAIL_UNREACHED_MAX];
    uint32_t next_unreached;
    struct queue *queues; /* RAIL_QUEUES_MAX places */
    struct waiters *waiters;
    struct metrics *metrics;
    /* The poller's. */
    pthread_t thread;
    bool has_thread;
    int wake_fd;
    uint64_t spin_ns;
    _Atomic(uint32_t) chains_under_way;
    atomic_bool is_stopping, is_dead; /* is_dead: the device has failed for good */
    atomic_bool port_is_down;         /* as it said last */
};

/* What the node has chosen. */
struct rail_setup {
    const char *name;
    uint32_t index, port;
    struct gid gid;
    uint8_t service_level, traffic_class;
    uint64_t
        spin_ns; /* the poller polls for so long after a completion while reads are under way */
    struct waiters *waiters;
    struct metrics *metrics;
};

/* Starts the poller.  The rail does not move. */
int rail_open(struct rail *rail, const struct verbs *verbs, const struct rail_setup *setup);
/* Where the device has the rail's address now: an address that is taken away and given back may
 * have another index.  0; -EADDRNOTAVAIL: it is gone; what a query of the device says. */
int rail_gid_index(const struct rail *rail, uint32_t *ret_index);
/* Why a queue pair of a rail could not be connected, for people. */
const char *rail_connect_error(int error);
/* All its queue pairs were closed.  All zero is allowed. */
void rail_close(struct rail *rail);

/* poller.c */
int poller_start(struct rail *rail);
void poller_stop(struct rail *rail);

#endif
