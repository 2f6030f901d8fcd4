/* SPDX-License-Identifier: Apache-2.0 */
/* invite_test.c - which look-ups count as demand, and which readers are invited. */
#include "core/invite.h"

#include "core/core_test_harness.h"
#include "core/demand.h"

enum { SELF, FAR_READER = 1000, NUMBER = 5 };

struct fixture {
    struct world *world;
    struct record_holder holders[BATCH_MAX];
    struct record_found found[FOUND_MAX];
    struct record_index hot[BATCH_MAX];
    struct message_locations answer;
};

/* A node with two members, of which the first is on its own host. */
static struct fixture *new_fixture(bool hot_pages)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct core_config config = world_config(0);
    struct record_member members[2] = {world_member(100, 1), world_member(101, 1)};
    config.hot_pages = hot_pages;
    members[0].boot_id = config.boot_id;
    fixture->world = world_new();
    world_add(fixture->world, &config);
    world_link_up(fixture->world, SELF, WORLD_DISCOVERY, PURPOSE_DISCOVERY, world_id(99), 1);
    world_tell_members(fixture->world, SELF, WORLD_DISCOVERY, 1, members, 2);
    for (uint32_t i = 0; i < 2; i++)
        world_link_up(fixture->world, SELF, WORLD_CONTROL + i, PURPOSE_CONTROL, world_id(100 + i),
                      1);
    world_run(fixture->world);
    return fixture;
}

static int setup(void **state)
{
    *state = new_fixture(true);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    world_free(fixture->world);
    free(fixture);
    return 0;
}

/* Member @member says that it has page NUMBER. */
static void announce(struct fixture *fixture, uint32_t member)
{
    struct record_entry entry = {.digest = world_digest(NUMBER),
                                 .place = {.length_bytes = 10, .generation = 1 + member}};
    struct message message = {.type = MESSAGE_announce,
                              .u.announce = {.entries = &entry, .n_entries = 1}};
    world_say(fixture->world, SELF, WORLD_CONTROL + member, &message);
}

/* Whether a reader on this host is invited to publish page NUMBER. */
static bool ask(struct fixture *fixture, uint32_t reader)
{
    const struct core_view *view = fixture->world->nodes[SELF]->view;
    struct record_key keys[2] = {{world_digest(NUMBER + 1)}, {world_digest(NUMBER)}};
    struct message_lookup lookup = {.reader = reader, .keys = keys, .n_keys = 2};
    view_answer_lookup(view, &lookup, fixture->holders, fixture->found, &fixture->answer);
    invite_reader(view, &lookup, fixture->world->now_ns, fixture->hot, &fixture->answer);
    assert_in_range(fixture->answer.n_hot, 0, 1);
    if (fixture->answer.n_hot)
        assert_int_equal(fixture->answer.hot[0].index, 1);
    return fixture->answer.n_hot;
}

/* How many of so many readers, each on a host of its own, are invited. */
static uint32_t ask_from_hosts(struct fixture *fixture, uint32_t n)
{
    uint32_t invited = 0;
    for (uint32_t i = 0; i < n; i++)
        invited += ask(fixture, demand_host((struct id128){FAR_READER + i, 3}));
    return invited;
}

static void readers_of_several_hosts_are_invited(void **state)
{
    announce(*state, 0);
    assert_int_equal(ask_from_hosts(*state, 100), DEMAND_HOLDERS_MOST - 1);
}

static void page_that_nobody_has_is_not_hot(void **state)
{
    assert_int_equal(ask_from_hosts(*state, 100), 0);
}

static void who_only_wants_to_know_does_not_count(void **state)
{
    announce(*state, 0);
    for (int i = 0; i < 100; i++)
        assert_false(ask(*state, 0));
}

static void readers_on_a_holders_host_do_not_count(void **state)
{
    struct core_config config = world_config(0);
    uint32_t near = demand_host(config.boot_id), far = demand_host(world_member(101, 1).boot_id);
    announce(*state, 0);
    for (int i = 0; i < 100; i++)
        assert_false(ask(*state, near));
    announce(*state, 1);
    for (int i = 0; i < 100; i++)
        assert_false(ask(*state, i % 2 ? near : far));
}

static void own_reads_count_where_no_holder_is_near(void **state)
{
    struct fixture *fixture = *state;
    const struct core_view *view = fixture->world->nodes[SELF]->view;
    struct location places[CORE_HOLDERS_MAX];
    announce(fixture, 0);
    int n = world_holders(fixture->world, SELF, NUMBER, places);
    assert_int_equal(n, 1);
    for (int i = 0; i < 100; i++)
        assert_false(invite_self(view, world_digest(NUMBER), places, 1, fixture->world->now_ns));
    struct location far = {.holder = world_peer(fixture->world, SELF, world_id(101), 1),
                           .length_bytes = 10};
    uint32_t invited = ask_from_hosts(fixture, 1);
    for (int i = 0; i < 100; i++)
        invited += invite_self(view, world_digest(NUMBER), &far, 1, fixture->world->now_ns);
    assert_int_equal(invited, DEMAND_HOLDERS_MOST - 1);
}

static void nobody_is_invited_where_it_is_off(void **state)
{
    struct fixture *fixture = new_fixture(false);
    struct location far = {.holder = world_peer(fixture->world, SELF, world_id(101), 1),
                           .length_bytes = 10};
    (void)state;
    announce(fixture, 0);
    assert_int_equal(ask_from_hosts(fixture, 100), 0);
    assert_false(invite_self(fixture->world->nodes[SELF]->view, world_digest(NUMBER), &far, 1,
                             fixture->world->now_ns));
    void *last = fixture;
    teardown(&last);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(readers_of_several_hosts_are_invited),
        TEST(page_that_nobody_has_is_not_hot),
        TEST(who_only_wants_to_know_does_not_count),
        TEST(readers_on_a_holders_host_do_not_count),
        TEST(own_reads_count_where_no_holder_is_near),
        cmocka_unit_test(nobody_is_invited_where_it_is_off),
    };
    return cmocka_run_group_tests_name("core/invite", tests, NULL, NULL);
}
