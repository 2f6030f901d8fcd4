/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resolve.h - host names to addresses without ever hanging on a name server: getaddrinfo() cannot
 * be cancelled, so it runs on a short-lived thread that may be abandoned.
 */
#ifndef IO_RESOLVE_H
#define IO_RESOLVE_H

#include "base/address.h"
#include "io/loop.h"
#include "io/socket.h"

/* Threads that hang in a name server at once, in the whole process; more are -EAGAIN. */
enum { RESOLVE_THREADS_MAX = 16 };

/* Addresses of one name that are looked at; it may have more. */
enum { RESOLVE_NAMES_MAX = 16 };

/* Numeric hosts at once, others on a thread.  0; -ETIMEDOUT; -EHOSTUNREACH: no such name. */
int resolve_wait(const struct address *address, uint64_t deadline_ns, struct socket_name *ret_name);
/* The same, with all addresses of the name. */
int resolve_wait_all(const struct address *address, uint64_t deadline_ns,
                     struct socket_name ret_names[RESOLVE_NAMES_MAX], uint32_t *ret_n);

struct resolve;
/* On the loop's thread.  @name is NULL on error.  The resolve is gone when it returns. */
typedef void resolve_callback(void *context, int error, const struct socket_name *name);
/* @turn: which of the name's addresses, counted round: 0 is the one that the resolver prefers. */
int resolve_start(struct loop *loop, const struct address *address, uint32_t turn,
                  resolve_callback *callback, void *context, struct resolve **ret_resolve);
/* On the loop's thread: no callback any more.  NULL is allowed. */
void resolve_cancel(struct resolve *resolve);

#endif
