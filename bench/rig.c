/* SPDX-License-Identifier: Apache-2.0 */
/* rig.c - memory, names, clock and commands of the measuring programs; one thread. */
#include "rig.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

enum { UNIT_BYTES = 64 };

void rig_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static void *allocate(size_t n, size_t size)
{
    void *memory = calloc(n, size);
    if (!memory)
        rig_fail("not enough memory");
    return memory;
}

uint8_t *rig_memory(uint64_t bytes)
{
    uint8_t *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        rig_fail("not enough memory for %llu bytes", (unsigned long long)bytes);
    memset(memory, 1, bytes);
    return memory;
}

/* --- pages --- */

/* The page in units, dealt out evenly: the first segments get one more where it does not go up. */
static uint64_t segment_bytes(const struct rig_pages *rig, uint32_t segment)
{
    uint64_t units = rig->page_bytes / UNIT_BYTES;
    return (units / rig->segment_count + (segment < units % rig->segment_count)) * UNIT_BYTES;
}

static void lay_out(struct rig_pages *rig)
{
    uint8_t *layer = rig->memory;
    for (uint32_t segment = 0; segment < rig->segment_count; segment++) {
        uint64_t len_bytes = segment_bytes(rig, segment);
        for (uint32_t page = 0; page < rig->n; page++)
            rig->segments[(size_t)page * rig->segment_count + segment] =
                (struct peercache_segment){layer + page * len_bytes, len_bytes};
        layer += rig->n * len_bytes;
    }
}

void rig_pages_init(struct rig_pages *rig, uint32_t n, uint64_t page_bytes, uint32_t segment_count)
{
    if (n == 0 || segment_count == 0 || page_bytes / UNIT_BYTES < segment_count)
        rig_fail("no such shape of pages");
    *rig = (struct rig_pages){.n = n, .segment_count = segment_count, .page_bytes = page_bytes};
    rig->memory = rig_memory(n * page_bytes);
    rig->pages = allocate(n, sizeof *rig->pages);
    rig->segments = allocate((size_t)n * segment_count, sizeof *rig->segments);
    rig->names = allocate(n, sizeof *rig->names);
    lay_out(rig);
    for (uint32_t i = 0; i < n; i++)
        rig->pages[i] =
            (struct peercache_page){.name = rig->names[i],
                                    .name_len = RIG_NAME_BYTES,
                                    .segments = &rig->segments[(size_t)i * segment_count],
                                    .segment_count = segment_count};
}

void rig_pages_fini(struct rig_pages *rig)
{
    if (rig->memory)
        munmap(rig->memory, rig->n * rig->page_bytes);
    free(rig->pages);
    free(rig->segments);
    free(rig->names);
    *rig = (struct rig_pages){0};
}

void rig_pages_name(struct rig_pages *rig, uint32_t index, const char *prefix, uint64_t serial)
{
    char text[RIG_NAME_BYTES + 1];
    snprintf(text, sizeof text, "%-40.40s%024llx", prefix, (unsigned long long)serial);
    memcpy(rig->names[index], text, RIG_NAME_BYTES);
}

static uint64_t stamp_of(uint32_t page, uint32_t segment)
{
    return ((uint64_t)page << 32 | segment) * UINT64_C(0x9e3779b97f4a7c15) + 1;
}

static void stamp(struct rig_pages *rig, bool is_clear)
{
    for (uint32_t page = 0; page < rig->n; page++)
        for (uint32_t i = 0; i < rig->segment_count; i++) {
            uint64_t value = is_clear ? 0 : stamp_of(page, i);
            memcpy(rig->pages[page].segments[i].addr, &value, sizeof value);
        }
}

void rig_pages_stamp(struct rig_pages *rig)
{
    stamp(rig, false);
}

void rig_pages_clear(struct rig_pages *rig)
{
    stamp(rig, true);
}

uint32_t rig_pages_wrong(const struct rig_pages *rig)
{
    uint32_t wrong = 0;
    for (uint32_t page = 0; page < rig->n; page++)
        for (uint32_t i = 0; i < rig->segment_count; i++) {
            uint64_t value;
            memcpy(&value, rig->pages[page].segments[i].addr, sizeof value);
            if (value == stamp_of(page, i))
                continue;
            wrong++;
            break;
        }
    return wrong;
}

/* --- clock, commands --- */

double rig_now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

long rig_sleeps(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_nvcsw;
}

uint32_t rig_read_command(char line[256], char *ret_words[RIG_WORDS_MAX])
{
    fflush(stdout);
    if (!fgets(line, 256, stdin))
        return 0;
    uint32_t n = 0;
    char *left = NULL;
    for (char *word = strtok_r(line, " \n", &left); word && n < RIG_WORDS_MAX;
         word = strtok_r(NULL, " \n", &left))
        ret_words[n++] = word;
    for (uint32_t i = n; i < RIG_WORDS_MAX; i++)
        ret_words[i] = NULL;
    return n;
}

uint64_t rig_number(const char *word)
{
    char *end = NULL;
    unsigned long long value = word ? strtoull(word, &end, 10) : 0;
    if (!word || end == word || *end)
        rig_fail("a number was expected, not '%s'", word ? word : "");
    return value;
}
