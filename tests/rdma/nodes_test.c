/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nodes_test.c - whole nodes of this process over the live model, or over the device that is named:
 * every byte compared.
 */
#include <sched.h>

#include "node/life.h"
#include "node/rdma.h"
#include "nodes.h"

enum {
    PAGE_MAX_BYTES = 3 << 20,
    CALLERS = 4,
    CALLS = 100,
    CALLER_BYTES = 300000,
    CALLER_PAGES = 20
};

/* --- the tests -------------------------------------------------------------------------------- */

static void pages_of_all_shapes_come_by_rdma(void **state)
{
    static const size_t lengths[] = {1, 64, 4096, 100001, 1 << 20, PAGE_MAX_BYTES};
    static uint8_t bytes[PAGE_MAX_BYTES];
    struct peercache_region *region = NULL;
    struct peercache_error error;
    (void)state;
    nodes_open(&calm, "protocol=rdma");
    assert_int_equal(peercache_node_has_rdma(nodes[1]), 1);
    assert_int_equal(peercache_node_has_rdma(NULL), 0);
    for (int with_region = 0; with_region < 2; with_region++) {
        if (with_region)
            assert_int_equal(
                peercache_region_register(nodes[1], bytes, sizeof bytes, &region, &error), 0);
        for (uint64_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
            uint64_t number = 100 * (uint64_t)with_region + i;
            set(number, lengths[i]);
            for (uint32_t n = 1; n <= 199 && n <= lengths[i]; n += 66)
                get_by_rdma(number, bytes, lengths[i], n);
        }
        assert_int_equal(counter(1, "peercache_rdma_pages_bounced_total") > 0, 1);
    }
    long long bounced = counter(1, "peercache_rdma_pages_bounced_total");
    set(1000, 5000);
    get_by_rdma(1000, bytes, 5000, 3);
    assert_int_equal(counter(1, "peercache_rdma_pages_bounced_total"), bounced);
    peercache_region_release(region);
    get_by_rdma(1000, bytes, 5000, 3);
    assert_int_equal(counter(1, "peercache_rdma_pages_bounced_total"), bounced + 1);
    nodes_close();
}

static void *register_slowly(void *context)
{
    struct peercache_region *region;
    struct peercache_error error;
    assert_int_equal(peercache_region_register(nodes[1], context, 5000, &region, &error), 0);
    return NULL;
}

/* With protocol=rdma there is no other way for them. */
static void pages_bounce_while_their_memory_is_registered(void **state)
{
    static uint8_t bytes[5000];
    pthread_t thread;
    struct memory_range *range;
    (void)state;
    if (nodes_device)
        skip(); /* it cannot be held */
    nodes_open(&calm, "protocol=rdma");
    set(1, sizeof bytes);
    get_by_rdma(1, bytes, sizeof bytes, 3); /* makes the bounce buffer */
    live_hold_memory(live, VERBS_LOCAL_WRITE);
    assert_int_equal(pthread_create(&thread, NULL, register_slowly, bytes), 0);
    while (!(range = memory_borrow(nodes[1]->node->rails->memory, bytes, sizeof bytes)))
        sched_yield();
    memory_return(nodes[1]->node->rails->memory, range);
    get_by_rdma(1, bytes, sizeof bytes, 3);
    assert_int_equal(counter(1, "peercache_rdma_pages_bounced_total"), 2);
    live_hold_memory(live, 0);
    pthread_join(thread, NULL);
    get_by_rdma(1, bytes, sizeof bytes, 3);
    assert_int_equal(counter(1, "peercache_rdma_pages_bounced_total"), 2);
    assert_int_equal(counter(1, "peercache_rdma_region_bytes"), sizeof bytes);
    nodes_close();
}

static void auto_takes_rdma_between_hosts(void **state)
{
    static uint8_t bytes[5000];
    (void)state;
    nodes_open(&calm, "protocol=auto");
    set(1, sizeof bytes);
    get_by(PEERCACHE_VIA_SHM, 1, bytes, sizeof bytes, 2);
    nodes_close();
    nodes_open(&calm, "protocol=auto");
    set_apart();
    set(1, sizeof bytes);
    get_by_rdma(1, bytes, sizeof bytes, 2);
    nodes_close();
}

/* Asks for queue pairs as whoever this hello says: the link's own asking, by another name. */
static int pair_as(const struct message_hello *hello, char reason[LINK_REASON_BYTES])
{
    struct rails_peer *links = rails_peer_new(nodes[1]->node->rails);
    const struct node *holder = nodes[0]->node;
    struct channel_peer to = {.address = holder->config.control,
                              .node_id = holder->hello.node_id,
                              .incarnation = holder->hello.incarnation};
    snprintf(to.address.host, sizeof to.address.host, "127.0.0.1");
    reason[0] = 0;
    int error = link_borrow(&links->links[0], &to, hello, clock_now_ns() + CLOCK_NS_PER_S, reason);
    if (!error) {
        assert_true(links->links[0].source.key_count > 0);
        link_return(&links->links[0]);
    }
    rails_peer_free(links);
    return error;
}

