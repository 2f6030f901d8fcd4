/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nodes.h - for tests: two whole nodes of this process over the live model, and pages between them;
 * or over a real device, whose name is given (nodes_device).
 */
#ifndef TESTS_RDMA_NODES_H
#define TESTS_RDMA_NODES_H

#include "api/api_test_harness.h"

#include <pthread.h>

#include "api/handle.h"
#include "base/protection.h"
#include "base/splitmix.h"
#include "io/rdma/module.h"
#include "live.h"
#include "node/internal.h"

enum { BATCH_MOST = 64 };

static const char *nodes_device; /* NULL: the model */
static const char *nodes_other;  /* of node 0, where it has another one */
static struct model *model;
static struct live *live;
static struct peercache_node *nodes[2]; /* 0 sets, 1 gets */
static struct peercache_namespace *spaces[2];

static char discovery[64]; /* the option that names the cluster */

static inline void open_cluster(const char *option)
{
    snprintf(discovery, sizeof discovery, "discovery_addr=127.0.0.1:%d", test_free_port());
    for (int i = 0; i < 2; i++) {
        char device[64];
        const char *name = i == 0 && nodes_other ? nodes_other : nodes_device;
        snprintf(device, sizeof device, "device_names=%s", name ? name : "");
        nodes[i] =
            test_open((const char *const[]){discovery, "hot_pages=false", device, option, NULL});
        spaces[i] = test_namespace(nodes[i], "a=1");
    }
    test_await_cluster(nodes, 2);
}

static inline void make_model(const struct model_settings *settings)
{
    model = model_new(settings);
    live = live_new(model);
    model_add_device(model, "model0", 1);
    model_add_device(model, "model1", 2);
    rdma_module_stand_in(live_verbs(live));
}

static inline void nodes_open(const struct model_settings *settings, const char *option)
{
    if (!nodes_device)
        make_model(settings);
    open_cluster(option);
}

static inline void nodes_close(void)
{
    protection_enable_all();
    for (int i = 0; i < 2; i++)
        peercache_node_close(nodes[i]);
    if (nodes_device)
        return; /* `rdma resource` tells what is left */
    rdma_module_stand_in(NULL);
    struct model_counts counts = model_counts(model);
    assert_int_equal(counts.queues, 0);
    assert_int_equal(counts.memories, 0);
    assert_int_equal(counts.devices_open, 0);
    assert_int_equal(counts.completion_queues, 0);
    live_free(live);
    model_free(model);
}

/* As if the two were on two hosts: shared memory is not tried. */
static inline void set_apart(void)
{
    for (int i = 0; i < 2; i++)
        nodes[i]->node->boot_id = (struct id128){77, (uint64_t)i};
}

static inline long long counter(int node, const char *name)
{
    return test_status(nodes[node], "counters", name);
}

/* --- pages ------------------------------------------------------------------------------------ */

static inline void fill(uint8_t *bytes, uint64_t number, size_t len)
{
    uint64_t state = number;
    for (size_t i = 0; i < len; i += 8) {
        uint64_t word = splitmix_next(&state);
        memcpy(bytes + i, &word, len - i < 8 ? len - i : 8);
    }
}

static inline bool is_page(const uint8_t *bytes, uint64_t number, size_t len)
{
    uint64_t state = number;
    for (size_t i = 0; i < len; i += 8) {
        uint64_t word = splitmix_next(&state);
        if (memcmp(bytes + i, &word, len - i < 8 ? len - i : 8) != 0)
            return false;
    }
    return true;
}

/* Memory that was filled with 0xab, and not written since. */
static inline bool is_poison(const uint8_t *from, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (from[i] != 0xab)
            return false;
    return true;
}

/* One page, in segments of which the last has what the others leave. */
static inline struct peercache_result call(int node, uint64_t number, uint8_t *bytes, size_t len,
                                           uint32_t n_segments, uint32_t timeout_ms)
{
    struct peercache_segment segments[200];
    struct peercache_page page = {.name = &number,
                                  .name_len = sizeof number,
                                  .segments = segments,
                                  .segment_count = n_segments};
    struct peercache_result result = {0};
    size_t each = len / n_segments;
    for (uint32_t i = 0; i < n_segments; i++)
        segments[i] = (struct peercache_segment){bytes + i * each,
                                                 i + 1 < n_segments ? each : len - i * each};
    if (node == 0)
        assert_int_equal(peercache_set(spaces[0], &page, &result, 1, timeout_ms), 0);
    else
        assert_int_equal(peercache_get(spaces[1], &page, &result, 1, timeout_ms), 0);
    return result;
}

static inline void set(uint64_t number, size_t len)
{
    uint8_t *bytes = malloc(len);
    fill(bytes, number, len);
    assert_int_equal(call(0, number, bytes, len, 1, 10000).outcome, PEERCACHE_STORED);
    free(bytes);
}

/* Reads it into @bytes, which may be registered, and says by which way it came. */
static inline uint8_t get(uint64_t number, uint8_t *bytes, size_t len, uint32_t n_segments)
{
    memset(bytes, 0xee, len);
    struct peercache_result result = call(1, number, bytes, len, n_segments, 10000);
    assert_int_equal(result.outcome, PEERCACHE_HIT);
    assert_true(is_page(bytes, number, len));
    return result.via;
}

/* Likewise, by this way.  On a busy machine a link may be late in the making, or given up: then
 * once more. */
static inline void get_by(uint8_t via, uint64_t number, uint8_t *bytes, size_t len,
                          uint32_t n_segments)
{
    struct peercache_result result;
    uint64_t until_ns = clock_now_ns() + 60 * CLOCK_NS_PER_S;
    do {
        memset(bytes, 0xee, len);
        result = call(1, number, bytes, len, n_segments, 10000);
        assert_true(result.outcome != PEERCACHE_HIT || is_page(bytes, number, len));
    } while (result.via != via && clock_now_ns() < until_ns && poll(NULL, 0, 10) == 0);
    assert_int_equal(result.outcome, PEERCACHE_HIT);
    assert_int_equal(result.via, via);
}

static inline void get_by_rdma(uint64_t number, uint8_t *bytes, size_t len, uint32_t n_segments)
{
    get_by(PEERCACHE_VIA_RDMA, number, bytes, len, n_segments);
}

/* @n pages from @first on, one in @step, with one segment each. */
static inline void get_batch(uint64_t first, uint64_t step, uint32_t n, uint8_t *bytes, size_t len,
                             uint32_t timeout_ms, struct peercache_result *ret_results)
{
    struct peercache_page pages[BATCH_MOST] = {0};
    struct peercache_segment segments[BATCH_MOST];
    uint64_t numbers[BATCH_MOST];
    assert_true(n <= BATCH_MOST);
    for (uint32_t i = 0; i < n; i++) {
        numbers[i] = first + i * step;
        segments[i] = (struct peercache_segment){bytes + i * len, len};
        pages[i] = (struct peercache_page){.name = &numbers[i],
                                           .name_len = sizeof numbers[i],
                                           .segments = &segments[i],
                                           .segment_count = 1};
    }
    assert_int_equal(peercache_get(spaces[1], pages, ret_results, n, timeout_ms), 0);
}

/* --- wires ------------------------------------------------------------------------------------ */

static struct model_settings calm, lossy;

static inline int setup(void **state)
{
    (void)state;
    calm = model_settings_default(1);
    lossy = model_settings_default(2);
    lossy.lost_permille = lossy.again_permille = 20;
    return 0;
}

#endif
