/* SPDX-License-Identifier: Apache-2.0 */
/*
 * holder.h - for tests on the model: a holder whose slots are filled again and again between the
 * packets of a read, and what its pages' bytes are.
 */
#ifndef TESTS_RDMA_HOLDER_H
#define TESTS_RDMA_HOLDER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"
#include "base/splitmix.h"
#include "wire/slot_header.h"

enum {
    HOLDER_SLOTS = 32,
    HOLDER_SLOT_BYTES = 64 << 10,
    HOLDER_PIECES = 8, /* of one filling */
    HOLDER_BYTES = HOLDER_SLOTS * (HOLDER_SLOT_BYTES + (int)sizeof(struct slot_header)),
};

/* Headers, then payload, in one piece of memory, as an arena is. */
struct holder {
    struct slot_header *headers;
    uint8_t *payload;
    uint64_t random, last_generation;
    uint32_t storm_percent; /* chance of a store before a packet */
    bool is_filling;
    uint32_t slot, pieces; /* being filled; of which so many are written */
};

static inline uint32_t holder_below(struct holder *holder, uint32_t limit)
{
    return (uint32_t)(splitmix_next(&holder->random) % limit);
}

/* The bytes of a page, in eights. */
static inline uint64_t holder_word(uint64_t generation, uint32_t at)
{
    return (generation << 20 | at) * SPLITMIX_STEP;
}

static inline bool holder_is_page(uint64_t generation, const uint8_t *bytes)
{
    for (uint32_t i = 0; i < HOLDER_SLOT_BYTES; i += 8)
        if (*(const uint64_t *)(bytes + i) != holder_word(generation, i))
            return false;
    return true;
}

static inline struct id128 holder_digest(uint64_t generation)
{
    return (struct id128){generation, 77};
}

static inline void holder_begin_filling(struct holder *holder, uint32_t slot)
{
    struct slot_header *header = &holder->headers[slot];
    uint64_t word = atomic_load(&header->word), generation = ++holder->last_generation;
    if (slot_word_state(word) == SLOT_SEALED)
        CHECK(slot_word_void(&header->word, slot_word_generation(word)) == 0);
    slot_word_fill(&header->word, generation);
    slot_word_copy_begin();
    header->digest = holder_digest(generation);
    header->offset_bytes = (uint64_t)slot * HOLDER_SLOT_BYTES;
    header->length_bytes = HOLDER_SLOT_BYTES;
    holder->slot = slot;
    holder->pieces = 0;
    holder->is_filling = true;
}

static inline void holder_go_on(struct holder *holder)
{
    struct slot_header *header = &holder->headers[holder->slot];
    uint64_t generation = slot_word_generation(atomic_load(&header->word));
    uint32_t len = HOLDER_SLOT_BYTES / HOLDER_PIECES, from = holder->pieces++ * len;
    for (uint32_t i = from; i < from + len; i += 8)
        *(uint64_t *)(holder->payload + header->offset_bytes + i) = holder_word(generation, i);
    if (holder->pieces < HOLDER_PIECES)
        return;
    slot_word_copy_end();
    CHECK(slot_word_seal(&header->word, generation));
    holder->is_filling = false;
}

static inline void holder_fill(struct holder *holder, uint32_t slot)
{
    holder_begin_filling(holder, slot);
    while (holder->is_filling)
        holder_go_on(holder);
}

/* The hook of the model. */
static inline void holder_storm(void *context)
{
    struct holder *holder = context;
    if (holder_below(holder, 100) >= holder->storm_percent)
        return;
    if (!holder->is_filling)
        holder_begin_filling(holder, holder_below(holder, HOLDER_SLOTS));
    holder_go_on(holder);
}

/* @memory has HOLDER_BYTES, is zero, and stays the caller's. */
static inline void holder_init(struct holder *holder, uint8_t *memory, uint64_t seed)
{
    *holder = (struct holder){.random = seed,
                              .headers = (struct slot_header *)memory,
                              .payload = memory + HOLDER_SLOTS * sizeof(struct slot_header)};
    for (uint32_t i = 0; i < HOLDER_SLOTS; i++)
        holder_fill(holder, i);
}

/* A slot with a page that was published: what is still being filled is not. */
static inline uint32_t holder_any_page(struct holder *holder)
{
    uint32_t slot = holder_below(holder, HOLDER_SLOTS);
    return holder->is_filling && slot == holder->slot ? (slot + 1) % HOLDER_SLOTS : slot;
}

/* What a look-up would say of its page. */
static inline struct slot_expectation holder_expectation(const struct holder *holder, uint32_t slot)
{
    uint64_t generation = slot_word_generation(atomic_load(&holder->headers[slot].word));
    return (struct slot_expectation){.digest = holder_digest(generation),
                                     .generation = generation,
                                     .offset_bytes = (uint64_t)slot * HOLDER_SLOT_BYTES,
                                     .length_bytes = HOLDER_SLOT_BYTES};
}

#endif
