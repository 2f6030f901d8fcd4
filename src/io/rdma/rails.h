/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rails.h - all of RDMA that one node has: the devices in use, their links, the memory known to
 * them.
 *
 *     rails      this file: which devices, and what they share
 *     rail       one device; poller.c takes its completions
 *     link       two queue pairs to one peer on one rail; guest: the peer's side of it
 *     queue      one queue pair, on which chains are posted
 *     chain      READs of some pages, and the verdict on them
 *     reading    the pages of one call, over all links that it uses
 *     memory     what is registered; bounce: for what is not
 */
#ifndef IO_RDMA_RAILS_H
#define IO_RDMA_RAILS_H

#include "io/rdma/bounce.h"
#include "io/rdma/choice.h"
#include "io/rdma/link.h"

enum { RAILS_REASON_BYTES = 320 };

struct rails_setup {
    const struct verbs *verbs;
    struct choice_wishes wishes;
    uint8_t service_level, traffic_class;
    uint64_t spin_ns;
    uint64_t spread; /* of several devices that are as near, this one by its remainder */
    struct metrics *metrics;
};

struct rails {
    const struct verbs *verbs;
    struct metrics *metrics;
    uint64_t spin_ns;
    uint32_t n;
    struct rail list[RAILS_MAX];
    struct link_table tables[RAILS_MAX]; /* of the rail of that index */
    struct waiters waiters;
    struct memory *memory;
    struct bounce bounce;
    /* Destroying takes an adapter its time, so idle links are closed on a thread of their own. */
    pthread_t closer;
    pthread_mutex_t closer_mutex;
    pthread_cond_t closer_wakes;
    bool has_closer, closer_ends, closer_is_wanted;
    bool is_fork_unsafe; /* callers' memory is not read into: a child could take its pages away */
};

/* The links to one peer, one a rail. */
struct rails_peer {
    struct rails *rails;
    uint32_t n;
    struct link links[];
};

/* Opens the devices that the wishes name, or, where they name none, the one that is nearest to this
 * processor.  -ENODEV or another error: none works, and @ret_reason says why. */
int rails_open(const struct rails_setup *setup, struct rails **ret_rails,
               char ret_reason[RAILS_REASON_BYTES]);
/* All peers and guests were freed and all ranges removed.  NULL is allowed. */
void rails_close(struct rails *rails);

struct rails_peer *rails_peer_new(struct rails *rails);
/* NULL is allowed. */
void rails_peer_free(struct rails_peer *peer);
/* The peer has another life, or is gone. */
void rails_peer_break(struct rails_peer *peer);

/* Of links, under way. */
uint32_t rails_openings(const struct rails *rails);
/* When no link is being opened any more, before the first peer is freed: from then on no other
 * thread closes links. */
void rails_stop_closing(struct rails *rails);
/* Its own thread does it, too. */
void rails_close_idle(struct rails *rails, uint64_t now_ns);

#endif
