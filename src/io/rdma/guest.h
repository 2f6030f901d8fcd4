/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest.h - queue pairs by which a peer reads from this node.
 *
 * Made when a peer asks on a channel, destroyed when that channel ends; in between nobody here has
 * anything to do.
 */
#ifndef IO_RDMA_GUEST_H
#define IO_RDMA_GUEST_H

#include "io/arena.h"
#include "io/rdma/rail.h"

struct guest;

#define GUEST_NOT_READY "the peer's pool is not registered yet (if it stays so: its log says why)"

/* Any thread, for @member.  Fills the answer, which is an error with a reason when nothing comes of
 * it (valid until this thread's next call); lists of the answer lie in @queues (PAIR_MAX) and
 * @slices (SLICES_MAX). */
void guest_welcome(struct rail *rails, uint32_t n_rails, struct memory *memory,
                   const struct arena *arena, struct id128 member, const struct message_pair *pair,
                   struct record_queue *queues, struct record_slice *slices,
                   struct message_paired *ret_paired, struct guest **ret_guest);
/* The answer: none, because of @reason. */
void guest_refuse(struct message_paired *ret_paired, int error, const char *reason);
/* NULL is allowed. */
void guest_leave(struct guest *guest);

#endif
