/* SPDX-License-Identifier: Apache-2.0 */
/*
 * luck_test.c - two nodes whose adapters do not fit each other, or whose reads fail one by one:
 * over the model, or over the devices that are named.
 *
 *     luck_test [DEVICE OTHER]
 *
 * RDMA is used where it works, and no page is missed because it does not.
 */
#include "apart.h"

#include "io/rdma/guest.h"

enum { PAGES = 64, STEP = 2, PAGE_BYTES = 32 << 10, LONG_READS = 16 };

static const char *other; /* a device on another subnet */

/* --- one READ of a chain ---------------------------------------------------------------------- */

static struct verbs spoilt_verbs; /* over a device: its own table, but for post */
static const struct verbs *whole_verbs;
static atomic_bool is_armed;

/* A key that nobody has, in the middle of the next chain that is long enough. */
static void spoil(struct verbs_read *reads, uint32_t n)
{
    if (n >= LONG_READS && atomic_exchange(&is_armed, false))
        reads[n / 2].remote_key ^= 0x5500;
}

static int post_spoilt(const struct verbs *verbs, struct verbs_queue *queue,
                       const struct verbs_read *reads, uint32_t n, uint32_t *ret_posted)
{
    struct verbs_read own[QUEUE_DEPTH];
    (void)verbs;
    assert_true(n <= QUEUE_DEPTH);
    memcpy(own, reads, n * sizeof *own);
    spoil(own, n);
    return whole_verbs->post(whole_verbs, queue, own, n, ret_posted);
}

/* Before any read is under way. */
static void put_between(void)
{
    struct rails *rails = nodes[1]->node->rails;
    if (!nodes_device) {
        live_on_post(live, spoil);
        return;
    }
    whole_verbs = rails->verbs;
    spoilt_verbs = *whole_verbs;
    spoilt_verbs.post = post_spoilt;
    for (uint32_t i = 0; i < rails->n; i++)
        rails->list[i].verbs = &spoilt_verbs;
}

static uint32_t count_right(const uint8_t *from, const struct peercache_result *results)
{
    uint32_t right = 0;
    for (uint32_t i = 0; i < PAGES; i++)
        right += results[i].outcome == PEERCACHE_HIT &&
                 is_page(from + (size_t)i * PAGE_BYTES, 100 + i * STEP, PAGE_BYTES);
    return right;
}

/* Pages that are no neighbours in the pool have a READ each. */
static void one_read_of_many_fails(void **state)
{
    static uint8_t many[PAGES * PAGE_BYTES];
    struct peercache_result results[PAGES];
    struct peercache_region *more;
    struct peercache_error error;
    (void)state;
    open_apart("protocol=auto");
    assert_int_equal(peercache_region_register(nodes[1], many, sizeof many, &more, &error), 0);
    for (uint64_t i = 0; i < PAGES * STEP; i++)
        set(100 + i, PAGE_BYTES);
    put_between();
    atomic_store(&is_armed, true);
    /* A busy machine may take TCP first. */
    uint64_t until_ns = clock_now_ns() + 60 * CLOCK_NS_PER_S;
    for (int i = 0; i < 2 || (atomic_load(&is_armed) && clock_now_ns() < until_ns); i++) {
        memset(many, 0xee, sizeof many);
        get_batch(100, STEP, PAGES, many, PAGE_BYTES, 10000, results);
        assert_int_equal(count_right(many, results), PAGES);
    }
    assert_false(atomic_load(&is_armed));
    assert_true(counter(1, "peercache_rdma_completions_failed_total") > 0);
    expect_rdma_again();
    nodes_close();
}

/* On a busy machine the READs may be given up before their failure is heard of. */
static bool read_with_wrong_keys(void)
{
    get_by_rdma(1, bytes, BYTES, 4);
    assert_true(link_is("up", PAIR_MAX, ""));
    for (uint32_t i = 0; i < the_link(0)->source.key_count; i++)
        the_link(0)->keys[i] ^= 0x5500;
    get(1, bytes, BYTES, 4);
    return link_is("down", 0, "a READ failed");
}

static void a_wrong_key_costs_no_page(void **state)
{
    (void)state;
    open_apart("protocol=auto");
    for (int i = 0; !read_with_wrong_keys(); i++)
        assert_true(i < 10);
    assert_true(counter(1, "peercache_rdma_completions_failed_total") > 0);
    expect_rdma_again();
    nodes_close();
}

/* --- peers that differ ------------------------------------------------------------------------ */

