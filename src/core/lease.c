/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lease.c - the right to go on under an incarnation.
 *
 * A thread that is stopped between the look and the store of lease_renew() stores a time that is
 * long past, so the lease is over all the same.
 */
#include "core/lease.h"

#include "base/protection.h"

void lease_begin(struct lease *lease, uint64_t term_ns, uint64_t now_ns)
{
    atomic_store_explicit(&lease->term_ns, term_ns, memory_order_relaxed);
    atomic_store_explicit(&lease->until_ns, now_ns + term_ns, memory_order_release);
}

bool lease_is_over(const struct lease *lease, uint64_t now_ns)
{
    return PROTECTED(reborn_after_pause) &&
           now_ns >= atomic_load_explicit(&lease->until_ns, memory_order_acquire);
}

bool lease_renew(struct lease *lease, uint64_t now_ns)
{
    uint64_t term_ns = atomic_load_explicit(&lease->term_ns, memory_order_relaxed);
    if (lease_is_over(lease, now_ns))
        return false;
    atomic_store_explicit(&lease->until_ns, now_ns + term_ns, memory_order_release);
    return true;
}

uint64_t lease_sleep_ns(const struct lease *lease)
{
    return atomic_load_explicit(&lease->term_ns, memory_order_relaxed) / LEASE_RENEWALS;
}
