/* SPDX-License-Identifier: Apache-2.0 */
/* log_limit_test.c - a flood of lines is a few of them, and none is lost without a word. */
#include "base/log_limit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/clock.h"

#define BEGIN_NS (1000 * CLOCK_NS_PER_S)
#define LINE_NS (60 * CLOCK_NS_PER_S / LOG_LIMIT_LINES_PER_MINUTE)

static uint32_t flood(struct log_limit *limit, uint64_t now_ns, uint32_t n)
{
    uint32_t passed = 0;
    for (uint32_t i = 0; i < n; i++)
        passed += log_limit_pass(limit, now_ns);
    return passed;
}

static void a_burst_passes_and_the_rest_is_counted(void **state)
{
    struct log_limit limit = {0};
    (void)state;
    assert_int_equal(log_limit_held_back(&limit, BEGIN_NS), 0);
    assert_int_equal(flood(&limit, BEGIN_NS, 1000), LOG_LIMIT_LINES);
    assert_int_equal(log_limit_held_back(&limit, BEGIN_NS), 1000 - LOG_LIMIT_LINES);
    assert_int_equal(flood(&limit, BEGIN_NS + 1, 10), 0);
    assert_int_equal(log_limit_held_back(&limit, BEGIN_NS + LINE_NS - 1), 0);
    assert_int_equal(flood(&limit, BEGIN_NS + LINE_NS, 10),
                     1); /* who goes on, and is told of yet */
    assert_int_equal(log_limit_held_back(&limit, BEGIN_NS + LINE_NS), 19);
    assert_int_equal(log_limit_held_back(&limit, BEGIN_NS + 9 * LINE_NS), 0);
}

/* For an hour, a thousand times a second. */
static void lines_come_at_their_pace(void **state)
{
    struct log_limit limit = {0};
    uint64_t passed = 0, told = 0, n = 3600 * 1000;
    (void)state;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t now_ns = BEGIN_NS + i * CLOCK_NS_PER_MS;
        uint32_t held_back = i % 5000 == 0 ? log_limit_held_back(&limit, now_ns) : 0;
        told += held_back;
        passed += log_limit_pass(&limit, now_ns);
    }
    assert_in_range(passed, LOG_LIMIT_LINES + 3590, LOG_LIMIT_LINES + 3600);
    assert_in_range(told, 0, n - LOG_LIMIT_LINES);
}

static void it_fills_up_again_and_no_further(void **state)
{
    struct log_limit limit = {0};
    (void)state;
    assert_int_equal(flood(&limit, BEGIN_NS, 300), LOG_LIMIT_LINES);
    assert_int_equal(flood(&limit, BEGIN_NS + 10 * LINE_NS, 300), 10);
    assert_int_equal(flood(&limit, BEGIN_NS + 100000 * LINE_NS, 300), LOG_LIMIT_LINES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_burst_passes_and_the_rest_is_counted),
        cmocka_unit_test(lines_come_at_their_pace),
        cmocka_unit_test(it_fills_up_again_and_no_further),
    };
    return cmocka_run_group_tests_name("log_limit", tests, NULL, NULL);
}
