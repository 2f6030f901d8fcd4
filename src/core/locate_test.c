/* SPDX-License-Identifier: Apache-2.0 */
/* locate_test.c - whom to ask, what an answer means, and when "not here" is the last word. */
#include "core/locate.h"

#include "core/core_test_harness.h"

enum { SELF, KEYS = 600 };

struct fixture {
    struct world *world;
    struct locate locate;
    struct locate_key keys[LOCATE_KEYS_MAX];
    struct locate_ask asks[LOCATE_ASKS_MAX];
};

/* Five nodes, four of them played by the test; a key has two owners. */
static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct core_config config = world_config(0);
    fixture->world = world_new();
    world_add(fixture->world, &config);
    world_add_played(fixture->world, SELF, 6);
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

static const struct core_view *view_of(const struct fixture *fixture)
{
    return fixture->world->nodes[SELF]->view;
}

static void begin(struct fixture *fixture, uint64_t first_page, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        fixture->keys[i] = (struct locate_key){.digest = world_digest(first_page + i),
                                               .ring_position = world_position(first_page + i)};
    locate_begin(&fixture->locate, view_of(fixture), fixture->keys, n);
}

static uint32_t plan(struct fixture *fixture)
{
    return locate_plan(&fixture->locate, fixture->world->now_ns, fixture->asks);
}

/* Finds a page neither of whose owners is this node. */
static uint64_t foreign_page(struct fixture *fixture)
{
    for (uint64_t page = 1;; page++) {
        begin(fixture, page, 1);
        if (fixture->keys[0].owners[0] != CORE_SELF && fixture->keys[0].owners[1] != CORE_SELF)
            return page;
    }
}

static void answer_nothing(struct fixture *fixture, const struct locate_ask *ask, bool complete)
{
    struct message_locations answer = {.complete = complete};
    locate_answer(&fixture->locate, ask, &answer);
}

/* All keys of an ask are at the member with this id. */
static void answer_all(struct fixture *fixture, const struct locate_ask *ask, uint32_t id,
                       uint64_t incarnation)
{
    static struct record_found found[BATCH_MAX];
    struct record_holder holder = {world_id(id), incarnation};
    for (uint32_t i = 0; i < ask->n; i++)
        found[i] = (struct record_found){.index = (uint16_t)i,
                                         .place = {.length_bytes = 10, .slot = i, .generation = 3}};
    struct message_locations answer = {
        .holders = &holder, .n_holders = 1, .found = found, .n_found = ask->n, .complete = 1};
    locate_answer(&fixture->locate, ask, &answer);
}

static void own_pages_need_no_asking(void **state)
{
    struct fixture *fixture = *state;
    world_set(fixture->world, SELF, 1, 50);
    begin(fixture, 1, 50);
    assert_int_equal(plan(fixture), 0);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(fixture->keys[i].state, LOCATE_FOUND);
        assert_int_equal(fixture->keys[i].places[0].holder, CORE_SELF);
        assert_true(locate_is_there(&fixture->locate, &fixture->keys[i]));
    }
}

/* One ask an owner, every key once, in the caller's order within an ask. */
static void every_key_is_asked_of_one_owner(void **state)
{
    struct fixture *fixture = *state;
    bool is_asked[KEYS] = {false};
    uint32_t own = 0;
    begin(fixture, 1, KEYS);
    uint32_t n = plan(fixture);
    for (uint32_t i = 0; i < n; i++) {
        const struct locate_ask *ask = &fixture->asks[i];
        struct record_key keys[BATCH_MAX];
        struct message_lookup lookup;
        assert_true(ask->n <= BATCH_MAX);
        locate_fill_lookup(&fixture->locate, ask, keys, &lookup);
        assert_int_equal(lookup.n_keys, ask->n);
        assert_true(lookup.ring_hash == view_ring_hash(view_of(fixture)));
        for (uint32_t k = 0; k < ask->n; k++) {
            uint16_t index = fixture->locate.order[ask->first + k];
            assert_false(is_asked[index]);
            assert_true(k == 0 || index > fixture->locate.order[ask->first + k - 1]);
            assert_int_equal(fixture->keys[index].owners[fixture->keys[index].owner], ask->peer);
            assert_true(id128_equal(keys[k].digest, fixture->keys[index].digest));
            is_asked[index] = true;
        }
    }
    for (int i = 0; i < KEYS; i++)
        own += !is_asked[i];
    assert_int_equal(own, 0); /* the own shard is not complete: it settles nothing */
}

