/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bounce.h - registered memory where pages land that the caller wants in memory of no region.
 *
 * A few blocks, made when the first is wanted and lent to one call each.
 */
#ifndef IO_RDMA_BOUNCE_H
#define IO_RDMA_BOUNCE_H

#include <pthread.h>

#include "io/rdma/memory.h"

enum { BOUNCE_BLOCKS = 4, BOUNCE_BLOCK_BYTES = 8 << 20 };

struct bounce {
    pthread_mutex_t mutex;
    struct memory *memory;
    uint8_t *bytes;
    struct memory_range *range;
    uint32_t free_blocks; /* a bit each */
    bool has_failed;      /* its memory could not be had: not tried again */
};

void bounce_init(struct bounce *bounce, struct memory *memory);
/* Nothing is lent. */
void bounce_fini(struct bounce *bounce);
/* A block, or NULL: all are lent, or there is no memory for them. */
uint8_t *bounce_borrow(struct bounce *bounce);
void bounce_return(struct bounce *bounce, uint8_t *block);
/* There is no memory for them, as the log said. */
bool bounce_has_failed(struct bounce *bounce);

#endif
