/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hybrid_fill.c - how well the pool keeps pages that consist of several parts of unequal length.
 *
 * `bench-hybrid-fill [--pool-mib N] [--seed N]` stores prompts of 128 hybrid pages as SGLang does,
 * first the side pools' parts and then the KV pages with their parents, and uses earlier prompts
 * again at distances that are log-uniform up to three times what the pool holds.  It drives the
 * real pool without payload, and prints for each mix of lengths which share of the pages was found
 * whole with all before them, with the parts bound to groups and without.
 *
 * The last lines are times, and depend on the machine: large pages come to a full pool of units of
 * 16 parts, which lie part by part beside those of other units, or unit by unit.  For one of 60 MiB
 * 15 Ki pages have to go; for 100 MiB there are too many, and the search is in vain.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/seqtable.h"
#include "core/pool.h"
#include "core/replacement.h"

#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)

enum { SLOTS = 1 << 20, PROMPT_PAGES = 128, NAME_BYTES = 8, ROUNDS = 12, WARM_ROUNDS = 3 };

struct mix {
    uint64_t kv_bytes, side_bytes;
    uint32_t n_sides, every; /* side parts a page, of one page in so many */
};

struct figures {
    uint64_t uses, found, refused, samples;
    double live;
};

struct load {
    struct mix mix;
    struct slot_header *headers;
    struct pool *pool;
    bool has_groups;
    uint64_t random, pool_bytes, prompts_held;
    struct figures figures;
};

static uint64_t random_next(uint64_t *state)
{
    *state += UINT64_C(0x9e3779b97f4a7c15);
    return hash_bytes64(state, sizeof *state, 0);
}

/* 1 or more, and up to @furthest or some more: about as often in each power of two. */
static uint64_t random_distance(struct load *load, uint64_t furthest)
{
    uint32_t powers = 1;
    while (furthest >> powers)
        powers++;
    uint64_t least = UINT64_C(1) << random_next(&load->random) % powers;
    return least + random_next(&load->random) % least;
}

/* Part 0 of a page is its KV page. */
static struct id128 digest_of(uint64_t page, uint32_t part)
{
    uint64_t name[2] = {page, part};
    return hash_bytes128(name, sizeof name, 1);
}

static bool has_part(const struct load *load, uint64_t page, uint32_t part)
{
    return part == 0 || (part <= load->mix.n_sides && page % load->mix.every == 0);
}

static bool find(const struct load *load, uint64_t page, uint32_t part, struct location *ret_place)
{
    struct seqtable_value value;
    if (seqtable_find(pool_index(load->pool), digest_of(page, part), &value) != 0)
        return false;
    location_unpack(value.bytes, ret_place);
    return ret_place->length_bytes > 0;
}

/* What a step of the core ends with. */
static void advance(struct load *load)
{
    const struct pool_gone *gone;
    bool more;
    do {
        more = pool_retire_ahead(load->pool);
        pool_take_gone(load->pool, &gone);
    } while (more);
}

static bool reserve(struct load *load, uint64_t page, uint32_t part, struct core_page *ret_page)
{
    struct location place;
    const struct pool_gone *gone;
    if (!has_part(load, page, part) || find(load, page, part, &place))
        return false;
    *ret_page = (struct core_page){
        .digest = digest_of(page, part),
        .length_bytes = (uint32_t)(part ? load->mix.side_bytes : load->mix.kv_bytes) - NAME_BYTES,
        .name_len = NAME_BYTES,
        .group = load->has_groups ? hash_page_group(1, &page, sizeof page) : 0,
    };
    if (part == 0 && page % PROMPT_PAGES)
        ret_page->parent = digest_of(page - 1, 0);
    if (pool_gone_is_long(load->pool))
        pool_take_gone(load->pool, &gone);
    int error = pool_reserve(load->pool, ret_page);
    load->figures.refused += error != 0;
    return error == 0;
}

