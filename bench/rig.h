/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rig.h - what the measuring programs share: pages in memory that is laid out as an engine's host
 * pool is, commands on stdin, one line of JSON for each on stdout.
 */
#ifndef BENCH_RIG_H
#define BENCH_RIG_H

#include <stdbool.h>
#include <stdint.h>

#include "peercache.h"

enum {
    RIG_NAME_BYTES = 64, /* as long as the page hashes of SGLang */
    RIG_WORDS_MAX = 4,   /* of a command */
};

/* Pages of equal length whose segments lie layer by layer: the first segments of all pages, then
 * the second ones, and so on.  Every byte of the memory has been written. */
struct rig_pages {
    uint32_t n, segment_count;
    uint64_t page_bytes;
    uint8_t *memory; /* n * page_bytes */
    struct peercache_page *pages;
    struct peercache_segment *segments;
    char (*names)[RIG_NAME_BYTES];
};

/* @page_bytes is a multiple of 64, and so is each segment. */
void rig_pages_init(struct rig_pages *rig, uint32_t n, uint64_t page_bytes, uint32_t segment_count);
void rig_pages_fini(struct rig_pages *rig);
/* Page @index is called by @prefix and @serial. */
void rig_pages_name(struct rig_pages *rig, uint32_t index, const char *prefix, uint64_t serial);
/* Writes into each segment whose it is; clears that; counts the pages that are not as written. */
void rig_pages_stamp(struct rig_pages *rig);
void rig_pages_clear(struct rig_pages *rig);
uint32_t rig_pages_wrong(const struct rig_pages *rig);

/* Memory that the kernel has given for good: no page fault is measured. */
uint8_t *rig_memory(uint64_t bytes);

double rig_now_s(void);
/* How often this process has waited so far (voluntary context switches of all its threads). */
long rig_sleeps(void);

/* The next command as words; 0: end of input. */
uint32_t rig_read_command(char line[256], char *ret_words[RIG_WORDS_MAX]);
/* The word as a number; ends the program when it is none. */
uint64_t rig_number(const char *word);
_Noreturn void rig_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
