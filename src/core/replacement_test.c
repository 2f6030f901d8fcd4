/* SPDX-License-Identifier: Apache-2.0 */
/* replacement_test.c - the order of eviction: examples, and random uses against a plain model. */
#include "core/replacement.h"

#include "base/splitmix.h"
#include "core/seed_test_harness.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { SLOTS = 40, STEPS = 5000, SEEDS = 40 };

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

/* --- units --- */

/* A use of any part is a use of the unit, and only its leader is ever named. */
static void test_unit_has_one_place(void **state)
{
    (void)state;
    struct replacement *r = order_new(8);
    uint32_t parts[REPLACEMENT_UNIT_MAX];
    replacement_insert(r, 0, SLOT_NONE);
    replacement_insert(r, 5, SLOT_NONE);
    assert_true(replacement_bind(r, 1, 0, SLOT_NONE)); /* a use: 5 is the coldest now */
    assert_true(replacement_bind(r, 2, 1, SLOT_NONE));
    assert_int_equal(replacement_victim(r), 5);
    replacement_touch(r, 5);
    assert_int_equal(replacement_victim(r), 0);
    replacement_touch(r, 1);
    assert_int_equal(replacement_victim(r), 5);
    assert_int_equal(replacement_next(r, 5), 0);
    assert_int_equal(replacement_next(r, 0), SLOT_NONE);
    for (uint32_t slot = 0; slot < 3; slot++) {
        assert_int_equal(replacement_unit(r, slot, parts), 3);
        assert_int_equal(parts[0], 0);
        assert_int_equal(replacement_heat(r, slot), replacement_heat(r, 0));
    }
    assert_int_equal(replacement_unit(r, 5, parts), 1);
    assert_int_equal(replacement_count(r), 4);
    replacement_free(r);
}

/* Whichever part is retired, all are, and stand in the order of retirement as one. */
static void test_unit_is_retired_whole(void **state)
{
    (void)state;
    for (uint32_t slot = 0; slot < 3; slot++) {
        struct replacement *r = order_new(8);
        uint32_t parts[REPLACEMENT_UNIT_MAX];
        replacement_insert(r, 5, SLOT_NONE);
        replacement_insert(r, 0, SLOT_NONE);
        replacement_bind(r, 1, 0, SLOT_NONE);
        replacement_bind(r, 2, 0, SLOT_NONE);
        replacement_insert(r, 3, 2);
        replacement_insert(r, 4, SLOT_NONE);
        replacement_retire(r, slot);
        replacement_retire(r, 5);
        for (uint32_t part = 0; part < 3; part++)
            assert_true(replacement_is_retired(r, part));
        assert_int_equal(replacement_unit(r, slot, parts), 3);
        assert_int_equal(replacement_count_retired(r), 2);
        replacement_touch(r, 2);
        assert_int_equal(replacement_victim(r), 0);
        assert_int_equal(replacement_next(r, 0), 5);
        assert_int_equal(replacement_coldest(r), 3); /* the page behind it is of no use */
        replacement_insert(r, 6, 1);                 /* after a retired page: after none */
        assert_int_equal(replacement_count(r), 7);
        replacement_free(r);
    }
}

/* Whichever part is removed, of a live or a retired unit, the others are retired one by one. */
static void test_unit_falls_apart(void **state)
{
    (void)state;
    for (uint32_t slot = 0; slot < 3; slot++)
        for (int is_retired = 0; is_retired < 2; is_retired++) {
            struct replacement *r = order_new(8);
            uint32_t parts[REPLACEMENT_UNIT_MAX];
            replacement_insert(r, 0, SLOT_NONE);
            replacement_bind(r, 1, 0, SLOT_NONE);
            replacement_bind(r, 2, 0, SLOT_NONE);
            replacement_insert(r, 3, 2);
            replacement_insert(r, 4, SLOT_NONE);
            if (is_retired)
                replacement_retire(r, slot);
            replacement_remove(r, slot);
            assert_false(replacement_contains(r, slot));
            assert_int_equal(replacement_count_retired(r), 2);
            assert_int_equal(replacement_coldest(r), 3);
            for (int i = 0; i < 2; i++) {
                assert_int_equal(replacement_unit(r, replacement_victim(r), parts), 1);
                assert_in_range(evict(r), 0, 2);
            }
            assert_int_equal(evict(r), 3);
            assert_int_equal(evict(r), 4);
            assert_int_equal(evict(r), SLOT_NONE);
            replacement_insert(r, 1, SLOT_NONE); /* nothing of the unit is left */
            replacement_insert(r, 0, SLOT_NONE);
            assert_int_equal(evict(r), 1);
            assert_int_equal(replacement_count(r), 1);
            replacement_free(r);
        }
}

