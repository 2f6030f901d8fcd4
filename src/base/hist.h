/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hist.h - how long things took: a histogram of fixed size that any thread may add to.
 *
 * Buckets are log-linear: 16 to each power of two, so a quantile is at most 1/16 above the truth.
 * Durations from 0 to about 18 minutes are told apart; longer ones fall into the last bucket.
 * Counting is relaxed: a reader sees each sample sooner or later, and no total at one moment.
 */
#ifndef BASE_HIST_H
#define BASE_HIST_H

#include <stdatomic.h>
#include <stdint.h>

enum {
    HIST_SUB_BITS = 4,
    HIST_MAX_BITS = 40, /* 2^40 ns: 18 minutes, longer than any timeout that makes sense */
    HIST_BUCKETS = (HIST_MAX_BITS - HIST_SUB_BITS + 1) << HIST_SUB_BITS,
};

/* All zero is an empty histogram. */
struct hist {
    _Atomic uint64_t sum_ns;
    _Atomic uint64_t counts[HIST_BUCKETS];
};

void hist_record(struct hist *hist, uint64_t duration_ns);
uint64_t hist_count(const struct hist *hist);
uint64_t hist_sum_ns(const struct hist *hist);
/* The duration that the share @quantile (0 to 1) of the samples did not exceed: the upper end of
 * its bucket.  1.0: the longest.  0 when there are no samples. */
uint64_t hist_quantile_ns(const struct hist *hist, double quantile);
/* Adds the samples of @from. */
void hist_merge(struct hist *hist, const struct hist *from);

#endif