static void more_keys_than_one_message_holds(void **state)
{
    struct fixture *fixture = *state;
    struct record_member member = world_member(100, 1);
    world_tell_members(fixture->world, SELF, WORLD_DISCOVERY, 2, &member, 1);
    begin(fixture, 1, LOCATE_KEYS_MAX);
    assert_int_equal(plan(fixture), LOCATE_KEYS_MAX / BATCH_MAX);
    for (uint32_t i = 0; i < 4; i++)
        answer_all(fixture, &fixture->asks[i], 100, 1);
    assert_int_equal(plan(fixture), 0);
    for (uint32_t i = 0; i < LOCATE_KEYS_MAX; i++)
        assert_int_equal(fixture->keys[i].state, LOCATE_FOUND);
}

static void found_where_the_answer_says(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, foreign_page(fixture), 1);
    assert_int_equal(plan(fixture), 1);
    answer_all(fixture, &fixture->asks[0], 103, 1);
    assert_int_equal(plan(fixture), 0);
    assert_int_equal(fixture->keys[0].state, LOCATE_FOUND);
    assert_int_equal(fixture->keys[0].places[0].holder,
                     world_peer(fixture->world, SELF, world_id(103), 1));
    assert_true(locate_is_there(&fixture->locate, &fixture->keys[0]));
}

static void complete_owner_has_the_last_word(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, foreign_page(fixture), 1);
    assert_int_equal(plan(fixture), 1);
    answer_nothing(fixture, &fixture->asks[0], true);
    assert_int_equal(plan(fixture), 0);
    assert_int_equal(fixture->keys[0].state, LOCATE_UNKNOWN);
}

static void owner_that_does_not_know_all_is_not_believed(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, foreign_page(fixture), 1);
    assert_int_equal(plan(fixture), 1);
    uint16_t first = fixture->asks[0].peer;
    answer_nothing(fixture, &fixture->asks[0], false);
    assert_int_equal(plan(fixture), 1);
    assert_int_not_equal(fixture->asks[0].peer, first);
    answer_all(fixture, &fixture->asks[0], 103, 1);
    assert_int_equal(plan(fixture), 0);
    assert_int_equal(fixture->keys[0].state, LOCATE_FOUND);
}

static void without_lookup_fallback_the_page_is_missed(void **state)
{
    struct fixture *fixture = *state;
    assert_true(protection_disable("lookup_fallback"));
    begin(fixture, foreign_page(fixture), 1);
    assert_int_equal(plan(fixture), 1);
    answer_nothing(fixture, &fixture->asks[0], false);
    assert_int_equal(plan(fixture), 0);
    assert_int_equal(fixture->keys[0].state, LOCATE_UNKNOWN);
}

static void owner_that_fails_is_replaced_by_the_next(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, foreign_page(fixture), 1);
    assert_int_equal(plan(fixture), 1);
    locate_fail(&fixture->locate, &fixture->asks[0]);
    assert_int_equal(plan(fixture), 1);
    answer_all(fixture, &fixture->asks[0], 103, 1);
    assert_int_equal(plan(fixture), 0);
    assert_int_equal(fixture->keys[0].state, LOCATE_FOUND);
}

