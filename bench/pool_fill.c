/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool_fill.c - how full the pool gets, and what it evicts for it, under several mixes of lengths.
 *
 * Drives the extents, the order of eviction and the choice of a window exactly as the pool does,
 * without any payload: `bench-pool-fill [--pool-mib N] [--seed N]` prints a Markdown table, the
 * same for the same seed but for its last column.
 *
 * A run stores pages until six times the pool has gone through it; between two stores two pages
 * are used again, the younger ones more often, so that the order of eviction is not the order of
 * addresses.  A share of the pool is retired ahead of need, as the pool does it: a retired page is
 * not found any more.  One page in PIN_ONE_IN cannot go, another one each time.  Beside the pool
 * stands an ideal one of the same size without any addresses: it evicts the coldest page until the
 * bytes suffice.  How many of the uses find their page in the one and in the other tells what it
 * costs that pages lie somewhere.  Figures count from the point where twice the pool has been
 * stored.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/check.h"
#include "base/splitmix.h"
#include "core/room.h"

#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)

enum {
    MAX_SLOTS = 1 << 20,
    MAX_EVICTED = 1 << 20,
    PIN_ONE_IN = 200, /* pages that happen to be read when room is made */
    AHEAD_SHARE = 64, /* of the pool is retired ahead of need, as in the pool */
    WARM_ROUNDS = 2,
    ROUNDS = 6,
    RECENT = 1 << 21, /* pages that are used again come from the last so many stored */
};

/* The pages of a pool: by slot their length, 0 for an unused one, and the number of their store. */
struct pages {
    struct replacement *r;
    uint64_t live_bytes, retired_bytes;
    uint32_t *length, *unused, n_unused;
    uint64_t *number;
};

struct figures {
    uint64_t stores, refused, bytes, evicted_bytes, rooms, room_ns, most_bytes, most_pages;
    uint64_t uses, hits, ideal_hits;
    double fill, least_fill;
};

struct load {
    struct extents *x;
    struct pages pool, ideal;
    uint64_t random, pins_random, pool_bytes, stored_bytes;
    uint64_t n_stored;
    uint32_t slot_of[RECENT], ideal_slot_of[RECENT]; /* by the number of a store */
    uint32_t evicted[MAX_EVICTED];
    struct figures figures;
};

typedef uint64_t mix_length(struct load *load);

static double progress(const struct load *load)
{
    return (double)load->stored_bytes / (double)load->pool_bytes;
}

static uint64_t length_uniform(struct load *load)
{
    (void)load;
    return 128 * KIB + 64;
}

/* An octave of 26, then a length within it: as many pages of each magnitude, 1 byte to 64 MiB. */
static uint64_t length_mixed(struct load *load)
{
    uint64_t octave = UINT64_C(1) << splitmix_next(&load->random) % 26;
    return octave + splitmix_next(&load->random) % octave;
}

/* The same from 4 KiB to 4 MiB, about what pages of several models come to. */
static uint64_t length_moderate(struct load *load)
{
    uint64_t octave = 4 * KIB << splitmix_next(&load->random) % 10;
    return octave + splitmix_next(&load->random) % octave;
}

/* As many bytes of the one as of the other. */
static uint64_t length_bimodal(struct load *load)
{
    return splitmix_next(&load->random) % 2049 ? 4 * KIB + 64 : 8 * MIB + 64;
}

static uint64_t length_bimodal_by_pages(struct load *load)
{
    return splitmix_next(&load->random) % 2 ? 4 * KIB + 64 : 8 * MIB + 64;
}

static uint64_t length_shift_up(struct load *load)
{
    return progress(load) < WARM_ROUNDS ? 128 * KIB + 64 : 1152 * KIB + 64;
}

static uint64_t length_shift_down(struct load *load)
{
    return progress(load) < WARM_ROUNDS ? 1152 * KIB + 64 : 128 * KIB + 64;
}

/* One page in ten thousand is as large as any may be. */
static uint64_t length_odd(struct load *load)
{
    return splitmix_next(&load->random) % 10000 ? 128 * KIB + 64 : 64 * MIB;
}

static const struct mix {
    const char *name;
    mix_length *length;
} mixes[] = {
    {"uniform 128 KiB + 64", length_uniform},
    {"log-uniform 1 B .. 64 MiB", length_mixed},
    {"log-uniform 4 KiB .. 4 MiB", length_moderate},
    {"4 KiB and 8 MiB, equal bytes", length_bimodal},
    {"4 KiB and 8 MiB, equal pages", length_bimodal_by_pages},
    {"shift 128 KiB to 1152 KiB", length_shift_up},
    {"shift 1152 KiB to 128 KiB", length_shift_down},
    {"128 KiB, 1 in 10,000 is 64 MiB", length_odd},
};

