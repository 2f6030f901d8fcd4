/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clock.c - what time it is on a host: each has begun to count elsewhere, and counts at a pace of
 * its own.  Cores see only these clocks; the world's is the truth that deadlines are held against.
 */
#include "sim.h"

#define MILLION UINT64_C(1000000)
#define EARLIEST_NS SECOND
#define LATEST_NS (1000 * SECOND)

void clocks_begin(void)
{
    for (uint32_t i = 0; i < MACHINES_MAX; i++)
        world.clocks[i] = (struct clock){.began_ns = EARLIEST_NS + world_below(LATEST_NS),
                                         .pace = MILLION - world.plan.skew_ppm / 2 +
                                                 world_below(world.plan.skew_ppm + 1)};
}

uint64_t clock_ns(const struct machine *machine)
{
    const struct clock *clock = &world.clocks[machine->host];
    return clock->began_ns + world.now_ns * clock->pace / MILLION;
}

/* The first moment of the world at which this machine's clock says so. */
uint64_t clock_when_ns(const struct machine *machine, uint64_t says_ns)
{
    const struct clock *clock = &world.clocks[machine->host];
    if (says_ns <= clock->began_ns)
        return 0;
    return ((says_ns - clock->began_ns) * MILLION + clock->pace - 1) / clock->pace;
}
