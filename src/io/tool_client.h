/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tool_client.h - one question of a tool to a running node: connects, asks, takes the answer.
 */
#ifndef IO_TOOL_CLIENT_H
#define IO_TOOL_CLIENT_H

#include "base/address.h"
#include "io/hello.h"
#include "io/server.h"
#include "wire/schema.h"

/* The answer's json (NUL-terminated behind its length) and body are the caller's to free().
 * @ret_reason on error.  ret_answer->error is the node's own word. */
int tool_client_ask(const struct address *address, const struct message_hello *mine,
                    const struct server_request *request, uint64_t deadline_ns,
                    struct server_answer *ret_answer, char ret_reason[HELLO_REASON_BYTES]);

#endif
