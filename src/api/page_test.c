/* SPDX-License-Identifier: Apache-2.0 */
/* page_test.c - get, set, exists and clear through the public calls, by real nodes on loopback. */
#include "api/api_test_harness.h"

#include <dirent.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { PAGE_BYTES = 10000 };

/* A page with bytes of its own, in three segments of odd lengths, one of them empty. */
struct test_page {
    struct peercache_page page;
    struct peercache_segment segments[3];
    char name[32];
    uint8_t bytes[PAGE_BYTES];
};

static uint8_t byte_of(uint64_t number, uint32_t at)
{
    uint64_t mixed = (number * PAGE_BYTES + at + 1) * UINT64_C(0x9e3779b97f4a7c15);
    return (uint8_t)(mixed >> 40);
}

static void page_make(struct test_page *page, uint64_t number, bool with_bytes)
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

static bool page_is_whole(const struct test_page *page, uint64_t number)
{
    for (uint32_t i = 0; i < PAGE_BYTES; i++)
        if (page->bytes[i] != byte_of(number, i))
            return false;
    return true;
}

static uint16_t set_within(struct peercache_namespace *ns, uint64_t number, uint32_t timeout_ms)
{
    static struct test_page page;
    struct peercache_result result = {0};
    page_make(&page, number, true);
    assert_int_equal(peercache_set(ns, &page.page, &result, 1, timeout_ms), 0);
    return result.outcome;
}

static uint16_t set(struct peercache_namespace *ns, uint64_t number)
{
    return set_within(ns, number, PEERCACHE_TIMEOUT_DEFAULT);
}

/* The outcome of a get, whose bytes are compared when it is a hit. */
static uint16_t get_by(struct peercache_namespace *ns, uint64_t number, uint32_t timeout_ms,
                       struct peercache_result *ret_result)
{
    static struct test_page page;
    *ret_result = (struct peercache_result){0};
    page_make(&page, number, false);
    assert_int_equal(peercache_get(ns, &page.page, ret_result, 1, timeout_ms), 0);
    assert_int_equal(ret_result->outcome == PEERCACHE_HIT, page_is_whole(&page, number));
    return ret_result->outcome;
}

static uint16_t get(struct peercache_namespace *ns, uint64_t number)
{
    struct peercache_result result;
    return get_by(ns, number, PEERCACHE_TIMEOUT_DEFAULT, &result);
}

static uint16_t exists(struct peercache_namespace *ns, uint64_t number)
{
    static struct test_page page;
    struct peercache_result result = {0};
    page_make(&page, number, false);
    page.page.segments = NULL; /* exists looks at names only */
    page.page.segment_count = 0;
    assert_int_equal(peercache_exists(ns, &page.page, &result, 1, PEERCACHE_TIMEOUT_DEFAULT), 0);
    return result.outcome;
}

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

/* --- life of a node --- */

static void stopped_node_refuses_every_page(void **state)
{
    (void)state;
    struct peercache_node *node = test_open(NULL);
    struct peercache_namespace *ns = test_namespace(node, "a=1");
    char *text;
    set(ns, 1);
    peercache_node_stop(node);
    peercache_node_stop(node);
    assert_int_equal(get(ns, 1), PEERCACHE_REFUSED_CLOSED);
    assert_int_equal(set(ns, 2), PEERCACHE_REFUSED_CLOSED);
    assert_int_equal(exists(ns, 1), PEERCACHE_REFUSED_CLOSED);
    assert_int_equal(peercache_namespace_clear(ns, 100), -ESHUTDOWN);
    assert_int_equal(peercache_node_status(node, &text), -ESHUTDOWN);
    peercache_node_close(node);
}

