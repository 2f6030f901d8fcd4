/* SPDX-License-Identifier: Apache-2.0 */
/* namespaces_test.c - a clear is over when all alive members have heard of it, and not before. */
#include "core/namespaces.h"

#include "core/core_test_harness.h"

enum { SELF };

static const struct id128 identity = {1, 2};

static int setup(void **state)
{
    struct core_config config = world_config(0);
    struct world *world = world_new();
    world_add(world, &config);
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    world_free(*state);
    return 0;
}

static uint32_t clear(struct world *world, struct id128 id)
{
    uint32_t op = UINT32_MAX;
    uint64_t epoch;
    struct core_event event = {.type = CORE_CLEAR,
                               .u.clear = {.identity = id, .ret_epoch = &epoch, .ret_op = &op}};
    world_step(world, SELF, &event);
    return op;
}

static void heard(struct world *world, uint32_t member, uint32_t batch)
{
    struct message message = {.type = MESSAGE_heard, .u.heard.batch = batch};
    world_say(world, SELF, WORLD_CONTROL + member, &message);
}

static uint64_t epoch_of(const struct world *world, struct id128 id)
{
    return view_epoch(world->nodes[SELF]->view, id);
}

static void clear_waits_for_every_member(void **state)
{
    struct world *world = *state;
    const struct message *message;
    uint32_t links = 0, link, batch = 0;
    world_add_played(world, SELF, 3);
    world_forget_heard(world);
    uint32_t op = clear(world, identity);
    while ((message = world_heard_type(world, MESSAGE_epochs, &link))) {
        assert_int_equal(message->u.epochs.n_entries, 1);
        assert_int_equal(namespaces_epoch_count(message->u.epochs.entries[0].epoch), 1);
        batch = message->u.epochs.batch;
        links++;
    }
    assert_int_equal(links, 3);
    assert_int_equal(namespaces_epoch_count(epoch_of(world, identity)), 1);
    heard(world, 0, batch);
    heard(world, 0, batch); /* the same one twice is one */
    heard(world, 1, batch);
    heard(world, 2, batch + 256); /* an answer to something else */
    assert_null(world_done(world, SELF, op));
    heard(world, 2, batch);
    assert_int_equal(world_done(world, SELF, op)->error, 0);
}

static void member_that_is_gone_is_not_waited_for(void **state)
{
    struct world *world = *state;
    world_add_played(world, SELF, 1);
    uint32_t op = clear(world, identity);
    assert_null(world_done(world, SELF, op));
    world_break(world, SELF, WORLD_CONTROL); /* it may come back, so it is waited for */
    assert_null(world_done(world, SELF, op));
    world_tell_members(world, SELF, WORLD_DISCOVERY, 2, NULL, 0);
    assert_non_null(world_done(world, SELF, op));
}

static void suspect_member_is_not_waited_for(void **state)
{
    struct world *world = *state;
    world_add_played(world, SELF, 1);
    struct record_member member = world_member(100, 1);
    member.state = MEMBER_SUSPECT;
    world_tell_members(world, SELF, WORLD_DISCOVERY, 2, &member, 1);
    assert_non_null(world_done(world, SELF, clear(world, identity)));
}

/* Its caller learns that not all have heard; the hung one hears all the same when it goes on. */
static void hung_member_is_waited_for_a_second_and_once(void **state)
{
    struct world *world = *state;
    const struct message *message;
    uint32_t link, batch = 0, batches[2] = {0};
    world_add_played(world, SELF, 2);
    world_forget_heard(world);
    for (int turn = 0; turn < 2; turn++) {
        uint32_t op = clear(world, identity);
        while ((message = world_heard_type(world, MESSAGE_epochs, &link)))
            if ((batch = message->u.epochs.batch) && link == WORLD_CONTROL)
                heard(world, 0, batch);
        batches[turn] = batch;
        if (turn == 0) {
            world_pass(world, 999);
            assert_null(world_done(world, SELF, op));
            world_pass(world, 1);
        }
        assert_int_equal(world_done(world, SELF, op)->error, -ETIMEDOUT);
    }
    heard(world, 1, batches[1]); /* nobody waits for that */
    assert_int_equal(world->nodes[SELF]->n_done, 2);
}

