/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state_dir.h - who a node is, kept in a seat of its state directory.
 *
 *     <state_dir>/seats/0000/lock        locked for as long as a node sits here
 *     <state_dir>/seats/0000/identity    its node id and last incarnation
 *
 * Nodes of one host share the directory: each takes the first seat that nobody sits in, so a node
 * that is started again finds its own.  A seat's file is replaced as a whole, so it is the old or
 * the new one.  One that is neither says nothing: the node gets a new id rather than a wrong one.
 */
#ifndef IO_STATE_DIR_H
#define IO_STATE_DIR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/id128.h"

enum { STATE_DIR_SEATS_MAX = 256, STATE_DIR_REASON_BYTES = 160 };
/* Above any clock's microseconds for 140,000 years: what says more is damage. */
#define STATE_DIR_INCARNATION_MAX (UINT64_C(1) << 62)

struct seat;

struct seat_identity {
    struct id128 node_id;
    uint64_t incarnation;
};

/*
 * Takes a seat: the free one that keeps @wanted, else the first that keeps nothing; with @wanted
 * zero simply the first free one.  Makes what is missing.  Locks belong to the process: a forked
 * child has none.  On failure @ret_reason says in one sentence what is wrong with the directory:
 *   -EBUSY                       somebody sits in each of the seats
 *   -EACCES, -EROFS, -ENOSPC ... what the directory cannot do
 */
int seat_take(const char *state_dir, struct id128 wanted, struct seat **ret_seat,
              char ret_reason[STATE_DIR_REASON_BYTES]);
/* The file stays.  NULL is allowed. */
void seat_leave(struct seat *seat);

/* What the seat kept when it was taken; false: nothing.  *@ret_flaw: what is wrong with the
 * file that was there, or NULL. */
bool seat_read(const struct seat *seat, struct seat_identity *ret_identity, const char **ret_flaw);
/* Returns when it is on the disk.  A negative errno: what was there before still is; -ESTALE: the
 * folder of the seat is gone, or is another one now. */
int seat_write(struct seat *seat, const struct seat_identity *identity);

/* A number for this place: another one for a copy of the directory, and on another host or boot. */
uint64_t seat_place(const struct seat *seat, struct id128 boot_id);
const char *seat_path(const struct seat *seat);

#endif
