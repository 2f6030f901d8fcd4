/* SPDX-License-Identifier: Apache-2.0 */
/* update_test.c - what one step may collect, and the largest steps there are. */
#include "core/update.h"

#include "core/core_test_harness.h"

static int setup(void **state)
{
    struct update *update = update_new();
    update_begin(update, 1000);
    *state = update;
    return 0;
}

static int teardown(void **state)
{
    update_free(*state);
    return 0;
}

static struct core_update end_of(struct update *update)
{
    struct core_update result;
    update_end(update, &result);
    return result;
}

static void new_step_forgets_the_one_before(void **state)
{
    struct update *update = *state;
    update_send(update, 7, MESSAGE_touch);
    update_dial(update, &(struct core_dial){.port = 1});
    update_hangup(update, 7);
    update_complete(update, &(struct core_completion){.op = 3});
    update_peer_change(update, &(struct core_peer_change){.peer = 3});
    update_wake_at(update, 2000);
    struct core_update result = end_of(update);
    assert_int_equal(result.n_sends, 1);
    assert_int_equal(result.sends[0].link, 7);
    assert_int_equal(result.sends[0].message->type, MESSAGE_touch);
    assert_int_equal(result.n_dials + result.n_hangups + result.n_completions, 3);
    assert_int_equal(result.n_peer_changes, 1);
    assert_int_equal(result.wake_at_ns, 2000);
    update_begin(update, 1500);
    result = end_of(update);
    assert_int_equal(result.n_sends + result.n_dials + result.n_hangups, 0);
    assert_int_equal(result.n_completions + result.n_peer_changes, 0);
    assert_true(result.wake_at_ns == UINT64_MAX);
}

static void earliest_wake_counts_and_never_lies_before_now(void **state)
{
    struct update *update = *state;
    update_wake_at(update, 5000);
    update_wake_at(update, 3000);
    update_wake_at(update, 4000);
    assert_int_equal(end_of(update).wake_at_ns, 3000);
    update_wake_at(update, 10);
    assert_int_equal(end_of(update).wake_at_ns, 1000);
}

static void dials_beyond_a_step_are_put_off(void **state)
{
    struct update *update = *state;
    for (int i = 0; i < UPDATE_DIALS_MAX; i++)
        assert_true(update_dial(update, &(struct core_dial){.port = (uint16_t)i}));
    assert_false(update_dial(update, &(struct core_dial){0}));
    assert_int_equal(end_of(update).n_dials, UPDATE_DIALS_MAX);
}

static void memory_is_aligned_and_apart(void **state)
{
    struct update *update = *state;
    uint8_t *last = update_allocate(update, 0);
    for (size_t bytes = 1; bytes < 200; bytes++) {
        uint8_t *memory = update_allocate(update, bytes);
        assert_int_equal((uintptr_t)memory % 16, 0);
        assert_true(memory >= last);
        memset(memory, 0xaa, bytes);
        last = memory + bytes;
    }
}

/* Who asks first and stays within what one handler may need never runs out. */
static void long_work_is_stopped_in_time(void **state)
{
    struct update *update = *state;
    int rounds = 0;
    while (update_has_room(update)) {
        update_allocate(update, UPDATE_RESERVE_BYTES);
        assert_true(++rounds < 100);
    }
    assert_true(rounds >= 1);
    assert_int_equal(end_of(update).wake_at_ns, 1000);
    update_allocate(update, UPDATE_RESERVE_BYTES); /* a handler that does not ask */
    update_begin(update, 2000);
    rounds = 0;
    while (update_has_room(update)) {
        update_send(update, 1, MESSAGE_touch);
        assert_true(++rounds < UPDATE_SENDS_MAX);
    }
    assert_true(rounds >= 1);
}

/* --- the largest cluster --- */

/* A list of 1,024 members with another life each, and before that as many others: what one list can
 * ask for at most, in one step, and with every namespace cleared. */
