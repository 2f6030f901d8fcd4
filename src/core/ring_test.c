/* SPDX-License-Identifier: Apache-2.0 */
/* ring_test.c - the same owners for all who see the same nodes, evenly, and with few moves. */
#include "core/ring.h"

#include "base/splitmix.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { VNODES = 160, KEYS = 20000 };

/* Node @number is peer @number + @shift of whoever builds the ring. */
static void build(struct ring_set *set, uint32_t first, uint32_t n, uint16_t shift, bool backwards)
{
    static struct ring_node nodes[MEMBERS_MAX];
    for (uint32_t i = 0; i < n; i++) {
        uint32_t number = first + (backwards ? n - 1 - i : i);
        nodes[i] = (struct ring_node){{splitmix_of(number), number}, (uint16_t)(number + shift)};
    }
    assert_int_equal(ring_set_build(set, nodes, n), 0);
}

static int setup(void **state)
{
    return ring_set_new(VNODES, (struct ring_set **)state);
}

static int teardown(void **state)
{
    ring_set_free(*state);
    return 0;
}

static void ring_without_nodes_has_no_owners(void **state)
{
    uint16_t owners[CORE_OWNERS_MAX];
    const struct ring *ring = ring_borrow(*state);
    assert_int_equal(ring_hash(ring), 0);
    assert_int_equal(ring_node_count(ring), 0);
    assert_int_equal(ring_owners(ring, 1, 2, owners), 0);
    ring_return(*state, ring);
}

/* Two nodes number their peers differently and hear of them in another order. */
static void same_nodes_make_the_same_ring(void **state)
{
    struct ring_set *other;
    uint16_t mine[CORE_OWNERS_MAX], theirs[CORE_OWNERS_MAX];
    assert_int_equal(ring_set_new(VNODES, &other), 0);
    build(*state, 0, 20, 0, false);
    build(other, 0, 20, 7, true);
    const struct ring *left = ring_borrow(*state), *right = ring_borrow(other);
    assert_true(ring_hash(left) == ring_hash(right));
    for (uint64_t key = 0; key < 2000; key++) {
        assert_int_equal(ring_owners(left, splitmix_of(key), 3, mine), 3);
        assert_int_equal(ring_owners(right, splitmix_of(key), 3, theirs), 3);
        for (int i = 0; i < 3; i++)
            assert_int_equal(mine[i] + 7, theirs[i]);
    }
    ring_return(*state, left);
    ring_return(other, right);
    ring_set_free(other);
}

static void other_nodes_or_points_make_another_hash(void **state)
{
    struct ring_set *other;
    uint64_t hashes[3];
    assert_int_equal(ring_set_new(VNODES + 1, &other), 0);
    for (uint32_t i = 0; i < 2; i++) {
        build(*state, i, 10, 0, false);
        const struct ring *ring = ring_borrow(*state);
        hashes[i] = ring_hash(ring);
        ring_return(*state, ring);
    }
    build(other, 0, 10, 0, false);
    const struct ring *ring = ring_borrow(other);
    hashes[2] = ring_hash(ring);
    ring_return(other, ring);
    assert_true(hashes[0] != hashes[1] && hashes[0] != hashes[2] && hashes[0] != 0);
    ring_set_free(other);
}

static void owners_are_distinct_and_no_more_than_nodes(void **state)
{
    uint16_t owners[CORE_OWNERS_MAX];
    build(*state, 0, 3, 0, false);
    const struct ring *ring = ring_borrow(*state);
    for (uint64_t key = 0; key < 1000; key++) {
        assert_int_equal(ring_owners(ring, splitmix_of(key), 4, owners), 3);
        assert_true(owners[0] != owners[1] && owners[0] != owners[2] && owners[1] != owners[2]);
    }
    assert_int_equal(ring_owners(ring, 0, 2, owners), 2);
    assert_int_equal(ring_owners(ring, UINT64_MAX, 2, owners), 2); /* past the last point */
    ring_return(*state, ring);
}

