/* SPDX-License-Identifier: Apache-2.0 */
/*
 * waiters.c - a counter and the number of its sleepers a place.
 *
 * Both sides write one and then read the other, in one total order: either the one that ticks sees
 * the sleeper, or the sleeper sees the tick.
 */
#include "io/rdma/waiters.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

uint32_t waiters_take(struct waiters *waiters)
{
    return atomic_fetch_add_explicit(&waiters->next, 1, memory_order_relaxed) % WAITERS_MAX;
}

uint32_t waiters_ticks(struct waiters *waiters, uint32_t place)
{
    return atomic_load(&waiters->places[place].ticks);
}

void waiters_tick(struct waiters *waiters, uint32_t place)
{
    struct waiter_place *at = &waiters->places[place];
    atomic_fetch_add(&at->ticks, 1);
    if (atomic_load(&at->sleepers) > 0)
        syscall(SYS_futex, &at->ticks, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

void waiters_tick_all(struct waiters *waiters)
{
    for (uint32_t i = 0; i < WAITERS_MAX; i++)
        waiters_tick(waiters, i);
}

void waiters_sleep(struct waiters *waiters, uint32_t place, uint32_t seen, uint64_t timeout_ns)
{
    struct waiter_place *at = &waiters->places[place];
    struct timespec timeout = {(time_t)(timeout_ns / 1000000000), (long)(timeout_ns % 1000000000)};
    atomic_fetch_add(&at->sleepers, 1);
    syscall(SYS_futex, &at->ticks, FUTEX_WAIT_PRIVATE, seen, &timeout, NULL, 0);
    atomic_fetch_sub(&at->sleepers, 1);
}
