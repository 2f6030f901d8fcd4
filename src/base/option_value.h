/* SPDX-License-Identifier: Apache-2.0 */
/*
 * option_value.h - numbers with units, as people write them, and back.
 *
 * Only option.c and its kin include this.  All return 0, or -EINVAL when the text is anything else
 * than what is described here, whole: no sign, no blank, nothing behind it; -ERANGE when it is well
 * formed and too large for the type.
 */
#ifndef BASE_OPTION_VALUE_H
#define BASE_OPTION_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { OPTION_NUMBER_BYTES = 32 }; /* 20 digits, a point, a unit */

/* Digits. */
int option_parse_number(const char *text, uint64_t *ret_number);
/* Bytes: "4096", "512mb", "8gb", "64GiB", "1.5g", "2048KB".  All units are powers of 1,024: mb and
 * MiB are the same.  A part of a byte is refused. */
int option_parse_size(const char *text, uint64_t *ret_bytes);
/* Seconds: "2", "0.5", "2s", "500ms", "250us". */
int option_parse_seconds(const char *text, uint64_t *ret_ns);
/* "true", "yes", "on", "1" and their opposites, in any case. */
int option_parse_flag(const char *text, bool *ret_flag);

/* What option_parse_size() and option_parse_seconds() turn into the same number again. */
void option_format_size(uint64_t bytes, char ret_text[OPTION_NUMBER_BYTES]);
void option_format_seconds(uint64_t ns, char ret_text[OPTION_NUMBER_BYTES]);

#endif
