/* SPDX-License-Identifier: Apache-2.0 */
/*
 * path.c - the way from one machine to another: how long it takes, and whether there is one.
 *
 * Control connections and channels are TCP, which loses nothing and keeps its order: what the
 * network loses comes later, by a timeout for each time that it is lost again.  Each direction of a
 * path is cut and slowed down for itself; what is sent into a cut arrives when that has ended.
 */
#include "sim.h"

#define RESEND_NS (200 * MS)

bool path_is_cut(int from, int to)
{
    return from != to && world.paths[from][to].cut_until_ns > world.now_ns;
}

uint64_t path_cut_until_ns(int from, int to)
{
    return world.paths[from][to].cut_until_ns;
}

static uint64_t lost_for_ns(void)
{
    uint64_t lost_ns = 0;
    for (uint64_t resend_ns = RESEND_NS; world_chance(world.plan.loss_percent); resend_ns *= 2)
        lost_ns += resend_ns;
    return lost_ns;
}

uint64_t path_arrival_ns(int from, int to)
{
    uint64_t at_ns = world.now_ns + world_spread(world.plan.delay_ns);
    const struct path *path = &world.paths[from][to];
    if (from == to)
        return at_ns;
    if (world.plan.loss_percent)
        at_ns += lost_for_ns();
    if (path->slow_until_ns > world.now_ns)
        at_ns += world_below(2 * path->slow_by_ns);
    return at_ns > path->cut_until_ns ? at_ns : path->cut_until_ns;
}

void path_cut(int from, int to, uint64_t for_ns)
{
    struct path *path = &world.paths[from][to];
    if (from != to && path->cut_until_ns < world.now_ns + for_ns)
        path->cut_until_ns = world.now_ns + for_ns;
}

void path_slow(int from, int to, uint64_t for_ns, uint64_t by_ns)
{
    struct path *path = &world.paths[from][to];
    path->slow_until_ns = world.now_ns + for_ns;
    path->slow_by_ns = by_ns;
}

/* When the last of what delays anything has ended. */
uint64_t path_all_well_ns(void)
{
    uint64_t at_ns = world.now_ns;
    for (uint32_t i = 0; i < world.plan.machines; i++)
        for (uint32_t j = 0; j < world.plan.machines; j++) {
            const struct path *path = &world.paths[i][j];
            if (path->cut_until_ns > at_ns)
                at_ns = path->cut_until_ns;
            if (path->slow_until_ns > at_ns)
                at_ns = path->slow_until_ns;
        }
    return at_ns;
}
