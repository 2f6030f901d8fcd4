/* SPDX-License-Identifier: Apache-2.0 */
/* module_test.c - the module of this build loads, is complete, and answers on any machine. */
#include "io/rdma/module.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

static const struct verbs *open_module(void)
{
    const struct verbs *verbs = NULL;
    char error[RDMA_MODULE_ERROR_BYTES] = "";
    int outcome = rdma_module_open(&verbs, error);
    if (outcome == -ENOENT) {
        assert_non_null(strstr(error, "libibverbs-dev"));
        print_message("SKIP: %s\n", error);
        skip();
    }
    assert_string_equal(error, "");
    assert_int_equal(outcome, 0);
    return verbs;
}

static void every_operation_is_there(void **state)
{
    (void)state;
    const struct verbs *verbs = open_module();
    void *words[sizeof *verbs / sizeof(void *)];
    memcpy(words, verbs, sizeof words);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        assert_non_null(words[i]);
}

static void it_stays_the_same(void **state)
{
    (void)state;
    assert_ptr_equal(open_module(), open_module());
}

static void a_device_that_is_not_there_is_an_error(void **state)
{
    (void)state;
    const struct verbs *verbs = open_module();
    struct verbs_device *device = NULL;
    int error = verbs->open(verbs, "no such device", &device);
    /* -ENOSYS: the kernel has no RDMA at all. */
    assert_true(error == -ENODEV || error == -ENOSYS);
    assert_null(device);
    verbs->close(verbs, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operation_is_there),
        cmocka_unit_test(it_stays_the_same),
        cmocka_unit_test(a_device_that_is_not_there_is_an_error),
    };
    return cmocka_run_group_tests_name("module", tests, NULL, NULL);
}