static void full_cluster_is_replaced_in_one_step(void **state)
{
    (void)state;
    struct world *world = world_new();
    struct core_config config = world_config(0);
    static struct record_member members[MEMBERS_MAX];
    struct core_inspection *inspection = calloc(1, sizeof *inspection);
    world_add(world, &config);
    for (uint64_t i = 0; i < 4096; i++) {
        uint32_t op;
        uint64_t epoch;
        struct core_event event = {
            .type = CORE_CLEAR,
            .u.clear = {.identity = {9, i}, .ret_epoch = &epoch, .ret_op = &op}};
        world_step(world, 0, &event);
    }
    world_add_played(world, 0, MEMBERS_MAX - 1);
    core_inspect(world->nodes[0]->core, inspection);
    assert_int_equal(inspection->ring_nodes, MEMBERS_MAX);
    for (uint64_t life = 2; life < 6; life++) {
        for (uint32_t i = 0; i < MEMBERS_MAX - 1; i++)
            members[i] = world_member(100 + i, life);
        world->now_ns += config.ring_grace_ns; /* the indices of the life before are free */
        world_tick(world, 0);
        world_tell_members(world, 0, WORLD_DISCOVERY, life, members, MEMBERS_MAX - 1);
        world_run(world);
        world_forget_heard(world);
    }
    world->now_ns += config.ring_grace_ns;
    world_tick(world, 0);
    core_inspect(world->nodes[0]->core, inspection);
    assert_int_equal(inspection->ring_nodes, MEMBERS_MAX);
    for (uint32_t i = 0; i < MEMBERS_MAX - 1; i++)
        members[i] = world_member(5000 + i, 1);
    world_tell_members(world, 0, WORLD_DISCOVERY, 10, members, MEMBERS_MAX - 1);
    world_run(world);
    core_inspect(world->nodes[0]->core, inspection);
    assert_int_equal(inspection->ring_nodes, MEMBERS_MAX);
    free(inspection);
    world_free(world);
}

/* A peer may send a list that no head of ours would: the same node again and again. */
static void list_that_names_a_node_many_times_is_survived(void **state)
{
    (void)state;
    struct world *world = world_new();
    struct core_config config = world_config(0);
    static struct record_member members[MEMBERS_MAX];
    world_add(world, &config);
    world_add_played(world, 0, MEMBERS_MAX - 1);
    for (uint32_t i = 0; i < MEMBERS_MAX - 1; i++)
        members[i] = world_member(9999, 1 + i);
    world_tell_members(world, 0, WORLD_DISCOVERY, 2, members, MEMBERS_MAX - 1);
    world_run(world);
    world_free(world);
}

/* Everybody has a control connection, every owner another link: goodbye, clear, reports. */
static void step_that_speaks_to_everybody(void **state)
{
    (void)state;
    struct world *world = world_new();
    struct core_config config = world_config(0);
    static struct core_touch touches[LOCATE_KEYS_MAX];
    static struct core_stale stales[LOCATE_KEYS_MAX];
    uint32_t op, heard = 0;
    uint64_t epoch;
    config.directory_replicas = 4;
    world_add(world, &config);
    world_add_played(world, 0, MEMBERS_MAX - 1);
    world_forget_heard(world);
    for (uint32_t i = 0; i < LOCATE_KEYS_MAX; i++) {
        touches[i] = (struct core_touch){.peer = (uint16_t)(1 + i % (MEMBERS_MAX - 1)), .slot = i};
        stales[i] = (struct core_stale){
            .peer = 1, .digest = world_digest(i), .ring_position = world_position(i)};
    }
    struct core_event outcomes = {
        .type = CORE_READ_OUTCOMES,
        .u.outcomes = {touches, LOCATE_KEYS_MAX, stales, LOCATE_KEYS_MAX}};
    world_step(world, 0, &outcomes);
    struct core_event clear = {.type = CORE_CLEAR,
                               .u.clear = {.identity = {9, 9}, .ret_epoch = &epoch, .ret_op = &op}};
    world_step(world, 0, &clear);
    world_step(world, 0, &(struct core_event){.type = CORE_LEAVE});
    while (world_heard_type(world, MESSAGE_leave, NULL))
        heard++;
    assert_int_equal(heard, MEMBERS_MAX); /* and the head */
    world_free(world);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(new_step_forgets_the_one_before),
        TEST(earliest_wake_counts_and_never_lies_before_now),
        TEST(dials_beyond_a_step_are_put_off),
        TEST(memory_is_aligned_and_apart),
        TEST(long_work_is_stopped_in_time),
        cmocka_unit_test(full_cluster_is_replaced_in_one_step),
        cmocka_unit_test(list_that_names_a_node_many_times_is_survived),
        cmocka_unit_test(step_that_speaks_to_everybody),
    };
    return cmocka_run_group_tests_name("core/update", tests, NULL, NULL);
}
