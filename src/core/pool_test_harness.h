/* SPDX-License-Identifier: Apache-2.0 */
/* pool_test_harness.h - for tests: a pool without payload, and pages that are stored in it. */
#ifndef CORE_POOL_TEST_HARNESS_H
#define CORE_POOL_TEST_HARNESS_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/metric.h"
#include "base/protection.h"
#include "base/seqtable.h"
#include "base/splitmix.h"
#include "core/pool.h"
#include "core/replacement.h"

enum { SLOTS = 64, POOL_BYTES = 64 * 1024, PAGE_BYTES = 4096 - 8 };

struct fixture {
    struct core_config config;
    struct metrics metrics;
    struct pool *pool;
};

static inline struct fixture *fixture_new(uint32_t slots, uint64_t bytes)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    fixture->config = (struct core_config){
        .headers = calloc(slots, sizeof(struct slot_header)),
        .slot_count = slots,
        .pool_bytes = bytes,
        .metrics = &fixture->metrics,
    };
    assert_int_equal(pool_new(&fixture->config, &fixture->pool), 0);
    return fixture;
}

static inline int setup(void **state)
{
    *state = fixture_new(SLOTS, POOL_BYTES);
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *fixture = *state;
    protection_enable_all();
    pool_free(fixture->pool);
    free(fixture->config.headers);
    free(fixture);
    return 0;
}

static inline struct core_page page_of(uint64_t number, uint32_t length_bytes)
{
    return (struct core_page){.digest = {splitmix_of(2 * number), splitmix_of(2 * number + 1)},
                              .identity = {1, 9},
                              .ring_position = number,
                              .length_bytes = length_bytes,
                              .name_len = 8};
}

/* Reserved, sealed, published; the page's slot and generation are in *ret_page. */
static inline int store_page(struct fixture *fixture, struct core_page *ret_page)
{
    if (pool_gone_is_long(fixture->pool)) {
        const struct pool_gone *gone;
        pool_take_gone(fixture->pool, &gone);
    }
    pool_begin_batch(fixture->pool);
    int error = pool_reserve(fixture->pool, ret_page);
    if (error)
        return error;
    assert_true(
        slot_word_seal(&fixture->config.headers[ret_page->slot].word, ret_page->generation));
    return pool_publish(fixture->pool, ret_page);
}

static inline int store(struct fixture *fixture, uint64_t number, uint32_t length_bytes,
                        struct core_page *ret_page)
{
    *ret_page = page_of(number, length_bytes);
    return store_page(fixture, ret_page);
}

static inline bool is_here(const struct fixture *fixture, uint64_t number)
{
    struct seqtable_value value;
    struct location place;
    if (seqtable_find(pool_index(fixture->pool), page_of(number, 1).digest, &value) != 0)
        return false;
    location_unpack(value.bytes, &place);
    return place.length_bytes > 0;
}

static inline uint64_t word_of(const struct fixture *fixture, const struct core_page *page)
{
    return atomic_load(&fixture->config.headers[page->slot].word);
}

static inline struct pool_usage usage_of(const struct fixture *fixture)
{
    struct pool_usage usage;
    pool_measure(fixture->pool, &usage);
    return usage;
}

static inline uint32_t fill(struct fixture *fixture, uint64_t from, uint32_t n)
{
    struct core_page page;
    uint32_t stored = 0;
    for (uint32_t i = 0; i < n; i++)
        stored += store(fixture, from + i, PAGE_BYTES, &page) == 0;
    return stored;
}

/* A test that gets such a pool of SLOTS slots. */
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
