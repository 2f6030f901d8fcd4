/* SPDX-License-Identifier: Apache-2.0 */
/* metric_test.c - counts, their names, and the walk over them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/metric.h"

static struct metrics metrics;

static int set_up(void **state)
{
    (void)state;
    memset((void *)&metrics, 0, sizeof metrics);
    return 0;
}

static void counts(void **state)
{
    (void)state;
    metric_add(&metrics, METRIC_stale_after, 2);
    metric_add(&metrics, METRIC_stale_after, 3);
    metric_set(&metrics, METRIC_members, 7);
    metric_set(&metrics, METRIC_members, 5);
    assert_int_equal(metric_get(&metrics, METRIC_stale_after), 5);
    assert_int_equal(metric_get(&metrics, METRIC_members), 5);
    metric_move(&metrics, METRIC_members, 6);
    metric_move(&metrics, METRIC_members, -9);
    assert_int_equal(metric_get(&metrics, METRIC_members), 2);
    assert_int_equal(metric_get(&metrics, METRIC_stale_before), 0);
    metric_add_pages(&metrics, METRIC_OP_EXISTS, 255, 4);
    assert_int_equal(metric_pages(&metrics, METRIC_OP_EXISTS, 255), 4);
    assert_int_equal(metric_pages(&metrics, METRIC_OP_GET, 255), 0);
}

static void nothing_is_counted_into_nothing(void **state)
{
    (void)state;
    struct metric_sample sample;
    size_t cursor = 0;
    metric_add(NULL, METRIC_stale_after, 1);
    metric_set(NULL, METRIC_members, 1);
    metric_add_pages(NULL, METRIC_OP_GET, 1, 1);
    metric_add_read(NULL, 1, 1, 1);
    assert_int_equal(metric_get(NULL, METRIC_members), 0);
    assert_int_equal(metric_pages(NULL, METRIC_OP_GET, 1), 0);
    assert_false(metric_next(NULL, &cursor, &sample));
}

/* All of the table, whatever it holds; of the rest only what occurred. */
static void walk_shows_all(void **state)
{
    (void)state;
    struct metric_sample sample;
    size_t cursor = 0, n = 0;
    for (; metric_next(&metrics, &cursor, &sample); n++) {
        assert_int_equal(strncmp(sample.name, "peercache_", 10), 0);
        const char *end = strstr(sample.name, "_total");
        assert_true(sample.is_counter == (end && end[6] == '\0'));
        assert_true(strlen(sample.help) > 0);
        assert_true(!sample.op && sample.outcome == -1 && sample.via == -1);
        assert_int_equal(sample.value, 0);
    }
    assert_int_equal(n, METRIC_COUNT);

    metric_add_pages(&metrics, METRIC_OP_SET, 3, 10);
    metric_add_read(&metrics, METRIC_VIAS - 1, 2, 4096);
    cursor = METRIC_COUNT;
    assert_true(metric_next(&metrics, &cursor, &sample));
    assert_string_equal(sample.name, "peercache_pages_total");
    assert_string_equal(sample.op, "set");
    assert_int_equal(sample.outcome, 3);
    assert_int_equal(sample.via, -1);
    assert_int_equal(sample.value, 10);
    assert_true(metric_next(&metrics, &cursor, &sample));
    assert_string_equal(sample.name, "peercache_read_pages_total");
    assert_int_equal(sample.via, METRIC_VIAS - 1);
    assert_int_equal(sample.value, 2);
    assert_true(metric_next(&metrics, &cursor, &sample));
    assert_string_equal(sample.name, "peercache_read_bytes_total");
    assert_null(sample.op);
    assert_int_equal(sample.outcome, -1);
    assert_int_equal(sample.value, 4096);
    assert_false(metric_next(&metrics, &cursor, &sample));
    assert_false(metric_next(&metrics, &cursor, &sample));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(counts, set_up),
        cmocka_unit_test_setup(nothing_is_counted_into_nothing, set_up),
        cmocka_unit_test_setup(walk_shows_all, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
