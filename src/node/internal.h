/* SPDX-License-Identifier: Apache-2.0 */
/*
 * internal.h - the node itself, for the files of this floor: what each of them does to it stands in
 * its own header.
 *
 * Locks, and why a message would not do: `core_lock` lets the thread that has work for the core do
 * the step itself, because handing it to the node thread and back costs two wake-ups (about 30 us
 * each) on every set.  It is held for one step, which is bounded.  A peer's lock guards its mapping
 * while readers come and go.  Neither is held while anything waits for a peer.
 */
#ifndef NODE_INTERNAL_H
#define NODE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "base/log_limit.h"
#include "base/metric.h"
#include "core/core.h"
#include "core/lease.h"
#include "core/view.h"
#include "io/arena.h"
#include "io/conn.h"
#include "io/listener.h"
#include "io/loop.h"
#include "io/server.h"
#include "io/shm.h"
#include "io/state_dir.h"
#include "io/state_writer.h"
#include "node/discovery.h"
#include "node/drain.h"
#include "node/node.h"
#include "node/peers.h"
#include "node/step.h"
#include "wire/codec.h"

struct rails;

struct node {
    struct node_config config;
    pid_t pid;
    struct id128 boot_id;
    uint64_t table_seed;

    /* Who this node is (life.c).  These and config.node_id change under core_lock. */
    uint64_t incarnation;
    struct message_hello hello;
    struct core_yield yield; /* to be obeyed at the end of the step */
    /* Set once, before the node is open. */
    bool id_is_given;
    struct seat *seat; /* NULL: none; `state` has it once it is there */
    struct state_writer *state;
    uint64_t seat_place;
    struct lease lease;     /* of the present life */
    _Atomic(uint64_t) life; /* counts them, from 1 */
    /* The node has ended by itself: the sentence is written before the flag. */
    char end_text[NODE_ERROR_BYTES];
    atomic_bool has_ended;

    struct metrics metrics;
    struct arena arena;
    bool has_arena;

    /* RDMA (rdma.c); NULL: there is none, and no_rdma says why. */
    struct rails *rails;
    char no_rdma[NODE_ERROR_BYTES];
    struct memory_range *pool_range;
    atomic_bool pool_is_refused; /* it could not be registered */
    pthread_t register_thread;   /* registers the pool, and ends */
    bool has_register_thread;

    pthread_mutex_t core_lock;
    struct core *core;
    const struct core_view *view;
    _Atomic(uint32_t) stepping_callers; /* other threads than the node's that want core_lock */
    struct waiter *waiters;             /* under core_lock */
    struct outbox outbox;               /* under core_lock */
    _Atomic(uint64_t) wake_at_ns;
    uint8_t frame[FRAME_HEAD_BYTES + FRAME_BODY_MAX_BYTES]; /* under core_lock */

    pthread_t thread;
    bool has_thread;
    struct loop *loop;
    struct conn_set *conns;
    struct listener *listener;
    struct server *server;
    struct shm_listener *shm_listener;
    struct loop_watch *shm_watch;
    struct loop_task drain_task, probe_task;
    struct loop_timer probe_timer;
    struct outbox draining;             /* the node thread's */
    struct conn *links[CORE_LINKS_MAX]; /* the node thread's */
    struct message_hello links_hello;   /* the node thread's: of the life below */
    uint64_t links_life;                /* the node thread's; UINT64_MAX: of none any more */
    struct discovery discovery;

    struct node_peer peers[CORE_PEERS_MAX];
    struct log_limit peer_lines; /* under core_lock */
    struct drain drain;

    atomic_bool is_stopping; /* calls are refused */
    atomic_bool is_closing;  /* the node thread ends */
    _Atomic(uint32_t) calls;
    uint64_t await_calls_until_ns; /* 0: nobody waits for their end yet */
    int stop_fd;                   /* readable once the node stops */
};

/* Calls end, new ones are refused (node.c). */
void node_stop_calls(struct node *node);

#endif
