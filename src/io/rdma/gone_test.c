/* SPDX-License-Identifier: Apache-2.0 */
/* gone_test.c - what is believed to be destroyed though the kernel does not say so. */
#include "io/rdma/gone.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { NOW = 5000 };

static void a_device_that_is_there_is_waited_for(void **state)
{
    _Atomic(uint64_t) since = 0;
    (void)state;
    assert_int_equal(gone_judge(&since, -EIO, false, NOW), -EIO);
    assert_int_equal(gone_judge(&since, -EIO, false, NOW + 100 * GONE_NS), -EIO);
    assert_int_equal(gone_judge(&since, -EBUSY, true, NOW + 100 * GONE_NS), -EBUSY);
    assert_int_equal(gone_judge(&since, 0, false, NOW), 0);
}

static void what_was_on_a_device_that_is_gone_is_let_go_after_a_while(void **state)
{
    _Atomic(uint64_t) since = 0;
    (void)state;
    assert_int_equal(gone_judge(&since, -EIO, true, NOW), -EIO);
    assert_int_equal(gone_judge(&since, -EIO, true, NOW + GONE_NS - 1), -EIO);
    assert_int_equal(gone_judge(&since, -EIO, true, NOW + GONE_NS), 0);
    assert_int_equal(gone_judge(&since, -EIO, true, NOW + 2 * GONE_NS), 0); /* and all the rest */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_device_that_is_there_is_waited_for),
        cmocka_unit_test(what_was_on_a_device_that_is_gone_is_let_go_after_a_while),
    };
    return cmocka_run_group_tests_name("io/rdma/gone", tests, NULL, NULL);
}
