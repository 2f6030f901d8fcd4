/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attempt.h - from which holder to read a page next, and what its failures mean for the caller.
 *
 * Pure, one per page of a get, owned by the thread that makes the call.
 */
#ifndef CORE_ATTEMPT_H
#define CORE_ATTEMPT_H

#include "core/locate.h"

struct attempt {
    uint8_t tried; /* a bit a place */
    bool was_located_again;
    uint16_t outcome; /* enum peercache_outcome: what to report if nothing else works */
};

enum attempt_next { ATTEMPT_READ, ATTEMPT_LOCATE_AGAIN, ATTEMPT_GIVE_UP };

void attempt_begin(struct attempt *attempt);
/* The next step for a key that locate has decided.  ATTEMPT_READ: *@ret_place is the index of the
 * place to read.  Own pages first, then holders of this host, trusted ones before the others; among
 * equals the load is spread. */
enum attempt_next attempt_next(struct attempt *attempt, const struct core_view *view,
                               const struct locate_key *key, uint32_t length_bytes,
                               uint32_t *ret_place);
/* The read of that place failed with this negative errno. */
void attempt_failed(struct attempt *attempt, uint32_t place, int error);
/* Whether the failure says that the location is wrong, so that its owners are told. */
bool attempt_is_stale(int error);
/* Whether it says that the bytes are wrong, so that owners and holder are told. */
bool attempt_is_damaged(int error);

#endif
