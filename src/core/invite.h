/* SPDX-License-Identifier: Apache-2.0 */
/*
 * invite.h - which readers may become holders of what they read: demand, seen by an owner.
 *
 * Any thread; demand is measured where a look-up is answered, and only look-ups of gets count.
 */
#ifndef CORE_INVITE_H
#define CORE_INVITE_H

#include "core/view.h"

/* A get of this process found the page in the own shard at these places. */
bool invite_self(const struct core_view *view, struct id128 digest, const struct location *places,
                 uint32_t n, uint64_t now_ns);

/* Adds to the answer of a look-up (view_answer_lookup()) which of its keys the reader may publish.
 * @hot is memory for that list, of BATCH_MAX. */
void invite_reader(const struct core_view *view, const struct message_lookup *lookup,
                   uint64_t now_ns, struct record_index *hot, struct message_locations *answer);

#endif
