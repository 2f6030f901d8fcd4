/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_test_harness.h - for tests: real nodes of this process, on loopback.
 */
#ifndef API_API_TEST_HARNESS_H
#define API_API_TEST_HARNESS_H

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/clock.h"
#include "peercache.h"

enum { WAIT_MS = 10000 };

/* A port that nobody has just now. */
static inline int test_free_port(void)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof name;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&name, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&name, &len), 0);
    close(fd);
    return ntohs(name.sin_port);
}

/* For instance of /proc/self/fd: what this process has from the system. */
static inline int test_count_entries(const char *folder)
{
    DIR *dir = opendir(folder);
    int n = 0;
    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

/* Opens a node with options "name=value" behind those that keep tests small and quick; NULL ends
 * the list.  The result of peercache_node_open(), and its sentence. */
static inline int test_try_open(struct peercache_node **ret_node, struct peercache_error *ret_error,
                                const char *const *options)
{
    static const char *const small[] = {"global_segment_size=8mb",
                                        "log_level=error",
                                        "bind_host=127.0.0.1",
                                        "heartbeat_interval=50ms",
                                        "member_ttl=400ms",
                                        "ring_grace=1",
                                        NULL};
    const char *const *lists[] = {small, options};
    struct peercache_config *config;
    assert_int_equal(peercache_config_new(&config), 0);
    for (int list = 0; list < 2; list++)
        for (const char *const *option = lists[list]; option && *option; option++) {
            char name[64];
            const char *equals = strchr(*option, '=');
            snprintf(name, sizeof name, "%.*s", (int)(equals - *option), *option);
            int error = peercache_config_set(config, name, equals + 1, ret_error);
            if (error)
                fail_msg("%s: %s", *option, ret_error->text);
        }
    ret_error->text[0] = 0;
    int error = peercache_node_open(config, ret_node, ret_error);
    peercache_config_free(config);
    return error;
}

static inline struct peercache_node *test_open(const char *const *options)
{
    struct peercache_node *node = NULL;
    struct peercache_error error;
    if (test_try_open(&node, &error, options) != 0)
        fail_msg("%s", error.text);
    return node;
}

/* A node of the cluster whose head is at this port of loopback. */
static inline struct peercache_node *test_open_member(int discovery_port, const char *option)
{
    char discovery[64];
    snprintf(discovery, sizeof discovery, "discovery_addr=127.0.0.1:%d", discovery_port);
    return test_open((const char *const[]){discovery, option, NULL});
}

/* A number in the status, by the name of its part and its own: "pool", "live_pages"; or, with "",
 * how long the part is.  Flags count as 0 and 1. */
static inline long long test_status(struct peercache_node *node, const char *part, const char *name)
{
    char *text;
    assert_int_equal(peercache_node_status(node, &text), 0);
    json_t *status = json_loads(text, 0, NULL);
    assert_non_null(status);
    json_t *object = json_object_get(status, part);
    json_t *value = json_object_get(object, name);
    long long number = json_is_array(object)    ? (long long)json_array_size(object)
                       : json_is_boolean(value) ? json_is_true(value)
                                                : json_integer_value(value);
    json_decref(status);
    free(text);
    return number;
}

/* Waits until the status says so; a bound that only a broken node meets. */
static inline void test_await(struct peercache_node *node, const char *part, const char *name,
                              long long value)
{
    uint64_t until_ns = clock_now_ns() + WAIT_MS * UINT64_C(1000000);
    while (test_status(node, part, name) != value) {
        if (clock_now_ns() > until_ns)
            fail_msg("%s.%s is %lld, not %lld", part, name, test_status(node, part, name), value);
        poll(NULL, 0, 5);
    }
}

/* All of @n nodes know each other and all that is there. */
static inline void test_await_cluster(struct peercache_node *const *nodes, int n)
{
    for (int i = 0; i < n; i++) {
        test_await(nodes[i], "directory", "ring_nodes", n);
        test_await(nodes[i], "directory", "is_complete", 1);
    }
}

static inline struct peercache_namespace *test_namespace(struct peercache_node *node,
                                                         const char *field)
{
    struct peercache_namespace *ns;
    struct peercache_error error;
    assert_int_equal(peercache_namespace_open(node, &field, 1, &ns, &error), 0);
    return ns;
}

#endif
