/* SPDX-License-Identifier: Apache-2.0 */
/* breaker.c - closed, open until a time, half open for one caller. */
#include "core/breaker.h"

enum { FAILURES_BITS = 8, FIRST_PAUSE_MS = 250, LONGEST_PAUSE_MS = 4000, TRY_AT_ONCE_MS = 1000 };

static uint64_t to_ms(uint64_t now_ns)
{
    return now_ns / 1000000 + 1;
}

static uint64_t pause_ms(uint64_t failures)
{
    uint64_t pause = FIRST_PAUSE_MS;
    while (--failures > 0 && pause < LONGEST_PAUSE_MS)
        pause *= 2;
    return pause;
}

bool breaker_is_closed(const struct breaker *breaker)
{
    return atomic_load_explicit(&breaker->word, memory_order_relaxed) == 0;
}

bool breaker_allows(struct breaker *breaker, uint64_t now_ns)
{
    uint64_t word = atomic_load_explicit(&breaker->word, memory_order_relaxed);
    if (word == 0)
        return true;
    if (to_ms(now_ns) < word >> FAILURES_BITS)
        return false;
    /* Half open: whoever moves the time on is the probe; the others keep away meanwhile. */
    uint64_t failures = word & ((1 << FAILURES_BITS) - 1);
    uint64_t probing = (to_ms(now_ns) + pause_ms(failures)) << FAILURES_BITS | failures;
    return atomic_compare_exchange_strong_explicit(&breaker->word, &word, probing,
                                                   memory_order_relaxed, memory_order_relaxed);
}

void breaker_failed(struct breaker *breaker, uint64_t now_ns)
{
    uint64_t word = atomic_load_explicit(&breaker->word, memory_order_relaxed);
    uint64_t failures = word & ((1 << FAILURES_BITS) - 1);
    if (failures + 1 < 1 << FAILURES_BITS)
        failures++;
    atomic_store_explicit(&breaker->word,
                          (to_ms(now_ns) + pause_ms(failures)) << FAILURES_BITS | failures,
                          memory_order_relaxed);
}

void breaker_suspect(struct breaker *breaker, uint64_t now_ns)
{
    uint64_t closed = 0;
    atomic_compare_exchange_strong_explicit(&breaker->word, &closed,
                                            to_ms(now_ns) << FAILURES_BITS | 1,
                                            memory_order_relaxed, memory_order_relaxed);
}

/* Whether this silence is the first for a while, for one of those who hear it. */
static bool may_try_at_once(struct breaker *breaker, uint64_t now_ms)
{
    uint64_t tried_ms = atomic_load_explicit(&breaker->tried_ms, memory_order_relaxed);
    return (tried_ms == 0 || now_ms >= tried_ms + TRY_AT_ONCE_MS) &&
           atomic_compare_exchange_strong_explicit(&breaker->tried_ms, &tried_ms, now_ms,
                                                   memory_order_relaxed, memory_order_relaxed);
}

void breaker_silent(struct breaker *breaker, uint64_t now_ns)
{
    if (!breaker_is_closed(breaker))
        return;
    if (may_try_at_once(breaker, to_ms(now_ns)))
        breaker_suspect(breaker, now_ns);
    else
        breaker_failed(breaker, now_ns);
}

void breaker_succeeded(struct breaker *breaker)
{
    if (atomic_load_explicit(&breaker->word, memory_order_relaxed) != 0)
        atomic_store_explicit(&breaker->word, 0, memory_order_relaxed);
}
