/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apart.h - for tests: the two nodes of nodes.h as if on two hosts, one page of the first, and the
 * second one's way to it.
 */
#ifndef TESTS_RDMA_APART_H
#define TESTS_RDMA_APART_H

#include "node/rdma.h"
#include "nodes.h"

enum { BYTES = 1 << 20, AGAIN_MS = 10000 };

static uint8_t bytes[BYTES];
static struct peercache_region *region;

static inline void open_apart(const char *option)
{
    struct peercache_error error;
    nodes_open(&calm, option);
    set_apart();
    assert_int_equal(peercache_region_register(nodes[1], bytes, sizeof bytes, &region, &error), 0);
    set(1, BYTES);
}

/* Of the link from the getting to the setting node on the first rail. */
static inline struct link *the_link(uint32_t rail)
{
    for (uint32_t i = 0; i < CORE_PEERS_MAX; i++)
        if (nodes[1]->node->peers[i].links)
            return &nodes[1]->node->peers[i].links->links[rail];
    fail_msg("there is no link");
    return NULL;
}

static inline uint64_t elapsed_ms(uint64_t from_ns)
{
    return (clock_now_ns() - from_ns) / CLOCK_NS_PER_MS;
}

/* A link that failed is not tried again for half a second. */
static inline void expect_rdma_again(void)
{
    uint64_t from_ns = clock_now_ns();
    while (call(1, 1, bytes, BYTES, 4, 1000).via != PEERCACHE_VIA_RDMA)
        if (elapsed_ms(from_ns) > AGAIN_MS)
            fail_msg("RDMA does not come back");
    assert_true(is_page(bytes, 1, BYTES));
}

/* The caller's to free. */
static inline json_t *status_of(int node)
{
    char *text;
    assert_int_equal(peercache_node_status(nodes[node], &text), 0);
    json_t *status = json_loads(text, 0, NULL);
    free(text);
    return status;
}

/* Whether one of the troubles in the status speaks of this. */
static inline bool has_trouble(int node, const char *what)
{
    json_t *status = status_of(node), *trouble;
    size_t i;
    bool is_told = false;
    json_array_foreach(json_object_get(json_object_get(status, "rdma"), "troubles"), i, trouble)
        is_told |= strstr(json_string_value(trouble), what) != NULL;
    json_decref(status);
    return is_told;
}

static inline bool port_is_down(int node)
{
    json_t *status = status_of(node);
    json_t *devices = json_object_get(json_object_get(status, "rdma"), "devices");
    bool is_down = json_is_true(json_object_get(json_array_get(devices, 0), "port_is_down"));
    json_decref(status);
    return is_down;
}

/* Whether why the one link is not up says this among else. */
static inline bool link_says(const char *what)
{
    json_t *status = status_of(1);
    json_t *links = json_object_get(json_object_get(status, "rdma"), "links");
    const char *why = json_string_value(json_object_get(json_array_get(links, 0), "why"));
    bool is_said = why && strstr(why, what) != NULL;
    json_decref(status);
    return is_said;
}

/* Whether the status says so of the one link: its state, its queue pairs, and why it is not up. */
static inline bool link_is(const char *state, int queue_pairs, const char *why)
{
    json_t *status = status_of(1);
    json_t *links = json_object_get(json_object_get(status, "rdma"), "links");
    json_t *link = json_array_get(links, 0);
    assert_int_equal(json_array_size(links), 1);
    bool is_so = strcmp(json_string_value(json_object_get(link, "state")), state) == 0 &&
                 json_integer_value(json_object_get(link, "queue_pairs")) == queue_pairs &&
                 strcmp(json_string_value(json_object_get(link, "why")), why) == 0;
    if (!is_so)
        json_dumpf(link, stderr, 0);
    json_decref(status);
    return is_so;
}

#endif
