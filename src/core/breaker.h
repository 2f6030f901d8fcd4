/* SPDX-License-Identifier: Apache-2.0 */
/*
 * breaker.h - what callers found out about a peer themselves, shared by all of them.
 *
 * A peer that failed to answer is left alone for a while, which doubles with each further failure.
 * Then one caller, and only one, may try it (half open); its success closes the breaker.  A peer
 * that has hung up may be tried again at once: either it is dead or it answers.  So may one that
 * was silent for a call's patience: where packets get lost a live peer is silent now and then, and
 * a probe tells within a journey.  One that answers probes but not calls gains nothing by it: it is
 * tried at once only if it was not so lately.  Atomic words, any thread.
 */
#ifndef CORE_BREAKER_H
#define CORE_BREAKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct breaker {
    _Atomic(uint64_t) word; /* when it may be tried again, in ms, above; failures in a row below */
    _Atomic(uint64_t) tried_ms; /* when it was last tried at once after a silence; 0: never */
};

/* Closed, for those who only ask.  Does not use up the probe. */
bool breaker_is_closed(const struct breaker *breaker);
/* Whether the caller may use the peer now: closed, or this call is the probe. */
bool breaker_allows(struct breaker *breaker, uint64_t now_ns);
void breaker_failed(struct breaker *breaker, uint64_t now_ns);
/* Opens a closed one, half open from the start. */
void breaker_suspect(struct breaker *breaker, uint64_t now_ns);
/* A call has waited for the peer in vain.  What was found out before it is not changed. */
void breaker_silent(struct breaker *breaker, uint64_t now_ns);
void breaker_succeeded(struct breaker *breaker);

#endif
