/* SPDX-License-Identifier: Apache-2.0 */
/* memlock_test.c - whom the limit of locked memory holds, from small files in place of /proc. */
#include "io/rdma/memlock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[64], folder[96], status[128], uid_map[128];

static int make_root(void **state)
{
    (void)state;
    const struct rlimit limit = {1 << 20, 1 << 20};
    strcpy(root, "/tmp/peercache-memlock-XXXXXX");
    if (!mkdtemp(root) || setrlimit(RLIMIT_MEMLOCK, &limit) != 0)
        return -1;
    snprintf(folder, sizeof folder, "%s/proc", root);
    mkdir(folder, 0700);
    snprintf(folder, sizeof folder, "%s/proc/self", root);
    mkdir(folder, 0700);
    snprintf(status, sizeof status, "%s/status", folder);
    snprintf(uid_map, sizeof uid_map, "%s/uid_map", folder);
    return 0;
}

static int remove_root(void **state)
{
    (void)state;
    unlink(status);
    unlink(uid_map);
    rmdir(folder);
    snprintf(folder, sizeof folder, "%s/proc", root);
    rmdir(folder);
    return rmdir(root);
}

static uint64_t limit_of(const char *capabilities, const char *map)
{
    FILE *file = fopen(status, "w");
    fprintf(file, "Name:\tpeercached\nCapPrm:\tffffffffffffffff\nCapEff:\t%s\n", capabilities);
    fclose(file);
    file = fopen(uid_map, "w");
    fputs(map, file);
    fclose(file);
    return memlock_limit_bytes(root);
}

static void the_capability_lifts_the_limit(void **state)
{
    (void)state;
    static const char whole[] = "         0          0 4294967295\n";
    assert_true(limit_of("0000000000004000", whole) == MEMLOCK_UNLIMITED);
    assert_true(limit_of("ffffffffffffbfff", whole) == 1 << 20);
    assert_true(limit_of("0000000000000000", whole) == 1 << 20);
}

static void but_not_that_of_a_container(void **state)
{
    (void)state;
    assert_true(limit_of("000001ffffffffff", "0 100000 65536\n") == 1 << 20);
    assert_true(limit_of("000001ffffffffff", "0 0 65536\n") == 1 << 20);
}

static void the_sentence_names_limit_and_remedy(void **state)
{
    (void)state;
    char text[MEMLOCK_TEXT_BYTES] = "";
    assert_true(memlock_allows(MEMLOCK_UNLIMITED, UINT64_C(1) << 40, text));
    assert_true(memlock_allows(4096, 4096, text));
    assert_string_equal(text, "");
    assert_false(memlock_allows(8 << 20, UINT64_C(4) << 30, text));
    assert_non_null(strstr(text, "is 8192 KiB, and RDMA needs 4194304 KiB"));
    assert_non_null(strstr(text, "ulimit -l unlimited"));
    assert_non_null(strstr(text, "for a container)"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_capability_lifts_the_limit),
        cmocka_unit_test(but_not_that_of_a_container),
        cmocka_unit_test(the_sentence_names_limit_and_remedy),
    };
    return cmocka_run_group_tests_name("memlock", tests, make_root, remove_root);
}
