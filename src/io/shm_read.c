/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shm_read.c - where the bytes of a get by shared memory are verified.
 *
 * Runs in the application thread that wants the page, several at once, without a lock and without
 * the holder's knowledge.
 *
 * Why it can never return wrong bytes: the holder makes the slot word void before the first byte of
 * a slot changes, and a generation is used once.  So a word that still bears the expected
 * generation behind the last byte copied was not void meanwhile.  Looking before the copy only
 * saves copies that would count for nothing.
 *
 * What a location says is never an address: slot, offset and length are held against the mapping,
 * whose size was held against the file's.  The peer's process may be gone: what was sealed when it
 * died stays as it was.
 */
#include "io/shm_read.h"

#include <errno.h>

#include "base/protection.h"
#include "io/copy.h"

static bool is_inside(const struct arena_mapping *arena, uint32_t slot,
                      const struct slot_expectation *expected)
{
    return slot < arena->slot_count && expected->offset_bytes <= arena->payload_bytes &&
           expected->length_bytes <= arena->payload_bytes - expected->offset_bytes;
}

/* The sample's fields were read behind its word; they belong to that word if it has not changed by
 * now.  So it is read again, and the verdict is asked with what it says now. */
static enum slot_verdict verdict_now(const struct slot_header *header, struct slot_sample *sample,
                                     const struct slot_expectation *expected)
{
    slot_word_read_fence();
    sample->word = atomic_load_explicit(&header->word, memory_order_acquire);
    return slot_verdict(sample, expected);
}

/* A mismatch that a change of the slot explains is not the holder's lie. */
static enum slot_verdict verdict_before(const struct slot_header *header,
                                        struct slot_sample *ret_sample,
                                        const struct slot_expectation *expected)
{
    slot_header_sample(header, ret_sample);
    enum slot_verdict verdict = slot_verdict(ret_sample, expected);
    return verdict == SLOT_MISMATCH ? verdict_now(header, ret_sample, expected) : verdict;
}

static int copy_out(const struct arena_mapping *arena, const struct shm_read *read,
                    uint64_t *ret_checksum)
{
    const uint8_t *src = arena->payload + read->expected.offset_bytes;
    uint64_t len = read->expected.length_bytes;
    if (read->verify_checksum)
        return copy_scatter_hash(src, len, read->segments, read->segment_count, read->deadline_ns,
                                 ret_checksum);
    return copy_scatter(src, len, read->segments, read->segment_count, read->deadline_ns);
}

static int stopped(enum slot_verdict verdict, enum shm_stop stop, enum shm_stop *ret_stop)
{
    if (verdict == SLOT_MISMATCH)
        return -EBADMSG;
    *ret_stop = stop;
    return -ESTALE;
}

int shm_read_page(const struct arena_mapping *arena, const struct shm_read *read,
                  enum shm_stop *ret_stop)
{
    struct slot_sample sample;
    uint64_t checksum = 0;
    *ret_stop = SHM_STOP_NONE;
    if (!is_inside(arena, read->slot, &read->expected))
        return -EBADMSG;
    const struct slot_header *header = &arena->headers[read->slot];

    enum slot_verdict verdict = verdict_before(header, &sample, &read->expected);
    if (PROTECTED(word_before_copy) && verdict != SLOT_WHOLE)
        return stopped(verdict, SHM_STOP_BEFORE_COPY, ret_stop);

    int error = copy_out(arena, read, &checksum);
    if (error)
        return error;

    verdict = verdict_now(header, &sample, &read->expected);
    if (PROTECTED(word_after_copy) && verdict != SLOT_WHOLE)
        return stopped(verdict, SHM_STOP_AFTER_COPY, ret_stop);
    if (read->verify_checksum && checksum != sample.checksum)
        return -EILSEQ;
    return 0;
}
