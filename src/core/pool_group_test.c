/* SPDX-License-Identifier: Apache-2.0 */
/* pool_group_test.c - the parts of a hybrid page leave the pool together. */
#include "core/pool_test_harness.h"

static void fill_and_pin(struct fixture *fixture, uint64_t from, uint32_t n)
{
    struct core_page page;
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(store(fixture, from + i, PAGE_BYTES, &page), 0);
        slot_word_pin(&fixture->config.headers[page.slot].word, page.generation);
    }
}

/* A part of a group; each part of a hybrid page has a namespace of its own. */
static struct core_page store_part(struct fixture *fixture, uint64_t number, uint64_t group,
                                   uint64_t parent)
{
    struct core_page page = page_of(number, PAGE_BYTES);
    page.group = group;
    page.identity.lo = number % 10;
    if (parent)
        page.parent = page_of(parent, 1).digest;
    assert_int_equal(store_page(fixture, &page), 0);
    return page;
}

static bool is_gone(const struct pool_gone *gone, uint32_t n, const struct core_page *page)
{
    for (uint32_t i = 0; i < n; i++)
        if (id128_equal(gone[i].digest, page->digest) && gone[i].generation == page->generation)
            return true;
    return false;
}

/* The page that is evicted takes the others of its group along; one that somebody is reading is
 * only withdrawn, and goes next. */
static void group_goes_with_the_page_that_goes(void **state)
{
    struct fixture *fixture = *state;
    struct core_page parts[3], page;
    const struct pool_gone *gone;
    for (uint64_t i = 0; i < 3; i++)
        parts[i] = store_part(fixture, 1 + i, 77, 0);
    slot_word_pin(&fixture->config.headers[parts[2].slot].word, parts[2].generation);
    fill_and_pin(fixture, 100, 13);
    store_part(fixture, 5, 78, 0);
    uint32_t n = pool_take_gone(fixture->pool, &gone);
    assert_int_equal(n, 3);
    for (int i = 0; i < 3; i++) {
        assert_false(is_here(fixture, (uint64_t)i + 1));
        assert_true(is_gone(gone, n, &parts[i]));
        assert_int_equal(slot_word_is_sealed(word_of(fixture, &parts[i]), parts[i].generation),
                         i == 2);
    }
    struct pool_usage usage = usage_of(fixture);
    assert_int_equal(usage.retired_pages, 1);
    assert_int_equal(usage.live_pages, 14);
    assert_int_equal(usage.free_bytes, PAGE_BYTES + 8);
    slot_word_unpin(&fixture->config.headers[parts[2].slot].word);
    assert_int_equal(store(fixture, 200, PAGE_BYTES, &page), 0);
    assert_int_equal(store(fixture, 201, PAGE_BYTES, &page), 0);
    assert_int_equal(usage_of(fixture).retired_pages, 0);
    assert_true(is_here(fixture, 5));
}

/* Of a unit that was retired ahead of need nothing is left over when its room is used. */
static void retired_group_goes_whole(void **state)
{
    struct fixture *fixture = *state;
    struct core_page page;
    uint32_t cursor = 0;
    for (uint64_t i = 0; i < 3; i++)
        store_part(fixture, 10 + i, 77, 0);
    assert_int_equal(fill(fixture, 100, 13), 13);
    while (pool_sweep_namespace(fixture->pool, (struct id128){1, 0}, 1, &cursor))
        ;
    assert_int_equal(usage_of(fixture).retired_pages, 3);
    assert_int_equal(store(fixture, 400, PAGE_BYTES, &page), 0);
    assert_int_equal(usage_of(fixture).retired_pages, 0);
    assert_int_equal(usage_of(fixture).free_bytes, 2 * (PAGE_BYTES + 8));
}

static void without_groups_leave_whole_a_part_is_found_alone(void **state)
{
    struct fixture *fixture = *state;
    struct core_page page;
    assert_true(protection_disable("groups_leave_whole"));
    store_part(fixture, 1, 77, 0);
    store_part(fixture, 2, 77, 0);
    fill_and_pin(fixture, 100, 14);
    assert_int_equal(store(fixture, 200, PAGE_BYTES, &page), 0);
    assert_false(is_here(fixture, 1));
    assert_true(is_here(fixture, 2));
}

/* A page goes because it lies beside the coldest one: so does what it is bound to. */
static void group_goes_with_a_neighbour(void **state)
{
    struct fixture *fixture = *state;
    struct core_page page;
    store_part(fixture, 1, 77, 0);
    fill_and_pin(fixture, 100, 13);
    assert_int_equal(store(fixture, 50, PAGE_BYTES, &page), 0);
    store_part(fixture, 2, 77, 0);
    assert_int_equal(store(fixture, 200, 2 * PAGE_BYTES, &page), 0);
    assert_false(is_here(fixture, 50));
    assert_false(is_here(fixture, 2));
    assert_false(is_here(fixture, 1));
    assert_int_equal(usage_of(fixture).free_bytes, PAGE_BYTES + 8);
}

/* Pages of the KV cache are what others read and what has parents; the rest of their groups, which
 * was stored before them, stays as long. */
static void group_stays_with_its_warmest_part(void **state)
{
    struct fixture *fixture = *state;
    struct core_page kv[2], page;
    for (uint64_t i = 0; i < 2; i++)
        store_part(fixture, 10 + i, 77 + i, 0);
    for (uint64_t i = 0; i < 2; i++)
        kv[i] = store_part(fixture, 20 + i, 77 + i, i ? 20 : 0);
    assert_int_equal(fill(fixture, 100, 12), 12);
    for (int i = 0; i < 2; i++)
        pool_touch(fixture->pool, kv[i].slot, kv[i].generation);
    assert_int_equal(fill(fixture, 200, 12), 12);
    for (uint64_t i = 0; i < 2; i++) {
        assert_true(is_here(fixture, 10 + i));
        assert_true(is_here(fixture, 20 + i));
    }
    /* The head was used before the tail, and goes after it. */
    assert_int_equal(store(fixture, 300, PAGE_BYTES, &page), 0);
    assert_false(is_here(fixture, 11) || is_here(fixture, 21));
    assert_true(is_here(fixture, 10) && is_here(fixture, 20));
}

