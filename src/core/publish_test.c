/* SPDX-License-Identifier: Apache-2.0 */
/* publish_test.c - a set's way: reserve, seal, announce, answer; and what may come between. */
#include "core/publish.h"

#include "core/core_test_harness.h"

enum { SELF };

static struct world *world_with(uint32_t members, uint32_t replicas)
{
    struct core_config config = world_config(0);
    struct world *world = world_new();
    config.directory_replicas = replicas;
    config.slot_count = 4096;
    config.pool_bytes = 8 << 20;
    world_add(world, &config);
    if (members)
        world_add_played(world, SELF, members);
    world_pass(world, 6000); /* the ring of the node alone no longer counts */
    world_forget_heard(world);
    return world;
}

static int teardown(void **state)
{
    world_free(*state);
    return 0;
}

static void answer(struct world *world, uint32_t link, uint32_t batch,
                   const struct record_index *refused, uint32_t n_refused)
{
    struct message message = {
        .type = MESSAGE_announced,
        .u.announced = {.batch = batch, .credit = 9, .refused = refused, .n_refused = n_refused}};
    world_say(world, SELF, link, &message);
}

/* Takes the next announce: its link, batch and length. */
static bool next_announce(struct world *world, uint32_t *ret_link, uint32_t *ret_batch,
                          uint32_t *ret_n)
{
    const struct message *message = world_heard_type(world, MESSAGE_announce, ret_link);
    if (!message)
        return false;
    *ret_batch = message->u.announce.batch;
    *ret_n = message->u.announce.n_entries;
    return true;
}

static uint32_t count_recorded(const struct world *world, uint32_t op)
{
    const struct core_completion *done = world_done(world, SELF, op);
    assert_non_null(done);
    return world->nodes[SELF]->recorded[done - world->nodes[SELF]->done];
}

/* One message an owner for the whole batch; all of them are waited for. */
static void set_ends_when_its_owners_have_answered(void **state)
{
    struct world *world = *state = world_with(2, 2);
    uint32_t link, batch, n, announced = 0, op = world_set(world, SELF, 1, 100);
    assert_null(world_done(world, SELF, op));
    for (int owner = 0; owner < 2; owner++) {
        assert_null(world_done(world, SELF, op));
        assert_true(next_announce(world, &link, &batch, &n));
        announced += n;
        answer(world, link, batch, NULL, 0);
    }
    assert_false(next_announce(world, &link, &batch, &n));
    assert_int_equal(world_done(world, SELF, op)->error, 0);
    struct location places[CORE_HOLDERS_MAX];
    for (uint64_t page = 1; page <= 100; page++)
        announced += (uint32_t)world_holders(world, SELF, page, places);
    assert_int_equal(announced, 200);
}

static void set_of_a_lonely_node_ends_in_its_own_step(void **state)
{
    struct world *world = *state = world_with(0, 2);
    uint32_t op = world_set(world, SELF, 1, 10);
    assert_int_equal(world_done(world, SELF, op)->error, 0);
    assert_int_equal(count_recorded(world, op), 1);
}

static void refused_entry_is_not_recorded(void **state)
{
    static const struct record_index refused[] = {{0}, {300}}; /* 300 is none of the batch's */
    struct world *world = *state = world_with(1, 2);
    uint32_t link, batch, n, op = world_set(world, SELF, 1, 1);
    assert_true(next_announce(world, &link, &batch, &n));
    answer(world, link, batch, refused, 2);
    assert_int_equal(count_recorded(world, op), 1); /* the own shard has it */

    world_free(world);
    world = *state = world_with(4, 1);
    uint64_t page = 1;
    do
        op = world_set(world, SELF, page++, 1); /* until it is another's */
    while (world_done(world, SELF, op));
    assert_true(next_announce(world, &link, &batch, &n));
    answer(world, link, batch, refused, 2);
    assert_int_equal(world_done(world, SELF, op)->error, -EAGAIN);
    assert_int_equal(count_recorded(world, op), 0);
}

