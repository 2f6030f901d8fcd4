/* SPDX-License-Identifier: Apache-2.0 */
/* replacement_test.c - the order of eviction: examples, and random uses against a plain model. */
#include "core/replacement.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { SLOTS = 40, STEPS = 5000, SEEDS = 40 };

static uint64_t seed_now;

static uint64_t random_next(uint64_t *state)
{
    *state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = *state;
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fail_msg("seed %llu: %s", (unsigned long long)seed_now, #condition);                   \
    } while (0)

static struct replacement *order_new(uint32_t slots)
{
    struct replacement *r;
    assert_int_equal(replacement_new(slots, &r), 0);
    return r;
}

static uint32_t evict(struct replacement *r)
{
    uint32_t slot = replacement_victim(r);
    if (slot != SLOT_NONE)
        replacement_remove(r, slot);
    return slot;
}

static void test_least_recently_used_goes_first(void **state)
{
    (void)state;
    struct replacement *r = order_new(4);
    assert_int_equal(evict(r), SLOT_NONE);
    for (uint32_t slot = 0; slot < 4; slot++)
        replacement_insert(r, slot, SLOT_NONE);
    replacement_touch(r, 0);
    replacement_touch(r, 2);
    replacement_remove(r, 3);
    assert_int_equal(replacement_count(r), 3);
    assert_int_equal(evict(r), 1);
    assert_int_equal(evict(r), 0);
    assert_int_equal(evict(r), 2);
    assert_int_equal(evict(r), SLOT_NONE);
    replacement_free(r);
}

/* Inserted and used head first, a prompt leaves tail first. */
static void test_chain_leaves_tail_first(void **state)
{
    (void)state;
    enum { LENGTH = 3000 }; /* more than one call may pass over */
    struct replacement *r = order_new(LENGTH);
    for (uint32_t slot = 0; slot < LENGTH; slot++)
        replacement_insert(r, slot, slot ? slot - 1 : SLOT_NONE);
    for (uint32_t slot = 0; slot < LENGTH; slot++)
        replacement_touch(r, slot);
    for (uint32_t slot = LENGTH; slot-- > 0;)
        assert_int_equal(evict(r), slot);
    replacement_free(r);
}

/* The parent was used long before its child, and still goes after it; then it is the coldest. */
static void test_parent_waits_for_its_last_child(void **state)
{
    (void)state;
    struct replacement *r = order_new(6);
    replacement_insert(r, 0, SLOT_NONE);
    replacement_insert(r, 1, 0);
    replacement_insert(r, 2, 0);
    replacement_insert(r, 3, SLOT_NONE);
    replacement_insert(r, 4, SLOT_NONE);
    replacement_touch(r, 3);
    replacement_touch(r, 4);
    assert_int_equal(evict(r), 1);
    assert_int_equal(evict(r), 2);
    assert_int_equal(evict(r), 0);
    assert_int_equal(evict(r), 3);
    replacement_free(r);
}

/* A parked parent that is used again comes back to the warm end. */
static void test_parked_parent_is_touched(void **state)
{
    (void)state;
    struct replacement *r = order_new(REPLACEMENT_NEAR_USES + 10);
    uint32_t child = REPLACEMENT_NEAR_USES + 5;
    replacement_insert(r, 0, SLOT_NONE);
    for (uint32_t slot = 1; slot <= REPLACEMENT_NEAR_USES + 1; slot++)
        replacement_insert(r, slot, SLOT_NONE);
    replacement_insert(r, child, 0); /* too late to stand behind its parent */
    assert_int_equal(replacement_victim(r), 1);
    replacement_touch(r, 0);
    for (uint32_t slot = 1; slot <= REPLACEMENT_NEAR_USES + 1; slot++)
        assert_int_equal(evict(r), slot);
    assert_int_equal(evict(r), child);
    assert_int_equal(evict(r), 0);
    replacement_free(r);
}

/* A page whose neighbour had to grow goes; what is behind it is of no use and goes next. */
static void test_descendants_of_a_removed_page_go_first(void **state)
{
    (void)state;
    struct replacement *r = order_new(8);
    replacement_insert(r, 7, SLOT_NONE);
    for (uint32_t slot = 0; slot < 4; slot++)
        replacement_insert(r, slot, slot ? slot - 1 : SLOT_NONE);
    replacement_remove(r, 1);
    assert_int_equal(replacement_heat(r, 2), 0);
    assert_int_equal(evict(r), 2);
    assert_int_equal(evict(r), 3);
    assert_int_equal(evict(r), 7);
    assert_int_equal(evict(r), 0);
    replacement_free(r);
}

static void test_touched_orphan_is_warm_again(void **state)
{
    (void)state;
    struct replacement *r = order_new(8);
    replacement_insert(r, 0, SLOT_NONE);
    replacement_insert(r, 1, 0);
    replacement_insert(r, 2, 0);
    replacement_insert(r, 3, SLOT_NONE);
    replacement_remove(r, 0);
    replacement_touch(r, 1);
    assert_int_equal(evict(r), 2);
    assert_int_equal(evict(r), 3);
    assert_int_equal(evict(r), 1);
    replacement_free(r);
}

static void test_retired_pages_go_first_and_in_order(void **state)
{
    (void)state;
    struct replacement *r = order_new(8);
    replacement_insert(r, 0, SLOT_NONE);
    replacement_insert(r, 1, SLOT_NONE);
    replacement_insert(r, 2, 1);
    replacement_retire(r, 2);
    assert_int_equal(replacement_coldest(r), 0);
    replacement_touch(r, 0);
    assert_int_equal(replacement_coldest(r), 1); /* does not wait for its retired child */
    replacement_retire(r, 1);
    assert_int_equal(replacement_count_retired(r), 2);
    replacement_touch(r, 2);
    assert_true(replacement_is_retired(r, 2));
    replacement_insert(r, 3, 1);
    assert_int_equal(evict(r), 2);
    assert_int_equal(evict(r), 1);
    assert_int_equal(replacement_count_retired(r), 0);
    assert_int_equal(evict(r), 0);
    assert_int_equal(evict(r), 3);
    replacement_free(r);
}

static void test_heat(void **state)
{
    (void)state;
    struct replacement *r = order_new(100);
    for (uint32_t slot = 0; slot < 100; slot++)
        replacement_insert(r, slot, SLOT_NONE);
    assert_int_equal(replacement_heat(r, 0), 0);
    assert_int_equal(replacement_heat(r, 99), REPLACEMENT_HEAT_MAX);
    assert_in_range(replacement_heat(r, 50), 3, 4);
    for (uint32_t slot = 1; slot < 100; slot++)
        assert_true(replacement_heat(r, slot) >= replacement_heat(r, slot - 1));
    replacement_retire(r, 99);
    assert_int_equal(replacement_heat(r, 99), 0);
    replacement_remove(r, 0);
    replacement_insert(r, 0, 1);
    assert_true(replacement_heat(r, 1) >= REPLACEMENT_HEAT_MAX / 2);
    replacement_free(r);
}

/* What the order has to know of each page, kept in the plainest way. */
struct model {
    struct {
        bool present, retired, orphan;
        uint32_t parent;
        uint64_t used;
    } pages[SLOTS];
    uint64_t uses, retirements;
};

static bool model_has_children(const struct model *model, uint32_t slot)
{
    for (int i = 0; i < SLOTS; i++)
        if (model->pages[i].present && model->pages[i].parent == slot)
            return true;
    return false;
}

static void model_orphan_children(struct model *model, uint32_t slot)
{
    for (int i = 0; i < SLOTS; i++) {
        if (!model->pages[i].present || model->pages[i].parent != slot)
            continue;
        model->pages[i].parent = SLOT_NONE;
        model->pages[i].orphan = true;
    }
}

static void random_step(struct replacement *r, struct model *model, uint32_t slot, uint64_t random)
{
    bool live = model->pages[slot].present && !model->pages[slot].retired;
    if (!model->pages[slot].present) {
        uint32_t parent = random % (SLOTS + 10);
        parent = parent < SLOTS ? parent : SLOT_NONE;
        replacement_insert(r, slot, parent);
        bool known =
            parent != SLOT_NONE && model->pages[parent].present && !model->pages[parent].retired;
        model->pages[slot].present = true;
        model->pages[slot].retired = model->pages[slot].orphan = false;
        model->pages[slot].parent = known ? parent : SLOT_NONE;
        model->pages[slot].used = ++model->uses;
    } else if (random % 8 == 0) {
        replacement_remove(r, slot);
        model->pages[slot].present = false;
        model_orphan_children(model, slot);
    } else if (random % 8 == 1 && live) {
        replacement_retire(r, slot);
        model->pages[slot].retired = true;
        model->pages[slot].orphan = false;
        model->pages[slot].parent = SLOT_NONE;
        model->pages[slot].used = ++model->retirements;
        model_orphan_children(model, slot);
    } else {
        replacement_touch(r, slot);
        if (live) {
            model->pages[slot].used = ++model->uses;
            model->pages[slot].orphan = false;
        }
    }
}

enum rank { RANK_RETIRED, RANK_ORPHAN, RANK_LEAF };

static enum rank model_rank(const struct model *model, uint32_t slot)
{
    if (model->pages[slot].retired)
        return RANK_RETIRED;
    return model->pages[slot].orphan ? RANK_ORPHAN : RANK_LEAF;
}

/* The whole order names each page that may go, once, rank after rank, and no parent as a leaf.
 * Pages without any parent are among themselves in the order of their uses. */
static void compare(struct replacement *r, const struct model *model)
{
    bool seen[SLOTS] = {false};
    enum rank rank = RANK_RETIRED;
    uint64_t used_retired = 0;
    for (uint32_t slot = replacement_victim(r); slot != SLOT_NONE;
         slot = replacement_next(r, slot)) {
        EXPECT(model->pages[slot].present && !seen[slot]);
        EXPECT(model_rank(model, slot) >= rank);
        rank = model_rank(model, slot);
        EXPECT(rank != RANK_LEAF || !model_has_children(model, slot));
        EXPECT(rank != RANK_RETIRED || model->pages[slot].used > used_retired);
        used_retired = rank == RANK_RETIRED ? model->pages[slot].used : 0;
        seen[slot] = true;
    }
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        EXPECT(replacement_contains(r, slot) == model->pages[slot].present);
        if (model->pages[slot].present && !seen[slot])
            EXPECT(model_rank(model, slot) == RANK_LEAF && model_has_children(model, slot));
        EXPECT(replacement_heat(r, slot) <= REPLACEMENT_HEAT_MAX);
    }
}