/* The busiest of ten nodes has some 4 % more than the mean; counting adds as much. */
static void keys_spread_over_the_nodes(void **state)
{
    uint32_t counts[10] = {0};
    uint16_t owner[CORE_OWNERS_MAX];
    build(*state, 0, 10, 0, false);
    const struct ring *ring = ring_borrow(*state);
    for (uint64_t key = 0; key < KEYS; key++) {
        ring_owners(ring, splitmix_of(key), 1, owner);
        counts[owner[0]]++;
    }
    ring_return(*state, ring);
    for (int i = 0; i < 10; i++)
        assert_in_range(counts[i], KEYS / 10 * 9 / 10, KEYS / 10 * 11 / 10);
}

static void joining_node_takes_its_share_and_moves_nothing_else(void **state)
{
    static uint16_t before[KEYS];
    uint16_t owner[CORE_OWNERS_MAX];
    uint32_t moved = 0;
    for (uint32_t n = 10; n <= 11; n++) {
        build(*state, 0, n, 0, false);
        const struct ring *ring = ring_borrow(*state);
        for (uint64_t key = 0; key < KEYS; key++) {
            ring_owners(ring, splitmix_of(key), 1, owner);
            if (n == 11 && owner[0] != before[key]) {
                assert_int_equal(owner[0], 10);
                moved++;
            }
            before[key] = owner[0];
        }
        ring_return(*state, ring);
    }
    assert_in_range(moved, KEYS / 11 * 9 / 10, KEYS / 11 * 11 / 10);
}

/* A reader keeps the ring that it borrowed; the core never builds under it. */
static void borrowed_ring_stays_as_it_was(void **state)
{
    enum { HELD = RING_SNAPSHOTS - 1 };
    const struct ring *rings[HELD];
    uint64_t hashes[HELD];
    struct ring_node node = {{1, 1}, 1};
    for (uint32_t i = 0; i < HELD; i++) {
        build(*state, 0, i + 1, 0, false);
        rings[i] = ring_borrow(*state);
        hashes[i] = ring_hash(rings[i]);
    }
    build(*state, 0, HELD + 1, 0, false);
    assert_int_equal(ring_set_build(*state, &node, 1), -EBUSY);
    for (uint32_t i = 0; i < HELD; i++) {
        assert_true(ring_hash(rings[i]) == hashes[i]);
        assert_int_equal(ring_node_count(rings[i]), i + 1);
        ring_return(*state, rings[i]);
    }
    assert_int_equal(ring_set_build(*state, &node, 1), 0);
}

/* The ring that readers fall back to outlives any number of new ones, until it is let go. */
static void ring_before_stays_until_it_is_let_go(void **state)
{
    build(*state, 0, 5, 0, false);
    const struct ring *kept = ring_borrow(*state);
    uint64_t hash = ring_hash(kept);
    assert_null(ring_borrow_before(*state));
    ring_set_fall_back(*state, kept);
    ring_return(*state, kept);
    for (uint32_t i = 0; i < 3 * RING_SNAPSHOTS; i++)
        build(*state, 0, 6 + i, 0, false);
    const struct ring *before = ring_borrow_before(*state);
    assert_true(ring_hash(before) == hash);
    assert_int_equal(ring_node_count(before), 5);
    ring_return(*state, before);
    ring_set_fall_back(*state, NULL);
    assert_null(ring_borrow_before(*state));
}

/* A new life of a node takes the place of the one before it, and the ring is the same. */
static void new_life_keeps_its_place(void **state)
{
    uint16_t before[CORE_OWNERS_MAX], after[CORE_OWNERS_MAX];
    build(*state, 0, 10, 0, false);
    const struct ring *ring = ring_borrow(*state);
    uint64_t hash = ring_hash(ring);
    for (uint64_t key = 0; key < 100; key++) {
        ring_owners(ring, splitmix_of(key), 3, before);
        ring_set_replace(*state, 4, 77);
        ring_owners(ring, splitmix_of(key), 3, after);
        for (int i = 0; i < 3; i++)
            assert_int_equal(after[i], before[i] == 4 ? 77 : before[i]);
        ring_set_replace(*state, 77, 4);
    }
    assert_true(ring_hash(ring) == hash);
    ring_return(*state, ring);
}

