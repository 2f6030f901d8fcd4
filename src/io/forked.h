/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forked.h - descriptors that a forked child gives back at once.
 *
 * Close-on-exec says nothing about a child that only forks.  It would keep the ports and the seat
 * of a node that is dead, and its connections too, so that the others take the node for one that is
 * slow.
 */
#ifndef IO_FORKED_H
#define IO_FORKED_H

/* Descriptors from here on are kept by children until they end. */
enum { FORKED_DESCRIPTORS_MAX = 1 << 16 };

/* Any thread.  From now on a child that forks closes its copy of @fd. */
void forked_gives_back(int fd);
/* Closes @fd, which was named before or not. */
void forked_close(int fd);

#endif
