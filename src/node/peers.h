/* SPDX-License-Identifier: Apache-2.0 */
/* peers.h - what this process keeps to reach each peer. */
#ifndef NODE_PEERS_H
#define NODE_PEERS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/core.h"
#include "io/arena.h"
#include "io/channel_pool.h"
#include "io/conn.h"
#include "io/shm.h"

struct node;
struct rails_peer;

/* What the application and channel threads keep about one peer index. */
struct node_peer {
    pthread_mutex_t lock;
    /* Made once, reset when the index gets a new meaning; read by callers without the lock. */
    _Atomic(struct channel_pool *) channels;
    struct shm_identity identity;
    struct arena_mapping mapping;
    bool is_mapped, is_gone;
    bool mapping_is_old;       /* of a former meaning of the index; its readers still read */
    uint32_t readers;          /* of the mapping */
    uint64_t attach_after_ns;  /* a failed attach is not tried again before */
    const char *told_protocol; /* in the log; NULL: none yet */
    struct rails_peer *links;  /* RDMA; made by the first reader that wants it */
    atomic_bool wants_probe;
    struct conn *probe; /* the node thread's; NULL: none is under way */
    char host[ADDRESS_HOST_BYTES];
    uint16_t control_port;
    uint8_t state;
};

/* Any thread, under core_lock. */
void peers_apply(struct node *node, const struct core_peer_change *change);
/* The node thread, now and then, without core_lock. */
void peers_tell_held_back(struct node *node);
void peers_stop(struct node *node);
void peers_close(struct node *node);
/* The peer's arena, mapped; NULL: not by shared memory, or not by the deadline, which should be
 * near. Returned by peers_return_mapping(). */
const struct arena_mapping *peers_borrow_mapping(struct node *node, uint16_t peer,
                                                 uint64_t deadline_ns);
void peers_return_mapping(struct node *node, uint16_t peer);
/* With the peer's lock: one line says how its pages come, and again when that changes. */
void peers_tell_protocol(struct node_peer *peer, const char *protocol, const char *reason);
/* False: its breaker is open, and nobody waits for it; whether it is back is looked up
 * meanwhile. */
bool peers_may_ask(struct node *node, uint16_t peer);
/* How long a call may wait until it has a channel to a peer. */
uint64_t peers_channel_until(uint64_t now_ns, uint64_t deadline_ns);

#endif
