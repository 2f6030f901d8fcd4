/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nodes_test.c - whole nodes of this process over the live model: every byte compared, in an
 * eviction storm and while devices fail.
 */
#include "api/api_test_harness.h"

#include <pthread.h>

#include "api/handle.h"
#include "base/protection.h"
#include "base/splitmix.h"
#include "io/rdma/module.h"
#include "live.h"
#include "node/internal.h"

enum { PAGE_MAX_BYTES = 3 << 20, STORM_ROUNDS = 300, STORM_BATCH = 32, STORM_BYTES = 40000 };

static struct model *model;
static struct live *live;
static struct peercache_node *nodes[2]; /* 0 sets, 1 gets */
static struct peercache_namespace *spaces[2];

static void nodes_open(const struct model_settings *settings, const char *option)
{
    char discovery[64];
    model = model_new(settings);
    live = live_new(model);
    model_add_device(model, "model0", 1);
    model_add_device(model, "model1", 2);
    rdma_module_stand_in(live_verbs(live));
    snprintf(discovery, sizeof discovery, "discovery_addr=127.0.0.1:%d", test_free_port());
    for (int i = 0; i < 2; i++) {
        nodes[i] = test_open((const char *const[]){discovery, "hot_pages=false", option, NULL});
        spaces[i] = test_namespace(nodes[i], "a=1");
    }
    test_await_cluster(nodes, 2);
}

