/* SPDX-License-Identifier: Apache-2.0 */
/* page_test.c - get, set, exists and clear through the public calls, by one node. */
#include "api/page_test_harness.h"

/* --- one node --- */

static void page_comes_back_as_it_was_set(void **state)
{
    (void)state;
    struct peercache_node *node = test_open(NULL);
    struct peercache_namespace *ns = test_namespace(node, "a=1");
    struct peercache_result result;
    assert_int_equal(exists(ns, 1), PEERCACHE_MISS_UNKNOWN);
    assert_int_equal(get(ns, 1), PEERCACHE_MISS_UNKNOWN);
    assert_int_equal(set(ns, 1), PEERCACHE_STORED);
    assert_int_equal(set(ns, 1), PEERCACHE_ALREADY_STORED);
    assert_int_equal(exists(ns, 1), PEERCACHE_FOUND);
    assert_int_equal(get_by(ns, 1, PEERCACHE_TIMEOUT_DEFAULT, &result), PEERCACHE_HIT);
    assert_int_equal(result.len_bytes, PAGE_BYTES);
    assert_int_equal(result.via, PEERCACHE_VIA_LOCAL);
    assert_int_equal(result.tier, PEERCACHE_TIER_MEMORY);
    assert_int_equal(test_status(node, "pool", "live_pages"), 1);
    assert_int_equal(test_status(node, "counters", "peercache_pool_bytes_used"),
                     test_status(node, "pool", "live_bytes"));
    peercache_node_close(node);
}

/* More pages than a batch inside, some there and some not, in one call. */
static void batch_has_a_result_for_each_page(void **state)
{
    enum { PAGES = 700 };
    struct test_page *pages = calloc(PAGES, sizeof *pages);
    struct peercache_page calls[PAGES];
    struct peercache_result results[PAGES];
    (void)state;
    struct peercache_node *node =
        test_open((const char *const[]){"global_segment_size=32mb", NULL});
    struct peercache_namespace *ns = test_namespace(node, "a=1");
    for (int i = 0; i < PAGES; i++) {
        page_make(&pages[i], (uint64_t)i, true);
        calls[i] = pages[i].page;
    }
    assert_int_equal(peercache_set(ns, calls, results, PAGES, 10000), 0);
    for (int i = 0; i < PAGES; i++)
        assert_int_equal(results[i].outcome, PEERCACHE_STORED);
    for (int i = 0; i < PAGES; i++) {
        page_make(&pages[i], (uint64_t)(i % 2 ? i : 10000 + i), false);
        calls[i] = pages[i].page;
    }
    assert_int_equal(peercache_get(ns, calls, results, PAGES, 10000), 0);
    for (int i = 0; i < PAGES; i++) {
        assert_int_equal(results[i].outcome, i % 2 ? PEERCACHE_HIT : PEERCACHE_MISS_UNKNOWN);
        if (i % 2)
            assert_true(page_is_whole(&pages[i], (uint64_t)i));
    }
    assert_int_equal(peercache_get(ns, NULL, NULL, 0, 0), 0);
    peercache_node_close(node);
    free(pages);
}

/* Without waiting: what is here is served, what is set is stored. */
static void timeout_now_serves_what_is_here(void **state)
{
    (void)state;
    struct peercache_node *node = test_open(NULL);
    struct peercache_namespace *ns = test_namespace(node, "a=1");
    struct peercache_result result;
    set(ns, 1);
    assert_int_equal(get_by(ns, 1, PEERCACHE_TIMEOUT_NOW, &result), PEERCACHE_HIT);
    assert_int_equal(get_by(ns, 2, PEERCACHE_TIMEOUT_NOW, &result), PEERCACHE_MISS_UNKNOWN);
    uint16_t outcome = set_within(ns, 3, PEERCACHE_TIMEOUT_NOW);
    assert_true(outcome == PEERCACHE_STORED || outcome == PEERCACHE_STORED_LOCAL);
    assert_int_equal(get(ns, 3), PEERCACHE_HIT);
    peercache_node_close(node);
}

static void page_of_another_length_is_a_miss_that_says_so(void **state)
{
    (void)state;
    struct peercache_node *node = test_open(NULL);
    struct peercache_namespace *ns = test_namespace(node, "a=1");
    struct test_page page;
    struct peercache_result result;
    set(ns, 1);
    page_make(&page, 1, false);
    page.segments[2].len_bytes--;
    assert_int_equal(peercache_get(ns, &page.page, &result, 1, 1000), 0);
    assert_int_equal(result.outcome, PEERCACHE_MISS_LENGTH);
    assert_int_equal(result.len_bytes, PAGE_BYTES);
    peercache_node_close(node);
}

