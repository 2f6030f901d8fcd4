/* SPDX-License-Identifier: Apache-2.0 */
/* outcome_test.c - every outcome and way has a name of its own. */
#include "node/outcome.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "peercache.h"

static void names_are_those_of_the_header(void **state)
{
    (void)state;
    assert_string_equal(outcome_name(PEERCACHE_UNSET), "UNSET");
    assert_string_equal(outcome_name(PEERCACHE_HIT), "HIT");
    assert_string_equal(outcome_name(PEERCACHE_STORED_LOCAL), "STORED_LOCAL");
    assert_string_equal(outcome_name(PEERCACHE_MISS_EVICTED), "MISS_EVICTED");
    assert_string_equal(outcome_name(PEERCACHE_REFUSED_CLOSED), "REFUSED_CLOSED");
    assert_string_equal(via_name(PEERCACHE_VIA_SHM), "shm");
    assert_string_equal(via_name(PEERCACHE_VIA_TCP), "tcp");
    assert_string_equal(via_name(PEERCACHE_VIA_LOCAL), "local");
    assert_string_equal(via_name(PEERCACHE_VIA_RDMA), "rdma");
    assert_string_equal(via_name(PEERCACHE_VIA_NONE), "none");
}

static void each_outcome_has_a_name_of_its_own(void **state)
{
    static const uint16_t firsts[] = {PEERCACHE_UNSET, PEERCACHE_MISS_UNKNOWN,
                                      PEERCACHE_REFUSED_FULL};
    static const uint16_t lasts[] = {PEERCACHE_ALREADY_STORED, PEERCACHE_MISS_DISK,
                                     PEERCACHE_REFUSED_DRAINING};
    static const char *const prefixes[] = {"", "MISS_", "REFUSED_"};
    const char *names[64];
    size_t n = 0;
    (void)state;
    for (int range = 0; range < 3; range++)
        for (uint16_t outcome = firsts[range]; outcome <= lasts[range]; outcome++) {
            names[n] = outcome_name(outcome);
            assert_string_not_equal(names[n], "UNKNOWN_OUTCOME");
            assert_int_equal(strncmp(names[n], prefixes[range], strlen(prefixes[range])), 0);
            for (size_t i = 0; i < n; i++)
                assert_string_not_equal(names[i], names[n]);
            n++;
        }
}

static void number_that_is_none_has_a_name_too(void **state)
{
    static const uint16_t none[] = {PEERCACHE_ALREADY_STORED + 1,   63,
                                    PEERCACHE_MISS_DISK + 1,        127,
                                    PEERCACHE_REFUSED_DRAINING + 1, 65535};
    (void)state;
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        assert_string_equal(outcome_name(none[i]), "UNKNOWN_OUTCOME");
    assert_string_equal(via_name(PEERCACHE_VIA_TCP + 1), "none");
    assert_string_equal(via_name(255), "none");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_those_of_the_header),
        cmocka_unit_test(each_outcome_has_a_name_of_its_own),
        cmocka_unit_test(number_that_is_none_has_a_name_too),
    };
    return cmocka_run_group_tests_name("node/outcome", tests, NULL, NULL);
}
