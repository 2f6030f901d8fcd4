/* SPDX-License-Identifier: Apache-2.0 */
/* core_test.c - cores together: what one sets others find, whatever came before. */
#include "core/core_test_cluster.h"
#include "core/namespaces.h"

static void page_of_one_is_found_by_all(void **state)
{
    (void)state;
    world_now = cluster(3);
    uint32_t op = world_set(world_now, B, 1, 20);
    world_run(world_now);
    assert_non_null(world_done(world_now, B, op));
    assert_int_equal(world_done(world_now, B, op)->error, 0);
    for (uint64_t page = 1; page <= 20; page++)
        for (int reader = A; reader <= C; reader++)
            assert_found_at(reader, page, B);
    assert_int_equal(world_find(world_now, A, 1000, NULL), LOCATE_UNKNOWN);
}

/* A node that is alone is its own owner. */
static void lonely_node_finds_its_own(void **state)
{
    (void)state;
    struct core_config config = world_config(0);
    config.n_seeds = 0;
    world_now = world_new();
    world_add(world_now, &config);
    world_run(world_now);
    uint32_t op = world_set(world_now, A, 1, 3);
    assert_non_null(world_done(world_now, A, op));
    assert_int_equal(world_done(world_now, A, op)->error, 0);
    assert_found_at(A, 1, A);
    assert_true(is_complete(A));
    assert_int_equal(world_find(world_now, A, 9, NULL), LOCATE_UNKNOWN);
}

/* The node that joins last knows the others before they know it, and calls them first if its id is
 * lower.  Nothing that it says meanwhile may be lost. */
static void joiner_that_calls_before_it_is_known_is_heard(void **state)
{
    (void)state;
    world_now = world_new();
    static const uint32_t ids[] = {5, 9, 1};
    for (int i = 0; i < 3; i++) {
        struct core_config config = world_config(ids[i]);
        world_add(world_now, &config);
        if (i == A)
            world_make_head(world_now, A);
        world_pass(world_now, i == C ? 0 : 8100);
    }
    assert_true(world_peer(world_now, C, id_of(B), 100) != CORE_PEER_NONE);
    assert_true(world_peer(world_now, B, id_of(C), 100) == CORE_PEER_NONE);
    uint32_t op = world_set(world_now, C, 1, 20);
    world_pass(world_now, 100);
    assert_non_null(world_done(world_now, C, op));
    world_pass(world_now, 4000);
    for (int node = A; node <= C; node++)
        assert_true(is_complete(node));
    for (uint64_t page = 1; page <= 20; page++)
        assert_found_at(B, page, C);
}

/* Both nodes called each other: one connection stays, and it is not given up for the other again
 * while that is being hung up. */
static void second_connection_replaces_the_first_for_good(void **state)
{
    (void)state;
    world_now = world_new();
    struct core_config config = world_config(0);
    world_add(world_now, &config);
    world_add_played(world_now, A, 2);
    struct core_event up = {
        .type = CORE_LINK_UP, .link = 50, .u.up = {PURPOSE_CONTROL, world_id(100), 1, 0, 1}};
    struct core_update update;
    up.now_ns = world_now->now_ns;
    core_step(world_now->nodes[A]->core, &up, &update);
    assert_int_equal(update.n_hangups, 1);
    assert_int_equal(update.hangups[0], WORLD_CONTROL);
    /* The old one is still there when a member list brings news. */
    struct record_member members[3] = {world_member(100, 1), world_member(101, 1),
                                       world_member(102, 1)};
    uint32_t before = world_now->nodes[A]->n_hangups;
    world_tell_members(world_now, A, WORLD_DISCOVERY, 2, members, 3);
    assert_int_equal(world_now->nodes[A]->n_hangups, before);
    world_break(world_now, A, WORLD_CONTROL);
    world_run(world_now);
    world_now->nodes[A]->links[50] = (struct world_link){.is_up = true, .to = WORLD_PLAYED};
    world_forget_heard(world_now);
    struct record_entry entry = {.digest = world_digest(1),
                                 .place = {.length_bytes = 5, .generation = 1}};
    struct message announce = {.type = MESSAGE_announce,
                               .u.announce = {.batch = 3, .entries = &entry, .n_entries = 1}};
    world_say(world_now, A, 50, &announce);
    assert_non_null(world_heard_type(world_now, MESSAGE_announced, NULL));
}

