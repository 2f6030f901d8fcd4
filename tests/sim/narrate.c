/* SPDX-License-Identifier: Apache-2.0 */
/*
 * narrate.c - what happened, as numbers; text is made of them only when somebody reads it.
 *
 * Every line goes into the hash of the run, so two runs that differ anywhere have other hashes.
 * The last lines are kept for the report of a violation.
 */
#include <inttypes.h>
#include <stdio.h>

#include "sim.h"

enum { LINES_KEPT = 64 };

static const char *const texts[NARRATED_COUNT] = {
#define N(name, text) [NARRATED_##name] = text,
    NARRATED(N)
#undef N
};

static struct line {
    uint64_t now_ns, a, b, c;
    int machine;
    enum narrated what;
} lines[LINES_KEPT];
static uint64_t n_lines;

static void print(const struct line *line)
{
    printf("%12.6f  ", (double)line->now_ns / 1e9);
    for (const char *at = texts[line->what]; *at; at++) {
        if (*at != '%') {
            putchar(*at);
            continue;
        }
        uint64_t value = *++at == 'm' ? (uint64_t)(int64_t)line->machine
                         : *at == 'a' ? line->a
                         : *at == 'b' ? line->b
                                      : line->c;
        printf("%" PRId64, (int64_t)value);
    }
    putchar('\n');
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * UINT64_C(0x9fb21c651e98df25);
    return hash ^ hash >> 32;
}

void narrate(enum narrated what, int machine, uint64_t a, uint64_t b, uint64_t c)
{
    struct line *line = &lines[n_lines++ % LINES_KEPT];
    *line = (struct line){world.now_ns, a, b, c, machine, what};
    uint64_t hash = mix(world.hash, line->now_ns);
    hash = mix(hash, (uint64_t)what << 32 | (uint32_t)machine);
    world.hash = mix(mix(mix(hash, a), b), c);
    if (world.is_tracing)
        print(line);
}

void narrate_begin(void)
{
    n_lines = 0;
}

void narrate_print_last(void)
{
    uint64_t first = n_lines > LINES_KEPT ? n_lines - LINES_KEPT : 0;
    for (uint64_t i = first; i < n_lines; i++)
        print(&lines[i % LINES_KEPT]);
}
