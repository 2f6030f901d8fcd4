/* SPDX-License-Identifier: Apache-2.0 */
/* sync_test.c - begin, all that the owner should have, end; under the owner's credit. */
#include "core/sync.h"

#include "core/core_test_harness.h"
#include "core/credit.h"

enum { SELF };

static struct world *world_with_pages(uint32_t pages)
{
    struct core_config config = world_config(0);
    struct world *world = world_new();
    config.slot_count = 8192;
    config.pool_bytes = 16 << 20;
    config.directory_limit = 100000;
    world_add(world, &config);
    world_run(world);
    for (uint32_t from = 0; from < pages; from += 250)
        world_set(world, SELF, from, pages - from < 250 ? pages - from : 250);
    return world;
}

static int teardown(void **state)
{
    world_free(*state);
    return 0;
}

static void say_announced(struct world *world, uint32_t link, uint32_t batch)
{
    struct message message = {.type = MESSAGE_announced,
                              .u.announced = {.batch = batch, .credit = 1024}};
    world_say(world, SELF, link, &message);
    world_run(world);
}

struct named {
    uint32_t begins, ends, gained, announces, pages, retracts, forgotten;
    uint32_t under_way; /* at most, in entries */
    uint64_t ring_hash;
};

static void note_sync(struct named *named, const struct message_sync *sync)
{
    named->begins += sync->kind == SYNC_BEGINS;
    named->ends += sync->kind == SYNC_ENDS;
    named->gained += sync->kind == SYNC_TOLD_GAINED;
    named->ring_hash = sync->ring_hash;
}

/* Listens to what is said on @link, answering announces or not, until nothing more comes. */
static struct named listen(struct world *world, uint32_t link, bool answers)
{
    struct named named = {0};
    const struct message *message;
    uint32_t from, batch, n;
    while ((message = world_heard(world, &from))) {
        if (from != link)
            continue;
        if (message->type == MESSAGE_sync)
            note_sync(&named, &message->u.sync);
        if (message->type == MESSAGE_announce) {
            named.announces++;
            named.pages += n = message->u.announce.n_entries;
            batch = message->u.announce.batch;
        } else if (message->type == MESSAGE_retract && message->u.retract.batch) {
            named.retracts++;
            named.forgotten += n = message->u.retract.n_entries;
            batch = message->u.retract.batch;
        } else {
            continue;
        }
        assert_int_equal(batch, SYNC_BATCH | n);
        if (answers)
            say_announced(world, link, batch);
    }
    return named;
}

/* The same for the first @n played members in turn, until all of them are silent. */
static void listen_to_all(struct world *world, uint32_t n, struct named *ret_named)
{
    memset(ret_named, 0, n * sizeof *ret_named);
    const struct message *message;
    uint32_t link;
    while ((message = world_heard(world, &link))) {
        struct named *named = &ret_named[link - WORLD_CONTROL];
        uint32_t batch = 0;
        if (link < WORLD_CONTROL || link >= WORLD_CONTROL + n)
            continue;
        if (message->type == MESSAGE_sync)
            note_sync(named, &message->u.sync);
        if (message->type == MESSAGE_announce) {
            named->pages += message->u.announce.n_entries;
            batch = message->u.announce.batch;
        } else if (message->type == MESSAGE_retract) {
            named->forgotten += message->u.retract.n_entries;
            batch = message->u.retract.batch;
        }
        if (batch)
            say_announced(world, link, batch);
    }
}

static void new_connection_is_told_everything(void **state)
{
    struct world *world = *state = world_with_pages(2000);
    world_add_played(world, SELF, 1);
    struct named named = listen(world, WORLD_CONTROL, true);
    assert_int_equal(named.begins, 1);
    assert_int_equal(named.ends, 1);
    assert_int_equal(named.pages, 2000);
    assert_true(named.ring_hash == view_ring_hash(world->nodes[SELF]->view));
}

