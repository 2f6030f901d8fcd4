/* SPDX-License-Identifier: Apache-2.0 */
/* shm_read.h - one page out of a peer's pool, read where it lies and verified by its slot word. */
#ifndef IO_SHM_READ_H
#define IO_SHM_READ_H

#include <stdbool.h>
#include <stdint.h>

#include "io/arena.h"
#include "peercache.h"
#include "wire/slot_header.h"

struct shm_read {
    struct slot_expectation expected;
    uint32_t slot;
    uint32_t segment_count;
    const struct peercache_segment *segments; /* they add up to the expected length */
    uint64_t deadline_ns;
    bool verify_checksum;
};

/* Which look at the slot word found the page gone. */
enum shm_stop { SHM_STOP_NONE, SHM_STOP_BEFORE_COPY, SHM_STOP_AFTER_COPY };

/*
 * Any thread; the mapping must not be detached meanwhile.  0: the page is in the segments, and was
 * whole.  Otherwise they may hold anything:
 *   -ESTALE     the holder let the page go; @ret_stop says when this was seen
 *   -EBADMSG    another page, length or place than expected, or a place outside of the mapping
 *   -ETIMEDOUT  the deadline passed between two pieces (copy.h)
 *   -EILSEQ     the bytes that landed do not have the page's checksum
 *   -EINVAL     the segments do not add up
 */
int shm_read_page(const struct arena_mapping *arena, const struct shm_read *read,
                  enum shm_stop *ret_stop);

#endif
