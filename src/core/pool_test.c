/* SPDX-License-Identifier: Apache-2.0 */
/* pool_test.c - slots, room and generations: what may be used again, when, and in which order. */
#include "core/pool_test_harness.h"

static void page_is_found_once_it_is_published(void **state)
{
    struct fixture *fixture = *state;
    struct core_page page = page_of(1, 100), same = page;
    assert_int_equal(pool_reserve(fixture->pool, &page), 0);
    assert_int_equal(page.offset_bytes % 64, 0);
    assert_false(is_here(fixture, 1));
    assert_int_equal(pool_reserve(fixture->pool, &same), -EEXIST);
    const struct slot_header *header = &fixture->config.headers[page.slot];
    assert_true(id128_equal(header->digest, page.digest));
    assert_int_equal(header->length_bytes, 100);
    assert_int_equal(header->name_len, 8);
    slot_word_seal(&fixture->config.headers[page.slot].word, page.generation);
    assert_int_equal(pool_publish(fixture->pool, &page), 0);
    assert_true(is_here(fixture, 1));
    assert_int_equal(pool_reserve(fixture->pool, &same), -EEXIST);
    assert_int_equal(pool_publish(fixture->pool, &page), -ESTALE);
}

static void abandoned_page_gives_everything_back(void **state)
{
    struct fixture *fixture = *state;
    struct core_page page = page_of(1, 100);
    for (int i = 0; i < 3 * SLOTS; i++) {
        assert_int_equal(pool_reserve(fixture->pool, &page), 0);
        pool_abandon(fixture->pool, &page);
        assert_int_equal(slot_word_state(word_of(fixture, &page)), SLOT_VOID);
        pool_abandon(fixture->pool, &page); /* twice does no harm */
    }
    struct pool_usage usage = usage_of(fixture);
    assert_int_equal(usage.free_bytes, POOL_BYTES);
    assert_int_equal(usage.filling_pages, 0);
}

/* What is abandoned and not drained fills the pool for ever. */
static void without_cancel_drains_room_is_lost(void **state)
{
    struct fixture *fixture = *state;
    struct core_page page;
    assert_true(protection_disable("cancel_drains"));
    for (uint64_t i = 0; i < 16; i++) {
        page = page_of(i, PAGE_BYTES);
        assert_int_equal(pool_reserve(fixture->pool, &page), 0);
        pool_abandon(fixture->pool, &page);
    }
    page = page_of(100, PAGE_BYTES);
    assert_int_equal(pool_reserve(fixture->pool, &page), -EBUSY);
}

static void page_larger_than_the_pool_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct core_page page;
    assert_int_equal(store(fixture, 1, POOL_BYTES - 7, &page), -EFBIG); /* with its name */
    assert_int_equal(store(fixture, 1, POOL_BYTES - 8, &page), 0);
    assert_int_equal(usage_of(fixture).free_bytes, 0);
}

static void coldest_page_goes_first(void **state)
{
    struct fixture *fixture = *state;
    struct core_page pages[16], page;
    for (uint64_t i = 0; i < 16; i++)
        assert_int_equal(store(fixture, i, PAGE_BYTES, &pages[i]), 0);
    pool_touch(fixture->pool, pages[0].slot, pages[0].generation);
    pool_touch(fixture->pool, pages[1].slot, pages[1].generation + 1); /* another filling */
    pool_touch(fixture->pool, SLOTS + 5, 1);
    assert_int_equal(store(fixture, 100, PAGE_BYTES, &page), 0);
    assert_true(is_here(fixture, 0));
    assert_false(is_here(fixture, 1));
    assert_true(is_here(fixture, 2));
    const struct pool_gone *gone;
    assert_int_equal(pool_take_gone(fixture->pool, &gone), 1);
    assert_true(id128_equal(gone->digest, pages[1].digest));
    assert_int_equal(gone->generation, pages[1].generation);
    assert_int_equal(pool_take_gone(fixture->pool, &gone), 0);
}

