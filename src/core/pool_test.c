/* SPDX-License-Identifier: Apache-2.0 */
/* pool_test.c - slots, room and generations: what may be used again, when, and in which order. */
#include "core/pool.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/metric.h"
#include "base/protection.h"
#include "base/seqtable.h"
#include "core/replacement.h"

enum { SLOTS = 64, POOL_BYTES = 64 * 1024, PAGE_BYTES = 4096 - 8 };

struct fixture {
    struct core_config config;
    struct metrics metrics;
    struct pool *pool;
};

static uint64_t mix(uint64_t number)
{
    number += UINT64_C(0x9e3779b97f4a7c15);
    number = (number ^ number >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    number = (number ^ number >> 27) * UINT64_C(0x94d049bb133111eb);
    return number ^ number >> 31;
}

static struct fixture *fixture_new(uint32_t slots, uint64_t bytes)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    fixture->config = (struct core_config){
        .headers = calloc(slots, sizeof(struct slot_header)),
        .slot_count = slots,
        .pool_bytes = bytes,
        .metrics = &fixture->metrics,
    };
    assert_int_equal(pool_new(&fixture->config, &fixture->pool), 0);
    return fixture;
}

static int setup(void **state)
{
    *state = fixture_new(SLOTS, POOL_BYTES);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    protection_enable_all();
    pool_free(fixture->pool);
    free(fixture->config.headers);
    free(fixture);
    return 0;
}

static struct core_page page_of(uint64_t number, uint32_t length_bytes)
{
    return (struct core_page){.digest = {mix(2 * number), mix(2 * number + 1)},
                              .identity = {1, 9},
                              .ring_position = number,
                              .length_bytes = length_bytes,
                              .name_len = 8};
}

/* Reserved, sealed, published; the page's slot and generation are in *ret_page. */
static int store_page(struct fixture *fixture, struct core_page *ret_page)
{
    if (pool_gone_is_long(fixture->pool)) {
        const struct pool_gone *gone;
        pool_take_gone(fixture->pool, &gone);
    }
    pool_begin_batch(fixture->pool);
    int error = pool_reserve(fixture->pool, ret_page);
    if (error)
        return error;
    assert_true(
        slot_word_seal(&fixture->config.headers[ret_page->slot].word, ret_page->generation));
    return pool_publish(fixture->pool, ret_page);
}

static int store(struct fixture *fixture, uint64_t number, uint32_t length_bytes,
                 struct core_page *ret_page)
{
    *ret_page = page_of(number, length_bytes);
    return store_page(fixture, ret_page);
}

static bool is_here(const struct fixture *fixture, uint64_t number)
{
    struct seqtable_value value;
    struct location place;
    if (seqtable_find(pool_index(fixture->pool), page_of(number, 1).digest, &value) != 0)
        return false;
    location_unpack(value.bytes, &place);
    return place.length_bytes > 0;
}

static uint64_t word_of(const struct fixture *fixture, const struct core_page *page)
{
    return atomic_load(&fixture->config.headers[page->slot].word);
}

static struct pool_usage usage_of(const struct fixture *fixture)
{
    struct pool_usage usage;
    pool_measure(fixture->pool, &usage);
    return usage;
}

static uint32_t fill(struct fixture *fixture, uint64_t from, uint32_t n)
{
    struct core_page page;
    uint32_t stored = 0;
    for (uint32_t i = 0; i < n; i++)
        stored += store(fixture, from + i, PAGE_BYTES, &page) == 0;
    return stored;
}

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

/* The list of pages that went is bounded: who does not take it gets no more room. */
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

/* --- groups --- */

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

/* --- a random walk: the sums agree with what is there, no two pages share a byte --- */

struct held {
    struct core_page page;
    bool is_filling, is_pinned;
};

/* Three pages of four are in groups of six. */
static uint64_t group_of(uint64_t number)
{
    return number % 4 == 0 ? 0 : 1 + number % 21;
}

static void check_apart(const struct fixture *fixture, uint64_t seed)
{
    struct pool_page live;
    static uint8_t taken[POOL_BYTES / 64];
    uint64_t bytes = 0;
    uint32_t pages = 0;
    memset(taken, 0, sizeof taken);
    for (uint32_t slot = 0; slot < pool_slot_end(fixture->pool); slot++) {
        if (!pool_live_page(fixture->pool, slot, &live))
            continue;
        pages++;
        if (!slot_word_is_sealed(atomic_load(&fixture->config.headers[slot].word),
                                 live.place.generation))
            fail_msg("seed %llu: live page in slot %u is not sealed", (unsigned long long)seed,
                     slot);
        for (uint64_t at = live.place.offset_bytes / 64;
             at < (live.place.offset_bytes + live.place.length_bytes + 8 + 63) / 64;
             at++, bytes += 64)
            if (taken[at]++)
                fail_msg("seed %llu: two pages at unit %llu", (unsigned long long)seed,
                         (unsigned long long)at);
    }
    struct pool_usage usage = usage_of(fixture);
    if (pages != usage.live_pages || bytes != usage.live_bytes)
        fail_msg("seed %llu: %u pages and %llu bytes counted, %u and %llu there",
                 (unsigned long long)seed, usage.live_pages, (unsigned long long)usage.live_bytes,
                 pages, (unsigned long long)bytes);
}

