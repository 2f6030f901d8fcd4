/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rdma.h - the node's share of RDMA: its devices, its pool and the callers' regions registered with
 * them, and its links to peers.
 */
#ifndef NODE_RDMA_H
#define NODE_RDMA_H

#include <jansson.h>

#include "io/rdma/reading.h"
#include "node/internal.h"

/* After the arena is made.  0 also where RDMA does not work and protocol is auto: then the log says
 * why, and there is none.  The pool is registered meanwhile by a thread of its own. */
int rdma_start(struct node *node, char ret_error[NODE_ERROR_BYTES]);
/* The node stops: what is still being registered is given up, so that nothing waits for it. */
void rdma_give_up(struct node *node);
/* The peers are about to be freed: nobody else closes their links any more. */
void rdma_stop_closing(struct node *node);
/* No call, server or peer uses it any more. */
void rdma_stop(struct node *node);

/* Until when links are opened for a call, for all its peers together. */
uint64_t rdma_open_until(uint64_t deadline_ns);
/* The links that work to a peer; the first who wants one waits for it, until @until_ns at most.
 * False: none, now. */
bool rdma_borrow_links(struct node *node, uint16_t peer, uint64_t until_ns,
                       struct reading_peer *ret_links);
void rdma_return_links(struct reading_peer *links);
/* Of links to peers, under way: none begins once calls have ended. */
uint32_t rdma_openings(const struct node *node);

/* With the peer's lock: it has another life, or is gone. */
void rdma_forget_peer(struct node_peer *peer);
void rdma_free_peer(struct node_peer *peer);

/* The server's: another node wants queue pairs, and does not any more. */
void rdma_pair(void *context, const struct server_asker *asker, const struct message_pair *pair,
               struct server_scratch *scratch, struct message_paired *ret_paired, void **ret_guest);
void rdma_unpair(void *context, void *guest);
/* Whether anybody has queue pairs here by which it reads. */
bool rdma_has_guests(struct node *node);

/* rdma_status.c: {"devices": [...], "links": [...], "why_not"}, for people and programs. */
json_t *rdma_json(struct node *node);

#endif