/* Both take the smaller MTU: with each side's own one the answers would be refused. */
static void a_peer_with_another_mtu_is_read(void **state)
{
    (void)state;
    for (int smaller = 0; smaller < 2; smaller++) {
        open_apart("protocol=rdma");
        nodes[smaller]->node->rails->list[0].port_info.mtu_bytes = 1024;
        get_by_rdma(1, bytes, BYTES, 4);
        nodes_close();
    }
}

static void a_peer_on_another_link_layer_is_read_by_tcp(void **state)
{
    (void)state;
    open_apart("protocol=auto");
    nodes[0]->node->rails->list[0].port_info.link = VERBS_LINK_INFINIBAND;
    get_by(PEERCACHE_VIA_TCP, 1, bytes, BYTES, 4);
    while (!link_is("down", 0, "no adapter there reaches this one")) /* a busy peer answers late */
        get_by(PEERCACHE_VIA_TCP, 1, bytes, BYTES, 4);
    assert_int_equal(counter(1, "peercache_rdma_links_opened_total"), 0);
    nodes_close();
}

static bool has_failed_link(void)
{
    return counter(1, "peercache_rdma_links_failed_total") > 0;
}

/* RoCE v2 may be routed from one subnet to another, or not: the probe tells. */
static void a_peer_on_another_subnet_is_read_by_what_works(void **state)
{
    (void)state;
    nodes_other = other;
    open_apart("protocol=auto");
    uint8_t via = get(1, bytes, BYTES, 4);
    for (int i = 0; via != PEERCACHE_VIA_RDMA && !has_failed_link(); i++) {
        assert_in_range(i, 0, 200); /* its link is in the making */
        poll(NULL, 0, 50);
        via = get(1, bytes, BYTES, 4);
    }
    print_message("between two subnets: by %s\n", via == PEERCACHE_VIA_RDMA ? "RDMA" : "TCP");
    nodes_close();
    nodes_other = NULL;
}

static _Atomic(uint32_t) first_read_bytes;

static void note_first(struct verbs_read *reads, uint32_t n)
{
    uint32_t none = 0, bytes_asked = 0;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < reads[i].segment_count; j++)
            bytes_asked += reads[i].segments[j].len_bytes;
    atomic_compare_exchange_strong(&first_read_bytes, &none, bytes_asked);
}

/* A path whose switches carry small packets only would be believed, and then stall on each page. */
static void a_link_is_tried_with_the_largest_packet(void **state)
{
    (void)state;
    if (nodes_device)
        skip(); /* its table of calls is its own */
    open_apart("protocol=rdma");
    live_on_post(live, note_first);
    get_by_rdma(1, bytes, BYTES, 4);
    assert_int_equal(atomic_load(&first_read_bytes), VERBS_MTU_MAX_BYTES);
    nodes_close();
}

/* --- a holder that is not ready --------------------------------------------------------------- */

enum { REGISTERS_MS = 4000, NOTICED_MS = 2000 };

/* A large pool takes minutes.  Whoever asks meanwhile has met no failure, and asks on at an even
 * pace. */
static void a_holder_that_still_registers_is_asked_again_soon(void **state)
{
    struct peercache_error error;
    (void)state;
    if (nodes_device)
        skip(); /* a device registers when it likes */
    make_model(&calm);
    live_hold_memory(live, VERBS_REMOTE_READ);
    open_cluster("protocol=auto");
    set_apart();
    assert_int_equal(peercache_region_register(nodes[1], bytes, sizeof bytes, &region, &error), 0);
    set(1, BYTES);
    for (uint64_t from_ns = clock_now_ns(); elapsed_ms(from_ns) < REGISTERS_MS; poll(NULL, 0, 50))
        assert_int_equal(get(1, bytes, BYTES, 4), PEERCACHE_VIA_TCP);
    assert_true(link_is("down", 0, GUEST_NOT_READY));
    live_hold_memory(live, 0);
    uint64_t from_ns = clock_now_ns();
    get_by_rdma(1, bytes, BYTES, 4);
    assert_in_range(elapsed_ms(from_ns), 0, NOTICED_MS);
    nodes_close();
}

int main(int argc, char **argv)
{
    nodes_device = argc > 2 ? argv[1] : NULL;
    other = argc > 2 ? argv[2] : "model1";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_read_of_many_fails),
        cmocka_unit_test(a_wrong_key_costs_no_page),
        cmocka_unit_test(a_peer_with_another_mtu_is_read),
        cmocka_unit_test(a_peer_on_another_link_layer_is_read_by_tcp),
        cmocka_unit_test(a_peer_on_another_subnet_is_read_by_what_works),
        cmocka_unit_test(a_link_is_tried_with_the_largest_packet),
        cmocka_unit_test(a_holder_that_still_registers_is_asked_again_soon),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
