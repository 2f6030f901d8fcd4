/* SPDX-License-Identifier: Apache-2.0 */
/* credit_test.c - what all holders together may have under way to one owner. */
#include "core/credit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void one_holder_has_a_fixed_share(void **state)
{
    (void)state;
    static struct credit credit;
    assert_int_equal(credit_grant(&credit), CREDIT_A_HOLDER_MAX);
    credit_begin(&credit, 1);
    assert_int_equal(credit_grant(&credit), CREDIT_A_HOLDER_MAX);
    credit_end(&credit, 1);
}

/* Whoever comes is told the same as the others, so the sum is bounded for any number of them. */
static void many_holders_share_one_amount(void **state)
{
    (void)state;
    static struct credit credit;
    for (uint16_t n = 1; n <= 1000; n++) {
        credit_begin(&credit, n);
        uint32_t all = n * credit_grant(&credit);
        assert_true(all <= CREDIT_TOTAL);
        assert_true(all >= CREDIT_TOTAL / 2 || credit_grant(&credit) == CREDIT_A_HOLDER_MAX);
    }
    for (uint16_t n = 1; n < 1000; n++)
        credit_end(&credit, n);
    assert_int_equal(credit_grant(&credit), CREDIT_A_HOLDER_MAX);
}

static void beginning_or_ending_twice_counts_once(void **state)
{
    (void)state;
    static struct credit credit;
    for (uint16_t n = 0; n < 100; n++)
        credit_begin(&credit, 7);
    assert_int_equal(credit.n_naming, 1);
    credit_end(&credit, 7);
    credit_end(&credit, 7);
    assert_int_equal(credit.n_naming, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_holder_has_a_fixed_share),
        cmocka_unit_test(many_holders_share_one_amount),
        cmocka_unit_test(beginning_or_ending_twice_counts_once),
    };
    return cmocka_run_group_tests_name("core/credit", tests, NULL, NULL);
}
