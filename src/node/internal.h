/* SPDX-License-Identifier: Apache-2.0 */
/*
 * internal.h - what the files of this floor share: the node, its peers, its outbox, its waiters.
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

#include "base/log.h"
#include "base/log_limit.h"
#include "base/metric.h"
#include "core/core.h"
#include "core/lease.h"
#include "core/view.h"
#include "io/arena.h"
#include "io/channel_pool.h"
#include "io/conn.h"
#include "io/listener.h"
#include "io/loop.h"
#include "io/member_file.h"
#include "io/server.h"
#include "io/shm.h"
#include "io/state_dir.h"
#include "io/state_writer.h"
#include "node/drain.h"
#include "node/node.h"
#include "wire/codec.h"

struct rails;
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
    char host[64];
    uint16_t control_port;
    uint8_t state;
};

/* Somebody who waits for an operation of the core.  On the waiter's stack, linked while it waits. */
struct waiter {
    struct waiter *next;
    uint32_t op;
    int32_t error;
    uint8_t recorded[CORE_BATCH_MAX];
    _Atomic(uint32_t) done;
};

enum out_kind { OUT_SEND, OUT_DIAL, OUT_HANGUP };

/* What a step wants done on the node thread, in order. */
struct outbox {
    uint8_t *bytes;
    size_t used, size;
};

/* Where members are found, and this node's part in it (discovery.c). */
struct discovery {
    struct address own;      /* the service of this host; port 0: it has none */
    struct address also;     /* a seed that is this host under another address; port 0: none */
    const char *host_option; /* which option has chosen the address to listen on */
    bool has_head, spreads[NODE_SEEDS_MAX];
    struct listener *listener, *also_listener;
    struct loop_timer retry, save;
    bool serves, has_told_taken;
    uint32_t n_links;              /* to masters, up */
    bool has_told[NODE_SEEDS_MAX]; /* that this seed does not answer */
    atomic_bool members_changed;   /* since they were written to the state directory */
    uint32_t n_saved;
    struct address saved[MEMBER_FILE_MAX];
};

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
    int stop_fd; /* readable once the node stops */
};

/* life.c */
int life_open(struct node *node, char ret_error[NODE_ERROR_BYTES]);
void life_close(struct node *node);
/* The first life begins: others will hear of it. */
void life_start(struct node *node);
/* Any thread, under core_lock, before it steps the core: true: a new life had to begin. */
bool life_check(struct node *node);
/* Under core_lock, after a step: does what the core says about others with this node's id. */
void life_obey(struct node *node);
/* The node thread, whenever it runs: goes on as the present life, or has a new one begin, and takes
 * over what another thread has begun. */
void life_go_on(struct node *node);
/* What this node says of itself at present.  Any thread, without core_lock. */
struct message_hello life_hello(struct node *node);
/* Whether what was prepared in @life may still be said. */
bool life_may_speak(const struct node *node, uint64_t life);

/* node.c: calls end, new ones are refused */
void node_stop_calls(struct node *node);

/* step.c: under core_lock, without a look at the lease */
void node_step_locked(struct node *node, struct core_event *event);
/* step.c: any thread */
void node_step(struct node *node, struct core_event *event, struct waiter *waiter);
/* Waits for a waiter that a step was given: 0, the operation's error, or -ETIMEDOUT, after which
 * the operation is cancelled.  In any case the waiter is no longer linked. */
int node_wait(struct node *node, struct waiter *waiter, uint64_t deadline_ns);
/* Lets a waiter look again whether it should still wait; under core_lock. */
void node_wake_waiter(struct waiter *waiter);
void node_unlink_waiter(struct node *node, struct waiter *waiter);
/* step.c: the node thread */
void node_drain_outbox(struct node *node);

/* links.c: the node thread */
int links_open(struct node *node, char ret_error[NODE_ERROR_BYTES]);
void links_close(struct node *node);
void links_send(struct node *node, uint32_t link, const uint8_t *frame, size_t len);
void links_dial(struct node *node, const struct core_dial *dial);
void links_hangup(struct node *node, uint32_t link);
/* Who has this port?  The answer goes to discovery_probed(), unless it is one of this cluster. */
void links_probe(struct node *node, const struct address *to);
/* The node goes on as another life: others find its memory under the new name. */
void links_rename(struct node *node);
/* The node has ended by itself: only tools may still ask. */
void links_retire(struct node *node);

/* discovery.c: before the node thread runs, in this order; then the node thread */
void discovery_choose_hosts(struct node *node);
void discovery_open(struct node *node);
void discovery_describe(const struct node *node, struct core_config *core);
void discovery_start(struct node *node);
void discovery_close(struct node *node);
/* A dial to a service has ended: it is up (reason NULL), or this is why not. */
void discovery_reached(struct node *node, const char *address, const char *reason);
void discovery_probed(struct node *node, int error, const char *reason);
/* any thread */
void discovery_members_changed(struct node *node);

/* peers.c: any thread, under core_lock for apply */
void peers_apply(struct node *node, const struct core_peer_change *change);
/* The node thread, now and then, without core_lock. */
void peers_tell_held_back(struct node *node);
void peers_stop(struct node *node);
void peers_close(struct node *node);
/* The peer's arena, mapped; NULL: not by shared memory, or not by the deadline, which should be near.
 * Returned by peers_return_mapping(). */
const struct arena_mapping *peers_borrow_mapping(struct node *node, uint16_t peer,
                                                 uint64_t deadline_ns);
void peers_return_mapping(struct node *node, uint16_t peer);
/* With the peer's lock: one line says how its pages come, and again when that changes. */
void peers_tell_protocol(struct node_peer *peer, const char *protocol, const char *reason);
/* False: its breaker is open, and nobody waits for it; whether it is back is looked up meanwhile. */
bool peers_may_ask(struct node *node, uint16_t peer);
/* How long a call may wait until it has a channel to a peer. */
uint64_t peers_channel_until(uint64_t now_ns, uint64_t deadline_ns);

/* probe.c: before the node thread runs, and after it */
void probe_init(struct node *node);
void probe_stop(struct node *node);
/* any thread */
/* A breaker was opened by the core. */
void probe_look(struct node *node);
/* It is time to look whether this peer is back. */
void probe_request(struct node *node, uint16_t peer);
/* A call has waited for the peer in vain: it is suspected, and looked for at once if it may be. */
void probe_silent(struct node *node, uint16_t peer);
/* the node thread */
bool probe_owns(const struct conn *conn);
void probe_opened(struct node *node, struct conn *conn, const struct message_hello *theirs);
void probe_answered(struct node *node, struct conn *conn, const struct message *message);
void probe_closed(struct node *node, struct conn *conn);

/* serve.c */
int serve_start(struct node *node, char ret_error[NODE_ERROR_BYTES]);
/* tool.c: the server's tool thread */
void tool_request(void *context, const struct server_request *request,
                  struct server_answer *ret_answer);

#endif
