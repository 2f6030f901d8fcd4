/* SPDX-License-Identifier: Apache-2.0 */
/* handover_test.c - a node that drains: what it refuses, what others see, what it lists. */
#include "core/core_test_harness.h"
#include "core/replacement.h"

enum { LEAVER, OTHER, PAGES = 300 };

static int setup(void **state)
{
    struct world *world = world_new();
    for (uint32_t i = 0; i < 2; i++) {
        struct core_config config = world_config(i);
        world_add(world, &config);
    }
    world_make_head(world, OTHER);
    world_tick(world, LEAVER);
    world_pass(world, 10000);
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    world_free(*state);
    return 0;
}

static void drain(struct world *world)
{
    world_step(world, LEAVER, &(struct core_event){.type = CORE_DRAIN});
    world_run(world);
}

static uint8_t state_seen(struct world *world, int at, int of)
{
    struct view_peer info = {0};
    const struct core_config *config = &world->nodes[of]->config;
    uint16_t peer = world_peer(world, at, config->node_id, config->incarnation);
    assert_int_equal(view_peer(world->nodes[at]->view, peer, &info), 0);
    return info.state;
}

static void nothing_new_is_stored(void **state)
{
    struct core_page page = world_page(1);
    drain(*state);
    assert_int_equal(world_reserve(*state, LEAVER, &page, 1), 0);
    assert_int_equal(page.error, -ESHUTDOWN);
    page = world_page(1);
    assert_int_not_equal(world_reserve(*state, OTHER, &page, 1), 0);
}

/* A set whose room was taken before is not spoilt. */
static void set_under_way_is_finished(void **state)
{
    struct core_page page = world_page(1);
    uint32_t op = world_reserve(*state, LEAVER, &page, 1);
    drain(*state);
    world_copied(*state, LEAVER, op, &page, 1);
    world_run(*state);
    assert_int_equal(world_done(*state, LEAVER, op)->error, 0);
    assert_int_equal(world_find(*state, OTHER, 1, NULL), LOCATE_FOUND);
}

static void others_see_it_and_find_its_pages(void **state)
{
    world_set(*state, LEAVER, 1, 50);
    world_run(*state);
    drain(*state);
    assert_int_equal(state_seen(*state, LEAVER, LEAVER), MEMBER_DRAINING);
    world_pass(*state, 3000); /* with the next heartbeat at the latest */
    assert_int_equal(state_seen(*state, OTHER, LEAVER), MEMBER_DRAINING);
    assert_int_equal(state_seen(*state, LEAVER, OTHER), MEMBER_ALIVE);
    for (uint64_t page = 1; page <= 50; page++)
        assert_int_equal(world_find(*state, OTHER, page, NULL), LOCATE_FOUND);
    world_pass(*state, 20000);
    assert_int_equal(state_seen(*state, OTHER, LEAVER), MEMBER_DRAINING);
}

/* As if it had never said that it leaves, for itself and for the others. */
static void node_that_stays_after_all_is_alive_and_stores(void **state)
{
    struct world *world = *state;
    struct core_page page = world_page(1);
    drain(world);
    world_pass(world, 3000);
    assert_int_equal(state_seen(world, OTHER, LEAVER), MEMBER_DRAINING);
    for (int i = 0; i < 2; i++) /* the second one changes nothing */
        world_step(world, LEAVER, &(struct core_event){.type = CORE_STAY});
    world_run(world);
    assert_int_equal(state_seen(world, LEAVER, LEAVER), MEMBER_ALIVE);
    world_pass(world, 3000);
    assert_int_equal(state_seen(world, OTHER, LEAVER), MEMBER_ALIVE);
    assert_int_not_equal(world_reserve(world, LEAVER, &page, 1), 0);
    drain(world);
    world_pass(world, 3000);
    assert_int_equal(state_seen(world, OTHER, LEAVER), MEMBER_DRAINING);
}

