/* SPDX-License-Identifier: Apache-2.0 */
/*
 * page_test_harness.h - for tests: pages whose bytes follow from a number, set and got through the
 * public calls.
 */
#ifndef API_PAGE_TEST_HARNESS_H
#define API_PAGE_TEST_HARNESS_H

#include "api/api_test_harness.h"

enum { PAGE_BYTES = 10000 };

/* A page with bytes of its own, in three segments of odd lengths, one of them empty. */
struct test_page {
    struct peercache_page page;
    struct peercache_segment segments[3];
    char name[32];
    uint8_t bytes[PAGE_BYTES];
};

static inline uint8_t byte_of(uint64_t number, uint32_t at)
{
    uint64_t mixed = (number * PAGE_BYTES + at + 1) * UINT64_C(0x9e3779b97f4a7c15);
    return (uint8_t)(mixed >> 40);
}

static inline void page_make(struct test_page *page, uint64_t number, bool with_bytes)
{
    page->segments[0] = (struct peercache_segment){page->bytes, 1};
    page->segments[1] = (struct peercache_segment){NULL, 0};
    page->segments[2] = (struct peercache_segment){page->bytes + 1, PAGE_BYTES - 1};
    snprintf(page->name, sizeof page->name, "page %llu", (unsigned long long)number);
    page->page = (struct peercache_page){.name = page->name,
                                         .name_len = (uint32_t)strlen(page->name),
                                         .segments = page->segments,
                                         .segment_count = 3};
    for (uint32_t i = 0; i < PAGE_BYTES; i++)
        page->bytes[i] = with_bytes ? byte_of(number, i) : 0xee;
}

static inline bool page_is_whole(const struct test_page *page, uint64_t number)
{
    for (uint32_t i = 0; i < PAGE_BYTES; i++)
        if (page->bytes[i] != byte_of(number, i))
            return false;
    return true;
}

static inline uint16_t set_within(struct peercache_namespace *ns, uint64_t number,
                                  uint32_t timeout_ms)
{
    static struct test_page page;
    struct peercache_result result = {0};
    page_make(&page, number, true);
    assert_int_equal(peercache_set(ns, &page.page, &result, 1, timeout_ms), 0);
    return result.outcome;
}

static inline uint16_t set(struct peercache_namespace *ns, uint64_t number)
{
    return set_within(ns, number, PEERCACHE_TIMEOUT_DEFAULT);
}

/* The outcome of a get, whose bytes are compared when it is a hit. */
static inline uint16_t get_by(struct peercache_namespace *ns, uint64_t number, uint32_t timeout_ms,
                              struct peercache_result *ret_result)
{
    static struct test_page page;
    *ret_result = (struct peercache_result){0};
    page_make(&page, number, false);
    assert_int_equal(peercache_get(ns, &page.page, ret_result, 1, timeout_ms), 0);
    assert_int_equal(ret_result->outcome == PEERCACHE_HIT, page_is_whole(&page, number));
    return ret_result->outcome;
}

static inline uint16_t get(struct peercache_namespace *ns, uint64_t number)
{
    struct peercache_result result;
    return get_by(ns, number, PEERCACHE_TIMEOUT_DEFAULT, &result);
}

static inline uint16_t exists(struct peercache_namespace *ns, uint64_t number)
{
    static struct test_page page;
    struct peercache_result result = {0};
    page_make(&page, number, false);
    page.page.segments = NULL; /* exists looks at names only */
    page.page.segment_count = 0;
    assert_int_equal(peercache_exists(ns, &page.page, &result, 1, PEERCACHE_TIMEOUT_DEFAULT), 0);
    return result.outcome;
}

/* Two nodes that know each other. */
static inline void open_pair(struct peercache_node *nodes[2], const char *option)
{
    int port = test_free_port();
    for (int i = 0; i < 2; i++)
        nodes[i] = test_open_member(port, option);
    test_await_cluster(nodes, 2);
}

#endif
