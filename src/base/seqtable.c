/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seqtable.c - one writer, readers that never wait, and no false hit.
 *
 * Who: one thread writes (put, remove, walk), any thread reads (find, count, bytes).  The writer
 * alone owns `segments` and `sequence`; everything else that both touch is an atomic word.
 *
 * Where an entry is: the top bits of key.hi name a segment, the other bits a home bucket in it; the
 * entry lies there or in one of the PROBE_MAX buckets behind it, with no empty bucket in between.
 * There is no wrapping round: each half has PROBE_MAX spare buckets at its end.  A segment owns two
 * halves of address space and lives in one of them.  To grow, it is copied to the other half, the
 * segment's layout word is changed, and the memory of the first half is given back.
 *
 *     layout word:   63     moves     32 31   home buckets   1  0
 *                    odd: entries move  |                    | half
 *
 * Why a hit is never false.  A reader copies a bucket between two looks at its sequence
 * (seqtable_bucket.h), and every write of any bucket takes the next number from one counter of the
 * table: a bucket bears no number again because it was emptied, moved, or given back to the kernel
 * and filled anew.  The counter wraps after 2^31 writes.  A reader would have to be held up between
 * its two looks for exactly a multiple of 2^31 writes (minutes, at full speed), the last of them to
 * this bucket.  Even that would be no wrong byte: what is found here is a claim that is verified
 * again at the page's slot.
 *
 * Why a miss is certain.  Entries change places only while the layout word is odd (removal shifts
 * entries back into the gap) or between two layouts (growth).  A reader that found nothing looks at
 * the layout again: if it is even and still the same, nothing has moved under the search.
 */
#include "base/seqtable.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/check.h"
#include "base/seqtable_bucket.h"

enum {
    SEGMENT_ENTRIES = 4096,     /* at most, on average: growing one takes less than 1 ms */
    SEGMENT_SPARE_ENTRIES = 64, /* with a quarter more: 17 standard deviations of an even spread */
    SEGMENT_FIRST_BUCKETS = 64, /* one page of memory */
    LOAD_PERCENT = 80,          /* 64 / 0.80 = 80 bytes an entry, and 100 after growth by 1/4 */
    PROBE_MAX = 512,            /* among 10^6 entries at full load the longest was 200 */
    FIND_TRIES = 16,            /* a bucket is written in some 10 ns, a gap closed within 1 us */
};

#define LAYOUT_MOVE (UINT64_C(1) << 32)
/* 2^64 / golden ratio: spreads keys that are numbers and no hashes. */
#define SPREAD UINT64_C(0x9e3779b97f4a7c15)

struct segment {
    uint32_t count;
    uint32_t end; /* no entry at this position or behind it */
};

struct seqtable {
    struct bucket *buckets; /* segment 0 half 0, half 1, segment 1 half 0 ... */
    uint64_t reserved_bytes;
    uint32_t segment_count, segment_shift;
    uint32_t half_buckets;
    uint32_t segment_buckets_max, segment_entries_max;
    _Atomic uint64_t *layouts; /* one a segment */
    struct segment *segments;
    uint8_t apart[64]; /* what changes at every write shares no cache line with what readers read */
    uint32_t sequence;
    _Atomic uint64_t count, buckets_used;
#ifdef PEERCACHE_PROTECTIONS_SWITCHABLE
    _Atomic uint32_t again_every_nth, finds;
#endif
};

/* A segment as one layout word describes it. */
struct span {
    struct bucket *buckets;
    uint32_t n;
};

static uint32_t segment_index(const struct seqtable *table, struct id128 key)
{
    return key.hi >> 1 >> table->segment_shift;
}

static uint32_t layout_buckets(uint64_t layout)
{
    return (uint32_t)layout >> 1;
}

static struct span layout_span(const struct seqtable *table, uint32_t index, uint64_t layout)
{
    uint64_t half = 2 * (uint64_t)index + (layout & 1);
    return (struct span){table->buckets + half * table->half_buckets, layout_buckets(layout)};
}

