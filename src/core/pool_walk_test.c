/* SPDX-License-Identifier: Apache-2.0 */
/* pool_walk_test.c - a random walk: the sums agree with what is there, no two pages share a byte,
 * and no group is in pieces. */
#include "core/pool_test_harness.h"

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
    uint64_t number = splitmix_of((*random)++), pick = number >> 8 & 7;
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_agree_whatever_happens),
    };
    return cmocka_run_group_tests_name("core/pool_walk", tests, NULL, NULL);
}
