/* SPDX-License-Identifier: Apache-2.0 */
/* node_name.h - how a node is named on the command line: by its address, or by its id. */
#ifndef PEERCACHE_NODE_NAME_H
#define PEERCACHE_NODE_NAME_H

#include <stdbool.h>

#include "invocation.h"

/* What a word must be, for messages. */
#define NODE_NAME_FORM                                                                             \
    "HOST:PORT, as the ready line of peercached shows it, or a node's id or its beginning, as "    \
    "peercache status shows it"

enum { NODE_ADDRESS_BYTES = 128 };

bool node_name_is_address(const char *word);
bool node_name_is_id(const char *word);

/* The address of @word, which may be one already; else the cluster is asked for its members, at
 * --node or the discovery address of @invocation.  0, or an enum exit_status after a sentence. */
int node_name_resolve(const struct invocation *invocation, const char *word,
                      char ret_address[NODE_ADDRESS_BYTES]);

#endif