static void nodes_close(void)
{
    protection_enable_all();
    for (int i = 0; i < 2; i++)
        peercache_node_close(nodes[i]);
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
static void set_apart(void)
{
    for (int i = 0; i < 2; i++)
        for (uint32_t j = 0; j < CORE_PEERS_MAX; j++) {
            struct node_peer *peer = &nodes[i]->node->peers[j];
            pthread_mutex_lock(&peer->lock);
            peer->attach_after_ns = UINT64_MAX;
            pthread_mutex_unlock(&peer->lock);
        }
}

static long long counter(int node, const char *name)
{
    return test_status(nodes[node], "counters", name);
}

/* --- pages ------------------------------------------------------------------------------------ */

static void fill(uint8_t *bytes, uint64_t number, size_t len)
{
    uint64_t state = number;
    for (size_t i = 0; i < len; i += 8) {
        uint64_t word = splitmix_next(&state);
        memcpy(bytes + i, &word, len - i < 8 ? len - i : 8);
    }
}

static bool is_page(const uint8_t *bytes, uint64_t number, size_t len)
{
    uint64_t state = number;
    for (size_t i = 0; i < len; i += 8) {
        uint64_t word = splitmix_next(&state);
        if (memcmp(bytes + i, &word, len - i < 8 ? len - i : 8) != 0)
            return false;
    }
    return true;
}

/* One page, in segments of which the last has what the others leave. */
static struct peercache_result call(int node, uint64_t number, uint8_t *bytes, size_t len,
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

static void set(uint64_t number, size_t len)
{
    uint8_t *bytes = malloc(len);
    fill(bytes, number, len);
    assert_int_equal(call(0, number, bytes, len, 1, 10000).outcome, PEERCACHE_STORED);
    free(bytes);
}

/* Reads it into @bytes, which may be registered, and says by which way it came. */
static uint8_t get(uint64_t number, uint8_t *bytes, size_t len, uint32_t n_segments)
{
    memset(bytes, 0xee, len);
    struct peercache_result result = call(1, number, bytes, len, n_segments, 10000);
    assert_int_equal(result.outcome, PEERCACHE_HIT);
    assert_true(is_page(bytes, number, len));
    return result.via;
}

static struct model_settings calm, lossy;

static int setup(void **state)
{
    (void)state;
    calm = model_settings_default(1);
    lossy = model_settings_default(2);
    lossy.lost_permille = lossy.again_permille = 20;
    return 0;
}

/* --- the tests -------------------------------------------------------------------------------- */

static void pages_of_all_shapes_come_by_rdma(void **state)
{
    static const size_t lengths[] = {1, 64, 4096, 100001, 1 << 20, PAGE_MAX_BYTES};
    static uint8_t bytes[PAGE_MAX_BYTES];
    struct peercache_region *region = NULL;
    struct peercache_error error;
    (void)state;
    nodes_open(&calm, "protocol=rdma");
    for (int with_region = 0; with_region < 2; with_region++) {
        if (with_region)
            assert_int_equal(
                peercache_region_register(nodes[1], bytes, sizeof bytes, &region, &error), 0);
        for (uint64_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
            uint64_t number = 100 * (uint64_t)with_region + i;
            set(number, lengths[i]);
            for (uint32_t n = 1; n <= 199 && n <= lengths[i]; n += 66)
                assert_int_equal(get(number, bytes, lengths[i], n), PEERCACHE_VIA_RDMA);
        }
        assert_int_equal(counter(1, "peercache_rdma_pages_bounced_total") > 0, 1);
    }
    long long bounced = counter(1, "peercache_rdma_pages_bounced_total");
    set(1000, 5000);
    get(1000, bytes, 5000, 3);
    assert_int_equal(counter(1, "peercache_rdma_pages_bounced_total"), bounced);
    peercache_region_release(region);
    get(1000, bytes, 5000, 3);
    assert_int_equal(counter(1, "peercache_rdma_pages_bounced_total"), bounced + 1);
    nodes_close();
}

static void auto_takes_rdma_between_hosts(void **state)
{
    static uint8_t bytes[5000];
    (void)state;
    nodes_open(&calm, "protocol=auto");
    set(1, sizeof bytes);
    assert_int_equal(get(1, bytes, sizeof bytes, 2), PEERCACHE_VIA_SHM);
    nodes_close();
    nodes_open(&calm, "protocol=auto");
    set_apart();
    set(1, sizeof bytes);
    assert_int_equal(get(1, bytes, sizeof bytes, 2), PEERCACHE_VIA_RDMA);
    nodes_close();
}

/* The pool holds 8 MiB and the pages that are set come to more: what node 1 looks up is evicted
 * while it reads. */
static void *keep_setting(void *context)
{
    static uint8_t bytes[STORM_BYTES];
    const atomic_bool *is_over = context;
    for (uint64_t number = 0; !atomic_load(is_over); number++) {
        fill(bytes, number, sizeof bytes);
        call(0, number, bytes, sizeof bytes, 1, 10000);
    }
    return NULL;
}

struct outcome {
    uint64_t hits, wrong, misses;
};

static void read_some(uint64_t first, uint8_t *bytes, struct outcome *outcome)
{
    struct peercache_segment segments[STORM_BATCH][3];
    struct peercache_page pages[STORM_BATCH] = {0};
    struct peercache_result results[STORM_BATCH] = {0};
    uint64_t numbers[STORM_BATCH];
    for (uint32_t i = 0; i < STORM_BATCH; i++) {
        uint8_t *to = bytes + i * STORM_BYTES;
        numbers[i] = first + i;
        segments[i][0] = (struct peercache_segment){to, 1001};
        segments[i][1] = (struct peercache_segment){to + 1001, 20000};
        segments[i][2] = (struct peercache_segment){to + 21001, STORM_BYTES - 21001};
        pages[i] = (struct peercache_page){
            .name = &numbers[i], .name_len = 8, .segments = segments[i], .segment_count = 3};
    }
    memset(bytes, 0xee, STORM_BATCH * STORM_BYTES);
    assert_int_equal(peercache_get(spaces[1], pages, results, STORM_BATCH, 10000), 0);
    for (uint32_t i = 0; i < STORM_BATCH; i++) {
        bool is_hit = results[i].outcome == PEERCACHE_HIT;
        outcome->hits += is_hit;
        outcome->misses += !is_hit;
        outcome->wrong += is_hit && !is_page(bytes + i * STORM_BYTES, numbers[i], STORM_BYTES);
    }
}

static struct outcome storm(const struct model_settings *settings, const char *without)
{
    static uint8_t bytes[STORM_BATCH * STORM_BYTES];
    struct peercache_region *region;
    struct peercache_error error;
    struct outcome outcome = {0};
    pthread_t thread;
    atomic_bool is_over = false;
    nodes_open(settings, "protocol=rdma");
    assert_int_equal(peercache_region_register(nodes[1], bytes, sizeof bytes, &region, &error), 0);
    if (without)
        assert_true(protection_disable(without));
    assert_int_equal(pthread_create(&thread, NULL, keep_setting, &is_over), 0);
    for (int i = 0; i < STORM_ROUNDS; i++) {
        long long newest = test_status(nodes[0], "pool", "live_pages");
        long long retired = counter(0, "peercache_pages_retired_total");
        uint64_t oldest = (uint64_t)retired; /* pages are numbered as they are set */
        read_some(oldest + (uint64_t)i % (uint64_t)(newest / 2 + 1), bytes, &outcome);
    }
    atomic_store(&is_over, true);
    pthread_join(thread, NULL);
    print_message("hits %llu, misses %llu, stale headers %lld\n", (unsigned long long)outcome.hits,
                  (unsigned long long)outcome.misses, counter(1, "peercache_rdma_stale_total"));
    if (!without)
        assert_true(counter(1, "peercache_rdma_stale_total") > 0);
    nodes_close();
    return outcome;
}

static void no_byte_is_wrong_in_an_eviction_storm(void **state)
{
    (void)state;
    struct outcome outcome = storm(&lossy, NULL);
    assert_int_equal(outcome.wrong, 0);
    assert_true(outcome.hits > 100);
}

static void without_the_header_bytes_are_wrong(void **state)
{
    (void)state;
    assert_true(storm(&calm, "rdma_header").wrong > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_of_all_shapes_come_by_rdma),
        cmocka_unit_test(auto_takes_rdma_between_hosts),
        cmocka_unit_test(no_byte_is_wrong_in_an_eviction_storm),
        cmocka_unit_test(without_the_header_bytes_are_wrong),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