/* An index that was given to another member: what still comes over the connection of the one before
 * is not taken for the new one's. */
static void words_of_a_former_peer_are_not_its_successors(void **state)
{
    (void)state;
    world_now = world_new();
    struct core_config config = world_config(0);
    world_add(world_now, &config);
    world_add_played(world_now, A, 1);
    uint16_t index = world_peer(world_now, A, world_id(100), 1);
    /* As core_step() is called directly, the hang-up is not carried out. */
    struct record_member members[2] = {world_member(100, 1), world_member(101, 1)};
    members[0].state = MEMBER_DEAD;
    struct message list = {
        .type = MESSAGE_members,
        .u.members = {
            .table = 1, .version = 2, .fresh = 1, .listed = 1, .members = members, .n_members = 1}};
    struct core_event event = {.type = CORE_MESSAGE,
                               .link = WORLD_DISCOVERY,
                               .now_ns = world_now->now_ns,
                               .u.message = &list};
    struct core_event tick = {.type = CORE_TICK, .now_ns = world_now->now_ns};
    struct core_update update;
    core_step(world_now->nodes[A]->core, &event, &update);
    assert_int_equal(update.n_hangups, 1);
    for (int i = 0; i < 10; i++)
        core_step(world_now->nodes[A]->core, &tick, &update);
    tick.now_ns = event.now_ns = world_now->now_ns += config.ring_grace_ns;
    core_step(world_now->nodes[A]->core, &tick, &update);
    list.u.members.version = 3;
    list.u.members.n_members = 2;
    core_step(world_now->nodes[A]->core, &event, &update);
    assert_int_equal(world_peer(world_now, A, world_id(101), 1), index);

    struct record_entry entry = {.digest = world_digest(1),
                                 .place = {.length_bytes = 5, .generation = 1}};
    struct message announce = {.type = MESSAGE_announce,
                               .u.announce = {.batch = 3, .entries = &entry, .n_entries = 1}};
    struct location places[CORE_HOLDERS_MAX];
    world_say(world_now, A, WORLD_CONTROL, &announce);
    assert_int_equal(world_holders(world_now, A, 1, places), 0);
}

/* The index of a node that failed is given to the next one, which has done nothing yet. */
static void successor_does_not_inherit_the_breaker(void **state)
{
    (void)state;
    world_now = world_new();
    struct core_config config = world_config(0);
    world_add(world_now, &config);
    world_add_played(world_now, A, 1);
    const struct core_view *view = world_now->nodes[A]->view;
    uint16_t index = world_peer(world_now, A, world_id(100), 1);
    breaker_failed(&view->breakers[index], world_now->now_ns);
    assert_false(view_peer_trusted(view, index));
    world_tell_members(world_now, A, WORLD_DISCOVERY, 2, NULL, 0);
    world_run(world_now);
    world_now->now_ns += config.ring_grace_ns;
    world_tick(world_now, A);
    struct record_member next = world_member(101, 1);
    world_tell_members(world_now, A, WORLD_DISCOVERY, 3, &next, 1);
    assert_int_equal(world_peer(world_now, A, world_id(101), 1), index);
    assert_true(view_peer_trusted(view, index));
}

static bool is_trusted_after_hangup(bool *ret_is_again_with_a_new_connection)
{
    world_now = world_new();
    struct core_config config = world_config(0);
    struct core_event hangup = {.type = CORE_LINK_DOWN, .link = WORLD_CONTROL};
    world_add(world_now, &config);
    world_add_played(world_now, A, 1);
    const struct core_view *view = world_now->nodes[A]->view;
    uint16_t index = world_peer(world_now, A, world_id(100), 1);
    assert_true(view_peer_trusted(view, index));
    world_step(world_now, A, &hangup);
    bool is_trusted = view_peer_trusted(view, index);
    assert_true(view_peer_usable(view, index, world_now->now_ns)); /* somebody looks at once */
    world_link_up(world_now, A, WORLD_CONTROL, PURPOSE_CONTROL, world_id(100), 1);
    *ret_is_again_with_a_new_connection = view_peer_trusted(view, index);
    return is_trusted;
}

