/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hot_pages_test.c - readers keep what many ask for: real nodes on loopback, each a host of its own
 * (protocol=tcp).
 */
#include "api/api_test_harness.h"

#include "api/handle.h"
#include "base/protection.h"
#include "node/internal.h"

enum { NODES = 4, PAGE_BYTES = 8000, TRIES = 400 };

struct cluster {
    struct peercache_node *nodes[NODES]; /* 0 sets, the others get */
    struct peercache_namespace *namespaces[NODES];
};

static void cluster_open(struct cluster *cluster, const char *option)
{
    char discovery[64];
    snprintf(discovery, sizeof discovery, "discovery_addr=127.0.0.1:%d", test_free_port());
    for (int i = 0; i < NODES; i++) {
        cluster->nodes[i] = test_open(
            (const char *const[]){discovery, "protocol=tcp", "directory_replicas=1", option, NULL});
        cluster->namespaces[i] = test_namespace(cluster->nodes[i], "a=1");
    }
    test_await_cluster(cluster->nodes, NODES);
}

static void cluster_close(struct cluster *cluster)
{
    protection_enable_all();
    for (int i = 0; i < NODES; i++)
        peercache_node_close(cluster->nodes[i]);
}

/* No eight bytes of a page stand anywhere else: damage() looks for them. */
static uint8_t byte_of(int number, int at)
{
    uint64_t mixed = ((uint64_t)number << 32 | (uint64_t)at) * UINT64_C(0x9e3779b97f4a7c15);
    mixed = (mixed ^ mixed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    return (uint8_t)(mixed >> 56);
}

/* The outcome of a set, or of a get whose bytes are compared. */
static uint16_t call(struct peercache_namespace *ns, int number, bool is_set, bool *ret_is_whole)
{
    static uint8_t bytes[PAGE_BYTES];
    char name[16];
    struct peercache_segment segment = {bytes, PAGE_BYTES};
    struct peercache_page page = {.name = name, .segments = &segment, .segment_count = 1};
    struct peercache_result result = {0};
    page.name_len = (uint32_t)snprintf(name, sizeof name, "hot %d", number);
    for (int i = 0; i < PAGE_BYTES; i++)
        bytes[i] = is_set ? byte_of(number, i) : 0xee;
    if (is_set)
        assert_int_equal(peercache_set(ns, &page, &result, 1, 10000), 0);
    else
        assert_int_equal(peercache_get(ns, &page, &result, 1, 10000), 0);
    *ret_is_whole = true;
    for (int i = 0; i < PAGE_BYTES; i++)
        *ret_is_whole &= bytes[i] == byte_of(number, i);
    return result.outcome;
}

static void set(struct cluster *cluster, int number)
{
    bool is_whole;
    assert_int_equal(call(cluster->namespaces[0], number, true, &is_whole), PEERCACHE_STORED);
}

static void get(struct cluster *cluster, int node, int number)
{
    bool is_whole;
    assert_int_equal(call(cluster->namespaces[node], number, false, &is_whole), PEERCACHE_HIT);
    assert_true(is_whole);
}

static long long live_pages(const struct cluster *cluster, int node)
{
    return test_status(cluster->nodes[node], "pool", "live_pages");
}

static long long counter(const struct cluster *cluster, int node, const char *name)
{
    return test_status(cluster->nodes[node], "counters", name);
}

/* Reads new pages at two nodes until the second has kept one of them; its number.  Two hosts may
 * share a bit of a page's demand, and a busy machine may take the time that a copy has. */
static int make_one_hot(struct cluster *cluster)
{
    for (int number = 0; number < TRIES; number++) {
        set(cluster, number);
        get(cluster, 1, number);
        get(cluster, 2, number);
        if (live_pages(cluster, 2) > 0)
            return number;
    }
    fail_msg("no page of %d was kept by its second reader", TRIES);
    return -1;
}

static void second_reader_keeps_the_page(void **state)
{
    struct cluster cluster;
    (void)state;
    cluster_open(&cluster, NULL);
    int number = make_one_hot(&cluster);
    assert_int_equal(live_pages(&cluster, 1), 0);
    assert_int_equal(counter(&cluster, 2, "peercache_hot_pages_published_total"), 1);
    long long served = counter(&cluster, 0, "peercache_pages_served_total");
    assert_int_equal(counter(&cluster, 0, "peercache_bytes_served_total"), served * PAGE_BYTES);
    for (int i = 0; i < 5; i++)
        get(&cluster, 2, number);
    assert_int_equal(counter(&cluster, 0, "peercache_pages_served_total"), served);
    /* The first holder goes; the page does not. */
    peercache_node_close(cluster.nodes[0]);
    cluster.nodes[0] = NULL;
    test_await_cluster(cluster.nodes + 1, NODES - 1);
    get(&cluster, 3, number);
    cluster_close(&cluster);
}

static void page_read_by_one_host_stays_where_it_is(void **state)
{
    struct cluster cluster;
    (void)state;
    cluster_open(&cluster, NULL);
    for (int number = 0; number < 20; number++) {
        set(&cluster, number);
        for (int i = 0; i < number; i++)
            get(&cluster, 1 + number % 3, number);
    }
    for (int i = 1; i < NODES; i++) {
        assert_int_equal(live_pages(&cluster, i), 0);
        assert_int_equal(counter(&cluster, i, "peercache_hot_pages_declined_total"), 0);
    }
    cluster_close(&cluster);
}

static void nothing_is_kept_where_it_is_off(void **state)
{
    struct cluster cluster;
    (void)state;
    cluster_open(&cluster, "hot_pages=false");
    for (int number = 0; number < 10; number++) {
        set(&cluster, number);
        for (int i = 0; i < 12; i++)
            get(&cluster, 1 + i % 3, number);
    }
    for (int i = 1; i < NODES; i++)
        assert_int_equal(live_pages(&cluster, i), 0);
    cluster_close(&cluster);
}

/* Flips a bit of the page's first 8 bytes, wherever its holder keeps them. */
static void damage(struct cluster *cluster, int number)
{
    struct arena *arena = &cluster->nodes[0]->node->arena;
    uint8_t first[8];
    for (int i = 0; i < 8; i++)
        first[i] = byte_of(number, i);
    uint8_t *at = memmem(arena->payload, arena->payload_bytes, first, sizeof first);
    assert_non_null(at);
    *at ^= 1;
}

/* What the readers make of pages that are damaged at their holder: the outcome of the reader that
 * is invited to keep one, and whether it did. */
static uint16_t read_damaged(struct cluster *cluster, bool *ret_was_kept)
{
    for (int number = 0; number < TRIES; number++) {
        bool is_whole;
        set(cluster, number);
        damage(cluster, number);
        assert_int_equal(call(cluster->namespaces[1], number, false, &is_whole), PEERCACHE_HIT);
        assert_false(is_whole); /* verify=header: nobody has looked */
        uint16_t outcome = call(cluster->namespaces[2], number, false, &is_whole);
        *ret_was_kept = live_pages(cluster, 2) > 0;
        if (*ret_was_kept || outcome != PEERCACHE_HIT)
            return outcome;
    }
    fail_msg("no reader of %d pages was invited to keep one", TRIES);
    return 0;
}

static void damaged_page_is_not_kept_and_no_hit(void **state)
{
    struct cluster cluster;
    bool was_kept;
    (void)state;
    cluster_open(&cluster, NULL);
    assert_int_equal(read_damaged(&cluster, &was_kept), PEERCACHE_MISS_CHECKSUM);
    assert_false(was_kept);
    test_await(cluster.nodes[0], "counters", "peercache_pages_damaged_total", 1);
    cluster_close(&cluster);
}

static void without_the_check_a_damaged_page_spreads(void **state)
{
    struct cluster cluster;
    bool was_kept;
    (void)state;
    cluster_open(&cluster, NULL);
    assert_true(protection_disable("copy_keeps_checksum"));
    assert_int_equal(read_damaged(&cluster, &was_kept), PEERCACHE_HIT);
    assert_true(was_kept);
    cluster_close(&cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(second_reader_keeps_the_page),
        cmocka_unit_test(page_read_by_one_host_stays_where_it_is),
        cmocka_unit_test(nothing_is_kept_where_it_is_off),
        cmocka_unit_test(damaged_page_is_not_kept_and_no_hit),
        cmocka_unit_test(without_the_check_a_damaged_page_spreads),
    };
    return cmocka_run_group_tests_name("api/hot_pages", tests, NULL, NULL);
}