/* A multiplication maps a hash to 0 .. n - 1 without a division. */
static struct bucket *span_home(struct span span, struct id128 key)
{
    uint64_t hash = (key.lo ^ (key.hi << 32 | key.hi >> 32)) * SPREAD;
    return span.buckets + (uint64_t)((unsigned __int128)hash * span.n >> 64);
}

static int span_find(struct span span, struct id128 key, struct seqtable_value *ret_value)
{
    if (span.n == 0)
        return -ENOENT;
    const struct bucket *home = span_home(span, key);
    for (const struct bucket *bucket = home; bucket < home + PROBE_MAX; bucket++) {
        struct id128 found = bucket_key(bucket);
        if (id128_equal(found, key))
            return bucket_read(bucket, key, ret_value);
        if (id128_is_zero(found))
            return -ENOENT;
        SEQTABLE_PAUSE();
    }
    return -ENOENT;
}

static bool layout_held(const struct seqtable *table, uint32_t index, uint64_t layout)
{
    return !(layout & LAYOUT_MOVE) && word_load(&table->layouts[index]) == layout;
}

/* Lets the writer, perhaps on the same core's other thread, go on. */
#if defined(__x86_64__)
#define relax() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define relax() __asm__ volatile("yield")
#else
#define relax() ((void)0)
#endif

#ifdef PEERCACHE_PROTECTIONS_SWITCHABLE
void seqtable_inject_again(struct seqtable *table, uint32_t every_nth)
{
    atomic_store_explicit(&table->again_every_nth, every_nth, memory_order_relaxed);
}

static bool again_is_injected(const struct seqtable *table)
{
    uint32_t every_nth = atomic_load_explicit(&table->again_every_nth, memory_order_relaxed);
    if (every_nth == 0)
        return false;
    struct seqtable *counting = (struct seqtable *)table; /* finding changes nothing else */
    uint32_t finds = atomic_fetch_add_explicit(&counting->finds, 1, memory_order_relaxed);
    return (finds + 1) % every_nth == 0;
}
#else
#define again_is_injected(table) false
#endif

int seqtable_find(const struct seqtable *table, struct id128 key, struct seqtable_value *ret_value)
{
    if (id128_is_zero(key))
        return -ENOENT;
    if (again_is_injected(table))
        return -EAGAIN;
    uint32_t index = segment_index(table, key);
    for (int tries = 0; tries < FIND_TRIES; tries++) {
        uint64_t layout = word_load(&table->layouts[index]);
        int error = span_find(layout_span(table, index, layout), key, ret_value);
        if (error == 0 || (error == -ENOENT && layout_held(table, index, layout)))
            return error;
        relax();
    }
    return -EAGAIN;
}

void seqtable_prefetch(const struct seqtable *table, struct id128 key)
{
    uint32_t index = segment_index(table, key);
    struct span span = layout_span(table, index, word_load(&table->layouts[index]));
    __builtin_prefetch(span_home(span, key));
}

/* --- the writer ------------------------------------------------------------------------------ */

static struct span writer_span(const struct seqtable *table, uint32_t index)
{
    return layout_span(table, index, word_load(&table->layouts[index]));
}

static uint32_t next_sequence(struct seqtable *table)
{
    table->sequence += 2;
    if (table->sequence == 0)
        table->sequence = 2;
    return table->sequence;
}

static void bucket_empty(struct seqtable *table, struct bucket *bucket)
{
    bucket_write(bucket, next_sequence(table), (struct id128){0}, &(struct seqtable_value){0});
}

static void bucket_move(struct seqtable *table, struct bucket *from, struct bucket *to)
{
    struct id128 key = bucket_key(from);
    struct seqtable_value value;
    CHECK(bucket_read(from, key, &value) == 0);
    bucket_write(to, next_sequence(table), key, &value);
}

