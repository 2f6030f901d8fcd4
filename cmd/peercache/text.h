/* SPDX-License-Identifier: Apache-2.0 */
/* text.h - what a person reads: errors, keys, sizes. */
#ifndef PEERCACHE_TEXT_H
#define PEERCACHE_TEXT_H

#include <stdint.h>
#include <stdio.h>

/* Prints one line to the standard error and returns @status. */
__attribute__((format(printf, 2, 3))) int text_fail(int status, const char *format, ...);

/* Prints a name with everything but printable ASCII as \xNN, and '\' as '\\': a key from elsewhere
 * must not move the cursor of a terminal. */
void text_print_name(FILE *file, const char *name);

struct text_size {
    char text[24];
};
/* 1536 -> "1.5 KiB" */
struct text_size text_size(uint64_t bytes);

/* Why a page with this outcome did not come or was not stored, and what to change. */
const char *text_reason(const char *outcome);

#endif