/* One who read on the network what a hello is made of: of nobody, of a former life, of a later
 * one. */
static void strangers_get_no_keys(void **state)
{
    char reason[LINK_REASON_BYTES];
    (void)state;
    nodes_open(&calm, "protocol=rdma");
    const struct message_hello mine = life_hello(nodes[1]->node);
    while (pair_as(&mine, reason) == -EAGAIN) /* until the pool is registered */
        poll(NULL, 0, 10);
    struct message_hello forged[] = {mine, mine, mine};
    forged[0].node_id.lo ^= 1;
    forged[1].incarnation--;
    forged[2].incarnation++;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pair_as(&forged[i], reason), -EACCES);
        assert_non_null(strstr(reason, "no member"));
        assert_int_equal(counter(0, "peercache_rdma_strangers_refused_total"), i + 1);
    }
    while (rdma_has_guests(nodes[0]->node)) /* of the first */
        poll(NULL, 0, 10);
    assert_int_equal(pair_as(&mine, reason), 0);
    assert_true(protection_disable("rdma_members_only"));
    assert_int_equal(pair_as(&forged[0], reason), 0);
    nodes_close();
}

/* --- several callers at once ------------------------------------------------------------------ */

struct caller {
    pthread_t thread;
    uint8_t *own; /* CALLER_BYTES of its memory */
    uint64_t random;
    uint32_t hits, wrong, touched; /* touched: memory that was written after a call */
};

/* Failed links are tried again at once, or nearly all would come by TCP. */
static void forget_pauses(void)
{
    for (uint32_t i = 0; i < CORE_PEERS_MAX; i++) {
        struct rails_peer *peer = nodes[1]->node->peers[i].links;
        if (!peer)
            continue;
        pthread_mutex_lock(&peer->links[0].mutex);
        peer->links[0].retry_at_ns = 0;
        pthread_mutex_unlock(&peer->links[0].mutex);
    }
}

/* Every third call has next to no time, so that it takes queue pairs from under the others. */
static void *call_often(void *context)
{
    struct caller *caller = context;
    memset(caller->own, 0xab, CALLER_BYTES);
    for (int i = 0; i < CALLS; i++) {
        uint64_t number = splitmix_next(&caller->random) % CALLER_PAGES;
        uint32_t timeout_ms =
            i % 3 == 0 ? 1 + (uint32_t)(splitmix_next(&caller->random) % 4) : 10000;
        struct peercache_result result = call(1, number, caller->own, CALLER_BYTES, 7, timeout_ms);
        bool is_hit = result.outcome == PEERCACHE_HIT;
        caller->hits += is_hit;
        caller->wrong += is_hit && !is_page(caller->own, number, CALLER_BYTES);
        memset(caller->own, 0xab, CALLER_BYTES);
        sched_yield();
        forget_pauses();
        caller->touched += !is_poison(caller->own, CALLER_BYTES);
    }
    return NULL;
}

static void callers_share_queue_pairs(void **state)
{
    static uint8_t memory[CALLERS * CALLER_BYTES];
    struct caller callers[CALLERS] = {0};
    struct peercache_region *region;
    struct peercache_error error;
    uint32_t hits = 0;
    (void)state;
    nodes_open(&lossy, "protocol=auto");
    set_apart();
    assert_int_equal(peercache_region_register(nodes[1], memory, UINT64_MAX, &region, &error),
                     -EINVAL); /* beyond the end of memory */
    assert_int_equal(peercache_region_register(nodes[1], memory, sizeof memory, &region, &error),
                     0);
    for (uint64_t i = 0; i < CALLER_PAGES; i++)
        set(i, CALLER_BYTES);
    for (int i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){.own = memory + i * CALLER_BYTES, .random = (uint64_t)i};
        assert_int_equal(pthread_create(&callers[i].thread, NULL, call_often, &callers[i]), 0);
    }
    for (int i = 0; i < CALLERS; i++) {
        pthread_join(callers[i].thread, NULL);
        hits += callers[i].hits;
        assert_int_equal(callers[i].wrong, 0);
        assert_int_equal(callers[i].touched, 0);
    }
    print_message("hits %u of %d, queue pairs broken %lld\n", hits, CALLERS * CALLS,
                  counter(1, "peercache_rdma_queue_pairs_broken_total"));
    /* How much of both there is on a device depends on how busy the machine is; a fast adapter is
     * done within the shortest deadline. */
    assert_true(hits > (nodes_device ? CALLERS : CALLERS * CALLS / 2));
    assert_true(nodes_device || counter(1, "peercache_rdma_queue_pairs_broken_total") > 5);
    nodes_close();
}

int main(int argc, char **argv)
{
    nodes_device = argc > 1 ? argv[1] : NULL;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_of_all_shapes_come_by_rdma),
        cmocka_unit_test(pages_bounce_while_their_memory_is_registered),
        cmocka_unit_test(auto_takes_rdma_between_hosts),
        cmocka_unit_test(strangers_get_no_keys),
        cmocka_unit_test(callers_share_queue_pairs),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