/* The word is void before the room is given to another page; without that the old location still
 * matches a slot whose bytes are another page's. */
/* A copy of what another node has is not worth a page that only this one may have. */
static void copy_takes_no_live_pages_room(void **state)
{
    struct fixture *fixture = *state;
    struct core_page pages[16], copy = page_of(100, PAGE_BYTES);
    const struct pool_gone *gone;
    copy.claim = CORE_CLAIM_RETIRED;
    for (uint64_t i = 0; i < 16; i++)
        assert_int_equal(store(fixture, i, PAGE_BYTES, &pages[i]), 0);
    assert_int_equal(store_page(fixture, &copy), -EBUSY);
    assert_int_equal(pool_take_gone(fixture->pool, &gone), 0);
    assert_int_equal(usage_of(fixture).live_pages, 16);
    struct pool_page retired;
    assert_true(pool_retire_damaged(fixture->pool, pages[9].digest, pages[9].generation, &retired));
    pool_begin_batch(fixture->pool);
    assert_int_equal(store_page(fixture, &copy), 0);
    assert_true(is_here(fixture, 100));
    assert_int_equal(usage_of(fixture).live_pages, 16);
    assert_int_equal(store(fixture, 101, PAGE_BYTES, &pages[0]), 0); /* a page of its own may */
}

static void copy_takes_no_live_pages_slot(void **state)
{
    struct core_page page, copy = page_of(1000, 8);
    (void)state;
    struct fixture *few = fixture_new(4, POOL_BYTES);
    copy.claim = CORE_CLAIM_RETIRED;
    for (uint64_t i = 0; i < 4; i++)
        assert_int_equal(store(few, i, 8, &page), 0);
    assert_int_equal(store_page(few, &copy), -EBUSY);
    assert_int_equal(usage_of(few).live_pages, 4);
    teardown((void **)&few);
}

/* What another node cannot keep must not drive anything out here, now or by what follows from
 * it. */
static void page_that_claims_free_room_leaves_some(void **state)
{
    struct fixture *fixture = *state;
    struct core_page page;
    uint64_t taken = 0;
    for (;; taken++) {
        page = page_of(taken, 1000);
        page.claim = CORE_CLAIM_FREE;
        if (store_page(fixture, &page) != 0)
            break;
        assert_false(pool_retire_ahead(fixture->pool));
        assert_int_equal(usage_of(fixture).live_pages, taken + 1);
    }
    assert_in_range(taken, 55, 63);
    assert_true(usage_of(fixture).free_bytes >= POOL_BYTES / 64);
    page.claim = CORE_CLAIM_RETIRED;
    assert_int_equal(store_page(fixture, &page), 0);
}

static void word_is_void_before_room_is_used_again(void **state)
{
    struct fixture *fixture = *state;
    struct core_page first, next;
    for (int is_off = 0; is_off < 2; is_off++) {
        uint64_t base = (uint64_t)is_off * 1000;
        assert_int_equal(store(fixture, base, PAGE_BYTES, &first), 0);
        if (is_off)
            assert_true(protection_disable("void_before_reuse"));
        for (uint64_t i = 1; is_here(fixture, base); i++)
            assert_int_equal(store(fixture, base + i, PAGE_BYTES, &next), 0);
        assert_int_equal(next.offset_bytes, first.offset_bytes);
        assert_int_equal(slot_word_is_sealed(word_of(fixture, &first), first.generation), is_off);
    }
}

