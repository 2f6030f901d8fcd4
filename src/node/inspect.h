/* SPDX-License-Identifier: Apache-2.0 */
/* inspect.h - a node as JSON, for tools, metrics and people. */
#ifndef NODE_INSPECT_H
#define NODE_INSPECT_H

#include <jansson.h>

#include "node/node.h"

/* node, masters, members, pool, directory, drain, rdma, counters; NULL when memory is short. */
json_t *inspect_status(struct node *node);
/* At most @limit of the pages in this node's pool from slot @cursor on: {"keys": [...], "next"}. */
json_t *inspect_keys(struct node *node, uint32_t cursor, uint32_t limit);

#endif
