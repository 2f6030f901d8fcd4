/* SPDX-License-Identifier: Apache-2.0 */
/* report.c - what many runs came to, in a few lines. */
#include <stdio.h>

#include "sim.h"

typedef unsigned long long count;

static double share(uint64_t part, uint64_t whole)
{
    return whole ? 100.0 * (double)part / (double)whole : 0;
}

static void report_calls(const struct totals *t)
{
    printf("calls: hits %llu, misses %llu, stored %llu, full %llu; late because something held on "
           "%llu, by at most %.1f ms\n",
           (count)t->hits, (count)t->misses, (count)t->stored, (count)t->refused,
           (count)t->late_calls, (double)t->most_late_ns / MS);
    printf("stopped by the slot word: %llu before the copy, %llu after it, %llu at the holder; "
           "probes %llu; groups that left %llu; copies kept %llu, handed over %llu\n",
           (count)t->stopped_before, (count)t->stopped_after, (count)t->stopped_at_holder,
           (count)t->probes, (count)t->groups_left, (count)t->copies, (count)t->handed_over);
}

static void report_faults(const struct totals *t)
{
    printf("faults:");
#define F(name, percent, what) printf(" %s %llu,", #name, (count)t->strikes[FAULT_##name]);
    FAULTS(F)
#undef F
    printf(" deaths %llu, broken connections %llu\n", (count)t->crashes, (count)t->breaks);
}

static void report_findings(const struct totals *t)
{
    printf(
        "healing took %.3f s at most (seed %llu, the last change: %s), of %.0f s that it may take\n",
        (double)t->longest_heal_ns / SECOND, (count)t->longest_heal_seed,
        t->longest_heal_by ? t->longest_heal_by : "none", (double)HEALED_NS / SECOND);
    printf(
        "exists said true, and the get behind it missed: %llu of %llu pages (%.2f %%) with faults, "
        "%llu of %llu (%.2f %%) without; until it said false: %.1f ms on average, %.1f ms at most\n",
        (count)t->broken[0], (count)t->promised[0], share(t->broken[0], t->promised[0]),
        (count)t->broken[1], (count)t->promised[1], share(t->broken[1], t->promised[1]),
        t->until_false ? (double)t->until_false_ns / (double)t->until_false / MS : 0,
        (double)t->longest_until_false_ns / MS);
    printf("beside one stopped process: %llu calls, of which %llu asked it; %llu misses, none of a "
           "page that others had\n",
           (count)t->beside_stopped, (count)t->waited_for_stopped, (count)t->missed_beside);
}

void report_totals(uint64_t seeds, double took_s)
{
    const struct totals *t = &world.totals;
    printf("%llu seeds, no violation, %.0f seeds/s, %llu events, %llu steps, %llu messages, "
           "%.0f s of their time; at most %u messages on one connection, %u events waiting\n",
           (count)seeds, (double)seeds / took_s, (count)t->events, (count)t->steps,
           (count)t->messages, (double)t->active_ns / SECOND, t->most_in_flight, world.events.most);
    report_calls(t);
    report_faults(t);
    report_findings(t);
}
