/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy.h - a page's bytes between the caller's segments and one run of memory in a pool.
 *
 * Segments may be empty and of any length and number, but they must add up to @len_bytes: where
 * they do not, nothing outside of either side is touched and the call returns -EINVAL.
 */
#ifndef IO_COPY_H
#define IO_COPY_H

#include <stddef.h>
#include <stdint.h>

#include "peercache.h"

enum {
    /* Between two looks at the clock: 256 KiB take 20 us from memory that is cold. */
    COPY_PIECE_BYTES = 256 * 1024,
};

/* What a slot header calls the checksum of these bytes. */
uint64_t copy_checksum(const void *src, uint64_t len_bytes);
uint64_t copy_checksum_segments(const struct peercache_segment *segments, size_t n);

/* Segments into @dst.  The bytes in @dst are hashed while they are still in the first cache. */
int copy_gather(const struct peercache_segment *segments, size_t n, void *dst, uint64_t len_bytes);
int copy_gather_hash(const struct peercache_segment *segments, size_t n, void *dst,
                     uint64_t len_bytes, uint64_t *ret_checksum);

/* @src into segments.  -ETIMEDOUT: the deadline passed between two pieces, and no byte is written
 * any more.  The first piece does not ask: who reads a batch looks at the clock between pages. */
int copy_scatter(const void *src, uint64_t len_bytes, const struct peercache_segment *segments,
                 size_t n, uint64_t deadline_ns);
/* The checksum is that of the bytes that landed, not of those that were there to be read. */
int copy_scatter_hash(const void *src, uint64_t len_bytes, const struct peercache_segment *segments,
                      size_t n, uint64_t deadline_ns, uint64_t *ret_checksum);

#ifdef PEERCACHE_PROTECTIONS_SWITCHABLE
/* Runs before every piece of a scatter, in the thread that copies, so that a test can change the
 * source at a known byte.  NULL: none. */
void copy_set_hook(void (*before_piece)(void *context, uint64_t done_bytes), void *context);
#endif

#endif
