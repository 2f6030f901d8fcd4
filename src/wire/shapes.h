/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shapes.h - for tests: messages made from the schema, whether two are the same, and damage.
 */
#ifndef WIRE_SHAPES_H
#define WIRE_SHAPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/codec.h"

/* A generator for tests: the same seed gives the same numbers everywhere. */

/* How long its texts and lists are; the numbers are random in each. */
enum shape { SHAPE_EMPTY, SHAPE_FEW, SHAPE_MOST, SHAPE_RANDOM };

/* The lists stand in @lists, the texts in memory of this file; both may be used by several. */
struct message shapes_make(enum message_type type, enum shape shape, uint64_t seed,
                           struct message_scratch *lists);

bool shapes_are_same(const struct message *a, const struct message *b);

/* Damages a few bytes of @bytes, cuts its end off, or inserts some.  Returns the new length, which
 * is at most @size. */
size_t shapes_mutate(uint8_t *bytes, size_t len, size_t size, uint64_t *state);

#endif
