/* SPDX-License-Identifier: Apache-2.0 */
/* node_test.c - a node opens, stops, closes and says what is wrong, through the public calls. */
#include "api/page_test_harness.h"

#include <pthread.h>
#include <sys/wait.h>

#include "api/handle.h"
#include "base/sanitizer.h"
#include "node/internal.h"
#include "node/probe.h"

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
                  !peercache_node_has_rdma(node) && peercache_node_status(node, &text) == -ECHILD;
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

/* Sanitizers keep freed memory for a while, and look for leaks themselves. */
#define KEEPS_FREED_MEMORY (UNDER_ADDRESS_SANITIZER || UNDER_THREAD_SANITIZER)

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
    int fds = test_count_entries("/proc/self/fd"), threads = test_count_entries("/proc/self/task");
    long pages = mapped_pages();
    for (int i = 0; i < 100; i++)
        open_use_close(port);
    assert_int_equal(test_count_entries("/proc/self/fd"), fds);
    assert_int_equal(test_count_entries("/proc/self/task"), threads);
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

/* As by a call that gives up on a peer, and sends something, when the node thread has ended. */
static void what_is_left_for_the_node_thread_is_dropped(void **state)
{
    (void)state;
    struct peercache_node *handle = test_open(NULL);
    struct node *node = handle->node;
    node_stop(node);
    poll(NULL, 0, 200); /* for the thread to end */
    breaker_failed(&node->view->breakers[1], clock_now_ns());
    probe_look(node);
    loop_post(node->loop, &node->drain_task);
    peercache_node_close(handle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stopped_node_refuses_every_page),
        cmocka_unit_test(forked_child_is_told_so),
        cmocka_unit_test(opening_and_closing_a_hundred_times_leaves_nothing),
        cmocka_unit_test(same_control_port_twice_is_a_clear_error),
        cmocka_unit_test(discovery_address_that_nobody_serves_is_no_error),
        cmocka_unit_test(pool_larger_than_memory_is_refused_with_both_numbers),
        cmocka_unit_test(calls_in_flight_end_when_the_node_stops),
        cmocka_unit_test(what_is_left_for_the_node_thread_is_dropped),
    };
    return cmocka_run_group_tests_name("api/node", tests, NULL, NULL);
}