static void empty_pool_says_so_too(void **state)
{
    struct world *world = *state = world_with_pages(0);
    world_add_played(world, SELF, 1);
    struct named named = listen(world, WORLD_CONTROL, true);
    assert_int_equal(named.begins, 1);
    assert_int_equal(named.ends, 1);
    assert_int_equal(named.announces, 0);
}

static void without_sync_on_connect_nothing_is_named(void **state)
{
    struct world *world = *state = world_with_pages(100);
    assert_true(protection_disable("sync_on_connect"));
    assert_true(protection_disable("sync_on_ring_change"));
    world_add_played(world, SELF, 1);
    assert_int_equal(listen(world, WORLD_CONTROL, true).pages, 0);
}

/* A newcomer gets a little, then twice as much with each answer, as far as it grants. */
static void owner_is_not_flooded(void **state)
{
    struct world *world = *state = world_with_pages(4000);
    world_add_played(world, SELF, 1);
    struct named named = listen(world, WORLD_CONTROL, false);
    assert_int_equal(named.pages, SYNC_FIRST_CREDIT);
    assert_int_equal(named.ends, 0);
    say_announced(world, WORLD_CONTROL, SYNC_BATCH | SYNC_FIRST_CREDIT);
    named = listen(world, WORLD_CONTROL, false);
    assert_int_equal(named.pages, 2 * SYNC_FIRST_CREDIT);
    say_announced(world, WORLD_CONTROL, SYNC_BATCH | 2 * SYNC_FIRST_CREDIT);
    named = listen(world, WORLD_CONTROL, true);
    assert_int_equal(named.ends, 1);
    assert_int_equal(named.pages, 4000 - 3 * SYNC_FIRST_CREDIT);
}

/* A busy owner grants less than before, and that is all there is under way from then on. */
static void credit_is_obeyed(void **state)
{
    struct world *world = *state = world_with_pages(2000);
    world_add_played(world, SELF, 1);
    struct message answer = {
        .type = MESSAGE_announced,
        .u.announced = {.batch = SYNC_BATCH | SYNC_FIRST_CREDIT, .credit = 20}};
    listen(world, WORLD_CONTROL, false);
    for (int i = 0; i < 10; i++) {
        world_say(world, SELF, WORLD_CONTROL, &answer);
        world_run(world);
        struct named named = listen(world, WORLD_CONTROL, false);
        assert_int_equal(named.announces, 1);
        assert_int_equal(named.pages, 20);
        answer.u.announced.batch = SYNC_BATCH | 20;
    }
    answer.u.announced.credit = 0; /* stops nobody for good */
    world_say(world, SELF, WORLD_CONTROL, &answer);
    world_run(world);
    assert_int_equal(listen(world, WORLD_CONTROL, false).pages, 1);
}

static void without_credit_everything_comes_at_once(void **state)
{
    struct world *world = *state = world_with_pages(4000);
    assert_true(protection_disable("sync_credit"));
    world_add_played(world, SELF, 1);
    assert_int_equal(listen(world, WORLD_CONTROL, false).pages, 4000);
}

/* A set is bounded by itself: what an owner leaves unanswered of a sync does not hold it up. */
static void sets_are_not_held_up_by_a_sync(void **state)
{
    struct world *world = *state = world_with_pages(4000);
    world_add_played(world, SELF, 1);
    listen(world, WORLD_CONTROL, false);
    world_set(world, SELF, 100000, 50);
    uint32_t link;
    const struct message *message = world_heard_type(world, MESSAGE_announce, &link);
    assert_non_null(message);
    assert_int_equal(message->u.announce.n_entries, 50);
    assert_false(message->u.announce.batch & SYNC_BATCH);
}

static struct record_member three_members[3];

