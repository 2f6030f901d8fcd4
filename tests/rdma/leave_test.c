/* SPDX-License-Identifier: Apache-2.0 */
/*
 * leave_test.c - a holder is drained and closed while others read from its pool, which it cannot
 * see: their pages come from where they were handed to, and a read that is under way is waited for.
 */
#include "apart.h"

enum { PAGES = 20, PAGE_BYTES = 60000 };

static struct peercache_node *third; /* takes the pages over */
static atomic_bool is_over;

struct reader {
    pthread_t thread;
    _Atomic(uint32_t) calls, whole; /* whole: of which all pages came */
    uint32_t missed, wrong, by_rdma;
};

static void *keep_reading(void *context)
{
    static uint8_t memory[PAGES * PAGE_BYTES];
    struct peercache_result results[PAGES];
    struct reader *reader = context;
    while (!atomic_load(&is_over)) {
        memset(memory, 0xee, sizeof memory);
        get_batch(100, 1, PAGES, memory, PAGE_BYTES, 10000, results);
        uint32_t n_hits = 0;
        for (uint32_t i = 0; i < PAGES; i++) {
            bool is_hit = results[i].outcome == PEERCACHE_HIT;
            n_hits += is_hit;
            reader->by_rdma += is_hit && results[i].via == PEERCACHE_VIA_RDMA;
            reader->wrong +=
                is_hit && !is_page(memory + (size_t)i * PAGE_BYTES, 100 + i, PAGE_BYTES);
        }
        reader->missed += PAGES - n_hits;
        atomic_fetch_add(&reader->calls, 1);
        atomic_fetch_add(&reader->whole, n_hits == PAGES);
    }
    return NULL;
}

static void open_three(const char *option)
{
    open_apart(option);
    for (uint64_t i = 0; i < PAGES; i++)
        set(100 + i, PAGE_BYTES);
    third = test_open((const char *const[]){discovery, "hot_pages=false", option, NULL});
    third->node->boot_id = (struct id128){77, 2};
    test_await_cluster((struct peercache_node *const[]){nodes[0], nodes[1], third}, 3);
}

/* So many calls more of which all pages come. */
static void await_whole_calls(const struct reader *reader, uint32_t n)
{
    uint64_t from_ns = clock_now_ns();
    uint32_t before = atomic_load(&reader->whole);
    while (atomic_load(&reader->whole) < before + n) {
        assert_true(elapsed_ms(from_ns) < 3 * AGAIN_MS);
        poll(NULL, 0, 1);
    }
}

static void leave_while_others_read(const char *option)
{
    struct reader reader = {0};
    char *report = NULL;
    open_three(option);
    atomic_store(&is_over, false);
    assert_int_equal(pthread_create(&reader.thread, NULL, keep_reading, &reader), 0);
    await_whole_calls(&reader, 3);
    assert_int_equal(peercache_node_drain(nodes[0], 10000, &report), 0);
    free(report);
    peercache_node_close(nodes[0]);
    nodes[0] = NULL;
    await_whole_calls(&reader, 10);
    atomic_store(&is_over, true);
    pthread_join(reader.thread, NULL);
    print_message("%s: %u calls, %u whole, %u pages missed, %u wrong, %u by RDMA\n", option,
                  atomic_load(&reader.calls), atomic_load(&reader.whole), reader.missed,
                  reader.wrong, reader.by_rdma);
    assert_int_equal(reader.wrong, 0);
    assert_true(reader.by_rdma > 0);
    peercache_node_close(third);
    nodes_close();
}

static void pages_come_from_where_they_went(void **state)
{
    (void)state;
    leave_while_others_read("protocol=auto");
    leave_while_others_read("protocol=rdma");
}

/* --- a read that is under way ----------------------------------------------------------------- */

static void *get_once(void *context)
{
    struct peercache_result result = call(1, 1, bytes, BYTES, 4, 10000);
    *(uint8_t *)context =
        result.outcome == PEERCACHE_HIT ? result.via : (uint8_t)PEERCACHE_VIA_NONE;
    return NULL;
}

static void *close_holder(void *context)
{
    (void)context;
    peercache_node_close(nodes[0]);
    nodes[0] = NULL;
    return NULL;
}

/* Half a second without an end of a READ would be a failure, and the holder waits for a second:
 * whether this machine kept that. */
static bool close_under_a_read(void)
{
    pthread_t reader, closer;
    uint8_t via = PEERCACHE_VIA_NONE;
    open_apart("protocol=auto");
    get_by_rdma(1, bytes, BYTES, 4);
    assert_int_equal(peercache_node_drain(nodes[0], 0, NULL), 0);
    struct rail *rail = the_link(0)->rail;
    uint64_t from_ns = clock_now_ns();
    live_freeze(live, true);
    assert_int_equal(pthread_create(&reader, NULL, get_once, &via), 0);
    while (atomic_load(&rail->chains_under_way) == 0)
        assert_true(elapsed_ms(from_ns) < AGAIN_MS);
    assert_int_equal(pthread_create(&closer, NULL, close_holder, NULL), 0);
    poll(NULL, 0, 200);
    live_freeze(live, false);
    bool is_in_time = elapsed_ms(from_ns) < 400;
    pthread_join(reader, NULL);
    is_in_time &= elapsed_ms(from_ns) < 800;
    pthread_join(closer, NULL);
    if (is_in_time) {
        assert_int_equal(via, PEERCACHE_VIA_RDMA);
        assert_true(is_page(bytes, 1, BYTES));
        assert_int_equal(counter(1, "peercache_rdma_queue_pairs_broken_total"), 0);
    }
    nodes_close();
    return is_in_time;
}

static void a_read_under_way_is_waited_for(void **state)
{
    (void)state;
    for (int i = 0; !close_under_a_read(); i++)
        assert_true(i < 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_come_from_where_they_went),
        cmocka_unit_test(a_read_under_way_is_waited_for),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
