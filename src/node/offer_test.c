/* SPDX-License-Identifier: Apache-2.0 */
/* offer_test.c - a page is handed over when its receiver has said so, and not otherwise. */
#include "node/offer.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

enum { PAGES = 4 };

static struct receiver receiver;
static struct offered pages[PAGES];

/* The second, the third and the fourth page are offered. */
static void answer(const char *text)
{
    static const uint32_t order[] = {1, 2, 3};
    json_t *errors = json_loads(text, JSON_DECODE_ANY, NULL);
    assert_non_null(errors);
    receiver = (struct receiver){0};
    for (uint32_t i = 0; i < PAGES; i++)
        pages[i].error = -EINPROGRESS;
    offer_take_answer(&receiver, pages, errors, order, 3, true);
    json_decref(errors);
}

static void expect(int second, int third, int fourth)
{
    assert_int_equal(pages[0].error, -EINPROGRESS);
    assert_int_equal(pages[1].error, second);
    assert_int_equal(pages[2].error, third);
    assert_int_equal(pages[3].error, fourth);
}

static void what_was_taken_or_was_there_is_handed_over(void **state)
{
    (void)state;
    answer("[0, -17, -28]");
    expect(0, 0, -EINPROGRESS);
    assert_false(receiver.is_full[1]);
    assert_false(receiver.is_lost);
}

static void what_is_no_number_is_not(void **state)
{
    static const char *const others[] = {"null", "\"0\"", "false", "0.0", "[]", "{}", "true"};
    (void)state;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char text[64];
        snprintf(text, sizeof text, "[%s, 0, %s]", others[i], others[i]);
        answer(text);
        expect(-EINPROGRESS, 0, -EINPROGRESS);
        assert_false(receiver.is_full[1]);
        snprintf(text, sizeof text, "[%s, %s, %s]", others[i], others[i], others[i]);
        answer(text);
        expect(-EINPROGRESS, -EINPROGRESS, -EINPROGRESS);
        assert_true(receiver.is_full[1]);
        assert_false(receiver.is_full[0]);
    }
}

static void what_is_no_list_of_that_length_is_no_answer(void **state)
{
    static const char *const others[] = {"[0, 0]", "[0, 0, 0, 0]", "[]", "{\"0\": 0}", "0", "null"};
    (void)state;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        answer(others[i]);
        expect(-EINPROGRESS, -EINPROGRESS, -EINPROGRESS);
        assert_true(receiver.is_lost);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_taken_or_was_there_is_handed_over),
        cmocka_unit_test(what_is_no_number_is_not),
        cmocka_unit_test(what_is_no_list_of_that_length_is_no_answer),
    };
    return cmocka_run_group_tests_name("offer", tests, NULL, NULL);
}
