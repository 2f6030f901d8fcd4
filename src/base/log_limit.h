/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log_limit.h - how often a kind of line is written that others can bring about: many at once, few
 * in the long run, and a word about those that were not.
 *
 * The owner's; one thread at a time.
 */
#ifndef BASE_LOG_LIMIT_H
#define BASE_LOG_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

/* Zeroed at first. */
struct log_limit {
    uint64_t since_ns; /* left was true then; 0: no line was asked for yet */
    uint64_t told_ns;  /* of lines that were held back */
    uint32_t left, held_back;
};

enum {
    LOG_LIMIT_LINES = 256, /* at once: what a cluster of some size has to say when it starts */
    LOG_LIMIT_LINES_PER_MINUTE = 60,
};

/* Whether a line may be written now; else it is counted. */
bool log_limit_pass(struct log_limit *limit, uint64_t now_ns);
/* How many were held back since it was last told, if the line that tells of it may be written now;
 * else 0.  It may once in the time of a line: those that go on coming do not take its place. */
uint32_t log_limit_held_back(struct log_limit *limit, uint64_t now_ns);

#endif