static void answers_that_fit_nothing_are_ignored(void **state)
{
    struct world *world = *state = world_with(2, 3);
    uint32_t links[2], batches[2], n, op = world_set(world, SELF, 1, 1);
    for (int i = 0; i < 2; i++)
        assert_true(next_announce(world, &links[i], &batches[i], &n));
    answer(world, links[1], batches[0], NULL, 0);             /* of another's batch */
    answer(world, links[0], batches[0] + (1 << 16), NULL, 0); /* of the next use of its place */
    answer(world, links[0], 0xffff, NULL, 0);
    answer(world, links[0], 5000, NULL, 0);
    answer(world, links[1], batches[1], NULL, 0);
    answer(world, links[1], batches[1], NULL, 0); /* twice */
    assert_null(world_done(world, SELF, op));
    answer(world, links[0], batches[0], NULL, 0);
    assert_non_null(world_done(world, SELF, op));
}

/* After the time that a peer which is alive needs to be connected to again. */
static void lost_connection_is_an_answer(void **state)
{
    struct world *world = *state = world_with(1, 2);
    uint32_t op = world_set(world, SELF, 1, 10);
    world_break(world, SELF, WORLD_CONTROL);
    world_pass(world, 99);
    assert_null(world_done(world, SELF, op));
    op = world_set(world, SELF, 100, 10); /* and nobody waits for it now */
    assert_non_null(world_done(world, SELF, op));
    world_pass(world, 1);
    assert_int_equal(world->nodes[SELF]->n_done, 2);
}

/* The set that was under way is confirmed by the same owner after all. */
static void pages_are_announced_again_over_the_next_connection(void **state)
{
    struct world *world = *state = world_with(1, 2);
    uint32_t link, batch, again, n, op = world_set(world, SELF, 1, 10);
    assert_true(next_announce(world, &link, &batch, &n));
    world_break(world, SELF, WORLD_CONTROL);
    world_forget_heard(world);
    world_link_up(world, SELF, WORLD_CONTROL, PURPOSE_CONTROL, world_id(100), 1);
    while (next_announce(world, &link, &again, &n))
        if (again == batch) {
            assert_int_equal(n, 10);
            assert_null(world_done(world, SELF, op));
            answer(world, link, again, NULL, 0);
        }
    assert_int_equal(world_done(world, SELF, op)->error, 0);
    assert_int_equal(count_recorded(world, op), 1);
}

/* An owner that does not answer is told and not waited for, once its breaker is open. */
static void silent_owner_is_waited_for_once(void **state)
{
    struct world *world = *state = world_with(1, 2);
    uint32_t link, batch, n, op = world_set(world, SELF, 1, 1);
    assert_true(next_announce(world, &link, &batch, &n));
    world->now_ns += 300 * WORLD_MS;
    struct core_event cancel = {.type = CORE_CANCEL, .u.set.op = op};
    world_step(world, SELF, &cancel);
    op = world_set(world, SELF, 2, 1);
    assert_non_null(world_done(world, SELF, op));
    assert_true(next_announce(world, &link, &batch, &n));
    assert_int_equal(n, 1);
    answer(world, link, batch, NULL, 0); /* late, of nobody's interest */
    assert_int_equal(world->nodes[SELF]->n_done, 1);
}

/* The set does not go on until its deadline: what the other owner said counts, and the silent one
 * is suspected. */
static void owner_silent_for_too_long_is_not_waited_for(void **state)
{
    struct world *world = *state = world_with(2, 3);
    uint32_t link, batch, n, op = world_set(world, SELF, 1, 10);
    uint16_t silent = world_peer(world, SELF, world_id(101), 1);
    while (next_announce(world, &link, &batch, &n))
        if (link == WORLD_CONTROL)
            answer(world, link, batch, NULL, 0);
    world_pass(world, 499);
    assert_null(world_done(world, SELF, op));
    assert_true(view_peer_trusted(world->nodes[SELF]->view, silent));
    world_pass(world, 1);
    assert_int_equal(count_recorded(world, op), 1);
    assert_false(view_peer_trusted(world->nodes[SELF]->view, silent));
    op = world_set(world, SELF, 100, 10);
    while (next_announce(world, &link, &batch, &n))
        if (link == WORLD_CONTROL)
            answer(world, link, batch, NULL, 0);
    assert_int_equal(count_recorded(world, op), 1);
}

