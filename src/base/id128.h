/* SPDX-License-Identifier: Apache-2.0 */
/*
 * id128.h - sixteen opaque bytes: node ids, boot ids, key digests, identities of namespaces.
 */
#ifndef BASE_ID128_H
#define BASE_ID128_H

#include <stdbool.h>
#include <stdint.h>

struct id128 {
    uint64_t hi, lo;
};

static inline bool id128_equal(struct id128 a, struct id128 b)
{
    return a.hi == b.hi && a.lo == b.lo;
}

static inline bool id128_is_zero(struct id128 a)
{
    return (a.hi | a.lo) == 0;
}

static inline int id128_compare(struct id128 a, struct id128 b)
{
    if (a.hi != b.hi)
        return a.hi < b.hi ? -1 : 1;
    return a.lo < b.lo ? -1 : a.lo > b.lo;
}

enum { ID128_TEXT_LEN = 32 };

/* Writes 32 lower-case hexadecimal digits and a NUL. */
void id128_format(struct id128 id, char ret_text[ID128_TEXT_LEN + 1]);

#endif
