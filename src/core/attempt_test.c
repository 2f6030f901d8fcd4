/* SPDX-License-Identifier: Apache-2.0 */
/* attempt_test.c - which holder is read first, what comes after a failure, and what is reported. */
#include "core/attempt.h"

#include "core/core_test_harness.h"
#include "peercache.h"

enum { SELF, LENGTH = 10 };

struct fixture {
    struct world *world;
    struct attempt attempt;
    struct locate_key key;
    uint16_t near, far; /* a holder of this host, and one of another */
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct core_config config = world_config(0);
    struct record_member members[2] = {world_member(100, 1), world_member(101, 1)};
    members[0].boot_id = config.boot_id;
    fixture->world = world_new();
    world_add(fixture->world, &config);
    world_link_up(fixture->world, SELF, WORLD_DISCOVERY, PURPOSE_DISCOVERY, world_id(99), 1);
    world_tell_members(fixture->world, SELF, WORLD_DISCOVERY, 1, members, 2);
    fixture->near = world_peer(fixture->world, SELF, world_id(100), 1);
    fixture->far = world_peer(fixture->world, SELF, world_id(101), 1);
    attempt_begin(&fixture->attempt);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    world_free(fixture->world);
    free(fixture);
    return 0;
}

static void found_at(struct fixture *fixture, uint32_t n, uint16_t first, uint16_t second)
{
    fixture->key = (struct locate_key){.state = n ? LOCATE_FOUND : LOCATE_UNKNOWN,
                                       .n_places = (uint8_t)n,
                                       .places = {{.holder = first, .length_bytes = LENGTH},
                                                  {.holder = second, .length_bytes = LENGTH}}};
}

static enum attempt_next next(struct fixture *fixture, uint32_t *ret_place)
{
    return attempt_next(&fixture->attempt, fixture->world->nodes[SELF]->view, &fixture->key, LENGTH,
                        ret_place);
}

/* The place that is read next, which must be one. */
static uint16_t next_holder(struct fixture *fixture)
{
    uint32_t place = 99;
    assert_int_equal(next(fixture, &place), ATTEMPT_READ);
    return fixture->key.places[place].holder;
}

static void fail_read(struct fixture *fixture, int error)
{
    uint32_t place = 99;
    assert_int_equal(next(fixture, &place), ATTEMPT_READ);
    attempt_failed(&fixture->attempt, place, error);
}

static void nearest_holder_is_read_first(void **state)
{
    struct fixture *fixture = *state;
    found_at(fixture, 2, fixture->far, fixture->near);
    assert_int_equal(next_holder(fixture), fixture->near);
    found_at(fixture, 2, fixture->near, CORE_SELF);
    assert_int_equal(next_holder(fixture), CORE_SELF);
    found_at(fixture, 2, fixture->far, CORE_SELF);
    assert_int_equal(next_holder(fixture), CORE_SELF);
}

/* Of equally good holders each has its share, whichever is named first; each page has its own. */
static void equal_holders_share_the_pages(void **state)
{
    enum { PAGES = 1000 };
    struct fixture *fixture = *state;
    struct record_member members[2] = {world_member(101, 1), world_member(102, 1)};
    uint32_t n_first = 0;
    world_tell_members(fixture->world, SELF, WORLD_DISCOVERY, 2, members, 2);
    uint16_t peers[2] = {world_peer(fixture->world, SELF, world_id(101), 1),
                         world_peer(fixture->world, SELF, world_id(102), 1)};
    for (uint64_t i = 0; i < PAGES; i++) {
        found_at(fixture, 2, peers[0], peers[1]);
        fixture->key.digest = world_digest(i);
        uint16_t holder = next_holder(fixture);
        n_first += holder == peers[0];
        found_at(fixture, 2, peers[1], peers[0]);
        fixture->key.digest = world_digest(i);
        assert_int_equal(next_holder(fixture), holder);
    }
    assert_in_range(n_first, PAGES * 2 / 5, PAGES * 3 / 5);
}

/* It may be gone before the bytes are there. */
static void holder_that_leaves_is_read_after_its_like(void **state)
{
    struct fixture *fixture = *state;
    struct record_member members[2] = {world_member(101, 1), world_member(102, 1)};
    members[0].state = MEMBER_DRAINING;
    world_tell_members(fixture->world, SELF, WORLD_DISCOVERY, 2, members, 2);
    uint16_t draining = world_peer(fixture->world, SELF, world_id(101), 1);
    uint16_t staying = world_peer(fixture->world, SELF, world_id(102), 1);
    for (uint64_t i = 0; i < 20; i++) {
        found_at(fixture, 2, draining, staying);
        fixture->key.digest = world_digest(i);
        assert_int_equal(next_holder(fixture), staying);
    }
    found_at(fixture, 1, draining, 0);
    assert_int_equal(next_holder(fixture), draining);
}

static void holder_in_trouble_is_read_last(void **state)
{
    struct fixture *fixture = *state;
    breaker_failed(&fixture->world->nodes[SELF]->view->breakers[fixture->near],
                   fixture->world->now_ns);
    found_at(fixture, 2, fixture->near, fixture->far);
    assert_int_equal(next_holder(fixture), fixture->far);
    fail_read(fixture, -ECONNRESET);
    assert_int_equal(next_holder(fixture), fixture->near);
}

