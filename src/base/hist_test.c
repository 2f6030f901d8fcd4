/* SPDX-License-Identifier: Apache-2.0 */
/* hist_test.c - quantiles against the sorted samples, at both ends, and merged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hist.h"

static struct hist hist, other;

static int set_up(void **state)
{
    (void)state;
    memset((void *)&hist, 0, sizeof hist);
    memset((void *)&other, 0, sizeof other);
    return 0;
}

static void empty_has_no_quantiles(void **state)
{
    (void)state;
    assert_int_equal(hist_count(&hist), 0);
    assert_int_equal(hist_quantile_ns(&hist, 0.5), 0);
    assert_int_equal(hist_quantile_ns(&hist, 1), 0);
}

static void one_sample_is_every_quantile(void **state)
{
    (void)state;
    for (uint64_t duration = 1; duration >> HIST_MAX_BITS == 0; duration = duration * 3 + 1) {
        set_up(NULL);
        hist_record(&hist, duration);
        uint64_t low = hist_quantile_ns(&hist, 0), high = hist_quantile_ns(&hist, 1);
        assert_true(low == high && low >= duration && low - duration <= duration / 16);
        assert_int_equal(hist_sum_ns(&hist), duration);
        assert_int_equal(hist_count(&hist), 1);
    }
}

/* Each bucket begins where the one before has ended. */
static void buckets_have_no_gaps(void **state)
{
    (void)state;
    uint64_t end = 0;
    for (uint32_t i = 0; i < HIST_BUCKETS - 1; i++) {
        set_up(NULL);
        hist_record(&hist, end);
        assert_int_equal(hist_quantile_ns(&hist, 1), end);
        hist_record(&hist, end + 1);
        uint64_t next = hist_quantile_ns(&hist, 1);
        assert_true(next > end);
        end = next;
    }
    assert_int_equal(end, (UINT64_C(1) << HIST_MAX_BITS) - 1);
}

static void absurd_durations_go_to_the_last_bucket(void **state)
{
    (void)state;
    hist_record(&hist, UINT64_MAX);
    hist_record(&hist, UINT64_C(1) << HIST_MAX_BITS);
    assert_int_equal(hist_count(&hist), 2);
    assert_int_equal(hist_quantile_ns(&hist, 0.5), (UINT64_C(1) << HIST_MAX_BITS) - 1);
}

static int compare(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static void quantiles_are_near_the_truth(void **state)
{
    (void)state;
    enum { SAMPLES = 10000 };
    static uint64_t samples[SAMPLES];
    uint64_t random = 1;
    for (int i = 0; i < SAMPLES; i++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        samples[i] = (random >> 33) >> (random >> 28 & 15); /* many sizes */
        hist_record(i % 2 ? &hist : &other, samples[i]);
    }
    hist_merge(&hist, &other);
    qsort(samples, SAMPLES, sizeof *samples, compare);
    assert_int_equal(hist_count(&hist), SAMPLES);
    for (int percent = 1; percent <= 100; percent++) {
        uint64_t truth = samples[percent * SAMPLES / 100 - 1];
        uint64_t got = hist_quantile_ns(&hist, percent / 100.0);
        /* The product of a share and a count may be rounded up past the sample that is meant. */
        uint64_t next = percent == 100 ? truth : samples[percent * SAMPLES / 100];
        assert_true(got >= truth && got <= next + next / 16);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(empty_has_no_quantiles, set_up),
        cmocka_unit_test_setup(one_sample_is_every_quantile, set_up),
        cmocka_unit_test_setup(buckets_have_no_gaps, set_up),
        cmocka_unit_test_setup(absurd_durations_go_to_the_last_bucket, set_up),
        cmocka_unit_test_setup(quantiles_are_near_the_truth, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
