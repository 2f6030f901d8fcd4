/* SPDX-License-Identifier: Apache-2.0 */
/*
 * location.h - where a page's bytes are, in 22 packed bytes.
 *
 *     holder 16 | arena 8 | slot 32 | offset 36 | length 27 | generation 48 | tier 2 | stamp 7
 *
 * The holder is an index: into the list of holders of the message that carries the location, or
 * into the holder table of the shard that keeps it.  A location is a claim to be verified, never
 * an address to be followed.
 */
#ifndef WIRE_LOCATION_H
#define WIRE_LOCATION_H

#include <stdint.h>

enum { LOCATION_BYTES = 22, LOCATION_OFFSET_UNIT_BYTES = 64 };

struct location {
    uint16_t holder;
    uint8_t arena;
    uint8_t tier; /* enum peercache_tier */
    uint32_t slot;
    uint64_t offset_bytes; /* into the arena's payload; a multiple of 64 */
    uint32_t length_bytes; /* 1 .. 2^27 - 1 */
    uint8_t stamp;         /* 7 bits for the shard's own use (age); 0 on the wire */
    uint64_t generation;   /* 48 bits */
};

void location_pack(const struct location *location, uint8_t ret_bytes[LOCATION_BYTES]);
void location_unpack(const uint8_t bytes[LOCATION_BYTES], struct location *ret_location);

#endif
