/* SPDX-License-Identifier: Apache-2.0 */
/* host_id_test.c - the kernel's boot id, and files that are none. */
#include "io/host_id.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <unistd.h>

static int boot_of_text(const char *text, struct id128 *ret_id)
{
    char path[] = "/tmp/peercache-boot-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    int error = host_id_boot(path, ret_id);
    unlink(path);
    return error;
}

static void boot_id_is_the_same_twice(void **state)
{
    (void)state;
    struct id128 a = {0, 0}, b = {0, 0};
    assert_int_equal(host_id_boot(HOST_ID_BOOT_PATH, &a), 0);
    assert_int_equal(host_id_boot(HOST_ID_BOOT_PATH, &b), 0);
    assert_true(id128_equal(a, b));
    assert_false(id128_is_zero(a));
}

static void boot_id_is_read_digit_by_digit(void **state)
{
    (void)state;
    struct id128 id = {0, 0};
    assert_int_equal(boot_of_text("f9b5e213-492f-4a6c-8bbb-129e37c25e2a\n", &id), 0);
    assert_true(id.hi == UINT64_C(0xf9b5e213492f4a6c));
    assert_true(id.lo == UINT64_C(0x8bbb129e37c25e2a));
}

static void what_is_no_boot_id_is_refused(void **state)
{
    (void)state;
    const char *const texts[] = {
        "",
        "\n",
        "f9b5e213-492f-4a6c-8bbb-129e37c25e2\n",
        "f9b5e213-492f-4a6c-8bbb-129e37c25e2aa\n",
        "00000000-0000-0000-0000-000000000000\n",
        "f9b5e213-492f-4a6c-8bbb-129e37c25e2g\n",
    };
    struct id128 id = {7, 7};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_int_equal(boot_of_text(texts[i], &id), -EPROTO);
    assert_int_equal(host_id_boot("/proc/nonexistent", &id), -ENOENT);
    assert_true(id128_equal(id, (struct id128){7, 7}));
}

static void random_ids_differ(void **state)
{
    (void)state;
    struct id128 a, b;
    assert_int_equal(host_id_random(&a), 0);
    assert_int_equal(host_id_random(&b), 0);
    assert_false(id128_is_zero(a));
    assert_false(id128_equal(a, b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(boot_id_is_the_same_twice),
        cmocka_unit_test(boot_id_is_read_digit_by_digit),
        cmocka_unit_test(what_is_no_boot_id_is_refused),
        cmocka_unit_test(random_ids_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
