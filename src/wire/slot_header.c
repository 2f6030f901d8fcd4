/* SPDX-License-Identifier: Apache-2.0 */
/* slot_header.c - the verdict on a read, for every transport. */
#include "wire/slot_header.h"

#include "base/protection.h"

enum slot_verdict slot_verdict(const struct slot_sample *sample,
                               const struct slot_expectation *expected)
{
    if (!slot_word_is_sealed(sample->word, expected->generation))
        return SLOT_STALE;
    if (PROTECTED(header_digest) && !id128_equal(sample->digest, expected->digest))
        return SLOT_MISMATCH;
    if (PROTECTED(header_length) && sample->length_bytes != expected->length_bytes)
        return SLOT_MISMATCH;
    if (sample->offset_bytes != expected->offset_bytes)
        return SLOT_MISMATCH;
    return SLOT_WHOLE;
}

/* The fields are plain memory that a holder may be writing: the word decides whether they count. */
void slot_header_sample(const struct slot_header *header, struct slot_sample *ret_sample)
{
    const volatile struct slot_header *fields = header;
    ret_sample->word = atomic_load_explicit(&header->word, memory_order_acquire);
    ret_sample->digest.hi = fields->digest.hi;
    ret_sample->digest.lo = fields->digest.lo;
    ret_sample->offset_bytes = fields->offset_bytes;
    ret_sample->checksum = fields->checksum;
    ret_sample->length_bytes = fields->length_bytes;
    ret_sample->name_len = fields->name_len;
}
