/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shm.h - a pool's memory handed to peers of one host and one user.
 *
 * The holder listens on an abstract Unix socket whose name says which node, in which of its lives.
 * To everybody of its own user who connects it sends one offer with the descriptor of its arena,
 * and hangs up.  The reader checks who answered and what it was given, maps it read-only, and from
 * then on reads pages without the holder's help (shm_read.h).
 *
 * Abstract names belong to a network namespace: containers with networks of their own do not find
 * each other and use another transport.
 */
#ifndef IO_SHM_H
#define IO_SHM_H

#include <stdint.h>

#include "base/id128.h"
#include "io/arena.h"

enum { SHM_REASON_BYTES = 128 };

/* Who a node is, as far as shared memory cares. */
struct shm_identity {
    struct id128 node_id;
    struct id128 boot_id;
    uint64_t incarnation;
    uint64_t cluster; /* a hash of the cluster's name */
};

/* --- holder: all calls from one thread ------------------------------------------------------ */

struct shm_listener;

/* -EADDRINUSE: somebody has the name of this node and incarnation already. */
int shm_listener_open(const struct shm_identity *self, struct shm_listener **ret_listener);
/* Readable when somebody wants the arena. */
int shm_listener_fd(const struct shm_listener *listener);
/* Answers who is waiting, a bounded number, without blocking.  The number of offers made, which is
 * less than that of callers when some were refused; or, when no connection can be accepted (out of
 * descriptors, say), a negative errno: the socket stays readable, so do not ask again at once. */
int shm_listener_accept(struct shm_listener *listener, const struct arena *arena);
void shm_listener_close(struct shm_listener *listener);

/* --- reader: any thread --------------------------------------------------------------------- */

/*
 * Maps the arena of the node that said of itself what @peer says; arena_detach() undoes it.
 * Returns by the deadline.  On failure @ret_reason says in a few words why shared memory is not
 * possible:
 *   -EHOSTUNREACH  another host          -ECONNREFUSED  no such socket, or it hung up
 *   -EPERM         another user, or a file that could be cut short
 *   -EPROTO        another node, cluster or version answered, or its sizes are wrong
 *   -ETIMEDOUT, -EAGAIN, -ENOMEM, -EMFILE
 */
int shm_attach(const struct shm_identity *peer, struct id128 own_boot_id, uint64_t deadline_ns,
               struct arena_mapping *ret_arena, char ret_reason[SHM_REASON_BYTES]);

#endif
