/* SPDX-License-Identifier: Apache-2.0 */
/*
 * quiet.c - when the cluster last did anything but say that it is still there.
 *
 * Once the faults have stopped it has HEALED_NS; from then on nothing may happen any more: no
 * connection, no member, no page that is named.  What was the last change tells how long it took.
 * Masters may look now and then whether somebody lives on where they never met anyone.
 */
#include "sim.h"

/* Longer than anything that only repeats itself. */
#define QUIET_NS (4 * (uint64_t)HEARTBEAT_NS)
/* Between two scouts of a machine, with a clock that is fast: a little less than core/contacts.c
 * has. */
#define SCOUT_PAUSE_NS (5 * SECOND - 200 * MS)
enum { STEPS_A_HEARTBEAT = 64 }; /* of one machine to which nothing happens */

static bool is_still_there(const struct message *message)
{
    return message->type == MESSAGE_heartbeat ||
           (message->type == MESSAGE_members && message->u.members.n_members == 0);
}

void quiet_ends(const char *by)
{
    world.changed_ns = world.now_ns;
    world.changed_by = by;
}

void quiet_message(const struct message *message)
{
    if (!is_still_there(message))
        quiet_ends(message_type_name(message->type));
}

bool quiet_allows_scout(struct machine *machine)
{
    if (world.now_ns < machine->scouted_ns + SCOUT_PAUSE_NS)
        return false;
    machine->scouted_ns = world.now_ns;
    return true;
}

void quiet_check(uint64_t healed_ns)
{
    uint64_t steps = world.totals.steps;
    world_run_until(healed_ns + QUIET_NS);
    if (world.changed_ns > healed_ns)
        world_violated(
            "9", "the cluster does not come to rest: %s at %.3f s, faults ended %.3f s before",
            world.changed_by, (double)world.changed_ns / 1e9,
            (double)(world.changed_ns - world.calm_ns) / 1e9);
    steps = world.totals.steps - steps;
    if (steps > QUIET_NS / HEARTBEAT_NS * STEPS_A_HEARTBEAT * world.plan.machines)
        world_violated("8", "%llu steps while nothing happens", (unsigned long long)steps);
    uint64_t took_ns = world.changed_ns > world.calm_ns ? world.changed_ns - world.calm_ns : 0;
    if (took_ns > world.totals.longest_heal_ns) {
        world.totals.longest_heal_ns = took_ns;
        world.totals.longest_heal_seed = world.seed;
        world.totals.longest_heal_by = world.changed_by;
    }
}