/* A caller that was in a hurry proves nothing about the owner. */
static void hasty_cancel_blames_nobody(void **state)
{
    struct world *world = *state = world_with(1, 2);
    uint32_t op = world_set(world, SELF, 1, 1);
    struct core_event cancel = {.type = CORE_CANCEL, .u.set.op = op};
    world_step(world, SELF, &cancel);
    op = world_set(world, SELF, 2, 1);
    assert_null(world_done(world, SELF, op));
}

/* The number of an operation that is over names no other one; what comes late for it is lost. */
static void numbers_are_not_used_again_soon(void **state)
{
    struct world *world = *state = world_with(1, 2);
    uint32_t link, batch, n, first_batch, op = world_set(world, SELF, 1, 1);
    assert_true(next_announce(world, &link, &first_batch, &n));
    struct core_event cancel = {.type = CORE_CANCEL, .u.set.op = op};
    world_step(world, SELF, &cancel);
    for (uint64_t page = 2; page < 50; page++) {
        uint32_t next = world_set(world, SELF, page, 1);
        assert_int_not_equal(next, op);
        assert_true(next_announce(world, &link, &batch, &n));
        assert_int_not_equal(batch, first_batch);
        cancel.u.set.op = op; /* late, for the wrong one */
        world_step(world, SELF, &cancel);
        answer(world, link, first_batch, NULL, 0);
        assert_null(world_done(world, SELF, next));
        answer(world, link, batch, NULL, 0);
        assert_non_null(world_done(world, SELF, next));
    }
}

/* More replies are outstanding than there are places to remember them: the owner is still told. */
static void owner_is_told_even_when_no_reply_can_be_awaited(void **state)
{
    struct world *world = *state = world_with(1, 2);
    uint32_t link, batch, n, announced = 0, op = 0;
    for (uint64_t page = 1; page <= 1100; page++) {
        op = world_set(world, SELF, page, 1);
        struct core_event cancel = {.type = CORE_CANCEL, .u.set.op = op};
        if (!world_done(world, SELF, op))
            world_step(world, SELF, &cancel);
        while (next_announce(world, &link, &batch, &n))
            announced += n;
    }
    assert_int_equal(announced, 1100);
    assert_non_null(world_done(world, SELF, op));
}

static void too_many_sets_at_a_time_are_refused(void **state)
{
    struct world *world = *state = world_with(0, 2);
    uint32_t ops[PUBLISH_OPS_MAX];
    struct core_page pages[PUBLISH_OPS_MAX], page;
    for (uint32_t i = 0; i < PUBLISH_OPS_MAX; i++) {
        pages[i] = world_page(i);
        ops[i] = world_reserve(world, SELF, &pages[i], 1);
        assert_int_not_equal(ops[i], PUBLISH_OP_NONE);
    }
    page = world_page(1000);
    assert_int_equal(world_reserve(world, SELF, &page, 1), PUBLISH_OP_NONE);
    assert_int_equal(page.error, -EBUSY);
    world_copied(world, SELF, ops[9], &pages[9], 1);
    assert_int_not_equal(world_reserve(world, SELF, &page, 1), PUBLISH_OP_NONE);
}

/* Some pages of a batch are there already, some do not fit, some are given up while copying. */
static void each_page_of_a_batch_has_its_own_fate(void **state)
{
    struct world *world = *state = world_with(0, 2);
    struct core_page pages[4] = {world_page(1), world_page(2), world_page(3), world_page(2)};
    struct core_inspection *inspection = calloc(1, sizeof *inspection);
    struct location place;
    world_set(world, SELF, 1, 1);
    pages[2].length_bytes = 9 << 20;
    uint32_t op = world_reserve(world, SELF, pages, 4);
    assert_int_equal(pages[0].error, -EEXIST);
    assert_int_equal(pages[1].error, 0);
    assert_int_equal(pages[2].error, -EFBIG);
    assert_int_equal(pages[3].error, -EEXIST); /* twice in one batch */
    pages[1].error = -ETIMEDOUT;
    world_copied(world, SELF, op, pages, 4);
    assert_non_null(world_done(world, SELF, op));
    assert_int_equal(view_own_page(world->nodes[SELF]->view, world_digest(2), &place), -ENOENT);
    core_inspect(world->nodes[SELF]->core, inspection);
    assert_int_equal(inspection->pool.filling_pages, 0);
    assert_int_equal(inspection->pool.live_pages, 1);
    assert_int_equal(inspection->directory_entries, 1);
    free(inspection);
    op = world_reserve(world, SELF, pages, 1); /* nothing reserved: no operation */
    assert_int_equal(op, PUBLISH_OP_NONE);
}

