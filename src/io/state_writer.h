/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state_writer.h - writes what a running node keeps in its state directory, on a thread of its own.
 *
 * The directory may be on a network, and a call to a file there may hang for as long as the network
 * does.  Who has something to keep leaves it here and goes on; the last of each kind counts.  What
 * went wrong is logged here.  The thread is started when there is something to write at first.
 */
#ifndef IO_STATE_WRITER_H
#define IO_STATE_WRITER_H

#include "io/member_file.h"
#include "io/state_dir.h"

/* A directory that takes longer for a file is said to hang. */
#define STATE_WRITER_PATIENCE_NS UINT64_C(5000000000)
/* For what is to be written when the node closes. */
#define STATE_WRITER_STOP_NS UINT64_C(1000000000)

struct state_writer;

/* Takes the seat, if it returns 0. */
int state_writer_new(const char *folder, struct seat *seat, struct state_writer **ret_writer);
/* All from one thread. */
void state_writer_keep_identity(struct state_writer *writer, const struct seat_identity *identity);
void state_writer_keep_members(struct state_writer *writer, const struct address *services,
                               uint32_t n);
/* Says once that the directory hangs, if it does. */
void state_writer_check(struct state_writer *writer, uint64_t now_ns);
/* Waits for what is to be written, so long at most, and leaves the seat.  A thread that hangs is
 * left behind with all that is its own, the lock of the seat included, until the directory
 * answers. */
void state_writer_stop(struct state_writer *writer, uint64_t wait_ns);

#endif
