/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storm_test.c - one node sets pages as fast as it can into a pool of 8 MiB, the other reads by
 * RDMA those that are about to be evicted, and every byte of a hit is compared.
 *
 *     storm_test [DEVICE [HITS]]       over the model, or over that device; as many small pages
 *
 * Two sizes: small pages, of which many share a READ, and larger ones in several segments.
 */
#include "nodes.h"

enum {
    SMALL_BYTES = 4096,
    LARGE_BYTES = 40000,
    SET_BATCH = 32,
    SMALL_BATCH = 128, /* a READ takes longer then, so that more is evicted under it */
    LARGE_BATCH = 32,
    READ_BYTES = LARGE_BATCH * LARGE_BYTES,
    HITS_MODEL = 2000,
    HITS_LARGE = 500,
    WAIT_S = 240, /* until there are as many: only a broken node meets it */
};

static uint64_t hits_wanted = HITS_MODEL;

struct storm {
    size_t len_bytes; /* of a page */
    uint32_t n_batch; /* pages a read */
    _Atomic(uint64_t) n_set;
    atomic_bool is_over;
    uint64_t live_pages; /* that the pool holds, about */
    uint64_t random;
    uint64_t hits, wrong, misses;
    uint8_t read[READ_BYTES];
};

static void describe(struct peercache_page *pages, struct peercache_segment (*segments)[3],
                     uint64_t *numbers, uint32_t n, uint64_t first, uint8_t *bytes, size_t len)
{
    for (uint32_t i = 0; i < n; i++) {
        uint8_t *at = bytes + i * len;
        size_t middle = len / 2;
        numbers[i] = first + i;
        segments[i][0] = (struct peercache_segment){at, 1001};
        segments[i][1] = (struct peercache_segment){at + 1001, middle};
        segments[i][2] = (struct peercache_segment){at + 1001 + middle, len - 1001 - middle};
        pages[i] = (struct peercache_page){.name = &numbers[i],
                                           .name_len = sizeof numbers[i],
                                           .segments = segments[i],
                                           .segment_count = 3};
    }
}

static void *keep_setting(void *context)
{
    static uint8_t bytes[SET_BATCH * LARGE_BYTES];
    struct storm *storm = context;
    struct peercache_segment segments[SET_BATCH][3];
    struct peercache_page pages[SET_BATCH] = {0};
    struct peercache_result results[SET_BATCH];
    uint64_t numbers[SET_BATCH];
    for (uint64_t first = 0; !atomic_load(&storm->is_over); first += SET_BATCH) {
        describe(pages, segments, numbers, SET_BATCH, first, bytes, storm->len_bytes);
        for (uint32_t i = 0; i < SET_BATCH; i++)
            fill(bytes + i * storm->len_bytes, first + i, storm->len_bytes);
        assert_int_equal(peercache_set(spaces[0], pages, results, SET_BATCH, 10000), 0);
        atomic_store(&storm->n_set, first + SET_BATCH);
    }
    return NULL;
}

/* Pages are numbered as they are set: the last to go is the newest but for what the pool holds.  A
 * few of them more, so that some are evicted between their look-up and their READ. */
static uint64_t choose(struct storm *storm)
{
    uint64_t n_set = atomic_load(&storm->n_set);
    uint64_t oldest = n_set > storm->live_pages ? n_set - storm->live_pages : 0;
    return oldest + splitmix_next(&storm->random) % (storm->live_pages / 4 + 1);
}

static void read_some(struct storm *storm)
{
    struct peercache_segment segments[SMALL_BATCH][3];
    struct peercache_page pages[SMALL_BATCH] = {0};
    struct peercache_result results[SMALL_BATCH];
    uint64_t numbers[SMALL_BATCH];
    uint32_t n = storm->n_batch;
    describe(pages, segments, numbers, n, choose(storm), storm->read, storm->len_bytes);
    memset(storm->read, 0xee, n * storm->len_bytes);
    assert_int_equal(peercache_get(spaces[1], pages, results, n, 10000), 0);
    for (uint32_t i = 0; i < n; i++) {
        bool is_hit = results[i].outcome == PEERCACHE_HIT;
        assert_true(!is_hit || results[i].via == PEERCACHE_VIA_RDMA);
        storm->hits += is_hit;
        storm->misses += !is_hit;
        storm->wrong +=
            is_hit && !is_page(storm->read + i * storm->len_bytes, numbers[i], storm->len_bytes);
    }
}