static void namespaces_are_apart(void **state)
{
    (void)state;
    struct peercache_node *node = test_open(NULL);
    struct peercache_namespace *one = test_namespace(node, "a=1"),
                               *other = test_namespace(node, "a=2");
    struct peercache_namespace *same = test_namespace(node, "a=1");
    set(one, 1);
    assert_int_equal(get(other, 1), PEERCACHE_MISS_UNKNOWN);
    assert_int_equal(get(same, 1), PEERCACHE_HIT);
    peercache_namespace_close(same);
    assert_int_equal(get(one, 1), PEERCACHE_HIT);
    peercache_node_close(node);
}

static void cleared_pages_are_gone_and_can_be_set_anew(void **state)
{
    (void)state;
    struct peercache_node *node = test_open(NULL);
    struct peercache_namespace *one = test_namespace(node, "a=1"),
                               *other = test_namespace(node, "a=2");
    set(one, 1);
    set(other, 1);
    assert_int_equal(peercache_namespace_clear(one, PEERCACHE_TIMEOUT_DEFAULT), 0);
    assert_int_equal(get(one, 1), PEERCACHE_MISS_UNKNOWN);
    assert_int_equal(exists(one, 1), PEERCACHE_MISS_UNKNOWN);
    assert_int_equal(get(other, 1), PEERCACHE_HIT);
    assert_int_equal(set(one, 1), PEERCACHE_STORED);
    assert_int_equal(get(one, 1), PEERCACHE_HIT);
    assert_int_equal(peercache_namespace_clear(NULL, 0), -EINVAL);
    peercache_node_close(node);
}

static uint16_t set_part(struct peercache_namespace *ns, uint64_t number, uint64_t group)
{
    static struct test_page page;
    struct peercache_result result = {0};
    page_make(&page, number, true);
    page.page.group = group;
    assert_int_equal(peercache_set(ns, &page.page, &result, 1, PEERCACHE_TIMEOUT_DEFAULT), 0);
    return result.outcome;
}

/* The name and the number make the group, over all namespaces: who has either other stays. */
static void group_is_withdrawn_with_a_cleared_part(void **state)
{
    (void)state;
    struct peercache_node *node = test_open(NULL);
    struct peercache_namespace *kv = test_namespace(node, "a=kv"),
                               *side = test_namespace(node, "a=side");
    for (uint64_t number = 1; number <= 2; number++)
        for (int i = 0; i < 2; i++)
            assert_int_equal(set_part(i ? kv : side, number, number == 1 ? 7 : 0),
                             PEERCACHE_STORED);
    set_part(kv, 3, 7);
    set_part(side, 3, 8);
    set_part(side, 4, 7);
    assert_int_equal(test_status(node, "pool", "live_pages"), 7);
    assert_int_equal(peercache_namespace_clear(kv, PEERCACHE_TIMEOUT_DEFAULT), 0);
    test_await(node, "pool", "live_pages", 3);
    assert_int_equal(exists(side, 1), PEERCACHE_MISS_UNKNOWN);
    for (uint64_t number = 2; number <= 4; number++)
        assert_int_equal(get(side, number), PEERCACHE_HIT);
    peercache_node_close(node);
}

/* A get or exists may name the group, and may name another one. */
static void group_does_not_matter_to_readers(void **state)
{
    static struct test_page page;
    struct peercache_result result;
    (void)state;
    struct peercache_node *node = test_open(NULL);
    struct peercache_namespace *ns = test_namespace(node, "a=1");
    assert_int_equal(set_part(ns, 1, 7), PEERCACHE_STORED);
    page_make(&page, 1, false);
    page.page.group = 8;
    assert_int_equal(peercache_exists(ns, &page.page, &result, 1, PEERCACHE_TIMEOUT_DEFAULT), 0);
    assert_int_equal(result.outcome, PEERCACHE_FOUND);
    assert_int_equal(peercache_get(ns, &page.page, &result, 1, PEERCACHE_TIMEOUT_DEFAULT), 0);
    assert_int_equal(result.outcome, PEERCACHE_HIT);
    assert_true(page_is_whole(&page, 1));
    assert_int_equal(set_part(ns, 1, 8), PEERCACHE_ALREADY_STORED);
    peercache_node_close(node);
}

