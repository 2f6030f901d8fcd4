/* SPDX-License-Identifier: Apache-2.0 */
/*
 * faults_test.c - whole nodes whose devices fail, hang, or are refused what they need.
 *
 * Whatever happens, a get ends by its deadline, and afterwards nothing is written into its memory.
 */
#include "apart.h"

#include "io/rdma/pairing.h"
#include "node/life.h"

static void a_removed_device_is_left_out(void **state)
{
    (void)state;
    open_apart("protocol=auto");
    get_by_rdma(1, bytes, BYTES, 4);
    live_lock(live);
    model_remove_device(model, the_link(0)->rail->name);
    live_unlock(live);
    for (int i = 0; i < 5; i++)
        assert_int_equal(get(1, bytes, BYTES, 4), PEERCACHE_VIA_TCP);
    nodes_close();
}

static void a_failed_read_is_made_up_for(void **state)
{
    (void)state;
    open_apart("protocol=auto");
    get_by_rdma(1, bytes, BYTES, 4);
    live_freeze(live, true);
    live_lock(live);
    for (uint32_t i = 0; i < PAIR_MAX; i++)
        model_fail_read(model, the_link(0)->queues[i]->made.number, VERBS_REMOTE_ACCESS);
    live_unlock(live);
    live_freeze(live, false);
    get(1, bytes, BYTES, 4);
    expect_rdma_again();
    nodes_close();
}

/* The page comes another way, within the deadline. */
static void what_hangs_is_given_up(void **state)
{
    (void)state;
    open_apart("protocol=auto");
    get_by_rdma(1, bytes, BYTES, 4);
    live_freeze(live, true);
    uint64_t from_ns = clock_now_ns();
    assert_int_equal(get(1, bytes, BYTES, 4), PEERCACHE_VIA_TCP);
    assert_in_range(elapsed_ms(from_ns), 400, 3000);
    uint64_t least_ms = UINT64_MAX; /* the next calls do not wait */
    for (int i = 0; i < 3; i++) {
        from_ns = clock_now_ns();
        assert_int_equal(get(1, bytes, BYTES, 4), PEERCACHE_VIA_TCP);
        least_ms = elapsed_ms(from_ns) < least_ms ? elapsed_ms(from_ns) : least_ms;
    }
    assert_in_range(least_ms, 0, 400);
    live_freeze(live, false);
    expect_rdma_again();
    nodes_close();
}

/* With @holds the device does not let go of its queue pairs at once.  Another caller has borrowed
 * the link, so its end waits; that of the queue pairs does not. */
static void end_by_deadline(uint32_t holds, bool is_protected)
{
    char reason[LINK_REASON_BYTES];
    open_apart("protocol=rdma");
    get_by_rdma(1, bytes, BYTES, 4);
    struct link *link = the_link(0);
    assert_int_equal(link_borrow(link, NULL, NULL, 0, reason), 0);
    if (!is_protected)
        assert_true(protection_disable("rdma_break"));
    live_freeze(live, true);
    live_lock(live);
    model_hold_queues(model, the_link(0)->rail->name, holds);
    live_unlock(live);
    uint64_t from_ns = clock_now_ns();
    struct peercache_result result = call(1, 1, bytes, BYTES, 4, 200);
    assert_int_not_equal(result.outcome, PEERCACHE_HIT);
    assert_in_range(elapsed_ms(from_ns), 100, holds ? 2000 : 300);
    memset(bytes, 0xab, BYTES);
    live_freeze(live, false);
    live_lock(live);
    while (model_step(model))
        ;
    live_unlock(live);
    assert_int_equal(is_poison(bytes, BYTES), is_protected);
    link_return(link);
    assert_int_equal(counter(1, "peercache_rdma_destroys_refused_total") > 0, holds > 0);
    expect_rdma_again();
    nodes_close();
}

static void after_the_deadline_nothing_is_written(void **state)
{
    (void)state;
    end_by_deadline(0, true);
}

static void without_the_break_it_is(void **state)
{
    (void)state;
    end_by_deadline(0, false);
}

static void a_device_that_does_not_let_go_is_waited_for_and_counted(void **state)
{
    (void)state;
    end_by_deadline(20, true);
}

/* The device tells it in a moment. */
static void await_port(bool is_down)
{
    for (int i = 0; port_is_down(1) != is_down; i++) {
        assert_in_range(i, 0, 1000);
        poll(NULL, 0, 5);
    }
}