static void test_random_against_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        seed_now = seed;
        uint64_t random = seed;
        struct model model;
        memset(&model, 0, sizeof model);
        struct replacement *r = order_new(SLOTS);
        for (int step = 0; step < STEPS; step++) {
            uint32_t slot = random_next(&random) % SLOTS;
            random_step(r, &model, slot, random_next(&random) >> 8);
            compare(r, &model);
        }
        for (uint32_t left = replacement_count(r); left > 0; left--)
            EXPECT(evict(r) != SLOT_NONE);
        EXPECT(evict(r) == SLOT_NONE);
        replacement_free(r);
    }
}

/* Without parents it is exactly the order of uses. */
static void test_random_without_parents_is_lru(void **state)
{
    (void)state;
    uint64_t random = seed_now = 99, used[SLOTS] = {0};
    struct replacement *r = order_new(SLOTS);
    for (uint64_t step = 1; step <= STEPS; step++) {
        uint32_t slot = random_next(&random) % SLOTS;
        if (replacement_contains(r, slot))
            replacement_touch(r, slot);
        else
            replacement_insert(r, slot, SLOT_NONE);
        used[slot] = step;
        if (step % 3 == 0) {
            uint32_t victim = evict(r);
            for (uint32_t other = 0; other < SLOTS; other++)
                EXPECT(!replacement_contains(r, other) || used[other] > used[victim]);
        }
    }
    replacement_free(r);
}

static void test_limits(void **state)
{
    (void)state;
    struct replacement *r;
    assert_int_equal(replacement_new(0, &r), -EINVAL);
    assert_int_equal(replacement_new(EXTENTS_MAX_SLOTS + 1u, &r), -EINVAL);
    replacement_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_least_recently_used_goes_first),
        cmocka_unit_test(test_chain_leaves_tail_first),
        cmocka_unit_test(test_parent_waits_for_its_last_child),
        cmocka_unit_test(test_parked_parent_is_touched),
        cmocka_unit_test(test_descendants_of_a_removed_page_go_first),
        cmocka_unit_test(test_touched_orphan_is_warm_again),
        cmocka_unit_test(test_retired_pages_go_first_and_in_order),
        cmocka_unit_test(test_heat),
        cmocka_unit_test(test_random_against_model),
        cmocka_unit_test(test_random_without_parents_is_lru),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests_name("replacement", tests, NULL, NULL);
}
