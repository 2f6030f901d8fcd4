/* SPDX-License-Identifier: Apache-2.0 */
/* probe.h - looks whether peers whose breakers are open are back. */
#ifndef NODE_PROBE_H
#define NODE_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "io/conn.h"

struct node;

/* Before the node thread runs, and after it. */
void probe_init(struct node *node);
void probe_stop(struct node *node);
/* Any thread from here on: a breaker was opened by the core. */
void probe_look(struct node *node);
/* It is time to look whether this peer is back. */
void probe_request(struct node *node, uint16_t peer);
/* A call has waited for the peer in vain: it is suspected, and looked for at once if it may be. */
void probe_silent(struct node *node, uint16_t peer);
/* The node thread, about the connections of probes. */
bool probe_owns(const struct conn *conn);
void probe_opened(struct node *node, struct conn *conn, const struct message_hello *theirs);
void probe_answered(struct node *node, struct conn *conn, const struct message *message);
void probe_closed(struct node *node, struct conn *conn);

#endif
