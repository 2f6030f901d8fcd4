/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slot_header.h - what stands in the header table about one slot, and the one verdict on it.
 *
 * Wire format: processes of other builds map the table or read it by RDMA.  64 bytes, little
 * endian, one cache line.  The fields other than the word are written only after slot_word_fill()
 * and slot_word_copy_begin(), and mean nothing unless the word matches before and after the payload
 * was read.
 */
#ifndef WIRE_SLOT_HEADER_H
#define WIRE_SLOT_HEADER_H

#include <stdint.h>

#include "base/id128.h"
#include "base/slot_word.h"

struct slot_header {
    slot_word word;
    struct id128 digest;
    uint64_t offset_bytes; /* of the payload in the arena; the page's name follows the payload */
    uint64_t checksum;     /* XXH3-64 of the payload */
    uint32_t length_bytes;
    uint32_t name_len;
    uint64_t reserved[2]; /* 0 */
};

_Static_assert(sizeof(struct slot_header) == 64, "a header is one cache line");

/* A copy of a header, as a reader samples it. */
struct slot_sample {
    uint64_t word;
    struct id128 digest;
    uint64_t offset_bytes, checksum;
    uint32_t length_bytes, name_len;
};

/* What a reader expects of the slot that a location names. */
struct slot_expectation {
    struct id128 digest;
    uint64_t generation;
    uint64_t offset_bytes;
    uint32_t length_bytes;
};

enum slot_verdict {
    SLOT_WHOLE, /* this is the page, and it was whole when the word was read */
    SLOT_STALE, /* void, filling, or another generation: the page was let go */
    /* The right generation with another key, length or place: the location was wrong, or the slot
     * was filled again between the loads of word and fields, which another look at the word
     * tells. */
    SLOT_MISMATCH,
};

/* Decides, and nothing else does, whether a sampled header stands for the expected page.  A read
 * is whole when the verdict is SLOT_WHOLE before the first and after the last byte. */
enum slot_verdict slot_verdict(const struct slot_sample *sample,
                               const struct slot_expectation *expected);

/* Loads the word with acquire, then the fields.  Meaningful only if the verdict says so again after
 * what was read. */
void slot_header_sample(const struct slot_header *header, struct slot_sample *ret_sample);

#endif
