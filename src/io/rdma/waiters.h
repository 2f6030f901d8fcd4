/* SPDX-License-Identifier: Apache-2.0 */
/*
 * waiters.h - who waits for completions sleeps here.
 *
 * Places that live as long as the node, since a poller may still wake one whose caller has
 * returned. Two callers may share a place: then both look when one of them is meant.
 */
#ifndef IO_RDMA_WAITERS_H
#define IO_RDMA_WAITERS_H

#include <stdatomic.h>
#include <stdint.h>

enum { WAITERS_MAX = 64 };

struct waiters {
    _Atomic(uint32_t) next;
    struct waiter_place {
        _Alignas(64) _Atomic(uint32_t) ticks;
        _Atomic(uint32_t) sleepers;
    } places[WAITERS_MAX];
};

/* A place for one call. */
uint32_t waiters_take(struct waiters *waiters);
/* To be asked before one looks whether there is something to do, and passed to waiters_sleep(). */
uint32_t waiters_ticks(struct waiters *waiters, uint32_t place);
/* Something has ended for this place, or for all of them. */
void waiters_tick(struct waiters *waiters, uint32_t place);
void waiters_tick_all(struct waiters *waiters);
/* Until a tick after @seen, or for @timeout_ns. */
void waiters_sleep(struct waiters *waiters, uint32_t place, uint32_t seen, uint64_t timeout_ns);

#endif
