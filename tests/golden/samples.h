/* SPDX-License-Identifier: Apache-2.0 */
/*
 * samples.h - one message of each type, for the golden bytes and as food for the fuzzer.
 */
#ifndef GOLDEN_SAMPLES_H
#define GOLDEN_SAMPLES_H

#include "wire/schema.h"

/* Constant; every number, text and list in it is set (but for the stamps of locations). */
const struct message *samples_get(enum message_type type);

#endif