/* A page behind a bound one keeps all the unit, whose leader has no parent or child of its own. */
static void test_child_of_a_bound_page_keeps_the_unit(void **state)
{
    (void)state;
    struct replacement *r = order_new(8);
    replacement_insert(r, 0, SLOT_NONE);
    replacement_bind(r, 1, 0, SLOT_NONE);
    replacement_insert(r, 2, 1);
    replacement_insert(r, 3, SLOT_NONE);
    replacement_touch(r, 2);
    replacement_touch(r, 3);
    assert_true(replacement_heat(r, 1) >= REPLACEMENT_HEAT_MAX / 2);
    assert_int_equal(evict(r), 2);
    assert_int_equal(evict(r), 0);
    assert_int_equal(evict(r), 1);
    assert_int_equal(evict(r), 3);
    replacement_free(r);
}

/* The side pools' pages come first and know no parent; what is bound to them brings it. */
static void test_units_of_a_prompt_leave_tail_first(void **state)
{
    (void)state;
    enum { LENGTH = 500 };
    struct replacement *r = order_new(2 * LENGTH);
    for (uint32_t slot = 0; slot < LENGTH; slot++)
        replacement_insert(r, slot, SLOT_NONE);
    for (uint32_t slot = 0; slot < LENGTH; slot++)
        replacement_bind(r, LENGTH + slot, slot, slot ? LENGTH + slot - 1 : SLOT_NONE);
    for (uint32_t slot = LENGTH; slot-- > 0;)
        replacement_touch(r, slot); /* tail last, were it not for the parents */
    for (uint32_t slot = LENGTH; slot-- > 0;) {
        assert_int_equal(evict(r), slot);
        assert_int_equal(evict(r), LENGTH + slot);
    }
    replacement_free(r);
}

/* A unit that has children already may be behind the parent that comes too late. */
static void test_only_a_leaf_gets_a_parent_later(void **state)
{
    (void)state;
    struct replacement *r = order_new(8);
    replacement_insert(r, 0, SLOT_NONE);
    replacement_insert(r, 1, 0);
    replacement_insert(r, 2, 1);
    replacement_bind(r, 3, 0, 2);
    assert_int_equal(evict(r), 2);
    assert_int_equal(evict(r), 1);
    assert_int_equal(evict(r), 0);
    assert_int_equal(evict(r), 3);
    replacement_insert(r, 0, SLOT_NONE);
    replacement_bind(r, 1, 0, SLOT_NONE);
    replacement_bind(r, 2, 0, 1); /* nor behind its own unit */
    assert_int_equal(evict(r), 0);
    assert_int_equal(replacement_count_retired(r), 2);
    replacement_free(r);
}

/* A second parent does not replace the first. */
static void test_first_parent_stays(void **state)
{
    (void)state;
    struct replacement *r = order_new(8);
    replacement_insert(r, 4, SLOT_NONE);
    replacement_insert(r, 0, SLOT_NONE);
    replacement_insert(r, 1, SLOT_NONE);
    replacement_insert(r, 2, 0);
    replacement_bind(r, 3, 2, 1);
    replacement_remove(r, 1);
    assert_int_equal(replacement_victim(r), 4);
    replacement_remove(r, 0);
    assert_int_equal(replacement_victim(r), 2);
    replacement_free(r);
}

static void test_binding_is_a_use_of_an_orphan(void **state)
{
    (void)state;
    struct replacement *r = order_new(8);
    replacement_insert(r, 3, SLOT_NONE);
    replacement_insert(r, 0, SLOT_NONE);
    replacement_insert(r, 1, 0);
    replacement_insert(r, 2, SLOT_NONE);
    replacement_remove(r, 0);
    assert_int_equal(replacement_victim(r), 1);
    replacement_bind(r, 4, 1, 2); /* and 2 is its parent from now on */
    assert_int_equal(replacement_victim(r), 3);
    replacement_remove(r, 2);
    assert_int_equal(replacement_victim(r), 1);
    replacement_free(r);
}

