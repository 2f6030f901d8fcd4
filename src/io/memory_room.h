/* SPDX-License-Identifier: Apache-2.0 */
/* memory_room.h - how much memory this process can still get. */
#ifndef IO_MEMORY_ROOM_H
#define IO_MEMORY_ROOM_H

#include <stdint.h>

/* The least of what the machine has available and what is left under each memory limit of the
 * process's control groups (versions 1 and 2); page cache counts as free.  @ret_limit says in words
 * which of them it is.  UINT64_MAX: nothing could be read.  @root stands before /proc and /sys: ""
 * but in tests. */
uint64_t memory_room_bytes(const char *root, const char **ret_limit);

#endif