/* The bucket that holds the key, or NULL and the empty bucket where it would go (NULL: none). */
static struct bucket *span_search(struct span span, struct id128 key, struct bucket **ret_empty)
{
    struct bucket *home = span_home(span, key);
    *ret_empty = NULL;
    for (struct bucket *bucket = home; bucket < home + PROBE_MAX; bucket++) {
        struct id128 found = bucket_key(bucket);
        if (id128_equal(found, key))
            return bucket;
        if (id128_is_zero(found)) {
            *ret_empty = bucket;
            return NULL;
        }
    }
    return NULL;
}

/* Readers that still hold the layout before see entries or zeroes, and look at the layout again. */
static void span_clear(struct seqtable *table, struct span span, uint32_t end)
{
    if (madvise(span.buckets, table->half_buckets * sizeof *span.buckets, MADV_DONTNEED) == 0)
        return;
    /* The host program has locked its memory, which cannot be given back then. */
    for (uint32_t i = 0; i < end; i++)
        if (!id128_is_zero(bucket_key(&span.buckets[i])))
            bucket_empty(table, &span.buckets[i]);
}

/* Copies the entries at positions below @from_end; -ENOSPC, or the first position not used. */
static int span_copy(struct seqtable *table, struct span from, uint32_t from_end, struct span to)
{
    uint32_t end = 0;
    for (uint32_t i = 0; i < from_end; i++) {
        struct id128 key = bucket_key(&from.buckets[i]);
        struct bucket *empty;
        if (id128_is_zero(key))
            continue;
        CHECK(!span_search(to, key, &empty));
        if (!empty)
            return -ENOSPC;
        bucket_move(table, &from.buckets[i], empty);
        if (empty - to.buckets >= end)
            end = empty - to.buckets + 1;
    }
    return (int)end;
}

static uint32_t larger_size(const struct seqtable *table, uint32_t n)
{
    uint32_t larger = n + n / 4;
    if (larger < SEGMENT_FIRST_BUCKETS)
        larger = SEGMENT_FIRST_BUCKETS;
    return larger < table->segment_buckets_max ? larger : table->segment_buckets_max;
}

static int segment_grow(struct seqtable *table, uint32_t index)
{
    uint64_t layout = word_load(&table->layouts[index]);
    uint32_t n = layout_buckets(layout), larger = larger_size(table, n);
    if (larger == n)
        return -ENOSPC;
    uint64_t next_layout = (layout ^ 1) + 2 * (uint64_t)(larger - n);
    struct span from = layout_span(table, index, layout);
    struct span to = layout_span(table, index, next_layout);
    struct segment *segment = &table->segments[index];
    int end = span_copy(table, from, segment->end, to);
    if (end < 0) {
        span_clear(table, to, table->half_buckets);
        return end;
    }
    word_store(&table->layouts[index], next_layout);
    span_clear(table, from, segment->end);
    segment->end = end;
    return 0;
}

/* An empty bucket for a key that is not in the table; NULL: the segment is full. */
static struct bucket *segment_room(struct seqtable *table, uint32_t index, struct id128 key,
                                   struct bucket *empty)
{
    uint32_t count = table->segments[index].count + 1;
    uint64_t n = writer_span(table, index).n;
    if (count > table->segment_entries_max)
        return NULL;
    if (empty && count * UINT64_C(100) <= n * LOAD_PERCENT)
        return empty;
    if (segment_grow(table, index) != 0)
        return NULL;
    span_search(writer_span(table, index), key, &empty);
    return empty;
}

static uint64_t segment_buckets_used(const struct seqtable *table, uint32_t index)
{
    uint32_t n = writer_span(table, index).n, end = table->segments[index].end;
    return end > n ? end : n;
}

