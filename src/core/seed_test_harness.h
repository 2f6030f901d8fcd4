/* SPDX-License-Identifier: Apache-2.0 */
/* seed_test_harness.h - for unit tests that draw at random: a failure names the seed. */
#ifndef CORE_SEED_TEST_HARNESS_H
#define CORE_SEED_TEST_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static uint64_t seed_now;

#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fail_msg("seed %llu: %s", (unsigned long long)seed_now, #condition);                   \
    } while (0)

#endif
