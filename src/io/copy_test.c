/* SPDX-License-Identifier: Apache-2.0 */
/* copy_test.c - segments of every shape against a copy byte by byte, and where a copy stops. */
#include "io/copy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <xxhash.h>

enum { SEED = 20240607, PAGE_MAX_BYTES = 3 * COPY_PIECE_BYTES, SEGMENTS_MAX = 400, GUARD = 0xee };

static uint64_t random_state;

static uint64_t random_below(uint64_t n)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (random_state >> 33) % n;
}

/* A page in one run, and the same bytes as segments that lie in another order with gaps of guard
 * bytes between them. */
struct page {
    uint8_t *run, *scattered;
    uint64_t len_bytes, scattered_bytes;
    struct peercache_segment segments[SEGMENTS_MAX];
    size_t n;
};

static void page_cut(struct page *page, uint64_t len_bytes, size_t n)
{
    uint64_t left = len_bytes, at = 0;
    *page = (struct page){.len_bytes = len_bytes, .n = n};
    page->scattered_bytes = len_bytes + n * 8;
    page->run = malloc(len_bytes);
    page->scattered = malloc(page->scattered_bytes);
    memset(page->scattered, GUARD, page->scattered_bytes);
    for (uint64_t i = 0; i < len_bytes; i++)
        page->run[i] = (uint8_t)random_below(256);
    for (size_t i = 0; i < n; i++) {
        uint64_t len = i == n - 1 ? left : random_below(2 * left / (n - i) + 1);
        if (len > left || (i != n - 1 && random_below(10) == 0))
            len = 0;
        page->segments[i].len_bytes = len;
        left -= len;
    }
    for (size_t i = n; i-- > 0; at += page->segments[i].len_bytes + 8)
        page->segments[i].addr = page->scattered + at + random_below(8);
}

static void page_fill_segments(struct page *page)
{
    uint64_t at = 0;
    for (size_t i = 0; i < page->n; i++)
        for (uint64_t j = 0; j < page->segments[i].len_bytes; j++)
            ((uint8_t *)page->segments[i].addr)[j] = page->run[at++];
    assert_int_equal(at, page->len_bytes);
}

static uint64_t count_guards(const struct page *page)
{
    uint64_t guards = 0;
    for (uint64_t i = 0; i < page->scattered_bytes; i++)
        guards += page->scattered[i] == GUARD;
    return guards;
}

static void page_free(struct page *page)
{
    free(page->run);
    free(page->scattered);
}

static void check_gather(struct page *page)
{
    uint8_t *dst = malloc(page->len_bytes + 1);
    uint64_t checksum = 0, expected = XXH3_64bits(page->run, page->len_bytes);
    page_fill_segments(page);
    dst[page->len_bytes] = GUARD;
    assert_int_equal(copy_gather(page->segments, page->n, dst, page->len_bytes), 0);
    assert_memory_equal(dst, page->run, page->len_bytes);
    memset(dst, 0, page->len_bytes);
    assert_int_equal(copy_gather_hash(page->segments, page->n, dst, page->len_bytes, &checksum), 0);
    assert_memory_equal(dst, page->run, page->len_bytes);
    assert_true(checksum == expected);
    assert_true(copy_checksum(page->run, page->len_bytes) == expected);
    assert_int_equal(dst[page->len_bytes], GUARD);
    free(dst);
}

static void check_scatter(struct page *page, bool hashed)
{
    struct page expected = *page;
    uint64_t checksum = 0;
    expected.scattered = malloc(page->scattered_bytes);
    memset(expected.scattered, GUARD, page->scattered_bytes);
    for (size_t i = 0; i < page->n; i++)
        expected.segments[i].addr =
            expected.scattered + ((uint8_t *)page->segments[i].addr - page->scattered);
    page_fill_segments(&expected);
    memset(page->scattered, GUARD, page->scattered_bytes);
    int error = hashed
                    ? copy_scatter_hash(page->run, page->len_bytes, page->segments, page->n,
                                        UINT64_MAX, &checksum)
                    : copy_scatter(page->run, page->len_bytes, page->segments, page->n, UINT64_MAX);
    assert_int_equal(error, 0);
    assert_memory_equal(page->scattered, expected.scattered, page->scattered_bytes);
    if (hashed)
        assert_true(checksum == XXH3_64bits(page->run, page->len_bytes));
    free(expected.scattered);
}