static void without_owner_failover_the_page_is_missed(void **state)
{
    struct fixture *fixture = *state;
    assert_true(protection_disable("owner_failover"));
    begin(fixture, foreign_page(fixture), 1);
    assert_int_equal(plan(fixture), 1);
    locate_fail(&fixture->locate, &fixture->asks[0]);
    assert_int_equal(plan(fixture), 0);
    assert_int_equal(fixture->keys[0].state, LOCATE_FAILED);
}

/* No owner answered: failed.  One answered that it does not know, which is not sure: unknown. */
static void no_owner_is_a_failure_and_an_unsure_one_is_not(void **state)
{
    struct fixture *fixture = *state;
    for (int unsure = 0; unsure < 2; unsure++) {
        begin(fixture, foreign_page(fixture), 1);
        assert_int_equal(plan(fixture), 1);
        if (unsure)
            answer_nothing(fixture, &fixture->asks[0], false);
        else
            locate_fail(&fixture->locate, &fixture->asks[0]);
        assert_int_equal(plan(fixture), 1);
        locate_fail(&fixture->locate, &fixture->asks[0]);
        assert_int_equal(plan(fixture), 0);
        assert_int_equal(fixture->keys[0].state, unsure ? LOCATE_UNKNOWN : LOCATE_FAILED);
    }
}

/* The owner's breaker is open: it costs this call nothing. */
static void owner_behind_an_open_breaker_is_not_asked(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, foreign_page(fixture), 1);
    uint16_t first = fixture->keys[0].owners[0], second = fixture->keys[0].owners[1];
    breaker_failed(&view_of(fixture)->breakers[first], fixture->world->now_ns);
    assert_int_equal(plan(fixture), 1);
    assert_int_equal(fixture->asks[0].peer, second);
    breaker_failed(&view_of(fixture)->breakers[second], fixture->world->now_ns);
    begin(fixture, foreign_page(fixture), 1);
    assert_int_equal(plan(fixture), 0);
    assert_int_equal(fixture->keys[0].state, LOCATE_FAILED);
}

/* The one probe that a half open breaker allows is used for all keys of the call. */
static void probe_carries_all_keys_of_the_call(void **state)
{
    struct fixture *fixture = *state;
    uint16_t peer = world_peer(fixture->world, SELF, world_id(100), 1);
    begin(fixture, 1, KEYS);
    plan(fixture);
    uint32_t before = 0, after = 0;
    for (int i = 0; i < KEYS; i++)
        before += fixture->keys[i].owners[fixture->keys[i].owner] == peer;
    breaker_failed(&view_of(fixture)->breakers[peer], fixture->world->now_ns);
    fixture->world->now_ns += 1000 * WORLD_MS;
    begin(fixture, 1, KEYS);
    for (uint32_t i = 0, n = plan(fixture); i < n; i++)
        after += fixture->asks[i].peer == peer ? fixture->asks[i].n : 0;
    assert_true(before > 0);
    assert_int_equal(after, before);
}

/* An owner that names only such ones knows the page all the same: another may name one that is
 * known. */
static void holder_of_another_life_or_unknown_is_none(void **state)
{
    struct fixture *fixture = *state;
    for (uint32_t id = 103; id < 107; id += 3) { /* 106 is nobody */
        for (int is_known = 0; is_known < 2; is_known++) {
            begin(fixture, foreign_page(fixture), 1);
            assert_int_equal(plan(fixture), 1);
            answer_all(fixture, &fixture->asks[0], id, id == 103 ? 2 : 1);
            assert_int_equal(fixture->keys[0].state, LOCATE_PENDING);
            assert_int_equal(plan(fixture), 1);
            answer_all(fixture, &fixture->asks[0], is_known ? 103 : id,
                       id == 103 && !is_known ? 2 : 1);
            assert_int_equal(plan(fixture), 0);
            assert_int_equal(fixture->keys[0].state, is_known ? LOCATE_FOUND : LOCATE_UNKNOWN);
            assert_int_equal(locate_is_there(&fixture->locate, &fixture->keys[0]), is_known);
        }
    }
}

