/* SPDX-License-Identifier: Apache-2.0 */
/* slot_pin.c - first the pin, then the check: what is pinned does not change any more. */
#include "wire/slot_pin.h"

#include <errno.h>

#include "base/protection.h"

/* Without the check, for the tests: whatever the slot holds now is sent as what was asked for. */
static uint64_t generation_to_pin(const struct slot_header *header, uint64_t wanted)
{
    if (PROTECTED(serve_generation))
        return wanted;
    return slot_word_generation(atomic_load_explicit(&header->word, memory_order_acquire));
}

static int check_pinned(const struct slot_table *table, const struct slot_header *header,
                        const struct record_wanted *wanted)
{
    struct slot_sample sample;
    struct slot_expectation expected = {
        .digest = wanted->digest,
        .generation = wanted->place.generation,
        .offset_bytes = wanted->place.offset_bytes,
        .length_bytes = wanted->place.length_bytes,
    };
    slot_header_sample(header, &sample);
    if (sample.offset_bytes + sample.length_bytes > table->payload_bytes)
        return -EBADMSG;
    if (!PROTECTED(serve_generation))
        return sample.length_bytes == expected.length_bytes ? 0 : -EBADMSG;
    switch (slot_verdict(&sample, &expected)) {
    case SLOT_WHOLE: return 0;
    case SLOT_STALE: return -ESTALE;
    default: return -EBADMSG;
    }
}

int slot_pin(const struct slot_table *table, const struct record_wanted *wanted)
{
    if (wanted->place.arena != 0 || wanted->place.slot >= table->slot_count)
        return -EBADMSG;
    struct slot_header *header = &table->headers[wanted->place.slot];
    int error = slot_word_pin(&header->word, generation_to_pin(header, wanted->place.generation));
    if (error)
        return error;
    error = check_pinned(table, header, wanted);
    if (error)
        slot_word_unpin(&header->word);
    return error;
}
