/* SPDX-License-Identifier: Apache-2.0 */
/* question.h - questions as tools ask them, with something else in their places. */
#ifndef ATTACKER_QUESTION_H
#define ATTACKER_QUESTION_H

#include <stddef.h>
#include <stdint.h>

enum { QUESTION_BYTES = 32768 };

/* None of them has a node leave.  The length, without the NUL. */
size_t question_make(uint64_t *random, char ret_text[QUESTION_BYTES]);

#endif
