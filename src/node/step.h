/* SPDX-License-Identifier: Apache-2.0 */
/* step.h - steps of the core, by any thread, and what they want done on the node thread. */
#ifndef NODE_STEP_H
#define NODE_STEP_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "core/core.h"

struct node;

/* Somebody who waits for an operation of the core.  On the waiter's stack, linked while it
 * waits. */
struct waiter {
    struct waiter *next;
    uint32_t op;
    int32_t error;
    uint8_t recorded[CORE_BATCH_MAX];
    _Atomic(uint32_t) done;
};

/* What a step wants done on the node thread, in order. */
struct outbox {
    uint8_t *bytes;
    size_t used, size;
};

/* Under core_lock, without a look at the lease. */
void node_step_locked(struct node *node, struct core_event *event);
/* Any thread. */
void node_step(struct node *node, struct core_event *event, struct waiter *waiter);
/* Waits for a waiter that a step was given: 0, the operation's error, or -ETIMEDOUT, after which
 * the operation is cancelled.  In any case the waiter is no longer linked. */
int node_wait(struct node *node, struct waiter *waiter, uint64_t deadline_ns);
/* Lets a waiter look again whether it should still wait; under core_lock. */
void node_wake_waiter(struct waiter *waiter);
void node_unlink_waiter(struct node *node, struct waiter *waiter);
/* The node thread. */
void node_drain_outbox(struct node *node);

#endif