/* Exists does not promise what a dead peer had; one that only reconnects is back with that. */
static void peer_that_hangs_up_is_suspected(void **state)
{
    bool is_again;
    (void)state;
    assert_false(is_trusted_after_hangup(&is_again));
    assert_true(is_again);
    world_free(world_now);
    assert_true(protection_disable("suspect_on_hangup"));
    assert_true(is_trusted_after_hangup(&is_again));
    protection_enable_all();
}

/* Calls that are under way may hold places by the index: it keeps its meaning for a while. */
static void index_of_a_lost_member_rests_before_it_is_used_again(void **state)
{
    (void)state;
    world_now = world_new();
    struct core_config config = world_config(0);
    struct record_member next[2] = {world_member(101, 1), world_member(102, 1)};
    world_add(world_now, &config);
    world_add_played(world_now, A, 1);
    uint16_t index = world_peer(world_now, A, world_id(100), 1);
    world_tell_members(world_now, A, WORLD_DISCOVERY, 2, NULL, 0);
    world_now->now_ns += config.ring_grace_ns - 1;
    world_run(world_now);
    world_tell_members(world_now, A, WORLD_DISCOVERY, 3, next, 1);
    assert_int_not_equal(world_peer(world_now, A, world_id(101), 1), index);
    world_now->now_ns += 1;
    world_tick(world_now, A);
    world_tell_members(world_now, A, WORLD_DISCOVERY, 4, next, 2);
    assert_int_equal(world_peer(world_now, A, world_id(102), 1), index);
}

/* --- leaving --- */

/* The head hears of it over the control connection first, and must not list the node again in the
 * time until the word comes over the discovery connection too. */
static void node_that_leaves_is_gone_at_once_and_stays_gone(void **state)
{
    (void)state;
    world_now = cluster(3);
    uint32_t discovery = world_link_to(world_now, A, C, PURPOSE_DISCOVERY);
    struct message leave = {.type = MESSAGE_leave, .u.leave = {id_of(C), 100}};
    uint32_t changes = world_now->nodes[A]->n_changes;
    world_say(world_now, A, control_link(A, C), &leave);
    struct record_member other = world_member(77, 1);
    struct message news = {.type = MESSAGE_join, .u.join = {.members = &other, .n_members = 1}};
    assert_int_equal(world_now->nodes[A]->n_changes, changes + 1);
    assert_int_equal(world_now->nodes[A]->changes[changes].state, MEMBER_LEFT);
    assert_int_equal(ring_nodes(A), 2);
    world_link_up(world_now, A, 60, PURPOSE_DISCOVERY, other.node_id, other.incarnation);
    world_say(world_now, A, 60, &news); /* a new list for everybody */
    assert_int_equal(ring_nodes(A), 3);
    assert_int_equal(world_now->nodes[A]->n_changes, ++changes + 1);
    /* Its heartbeats and joins that were on the way change nothing. */
    struct record_member member = world_member(C, 100);
    struct message join = {.type = MESSAGE_join, .u.join = {.members = &member, .n_members = 1}};
    struct message heartbeat = {
        .type = MESSAGE_heartbeat,
        .u.heartbeat = {.node_id = id_of(C), .incarnation = 100, .counter = 9}};
    world_say(world_now, A, discovery, &heartbeat);
    world_say(world_now, A, discovery, &join);
    assert_int_equal(world_now->nodes[A]->n_changes, changes + 1);
}

/* Whoever it is that says so, it is not the member itself. */
static void nobody_speaks_for_another(void **state)
{
    (void)state;
    world_now = cluster(2);
    struct record_member other = world_member(77, 1);
    struct message leave = {.type = MESSAGE_leave, .u.leave = {id_of(B), 100}};
    struct message join = {.type = MESSAGE_join, .u.join = {.members = &other, .n_members = 1}};
    world_link_up(world_now, A, 60, PURPOSE_DISCOVERY, world_id(66), 1);
    world_say(world_now, A, 60, &leave);
    world_say(world_now, A, 60, &join);
    assert_int_equal(ring_nodes(A), 2);
    assert_true(world_peer(world_now, A, other.node_id, 1) == CORE_PEER_NONE);
}

