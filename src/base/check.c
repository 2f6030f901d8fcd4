/* SPDX-License-Identifier: Apache-2.0 */
/* check.c - where a broken promise of our own code ends. */
#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void check_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "peercache: broken invariant: %s (%s:%d)\n", condition, file, line);
    abort();
}