static void a_port_that_is_down_is_probed(void **state)
{
    (void)state;
    open_apart("protocol=auto");
    get_by_rdma(1, bytes, BYTES, 4);
    live_lock(live);
    model_set_port(model, the_link(0)->rail->name, false);
    live_unlock(live);
    assert_int_equal(get(1, bytes, BYTES, 4), PEERCACHE_VIA_TCP);
    await_port(true);
    live_lock(live);
    model_set_port(model, the_link(0)->rail->name, true);
    live_unlock(live);
    expect_rdma_again();
    await_port(false);
    nodes_close();
}

/* Its own time was up, and nobody is at fault: the link is made again at once, and not after the
 * pause that follows a fault (on a busy machine in one of some tries). */
static void a_call_without_time_costs_others_no_pause(void **state)
{
    uint64_t least_ms = UINT64_MAX;
    (void)state;
    open_apart("protocol=auto");
    expect_rdma_again();
    for (int i = 0; i < 10 && least_ms >= LINK_PAUSE_NS / CLOCK_NS_PER_MS * 7 / 10; i++) {
        live_freeze(live, true);
        assert_int_not_equal(call(1, 1, bytes, BYTES, 4, 60).via, PEERCACHE_VIA_RDMA);
        live_freeze(live, false);
        uint64_t from_ns = clock_now_ns();
        expect_rdma_again();
        least_ms = elapsed_ms(from_ns) < least_ms ? elapsed_ms(from_ns) : least_ms;
    }
    assert_in_range(least_ms, 0, LINK_PAUSE_NS / CLOCK_NS_PER_MS * 7 / 10);
    nodes_close();
}

/* The driver takes its time; the call does not, and the link comes up for others. */
static void a_slow_connect_holds_up_no_call(void **state)
{
    (void)state;
    open_apart("protocol=rdma");
    live_slow_connects(live, PAIR_MAX, 1000); /* the holder's are not */
    uint64_t from_ns = clock_now_ns();
    assert_int_not_equal(call(1, 1, bytes, BYTES, 4, 300).outcome, PEERCACHE_HIT);
    assert_in_range(elapsed_ms(from_ns), 0, 600);
    live_slow_connects(live, 0, 0);
    expect_rdma_again();
    nodes_close();
}

/* One whose address the holder cannot resolve holds up those behind it once, and not at each
 * try. */
static void a_peer_that_is_not_reached_is_refused_for_a_while(void **state)
{
    (void)state;
    open_apart("protocol=auto");
    live_slow_connects(live, 0, 300);
    assert_int_equal(get(1, bytes, BYTES, 4), PEERCACHE_VIA_TCP);
    live_slow_connects(live, 0, 0);
    for (int i = 0; !link_says("rdma_peer_not_reached"); i++) {
        assert_in_range(i, 0, 100);
        poll(NULL, 0, 100);
        assert_int_equal(get(1, bytes, BYTES, 4), PEERCACHE_VIA_TCP);
    }
    nodes_close();
}

/* On either side, with a link that was up before. */
static void an_address_that_moves_is_found_again(void **state)
{
    (void)state;
    open_apart("protocol=auto");
    get_by_rdma(1, bytes, BYTES, 4);
    live_lock(live);
    model_move_gid(model, nodes[0]->node->rails->list[0].name, 5);
    model_move_gid(model, nodes[1]->node->rails->list[0].name, 7);
    live_unlock(live);
    link_break(the_link(0), "its address has moved");
    expect_rdma_again();
    nodes_close();
}

static void a_holder_that_goes_is_a_miss(void **state)
{
    (void)state;
    open_apart("protocol=rdma");
    get_by_rdma(1, bytes, BYTES, 4);
    peercache_node_close(nodes[0]);
    nodes[0] = NULL;
    assert_int_not_equal(call(1, 1, bytes, BYTES, 4, 1000).outcome, PEERCACHE_HIT);
    nodes_close();
}

/* Its pages are read by TCP; it reads others' as ever.  With two devices: also where the second of
 * them refuses. */
static void a_pool_that_cannot_be_registered_is_served_by_tcp(void **state)
{
    (void)state;
    for (uint32_t after = 0; after < 2; after++) {
        model = model_new(&calm);
        live = live_new(model);
        model_add_device(model, "model0", 1);
        model_add_device(model, "model1", 2);
        rdma_module_stand_in(live_verbs(live));
        live_refuse_memory(live, after);
        open_cluster("device_names=model0,model1");
        set_apart();
        set(1, BYTES);
        assert_int_equal(get(1, bytes, BYTES, 4), PEERCACHE_VIA_TCP);
        assert_true(has_trouble(0, "rdma_pool_not_registered"));
        nodes_close();
    }
}

