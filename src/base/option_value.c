/* SPDX-License-Identifier: Apache-2.0 */
/*
 * option_value.c - numbers with units, as people write them, and back.
 *
 * Nothing here uses the locale or floating point: "0.1" is 100 ms and not a little less, and
 * "nan", "inf", "1e9" and "0x10" are no numbers.
 */
#include "base/option_value.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { BILLION = 1000000000 };

/* A decimal number, with digits behind the ninth place left out: programs write 0.1 as
 * 0.1000000000000000055. */
struct decimal {
    uint64_t whole;
    uint32_t billionths;
};

struct unit {
    const char *name;
    uint64_t factor;
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int parse_whole(const char *text, uint64_t *ret_whole, const char **ret_end)
{
    uint64_t whole = 0;
    if (!is_digit(*text))
        return -EINVAL;
    for (; is_digit(*text); text++) {
        uint64_t digit = (uint64_t)(*text - '0');
        if (whole > (UINT64_MAX - digit) / 10)
            return -ERANGE;
        whole = 10 * whole + digit;
    }
    *ret_whole = whole;
    *ret_end = text;
    return 0;
}

static int parse_decimal(const char *text, struct decimal *ret_decimal, const char **ret_end)
{
    struct decimal decimal = {0};
    int error = parse_whole(text, &decimal.whole, &text);
    if (error)
        return error;
    if (*text == '.') {
        text++;
        if (!is_digit(*text))
            return -EINVAL;
        for (uint32_t place = BILLION / 10; is_digit(*text); text++, place /= 10)
            decimal.billionths += place * (uint32_t)(*text - '0');
    }
    *ret_decimal = decimal;
    *ret_end = text;
    return 0;
}

static int find_unit(const struct unit *units, const char *name, uint64_t *ret_factor)
{
    for (; units->name; units++) {
        if (strcasecmp(units->name, name) != 0)
            continue;
        *ret_factor = units->factor;
        return 0;
    }
    return -EINVAL;
}

/* The number in the smallest unit; *ret_rest: billionths of that unit which are left over. */
static int parse_quantity(const struct unit *units, const char *text, uint64_t *ret_number,
                          uint64_t *ret_rest)
{
    struct decimal decimal;
    uint64_t factor;
    int error = parse_decimal(text, &decimal, &text);
    if (!error)
        error = find_unit(units, text, &factor);
    if (error)
        return error;
    unsigned __int128 part = (unsigned __int128)decimal.billionths * factor;
    unsigned __int128 number = (unsigned __int128)decimal.whole * factor + part / BILLION;
    if (number > UINT64_MAX)
        return -ERANGE;
    *ret_number = (uint64_t)number;
    *ret_rest = (uint64_t)(part % BILLION);
    return 0;
}

int option_parse_number(const char *text, uint64_t *ret_number)
{
    uint64_t number;
    int error = parse_whole(text, &number, &text);
    if (error)
        return error;
    if (*text != '\0')
        return -EINVAL;
    *ret_number = number;
    return 0;
}

#define KIB UINT64_C(1024)

static const struct unit sizes[] = {
    {"", 1},
    {"b", 1},
    {"k", KIB},
    {"kb", KIB},
    {"kib", KIB},
    {"m", KIB *KIB},
    {"mb", KIB *KIB},
    {"mib", KIB *KIB},
    {"g", KIB *KIB *KIB},
    {"gb", KIB *KIB *KIB},
    {"gib", KIB *KIB *KIB},
    {"t", KIB *KIB *KIB *KIB},
    {"tb", KIB *KIB *KIB *KIB},
    {"tib", KIB *KIB *KIB *KIB},
    {NULL, 0},
};

int option_parse_size(const char *text, uint64_t *ret_bytes)
{
    uint64_t bytes, rest;
    int error = parse_quantity(sizes, text, &bytes, &rest);
    if (error)
        return error;
    if (rest)
        return -EINVAL;
    *ret_bytes = bytes;
    return 0;
}

static const struct unit durations[] = {
    {"", BILLION}, {"s", BILLION}, {"ms", 1000000}, {"us", 1000}, {NULL, 0},
};

int option_parse_seconds(const char *text, uint64_t *ret_ns)
{
    uint64_t ns, rest;
    int error = parse_quantity(durations, text, &ns, &rest);
    if (error)
        return error;
    *ret_ns = ns;
    return 0;
}

int option_parse_flag(const char *text, bool *ret_flag)
{
    static const char *const words[2][4] = {{"false", "no", "off", "0"},
                                            {"true", "yes", "on", "1"}};
    for (int flag = 0; flag < 2; flag++) {
        for (int i = 0; i < 4; i++) {
            if (strcasecmp(text, words[flag][i]) != 0)
                continue;
            *ret_flag = flag;
            return 0;
        }
    }
    return -EINVAL;
}

void option_format_size(uint64_t bytes, char ret_text[OPTION_NUMBER_BYTES])
{
    static const char *const names[] = {"", "kb", "mb", "gb", "tb"};
    size_t unit = 0;
    while (bytes && bytes % KIB == 0 && unit + 1 < sizeof names / sizeof *names) {
        bytes /= KIB;
        unit++;
    }
    snprintf(ret_text, OPTION_NUMBER_BYTES, "%" PRIu64 "%s", bytes, names[unit]);
}

void option_format_seconds(uint64_t ns, char ret_text[OPTION_NUMBER_BYTES])
{
    int len = snprintf(ret_text, OPTION_NUMBER_BYTES, "%" PRIu64 ".%09" PRIu64, ns / BILLION,
                       ns % BILLION);
    while (ret_text[len - 1] == '0')
        len--;
    if (ret_text[len - 1] == '.')
        len--;
    ret_text[len] = '\0';
}
