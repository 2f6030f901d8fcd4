/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rails_test.c - which devices rails_open() takes, what it says when it takes none, and whose queue
 * pairs go when they are all in use.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "io/rdma/link_internal.h"
#include "io/rdma/rails.h"
#include "live.h"

enum { DEVICES = 3, LINKS = 4 };

static struct model *model;
static struct live *live;
static struct metrics metrics;
static char reason[RAILS_REASON_BYTES];

static int setup(void **state)
{
    struct model_settings settings = model_settings_default(1);
    (void)state;
    model = model_new(&settings);
    live = live_new(model);
    for (uint8_t i = 0; i < DEVICES; i++)
        model_add_device(model, (const char *[]){"zero", "one", "two"}[i], i);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    struct model_counts counts = model_counts(model);
    assert_int_equal(counts.devices_open + counts.completion_queues + counts.memories, 0);
    live_free(live);
    model_free(model);
    return 0;
}

static int open_rails(const char *names, uint64_t spread, struct rails **ret_rails)
{
    struct rails_setup wishes = {.verbs = live_verbs(live),
                                 .wishes = {names, 1, GID_INDEX_AUTO},
                                 .spread = spread,
                                 .metrics = &metrics};
    reason[0] = 0;
    return rails_open(&wishes, ret_rails, reason);
}

/* --- devices ---------------------------------------------------------------------------------- */

static void without_names_a_process_takes_one(void **state)
{
    static const char *const names[DEVICES] = {"zero", "one", "two"};
    struct rails *rails;
    (void)state;
    for (uint64_t spread = 0; spread < 2 * DEVICES; spread++) {
        assert_int_equal(open_rails("", spread, &rails), 0);
        assert_int_equal(rails->n, 1);
        assert_string_equal(rails->list[0].name, names[spread % DEVICES]);
        rails_close(rails);
    }
}

static void those_that_are_named_are_taken_all(void **state)
{
    struct rails *rails;
    (void)state;
    assert_int_equal(open_rails("two,zero", 0, &rails), 0);
    assert_int_equal(rails->n, 2);
    for (uint32_t i = 0; i < rails->n; i++) {
        assert_int_equal(rails->list[i].index, i);
        assert_string_not_equal(rails->list[i].name, "one");
    }
    rails_close(rails);
}

static void one_that_fails_is_left_out(void **state)
{
    struct rails *rails;
    (void)state;
    model_remove_device(model, "one");
    assert_int_equal(open_rails("zero,one", 0, &rails), 0);
    assert_int_equal(rails->n, 1);
    assert_string_equal(rails->list[0].name, "zero");
    rails_close(rails);
}

static void keep_line(void *context, enum log_level level, const char *line)
{
    (void)context;
    if (level == LOG_LEVEL_WARNING && strstr(line, "rdma_device_left_out"))
        snprintf(reason + strlen(reason), sizeof reason - strlen(reason), "%s\n",
                 strstr(line, "device="));
}

/* Whoever names devices counts on all of them. */
static void named_devices_that_are_not_taken_are_told(void **state)
{
    struct log_sink sink = {.write = keep_line};
    struct rails *rails;
    (void)state;
    model_set_port(model, "two", false);
    log_set_sink(&sink);
    assert_int_equal(open_rails("zero, four,two", 0, &rails), 0);
    log_set_sink(NULL);
    assert_int_equal(rails->n, 1);
    assert_non_null(strstr(reason, "device=four reason=\"this machine has no device of that name"));
    assert_non_null(strstr(reason, "device=two reason=\"port 1 is down"));
    assert_null(strstr(reason, "zero"));
    rails_close(rails);
}

static void where_none_works_it_says_why(void **state)
{
    struct rails *rails = NULL;
    (void)state;
    assert_int_equal(open_rails("three", 0, &rails), -ENODEV);
    assert_non_null(strstr(reason, "device_names=three"));
    for (int i = 0; i < DEVICES; i++)
        model_set_port(model, (const char *[]){"zero", "one", "two"}[i], false);
    assert_int_equal(open_rails("", 0, &rails), -ENODEV);
    assert_non_null(strstr(reason, "down"));
    assert_null(rails);
}

/* --- whose queue pairs go --------------------------------------------------------------------- */

/* As if all were up: with nothing behind them that would have to be closed. */
static void put_up(struct link_table *table, struct link *links)
{
    link_table_init(table);
    for (uint32_t i = 0; i < LINKS; i++) {
        link_init(&links[i], NULL, table);
        links[i].state = LINK_UP;
        links[i].used_ns = 100 + 10 * ((i + 2) % LINKS); /* 2 is the oldest, then 3, 0, 1 */
        table->links[table->n++] = &links[i];
    }
}

static void put_down(struct link_table *table, struct link *links)
{
    for (uint32_t i = 0; i < LINKS; i++) {
        links[i].users = 0;
        link_fini(&links[i]);
    }
    link_table_fini(table);
}

static void expect_states(const struct link *links, const char *up)
{
    for (uint32_t i = 0; i < LINKS; i++)
        assert_int_equal(links[i].state, up[i] == '1' ? LINK_UP : LINK_DOWN);
}

static void the_least_used_link_makes_room(void **state)
{
    struct link_table table;
    struct link links[LINKS];
    (void)state;
    put_up(&table, links);
    assert_true(link_make_room(&table));
    expect_states(links, "1101");
    assert_non_null(strstr(links[2].why, "another peer"));
    links[3].users = 1; /* a call reads by it */
    assert_true(link_make_room(&table));
    expect_states(links, "0101");
    assert_true(link_make_room(&table));
    expect_states(links, "0001");
    assert_false(link_make_room(&table));
    put_down(&table, links);
}

static void idle_and_broken_links_are_closed(void **state)
{
    struct link_table table;
    struct link links[LINKS];
    (void)state;
    put_up(&table, links);
    links[1].is_broken = true; /* the youngest */
    link_table_close_idle(&table, 110 + LINK_IDLE_NS);
    expect_states(links, "1000");
    link_table_close_idle(&table, 119 + LINK_IDLE_NS);
    expect_states(links, "1000");
    link_table_close_idle(&table, 120 + LINK_IDLE_NS);
    expect_states(links, "0000");
    put_down(&table, links);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(without_names_a_process_takes_one),
        TEST(those_that_are_named_are_taken_all),
        TEST(one_that_fails_is_left_out),
        TEST(named_devices_that_are_not_taken_are_told),
        TEST(where_none_works_it_says_why),
        cmocka_unit_test(the_least_used_link_makes_room),
        cmocka_unit_test(idle_and_broken_links_are_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