/* Only the KV pages are ever asked for, by a get that need not know their group. */
static void group_is_evicted_by_its_last_use(void **state)
{
    (void)state;
    struct peercache_node *node = test_open(NULL);
    struct peercache_namespace *kv = test_namespace(node, "a=kv"),
                               *side = test_namespace(node, "a=side");
    for (uint64_t number = 0; number < 2; number++) {
        set_part(side, number, UINT64_MAX);
        set_part(kv, number, UINT64_MAX);
    }
    for (uint64_t i = 0; i < 2000; i++) { /* more than twice the pool */
        assert_int_equal(set(kv, 1000 + i), PEERCACHE_STORED);
        assert_int_equal(get(kv, 0), PEERCACHE_HIT);
    }
    assert_int_equal(get(side, 0), PEERCACHE_HIT);
    assert_int_equal(exists(kv, 1), PEERCACHE_MISS_UNKNOWN);
    assert_int_equal(exists(side, 1), PEERCACHE_MISS_UNKNOWN);
    peercache_node_close(node);
}

/* --- what is refused --- */

struct refusal {
    const char *what;
    struct peercache_page page;
    uint16_t of_set, of_get, of_exists;
};

#define INVALID PEERCACHE_REFUSED_INVALID
#define LARGE PEERCACHE_REFUSED_TOO_LARGE
#define UNSUPPORTED PEERCACHE_REFUSED_UNSUPPORTED
#define UNKNOWN PEERCACHE_MISS_UNKNOWN

static void pages_out_of_range_are_refused_one_by_one(void **state)
{
    static uint8_t bytes[16], name[256];
    static struct peercache_segment good[] = {{bytes, 16}};
    static struct peercache_segment none[] = {{bytes, 0}};
    static struct peercache_segment null[] = {{NULL, 16}};
    static struct peercache_segment huge[] = {{bytes, PEERCACHE_PAGE_MAX_BYTES + 1}};
    static struct peercache_segment halves[] = {{bytes, 64 << 20}, {bytes, 64 << 20}};
    static struct peercache_segment wrapping[] = {{bytes, UINT64_MAX}, {bytes, 17}};
    static struct peercache_segment all[] = {{bytes, 64 << 20}}; /* more than this pool */
#define PAGE(name_, len_, segments_, count_, ...)                                                  \
    {                                                                                              \
        .name = name_, .name_len = len_, .segments = segments_, .segment_count = count_,           \
        __VA_ARGS__                                                                                \
    }
#define GOOD(...) PAGE(name, 9, good, 1, __VA_ARGS__)
    static const struct refusal refusals[] = {
        {"name of 0 bytes", PAGE(name, 0, good, 1), INVALID, INVALID, INVALID},
        {"name of 256 bytes", PAGE(name, 256, good, 1), INVALID, INVALID, INVALID},
        {"no name", PAGE(NULL, 9, good, 1), INVALID, INVALID, INVALID},
        {"no segments", PAGE(name, 9, good, 0), INVALID, INVALID, UNKNOWN},
        {"NULL segments", PAGE(name, 9, NULL, 1), INVALID, INVALID, UNKNOWN},
        {"length 0", PAGE(name, 9, none, 1), INVALID, INVALID, UNKNOWN},
        {"NULL segment", PAGE(name, 9, null, 1), INVALID, INVALID, UNKNOWN},
        {"too many segments", PAGE(name, 9, good, 65537), INVALID, INVALID, UNKNOWN},
        {"above the most", PAGE(name, 9, huge, 1), LARGE, LARGE, UNKNOWN},
        {"above the most in two", PAGE(name, 9, halves, 2), LARGE, LARGE, UNKNOWN},
        {"sum runs over", PAGE(name, 9, wrapping, 2), LARGE, LARGE, UNKNOWN},
        {"above the pool", PAGE(name, 9, all, 1), LARGE, UNKNOWN, UNKNOWN},
        {"ttl", GOOD(.ttl_s = 1), UNSUPPORTED, UNSUPPORTED, UNSUPPORTED},
        {"flags", GOOD(.flags = 1), UNSUPPORTED, UNSUPPORTED, UNSUPPORTED},
        {"first reserved", GOOD(.reserved = {1}), UNSUPPORTED, UNSUPPORTED, UNSUPPORTED},
        {"last reserved", GOOD(.reserved = {0, 0, 0, 0, 1}), UNSUPPORTED, UNSUPPORTED, UNSUPPORTED},
        {"parent of 0 bytes", GOOD(.parent = name), INVALID, INVALID, INVALID},
        {"parent of 256 bytes", GOOD(.parent = name, .parent_len = 256), INVALID, INVALID, INVALID},
    };
    (void)state;
    struct peercache_node *node = test_open(NULL);
    struct peercache_namespace *ns = test_namespace(node, "a=1");
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        const struct refusal *refusal = &refusals[i];
        struct peercache_result results[3];
        assert_int_equal(peercache_set(ns, &refusal->page, &results[0], 1, 1000), 0);
        assert_int_equal(peercache_get(ns, &refusal->page, &results[1], 1, 1000), 0);
        assert_int_equal(peercache_exists(ns, &refusal->page, &results[2], 1, 1000), 0);
        if (results[0].outcome != refusal->of_set || results[1].outcome != refusal->of_get ||
            results[2].outcome != refusal->of_exists)
            fail_msg("%s: set %s, get %s, exists %s", refusal->what,
                     peercache_outcome_name(results[0].outcome),
                     peercache_outcome_name(results[1].outcome),
                     peercache_outcome_name(results[2].outcome));
    }
    assert_int_equal(test_status(node, "pool", "live_pages"), 0);
    assert_int_equal(test_status(node, "pool", "filling_pages"), 0);
    peercache_node_close(node);
}