/* A call whose reads are under way when the device is pulled out. */
static void *get_once(void *context)
{
    *(uint8_t *)context = get(1, bytes, BYTES, 4);
    return NULL;
}

static void a_device_removed_under_a_call_is_made_up_for(void **state)
{
    (void)state;
    open_apart("protocol=auto");
    get_by_rdma(1, bytes, BYTES, 4);
    struct rail *rail = the_link(0)->rail;
    pthread_t thread;
    uint8_t via = PEERCACHE_VIA_NONE;
    live_freeze(live, true);
    assert_int_equal(pthread_create(&thread, NULL, get_once, &via), 0);
    for (uint64_t from_ns = clock_now_ns(); atomic_load(&rail->chains_under_way) == 0;)
        assert_true(elapsed_ms(from_ns) < AGAIN_MS);
    live_lock(live);
    model_remove_device(model, rail->name);
    live_unlock(live);
    live_freeze(live, false);
    pthread_join(thread, NULL);
    assert_int_equal(via, PEERCACHE_VIA_TCP);
    nodes_close();
}

static void a_large_page_is_split_over_the_rails(void **state)
{
    static uint8_t large[3 << 20];
    struct peercache_region *more;
    struct peercache_error error;
    (void)state;
    nodes_open(&calm, "device_names=model0,model1");
    set_apart();
    assert_int_equal(peercache_region_register(nodes[1], large, sizeof large, &more, &error), 0);
    set(1, sizeof large);
    get_by_rdma(1, large, sizeof large, 5);
    assert_int_equal(nodes[1]->node->rails->n, 2);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(the_link(i)->state, LINK_UP);
        assert_true(the_link(i)->queues[0]->last_sequence + the_link(i)->queues[1]->last_sequence >
                    2); /* more than the probes */
    }
    live_lock(live);
    model_remove_device(model, "model1");
    live_unlock(live);
    get(1, large, sizeof large, 5);
    get_by_rdma(1, large, sizeof large, 5); /* by the other rail */
    nodes_close();
}

static void an_idle_link_is_closed_and_made_again(void **state)
{
    (void)state;
    open_apart("protocol=rdma");
    get_by_rdma(1, bytes, BYTES, 4);
    uint32_t before = (uint32_t)model_counts(model).queues;
    rails_close_idle(nodes[1]->node->rails, clock_now_ns() + 2 * LINK_IDLE_NS);
    assert_int_equal(the_link(0)->state, LINK_DOWN);
    assert_true(link_is("down", 0, "nobody used it for a while"));
    get_by_rdma(1, bytes, BYTES, 4);
    assert_true(before >= 2 * PAIR_MAX);
    nodes_close();
}

/* With places for one link only, each of two holders takes the other's. */
static void more_peers_than_queue_pairs_take_turns(void **state)
{
    (void)state;
    open_apart("protocol=rdma");
    struct peercache_node *third =
        test_open((const char *const[]){discovery, "hot_pages=false", "protocol=rdma", NULL});
    struct peercache_node *all[] = {nodes[0], nodes[1], third};
    struct peercache_namespace *first_space = spaces[0];
    test_await_cluster(all, 3);
    spaces[0] = test_namespace(third, "a=1");
    set(2, BYTES);
    spaces[0] = first_space;
    for (uint32_t i = 0; i < nodes[1]->node->rails->n; i++)
        nodes[1]->node->rails->list[i].queue_limit = PAIR_MAX;
    for (int i = 0; i < 6; i++)
        get_by_rdma(1 + (uint64_t)i % 2, bytes, BYTES, 4);
    assert_int_equal(counter(1, "peercache_rdma_links_opened_total"), 6);
    assert_int_equal(counter(1, "peercache_rdma_links_failed_total"), 0);
    peercache_node_close(third);
    nodes_close();
}