static void store(struct load *load, uint64_t prompt, uint32_t part)
{
    static struct core_page pages[PROMPT_PAGES];
    uint32_t n = 0;
    pool_begin_batch(load->pool);
    for (uint64_t i = 0; i < PROMPT_PAGES; i++)
        n += reserve(load, prompt * PROMPT_PAGES + i, part, &pages[n]);
    advance(load);
    for (uint32_t i = 0; i < n; i++) {
        CHECK(slot_word_seal(&load->headers[pages[i].slot].word, pages[i].generation));
        CHECK(pool_publish(load->pool, &pages[i]) == 0);
    }
    advance(load);
}

/* A page is of use if all its parts are there, and all pages before it. */
static void use(struct load *load, uint64_t prompt, bool counts)
{
    bool whole = true;
    for (uint64_t i = 0; i < PROMPT_PAGES; i++) {
        uint64_t page = prompt * PROMPT_PAGES + i;
        struct location place;
        for (uint32_t part = load->mix.n_sides + 1; part-- > 0;) {
            if (!has_part(load, page, part))
                continue;
            bool here = find(load, page, part, &place);
            whole &= here;
            if (here && (part == 0 || !load->has_groups))
                pool_touch(load->pool, place.slot, place.generation);
        }
        load->figures.uses += counts;
        load->figures.found += counts && whole;
    }
}

static void run_prompt(struct load *load, uint64_t *n_prompts, bool counts)
{
    struct pool_usage usage;
    uint64_t prompt = *n_prompts;
    if (prompt > 0 && random_next(&load->random) % 2) {
        uint64_t back = random_distance(load, 3 * load->prompts_held);
        prompt -= back < prompt ? back : 1 + random_next(&load->random) % prompt;
        use(load, prompt, counts);
    } else {
        ++*n_prompts;
    }
    for (uint32_t part = load->mix.n_sides + 1; part-- > 0;)
        store(load, prompt, part);
    pool_measure(load->pool, &usage);
    load->figures.live += (double)usage.live_bytes / (double)usage.total_bytes;
    load->figures.samples++;
}

static struct figures run(const struct mix *mix, bool has_groups, uint64_t pool_bytes,
                          uint64_t seed)
{
    struct load load = {.mix = *mix, .has_groups = has_groups, .random = seed};
    uint64_t n_prompts = 0,
             page_bytes = mix->kv_bytes + mix->n_sides * mix->side_bytes / mix->every;
    load.headers = calloc(SLOTS, sizeof *load.headers);
    struct core_config config = {
        .headers = load.headers, .slot_count = SLOTS, .pool_bytes = pool_bytes};
    CHECK(load.headers && pool_new(&config, &load.pool) == 0);
    load.prompts_held = pool_bytes / (page_bytes * PROMPT_PAGES);
    for (uint64_t i = 0; i < ROUNDS * load.prompts_held; i++)
        run_prompt(&load, &n_prompts, i >= WARM_ROUNDS * load.prompts_held);
    pool_free(load.pool);
    free(load.headers);
    return load.figures;
}

static void print_row(const struct mix *mix, const struct figures *with,
                      const struct figures *without)
{
    const struct figures *both[] = {with, without};
    printf("| %llu KiB | %u x %llu KiB | 1 in %u |", (unsigned long long)(mix->kv_bytes / KIB),
           mix->n_sides, (unsigned long long)(mix->side_bytes / KIB), mix->every);
    for (int i = 0; i < 2; i++)
        printf(
            " %.1f %% | %.1f %% | %llu |", 100.0 * (double)both[i]->found / (double)both[i]->uses,
            100.0 * both[i]->live / (double)both[i]->samples, (unsigned long long)both[i]->refused);
    putchar('\n');
    fflush(stdout);
}

/* --- one page that many have to go for --- */

enum { UNITS = 4096, PARTS = REPLACEMENT_UNIT_MAX, PART_BYTES = 4096 - NAME_BYTES };