static void pages_init(struct pages *pages)
{
    *pages = (struct pages){.length = calloc(MAX_SLOTS, sizeof *pages->length),
                            .unused = calloc(MAX_SLOTS, sizeof *pages->unused),
                            .number = calloc(MAX_SLOTS, sizeof *pages->number)};
    CHECK(pages->length && pages->unused && pages->number);
    CHECK(replacement_new(MAX_SLOTS, &pages->r) == 0);
    for (uint32_t slot = MAX_SLOTS; slot-- > 0;)
        pages->unused[pages->n_unused++] = slot;
}

static void pages_fini(struct pages *pages)
{
    replacement_free(pages->r);
    free(pages->length);
    free(pages->unused);
    free(pages->number);
}

static uint32_t pages_add(struct pages *pages, uint64_t length, uint64_t number)
{
    uint32_t slot = pages->unused[--pages->n_unused];
    pages->length[slot] = (uint32_t)length;
    pages->number[slot] = number;
    pages->live_bytes += length;
    replacement_insert(pages->r, slot, SLOT_NONE);
    return slot;
}

static void pages_evict(struct pages *pages, uint32_t slot)
{
    if (replacement_is_retired(pages->r, slot))
        pages->retired_bytes -= pages->length[slot];
    pages->live_bytes -= pages->length[slot];
    pages->length[slot] = 0;
    pages->unused[pages->n_unused++] = slot;
    replacement_remove(pages->r, slot);
}

static bool pages_use(struct pages *pages, uint32_t slot, uint64_t number)
{
    if (!pages->length[slot] || pages->number[slot] != number ||
        replacement_is_retired(pages->r, slot))
        return false;
    replacement_touch(pages->r, slot);
    return true;
}

static void load_init(struct load *load, uint64_t pool_bytes, uint64_t seed)
{
    *load = (struct load){.random = seed, .pins_random = ~seed, .pool_bytes = pool_bytes};
    CHECK(extents_new(pool_bytes / EXTENT_UNIT_BYTES, MAX_SLOTS, &load->x) == 0);
    pages_init(&load->pool);
    pages_init(&load->ideal);
}

static void load_fini(struct load *load)
{
    extents_free(load->x);
    pages_fini(&load->pool);
    pages_fini(&load->ideal);
}

static void evict(struct load *load, uint32_t slot)
{
    load->figures.evicted_bytes += load->pool.length[slot];
    pages_evict(&load->pool, slot);
    extents_release(load->x, extents_of_slot(load->x, slot));
}

