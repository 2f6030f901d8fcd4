/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forked.h - descriptors that a forked child gives back at once.
 *
 * Close-on-exec says nothing about a child that only forks: it would keep the port and the seat of a
 * node that is dead.  Connections are not named here: the others find a dead node by its silence.
 */
#ifndef IO_FORKED_H
#define IO_FORKED_H

/* More are simply kept by children. */
enum { FORKED_DESCRIPTORS_MAX = 256 };

/* Any thread.  From now on a child that forks closes its copy of @fd. */
void forked_gives_back(int fd);
/* Before @fd is closed here; one that was never named is allowed. */
void forked_forget(int fd);

#endif
