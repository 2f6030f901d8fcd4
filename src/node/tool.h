/* SPDX-License-Identifier: Apache-2.0 */
/* tool.h - what tools ask a node. */
#ifndef NODE_TOOL_H
#define NODE_TOOL_H

#include "io/server.h"

/* On the server's tool thread; @context: the node. */
void tool_request(void *context, const struct server_request *request,
                  struct server_answer *ret_answer);

#endif
