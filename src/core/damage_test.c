/* SPDX-License-Identifier: Apache-2.0 */
/* damage_test.c - what readers report of pages that were gone, or not what they should be. */
#include "core/core_test_cluster.h"

/* --- gone --- */

static struct message stale_message(struct record_stale *entry, uint64_t page, int holder,
                                    uint64_t incarnation, uint64_t generation)
{
    *entry = (struct record_stale){.digest = world_digest(page),
                                   .node_id = id_of(holder),
                                   .incarnation = incarnation,
                                   .generation = generation};
    return (struct message){.type = MESSAGE_stale, .u.stale = {.entries = entry, .n_entries = 1}};
}

/* Generations begin anew in every life of a node: what a reader found gone in the former life says
 * nothing of this one. */
static void stale_report_of_a_former_life_is_ignored(void **state)
{
    (void)state;
    struct location places[CORE_HOLDERS_MAX];
    struct record_stale entry;
    world_now = cluster(2);
    world_set(world_now, A, 1, 1);
    world_run(world_now);
    assert_int_equal(world_holders(world_now, B, 1, places), 1);
    struct message message = stale_message(&entry, 1, A, 99, places[0].generation);
    world_say(world_now, B, control_link(B, A), &message);
    assert_int_equal(world_holders(world_now, B, 1, places), 1);

    message = stale_message(&entry, 1, A, 100, places[0].generation + 1);
    world_say(world_now, B, control_link(B, A), &message);
    assert_int_equal(world_holders(world_now, B, 1, places), 1);

    message = stale_message(&entry, 1, A, 100, places[0].generation);
    world_say(world_now, B, control_link(B, A), &message);
    assert_int_equal(world_holders(world_now, B, 1, places), 0);
}

static void failed_read_tells_the_owners(void **state)
{
    (void)state;
    struct location places[CORE_HOLDERS_MAX];
    world_now = cluster(2);
    world_set(world_now, A, 1, 1);
    world_run(world_now);
    assert_int_equal(world_holders(world_now, B, 1, places), 1);
    struct core_stale stale = {.peer = places[0].holder,
                               .digest = world_digest(1),
                               .ring_position = world_position(1),
                               .generation = places[0].generation};
    struct core_event event = {.type = CORE_READ_OUTCOMES,
                               .u.outcomes = {.stales = &stale, .n_stales = 1}};
    world_step(world_now, B, &event);
    world_run(world_now);
    assert_int_equal(world_holders(world_now, A, 1, places), 0);
    assert_int_equal(world_holders(world_now, B, 1, places), 0);
}

/* --- damaged --- */

/* What a reader on @reader says of pages 1 .. @n of A, @generations_off from those it was told. */
static void report_damage(int reader, uint32_t n, uint64_t generations_off)
{
    struct core_stale stales[CORE_BATCH_MAX];
    for (uint32_t i = 0; i < n; i++) {
        struct location place;
        assert_int_equal(view_own_page(world_now->nodes[A]->view, world_digest(i + 1), &place), 0);
        stales[i] = (struct core_stale){.peer = world_peer(world_now, reader, id_of(A), 100),
                                        .digest = world_digest(i + 1),
                                        .ring_position = world_position(i + 1),
                                        .generation = place.generation + generations_off,
                                        .is_damaged = true};
    }
    struct core_event event = {.type = CORE_READ_OUTCOMES,
                               .u.outcomes = {.stales = stales, .n_stales = n}};
    world_step(world_now, reader, &event);
    world_run(world_now);
}

static uint64_t damaged_at(int node)
{
    return metric_get(&world_now->nodes[node]->metrics, METRIC_pages_damaged);
}

static void assert_gone_everywhere(uint64_t from, uint64_t n)
{
    struct location places[CORE_HOLDERS_MAX];
    for (uint64_t page = from; page < from + n; page++)
        for (int node = A; node <= C; node++)
            assert_int_equal(world_holders(world_now, node, page, places), 0);
}

/* Of three nodes two own a page: the holder may be one of them or not. */
static void damaged_pages_leave_holder_and_owners_and_can_be_stored_anew(void **state)
{
    (void)state;
    world_now = cluster(3);
    world_set(world_now, A, 1, 20);
    world_run(world_now);
    report_damage(B, 10, 0);
    assert_gone_everywhere(1, 10);
    for (uint64_t page = 11; page <= 20; page++)
        assert_found_at(C, page, A);
    const struct core_damage *damage = &world_now->nodes[A]->damage;
    assert_int_equal(damaged_at(A), 10);
    assert_int_equal(damage->n, 10); /* one message, so one line in the log */
    assert_true(id128_equal(damage->reader, id_of(B)));
    assert_true(id128_equal(damage->digest, world_digest(10)));
    assert_int_equal(damaged_at(B) + damaged_at(C), 0);

    uint32_t op = world_set(world_now, A, 1, 10);
    world_run(world_now);
    assert_int_equal(world_done(world_now, A, op)->error, 0);
    for (uint64_t page = 1; page <= 10; page++)
        assert_found_at(C, page, A);
}

static void damage_of_another_filling_changes_nothing(void **state)
{
    (void)state;
    world_now = cluster(3);
    world_set(world_now, A, 1, 10);
    world_run(world_now);
    report_damage(B, 10, 1);
    report_damage(A, 10, 1);
    struct record_stale entry;
    struct message message = stale_message(&entry, 999, A, 100, 1);
    world_say(world_now, A, control_link(A, B), &message); /* of a page that nobody has */
    for (uint64_t page = 1; page <= 10; page++)
        assert_found_at(C, page, A);
    assert_int_equal(damaged_at(A), 0);
    assert_int_equal(world_now->nodes[A]->damage.n, 0);
}

static void own_damaged_pages_leave_too(void **state)
{
    (void)state;
    world_now = cluster(3);
    world_set(world_now, A, 1, 10);
    world_run(world_now);
    report_damage(A, 10, 0);
    assert_gone_everywhere(1, 10);
    assert_int_equal(damaged_at(A), 10);
    assert_int_equal(world_now->nodes[A]->damage.n, 10);
    assert_true(id128_equal(world_now->nodes[A]->damage.reader, id_of(A)));
}

#define TEST(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(stale_report_of_a_former_life_is_ignored),
        TEST(failed_read_tells_the_owners),
        TEST(damaged_pages_leave_holder_and_owners_and_can_be_stored_anew),
        TEST(damage_of_another_filling_changes_nothing),
        TEST(own_damaged_pages_leave_too),
    };
    return cmocka_run_group_tests_name("core/damage", tests, NULL, NULL);
}
