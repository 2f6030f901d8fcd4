/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slot_word.h - the 64 bits that say what a slot holds, and the fences around its bytes.
 *
 *     63            16 15  12 11        0
 *     generation 48   | state | pins 12
 *
 * A slot's bytes may change only while its word is void or filling.  The word is changed by
 * compare-and-swap along the moves of slot_word_may_move(), and by nothing else:
 *
 *     void     -> filling   a new generation, by the node's core
 *     filling  -> sealed    by the thread that copied, behind slot_word_copy_end()
 *     filling  -> void      by the core, once the operation that fills has ended
 *     sealed   -> void      by the core, only without pins
 *     sealed   -> sealed    pins +1, pins -1
 *
 * Fences: a thread that writes payload calls slot_word_copy_begin() before its first byte and
 * slot_word_copy_end() after its last, also when it gives up: only then has the operation ended.
 * The core calls slot_word_copy_begin() between slot_word_fill() and the header's other fields.  A
 * reader without a pin calls slot_word_read_fence() between its copy and its second look at the
 * word.  These three are the only stand-alone fences of the project: docs/slot-protocol.md says
 * what goes wrong without each, and tests/model/slot.pml shows it.
 */
#ifndef BASE_SLOT_WORD_H
#define BASE_SLOT_WORD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef _Atomic(uint64_t) slot_word;

enum slot_state { SLOT_VOID = 0, SLOT_FILLING = 1, SLOT_SEALED = 2 };

enum { SLOT_PINS_MAX = 4095 };
#define SLOT_GENERATION_MAX ((UINT64_C(1) << 48) - 1)

static inline uint64_t slot_word_make(uint64_t generation, enum slot_state state, uint32_t pins)
{
    return generation << 16 | (uint64_t)state << 12 | pins;
}

static inline uint64_t slot_word_generation(uint64_t word)
{
    return word >> 16;
}

static inline enum slot_state slot_word_state(uint64_t word)
{
    return (enum slot_state)(word >> 12 & 15);
}

static inline uint32_t slot_word_pins(uint64_t word)
{
    return word & SLOT_PINS_MAX;
}

/* Whether the word says: sealed, and this generation.  Pins are masked.  @generation may come from
 * the wire: one of more than 48 bits is never there. */
static inline bool slot_word_is_sealed(uint64_t word, uint64_t generation)
{
    return slot_word_generation(word) == generation && slot_word_state(word) == SLOT_SEALED;
}

/* The table of allowed moves; every change of a word is asserted against it. */
bool slot_word_may_move(uint64_t from, uint64_t to);

/* Void to filling, under a generation that was never used before. */
void slot_word_fill(slot_word *word, uint64_t generation);
/* Filling to sealed; false when the slot is not being filled under this generation any more. */
bool slot_word_seal(slot_word *word, uint64_t generation);
/* Filling to void; false as above. */
bool slot_word_abandon(slot_word *word, uint64_t generation);
/* Sealed to void: 0; -EBUSY when pinned, -ESTALE when it is not sealed under this generation. */
int slot_word_void(slot_word *word, uint64_t generation);
/* 0; -ESTALE when it is not sealed under this generation; -EBUSY when the pins are full. */
int slot_word_pin(slot_word *word, uint64_t generation);
void slot_word_unpin(slot_word *word);

/* Before the first byte is written: what made the word void is visible before any payload byte. */
void slot_word_copy_begin(void);
/* After the last byte: all of them, also of non-temporal stores, are visible before sealing. */
void slot_word_copy_end(void);
/* Between a reader's copy and its second look at the word. */
void slot_word_read_fence(void);

#endif