static void every_shape_arrives_whole(void **state)
{
    (void)state;
    const uint64_t lengths[] = {1,      2,      63,     4095,   4096,   4097,
                                100001, 131072, 262144, 262145, 524288, PAGE_MAX_BYTES - 3};
    const size_t counts[] = {1, 2, 3, 160, SEGMENTS_MAX};
    random_state = SEED;
    print_message("# seed %d\n", SEED);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        for (size_t j = 0; j < sizeof counts / sizeof *counts; j++) {
            struct page page;
            page_cut(&page, lengths[i], counts[j]);
            check_scatter(&page, false);
            check_scatter(&page, true);
            check_gather(&page);
            page_free(&page);
        }
}

static void segments_that_do_not_add_up_are_refused(void **state)
{
    (void)state;
    uint8_t run[16], bytes[16];
    uint64_t checksum = 1;
    const struct peercache_segment segments[] = {{bytes, 4}, {bytes + 4, 0}, {bytes + 4, 4}};
    for (uint64_t len = 7; len <= 9; len += 2) {
        memset(run, GUARD, sizeof run);
        memset(bytes, GUARD, sizeof bytes);
        assert_int_equal(copy_gather(segments, 3, run, len), -EINVAL);
        assert_int_equal(copy_gather_hash(segments, 3, run, len, &checksum), -EINVAL);
        assert_int_equal(run[9], GUARD);
        memset(run, 0, sizeof run);
        assert_int_equal(copy_scatter(run, len, segments, 3, UINT64_MAX), -EINVAL);
        assert_int_equal(copy_scatter_hash(run, len, segments, 3, UINT64_MAX, &checksum), -EINVAL);
        assert_int_equal(bytes[8], GUARD);
    }
    assert_int_equal(checksum, 1);
}

static void no_segments_hold_nothing(void **state)
{
    (void)state;
    uint8_t run[1] = {GUARD};
    uint64_t checksum;
    const struct peercache_segment empty = {NULL, 0};
    assert_int_equal(copy_gather(NULL, 0, run, 0), 0);
    assert_int_equal(copy_gather(&empty, 1, run, 0), 0);
    assert_int_equal(copy_gather(NULL, 0, run, 1), -EINVAL);
    assert_int_equal(copy_scatter(run, 1, &empty, 1, UINT64_MAX), -EINVAL);
    assert_int_equal(copy_gather_hash(NULL, 0, run, 0, &checksum), 0);
    assert_true(checksum == XXH3_64bits(run, 0));
    assert_int_equal(run[0], GUARD);
}

/* A deadline that has passed lets the first piece through and stops before the second. */
static void deadline_stops_between_pieces(void **state)
{
    (void)state;
    struct page page;
    uint64_t checksum = 1;
    random_state = SEED;
    page_cut(&page, 2 * COPY_PIECE_BYTES, 3);
    memset(page.run, 1, page.len_bytes);
    uint64_t all = page.scattered_bytes;
    assert_int_equal(copy_scatter(page.run, page.len_bytes, page.segments, 3, 0), -ETIMEDOUT);
    assert_int_equal(count_guards(&page), all - COPY_PIECE_BYTES);
    memset(page.scattered, GUARD, all);
    assert_int_equal(copy_scatter_hash(page.run, page.len_bytes, page.segments, 3, 0, &checksum),
                     -ETIMEDOUT);
    assert_int_equal(count_guards(&page), all - COPY_PIECE_BYTES);
    assert_int_equal(checksum, 1);
    page_free(&page);

    page_cut(&page, COPY_PIECE_BYTES, 3);
    assert_int_equal(copy_scatter(page.run, page.len_bytes, page.segments, 3, 0), 0);
    page_free(&page);
}

static uint64_t hook_calls[8];
static size_t hook_count;

static void record_piece(void *context, uint64_t done_bytes)
{
    (void)context;
    assert_in_range(hook_count, 0, 7);
    hook_calls[hook_count++] = done_bytes;
}

static void hook_runs_before_each_piece(void **state)
{
    (void)state;
    struct page page;
    random_state = SEED;
    page_cut(&page, 2 * COPY_PIECE_BYTES + 1, 160);
    copy_set_hook(record_piece, NULL);
    assert_int_equal(copy_scatter(page.run, page.len_bytes, page.segments, 160, UINT64_MAX), 0);
    copy_set_hook(NULL, NULL);
    assert_int_equal(hook_count, 3);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(hook_calls[i], i * COPY_PIECE_BYTES);
    page_free(&page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_shape_arrives_whole),
        cmocka_unit_test(segments_that_do_not_add_up_are_refused),
        cmocka_unit_test(no_segments_hold_nothing),
        cmocka_unit_test(deadline_stops_between_pieces),
        cmocka_unit_test(hook_runs_before_each_piece),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