/* Pages of one group that were live together are live together, or not at all. */
static void check_groups(const struct fixture *fixture, bool was_here[128], uint64_t seed)
{
    bool is_broken[128] = {false};
    for (uint64_t i = 0; i < 128; i++)
        is_broken[group_of(i)] |= was_here[i] && !is_here(fixture, i);
    for (uint64_t i = 0; i < 128; i++) {
        bool here = is_here(fixture, i);
        if (group_of(i) && was_here[i] && here && is_broken[group_of(i)])
            fail_msg("seed %llu: page %llu is left of group %llu", (unsigned long long)seed,
                     (unsigned long long)i, (unsigned long long)group_of(i));
        was_here[i] = here;
    }
}

static struct core_page random_page(uint64_t number)
{
    struct core_page page = page_of(number >> 16 & 127, (uint32_t)(1 + (number >> 32) % 9000));
    page.group = group_of(number >> 16 & 127);
    if (number >> 60)
        page.parent = page_of((number >> 48) & 127, 1).digest;
    return page;
}

static void random_step(struct fixture *fixture, struct held held[8], uint64_t *random)
{
    const struct pool_gone *gone;
    struct core_page page;
    uint64_t number = mix((*random)++), pick = number >> 8 & 7;
    struct held *at = &held[pick];
    slot_word *word = &fixture->config.headers[at->page.slot].word;
    switch (number & 7) {
    case 0:
    case 1:
        if (at->is_filling)
            break;
        at->page = random_page(number);
        at->is_filling = pool_reserve(fixture->pool, &at->page) == 0;
        break;
    case 2:
        if (at->is_filling && slot_word_seal(word, at->page.generation))
            assert_int_equal(pool_publish(fixture->pool, &at->page), 0);
        at->is_filling = false;
        break;
    case 3:
        if (at->is_filling)
            pool_abandon(fixture->pool, &at->page);
        at->is_filling = false;
        break;
    case 4: pool_retire_ahead(fixture->pool); break;
    case 5: pool_touch(fixture->pool, (uint32_t)(number >> 16) % SLOTS, number >> 40 & 63); break;
    default:
        page = random_page(number);
        store_page(fixture, &page);
        break;
    }
    pool_take_gone(fixture->pool, &gone);
}

static void sums_agree_whatever_happens(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct fixture *fixture = fixture_new(SLOTS, POOL_BYTES);
        struct held held[8] = {0};
        bool was_here[128] = {false};
        uint64_t random = seed << 32;
        for (int i = 0; i < 2000; i++) {
            random_step(fixture, held, &random);
            check_groups(fixture, was_here, seed);
            if (i % 20 == 0)
                check_apart(fixture, seed);
        }
        for (int i = 0; i < 8; i++)
            if (held[i].is_filling)
                pool_abandon(fixture->pool, &held[i].page);
        struct pool_usage usage = usage_of(fixture);
        if (usage.filling_pages != 0 ||
            usage.free_bytes + usage.live_bytes + usage.retired_bytes != usage.total_bytes)
            fail_msg("seed %llu: bytes are lost", (unsigned long long)seed);
        teardown((void **)&fixture);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(page_is_found_once_it_is_published),
        TEST(abandoned_page_gives_everything_back),
        TEST(without_cancel_drains_room_is_lost),
        TEST(page_larger_than_the_pool_is_refused),
        TEST(coldest_page_goes_first),
        TEST(word_is_void_before_room_is_used_again),
        TEST(pinned_page_is_passed_over),
        TEST(pool_whose_pages_are_all_pinned_is_busy),
        TEST(search_in_vain_is_made_once_a_batch),
        TEST(pinned_page_is_passed_over_for_its_header_too),
        TEST(generation_is_never_used_twice),
        TEST(without_fresh_generation_old_locations_match),
        cmocka_unit_test(pages_are_retired_before_room_is_needed),
        cmocka_unit_test(sweep_retires_older_epochs_of_one_namespace),
        TEST(damaged_page_makes_way_for_another_filling),
        TEST(page_that_is_being_filled_is_not_damaged),
        cmocka_unit_test(untaken_list_of_gone_pages_stops_reserving),
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
        cmocka_unit_test(sums_agree_whatever_happens),
    };
    return cmocka_run_group_tests_name("core/pool", tests, NULL, NULL);
}
