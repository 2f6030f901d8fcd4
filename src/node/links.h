/* SPDX-License-Identifier: Apache-2.0 */
/* links.h - the control connections, for the core and for discovery; on the node thread. */
#ifndef NODE_LINKS_H
#define NODE_LINKS_H

#include <stddef.h>
#include <stdint.h>

#include "base/address.h"
#include "core/core.h"
#include "node/node.h"

int links_open(struct node *node, char ret_error[NODE_ERROR_BYTES]);
void links_close(struct node *node);
void links_send(struct node *node, uint32_t link, const uint8_t *frame, size_t len);
void links_dial(struct node *node, const struct core_dial *dial);
void links_hangup(struct node *node, uint32_t link);
/* Who has this port?  The answer goes to discovery_probed(), unless it is one of this cluster. */
void links_probe(struct node *node, const struct address *to);
/* The node goes on as another life: others find its memory under the new name. */
void links_rename(struct node *node);
/* The node has ended by itself: only tools may still ask. */
void links_retire(struct node *node);

#endif
