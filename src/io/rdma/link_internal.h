/* SPDX-License-Identifier: Apache-2.0 */
/* link_internal.h - what link.c (lending, closing) and link_open.c (opening) share. */
#ifndef IO_RDMA_LINK_INTERNAL_H
#define IO_RDMA_LINK_INTERNAL_H

#include "io/rdma/link.h"

/* By the deadline, and as a whole: two queue pairs that work, a channel that keeps the peer's side
 * of them, and where the peer's pages are; or a reason why not. */
int link_open(struct link *link, const struct channel_peer *peer, const struct message_hello *mine,
              uint64_t deadline_ns, char ret_reason[LINK_REASON_BYTES]);
/* What there is of them. */
void link_close_parts(struct link *link);
/* The budget of queue pairs is spent: closes the link that nobody uses and that was used longest
 * ago. False: there is none. */
bool link_make_room(struct link_table *table);

#endif