static void holder_that_is_gone_is_not_read(void **state)
{
    struct fixture *fixture = *state;
    uint32_t place;
    world_tell_members(fixture->world, SELF, WORLD_DISCOVERY, 2, NULL, 0);
    found_at(fixture, 2, fixture->near, fixture->far);
    assert_int_equal(next(fixture, &place),
                     ATTEMPT_LOCATE_AGAIN); /* who left may have handed it on */
    assert_int_equal(next(fixture, &place), ATTEMPT_GIVE_UP);
    assert_int_equal(fixture->attempt.outcome, PEERCACHE_MISS_UNKNOWN);
}

static void unknown_and_failed_look_ups_end_at_once(void **state)
{
    struct fixture *fixture = *state;
    uint32_t place;
    found_at(fixture, 0, 0, 0);
    assert_int_equal(next(fixture, &place), ATTEMPT_GIVE_UP);
    assert_int_equal(fixture->attempt.outcome, PEERCACHE_MISS_UNKNOWN);
    fixture->key.state = LOCATE_FAILED;
    assert_int_equal(next(fixture, &place), ATTEMPT_GIVE_UP);
    assert_int_equal(fixture->attempt.outcome, PEERCACHE_MISS_PEER);
}

static void page_of_another_length_is_not_read(void **state)
{
    struct fixture *fixture = *state;
    uint32_t place;
    found_at(fixture, 2, fixture->near, fixture->far);
    fixture->key.places[0].length_bytes = LENGTH + 1;
    assert_int_equal(next_holder(fixture), fixture->far);
    fixture->key.places[1].length_bytes = LENGTH - 1;
    assert_int_equal(next(fixture, &place), ATTEMPT_GIVE_UP);
    assert_int_equal(fixture->attempt.outcome, PEERCACHE_MISS_LENGTH);
}

/* All holders let the page go while it was looked up: perhaps somebody set it anew, so it is looked
 * up once more, and only once. */
static void evicted_page_is_located_once_more(void **state)
{
    struct fixture *fixture = *state;
    uint32_t place;
    found_at(fixture, 2, fixture->near, fixture->far);
    fail_read(fixture, -ESTALE);
    fail_read(fixture, -ESTALE);
    assert_int_equal(next(fixture, &place), ATTEMPT_LOCATE_AGAIN);
    found_at(fixture, 1, fixture->far, 0);
    fail_read(fixture, -ESTALE);
    assert_int_equal(next(fixture, &place), ATTEMPT_GIVE_UP);
    assert_int_equal(fixture->attempt.outcome, PEERCACHE_MISS_EVICTED);
}

static void page_not_found_the_second_time_was_evicted(void **state)
{
    struct fixture *fixture = *state;
    uint32_t place;
    found_at(fixture, 1, fixture->near, 0);
    fail_read(fixture, -ESTALE);
    assert_int_equal(next(fixture, &place), ATTEMPT_LOCATE_AGAIN);
    found_at(fixture, 0, 0, 0);
    assert_int_equal(next(fixture, &place), ATTEMPT_GIVE_UP);
    assert_int_equal(fixture->attempt.outcome, PEERCACHE_MISS_EVICTED);
}

static void last_failure_is_what_is_reported(void **state)
{
    static const struct {
        int error;
        uint16_t outcome;
        bool is_stale;
    } cases[] = {
        {-ESTALE, PEERCACHE_MISS_EVICTED, true},       {-EBADMSG, PEERCACHE_MISS_EVICTED, true},
        {-EILSEQ, PEERCACHE_MISS_CHECKSUM, false},     {-ETIMEDOUT, PEERCACHE_MISS_DEADLINE, false},
        {-ESHUTDOWN, PEERCACHE_REFUSED_CLOSED, false}, {-ECONNRESET, PEERCACHE_MISS_PEER, false},
        {-EBUSY, PEERCACHE_MISS_PEER, false},
    };
    struct fixture *fixture = *state;
    uint32_t place;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        attempt_begin(&fixture->attempt);
        found_at(fixture, 1, fixture->near, 0);
        fail_read(fixture, cases[i].error);
        assert_int_equal(fixture->attempt.outcome, cases[i].outcome);
        assert_int_equal(attempt_is_stale(cases[i].error), cases[i].is_stale);
        assert_int_equal(attempt_is_damaged(cases[i].error), cases[i].error == -EILSEQ);
        assert_int_equal(next(fixture, &place),
                         cases[i].is_stale ? ATTEMPT_LOCATE_AGAIN : ATTEMPT_GIVE_UP);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nearest_holder_is_read_first),
        TEST(equal_holders_share_the_pages),
        TEST(holder_that_leaves_is_read_after_its_like),
        TEST(holder_in_trouble_is_read_last),
        TEST(holder_that_is_gone_is_not_read),
        TEST(unknown_and_failed_look_ups_end_at_once),
        TEST(page_of_another_length_is_not_read),
        TEST(evicted_page_is_located_once_more),
        TEST(page_not_found_the_second_time_was_evicted),
        TEST(last_failure_is_what_is_reported),
    };
    return cmocka_run_group_tests_name("core/attempt", tests, NULL, NULL);
}