static void change_ring(struct world *world, uint64_t version, uint32_t n)
{
    for (uint32_t i = 0; i < 3; i++)
        three_members[i] = world_member(100 + i, 1);
    world_tell_members(world, SELF, WORLD_DISCOVERY, version, three_members, n);
    world_pass(world, 20); /* rings are not built faster */
}

/* A ring that changes again and again does not make a silent owner hear a beginning each time; once
 * it answers it hears everything. */
static void silent_owner_is_not_told_to_begin_again_and_again(void **state)
{
    struct world *world = *state = world_with_pages(4000);
    world_add_played(world, SELF, 1);
    listen(world, WORLD_CONTROL, false);
    uint32_t begins = 0;
    for (uint64_t version = 2; version < 22; version++) {
        change_ring(world, version, version % 2 ? 1 : 3);
        begins += listen(world, WORLD_CONTROL, false).begins;
    }
    assert_int_equal(begins, 0);
    say_announced(world, WORLD_CONTROL, SYNC_BATCH | SYNC_FIRST_CREDIT);
    struct named named = listen(world, WORLD_CONTROL, true);
    assert_int_equal(named.begins, 1);
    assert_int_equal(named.ends, 1);
    assert_int_equal(named.pages, 4000);
    assert_true(named.ring_hash == view_ring_hash(world->nodes[SELF]->view));
}

/* The owners of all pages by the present ring of the node, as a count for each of its peers. */
static void count_owned(struct world *world, uint32_t pages, uint32_t *ret_counts)
{
    const struct core_view *view = world->nodes[SELF]->view;
    const struct ring *ring = ring_borrow(view->rings);
    memset(ret_counts, 0, 16 * sizeof *ret_counts);
    for (uint64_t page = 0; page < pages; page++) {
        uint16_t owners[CORE_OWNERS_MAX];
        uint32_t n = ring_owners(ring, world_position(page), view->directory_replicas, owners);
        for (uint32_t i = 0; i < n; i++)
            ret_counts[owners[i]]++;
    }
    ring_return(view->rings, ring);
}

/* A member leaves: the others are told what they gain, nothing else, and without a beginning. */
static void ring_change_names_what_was_gained(void **state)
{
    struct world *world = *state = world_with_pages(2000);
    uint32_t before[16], after[16];
    struct named named[3];
    world_add_played(world, SELF, 3);
    listen_to_all(world, 3, named);
    count_owned(world, 2000, before);
    change_ring(world, 2, 2);
    listen_to_all(world, 3, named);
    count_owned(world, 2000, after);
    for (uint32_t i = 0; i < 2; i++) {
        uint16_t peer = world_peer(world, SELF, world_id(100 + i), 1);
        assert_int_equal(named[i].begins, 0);
        assert_int_equal(named[i].gained, 1);
        assert_true(named[i].ring_hash == view_ring_hash(world->nodes[SELF]->view));
        assert_int_equal(named[i].pages, after[peer] - before[peer]);
        assert_true(named[i].pages > 100);
    }
    assert_true(protection_disable("sync_on_ring_change"));
    change_ring(world, 3, 1);
    listen_to_all(world, 3, named);
    assert_int_equal(named[0].pages + named[0].gained, 0);
}

/* A member joins: once it has been told, and readers have had time to hear of the new ring, the
 * others are told to forget what they lost, and are told of nothing in between. */
static uint32_t forgotten_after_a_join(void **state, struct named named[3])
{
    struct world *world = *state = world_with_pages(2000);
    uint32_t before[16], after[16], lost = 0;
    world_add_played(world, SELF, 2);
    listen_to_all(world, 3, named);
    world_pass(world, 6000); /* the ring of the node alone is forgotten */
    listen_to_all(world, 3, named);
    count_owned(world, 2000, before);
    change_ring(world, 2, 3);
    world_link_up(world, SELF, WORLD_CONTROL + 2, PURPOSE_CONTROL, world_id(102), 1);
    world_run(world);
    listen_to_all(world, 3, named);
    count_owned(world, 2000, after);
    uint16_t joiner = world_peer(world, SELF, world_id(102), 1);
    assert_int_equal(named[2].begins, 1);
    assert_int_equal(named[2].pages, after[joiner]);
    for (uint16_t peer = 1; peer < joiner; peer++)
        lost += before[peer] - after[peer];
    assert_int_equal(named[0].pages + named[1].pages + named[0].forgotten + named[1].forgotten, 0);
    world_pass(world, 6000);
    listen_to_all(world, 3, named);
    assert_int_equal(named[2].forgotten, 0);
    return lost;
}