/* Once it is gone, a group can be stored anew; what comes back of it is not tied to what was. */
static void group_can_be_stored_anew(void **state)
{
    struct fixture *fixture = *state;
    store_part(fixture, 1, 77, 0);
    store_part(fixture, 2, 77, 0);
    for (uint64_t i = 100; is_here(fixture, 1); i++)
        assert_int_equal(fill(fixture, i, 1), 1);
    assert_false(is_here(fixture, 2));
    store_part(fixture, 2, 77, 0);
    store_part(fixture, 1, 77, 0);
    assert_true(is_here(fixture, 1) && is_here(fixture, 2));
    for (uint64_t i = 200; is_here(fixture, 2); i++)
        assert_int_equal(fill(fixture, i, 1), 1);
    assert_false(is_here(fixture, 1));
}

static void page_beyond_a_full_group_is_an_ordinary_one(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_new(SLOTS, 2 * POOL_BYTES);
    struct core_page page;
    for (uint64_t i = 0; i < REPLACEMENT_UNIT_MAX; i++)
        store_part(fixture, i, 77, 0);
    for (uint64_t i = 100; i < 102; i++) {
        page = store_part(fixture, i, 77, 0);
        slot_word_pin(&fixture->config.headers[page.slot].word, page.generation);
    }
    fill_and_pin(fixture, 200, 14);
    assert_int_equal(store(fixture, 300, PAGE_BYTES, &page), 0);
    for (uint64_t i = 0; i < REPLACEMENT_UNIT_MAX; i++)
        assert_false(is_here(fixture, i));
    assert_true(is_here(fixture, 100) && is_here(fixture, 101));
    uint32_t cursor = 0;
    while (pool_sweep_namespace(fixture->pool, (struct id128){1, 1}, 1, &cursor))
        ;
    assert_false(is_here(fixture, 101));
    assert_true(is_here(fixture, 100));
    teardown((void **)&fixture);
}

/* Of a cleared namespace's page its whole group goes, with parts in other namespaces. */
static void sweep_retires_whole_groups(void **state)
{
    struct fixture *fixture = *state;
    const struct pool_gone *gone;
    uint32_t cursor = 0;
    store_part(fixture, 11, 77, 0);
    store_part(fixture, 12, 77, 0);
    store_part(fixture, 22, 78, 0);
    store_part(fixture, 32, 0, 0);
    while (pool_sweep_namespace(fixture->pool, (struct id128){1, 1}, 1, &cursor))
        ;
    assert_false(is_here(fixture, 11) || is_here(fixture, 12));
    assert_true(is_here(fixture, 22) && is_here(fixture, 32));
    assert_int_equal(pool_take_gone(fixture->pool, &gone), 2);
}

/* Pages are retired ahead by the unit. */
static void groups_are_retired_whole_ahead_of_need(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_new(4096, 4 << 20);
    for (uint64_t i = 0; i < 1024; i++)
        store_part(fixture, i, 1 + i % 256, 0);
    while (pool_retire_ahead(fixture->pool))
        ;
    assert_int_equal(usage_of(fixture).retired_pages, 16);
    for (uint64_t i = 0; i < 1024; i++)
        assert_int_equal(is_here(fixture, i), i % 256 >= 4);
    teardown((void **)&fixture);
}

/* Pages beside each other, each with a group that lies elsewhere: more go than the list of gone
 * pages takes.  The set is refused, and has its room once the list was taken. */
static void window_of_too_many_groups_is_busy(void **state)
{
    enum { GROUPS = POOL_GONE_MAX / REPLACEMENT_UNIT_MAX + 40 };
    (void)state;
    struct fixture *fixture =
        fixture_new(GROUPS * REPLACEMENT_UNIT_MAX + 1, GROUPS * REPLACEMENT_UNIT_MAX * 64);
    const struct pool_gone *gone;
    for (uint64_t i = 0; i < GROUPS * REPLACEMENT_UNIT_MAX; i++) {
        struct core_page page = page_of(i, 50);
        page.group = 1 + i % GROUPS;
        assert_int_equal(store_page(fixture, &page), 0);
    }
    struct core_page large = page_of(1000000, GROUPS * 64 - 8);
    assert_int_equal(pool_reserve(fixture->pool, &large), -EBUSY);
    assert_true(pool_gone_is_long(fixture->pool));
    assert_true(pool_take_gone(fixture->pool, &gone) <= POOL_GONE_MAX);
    assert_int_equal(pool_reserve(fixture->pool, &large), 0);
    pool_abandon(fixture->pool, &large);
    teardown((void **)&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(group_goes_with_the_page_that_goes),
        TEST(retired_group_goes_whole),
        TEST(without_groups_leave_whole_a_part_is_found_alone),
        TEST(group_goes_with_a_neighbour),
        TEST(group_stays_with_its_warmest_part),
        TEST(group_can_be_stored_anew),
        cmocka_unit_test(page_beyond_a_full_group_is_an_ordinary_one),
        TEST(sweep_retires_whole_groups),
        cmocka_unit_test(groups_are_retired_whole_ahead_of_need),
        cmocka_unit_test(window_of_too_many_groups_is_busy),
    };
    return cmocka_run_group_tests_name("core/pool_group", tests, NULL, NULL);
}