static void pinned_page_is_passed_over(void **state)
{
    struct fixture *fixture = *state;
    struct core_page pages[16], page;
    for (uint64_t i = 0; i < 16; i++)
        assert_int_equal(store(fixture, i, PAGE_BYTES, &pages[i]), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(
            slot_word_pin(&fixture->config.headers[pages[i].slot].word, pages[i].generation), 0);
    assert_int_equal(store(fixture, 100, PAGE_BYTES, &page), 0);
    for (int i = 0; i < 3; i++)
        assert_true(slot_word_is_sealed(word_of(fixture, &pages[i]), pages[i].generation));
    assert_false(is_here(fixture, 3));

    assert_true(protection_disable("pins_block_void"));
    assert_int_equal(store(fixture, 101, PAGE_BYTES, &page), 0);
    assert_int_equal(page.offset_bytes, pages[0].offset_bytes);
}

static void pool_whose_pages_are_all_pinned_is_busy(void **state)
{
    struct fixture *fixture = *state;
    struct core_page pages[16], page;
    for (uint64_t i = 0; i < 16; i++) {
        assert_int_equal(store(fixture, i, PAGE_BYTES, &pages[i]), 0);
        slot_word_pin(&fixture->config.headers[pages[i].slot].word, pages[i].generation);
    }
    assert_int_equal(store(fixture, 100, PAGE_BYTES, &page), -EBUSY);
    assert_int_equal(usage_of(fixture).live_pages, 16);
    slot_word_unpin(&fixture->config.headers[pages[7].slot].word);
    assert_int_equal(store(fixture, 100, PAGE_BYTES, &page), 0);
}

/* Of the pages of one batch the first that finds no room is enough: pages as long or longer are
 * refused unseen, until room is released or another batch begins. */
static void search_in_vain_is_made_once_a_batch(void **state)
{
    struct fixture *fixture = *state;
    struct core_page pages[16], large, small;
    for (uint64_t i = 0; i < 16; i++) {
        assert_int_equal(store(fixture, i, PAGE_BYTES, &pages[i]), 0);
        if (i % 2)
            slot_word_pin(&fixture->config.headers[pages[i].slot].word, pages[i].generation);
    }
    pool_begin_batch(fixture->pool);
    large = page_of(100, 2 * PAGE_BYTES - 64);
    assert_int_equal(pool_reserve(fixture->pool, &large), -EBUSY);
    for (int i = 1; i < 16; i += 2)
        slot_word_unpin(&fixture->config.headers[pages[i].slot].word);
    assert_int_equal(pool_reserve(fixture->pool, &large), -EBUSY);
    assert_int_equal(usage_of(fixture).live_pages, 16);
    pool_begin_batch(fixture->pool);
    assert_int_equal(pool_reserve(fixture->pool, &large), 0);

    for (int i = 0; i < 16; i++)
        slot_word_pin(&fixture->config.headers[pages[i].slot].word, pages[i].generation);
    struct core_page next = page_of(101, 2 * PAGE_BYTES - 64);
    pool_begin_batch(fixture->pool);
    assert_int_equal(pool_reserve(fixture->pool, &next), -EBUSY);
    small = page_of(102, 8); /* in what the first did not need */
    assert_int_equal(pool_reserve(fixture->pool, &small), 0);
    pool_abandon(fixture->pool, &large);
    assert_int_equal(pool_reserve(fixture->pool, &next), 0);
}

/* A page that may only take retired pages' room found none; one that may take any does. */
static void search_in_vain_of_a_copy_is_its_own(void **state)
{
    struct fixture *fixture = *state;
    struct core_page copy = page_of(100, PAGE_BYTES), own = page_of(101, PAGE_BYTES);
    copy.claim = CORE_CLAIM_RETIRED;
    assert_int_equal(fill(fixture, 0, 16), 16);
    pool_begin_batch(fixture->pool);
    assert_int_equal(pool_reserve(fixture->pool, &copy), -EBUSY);
    assert_int_equal(pool_reserve(fixture->pool, &own), 0);
}

/* Small pages use up the headers before the room; the coldest is pinned, the next one will do. */
static void pinned_page_is_passed_over_for_its_header_too(void **state)
{
    struct fixture *fixture = *state;
    struct core_page first, page;
    assert_int_equal(store(fixture, 0, 50, &first), 0);
    for (uint64_t i = 1; i < SLOTS; i++)
        assert_int_equal(store(fixture, i, 50, &page), 0);
    slot_word_pin(&fixture->config.headers[first.slot].word, first.generation);
    assert_int_equal(store(fixture, 100, 50, &page), 0);
    assert_true(is_here(fixture, 0));
    assert_false(is_here(fixture, 1));
}

static void generation_is_never_used_twice(void **state)
{
    struct fixture *fixture = *state;
    struct core_page page;
    uint64_t last = 0;
    for (uint64_t i = 0; i < 200; i++) {
        assert_int_equal(store(fixture, i, PAGE_BYTES, &page), 0);
        assert_true(page.generation > last);
        last = page.generation;
    }
}

/* With generations used again, the location of a page that is long gone matches its slot. */
static void without_fresh_generation_old_locations_match(void **state)
{
    struct fixture *fixture = *state;
    struct core_page first, page;
    assert_true(protection_disable("fresh_generation"));
    assert_int_equal(store(fixture, 0, PAGE_BYTES, &first), 0);
    uint64_t i = 1;
    do
        assert_int_equal(store(fixture, i++, PAGE_BYTES, &page), 0);
    while (page.slot != first.slot);
    assert_false(is_here(fixture, 0));
    assert_true(slot_word_is_sealed(word_of(fixture, &first), first.generation));
}

/* --- ahead of need --- */

static void pages_are_retired_before_room_is_needed(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_new(4096, 4 << 20);
    const struct pool_gone *gone;
    struct core_page page;
    assert_int_equal(fill(fixture, 0, 1024), 1024);
    assert_int_equal(usage_of(fixture).free_bytes, 0);
    while (pool_retire_ahead(fixture->pool))
        ;
    struct pool_usage usage = usage_of(fixture);
    assert_int_equal(usage.retired_pages, 16); /* a 64th */
    assert_int_equal(pool_take_gone(fixture->pool, &gone), 16);
    for (uint64_t i = 0; i < 16; i++)
        assert_false(is_here(fixture, i));
    assert_true(is_here(fixture, 16));
    /* Retired pages are readable until their room is used, and go before all others. */
    assert_int_equal(store(fixture, 5000, PAGE_BYTES, &page), 0);
    assert_int_equal(usage_of(fixture).retired_pages, 15);
    assert_int_equal(usage_of(fixture).live_pages, 1009);
    assert_int_equal(pool_take_gone(fixture->pool, &gone), 0);
    /* A retired page can be set anew: the same key, another filling. */
    assert_int_equal(store(fixture, 15, PAGE_BYTES, &page), 0);
    assert_true(is_here(fixture, 15));
    teardown((void **)&fixture);
}

/* A namespace's older pages are retired, in pieces; those of other namespaces and epochs stay. */
static void sweep_retires_older_epochs_of_one_namespace(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_new(8192, 4 << 20);
    struct core_page page;
    for (uint64_t i = 0; i < 3000; i++) {
        page = page_of(i, 50);
        page.epoch = i % 3;
        page.identity.lo = i % 2;
        assert_int_equal(pool_reserve(fixture->pool, &page), 0);
        slot_word_seal(&fixture->config.headers[page.slot].word, page.generation);
        assert_int_equal(pool_publish(fixture->pool, &page), 0);
    }
    uint32_t cursor = 0, pieces = 0;
    while (pool_sweep_namespace(fixture->pool, (struct id128){1, 1}, 2, &cursor)) {
        const struct pool_gone *gone;
        pool_take_gone(fixture->pool, &gone);
        assert_true(++pieces < 100);
    }
    assert_true(pieces > 1);
    for (uint64_t i = 0; i < 3000; i++)
        assert_int_equal(is_here(fixture, i), !(i % 2 == 1 && i % 3 < 2));
    teardown((void **)&fixture);
}

/* Only the filling that was reported goes, and it can be stored again at once. */
static void damaged_page_makes_way_for_another_filling(void **state)
{
    struct fixture *fixture = *state;
    struct core_page page, again;
    struct pool_page damaged;
    const struct pool_gone *gone;
    assert_int_equal(store(fixture, 1, PAGE_BYTES, &page), 0);
    struct id128 unknown = page_of(2, 1).digest;
    assert_false(pool_retire_damaged(fixture->pool, unknown, page.generation, &damaged));
    assert_false(pool_retire_damaged(fixture->pool, page.digest, page.generation + 1, &damaged));
    assert_true(is_here(fixture, 1));

    assert_true(pool_retire_damaged(fixture->pool, page.digest, page.generation, &damaged));
    assert_int_equal(damaged.place.slot, page.slot);
    assert_int_equal(damaged.place.offset_bytes, page.offset_bytes);
    assert_false(is_here(fixture, 1));
    assert_int_equal(pool_take_gone(fixture->pool, &gone), 1);
    assert_int_equal(gone[0].generation, page.generation);

    assert_int_equal(store(fixture, 1, PAGE_BYTES, &again), 0);
    assert_false(pool_retire_damaged(fixture->pool, page.digest, page.generation, &damaged));
    assert_true(is_here(fixture, 1));
}

/* A page that is being filled has not been announced: nobody can have read it. */
static void page_that_is_being_filled_is_not_damaged(void **state)
{
    struct fixture *fixture = *state;
    struct core_page page = page_of(1, PAGE_BYTES);
    struct pool_page damaged;
    assert_int_equal(pool_reserve(fixture->pool, &page), 0);
    assert_false(pool_retire_damaged(fixture->pool, page.digest, page.generation, &damaged));
    pool_abandon(fixture->pool, &page);
}

/* The list of pages that went is bounded: who does not take it gets no more room. */
static void untaken_list_of_gone_pages_stops_reserving(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_new(32768, 64 << 20);
    struct core_page page;
    const struct pool_gone *gone;
    int error = 0;
    for (uint64_t i = 0; i < 32768 && !error; i++) {
        page = page_of(i, PAGE_BYTES);
        error = pool_reserve(fixture->pool, &page);
        if (error)
            break;
        slot_word_seal(&fixture->config.headers[page.slot].word, page.generation);
        pool_publish(fixture->pool, &page);
    }
    assert_int_equal(error, -EBUSY);
    assert_true(pool_gone_is_long(fixture->pool));
    assert_true(pool_take_gone(fixture->pool, &gone) < POOL_GONE_MAX);
    assert_int_equal(pool_reserve(fixture->pool, &page), 0);
    teardown((void **)&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(page_is_found_once_it_is_published),
        TEST(abandoned_page_gives_everything_back),
        TEST(without_cancel_drains_room_is_lost),
        TEST(page_larger_than_the_pool_is_refused),
        TEST(coldest_page_goes_first),
        TEST(copy_takes_no_live_pages_room),
        cmocka_unit_test(copy_takes_no_live_pages_slot),
        TEST(page_that_claims_free_room_leaves_some),
        TEST(word_is_void_before_room_is_used_again),
        TEST(pinned_page_is_passed_over),
        TEST(pool_whose_pages_are_all_pinned_is_busy),
        TEST(search_in_vain_is_made_once_a_batch),
        TEST(search_in_vain_of_a_copy_is_its_own),
        TEST(pinned_page_is_passed_over_for_its_header_too),
        TEST(generation_is_never_used_twice),
        TEST(without_fresh_generation_old_locations_match),
        cmocka_unit_test(pages_are_retired_before_room_is_needed),
        cmocka_unit_test(sweep_retires_older_epochs_of_one_namespace),
        TEST(damaged_page_makes_way_for_another_filling),
        TEST(page_that_is_being_filled_is_not_damaged),
        cmocka_unit_test(untaken_list_of_gone_pages_stops_reserving),
    };
    return cmocka_run_group_tests_name("core/pool", tests, NULL, NULL);
}