static void former_owners_forget_what_they_lost(void **state)
{
    struct named named[3];
    uint32_t lost = forgotten_after_a_join(state, named);
    assert_true(lost > 100);
    assert_int_equal(named[0].forgotten + named[1].forgotten, lost);
    struct core_inspection *inspection = calloc(1, sizeof *inspection);
    struct world *world = *state;
    uint32_t counts[16];
    count_owned(world, 2000, counts);
    core_inspect(world->nodes[SELF]->core, inspection);
    assert_int_equal(inspection->directory_entries, counts[CORE_SELF]); /* the own shard too */
    free(inspection);
}

static void without_forgetting_they_keep_it(void **state)
{
    struct named named[3];
    assert_true(protection_disable("old_owners_forget"));
    forgotten_after_a_join(state, named);
    assert_int_equal(named[0].forgotten + named[1].forgotten, 0);
}

/* Until then a page that is new is told to all of them, and one that went is taken back
 * everywhere. */
static void pages_of_a_change_are_told_to_old_and_new_owners(void **state)
{
    struct world *world = *state = world_with_pages(0);
    struct named named[3];
    uint32_t before[16], after[16];
    world_add_played(world, SELF, 3);
    world_pass(world, 6000);
    listen_to_all(world, 3, named);
    count_owned(world, 200, before);
    change_ring(world, 2, 2); /* one has left; it still is an owner by the ring before */
    listen_to_all(world, 3, named);
    count_owned(world, 200, after);
    change_ring(world, 3, 3); /* and is back */
    world_link_up(world, SELF, WORLD_CONTROL + 2, PURPOSE_CONTROL, world_id(102), 1);
    world_run(world);
    listen_to_all(world, 3, named);
    world_set(world, SELF, 0, 200);
    listen_to_all(world, 3, named);
    for (uint32_t i = 0; i < 2; i++) {
        uint16_t peer = world_peer(world, SELF, world_id(100 + i), 1);
        assert_true(after[peer] > before[peer]);
        assert_int_equal(named[i].pages, after[peer]); /* what it owned while the third was away */
    }
}

/* An owner that does not answer holds up no other.  The forgetting waits for it until it is
 * suspect; when it answers again it is told everything. */
static void silent_owner_does_not_hold_up_the_others(void **state)
{
    struct world *world = *state = world_with_pages(3000);
    uint32_t counts[16];
    world_add_played(world, SELF, 2);
    struct named named = listen(world, WORLD_CONTROL + 1, true);
    count_owned(world, 3000, counts);
    assert_int_equal(named.ends, 1);
    assert_int_equal(named.pages, counts[world_peer(world, SELF, world_id(101), 1)]);

    world_pass(world, 6000);
    assert_int_equal(listen(world, WORLD_CONTROL + 1, true).retracts, 0);
    uint32_t own = counts[CORE_SELF];
    static struct core_inspection inspection;
    core_inspect(world->nodes[SELF]->core, &inspection);
    assert_int_equal(inspection.directory_entries, 3000); /* nothing was forgotten */
    for (uint32_t i = 0; i < 2; i++)
        three_members[i] = world_member(100 + i, 1);
    three_members[0].state = MEMBER_SUSPECT;
    world_tell_members(world, SELF, WORLD_DISCOVERY, 2, three_members, 2);
    world_run(world);
    core_inspect(world->nodes[SELF]->core, &inspection);
    assert_int_equal(inspection.directory_entries, own);

    say_announced(world, WORLD_CONTROL, SYNC_BATCH | SYNC_FIRST_CREDIT);
    named = listen(world, WORLD_CONTROL, true);
    assert_int_equal(named.ends, 1);
    assert_true(named.pages >=
                counts[world_peer(world, SELF, world_id(100), 1)] - SYNC_FIRST_CREDIT);
}