static void store_unit_part(struct load *load, uint64_t unit, uint32_t part)
{
    struct core_page page = {
        .digest = digest_of(unit, part),
        .length_bytes = PART_BYTES,
        .name_len = NAME_BYTES,
        .group = hash_page_group(1, &unit, sizeof unit),
    };
    CHECK(pool_reserve(load->pool, &page) == 0);
    CHECK(slot_word_seal(&load->headers[page.slot].word, page.generation));
    CHECK(pool_publish(load->pool, &page) == 0);
}

/* The processor time of a batch of equal pages; @ret_error: how the last one ended. */
static double ms_to_reserve(struct load *load, uint32_t n, uint64_t len_bytes, int *ret_error)
{
    struct timespec begin, end;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
    pool_begin_batch(load->pool);
    for (uint32_t i = 0; i < n; i++) {
        struct core_page page = {.digest = digest_of(i, PARTS),
                                 .length_bytes = (uint32_t)len_bytes - NAME_BYTES,
                                 .name_len = NAME_BYTES};
        *ret_error = pool_reserve(load->pool, &page);
    }
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
    return 1e3 * (double)(end.tv_sec - begin.tv_sec) + 1e-6 * (double)(end.tv_nsec - begin.tv_nsec);
}

static void print_long_choice(bool by_unit, uint32_t n, uint64_t len_bytes)
{
    struct load load = {.headers = calloc(UNITS * PARTS + n, sizeof *load.headers)};
    struct core_config config = {.headers = load.headers,
                                 .slot_count = UNITS * PARTS + n,
                                 .pool_bytes = 4 * KIB * UNITS * PARTS};
    int error;
    CHECK(load.headers && pool_new(&config, &load.pool) == 0);
    for (uint64_t i = 0; i < UNITS * PARTS; i++)
        store_unit_part(&load, by_unit ? i / PARTS : i % UNITS,
                        (uint32_t)(by_unit ? i % PARTS : i / UNITS));
    double ms = ms_to_reserve(&load, n, len_bytes, &error);
    printf("%u x %llu MiB into units of %d x 4 KiB, %s by %s: %.1f ms (%s)\n", n,
           (unsigned long long)(len_bytes / MIB), PARTS, by_unit ? "unit" : "part",
           by_unit ? "unit" : "part", ms, error ? strerror(-error) : "stored");
    pool_free(load.pool);
    free(load.headers);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"pool-mib", required_argument, NULL, 'p'}, {"seed", required_argument, NULL, 's'}, {0}};
    static const struct mix mixes[] = {
        {64 * KIB, 64 * KIB, 1, 1},  {64 * KIB, 4 * KIB, 1, 1},   {64 * KIB, 8 * KIB, 2, 1},
        {64 * KIB, MIB, 1, 1},       {512 * KIB, 16 * KIB, 1, 1}, {64 * KIB, MIB, 1, 16},
        {256 * KIB, 64 * KIB, 1, 8},
    };
    uint64_t pool_bytes = 2048 * MIB, seed = 1;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option != 'p' && option != 's')
            return 2;
        *(option == 'p' ? &pool_bytes : &seed) =
            strtoull(optarg, NULL, 0) * (option == 'p' ? MIB : 1);
    }
    puts("| KV page | side parts | of pages | groups: found | live | refused "
         "| no groups: found | live | refused |\n|---|---|---|---|---|---|---|---|---|");
    for (size_t i = 0; i < sizeof mixes / sizeof *mixes; i++) {
        struct figures with = run(&mixes[i], true, pool_bytes, seed);
        struct figures without = run(&mixes[i], false, pool_bytes, seed);
        print_row(&mixes[i], &with, &without);
    }
    putchar('\n');
    for (int by_unit = 0; by_unit < 2; by_unit++) {
        print_long_choice(by_unit, 1, 60 * MIB);
        print_long_choice(by_unit, 8, 100 * MIB);
    }
    return 0;
}