static void without_holder_incarnation_the_former_life_is_believed(void **state)
{
    struct fixture *fixture = *state;
    struct record_member members[4] = {world_member(100, 2), world_member(101, 2),
                                       world_member(102, 2), world_member(103, 2)};
    assert_true(protection_disable("holder_incarnation"));
    world_tell_members(fixture->world, SELF, WORLD_DISCOVERY, 2, members, 4);
    begin(fixture, foreign_page(fixture), 1);
    assert_int_equal(plan(fixture), 1);
    answer_all(fixture, &fixture->asks[0], 103, 1);
    assert_int_equal(fixture->keys[0].state, LOCATE_FOUND);
}

/* An answer that names keys or holders that are not there does no harm. */
static void answer_with_numbers_out_of_range(void **state)
{
    struct fixture *fixture = *state;
    struct record_holder holder = {world_id(103), 1};
    struct record_found found[] = {
        {.index = 1, .place = {.length_bytes = 5}},
        {.index = 65535, .place = {.length_bytes = 5}},
        {.index = 0, .place = {.holder = 1, .length_bytes = 5}},
        {.index = 0, .place = {.holder = 65535, .length_bytes = 5}},
        {.index = 0, .place = {.holder = 0, .length_bytes = 0}},
    };
    struct message_locations answer = {
        .holders = &holder, .n_holders = 1, .found = found, .n_found = 5, .complete = 1};
    begin(fixture, foreign_page(fixture), 1);
    assert_int_equal(plan(fixture), 1);
    locate_answer(&fixture->locate, &fixture->asks[0], &answer);
    assert_int_equal(plan(fixture), 0);
    assert_int_equal(fixture->keys[0].state, LOCATE_UNKNOWN);
}

static void holders_are_kept_once_and_no_more_than_there_is_room(void **state)
{
    struct fixture *fixture = *state;
    struct record_holder holders[5];
    struct record_found found[6] = {{.place = {.length_bytes = 5, .generation = 1}}};
    struct message_locations answer = {
        .holders = holders, .n_holders = 5, .found = found, .n_found = 6};
    for (uint32_t i = 0; i < 5; i++) {
        holders[i] = (struct record_holder){world_id(101 + i), 1};
        found[i + 1].place =
            (struct location){.holder = (uint16_t)i, .length_bytes = 5, .generation = 2};
    }
    begin(fixture, foreign_page(fixture), 1);
    assert_int_equal(plan(fixture), 1);
    locate_answer(&fixture->locate, &fixture->asks[0], &answer);
    assert_int_equal(fixture->keys[0].n_places, LOCATE_PLACES_MAX);
    assert_int_equal(fixture->keys[0].places[0].generation, 1);
    assert_int_not_equal(fixture->keys[0].places[0].holder, fixture->keys[0].places[1].holder);
}

/* exists counts holders that are alive and whose breaker is closed, and no others. */
static void page_of_a_holder_in_trouble_is_not_there(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, foreign_page(fixture), 1);
    assert_int_equal(plan(fixture), 1);
    answer_all(fixture, &fixture->asks[0], 103, 1);
    assert_true(locate_is_there(&fixture->locate, &fixture->keys[0]));
    uint16_t holder = fixture->keys[0].places[0].holder;
    breaker_failed(&view_of(fixture)->breakers[holder], fixture->world->now_ns);
    assert_false(locate_is_there(&fixture->locate, &fixture->keys[0]));
    assert_int_equal(fixture->keys[0].state, LOCATE_FOUND); /* a get may still try it */
}