/* A child has the handles and none of the threads; it must not disturb its parent either. */
static void forked_child_is_told_so(void **state)
{
    (void)state;
    static struct test_page page;
    struct peercache_result result;
    struct peercache_node *node = test_open(NULL);
    struct peercache_namespace *ns = test_namespace(node, "a=1"), *ignored;
    struct peercache_region *region;
    const char *field = "b=1";
    char *text;
    int status;
    set(ns, 1);
    page_make(&page, 1, false);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        bool ok = peercache_get(ns, &page.page, &result, 1, 1000) == -ECHILD &&
                  peercache_set(ns, &page.page, &result, 1, 1000) == -ECHILD &&
                  peercache_exists(ns, &page.page, &result, 1, 1000) == -ECHILD &&
                  peercache_namespace_clear(ns, 1000) == -ECHILD &&
                  peercache_namespace_open(node, &field, 1, &ignored, NULL) == -ECHILD &&
                  peercache_region_register(node, &page, 10, &region, NULL) == -ECHILD &&
                  peercache_node_status(node, &text) == -ECHILD;
        peercache_namespace_close(ns);
        peercache_node_stop(node);
        peercache_node_close(node);
        _exit(ok ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(get(ns, 1), PEERCACHE_HIT);
    peercache_node_close(node);
}

static int count_entries(const char *folder)
{
    DIR *dir = opendir(folder);
    int n = 0;
    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

/* Sanitizers keep freed memory for a while, and look for leaks themselves. */
#ifndef __has_feature
#define __has_feature(name) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) ||                               \
    __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define KEEPS_FREED_MEMORY true
#else
#define KEEPS_FREED_MEMORY false
#endif

static long mapped_pages(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    long pages = 0;
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%ld", &pages), 1);
    fclose(file);
    return pages;
}

static void open_use_close(int discovery_port)
{
    struct peercache_node *node = test_open_member(discovery_port, NULL);
    struct peercache_namespace *ns = test_namespace(node, "a=1");
    set(ns, 1);
    assert_int_equal(get(ns, 1), PEERCACHE_HIT);
    peercache_node_close(node);
}

/* Addresses, not resident memory: the pool's file would be counted in both, and address space does
 * not depend on what the kernel has reclaimed.  What allocators keep shows in the first rounds. */
static void opening_and_closing_a_hundred_times_leaves_nothing(void **state)
{
    (void)state;
    int port = test_free_port();
    for (int i = 0; i < 10; i++)
        open_use_close(port);
    int fds = count_entries("/proc/self/fd"), threads = count_entries("/proc/self/task");
    long pages = mapped_pages();
    for (int i = 0; i < 100; i++)
        open_use_close(port);
    assert_int_equal(count_entries("/proc/self/fd"), fds);
    assert_int_equal(count_entries("/proc/self/task"), threads);
    if (!KEEPS_FREED_MEMORY && mapped_pages() > pages + 1024)
        fail_msg("%ld pages of 4 KiB were mapped before, %ld after", pages, mapped_pages());
}

static void same_control_port_twice_is_a_clear_error(void **state)
{
    (void)state;
    char option[64], port[16];
    struct peercache_node *second;
    struct peercache_error error;
    snprintf(port, sizeof port, "%d", test_free_port());
    snprintf(option, sizeof option, "control_port=%s", port);
    struct peercache_node *first = test_open((const char *const[]){option, NULL});
    int result = test_try_open(&second, &error, (const char *const[]){option, NULL});
    assert_int_equal(result, -EADDRINUSE);
    if (!strstr(error.text, port))
        fail_msg("the sentence is \"%s\"", error.text);
    peercache_node_close(first);
    first = test_open((const char *const[]){option, NULL}); /* free again at once */
    peercache_node_close(first);
}

/* Nobody serves the address, and it is none of this host's: the node opens and serves its own. */
static void discovery_address_that_nobody_serves_is_no_error(void **state)
{
    (void)state;
    struct peercache_node *node = test_open(
        (const char *const[]){"discovery_addr=192.0.2.1:31998", "local_hostname=127.0.0.1", NULL});
    struct peercache_namespace *ns = test_namespace(node, "a=1");
    assert_int_equal(set(ns, 1), PEERCACHE_STORED);
    assert_int_equal(get(ns, 1), PEERCACHE_HIT);
    assert_int_equal(test_status(node, "node", "is_connected"), 0);
    peercache_node_close(node);
}

static void pool_larger_than_memory_is_refused_with_both_numbers(void **state)
{
    (void)state;
    struct peercache_node *node;
    struct peercache_error error;
    int result =
        test_try_open(&node, &error, (const char *const[]){"global_segment_size=4096gb", NULL});
    assert_int_equal(result, -ENOMEM);
    double needed = 0, available = 0;
    const char *at = strstr(error.text, "needs ");
    assert_non_null(at);
    assert_int_equal(sscanf(at, "needs %lf GiB of memory and only %lf", &needed, &available), 2);
    assert_true(needed >= 4096 && available > 0 && available < needed);
    assert_non_null(strstr(error.text, "global_segment_size"));
}

/* --- two nodes --- */

static void open_pair(struct peercache_node *nodes[2], const char *option)
{
    int port = test_free_port();
    for (int i = 0; i < 2; i++)
        nodes[i] = test_open_member(port, option);
    test_await_cluster(nodes, 2);
}

static void read_each_others_pages(const char *protocol, enum peercache_via via)
{
    struct peercache_node *nodes[2];
    struct peercache_namespace *spaces[2];
    struct peercache_result result;
    open_pair(nodes, protocol);
    for (int i = 0; i < 2; i++)
        spaces[i] = test_namespace(nodes[i], "a=1");
    for (uint64_t page = 0; page < 40; page++)
        assert_int_equal(set(spaces[page % 2], page), PEERCACHE_STORED);
    for (uint64_t page = 0; page < 40; page++)
        for (int i = 0; i < 2; i++) {
            bool is_own = page % 2 == (uint64_t)i;
            assert_int_equal(exists(spaces[i], page), PEERCACHE_FOUND);
            assert_int_equal(set(spaces[i], page), PEERCACHE_ALREADY_STORED);
            assert_int_equal(get_by(spaces[i], page, PEERCACHE_TIMEOUT_DEFAULT, &result),
                             PEERCACHE_HIT);
            assert_int_equal(result.via, is_own ? PEERCACHE_VIA_LOCAL : via);
        }
    assert_int_equal(get(spaces[0], 1000), PEERCACHE_MISS_UNKNOWN);
    assert_int_equal(exists(spaces[1], 1000), PEERCACHE_MISS_UNKNOWN);
    /* Cleared by one, gone for both. */
    assert_int_equal(peercache_namespace_clear(spaces[1], 5000), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(get(spaces[i], 0), PEERCACHE_MISS_UNKNOWN);
    peercache_node_close(nodes[0]);
    peercache_node_close(nodes[1]);
}

static void two_nodes_share_pages_by_shared_memory(void **state)
{
    (void)state;
    read_each_others_pages("protocol=shm", PEERCACHE_VIA_SHM);
}

static void two_nodes_share_pages_by_tcp(void **state)
{
    (void)state;
    read_each_others_pages("protocol=tcp", PEERCACHE_VIA_TCP);
}

static void checksums_are_compared_when_asked_for(void **state)
{
    (void)state;
    read_each_others_pages("verify=checksum", PEERCACHE_VIA_SHM);
}

static void pages_of_a_node_that_closed_are_gone(void **state)
{
    (void)state;
    struct peercache_node *nodes[2];
    open_pair(nodes, NULL);
    struct peercache_namespace *ns = test_namespace(nodes[0], "a=1");
    set(test_namespace(nodes[1], "a=1"), 1);
    assert_int_equal(get(ns, 1), PEERCACHE_HIT);
    peercache_node_close(nodes[1]);
    test_await(nodes[0], "directory", "ring_nodes", 1);
    assert_int_equal(exists(ns, 1), PEERCACHE_MISS_UNKNOWN);
    assert_int_equal(get(ns, 1), PEERCACHE_MISS_UNKNOWN);
    assert_int_equal(set(ns, 1), PEERCACHE_STORED);
    peercache_node_close(nodes[0]);
}

/* A cluster whose head is gone: somebody else serves the address, and the pages are still found. */
static void head_that_closed_is_replaced(void **state)
{
    (void)state;
    struct peercache_node *nodes[3];
    int port = test_free_port();
    for (int i = 0; i < 3; i++)
        nodes[i] = test_open_member(port, NULL);
    test_await_cluster(nodes, 3);
    set(test_namespace(nodes[2], "a=1"), 1);
    peercache_node_close(nodes[0]);
    test_await_cluster(nodes + 1, 2);
    assert_int_equal(get(test_namespace(nodes[1], "a=1"), 1), PEERCACHE_HIT);
    uint64_t until_ns = clock_now_ns() + WAIT_MS * UINT64_C(1000000);
    while (test_status(nodes[1], "node", "serves_discovery") +
               test_status(nodes[2], "node", "serves_discovery") !=
           1) {
        assert_true(clock_now_ns() < until_ns);
        poll(NULL, 0, 5);
    }
    for (int i = 1; i < 3; i++) {
        test_await(nodes[i], "node", "is_connected", 1);
        assert_int_equal(test_status(nodes[i], "directory", "ring_nodes"), 2);
    }
    peercache_node_close(nodes[1]);
    peercache_node_close(nodes[2]);
}

static void node_of_another_cluster_is_not_let_in(void **state)
{
    (void)state;
    int port = test_free_port();
    struct peercache_node *one = test_open_member(port, "cluster_name=one");
    struct peercache_node *other = test_open_member(port, "cluster_name=other");
    struct peercache_node *second = test_open_member(port, "cluster_name=one");
    struct peercache_namespace *ns = test_namespace(other, "a=1");
    test_await(one, "directory", "ring_nodes", 2);
    assert_int_equal(test_status(other, "directory", "ring_nodes"), 1);
    assert_int_equal(test_status(other, "node", "is_connected"), 0);
    set(test_namespace(one, "a=1"), 1);
    assert_int_equal(get(ns, 1), PEERCACHE_MISS_UNKNOWN);
    assert_int_equal(set(ns, 1), PEERCACHE_STORED); /* it serves its own */
    peercache_node_close(second);
    peercache_node_close(other);
    peercache_node_close(one);
}

/* The port of a node that is no head, given as discovery_addr by mistake. */
static void control_port_is_no_discovery_address(void **state)
{
    (void)state;
    char option[64];
    int port = test_free_port();
    snprintf(option, sizeof option, "control_port=%d", port);
    struct peercache_node *alone = test_open((const char *const[]){option, NULL});
    struct peercache_node *lost = test_open_member(port, NULL);
    poll(NULL, 0, 200); /* several heartbeats: time to do harm */
    assert_int_equal(test_status(lost, "node", "is_connected"), 0);
    assert_int_equal(test_status(alone, "node", "is_connected"), 0);
    peercache_node_close(lost);
    peercache_node_close(alone);
}

/* Threads that are in calls when their node stops come back, each with a result a page. */
struct caller {
    pthread_t thread;
    struct peercache_namespace *ns;
    uint64_t first;
    bool was_closed;
};

static void *call_until_closed(void *context)
{
    struct caller *caller = context;
    struct test_page *page = malloc(sizeof *page);
    for (uint64_t i = 0; !caller->was_closed; i++) {
        struct peercache_result result = {0};
        page_make(page, caller->first + i % 50, true);
        int error = i % 2 ? peercache_get(caller->ns, &page->page, &result, 1, 1000)
                          : peercache_set(caller->ns, &page->page, &result, 1, 1000);
        caller->was_closed = error == 0 && result.outcome == PEERCACHE_REFUSED_CLOSED;
        if (error || result.outcome == PEERCACHE_UNSET)
            break;
    }
    free(page);
    return NULL;
}

static void calls_in_flight_end_when_the_node_stops(void **state)
{
    (void)state;
    struct peercache_node *nodes[2];
    struct caller callers[4];
    open_pair(nodes, "protocol=tcp");
    for (int i = 0; i < 4; i++) {
        callers[i] =
            (struct caller){.ns = test_namespace(nodes[0], "a=1"), .first = (uint64_t)i * 100};
        assert_int_equal(pthread_create(&callers[i].thread, NULL, call_until_closed, &callers[i]),
                         0);
    }
    poll(NULL, 0, 50);
    uint64_t start_ns = clock_now_ns();
    peercache_node_stop(nodes[0]);
    for (int i = 0; i < 4; i++) {
        pthread_join(callers[i].thread, NULL);
        assert_true(callers[i].was_closed);
    }
    assert_true(clock_now_ns() - start_ns < UINT64_C(3000000000));
    peercache_node_close(nodes[0]);
    peercache_node_close(nodes[1]);
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
        cmocka_unit_test(stopped_node_refuses_every_page),
        cmocka_unit_test(forked_child_is_told_so),
        cmocka_unit_test(opening_and_closing_a_hundred_times_leaves_nothing),
        cmocka_unit_test(same_control_port_twice_is_a_clear_error),
        cmocka_unit_test(discovery_address_that_nobody_serves_is_no_error),
        cmocka_unit_test(pool_larger_than_memory_is_refused_with_both_numbers),
        cmocka_unit_test(two_nodes_share_pages_by_shared_memory),
        cmocka_unit_test(two_nodes_share_pages_by_tcp),
        cmocka_unit_test(checksums_are_compared_when_asked_for),
        cmocka_unit_test(pages_of_a_node_that_closed_are_gone),
        cmocka_unit_test(head_that_closed_is_replaced),
        cmocka_unit_test(node_of_another_cluster_is_not_let_in),
        cmocka_unit_test(control_port_is_no_discovery_address),
        cmocka_unit_test(calls_in_flight_end_when_the_node_stops),
    };
    return cmocka_run_group_tests_name("api/page", tests, NULL, NULL);
}
