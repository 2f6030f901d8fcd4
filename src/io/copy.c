/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy.c - every copy of payload that the processor makes.
 *
 * Runs in application threads (set, and get by shared memory or from the own pool).  It owns
 * nothing, allocates nothing and takes no lock: both sides belong to the caller until the call
 * returns.  A source in another process's pool may change while it is read; what was copied then
 * counts for nothing, and the slot word says so afterwards, so the race is harmless as long as the
 * compiler cannot see it.  For that reason all bytes go through copy_bytes().
 */
#include "io/copy.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#define XXH_STATIC_LINKING_ONLY /* The state of a stream is on the stack: no allocation per page. */
#include <xxhash.h>

#include "base/clock.h"
#include "base/sanitizer.h"

enum {
    /*
     * The step in which a page is copied and hashed.  The hash must find the bytes in the first
     * cache (32 KiB, and the source passes through it too), and below 4 KiB the start of each
     * memcpy shows.  Pages of 128 KiB into memory out of cache, share of a bare memcpy: 0.66 with
     * 1 KiB, 0.84 to 0.88 with 4 KiB, 0.80 to 0.87 with 8 KiB, 0.71 to 0.75 with 16 KiB, 0.78 when
     * the whole page is copied first and hashed then (EPYC 9004, gcc 12, glibc 2.36).
     */
    HASHED_STEP_BYTES = 4096,
};

/* ThreadSanitizer sees memcpy whatever is said of its caller, so it is told to overlook the reads.
 * Writes to a pool and to the caller's segments stay under its eyes. */
#if UNDER_THREAD_SANITIZER
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
#else
#define AnnotateIgnoreReadsBegin(file, line) ((void)0)
#define AnnotateIgnoreReadsEnd(file, line) ((void)0)
#endif

#define OPAQUE __attribute__((noinline, no_sanitize("thread")))

/* The one function that copies payload. */
OPAQUE static void copy_bytes(void *dst, const void *src, uint64_t len_bytes)
{
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    memcpy(dst, src, len_bytes);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
    __asm__ volatile("" : : "r"(dst), "r"(src) : "memory");
}

/* --- the hash ------------------------------------------------------------------------------- */

/* The library's ordinary entry uses the instructions that every processor has.  Where it also has
 * the entry that picks the widest ones at run time (x86), that one is 1.5 times as fast. */
extern XXH_errorcode XXH3_64bits_update_dispatch(XXH3_state_t *state, const void *input, size_t len)
    __attribute__((weak));

static void hash_update(XXH3_state_t *hash, const void *bytes, uint64_t len_bytes)
{
    if (XXH3_64bits_update_dispatch)
        XXH3_64bits_update_dispatch(hash, bytes, len_bytes);
    else
        XXH3_64bits_update(hash, bytes, len_bytes);
}

uint64_t copy_checksum(const void *src, uint64_t len_bytes)
{
    XXH3_state_t hash;
    XXH3_64bits_reset(&hash);
    hash_update(&hash, src, len_bytes);
    return XXH3_64bits_digest(&hash);
}

uint64_t copy_checksum_segments(const struct peercache_segment *segments, size_t n)
{
    XXH3_state_t hash;
    XXH3_64bits_reset(&hash);
    for (size_t i = 0; i < n; i++)
        if (segments[i].len_bytes > 0)
            hash_update(&hash, segments[i].addr, segments[i].len_bytes);
    return XXH3_64bits_digest(&hash);
}

/* --- segments ------------------------------------------------------------------------------- */

struct cursor {
    const struct peercache_segment *segments;
    size_t left;           /* the present segment and those behind it */
    uint64_t offset_bytes; /* into the present one */
};

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The next run of memory of at most @most_bytes; 0 when the segments are used up. */
static uint64_t cursor_take(struct cursor *cursor, uint64_t most_bytes, uint8_t **ret_run)
{
    for (; cursor->left; cursor->left--, cursor->segments++, cursor->offset_bytes = 0) {
        uint64_t len = least(cursor->segments->len_bytes - cursor->offset_bytes, most_bytes);
        if (len == 0)
            continue;
        *ret_run = (uint8_t *)cursor->segments->addr + cursor->offset_bytes;
        cursor->offset_bytes += len;
        return len;
    }
    return 0;
}

