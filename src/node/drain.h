/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drain.h - before a node leaves: it says so, takes no new pages, and hands those that only it has
 * to others, the hottest first, as far as room and time allow.
 *
 * A thread of its own does it, once.  Meanwhile, and afterwards, the node serves what it has until
 * it is closed, or until somebody says that it is to stay after all: then it stores again, and
 * others count on it, as before.  What it has handed over by then has two holders.
 */
#ifndef NODE_DRAIN_H
#define NODE_DRAIN_H

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct node;

enum { DRAIN_RECEIVERS_MAX = 64 };

enum drain_state { DRAIN_NONE, DRAIN_RUNNING, DRAIN_DONE };

/* Of pages, each counted once. */
#define DRAIN_COUNTS(C)                                                                            \
    C(pages, "that the node had when it began")                                                    \
    C(handed_over, "that another node has taken")                                                  \
    C(elsewhere, "that another node had already")                                                  \
    C(gone, "that were evicted or cleared meanwhile")                                              \
    C(left_no_room, "that nobody had room for")                                                    \
    C(left_no_peer, "for which no node was there, or none answered")                               \
    C(left_no_time, "that were not reached in time")

struct drain {
    pthread_mutex_t lock; /* of starting and ending */
    pthread_cond_t ended;
    pthread_t thread;
    bool has_thread;
    _Atomic(uint32_t) state;  /* enum drain_state */
    atomic_bool is_cancelled; /* the thread ends soon */
    uint32_t cancels;         /* that are over */
    uint64_t deadline_ns;
    _Atomic(uint64_t) bytes_handed_over;
#define C(name, what) _Atomic(uint64_t) name;
    DRAIN_COUNTS(C)
#undef C
};

void drain_init(struct drain *drain);
/* Ends the thread soon: the node is stopping.  Then drain_fini(). */
void drain_join(struct drain *drain);
void drain_fini(struct drain *drain);

/* Begins, unless it has begun before.  0; -EAGAIN: no thread could be started; -EBUSY: one that was
 * cancelled is not over yet. */
int drain_start(struct node *node, uint64_t timeout_ns);
/* The node stays: at once, or as soon as its thread has ended, when the state is DRAIN_NONE
 * again. */
void drain_cancel(struct node *node);
/* 0: it is over; -ETIMEDOUT; -ECANCELED. */
int drain_await(struct node *node, uint64_t deadline_ns);
bool drain_is_over(const struct node *node);
/* The state, and the counts. */
json_t *drain_json(const struct node *node);

#endif