/* It stays so when it was silent for a while. */
static void suspect_comes_back_as_what_it_was(void **state)
{
    struct world *world = *state;
    drain(world);
    world_pass(world, 3000);
    uint32_t link = world_link_to(world, LEAVER, OTHER, PURPOSE_DISCOVERY);
    world->nodes[LEAVER]->links[link].is_up = false; /* its heartbeats are lost */
    world_pass(world, 7000);
    assert_int_equal(state_seen(world, OTHER, LEAVER), MEMBER_SUSPECT);
    world->nodes[LEAVER]->links[link].is_up = true;
    world_pass(world, 3000);
    assert_int_equal(state_seen(world, OTHER, LEAVER), MEMBER_DRAINING);
}

/* The next pages of this heat, in *ret_n; false: that was the end. */
static bool list(struct world *world, uint32_t heat, uint32_t *cursor, struct core_page *pages,
                 uint32_t *ret_n)
{
    struct core_event event = {.type = CORE_LIST, .u.list = {heat, cursor, ret_n, pages}};
    if (*cursor == CORE_SLOT_NONE)
        return false;
    world_step(world, LEAVER, &event);
    assert_true(*ret_n <= CORE_BATCH_MAX);
    return true;
}

static uint32_t mark(struct world *world, uint32_t heat, uint8_t is_seen[PAGES])
{
    struct core_page pages[CORE_BATCH_MAX];
    uint32_t n, cursor = 0, total = 0;
    while (list(world, heat, &cursor, pages, &n))
        for (uint32_t i = 0; i < n; i++) {
            uint64_t number = 0;
            while (!id128_equal(world_digest(number), pages[i].digest))
                number++;
            assert_true(number < PAGES);
            assert_int_equal(is_seen[number]++, 0);
            assert_true(pages[i].ring_position == world_position(number));
            assert_true(id128_equal(pages[i].identity, world_page(number).identity));
            assert_int_equal(pages[i].length_bytes, WORLD_PAGE_BYTES);
            assert_int_equal(pages[i].name_len, 8);
            total++;
        }
    return total;
}

static void every_page_is_listed_once_and_the_last_used_first(void **state)
{
    uint8_t is_seen[PAGES] = {0};
    uint32_t total = 0, first;
    for (uint64_t from = 0; from < PAGES; from += 100)
        world_set(*state, LEAVER, from, 100);
    first = mark(*state, REPLACEMENT_HEAT_MAX, is_seen);
    assert_in_range(first, PAGES / 16, PAGES / 4);
    for (uint32_t i = 0; i < PAGES; i++)
        assert_int_equal(is_seen[i], i >= PAGES - first);
    for (int heat = REPLACEMENT_HEAT_MAX - 1; heat >= 0; heat--)
        total += mark(*state, (uint32_t)heat, is_seen);
    assert_int_equal(first + total, PAGES);
    memset(is_seen, 0, sizeof is_seen);
    assert_int_equal(mark(*state, CORE_HEAT_ANY, is_seen), PAGES);
}

static void pages_of_a_group_are_listed_as_such(void **state)
{
    struct core_page pages[3] = {world_page(1), world_page(2), world_page(3)};
    uint32_t n, cursor = 0;
    pages[0].group = pages[1].group = 77;
    uint32_t op = world_reserve(*state, LEAVER, pages, 3);
    world_copied(*state, LEAVER, op, pages, 3);
    assert_true(list(*state, CORE_HEAT_ANY, &cursor, pages, &n));
    assert_int_equal(n, 3);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(pages[i].group, id128_equal(pages[i].digest, world_digest(3)) ? 0 : 77);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nothing_new_is_stored),
        TEST(set_under_way_is_finished),
        TEST(others_see_it_and_find_its_pages),
        TEST(node_that_stays_after_all_is_alive_and_stores),
        TEST(suspect_comes_back_as_what_it_was),
        TEST(every_page_is_listed_once_and_the_last_used_first),
        TEST(pages_of_a_group_are_listed_as_such),
    };
    return cmocka_run_group_tests_name("core/handover", tests, NULL, NULL);
}
