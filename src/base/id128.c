/* SPDX-License-Identifier: Apache-2.0 */
/* id128.c - sixteen opaque bytes as text. */
#include "base/id128.h"

#include <inttypes.h>
#include <stdio.h>

void id128_format(struct id128 id, char ret_text[ID128_TEXT_LEN + 1])
{
    snprintf(ret_text, ID128_TEXT_LEN + 1, "%016" PRIx64 "%016" PRIx64, id.hi, id.lo);
}