static void own_shard_is_synced_without_messages(void **state)
{
    struct world *world = *state = world_with_pages(1000);
    struct core_inspection *inspection = calloc(1, sizeof *inspection);
    struct location places[CORE_HOLDERS_MAX];
    struct named named[3];
    uint32_t counts[16];
    world_add_played(world, SELF, 3);
    listen_to_all(world, 3, named);
    world_pass(world, 6000);
    listen_to_all(world, 3, named);
    world_run(world);
    core_inspect(world->nodes[SELF]->core, inspection);
    count_owned(world, 1000, counts);
    assert_int_equal(inspection->directory_entries, counts[CORE_SELF]); /* the rest was forgotten */
    world_tell_members(world, SELF, WORLD_DISCOVERY, 2, NULL, 0);
    world_run(world);
    for (uint64_t page = 0; page < 1000; page++)
        assert_int_equal(world_holders(world, SELF, page, places), 1);
    core_inspect(world->nodes[SELF]->core, inspection);
    assert_true(inspection->is_complete);
    free(inspection);
}

/* A rank that is restarted has a new incarnation and the same place on the ring: nobody but itself
 * is told anything, and it gets its shard. */
static void new_life_of_a_member_is_told_alone(void **state)
{
    struct world *world = *state = world_with_pages(2000);
    struct named named[3];
    world_add_played(world, SELF, 3);
    listen_to_all(world, 3, named);
    world_pass(world, 6000);
    listen_to_all(world, 3, named);
    uint64_t hash = view_ring_hash(world->nodes[SELF]->view);
    uint16_t before = world_peer(world, SELF, world_id(101), 1);
    for (uint32_t i = 0; i < 3; i++)
        three_members[i] = world_member(100 + i, i == 1 ? 2 : 1);
    world_tell_members(world, SELF, WORLD_DISCOVERY, 2, three_members, 3);
    world_link_up(world, SELF, WORLD_CONTROL + 1, PURPOSE_CONTROL, world_id(101), 2);
    world_run(world);
    listen_to_all(world, 3, named);
    uint32_t counts[16];
    count_owned(world, 2000, counts);
    uint16_t after = world_peer(world, SELF, world_id(101), 2);
    assert_int_not_equal(before, after);
    assert_true(hash == view_ring_hash(world->nodes[SELF]->view));
    assert_int_equal(counts[before], 0);
    assert_int_equal(named[1].begins, 1);
    assert_int_equal(named[1].pages, counts[after]);
    for (uint32_t i = 0; i < 3; i += 2)
        assert_int_equal(named[i].begins + named[i].gained + named[i].pages + named[i].forgotten,
                         0);
}

/* The other side: this node is the owner.  It knows all once every member has said so under the
 * ring that it has itself. */