static void test_unit_is_bounded(void **state)
{
    (void)state;
    struct replacement *r = order_new(REPLACEMENT_UNIT_MAX + 2);
    uint32_t parts[REPLACEMENT_UNIT_MAX];
    replacement_insert(r, 0, SLOT_NONE);
    replacement_insert(r, REPLACEMENT_UNIT_MAX + 1, SLOT_NONE);
    for (uint32_t slot = 1; slot < REPLACEMENT_UNIT_MAX; slot++)
        assert_true(replacement_bind(r, slot, 0, SLOT_NONE));
    replacement_touch(r, REPLACEMENT_UNIT_MAX + 1);
    assert_false(replacement_bind(r, REPLACEMENT_UNIT_MAX, 0, SLOT_NONE));
    assert_false(replacement_contains(r, REPLACEMENT_UNIT_MAX));
    assert_int_equal(replacement_victim(r), 0); /* it was no use either */
    assert_int_equal(replacement_unit(r, 3, parts), REPLACEMENT_UNIT_MAX);
    replacement_free(r);
}

/* The heat is measured in units: pages that are bound do not make the others warm, nor do those
 * that were bound once. */
static void test_heat_of_units(void **state)
{
    (void)state;
    enum { UNITS = 100, PARTS = 4 };
    struct replacement *r = order_new(UNITS * PARTS);
    for (int round = 0; round < 2; round++) {
        for (uint32_t slot = 0; slot < UNITS * PARTS; slot++)
            if (slot < UNITS)
                replacement_insert(r, slot, SLOT_NONE);
            else
                replacement_bind(r, slot, slot % UNITS, SLOT_NONE);
        for (uint32_t slot = 0; slot < UNITS * PARTS; slot += UNITS) {
            assert_int_equal(replacement_heat(r, slot), 0);
            assert_in_range(replacement_heat(r, slot + UNITS / 2), 3, 4);
            assert_int_equal(replacement_heat(r, slot + UNITS - 1), REPLACEMENT_HEAT_MAX);
        }
        while (evict(r) != SLOT_NONE)
            ;
    }
    replacement_free(r);
}

/* --- random uses against a model --- */