/* One bad page among good ones costs only itself. */
static void bad_page_costs_only_itself(void **state)
{
    static struct test_page pages[3];
    struct peercache_page calls[3];
    struct peercache_result results[3];
    (void)state;
    struct peercache_node *node = test_open(NULL);
    struct peercache_namespace *ns = test_namespace(node, "a=1");
    for (int i = 0; i < 3; i++) {
        page_make(&pages[i], (uint64_t)i, true);
        calls[i] = pages[i].page;
    }
    calls[1].flags = 1;
    assert_int_equal(peercache_set(ns, calls, results, 3, 1000), 0);
    assert_int_equal(results[0].outcome, PEERCACHE_STORED);
    assert_int_equal(results[1].outcome, PEERCACHE_REFUSED_UNSUPPORTED);
    assert_int_equal(results[2].outcome, PEERCACHE_STORED);
    assert_int_equal(get(ns, 2), PEERCACHE_HIT);
    assert_int_equal(peercache_set(NULL, calls, results, 3, 0), -EINVAL);
    assert_int_equal(peercache_get(ns, NULL, results, 3, 0), -EINVAL);
    assert_int_equal(peercache_exists(ns, calls, NULL, 3, 0), -EINVAL);
    peercache_node_close(node);
}

/* As many segments and bytes of a name as there may be, at odd addresses and lengths. */
static void longest_name_and_most_segments_are_taken(void **state)
{
    static struct peercache_segment segments[PEERCACHE_SEGMENTS_MAX];
    static uint8_t bytes[4 * PEERCACHE_SEGMENTS_MAX], back[4 * PEERCACHE_SEGMENTS_MAX];
    static char name[PEERCACHE_NAME_MAX];
    struct peercache_page page = {.name = name,
                                  .name_len = sizeof name,
                                  .segments = segments,
                                  .segment_count = PEERCACHE_SEGMENTS_MAX};
    struct peercache_result result;
    (void)state;
    struct peercache_node *node = test_open(NULL);
    struct peercache_namespace *ns = test_namespace(node, "a=1");
    size_t at = 1;
    for (uint32_t i = 0; i < PEERCACHE_SEGMENTS_MAX; at += i % 4, i++)
        segments[i] = (struct peercache_segment){bytes + at, i % 4};
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = byte_of(7, (uint32_t)i % PAGE_BYTES);
    assert_int_equal(peercache_set(ns, &page, &result, 1, 5000), 0);
    assert_int_equal(result.outcome, PEERCACHE_STORED);
    for (uint32_t i = 0; i < PEERCACHE_SEGMENTS_MAX; i++)
        segments[i].addr = back + ((uint8_t *)segments[i].addr - bytes);
    assert_int_equal(peercache_get(ns, &page, &result, 1, 5000), 0);
    assert_int_equal(result.outcome, PEERCACHE_HIT);
    assert_memory_equal(back + 1, bytes + 1, at - 1);
    assert_int_equal(back[0], 0);
    peercache_node_close(node);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(page_comes_back_as_it_was_set),
        cmocka_unit_test(batch_has_a_result_for_each_page),
        cmocka_unit_test(timeout_now_serves_what_is_here),
        cmocka_unit_test(page_of_another_length_is_a_miss_that_says_so),
        cmocka_unit_test(namespaces_are_apart),
        cmocka_unit_test(cleared_pages_are_gone_and_can_be_set_anew),
        cmocka_unit_test(group_is_withdrawn_with_a_cleared_part),
        cmocka_unit_test(group_does_not_matter_to_readers),
        cmocka_unit_test(group_is_evicted_by_its_last_use),
        cmocka_unit_test(pages_out_of_range_are_refused_one_by_one),
        cmocka_unit_test(bad_page_costs_only_itself),
        cmocka_unit_test(longest_name_and_most_segments_are_taken),
    };
    return cmocka_run_group_tests_name("api/page", tests, NULL, NULL);
}