static void owner_is_complete_when_all_have_synced(void **state)
{
    struct world *world = *state = world_with_pages(0);
    const struct core_view *view = world->nodes[SELF]->view;
    world_add_played(world, SELF, 2);
    uint64_t hash = view_ring_hash(view);
    struct message begin = {.type = MESSAGE_sync, .u.sync = {.ring_hash = hash}}, end = begin;
    end.u.sync.kind = SYNC_ENDS;
    world_say(world, SELF, WORLD_CONTROL, &begin);
    world_say(world, SELF, WORLD_CONTROL, &end);
    assert_false(view_is_complete(view, hash));
    struct message other = end;
    other.u.sync.ring_hash = hash + 1;
    world_say(world, SELF, WORLD_CONTROL + 1, &begin);
    world_say(world, SELF, WORLD_CONTROL + 1, &other);
    assert_false(view_is_complete(view, hash));
    world_say(world, SELF, WORLD_CONTROL + 1, &begin);
    world_say(world, SELF, WORLD_CONTROL + 1, &end);
    assert_true(view_is_complete(view, hash));
    assert_false(view_is_complete(view, hash + 1));
    assert_false(view_is_complete(view, 0));
    world_say(world, SELF, WORLD_CONTROL + 1, &begin);
    assert_false(view_is_complete(view, hash));
    world_say(world, SELF, WORLD_CONTROL + 1, &end);
    world_break(world, SELF, WORLD_CONTROL + 1);
    assert_false(view_is_complete(view, hash));
}

/* Eight hundred holders come at once: together they are granted a fixed amount, and each of them
 * its share; when the others have ended, the last one gets more. */
static void many_holders_do_not_flood_a_joiner(void **state)
{
    enum { HOLDERS = 800 };
    struct world *world = *state = world_with_pages(0);
    world_add_played(world, SELF, HOLDERS);
    struct record_entry entry = {.place = {.length_bytes = 5, .generation = 1}};
    struct message begin = {.type = MESSAGE_sync, .u.sync = {.kind = SYNC_BEGINS}}, end = begin;
    struct message announce = {
        .type = MESSAGE_announce,
        .u.announce = {.batch = SYNC_BATCH | 1, .entries = &entry, .n_entries = 1}};
    end.u.sync.kind = SYNC_ENDS;
    for (uint32_t i = 0; i < HOLDERS; i++)
        world_say(world, SELF, WORLD_CONTROL + i, &begin);
    world_forget_heard(world);
    uint32_t granted = 0, answers = 0;
    const struct message *message;
    for (uint32_t i = 0; i < HOLDERS; i++) {
        entry.digest = world_digest(i);
        world_say(world, SELF, WORLD_CONTROL + i, &announce);
    }
    for (; (message = world_heard_type(world, MESSAGE_announced, NULL)); answers++)
        granted += message->u.announced.credit;
    assert_int_equal(answers, HOLDERS);
    assert_in_range(granted, CREDIT_TOTAL / 2, CREDIT_TOTAL);
    for (uint32_t i = 1; i < HOLDERS - 1; i++)
        world_say(world, SELF, WORLD_CONTROL + i, &end);
    world_break(world, SELF, WORLD_CONTROL + HOLDERS - 1); /* in the middle of its sync */
    world_say(world, SELF, WORLD_CONTROL, &announce);
    message = world_heard_type(world, MESSAGE_announced, NULL);
    assert_int_equal(message->u.announced.credit, CREDIT_A_HOLDER_MAX);
}

#define TEST(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(new_connection_is_told_everything),
        TEST(empty_pool_says_so_too),
        TEST(without_sync_on_connect_nothing_is_named),
        TEST(owner_is_not_flooded),
        TEST(silent_owner_is_not_told_to_begin_again_and_again),
        TEST(credit_is_obeyed),
        TEST(without_credit_everything_comes_at_once),
        TEST(sets_are_not_held_up_by_a_sync),
        TEST(ring_change_names_what_was_gained),
        TEST(former_owners_forget_what_they_lost),
        TEST(without_forgetting_they_keep_it),
        TEST(pages_of_a_change_are_told_to_old_and_new_owners),
        TEST(silent_owner_does_not_hold_up_the_others),
        TEST(new_life_of_a_member_is_told_alone),
        TEST(own_shard_is_synced_without_messages),
        TEST(many_holders_do_not_flood_a_joiner),
        TEST(owner_is_complete_when_all_have_synced),
    };
    return cmocka_run_group_tests_name("core/sync", tests, NULL, NULL);
}
