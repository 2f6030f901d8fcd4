/* SPDX-License-Identifier: Apache-2.0 */
/*
 * protection_test.c - the switches, and the environment that sets them before main().
 *
 * The environment is read once a process, so each case of it is this program run again, with one
 * argument: the protection whose state its exit status tells.
 */
#include "base/protection.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { EXIT_ON = 10, EXIT_OFF = 11, OUTPUT_SIZE = 4096 };

static int enable_all(void **state)
{
    (void)state;
    protection_enable_all();
    return 0;
}

static void all_are_on_at_first(void **state)
{
    (void)state;
    for (int i = 0; i < PROTECTION_COUNT; i++)
        assert_true(protection_is_on((enum protection)i));
}

static void each_is_switched_by_its_name_alone(void **state)
{
    (void)state;
    for (int off = 0; off < PROTECTION_COUNT; off++) {
        assert_true(protection_disable(protection_name((enum protection)off)));
        for (int i = 0; i < PROTECTION_COUNT; i++)
            assert_int_equal(protection_is_on((enum protection)i), i != off);
        protection_enable_all();
    }
}

static void names_that_are_none_change_nothing(void **state)
{
    (void)state;
    assert_false(protection_disable(""));
    assert_false(protection_disable("header"));
    assert_false(protection_disable("header_digest_"));
    assert_false(protection_disable("header_digest,header_length"));
    all_are_on_at_first(state);
}

static void each_says_what_goes_wrong_without(void **state)
{
    (void)state;
    assert_string_equal(protection_name(PROTECTION_header_digest), "header_digest");
    for (int i = 0; i < PROTECTION_COUNT; i++)
        assert_true(strlen(protection_without((enum protection)i)) > 0);
}

/* Runs this program again under @names; returns its status and what it said on stderr. */
static int run_under(const char *names, const char *asked, char ret_output[OUTPUT_SIZE])
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        setenv("PEERCACHE_TEST_PROTECTIONS_OFF", names, 1);
        dup2(ends[1], STDERR_FILENO);
        execl("/proc/self/exe", "protection_test", asked, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    size_t used = 0;
    for (ssize_t got = 1; got > 0 && used < OUTPUT_SIZE - 1; used += (size_t)(got > 0 ? got : 0))
        got = read(ends[0], ret_output + used, OUTPUT_SIZE - 1 - used);
    ret_output[used] = '\0';
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void expect_exit(const char *names, const char *asked, int exit_status, const char *said)
{
    char output[OUTPUT_SIZE];
    int status = run_under(names, asked, output);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), exit_status);
    if (said == NULL)
        assert_string_equal(output, "");
    else
        assert_non_null(strstr(output, said));
}

static void environment_switches_off(void **state)
{
    (void)state;
    expect_exit("", "header_digest", EXIT_ON, NULL);
    expect_exit("header_length", "header_digest", EXIT_ON, "OFF (header_length)");
    expect_exit("header_digest", "header_digest", EXIT_OFF, "OFF (header_digest)");
    expect_exit("header_length,header_digest", "header_digest", EXIT_OFF,
                "OFF (header_length,header_digest)");
    expect_exit("header_length,header_digest", "header_length", EXIT_OFF, "OFF");
}

static void unknown_name_in_environment_aborts(void **state)
{
    (void)state;
    const char *cases[] = {"nonsense", "header_digest,nonsense", "nonsense,header_digest"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char output[OUTPUT_SIZE];
        int status = run_under(cases[i], "header_digest", output);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
        assert_non_null(strstr(output, "no protection 'nonsense'"));
    }
}

/* The run under an environment: the exit status says whether @name is on. */
static int tell_state_of(const char *name)
{
    for (int i = 0; i < PROTECTION_COUNT; i++) {
        if (strcmp(protection_name((enum protection)i), name) == 0)
            return protection_is_on((enum protection)i) ? EXIT_ON : EXIT_OFF;
    }
    return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(all_are_on_at_first, enable_all),
        cmocka_unit_test_teardown(each_is_switched_by_its_name_alone, enable_all),
        cmocka_unit_test_teardown(names_that_are_none_change_nothing, enable_all),
        cmocka_unit_test_teardown(each_says_what_goes_wrong_without, enable_all),
        cmocka_unit_test_teardown(environment_switches_off, enable_all),
        cmocka_unit_test_teardown(unknown_name_in_environment_aborts, enable_all),
    };
    if (argc == 2)
        return tell_state_of(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
