/* SPDX-License-Identifier: Apache-2.0 */
/* cluster_test.c - nodes of one cluster share pages, by real nodes on loopback. */
#include "api/page_test_harness.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_nodes_share_pages_by_shared_memory),
        cmocka_unit_test(two_nodes_share_pages_by_tcp),
        cmocka_unit_test(checksums_are_compared_when_asked_for),
        cmocka_unit_test(pages_of_a_node_that_closed_are_gone),
        cmocka_unit_test(head_that_closed_is_replaced),
        cmocka_unit_test(node_of_another_cluster_is_not_let_in),
        cmocka_unit_test(control_port_is_no_discovery_address),
    };
    return cmocka_run_group_tests_name("api/cluster", tests, NULL, NULL);
}
