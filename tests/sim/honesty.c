/* SPDX-License-Identifier: Apache-2.0 */
/*
 * honesty.c - how often exists says true and the get that follows misses, and for how long it goes
 * on saying so.
 *
 * A call of exists is followed by a get of the same pages; where that missed a page, both are
 * called again until they agree.  Nothing is forbidden here: exists says what is known at that
 * moment, and a get misses also where its time was too short.
 */
#include <string.h>

#include "sim.h"

/* At the end of an exists. */
void honesty_exists(struct app *app, uint32_t key, bool is_there)
{
    struct honesty *honesty = &app->honesty;
    if (!honesty->was_broken[key]) {
        honesty->said_ns[key] = world.now_ns;
    } else if (!is_there) {
        uint64_t took_ns = world.now_ns - honesty->said_ns[key];
        world.totals.until_false++;
        world.totals.until_false_ns += took_ns;
        if (took_ns > world.totals.longest_until_false_ns)
            world.totals.longest_until_false_ns = took_ns;
        honesty->was_broken[key] = false;
    }
    honesty->is_promised[key] = is_there;
}

/* At the end of a get. */
void honesty_get(struct app *app, uint32_t key, bool is_hit)
{
    struct honesty *honesty = &app->honesty;
    if (!honesty->is_following || !honesty->is_promised[key])
        return;
    if (!honesty->was_broken[key]) {
        world.totals.promised[world.plan.is_calm]++;
        world.totals.broken[world.plan.is_calm] += !is_hit;
    }
    honesty->was_broken[key] = !is_hit;
}

static bool is_any(const bool flags[BATCH_PAGES])
{
    for (int i = 0; i < BATCH_PAGES; i++)
        if (flags[i])
            return true;
    return false;
}

/* What the next call of this application is, with the same pages; CALL_NONE: whatever it likes. */
enum call_kind honesty_next(struct app *app, enum call_kind ended)
{
    struct honesty *honesty = &app->honesty;
    enum call_kind next = CALL_NONE;
    if (ended == CALL_EXISTS && is_any(honesty->is_promised))
        next = CALL_GET;
    else if (ended == CALL_GET && honesty->is_following && is_any(honesty->was_broken))
        next = CALL_EXISTS;
    honesty->is_following = next == CALL_GET;
    if (next == CALL_NONE)
        memset(honesty, 0, sizeof *honesty);
    return next;
}
