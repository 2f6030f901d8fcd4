/* SPDX-License-Identifier: Apache-2.0 */
/*
 * question.c - templates of questions, in which each '?' is a value of some kind or other.
 */
#include "question.h"

#include <stdbool.h>
#include <string.h>

#include "base/splitmix.h"

static const char *const templates[] = {
    "{\"ask\":\"status\",\"x\":?}",
    "{\"ask\":\"keys\",\"after\":?,\"limit\":?}",
    "{\"ask\":\"exists\",\"keys\":[?,?,\"k\"],\"fields\":[?]}",
    "{\"ask\":\"exists\",\"keys\":?,\"fields\":?,\"tag\":?}",
    "{\"ask\":\"get\",\"key\":?,\"fields\":[\"a=b\"],\"tag\":?}",
    "{\"ask\":\"get\",\"key\":\"k\"}",
    "{\"ask\":\"put\",\"key\":?,\"fields\":?}",
    "{\"ask\":\"put\",\"key\":\"k\"}",
    "{\"ask\":\"stay\",\"begin\":?}",
    "{\"ask\":\"adopt\",\"hot\":?,\"pages\":?}",
    "{\"ask\":\"adopt\",\"hot\":true,\"pages\":[{\"name\":\"6b\",\"identity\":?,\"epoch\":?,"
    "\"group\":?,\"bytes\":?,\"checksum\":?},?]}",
    "{\"ask\":\"adopt\",\"pages\":[{\"name\":?,\"identity\":\"00112233445566778899aabbccddeeff\","
    "\"epoch\":\"0\",\"group\":\"1\",\"bytes\":?,\"checksum\":\"0\"}]}",
    "{\"ask\":?}",
    "?",
};

static const char *const values[] = {
    "null",
    "true",
    "0",
    "-1",
    "1",
    "64",
    "4096",
    "1e308",
    "18446744073709551615",
    "0.5",
    "[]",
    "{}",
    "\"\"",
    "\"k\"",
    "\"6b\"",
    "\"ffffffffffffffff\"",
    "\"00112233445566778899aabbccddeeff\"",
    "\"a=b\"",
    "\"=\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"\xff\xfe\"",
    "[[[[[[[[]]]]]]]]",
    "\"0x10\"",
    "\"  1\"",
    "[\"k\",\"k\",\"k\"]",
    "{\"name\":1}",
    "\"-1\"",
    "\"",
};

static const char *draw(uint64_t *random, const char *const *list, size_t n)
{
    return list[splitmix_next(random) % n];
}

/* Brackets that are never closed, or a text that is too long for whatever it is. */
static size_t make_long(uint64_t *random, char *at, size_t room)
{
    size_t len = splitmix_next(random) % (room / 4);
    bool is_text = splitmix_next(random) % 2;
    memset(at, is_text ? 'a' : '[', len);
    if (is_text && len > 1)
        at[0] = at[len - 1] = '"';
    return len;
}

static size_t make_value(uint64_t *random, char *at, size_t room)
{
    if (splitmix_next(random) % 32 == 0)
        return make_long(random, at, room);
    const char *value = draw(random, values, sizeof values / sizeof *values);
    size_t len = strlen(value) < room ? strlen(value) : 0;
    memcpy(at, value, len);
    return len;
}

size_t question_make(uint64_t *random, char ret_text[QUESTION_BYTES])
{
    size_t len = 0;
    const char *from = draw(random, templates, sizeof templates / sizeof *templates);
    for (; *from && len < QUESTION_BYTES - 1; from++)
        if (*from == '?')
            len += make_value(random, ret_text + len, QUESTION_BYTES - 1 - len);
        else
            ret_text[len++] = *from;
    ret_text[len] = 0;
    return len;
}