static void leave_reaches_everybody(void **state)
{
    (void)state;
    world_now = cluster(3);
    world_set(world_now, C, 1, 5);
    world_run(world_now);
    assert_found_at(B, 1, C);
    uint32_t before = world_now->nodes[B]->n_changes;
    struct core_event leave = {.type = CORE_LEAVE};
    world_step(world_now, C, &leave);
    world_pass(world_now, 8000);
    for (int node = A; node <= B; node++) {
        assert_int_equal(ring_nodes(node), 2);
        assert_true(is_complete(node));
        assert_int_equal(world_find(world_now, node, 1, NULL), LOCATE_UNKNOWN);
    }
    assert_int_equal(world_now->nodes[B]->n_changes, before + 1);
}

/* A member list that the head made before it heard of the leave comes after it. */
static void older_list_does_not_bring_back_who_left(void **state)
{
    (void)state;
    struct record_member members[2] = {world_member(100, 1), world_member(101, 1)};
    world_now = world_new();
    struct core_config config = world_config(0);
    world_add(world_now, &config);
    world_add_played(world_now, A, 2);
    struct message leave = {.type = MESSAGE_leave, .u.leave = {world_id(101), 1}};
    world_say(world_now, A, WORLD_CONTROL + 1, &leave);
    world_run(world_now);
    assert_int_equal(ring_nodes(A), 2);
    world_tell_members(world_now, A, WORLD_DISCOVERY, 2, members, 2);
    assert_int_equal(ring_nodes(A), 2);
    members[1].incarnation = 2; /* but its next life is welcome */
    world_tell_members(world_now, A, WORLD_DISCOVERY, 3, members, 2);
    assert_int_equal(ring_nodes(A), 3);
}

/* --- clear --- */

static uint32_t clear(int node, struct id128 identity, uint64_t *ret_epoch)
{
    uint32_t op = UINT32_MAX;
    struct core_event event = {
        .type = CORE_CLEAR,
        .u.clear = {.identity = identity, .ret_epoch = ret_epoch, .ret_op = &op}};
    world_step(world_now, node, &event);
    return op;
}

static void clear_of_a_lonely_node_ends_in_its_own_step(void **state)
{
    (void)state;
    uint64_t epoch;
    struct core_config config = world_config(0);
    world_now = world_new();
    world_add(world_now, &config);
    uint32_t op = clear(A, (struct id128){1, 2}, &epoch);
    assert_int_equal(namespaces_epoch_count(epoch), 1);
    assert_non_null(world_done(world_now, A, op));
    assert_int_equal(world_done(world_now, A, op)->error, 0);
}

static void clear_sweeps_on_all_members(void **state)
{
    (void)state;
    uint64_t epoch;
    struct id128 identity = {1, 2}; /* of world_page() */
    world_now = cluster(3);
    for (int node = A; node <= C; node++)
        world_set(world_now, node, (uint64_t)node * 100, 50);
    world_run(world_now);
    uint32_t op = clear(B, identity, &epoch);
    assert_null(world_done(world_now, B, op));
    world_run(world_now);
    assert_non_null(world_done(world_now, B, op));
    for (int node = A; node <= C; node++) {
        static struct core_inspection inspection;
        inspect(node, &inspection);
        assert_int_equal(namespaces_epoch_count(view_epoch(world_now->nodes[node]->view, identity)),
                         1);
        assert_int_equal(inspection.pool.live_pages, 0);
        assert_int_equal(inspection.directory_entries, 0);
    }
}

