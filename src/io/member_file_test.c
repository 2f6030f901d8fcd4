/* SPDX-License-Identifier: Apache-2.0 */
/* member_file_test.c - what was written is read, and damage costs what is damaged. */
#include "io/member_file.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];

static int setup(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/peercache-test-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static void path_of(const char *name, char ret_path[128])
{
    snprintf(ret_path, 128, "%s/%s", folder, name);
}

static int teardown(void **state)
{
    char path[128];
    (void)state;
    path_of("members", path);
    unlink(path);
    return rmdir(folder); /* fails if anything else was left behind */
}

static void put(const char *text, size_t len)
{
    char path[128];
    path_of("members", path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, len, file), len);
    fclose(file);
}

static void what_is_written_is_read(void **state)
{
    const struct address written[] = {
        {"10.0.0.1", 31998}, {"fd00::7", 1}, {"node-a.example", 65535}};
    struct address read[MEMBER_FILE_MAX];
    (void)state;
    assert_int_equal(member_file_read(folder, read), 0);
    assert_int_equal(member_file_write(folder, written, 3), 0);
    assert_int_equal(member_file_read(folder, read), 3);
    for (int i = 0; i < 3; i++) {
        assert_string_equal(read[i].host, written[i].host);
        assert_int_equal(read[i].port, written[i].port);
    }
    assert_int_equal(member_file_write(folder, written, 1), 0); /* in place of the former */
    assert_int_equal(member_file_read(folder, read), 1);
}

static void largest_list_fits(void **state)
{
    struct address written[MEMBER_FILE_MAX], read[MEMBER_FILE_MAX];
    (void)state;
    for (int i = 0; i < MEMBER_FILE_MAX; i++) {
        written[i] = (struct address){.port = 65535};
        memset(written[i].host, 'a', sizeof written[i].host - 1);
    }
    assert_int_equal(member_file_write(folder, written, MEMBER_FILE_MAX), 0);
    assert_int_equal(member_file_read(folder, read), MEMBER_FILE_MAX);
}

static void damaged_lines_are_passed_over(void **state)
{
    static const char text[] = "# a comment\n10.0.0.1:5\nnonsense here\n\n[::1]:7\n10.0.0.2\n:9\n"
                               "10.0.0.3:99999\n10.0.0.4:6";
    struct address read[MEMBER_FILE_MAX];
    (void)state;
    put(text, sizeof text - 1);
    assert_int_equal(member_file_read(folder, read), 3);
    assert_string_equal(read[1].host, "::1");
    assert_string_equal(read[2].host, "10.0.0.4");
    char noise[20000];
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (char)(i * 7919 >> 3);
    put(noise, sizeof noise);
    member_file_read(folder, read);
    put("", 0);
    assert_int_equal(member_file_read(folder, read), 0);
}

static void folder_that_cannot_be_is_an_error(void **state)
{
    const struct address one = {"10.0.0.1", 1};
    (void)state;
    put("", 0);
    char path[128];
    path_of("members", path);
    assert_int_equal(member_file_write(path, &one, 1), -ENOTDIR);
    assert_int_equal(member_file_write("/proc/none/such", &one, 1), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_written_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(largest_list_fits, setup, teardown),
        cmocka_unit_test_setup_teardown(damaged_lines_are_passed_over, setup, teardown),
        cmocka_unit_test_setup_teardown(folder_that_cannot_be_is_an_error, setup, teardown),
    };
    return cmocka_run_group_tests_name("io/member_file", tests, NULL, NULL);
}