/* The own pool let the page go: look again, with the owners this time. */
static void looking_again_does_not_believe_what_was_read_in_vain(void **state)
{
    struct fixture *fixture = *state;
    uint64_t page = foreign_page(fixture);
    world_set(fixture->world, SELF, page, 1);
    begin(fixture, page, 1);
    assert_int_equal(fixture->keys[0].state, LOCATE_FOUND);
    locate_again(&fixture->locate, 0);
    assert_int_equal(plan(fixture), 1);
    answer_all(fixture, &fixture->asks[0], 103, 1);
    assert_int_equal(fixture->keys[0].n_places, 1);
    assert_int_not_equal(fixture->keys[0].places[0].holder, CORE_SELF);
}

/* Its holder has handed it to this very node, and is gone. */
static void looking_again_finds_what_came_here_meanwhile(void **state)
{
    struct fixture *fixture = *state;
    uint64_t page = foreign_page(fixture);
    begin(fixture, page, 1);
    assert_int_equal(plan(fixture), 1);
    answer_all(fixture, &fixture->asks[0], 103, 1);
    world_set(fixture->world, SELF, page, 1);
    locate_again(&fixture->locate, 0);
    assert_int_equal(fixture->keys[0].state, LOCATE_FOUND);
    assert_int_equal(fixture->keys[0].places[0].holder, CORE_SELF);
}

/* It has looked there: what such an owner knows is old, and another may know more. */
static void owner_that_names_only_the_asker_has_not_said_no(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, foreign_page(fixture), 1);
    assert_int_equal(plan(fixture), 1);
    answer_all(fixture, &fixture->asks[0], 0, 100);
    assert_int_equal(fixture->keys[0].state, LOCATE_PENDING);
    assert_int_equal(plan(fixture), 1);
    answer_all(fixture, &fixture->asks[0], 103, 1);
    assert_int_equal(fixture->keys[0].state, LOCATE_FOUND);
}

static void nothing_to_look_for(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, 1, 0);
    assert_int_equal(plan(fixture), 0);
}

/* All members that the test plays have told this node everything. */
static void complete_own_shard(struct fixture *fixture)
{
    struct message end = {
        .type = MESSAGE_sync,
        .u.sync = {.kind = SYNC_ENDS, .ring_hash = view_ring_hash(view_of(fixture))}};
    world_pass(fixture->world, 6000); /* the ring of the node alone no longer counts */
    for (uint32_t i = 0; i < 6; i++)
        world_say(fixture->world, SELF, WORLD_CONTROL + i, &end);
    assert_true(view_is_complete(view_of(fixture), end.u.sync.ring_hash));
}

/* It knows all, and names this node, whose pool has the page no more: the other owner may know
 * better. */
static void own_shard_is_not_believed_about_this_node(void **state)
{
    struct fixture *fixture = *state;
    struct location places[CORE_HOLDERS_MAX];
    uint64_t page = 1;
    complete_own_shard(fixture);
    do
        begin(fixture, ++page, 1);
    while (fixture->keys[0].owners[0] != CORE_SELF);
    world_set(fixture->world, SELF, page, 1);
    assert_int_equal(world_holders(fixture->world, SELF, page, places), 1);
    begin(fixture, page, 1);
    locate_again(&fixture->locate, 0);
    assert_int_equal(plan(fixture), 1);
    assert_int_not_equal(fixture->asks[0].peer, CORE_SELF);
    answer_nothing(fixture, &fixture->asks[0], true);
    assert_int_equal(fixture->keys[0].state, LOCATE_UNKNOWN);
}

/* Nobody needs to fall back behind the present ring; then one joins.  A page that it owns now, in
 * place of another. */
static uint64_t page_that_changed_hands(struct fixture *fixture)
{
    struct record_member members[7];
    for (uint32_t i = 0; i < 7; i++)
        members[i] = world_member(100 + i, 1);
    complete_own_shard(fixture);
    world_tell_members(fixture->world, SELF, WORLD_DISCOVERY, 2, members, 7);
    for (uint64_t page = 1;; page++) {
        begin(fixture, page, 1);
        const struct locate_key *key = &fixture->keys[0];
        if (key->n_owners == 3 && key->owners[0] != CORE_SELF && key->owners[1] != CORE_SELF &&
            key->owners[2] != CORE_SELF)
            return page;
    }
}

