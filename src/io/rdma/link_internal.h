/* SPDX-License-Identifier: Apache-2.0 */
/* link_internal.h - what link.c (lending, closing), link_opening.c (a thread that opens) and
 * link_open.c (how it is opened) share. */
#ifndef IO_RDMA_LINK_INTERNAL_H
#define IO_RDMA_LINK_INTERNAL_H

#include "io/rdma/link.h"

/* By the deadline, and as a whole: two queue pairs that work, a channel that keeps the peer's side
 * of them, and where the peer's pages are; or a reason why not. */
int link_open(struct link *link, const struct channel_peer *peer, const struct message_hello *mine,
              uint64_t deadline_ns, char ret_reason[LINK_REASON_BYTES]);
/* Of the thread that has made the state OPENING: has the link opened on another thread. */
void link_begin_opening(struct link *link, const struct channel_peer *peer,
                        const struct message_hello *mine);
/* Waits until more openings than @ended have ended, by the deadline.  0: it is up, and lent. */
int link_await_opening(struct link *link, uint32_t ended, uint64_t deadline_ns,
                       char ret_reason[LINK_REASON_BYTES]);
/* Waits for the end of the thread, whose opening has ended. */
void link_join_opener(struct link *link);
/* -ENOSPC: its rail has as many as it may. */
int link_enter_table(struct link *link);
/* With the mutex: nobody tries again for a while. */
void link_pause(struct link *link, uint64_t now_ns);
/* What there is of them. */
void link_close_parts(struct link *link);
/* The budget of queue pairs is spent: closes the link that nobody uses and that was used longest
 * ago. False: there is none. */
bool link_make_room(struct link_table *table);

#endif