/* What a member says cannot hurt: it is refused in an answer. */
static void nonsense_is_refused(void **state)
{
    struct record_queue queues[PAIR_MAX] = {{UINT32_MAX, 1}, {1, UINT32_MAX}};
    static const struct message_pair forged[] = {
        {.link = VERBS_LINK_ETHERNET, .gid_type = 77, .mtu_bytes = 4096},
        {.link = 99, .gid_type = VERBS_GID_ROCE_V2, .mtu_bytes = 4096},
        {.link = VERBS_LINK_ETHERNET, .gid_type = VERBS_GID_ROCE_V2, .mtu_bytes = 4095},
        {.link = VERBS_LINK_ETHERNET, .gid_type = VERBS_GID_ROCE_V2, .mtu_bytes = 1024},
    };
    (void)state;
    open_apart("protocol=auto");
    get_by_rdma(1, bytes, BYTES, 4); /* the holder's pool is registered */
    struct message_hello hello = life_hello(nodes[1]->node);
    struct server_asker asker = {hello.node_id, hello.incarnation};
    for (size_t i = 0; i < sizeof forged / sizeof *forged; i++) {
        struct message_pair pair = forged[i];
        struct message_paired paired = {0};
        struct server_scratch *scratch = malloc(sizeof *scratch);
        void *guest = NULL;
        pair.gid = (struct id128){0, UINT64_C(0xffff0a010063)};
        pair.queues = queues;
        pair.n_queues = PAIR_MAX;
        rdma_pair(nodes[0]->node, &asker, &pair, scratch, &paired, &guest);
        assert_true(paired.error < 0);
        assert_int_not_equal(paired.error, -EACCES);
        assert_null(guest);
        free(scratch);
    }
    nodes_close();
}

/* Nor does it take the places of others. */
static void a_member_has_so_many_queue_pairs_and_no_more(void **state)
{
    enum { MOST = RAIL_GUESTS_OF_ONE_MAX / PAIR_MAX };
    struct record_queue queues[PAIR_MAX] = {{1, 1}, {2, 2}};
    struct message_pair pair;
    struct message_paired paired;
    void *guests[MOST] = {0};
    uint32_t n = 0;
    (void)state;
    open_apart("protocol=auto");
    get_by_rdma(1, bytes, BYTES, 4);
    struct server_scratch *scratch = malloc(sizeof *scratch);
    struct message_hello hello = life_hello(nodes[1]->node);
    struct server_asker asker = {hello.node_id, hello.incarnation};
    struct pairing own = pairing_of(the_link(0)->rail);
    own.queues = queues;
    own.n_queues = PAIR_MAX;
    pairing_to_pair(&own, &pair);
    do {
        assert_in_range(n, 0, MOST - 1);
        paired = (struct message_paired){0};
        rdma_pair(nodes[0]->node, &asker, &pair, scratch, &paired, &guests[n++]);
    } while (paired.error == 0);
    assert_int_equal(paired.error, -ENOSPC);
    assert_int_equal(n, MOST); /* one link it had */
    while (n > 0)
        rdma_unpair(nodes[0]->node, guests[--n]);
    free(scratch);
    nodes_close();
}

static void nodes_come_and_go_without_a_trace(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++) {
        open_apart("protocol=auto");
        get(1, bytes, BYTES, 4);
        nodes_close();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_removed_device_is_left_out),
        cmocka_unit_test(a_device_removed_under_a_call_is_made_up_for),
        cmocka_unit_test(a_failed_read_is_made_up_for),
        cmocka_unit_test(what_hangs_is_given_up),
        cmocka_unit_test(after_the_deadline_nothing_is_written),
        cmocka_unit_test(without_the_break_it_is),
        cmocka_unit_test(a_device_that_does_not_let_go_is_waited_for_and_counted),
        cmocka_unit_test(a_port_that_is_down_is_probed),
        cmocka_unit_test(a_call_without_time_costs_others_no_pause),
        cmocka_unit_test(a_slow_connect_holds_up_no_call),
        cmocka_unit_test(a_peer_that_is_not_reached_is_refused_for_a_while),
        cmocka_unit_test(an_address_that_moves_is_found_again),
        cmocka_unit_test(a_holder_that_goes_is_a_miss),
        cmocka_unit_test(a_pool_that_cannot_be_registered_is_served_by_tcp),
        cmocka_unit_test(a_large_page_is_split_over_the_rails),
        cmocka_unit_test(an_idle_link_is_closed_and_made_again),
        cmocka_unit_test(more_peers_than_queue_pairs_take_turns),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(a_member_has_so_many_queue_pairs_and_no_more),
        cmocka_unit_test(nodes_come_and_go_without_a_trace),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
