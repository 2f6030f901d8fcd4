/* SPDX-License-Identifier: Apache-2.0 */
/* serve.h - what others read from this node. */
#ifndef NODE_SERVE_H
#define NODE_SERVE_H

#include "node/node.h"

int serve_start(struct node *node, char ret_error[NODE_ERROR_BYTES]);

#endif