/* A page that is being read is so for all of a choice. */
static bool may_evict(void *ctx, uint32_t slot)
{
    const struct load *load = ctx;
    uint64_t reads = load->pins_random + (load->figures.rooms << 32) + slot;
    return splitmix_next(&reads) % PIN_ONE_IN != 0;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static bool make_room(struct load *load, uint64_t units)
{
    uint32_t n;
    uint64_t begin_ns = now_ns(), before = load->pool.live_bytes;
    int rc =
        room_make(load->x, load->pool.r, units, may_evict, load, load->evicted, MAX_EVICTED, &n);
    load->figures.room_ns += now_ns() - begin_ns;
    load->figures.rooms++;
    if (rc)
        return false;
    for (uint32_t i = 0; i < n; i++)
        evict(load, load->evicted[i]);
    if (before - load->pool.live_bytes > load->figures.most_bytes)
        load->figures.most_bytes = before - load->pool.live_bytes;
    if (n > load->figures.most_pages)
        load->figures.most_pages = n;
    return true;
}

static void store_ideal(struct load *load, uint64_t length)
{
    struct pages *ideal = &load->ideal;
    while (!ideal->n_unused || ideal->live_bytes + length > load->pool_bytes)
        pages_evict(ideal, replacement_victim(ideal->r));
    load->ideal_slot_of[load->n_stored % RECENT] = pages_add(ideal, length, load->n_stored);
}

static void retire_ahead(struct load *load)
{
    struct pages *pool = &load->pool;
    while (pool->retired_bytes + extents_free_units(load->x) * EXTENT_UNIT_BYTES <
           load->pool_bytes / AHEAD_SHARE) {
        uint32_t slot = replacement_coldest(pool->r);
        pool->retired_bytes += pool->length[slot];
        replacement_retire(pool->r, slot);
    }
}

static void store(struct load *load, uint64_t length)
{
    struct pages *pool = &load->pool;
    uint64_t units = extents_units_of(length);
    load->stored_bytes += length;
    if (!pool->n_unused)
        evict(load, replacement_victim(pool->r));
    uint32_t slot = pool->unused[pool->n_unused - 1];
    if (extents_take(load->x, units, slot) == EXTENT_NONE) {
        if (!make_room(load, units)) {
            load->figures.refused++;
            return;
        }
        slot = pool->unused[pool->n_unused - 1];
        CHECK(extents_take(load->x, units, slot) != EXTENT_NONE);
    }
    load->slot_of[load->n_stored % RECENT] = pages_add(pool, length, load->n_stored);
    store_ideal(load, length);
    load->n_stored++;
    load->figures.stores++;
    load->figures.bytes += length;
}

/* Uses a page again: one of the last few stored more often than one of twice a pool ago. */
static void use_again(struct load *load)
{
    uint64_t limit = 4ull * replacement_count(load->ideal.r) + 1;
    uint32_t octaves = 64 - (uint32_t)__builtin_clzll(limit < RECENT ? limit : RECENT - 1);
    uint64_t octave = UINT64_C(1) << splitmix_next(&load->random) % octaves;
    uint64_t back = splitmix_next(&load->random) % octave;
    if (back >= load->n_stored)
        return;
    uint64_t number = load->n_stored - 1 - back;
    load->figures.uses++;
    load->figures.hits += pages_use(&load->pool, load->slot_of[number % RECENT], number);
    load->figures.ideal_hits +=
        pages_use(&load->ideal, load->ideal_slot_of[number % RECENT], number);
}

static void run(struct load *load, mix_length *length)
{
    bool warm = false;
    while (progress(load) < ROUNDS) {
        if (!warm && progress(load) >= WARM_ROUNDS) {
            load->figures = (struct figures){.least_fill = 1};
            warm = true;
        }
        store(load, length(load));
        retire_ahead(load);
        use_again(load);
        use_again(load);
        double fill = (double)load->pool.live_bytes / (double)load->pool_bytes;
        load->figures.fill += fill;
        if (fill < load->figures.least_fill)
            load->figures.least_fill = fill;
    }
}

static void print_row(const char *name, const struct figures *f)
{
    printf("| %s | %.1f %% | %.1f %% | %.3f | %.1f MiB, %llu | %llu | %.2f %% | %.2f %% | %.0f |\n",
           name, 100 * f->fill / (double)(f->stores + f->refused), 100 * f->least_fill,
           (double)f->evicted_bytes / (double)f->bytes, (double)f->most_bytes / (double)MIB,
           (unsigned long long)f->most_pages, (unsigned long long)f->refused,
           100 * (double)f->hits / (double)f->uses, 100 * (double)f->ideal_hits / (double)f->uses,
           f->rooms ? (double)f->room_ns / (double)f->rooms : 0);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"pool-mib", required_argument, NULL, 'p'}, {"seed", required_argument, NULL, 's'}, {0}};
    uint64_t pool_bytes = 4096 * MIB, seed = 1;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 'p')
            pool_bytes = strtoull(optarg, NULL, 0) * MIB;
        else if (c == 's')
            seed = strtoull(optarg, NULL, 0);
        else
            return 2;
    }
    if (pool_bytes < 128 * MIB) {
        fprintf(stderr,
                "bench-pool-fill: --pool-mib must be 128 or more: two of the largest pages\n");
        return 2;
    }
    printf("Pool of %llu MiB, seed %llu.\n\n"
           "| mix | fill, mean | fill, least | evicted per byte stored "
           "| most for one page: bytes, pages | refused | uses found | uses found, ideal "
           "| ns a choice |\n|---|---|---|---|---|---|---|---|---|\n",
           (unsigned long long)(pool_bytes / MIB), (unsigned long long)seed);
    struct load *load = calloc(1, sizeof *load);
    CHECK(load);
    for (size_t i = 0; i < sizeof mixes / sizeof *mixes; i++) {
        load_init(load, pool_bytes, seed);
        run(load, mixes[i].length);
        print_row(mixes[i].name, &load->figures);
        load_fini(load);
    }
    free(load);
    return 0;
}