/* The new owner has not been told yet and the other one happens not to answer: who owned the page
 * by the ring before is asked, and its word that a page is there counts, but not that it is not. */
static void owner_by_the_ring_before_is_asked_last(void **state)
{
    struct fixture *fixture = *state;
    uint64_t page = page_that_changed_hands(fixture);
    for (int is_there = 0; is_there < 2; is_there++) {
        begin(fixture, page, 1);
        struct locate_key *key = &fixture->keys[0];
        assert_int_equal(key->n_present, 2);
        assert_int_equal(plan(fixture), 1);
        assert_int_equal(fixture->asks[0].peer, key->owners[0]);
        locate_fail(&fixture->locate, &fixture->asks[0]);
        assert_int_equal(plan(fixture), 1);
        assert_int_equal(fixture->asks[0].peer, key->owners[1]);
        answer_nothing(fixture, &fixture->asks[0], false);
        assert_int_equal(plan(fixture), 1);
        assert_int_equal(fixture->asks[0].peer, key->owners[2]);
        if (is_there)
            answer_all(fixture, &fixture->asks[0], 103, 1);
        else
            answer_nothing(fixture, &fixture->asks[0], true);
        assert_int_equal(plan(fixture), 0);
        assert_int_equal(key->state, is_there ? LOCATE_FOUND : LOCATE_UNKNOWN);
    }
    /* Nobody need ask it when an owner of today knows all. */
    begin(fixture, page, 1);
    assert_int_equal(plan(fixture), 1);
    answer_nothing(fixture, &fixture->asks[0], true);
    assert_int_equal(plan(fixture), 0);
    assert_int_equal(fixture->keys[0].state, LOCATE_UNKNOWN);
}

static void without_the_ring_before_the_page_is_missed(void **state)
{
    struct fixture *fixture = *state;
    uint64_t page = page_that_changed_hands(fixture);
    assert_true(protection_disable("ring_before"));
    begin(fixture, page, 1);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(plan(fixture), 1);
        answer_nothing(fixture, &fixture->asks[0], false);
    }
    assert_int_equal(plan(fixture), 0);
    assert_int_equal(fixture->keys[0].state, LOCATE_UNKNOWN);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(own_pages_need_no_asking),
        TEST(every_key_is_asked_of_one_owner),
        TEST(more_keys_than_one_message_holds),
        TEST(found_where_the_answer_says),
        TEST(complete_owner_has_the_last_word),
        TEST(owner_that_does_not_know_all_is_not_believed),
        TEST(without_lookup_fallback_the_page_is_missed),
        TEST(owner_that_fails_is_replaced_by_the_next),
        TEST(without_owner_failover_the_page_is_missed),
        TEST(no_owner_is_a_failure_and_an_unsure_one_is_not),
        TEST(owner_behind_an_open_breaker_is_not_asked),
        TEST(probe_carries_all_keys_of_the_call),
        TEST(holder_of_another_life_or_unknown_is_none),
        TEST(without_holder_incarnation_the_former_life_is_believed),
        TEST(answer_with_numbers_out_of_range),
        TEST(holders_are_kept_once_and_no_more_than_there_is_room),
        TEST(page_of_a_holder_in_trouble_is_not_there),
        TEST(looking_again_does_not_believe_what_was_read_in_vain),
        TEST(looking_again_finds_what_came_here_meanwhile),
        TEST(owner_that_names_only_the_asker_has_not_said_no),
        TEST(own_shard_is_not_believed_about_this_node),
        TEST(owner_by_the_ring_before_is_asked_last),
        TEST(without_the_ring_before_the_page_is_missed),
        TEST(nothing_to_look_for),
    };
    return cmocka_run_group_tests_name("core/locate", tests, NULL, NULL);
}