static int cursor_end(struct cursor *cursor)
{
    uint8_t *run;
    return cursor_take(cursor, 1, &run) == 0 ? 0 : -EINVAL;
}

static int fill(struct cursor *cursor, uint8_t *dst, uint64_t len_bytes)
{
    while (len_bytes) {
        uint8_t *run;
        uint64_t len = cursor_take(cursor, len_bytes, &run);
        if (len == 0)
            return -EINVAL;
        copy_bytes(dst, run, len);
        dst += len;
        len_bytes -= len;
    }
    return 0;
}

int copy_gather(const struct peercache_segment *segments, size_t n, void *dst, uint64_t len_bytes)
{
    struct cursor cursor = {segments, n, 0};
    int error = fill(&cursor, dst, len_bytes);
    return error ? error : cursor_end(&cursor);
}

/* Hashes what it has written, which is in one piece however many segments it came from. */
int copy_gather_hash(const struct peercache_segment *segments, size_t n, void *dst,
                     uint64_t len_bytes, uint64_t *ret_checksum)
{
    struct cursor cursor = {segments, n, 0};
    XXH3_state_t hash;
    XXH3_64bits_reset(&hash);
    for (uint64_t done = 0; done < len_bytes; done += HASHED_STEP_BYTES) {
        uint8_t *step = (uint8_t *)dst + done;
        uint64_t len = least(len_bytes - done, HASHED_STEP_BYTES);
        int error = fill(&cursor, step, len);
        if (error)
            return error;
        hash_update(&hash, step, len);
    }
    int error = cursor_end(&cursor);
    if (!error)
        *ret_checksum = XXH3_64bits_digest(&hash);
    return error;
}

#ifdef PEERCACHE_PROTECTIONS_SWITCHABLE
static void (*hook)(void *context, uint64_t done_bytes);
static void *hook_context;

void copy_set_hook(void (*before_piece)(void *context, uint64_t done_bytes), void *context)
{
    hook = before_piece;
    hook_context = context;
}

static void run_hook(uint64_t done_bytes)
{
    if (hook)
        hook(hook_context, done_bytes);
}
#else
static void run_hook(uint64_t done_bytes)
{
    (void)done_bytes;
}
#endif

/* One piece: no look at the clock inside. */
static int spread(struct cursor *cursor, const uint8_t *src, uint64_t len_bytes, XXH3_state_t *hash)
{
    uint64_t step = hash ? HASHED_STEP_BYTES : COPY_PIECE_BYTES;
    while (len_bytes) {
        uint8_t *run;
        uint64_t len = cursor_take(cursor, least(len_bytes, step), &run);
        if (len == 0)
            return -EINVAL;
        copy_bytes(run, src, len);
        if (hash)
            hash_update(hash, run, len);
        src += len;
        len_bytes -= len;
    }
    return 0;
}

static int scatter(const uint8_t *src, uint64_t len_bytes, struct cursor cursor,
                   uint64_t deadline_ns, XXH3_state_t *hash)
{
    for (uint64_t done = 0; done < len_bytes; done += COPY_PIECE_BYTES) {
        if (done && clock_now_ns() >= deadline_ns)
            return -ETIMEDOUT;
        run_hook(done);
        int error = spread(&cursor, src + done, least(len_bytes - done, COPY_PIECE_BYTES), hash);
        if (error)
            return error;
    }
    return cursor_end(&cursor);
}

int copy_scatter(const void *src, uint64_t len_bytes, const struct peercache_segment *segments,
                 size_t n, uint64_t deadline_ns)
{
    return scatter(src, len_bytes, (struct cursor){segments, n, 0}, deadline_ns, NULL);
}

int copy_scatter_hash(const void *src, uint64_t len_bytes, const struct peercache_segment *segments,
                      size_t n, uint64_t deadline_ns, uint64_t *ret_checksum)
{
    XXH3_state_t hash;
    XXH3_64bits_reset(&hash);
    struct cursor cursor = {segments, n, 0};
    int error = scatter(src, len_bytes, cursor, deadline_ns, &hash);
    if (!error)
        *ret_checksum = XXH3_64bits_digest(&hash);
    return error;
}