/* How near a node is depends on that node alone: without one, all others stay in their order. */
static void leaving_node_changes_no_order_among_the_others(void **state)
{
    uint32_t firsts = 0;
    uint16_t all[CORE_OWNERS_MAX], fewer[CORE_OWNERS_MAX];
    for (uint64_t key = 0; key < 200; key++) {
        build(*state, 0, 40, 0, false);
        const struct ring *ring = ring_borrow(*state);
        ring_owners(ring, splitmix_of(key), 4, all);
        ring_return(*state, ring);
        for (uint32_t lost = 0; lost < 40; lost++) {
            struct ring_node nodes[39];
            uint32_t n = 0;
            for (uint32_t i = 0; i < 40; i++)
                if (i != lost)
                    nodes[n++] = (struct ring_node){{splitmix_of(i), i}, (uint16_t)i};
            assert_int_equal(ring_set_build(*state, nodes, n), 0);
            ring = ring_borrow(*state);
            ring_owners(ring, splitmix_of(key), 4, fewer);
            ring_return(*state, ring);
            for (uint32_t i = 0, j = 0; i < 4; i++)
                if (all[i] != lost)
                    firsts += all[i] == fewer[j++];
        }
    }
    assert_int_equal(firsts, 200 * (40 * 4 - 4));
}

/* The figure that the default was chosen by (docs/directory.md); counting 2,000 keys a node adds
 * some 2 % to it. */
static void busiest_of_a_thousand_has_little_more_than_the_mean(void **state)
{
    enum { NODES = 1000, MANY = 2000 * NODES };
    static uint32_t counts[NODES];
    uint32_t most = 0;
    uint16_t owner[CORE_OWNERS_MAX];
    build(*state, 0, NODES, 0, false);
    const struct ring *ring = ring_borrow(*state);
    for (uint64_t key = 0; key < MANY; key++) {
        ring_owners(ring, splitmix_of(key + 1000000), 1, owner);
        counts[owner[0]]++;
    }
    ring_return(*state, ring);
    for (uint32_t i = 0; i < NODES; i++)
        most = counts[i] > most ? counts[i] : most;
    assert_in_range(most, 2000, 2000 * 114 / 100);
}

static void as_many_nodes_as_there_may_be(void **state)
{
    uint16_t owners[CORE_OWNERS_MAX];
    build(*state, 0, MEMBERS_MAX, 0, false);
    const struct ring *ring = ring_borrow(*state);
    assert_int_equal(ring_node_count(ring), MEMBERS_MAX);
    for (uint64_t key = 0; key < 1000; key++)
        assert_int_equal(ring_owners(ring, splitmix_of(key), 4, owners), 4);
    ring_return(*state, ring);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(ring_without_nodes_has_no_owners),
        TEST(same_nodes_make_the_same_ring),
        TEST(other_nodes_or_points_make_another_hash),
        TEST(owners_are_distinct_and_no_more_than_nodes),
        TEST(keys_spread_over_the_nodes),
        TEST(joining_node_takes_its_share_and_moves_nothing_else),
        TEST(borrowed_ring_stays_as_it_was),
        TEST(ring_before_stays_until_it_is_let_go),
        TEST(new_life_keeps_its_place),
        TEST(leaving_node_changes_no_order_among_the_others),
        TEST(busiest_of_a_thousand_has_little_more_than_the_mean),
        TEST(as_many_nodes_as_there_may_be),
    };
    return cmocka_run_group_tests_name("core/ring", tests, NULL, NULL);
}