/* What was asked over the old connection is asked again over the new one. */
static void reconnected_member_is_asked_again(void **state)
{
    struct world *world = *state;
    const struct message *message;
    bool was_asked = false;
    world_add_played(world, SELF, 1);
    uint32_t op = clear(world, identity);
    world_break(world, SELF, WORLD_CONTROL);
    world_forget_heard(world);
    world_link_up(world, SELF, WORLD_CONTROL, PURPOSE_CONTROL, world_id(100), 1);
    while ((message = world_heard_type(world, MESSAGE_epochs, NULL)))
        if (message->u.epochs.batch) {
            was_asked = true;
            heard(world, 0, message->u.epochs.batch);
        }
    assert_true(was_asked);
    assert_non_null(world_done(world, SELF, op));
}

/* It goes on as another life, which has kept its pages. */
static void next_life_of_a_member_is_waited_for(void **state)
{
    struct world *world = *state;
    const struct message *message;
    struct record_member reborn = world_member(100, 2);
    world_add_played(world, SELF, 1);
    uint32_t op = clear(world, identity);
    world_forget_heard(world);
    world_tell_members(world, SELF, WORLD_DISCOVERY, 2, &reborn, 1);
    assert_null(world_done(world, SELF, op));
    world_link_up(world, SELF, WORLD_CONTROL + 1, PURPOSE_CONTROL, world_id(100), 2);
    while ((message = world_heard_type(world, MESSAGE_epochs, NULL)))
        if (message->u.epochs.batch)
            heard(world, 1, message->u.epochs.batch);
    assert_int_equal(world_done(world, SELF, op)->error, 0);
}

/* The caller gave up: the epoch has risen, a late answer ends nothing, and the place is free. */
static void cancelled_clear_goes_on_without_its_caller(void **state)
{
    struct world *world = *state;
    world_add_played(world, SELF, 1);
    for (int i = 0; i < 3 * CLEARS_MAX; i++) {
        uint32_t op = clear(world, identity);
        struct core_event cancel = {.type = CORE_CANCEL, .u.set.op = op};
        assert_int_not_equal(op, 0);
        world_step(world, SELF, &cancel);
        heard(world, 0, op);
        assert_null(world_done(world, SELF, op));
    }
    assert_int_equal(namespaces_epoch_count(epoch_of(world, identity)), 3 * CLEARS_MAX);
}

static void say_epoch(struct world *world, uint32_t member, uint64_t epoch)
{
    struct record_epoch entry = {identity, epoch};
    struct message message = {.type = MESSAGE_epochs,
                              .u.epochs = {.entries = &entry, .n_entries = 1}};
    world_say(world, SELF, WORLD_CONTROL + member, &message);
}

/* A member that has not heard either of two clears of this node passes on what others told it. */
static void own_clears_do_not_chase_each_other(void **state)
{
    struct world *world = *state;
    world_add_played(world, SELF, 1);
    clear(world, identity);
    clear(world, identity);
    uint64_t epoch = epoch_of(world, identity);
    say_epoch(world, 0, epoch);
    assert_true(epoch_of(world, identity) == epoch);
}

/* It was there when the clear began, and has not heard of it, whichever round it is by now: that
 * not all have heard is what the caller is told. */
static void member_that_falls_silent_counts_in_later_rounds(void **state)
{
    struct world *world = *state;
    world_add_played(world, SELF, 2);
    uint32_t op = clear(world, identity);
    struct record_member members[2] = {world_member(100, 1), world_member(101, 1)};
    members[0].state = MEMBER_SUSPECT;
    world_tell_members(world, SELF, WORLD_DISCOVERY, 2, members, 2);
    world_forget_heard(world);
    say_epoch(world, 1, epoch_of(world, identity) + 1);
    const struct message *message = world_heard_type(world, MESSAGE_epochs, NULL);
    assert_non_null(message);
    heard(world, 1, message->u.epochs.batch);
    assert_int_equal(world_done(world, SELF, op)->error, -ETIMEDOUT);
}

/* Nor do those of two nodes at the speed of the network: whoever waits sees a timeout, and the
 * clear goes on at leisure. */
static void clears_of_two_nodes_chase_each_other_slowly(void **state)
{
    struct world *world = *state;
    world_add_played(world, SELF, 1);
    clear(world, identity);
    for (int i = 0; i < 1000; i++)
        say_epoch(world, 0, epoch_of(world, identity) + (UINT64_C(1) << 32) + 1);
    assert_in_range(namespaces_epoch_count(epoch_of(world, identity)), 1000, 1020);
    world_forget_heard(world);
    say_epoch(world, 0, epoch_of(world, identity) + 1);
    assert_null(world_heard_type(world, MESSAGE_epochs, NULL));
    world_pass(world, 1000);
    say_epoch(world, 0, epoch_of(world, identity) + 1);
    assert_non_null(world_heard_type(world, MESSAGE_epochs, NULL));
}

