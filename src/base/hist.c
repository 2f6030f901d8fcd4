/* SPDX-License-Identifier: Apache-2.0 */
/* hist.c - a duration's bucket is its highest bit and the four bits below that. */
#include "base/hist.h"

enum { SUB_BUCKETS = 1 << HIST_SUB_BITS };

static uint64_t load(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static void add(_Atomic uint64_t *word, uint64_t amount)
{
    atomic_fetch_add_explicit(word, amount, memory_order_relaxed);
}

/* Below 16 ns each number has its own bucket; above, the group is chosen by the highest bit. */
static uint32_t bucket_of(uint64_t duration_ns)
{
    if (duration_ns < SUB_BUCKETS)
        return (uint32_t)duration_ns;
    if (duration_ns >> HIST_MAX_BITS)
        return HIST_BUCKETS - 1;
    uint32_t shift = 63 - (uint32_t)__builtin_clzll(duration_ns) - HIST_SUB_BITS;
    return (shift << HIST_SUB_BITS) + (uint32_t)(duration_ns >> shift);
}

static uint64_t bucket_end_ns(uint32_t bucket)
{
    if (bucket < SUB_BUCKETS)
        return bucket;
    uint32_t shift = (bucket >> HIST_SUB_BITS) - 1;
    uint64_t start = (uint64_t)(SUB_BUCKETS + bucket % SUB_BUCKETS) << shift;
    return start + (UINT64_C(1) << shift) - 1;
}

void hist_record(struct hist *hist, uint64_t duration_ns)
{
    add(&hist->counts[bucket_of(duration_ns)], 1);
    add(&hist->sum_ns, duration_ns);
}

uint64_t hist_count(const struct hist *hist)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < HIST_BUCKETS; i++)
        count += load(&hist->counts[i]);
    return count;
}

uint64_t hist_sum_ns(const struct hist *hist)
{
    return load(&hist->sum_ns);
}

/* Samples may be added between the two passes: the second ends at the last bucket in use then. */
uint64_t hist_quantile_ns(const struct hist *hist, double quantile)
{
    uint64_t count = hist_count(hist);
    double wanted = (quantile > 1 ? 1 : quantile) * (double)count;
    uint64_t seen = 0, end_ns = 0;
    for (uint32_t i = 0; i < HIST_BUCKETS && (seen == 0 || (double)seen < wanted); i++) {
        uint64_t samples = load(&hist->counts[i]);
        seen += samples;
        if (samples)
            end_ns = bucket_end_ns(i);
    }
    return end_ns;
}

void hist_merge(struct hist *hist, const struct hist *from)
{
    for (uint32_t i = 0; i < HIST_BUCKETS; i++) {
        uint64_t samples = load(&from->counts[i]);
        if (samples)
            add(&hist->counts[i], samples);
    }
    add(&hist->sum_ns, load(&from->sum_ns));
}
