/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listener.h - one port for all purposes: what connects is accepted into a set of connections,
 * where its hello tells control (stays on the loop) from channel and tool (conn_detach(),
 * server_add()).
 */
#ifndef IO_LISTENER_H
#define IO_LISTENER_H

#include <stdint.h>

#include "base/address.h"
#include "io/conn.h"
#include "io/loop.h"
#include "io/socket.h"

/* How long accepting pauses when the process is out of descriptors or the set is full. */
#define LISTENER_PAUSE_NS UINT64_C(100000000)

struct listener;

/* -EADDRINUSE and the like with a sentence.  @address: see socket_listen(). */
int listener_open(struct loop *loop, struct conn_set *set, const struct address *address,
                  struct listener **ret_listener, char ret_reason[SOCKET_REASON_BYTES]);
uint16_t listener_port(const struct listener *listener);
/* NULL is allowed. */
void listener_close(struct listener *listener);

#endif