static int segment_insert(struct seqtable *table, uint32_t index, struct id128 key,
                          const struct seqtable_value *value, struct bucket *empty)
{
    struct segment *segment = &table->segments[index];
    uint64_t used_before = segment_buckets_used(table, index);
    struct bucket *bucket = segment_room(table, index, key, empty);
    if (bucket) {
        bucket_write(bucket, next_sequence(table), key, value);
        uint32_t position = bucket - writer_span(table, index).buckets;
        segment->end = position < segment->end ? segment->end : position + 1;
        segment->count++;
        atomic_fetch_add_explicit(&table->count, 1, memory_order_relaxed);
    }
    atomic_fetch_add_explicit(&table->buckets_used,
                              segment_buckets_used(table, index) - used_before,
                              memory_order_relaxed);
    return bucket ? 0 : -ENOSPC;
}

int seqtable_put(struct seqtable *table, struct id128 key, const struct seqtable_value *value)
{
    if (id128_is_zero(key))
        return -EINVAL;
    uint32_t index = segment_index(table, key);
    struct bucket *empty, *bucket = span_search(writer_span(table, index), key, &empty);
    if (!bucket)
        return segment_insert(table, index, key, value, empty);
    bucket_write(bucket, next_sequence(table), key, value);
    return 0;
}

/* Fills the gap with the entries behind it that may lie there, so that no search ends too early. */
static void close_gap(struct seqtable *table, struct span span, struct bucket *gap)
{
    const struct bucket *last = span.buckets + table->half_buckets;
    for (struct bucket *next = gap + 1; next < last; next++) {
        struct id128 key = bucket_key(next);
        if (id128_is_zero(key))
            break;
        if (span_home(span, key) <= gap) {
            bucket_move(table, next, gap);
            gap = next;
        }
    }
    bucket_empty(table, gap);
}

int seqtable_remove(struct seqtable *table, struct id128 key)
{
    if (id128_is_zero(key))
        return -ENOENT;
    uint32_t index = segment_index(table, key);
    struct span span = writer_span(table, index);
    struct bucket *empty, *bucket = span_search(span, key, &empty);
    if (!bucket)
        return -ENOENT;
    uint64_t layout = word_load(&table->layouts[index]);
    word_store(&table->layouts[index], layout + LAYOUT_MOVE);
    close_gap(table, span, bucket);
    word_store(&table->layouts[index], layout + 2 * LAYOUT_MOVE);
    table->segments[index].count--;
    atomic_fetch_sub_explicit(&table->count, 1, memory_order_relaxed);
    return 0;
}

/* --- walks ----------------------------------------------------------------------------------- */

/* Backwards, since removal moves entries towards the start: what was not seen yet stays ahead.
 * The cursor is (home buckets 16 | positions left 16); after growth the segment begins anew. */
static int segment_walk(const struct seqtable *table, uint32_t index, uint32_t *cursor,
                        uint32_t *budget, struct id128 *ret_key, struct seqtable_value *ret_value)
{
    struct span span = writer_span(table, index);
    uint32_t left = *cursor >> 16 == span.n ? *cursor & 0xffff : table->segments[index].end;
    int got = 0;
    while (left > 0 && got == 0) {
        if (*budget == 0) {
            got = -EAGAIN;
            break;
        }
        --*budget;
        const struct bucket *bucket = &span.buckets[--left];
        struct id128 key = bucket_key(bucket);
        if (id128_is_zero(key))
            continue;
        CHECK(bucket_read(bucket, key, ret_value) == 0);
        *ret_key = key;
        got = 1;
    }
    *cursor = span.n << 16 | left;
    return got;
}

int seqtable_walk(const struct seqtable *table, uint64_t *cursor, uint32_t max_buckets,
                  struct id128 *ret_key, struct seqtable_value *ret_value)
{
    uint32_t index = *cursor >> 32, inner = (uint32_t)*cursor, budget = max_buckets;
    int got = 0;
    while (index < table->segment_count && got == 0) {
        got = budget ? segment_walk(table, index, &inner, &budget, ret_key, ret_value) : -EAGAIN;
        if (got == 0) {
            index++; /* and one of the budget, so that a row of empty segments has its bound too */
            inner = 0;
            budget -= budget > 0;
        }
    }
    *cursor = (uint64_t)index << 32 | inner;
    return got;
}