/* What the order has to know of each page, kept in the plainest way. */
struct model {
    struct {
        bool present, retired, orphan;
        uint32_t parent, leader; /* of its unit: itself, when it is not bound */
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

static bool model_is_live(const struct model *model, uint32_t slot)
{
    return slot != SLOT_NONE && model->pages[slot].present && !model->pages[slot].retired;
}

static void model_insert(struct model *model, uint32_t slot, uint32_t leader, uint32_t parent)
{
    model->pages[slot].present = true;
    model->pages[slot].retired = model->pages[slot].orphan = false;
    model->pages[slot].leader = leader;
    model->pages[slot].parent = leader == slot && model_is_live(model, parent) && parent != slot
                                    ? model->pages[parent].leader
                                    : SLOT_NONE;
    model->pages[leader].used = ++model->uses;
}

/* A unit of any size is bound in the model; the order has a limit, which is not reached here. */
static void model_bind(struct model *model, uint32_t slot, uint32_t leader, uint32_t parent)
{
    model_insert(model, slot, leader, parent);
    model->pages[leader].orphan = false;
    if (model->pages[leader].parent == SLOT_NONE && !model_has_children(model, leader) &&
        model_is_live(model, parent) && model->pages[parent].leader != leader)
        model->pages[leader].parent = model->pages[parent].leader;
}

/* All parts of the unit are retired, except for @gone; where that is a page, each for itself. */
static void model_leave(struct model *model, uint32_t slot, uint32_t gone)
{
    uint32_t leader = model->pages[slot].leader;
    model->retirements++;
    for (uint32_t i = 0; i < SLOTS; i++) {
        if (!model->pages[i].present || model->pages[i].leader != leader)
            continue;
        if (gone != SLOT_NONE)
            model->pages[i].leader = i;
        model->pages[i].present = i != gone;
        model->pages[i].retired = true;
        model->pages[i].orphan = false;
        model->pages[i].parent = SLOT_NONE;
        model->pages[i].used = model->retirements;
        model_orphan_children(model, i);
    }
}

/* One in @bind_share new pages is bound to another; 0: none. */
static void random_step(struct replacement *r, struct model *model, uint32_t slot, uint64_t random,
                        uint32_t bind_share)
{
    bool live = model_is_live(model, slot);
    if (!model->pages[slot].present) {
        uint32_t parent = random % (SLOTS + 10), other = (uint32_t)(random >> 20) % SLOTS;
        parent = parent < SLOTS ? parent : SLOT_NONE;
        bool binds = bind_share && (random >> 40) % bind_share == 0 && model_is_live(model, other);
        if (binds && replacement_bind(r, slot, other, parent)) {
            model_bind(model, slot, model->pages[other].leader, parent);
        } else {
            replacement_insert(r, slot, parent);
            model_insert(model, slot, slot, parent);
        }
    } else if (random % 8 == 0) {
        replacement_remove(r, slot);
        model_leave(model, slot, slot);
    } else if (random % 8 == 1 && live) {
        replacement_retire(r, slot);
        model_leave(model, slot, SLOT_NONE);
    } else {
        replacement_touch(r, slot);
        if (live) {
            model->pages[model->pages[slot].leader].used = ++model->uses;
            model->pages[model->pages[slot].leader].orphan = false;
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
        EXPECT(rank != RANK_RETIRED || model->pages[slot].used >= used_retired);
        EXPECT(model->pages[slot].leader == slot);
        used_retired = rank == RANK_RETIRED ? model->pages[slot].used : 0;
        seen[slot] = true;
    }
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        EXPECT(replacement_contains(r, slot) == model->pages[slot].present);
        if (!model->pages[slot].present)
            continue;
        uint32_t leader = model->pages[slot].leader;
        if (!seen[slot] && leader == slot)
            EXPECT(model_rank(model, slot) == RANK_LEAF && model_has_children(model, slot));
        EXPECT(replacement_is_retired(r, slot) == model->pages[slot].retired);
        EXPECT(replacement_heat(r, slot) <= REPLACEMENT_HEAT_MAX);
        EXPECT(replacement_heat(r, slot) == replacement_heat(r, leader));
    }
}

static void run_against_model(uint32_t bind_share)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        seed_now = seed;
        uint64_t random = seed;
        struct model model;
        memset(&model, 0, sizeof model);
        struct replacement *r = order_new(SLOTS);
        for (int step = 0; step < STEPS; step++) {
            uint32_t slot = splitmix_next(&random) % SLOTS;
            random_step(r, &model, slot, splitmix_next(&random) >> 8, bind_share);
            compare(r, &model);
        }
        for (uint32_t left = replacement_count(r); left > 0; left--)
            EXPECT(evict(r) != SLOT_NONE);
        EXPECT(evict(r) == SLOT_NONE);
        replacement_free(r);
    }
}

static void test_random_against_model(void **state)
{
    (void)state;
    run_against_model(0);
}

static void test_random_units_against_model(void **state)
{
    (void)state;
    run_against_model(2);
}

/* Without parents it is exactly the order of uses. */
static void test_random_without_parents_is_lru(void **state)
{
    (void)state;
    uint64_t random = seed_now = 99, used[SLOTS] = {0};
    struct replacement *r = order_new(SLOTS);
    for (uint64_t step = 1; step <= STEPS; step++) {
        uint32_t slot = splitmix_next(&random) % SLOTS;
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
        cmocka_unit_test(test_unit_has_one_place),
        cmocka_unit_test(test_unit_is_retired_whole),
        cmocka_unit_test(test_unit_falls_apart),
        cmocka_unit_test(test_child_of_a_bound_page_keeps_the_unit),
        cmocka_unit_test(test_units_of_a_prompt_leave_tail_first),
        cmocka_unit_test(test_only_a_leaf_gets_a_parent_later),
        cmocka_unit_test(test_first_parent_stays),
        cmocka_unit_test(test_binding_is_a_use_of_an_orphan),
        cmocka_unit_test(test_unit_is_bounded),
        cmocka_unit_test(test_heat_of_units),
        cmocka_unit_test(test_random_against_model),
        cmocka_unit_test(test_random_units_against_model),
        cmocka_unit_test(test_random_without_parents_is_lru),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests_name("replacement", tests, NULL, NULL);
}
