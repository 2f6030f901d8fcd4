/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lease.h - how long a node may go on under its incarnation without having run.
 *
 * The node thread renews the lease whenever it runs, several times in a term.  The term is
 * member_ttl, so by the time that a lease is over the others may have given the node up: its
 * process was stopped, its machine was suspended, or it had no processor for so long.  Whoever is
 * about to speak for the node asks first, and where the lease is over the node begins a new life
 * (CORE_REBORN) before anything else.
 *
 * Times are of one clock that goes on while the machine is suspended.
 */
#ifndef CORE_LEASE_H
#define CORE_LEASE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { LEASE_RENEWALS = 4 }; /* a term */

struct lease {
    /* A new life may begin on any thread while the node thread reads how long it may sleep. */
    _Atomic(uint64_t) term_ns;
    _Atomic(uint64_t) until_ns;
};

/* A new life; nobody else renews meanwhile. */
void lease_begin(struct lease *lease, uint64_t term_ns, uint64_t now_ns);
/* Any thread. */
bool lease_is_over(const struct lease *lease, uint64_t now_ns);
/* The node thread.  False: it is over, and stays so. */
bool lease_renew(struct lease *lease, uint64_t now_ns);
/* How long the node thread may sleep between renewals. */
uint64_t lease_sleep_ns(const struct lease *lease);

#endif