int seqtable_walk_near(const struct seqtable *table, struct id128 key, uint32_t *cursor,
                       uint32_t max_buckets, struct id128 *ret_key,
                       struct seqtable_value *ret_value)
{
    uint32_t index = segment_index(table, key), end = table->segments[index].end;
    struct span span = writer_span(table, index);
    if (end == 0)
        return 0;
    uint32_t home = (uint32_t)(span_home(span, key) - span.buckets) % end;
    while (*cursor < end && *cursor < max_buckets) {
        const struct bucket *bucket = &span.buckets[(home + (*cursor)++) % end];
        struct id128 found = bucket_key(bucket);
        if (id128_is_zero(found))
            continue;
        CHECK(bucket_read(bucket, found, ret_value) == 0);
        *ret_key = found;
        return 1;
    }
    return 0;
}

uint64_t seqtable_count(const struct seqtable *table)
{
    return atomic_load_explicit(&table->count, memory_order_relaxed);
}

uint64_t seqtable_bytes(const struct seqtable *table)
{
    return atomic_load_explicit(&table->buckets_used, memory_order_relaxed) * sizeof(struct bucket);
}

/* --- life ------------------------------------------------------------------------------------ */

static void choose_sizes(struct seqtable *table, uint64_t max_entries)
{
    uint32_t bits = 0;
    while (max_entries > (uint64_t)SEGMENT_ENTRIES << bits)
        bits++;
    table->segment_count = UINT32_C(1) << bits;
    table->segment_shift = 63 - bits;
    uint32_t mean = (max_entries + table->segment_count - 1) >> bits;
    table->segment_entries_max = mean + mean / 4 + SEGMENT_SPARE_ENTRIES;
    table->segment_buckets_max = table->segment_entries_max * 100 / LOAD_PERCENT + 1;
    uint32_t page_buckets = (uint32_t)sysconf(_SC_PAGESIZE) / sizeof(struct bucket);
    uint32_t pages = (table->segment_buckets_max + PROBE_MAX + page_buckets - 1) / page_buckets;
    table->half_buckets = pages * page_buckets;
    table->reserved_bytes =
        2 * sizeof(struct bucket) * (uint64_t)table->half_buckets * table->segment_count;
    CHECK(table->half_buckets <= UINT16_MAX); /* the cursor of a walk */
}

static int reserve(struct seqtable *table)
{
    void *memory = mmap(NULL, table->reserved_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return -ENOMEM;
    table->buckets = memory;
    /* A huge page would make every segment resident at its full size.  Kernels without them fail
     * this call, and need it no less. */
    madvise(memory, table->reserved_bytes, MADV_NOHUGEPAGE);
    return 0;
}

int seqtable_new(uint64_t max_entries, struct seqtable **ret_table)
{
    if (max_entries == 0 || max_entries > SEQTABLE_ENTRIES_MAX)
        return -EINVAL;
    struct seqtable *table = calloc(1, sizeof *table);
    if (!table)
        return -ENOMEM;
    choose_sizes(table, max_entries);
    table->layouts = calloc(table->segment_count, sizeof *table->layouts);
    table->segments = calloc(table->segment_count, sizeof *table->segments);
    if (!table->layouts || !table->segments || reserve(table) != 0) {
        seqtable_free(table);
        return -ENOMEM;
    }
    *ret_table = table;
    return 0;
}

void seqtable_free(struct seqtable *table)
{
    if (!table)
        return;
    if (table->buckets)
        munmap(table->buckets, table->reserved_bytes);
    free(table->segments);
    free((void *)table->layouts);
    free(table);
}
