/* SPDX-License-Identifier: Apache-2.0 */
/* lease_test.c - a lease that ran out stays so, whoever looks and however late it is renewed. */
#include "core/lease.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/protection.h"

static void one_that_is_renewed_goes_on(void **state)
{
    struct lease lease;
    (void)state;
    lease_begin(&lease, 100, 1000);
    for (uint64_t now = 1000; now < 2000; now += lease_sleep_ns(&lease)) {
        assert_false(lease_is_over(&lease, now));
        assert_true(lease_renew(&lease, now));
    }
    assert_int_equal(lease_sleep_ns(&lease), 25);
}

static void one_that_is_over_is_not_renewed(void **state)
{
    struct lease lease;
    (void)state;
    lease_begin(&lease, 100, 1000);
    assert_false(lease_is_over(&lease, 1099));
    assert_true(lease_is_over(&lease, 1100));
    assert_false(lease_renew(&lease, 1100));
    assert_true(lease_is_over(&lease, 1101));
    lease_begin(&lease, 100, 1200);
    assert_false(lease_is_over(&lease, 1299));
}

/* Stopped between its look at the clock and the renewal: the time that it stores is long past. */
static void renewal_that_was_held_up_does_not_help(void **state)
{
    struct lease lease;
    (void)state;
    lease_begin(&lease, 100, 1000);
    assert_true(lease_renew(&lease, 1050));
    assert_true(lease_is_over(&lease, 5000));
}

static void without_the_protection_it_is_never_over(void **state)
{
    struct lease lease;
    (void)state;
    lease_begin(&lease, 100, 1000);
    assert_true(protection_disable("reborn_after_pause"));
    assert_false(lease_is_over(&lease, 5000));
    protection_enable_all();
    assert_true(lease_is_over(&lease, 5000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_that_is_renewed_goes_on),
        cmocka_unit_test(one_that_is_over_is_not_renewed),
        cmocka_unit_test(renewal_that_was_held_up_does_not_help),
        cmocka_unit_test(without_the_protection_it_is_never_over),
    };
    return cmocka_run_group_tests_name("core/lease", tests, NULL, NULL);
}
