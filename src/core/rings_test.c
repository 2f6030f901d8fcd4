/* SPDX-License-Identifier: Apache-2.0 */
/* rings_test.c - which rings count, for how long, and whose owners are told. */
#include "core/rings.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { KEYS = 500 };

static int build(struct rings *rings, uint32_t n)
{
    struct ring_node nodes[64];
    for (uint32_t i = 0; i < n; i++)
        nodes[i] = (struct ring_node){{i + 1, 5}, (uint16_t)i};
    return rings_build(rings, nodes, n);
}

static int setup(void **state)
{
    static struct rings rings;
    *state = &rings;
    return rings_init(&rings, 64, 2);
}

static int teardown(void **state)
{
    rings_fini(*state);
    return 0;
}

static uint64_t position(uint64_t key)
{
    return key * UINT64_C(0x9e3779b97f4a7c15);
}

static bool is_owner(const struct ring *ring, uint64_t key, uint16_t peer)
{
    uint16_t owners[CORE_OWNERS_MAX];
    uint32_t n = ring_owners(ring, position(key), 2, owners);
    for (uint32_t i = 0; i < n; i++)
        if (owners[i] == peer)
            return true;
    return false;
}

static void before_the_first_ring_there_are_no_owners(void **state)
{
    struct rings *rings = *state;
    uint16_t owners[RINGS_OWNERS_MAX];
    assert_int_equal(rings_newest(rings), 0);
    assert_int_equal(rings_owners(rings, 1, owners), 0);
    rings_complete(rings);
    rings_settle(rings);
    assert_int_equal(rings_newest(rings), 0);
}

/* The owners by all rings that count are told, those by the newest first, each once. */
static void owners_by_older_rings_are_told_too(void **state)
{
    struct rings *rings = *state;
    uint16_t owners[RINGS_OWNERS_MAX];
    uint32_t more = 0;
    for (uint32_t n = 4; n < 7; n++)
        assert_int_equal(build(rings, n), 1);
    assert_int_equal(rings_newest(rings), 3);
    for (uint64_t key = 0; key < KEYS; key++) {
        uint32_t n = rings_owners(rings, position(key), owners);
        assert_in_range(n, 2, 6);
        more += n > 2;
        assert_true(is_owner(rings_get(rings, 3), key, owners[0]));
        assert_true(is_owner(rings_get(rings, 3), key, owners[1]));
        for (uint16_t peer = 0; peer < 6; peer++) {
            uint32_t times = 0;
            for (uint32_t i = 0; i < n; i++)
                times += owners[i] == peer;
            bool is_any = false;
            for (uint64_t serial = 1; serial <= 3; serial++)
                is_any |= is_owner(rings_get(rings, serial), key, peer);
            assert_int_equal(times, is_any);
        }
    }
    assert_true(more > KEYS / 4);
}

static void while_older_ones_forget_they_hear_of_nothing_new(void **state)
{
    struct rings *rings = *state;
    uint16_t of_new[RINGS_OWNERS_MAX], all[RINGS_OWNERS_MAX];
    uint32_t more = 0;
    build(rings, 4);
    build(rings, 8);
    rings->is_forgetting = true;
    for (uint64_t key = 0; key < KEYS; key++) {
        assert_int_equal(rings_owners_of_new(rings, position(key), of_new), 2);
        more += rings_owners(rings, position(key), all) > 2;
    }
    assert_true(more > 0);
    build(rings, 9); /* a further change: everybody again */
    assert_false(rings->is_forgetting);
}

static void settled_rings_leave_the_newest(void **state)
{
    struct rings *rings = *state;
    uint16_t owners[RINGS_OWNERS_MAX];
    build(rings, 4);
    build(rings, 5);
    rings_settle(rings);
    assert_int_equal(rings->n, 1);
    assert_int_equal(rings->first, 2);
    assert_int_equal(ring_node_count(rings_get(rings, 2)), 5);
    assert_int_equal(rings_owners(rings, 1, owners), 2);
}

/* One change too many: nothing can be compared any more, which the serials say. */
static void too_many_changes_void_all_older_serials(void **state)
{
    struct rings *rings = *state;
    for (uint32_t n = 1; n <= RINGS_MAX; n++)
        build(rings, n);
    assert_int_equal(rings->first, 1);
    build(rings, 20);
    assert_int_equal(rings->n, 1);
    assert_int_equal(rings->first, RINGS_MAX + 1);
    assert_int_equal(rings_newest(rings), RINGS_MAX + 1);
    assert_int_equal(ring_node_count(rings_get(rings, rings_newest(rings))), 20);
}

static void same_nodes_are_no_new_ring(void **state)
{
    struct rings *rings = *state;
    build(rings, 4);
    assert_int_equal(build(rings, 4), 0);
    assert_int_equal(rings->n, 1);
    assert_int_equal(rings_newest(rings), 1);
}

/* Readers fall back to the oldest ring since the own shard last knew all, however many changes and
 * snapshots later, and no longer than that. */
static void readers_fall_back_until_all_is_known(void **state)
{
    struct rings *rings = *state;
    assert_null(ring_borrow_before(rings->set));
    build(rings, 4);
    assert_null(ring_borrow_before(rings->set));
    for (uint32_t n = 5; n < 40; n++)
        assert_int_equal(build(rings, n), 1);
    const struct ring *before = ring_borrow_before(rings->set);
    assert_int_equal(ring_node_count(before), 4);
    ring_return(rings->set, before);
    while (rings->n < 2)
        build(rings, 40);
    rings_complete(rings); /* not while older ones count */
    assert_non_null(before = ring_borrow_before(rings->set));
    ring_return(rings->set, before);
    rings_settle(rings);
    rings_complete(rings);
    assert_null(ring_borrow_before(rings->set));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(before_the_first_ring_there_are_no_owners),
        TEST(owners_by_older_rings_are_told_too),
        TEST(while_older_ones_forget_they_hear_of_nothing_new),
        TEST(settled_rings_leave_the_newest),
        TEST(too_many_changes_void_all_older_serials),
        TEST(same_nodes_are_no_new_ring),
        TEST(readers_fall_back_until_all_is_known),
    };
    return cmocka_run_group_tests_name("core/rings", tests, NULL, NULL);
}
