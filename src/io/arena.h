/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena.h - the memory behind a pool, which other processes of the host can map.
 *
 * One sealed memfd: the table of slot headers, rounded up to 2 MiB, and the payload behind it.
 * Locations count from the start of the payload.
 */
#ifndef IO_ARENA_H
#define IO_ARENA_H

#include <stdint.h>

#include "wire/slot_header.h"

enum { ARENA_ERROR_BYTES = 256 };

/* A location has 36 bits of offset in units of 64 bytes. */
#define ARENA_PAYLOAD_MAX_BYTES (UINT64_C(1) << 42)

/* The holder's own, writable. */
struct arena {
    struct slot_header *headers; /* all zero at first: void, generation 0 */
    uint8_t *payload;
    uint64_t payload_bytes;
    uint32_t slot_count;
    int fd;
};

/* All that it takes, whole huge pages: the table of headers, and the payload.  0: out of range. */
uint64_t arena_bytes(uint64_t payload_bytes, uint32_t slot_count);
/* Takes no memory yet but what it touches, though it asks whether there is enough.  -ENOMEM: there
 * is not.  On failure @ret_error is a sentence that says what to change. */
int arena_create(uint64_t payload_bytes, uint32_t slot_count, struct arena *ret_arena,
                 char ret_error[ARENA_ERROR_BYTES]);
/* Mappings of other processes live on.  All zero is allowed. */
void arena_destroy(struct arena *arena);

/* Takes the memory of the first @bytes of payload at once, so that no later copy pays for the first
 * touch (a benchmark; a node that had rather start slowly). */
int arena_prefault(struct arena *arena, uint64_t bytes);

/* A peer's, read-only. */
struct arena_mapping {
    const struct slot_header *headers;
    const uint8_t *payload;
    uint64_t payload_bytes;
    uint32_t slot_count;
};

/* Maps what a peer says is its arena; @fd stays the caller's.  -EPERM: it could be cut short under
 * the reader; -EPROTO: its size is not what it is said to be. */
int arena_attach(int fd, uint64_t payload_bytes, uint32_t slot_count,
                 struct arena_mapping *ret_mapping);
void arena_detach(struct arena_mapping *mapping);

#endif