/* The 200th namespace of a message is the only news in it; it must be swept all the same. */
static void only_the_namespace_that_is_news_is_swept(void **state)
{
    (void)state;
    static struct record_epoch entries[BATCH_MAX];
    static struct core_inspection inspection;
    struct id128 identity = {1, 2};
    world_now = world_new();
    struct core_config config = world_config(0);
    world_add(world_now, &config);
    world_add_played(world_now, A, 1);
    for (uint32_t i = 0; i < BATCH_MAX; i++)
        entries[i] = (struct record_epoch){.identity = {70 + i, i}, .epoch = 3};
    struct message epochs = {.type = MESSAGE_epochs,
                             .u.epochs = {.entries = entries, .n_entries = BATCH_MAX}};
    world_say(world_now, A, WORLD_CONTROL, &epochs);
    world_run(world_now);
    world_set(world_now, A, 1, 50);
    entries[200] = (struct record_epoch){.identity = identity, .epoch = 1};
    world_say(world_now, A, WORLD_CONTROL, &epochs);
    world_run(world_now);
    inspect(A, &inspection);
    assert_int_equal(inspection.pool.live_pages, 0);
}

/* --- gauges --- */

static void gauges_say_what_is_there(void **state)
{
    (void)state;
    static struct core_inspection inspection;
    world_now = cluster(2);
    const struct metrics *metrics = &world_now->nodes[A]->metrics;
    assert_int_equal(metric_get(metrics, METRIC_members), 2);
    assert_int_equal(metric_get(metrics, METRIC_pool_bytes_used), 0);
    assert_int_equal(metric_get(metrics, METRIC_pool_bytes_free), WORLD_POOL_BYTES);
    world_set(world_now, A, 1, 10);
    world_set(world_now, B, 100, 10);
    world_run(world_now);
    assert_int_equal(metric_get(metrics, METRIC_pool_bytes_used), 10 * 1024);
    assert_int_equal(metric_get(metrics, METRIC_pool_bytes_free), WORLD_POOL_BYTES - 10 * 1024);
    assert_int_equal(metric_get(metrics, METRIC_directory_entries), 20);
    inspect(A, &inspection);
    assert_true(inspection.directory_bytes > 0);
    assert_int_equal(metric_get(metrics, METRIC_directory_bytes), inspection.directory_bytes);
    uint64_t epoch;
    clear(A, (struct id128){1, 2}, &epoch);
    world_run(world_now);
    assert_int_equal(metric_get(metrics, METRIC_pool_bytes_used), 0);
    assert_int_equal(metric_get(metrics, METRIC_pool_bytes_retired), 10 * 1024);
    assert_int_equal(metric_get(metrics, METRIC_directory_entries), 0);
}

static void config_that_makes_no_sense_is_refused(void **state)
{
    (void)state;
    struct core *core;
    struct slot_header header = {0};
    struct core_config good = world_config(0), config = good;
    world_now = world_new();
    config.headers = NULL;
    assert_int_equal(core_new(&config, &core), -EINVAL);
    good.headers = &header;
    good.slot_count = 1;
#define REFUSED(field, value)                                                                      \
    config = good, config.field = value, assert_int_equal(core_new(&config, &core), -EINVAL)
    REFUSED(slot_count, 0);
    REFUSED(pool_bytes, 63);
    REFUSED(vnodes, 0);
    REFUSED(directory_replicas, 0);
    REFUSED(directory_replicas, CORE_OWNERS_MAX + 1);
    REFUSED(directory_limit, 0);
    REFUSED(heartbeat_interval_ns, 0);
    REFUSED(node_id, ((struct id128){0, 0}));
#undef REFUSED
}

#define TEST(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(page_of_one_is_found_by_all),
        TEST(lonely_node_finds_its_own),
        TEST(joiner_that_calls_before_it_is_known_is_heard),
        TEST(second_connection_replaces_the_first_for_good),
        TEST(words_of_a_former_peer_are_not_its_successors),
        TEST(successor_does_not_inherit_the_breaker),
        TEST(peer_that_hangs_up_is_suspected),
        TEST(index_of_a_lost_member_rests_before_it_is_used_again),
        TEST(node_that_leaves_is_gone_at_once_and_stays_gone),
        TEST(nobody_speaks_for_another),
        TEST(leave_reaches_everybody),
        TEST(older_list_does_not_bring_back_who_left),
        TEST(clear_of_a_lonely_node_ends_in_its_own_step),
        TEST(clear_sweeps_on_all_members),
        TEST(only_the_namespace_that_is_news_is_swept),
        TEST(gauges_say_what_is_there),
        TEST(config_that_makes_no_sense_is_refused),
    };
    return cmocka_run_group_tests_name("core/core", tests, NULL, NULL);
}
