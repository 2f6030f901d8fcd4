/* SPDX-License-Identifier: Apache-2.0 */
/* slot_word.c - the moves of a slot word, each asserted against one table. */
#include "base/slot_word.h"

#include <errno.h>
#include <stddef.h>

#include "base/check.h"
#include "base/protection.h"

enum change { SAME_GENERATION, NEW_GENERATION };

static const struct {
    enum slot_state from, to;
    enum change generation;
} allowed_moves[] = {
    {SLOT_VOID, SLOT_FILLING, NEW_GENERATION},    /* fill */
    {SLOT_FILLING, SLOT_SEALED, SAME_GENERATION}, /* seal */
    {SLOT_FILLING, SLOT_VOID, SAME_GENERATION},   /* abandon */
    {SLOT_SEALED, SLOT_VOID, SAME_GENERATION},    /* void */
    {SLOT_SEALED, SLOT_SEALED, SAME_GENERATION},  /* pin, unpin */
};

/* Only a sealed slot has pins, they change by one, and the last is gone before it becomes void. */
static bool pins_may_move(uint64_t from, uint64_t to)
{
    if (slot_word_state(from) == SLOT_SEALED && slot_word_state(to) == SLOT_SEALED)
        return to == from + 1 || to == from - 1;
    return slot_word_pins(from) == 0 && slot_word_pins(to) == 0;
}

/* Without the protection, for the tests, a slot may be filled under its last generation again. */
static bool generation_may_move(enum change change, uint64_t before, uint64_t after)
{
    if (change == SAME_GENERATION)
        return after == before;
    return after > before || (!PROTECTED(fresh_generation) && after == before);
}

bool slot_word_may_move(uint64_t from, uint64_t to)
{
    for (size_t i = 0; i < sizeof allowed_moves / sizeof *allowed_moves; i++) {
        if (allowed_moves[i].from != slot_word_state(from) ||
            allowed_moves[i].to != slot_word_state(to))
            continue;
        return generation_may_move(allowed_moves[i].generation, slot_word_generation(from),
                                   slot_word_generation(to)) &&
               pins_may_move(from, to);
    }
    return false;
}

static bool move(slot_word *word, uint64_t from, uint64_t to, memory_order order)
{
    CHECK(slot_word_may_move(from, to));
    return atomic_compare_exchange_strong_explicit(word, &from, to, order, memory_order_relaxed);
}

void slot_word_fill(slot_word *word, uint64_t generation)
{
    CHECK(generation <= SLOT_GENERATION_MAX);
    uint64_t from = atomic_load_explicit(word, memory_order_relaxed);
    CHECK(move(word, from, slot_word_make(generation, SLOT_FILLING, 0), memory_order_acq_rel));
}

static bool end_filling(slot_word *word, uint64_t generation, enum slot_state state)
{
    uint64_t from = slot_word_make(generation, SLOT_FILLING, 0);
    return move(word, from, slot_word_make(generation, state, 0), memory_order_acq_rel);
}

bool slot_word_seal(slot_word *word, uint64_t generation)
{
    return end_filling(word, generation, SLOT_SEALED);
}

bool slot_word_abandon(slot_word *word, uint64_t generation)
{
    return end_filling(word, generation, SLOT_VOID);
}

int slot_word_void(slot_word *word, uint64_t generation)
{
    uint64_t from = slot_word_make(generation, SLOT_SEALED, 0);
    if (move(word, from, slot_word_make(generation, SLOT_VOID, 0), memory_order_acq_rel))
        return 0;
    uint64_t now = atomic_load_explicit(word, memory_order_relaxed);
    return slot_word_is_sealed(now, generation) ? -EBUSY : -ESTALE;
}

int slot_word_pin(slot_word *word, uint64_t generation)
{
    uint64_t from = atomic_load_explicit(word, memory_order_acquire);
    for (;;) {
        if (!slot_word_is_sealed(from, generation))
            return -ESTALE;
        if (slot_word_pins(from) == SLOT_PINS_MAX)
            return -EBUSY;
        CHECK(slot_word_may_move(from, from + 1));
        if (atomic_compare_exchange_weak_explicit(word, &from, from + 1, memory_order_acq_rel,
                                                  memory_order_acquire))
            return 0;
    }
}

void slot_word_unpin(slot_word *word)
{
    uint64_t from = atomic_load_explicit(word, memory_order_relaxed);
    do
        CHECK(slot_word_may_move(from, from - 1));
    while (!atomic_compare_exchange_weak_explicit(word, &from, from - 1, memory_order_acq_rel,
                                                  memory_order_relaxed));
}

/* A release store holds back what comes before it, not what comes after; and memcpy may use
 * non-temporal stores, which only a store fence of the machine orders. */
static void store_fence(void)
{
    atomic_thread_fence(memory_order_seq_cst);
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_sfence();
#endif
}

void slot_word_copy_begin(void)
{
    store_fence();
}

void slot_word_copy_end(void)
{
    store_fence();
}

void slot_word_read_fence(void)
{
    atomic_thread_fence(memory_order_acquire);
}