static void await_full(struct storm *storm)
{
    uint64_t until_ns = clock_now_ns() + WAIT_S * CLOCK_NS_PER_S;
    while (counter(0, "peercache_pages_retired_total") < 2 * SET_BATCH)
        assert_true(clock_now_ns() < until_ns);
    storm->live_pages = (uint64_t)test_status(nodes[0], "pool", "live_pages");
}

/* The storm has met a read, or what it was to show without a protection. */
static bool is_enough(const struct storm *storm, uint64_t hits, const char *without)
{
    if (without)
        return storm->wrong > 0;
    return storm->hits >= hits && counter(1, "peercache_rdma_stale_total") > 0;
}

static void read_all(struct storm *storm, uint64_t hits, const char *without)
{
    uint64_t began_ns = clock_now_ns(), until_ns = began_ns + WAIT_S * CLOCK_NS_PER_S;
    await_full(storm);
    while (!is_enough(storm, hits, without) && clock_now_ns() < until_ns)
        for (int i = 0; i < 8; i++)
            read_some(storm);
    print_message("%zu bytes a page%s%s: hits %llu, misses %llu, stale headers %lld, wrong %llu, "
                  "pages set meanwhile %llu, %.1f s\n",
                  storm->len_bytes, without ? ", without " : "", without ? without : "",
                  (unsigned long long)storm->hits, (unsigned long long)storm->misses,
                  counter(1, "peercache_rdma_stale_total"), (unsigned long long)storm->wrong,
                  (unsigned long long)atomic_load(&storm->n_set),
                  (double)(clock_now_ns() - began_ns) / 1e9);
    assert_true(is_enough(storm, hits, without));
}

static void run_storm(const struct model_settings *settings, size_t len, uint64_t hits,
                      const char *without)
{
    static struct storm storm;
    struct peercache_region *region;
    struct peercache_error error;
    pthread_t thread;
    memset(&storm, 0, sizeof storm);
    storm.len_bytes = len;
    storm.n_batch = len == SMALL_BYTES ? SMALL_BATCH : LARGE_BATCH;
    nodes_open(settings, "protocol=rdma");
    assert_int_equal(
        peercache_region_register(nodes[1], storm.read, sizeof storm.read, &region, &error), 0);
    if (without)
        assert_true(protection_disable(without));
    assert_int_equal(pthread_create(&thread, NULL, keep_setting, &storm), 0);
    read_all(&storm, hits, without);
    atomic_store(&storm.is_over, true);
    pthread_join(thread, NULL);
    if (!without)
        assert_int_equal(storm.wrong, 0);
    nodes_close();
}

/* --- the tests -------------------------------------------------------------------------------- */

static void no_byte_of_a_small_page_is_wrong(void **state)
{
    (void)state;
    run_storm(&lossy, SMALL_BYTES, hits_wanted, NULL);
}

static void no_byte_of_a_page_is_wrong(void **state)
{
    (void)state;
    run_storm(&lossy, LARGE_BYTES, HITS_LARGE, NULL);
}

static void without_the_header_bytes_are_wrong(void **state)
{
    (void)state;
    run_storm(&calm, SMALL_BYTES, 0, "rdma_header");
    run_storm(&calm, LARGE_BYTES, 0, "rdma_header");
}

int main(int argc, char **argv)
{
    nodes_device = argc > 1 ? argv[1] : NULL;
    if (argc > 2)
        hits_wanted = strtoull(argv[2], NULL, 10);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_byte_of_a_small_page_is_wrong),
        cmocka_unit_test(no_byte_of_a_page_is_wrong),
        cmocka_unit_test(without_the_header_bytes_are_wrong),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