static void too_many_clears_at_a_time_are_refused(void **state)
{
    struct world *world = *state;
    uint32_t ops[CLEARS_MAX];
    world_add_played(world, SELF, 1);
    for (uint32_t i = 0; i < CLEARS_MAX; i++) {
        ops[i] = clear(world, (struct id128){9, i});
        for (uint32_t j = 0; j < i; j++)
            assert_int_not_equal(ops[i], ops[j]);
    }
    assert_int_equal(clear(world, identity), 0);
    assert_int_equal(epoch_of(world, identity), 0);
    heard(world, 0, ops[5]);
    uint32_t op = clear(world, identity);
    assert_int_not_equal(op, 0);
    assert_int_not_equal(op, ops[5]); /* the place is used again, the number is not */
    heard(world, 0, ops[5]);
    assert_null(world_done(world, SELF, op));
}

static void epoch_never_falls(void **state)
{
    struct namespaces *namespaces;
    struct record_epoch epoch = {identity, 5};
    (void)state;
    assert_int_equal(namespaces_new(&namespaces), 0);
    assert_true(namespaces_hear(namespaces, &epoch));
    assert_false(namespaces_hear(namespaces, &epoch));
    epoch.epoch = 4;
    assert_false(namespaces_hear(namespaces, &epoch));
    assert_int_equal(namespaces_epoch(namespaces, identity), 5);
    namespaces_free(namespaces);
}

/* One forged message must not use up the epochs: the next clear would clear nothing. */
static void epoch_far_ahead_is_not_believed(void **state)
{
    struct namespaces *namespaces;
    struct record_epoch forged = {identity, UINT64_MAX}, near = {identity, UINT64_C(5) << 32};
    (void)state;
    assert_int_equal(namespaces_new(&namespaces), 0);
    assert_false(namespaces_hear(namespaces, &forged));
    assert_int_equal(namespaces_epoch(namespaces, identity), 0);
    assert_true(namespaces_hear(namespaces, &near));
    namespaces_free(namespaces);
}

static void no_more_namespaces_than_there_is_room_for(void **state)
{
    struct world *world = *state;
    for (uint32_t i = 0; i < NAMESPACES_MAX; i++)
        assert_int_not_equal(clear(world, (struct id128){9, i}), 0);
    assert_int_equal(clear(world, identity), 0);
    assert_int_not_equal(clear(world, (struct id128){9, 17}), 0);
    assert_int_equal(namespaces_epoch_count(epoch_of(world, (struct id128){9, 17})), 2);
}

/* All of them are told to who has just been connected: in messages of bounded length. */
static void new_connection_is_told_all_epochs(void **state)
{
    struct world *world = *state;
    const struct message *message;
    uint32_t told = 0;
    for (uint32_t i = 0; i < NAMESPACES_MAX; i++)
        clear(world, (struct id128){9, i});
    world_add_played(world, SELF, 1);
    while ((message = world_heard_type(world, MESSAGE_epochs, NULL)))
        told += message->u.epochs.n_entries;
    assert_int_equal(told, NAMESPACES_MAX);
}

/* A cleared page is not found again, because its key has another digest; unless the epoch is not in
 * there. */
static void epoch_makes_another_digest(void **state)
{
    (void)state;
    struct id128 before = hash_page_digest(identity, 0, "page", 4);
    assert_false(id128_equal(before, hash_page_digest(identity, 1, "page", 4)));
    assert_true(protection_disable("epoch_in_digest"));
    assert_true(id128_equal(hash_page_digest(identity, 0, "page", 4),
                            hash_page_digest(identity, 1, "page", 4)));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(clear_waits_for_every_member),
        TEST(member_that_is_gone_is_not_waited_for),
        TEST(suspect_member_is_not_waited_for),
        TEST(hung_member_is_waited_for_a_second_and_once),
        TEST(reconnected_member_is_asked_again),
        TEST(next_life_of_a_member_is_waited_for),
        TEST(cancelled_clear_goes_on_without_its_caller),
        TEST(own_clears_do_not_chase_each_other),
        TEST(member_that_falls_silent_counts_in_later_rounds),
        TEST(clears_of_two_nodes_chase_each_other_slowly),
        TEST(too_many_clears_at_a_time_are_refused),
        TEST(epoch_never_falls),
        TEST(epoch_far_ahead_is_not_believed),
        TEST(no_more_namespaces_than_there_is_room_for),
        TEST(new_connection_is_told_all_epochs),
        TEST(epoch_makes_another_digest),
    };
    return cmocka_run_group_tests_name("core/namespaces", tests, NULL, NULL);
}