/* Bytes are announced when they are there: at the announce the slot is sealed.  Switched off, the
 * page is in the directory while its bytes are still being copied. */
static void page_is_announced_after_it_is_sealed(void **state)
{
    for (int is_off = 0; is_off < 2; is_off++) {
        struct world *world = *state = world_with(0, 2);
        struct core_page page = world_page(1);
        struct location places[CORE_HOLDERS_MAX];
        if (is_off)
            assert_true(protection_disable("publish_after_seal"));
        world_reserve(world, SELF, &page, 1);
        assert_int_equal(world_holders(world, SELF, 1, places), is_off);
        if (!is_off)
            world_free(world);
    }
}

/* Pages that went are taken back at their owners, in one message an owner. */
static void evicted_pages_are_retracted(void **state)
{
    struct world *world = *state = world_with(2, 3);
    const struct message *message;
    struct location places[CORE_HOLDERS_MAX];
    uint32_t retracted[2] = {0}, messages = 0, link, kept = 0;
    for (uint64_t from = 0; from < 8500; from += 250) {
        world_set(world, SELF, from, 250);
        while ((message = world_heard(world, &link)))
            if (message->type == MESSAGE_announce) {
                answer(world, link, message->u.announce.batch, NULL, 0);
            } else if (message->type == MESSAGE_retract) {
                retracted[link - WORLD_CONTROL] += message->u.retract.n_entries;
                messages++;
            }
    }
    for (uint64_t page = 0; page < 8500; page++)
        kept += view_own_page(world->nodes[SELF]->view, world_digest(page), places) == 0;
    assert_int_equal(retracted[0], 8500 - kept);
    assert_int_equal(retracted[1], 8500 - kept);
    assert_true(messages < 2 * 8500 / 50);
    for (uint64_t page = 0; page < 8500; page++)
        assert_int_equal(world_holders(world, SELF, page, places),
                         view_own_page(world->nodes[SELF]->view, world_digest(page), places) == 0);
}

/* With 1,000 members every page of a batch has owners of its own. */
static void batch_whose_owners_all_differ(void **state)
{
    struct world *world = *state = world_with(1000, 4);
    uint32_t link, batch, n, announced = 0, op;
    for (uint64_t from = 1; from < 2000; from += 256) {
        op = world_set(world, SELF, from, 256);
        while (next_announce(world, &link, &batch, &n)) {
            announced += n;
            answer(world, link, batch, NULL, 0);
        }
        world_run(world);
        assert_non_null(world_done(world, SELF, op));
    }
    assert_in_range(announced, 8 * 256 * 4 * 9 / 10, 8 * 256 * 4);
}

#define TEST(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(set_ends_when_its_owners_have_answered),
        TEST(set_of_a_lonely_node_ends_in_its_own_step),
        TEST(refused_entry_is_not_recorded),
        TEST(answers_that_fit_nothing_are_ignored),
        TEST(lost_connection_is_an_answer),
        TEST(pages_are_announced_again_over_the_next_connection),
        TEST(silent_owner_is_waited_for_once),
        TEST(owner_silent_for_too_long_is_not_waited_for),
        TEST(hasty_cancel_blames_nobody),
        TEST(numbers_are_not_used_again_soon),
        TEST(owner_is_told_even_when_no_reply_can_be_awaited),
        TEST(too_many_sets_at_a_time_are_refused),
        TEST(each_page_of_a_batch_has_its_own_fate),
        TEST(page_is_announced_after_it_is_sealed),
        TEST(evicted_pages_are_retracted),
        TEST(batch_whose_owners_all_differ),
    };
    return cmocka_run_group_tests_name("core/publish", tests, NULL, NULL);
}
