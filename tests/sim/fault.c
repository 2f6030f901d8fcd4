/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault.c - what goes wrong: broken connections, partitions, stopped processes, deaths, departures.
 *
 * Which kinds happen at all is a matter of the seed, so that many seeds see one kind alone.
 */
#include "sim.h"

#define SHORTEST_STOP_NS (50 * MS)
#define LONGEST_STOP_NS (MEMBER_TTL_NS * UINT64_C(3))

static struct machine *any_machine(void)
{
    return &world.machines[world_below(world.plan.machines)];
}

static void break_one(void)
{
    uint32_t first = (uint32_t)world_below(LINKS_MAX);
    for (uint32_t i = 0; i < LINKS_MAX; i++) {
        struct link *link = &world.links[(first + i) % LINKS_MAX];
        if (link->used && !link->is_broken) {
            network_break(link);
            return;
        }
    }
}

static void part(void)
{
    int a = any_machine()->number, b = any_machine()->number;
    uint64_t for_ns = 10 * MS + world_below(LONGEST_STOP_NS);
    if (a == b || network_is_blocked(a, b))
        return;
    world.blocked_until_ns[a][b] = world.blocked_until_ns[b][a] = world.now_ns + for_ns;
    narrate(NARRATED_partition, a, (uint64_t)b, for_ns / US, 0);
    for (uint32_t i = 0; i < LINKS_MAX; i++) {
        const struct link *link = &world.links[i];
        bool is_between = link->used && !link->is_broken &&
                          ((link->ends[0].machine == a && link->ends[1].machine == b) ||
                           (link->ends[0].machine == b && link->ends[1].machine == a));
        if (is_between && world_chance(50))
            network_break(&world.links[i]);
    }
}

/* Its process is stopped: memory that others read stays, but it answers nothing. */
static void stop_process(struct machine *machine)
{
    if (!machine_is_up(machine) || machine->paused_until_ns > world.now_ns)
        return;
    uint64_t for_ns = SHORTEST_STOP_NS + world_below(LONGEST_STOP_NS);
    machine->paused_until_ns = world.now_ns + for_ns;
    narrate(NARRATED_pause, machine->number, for_ns / US, 0, 0);
    for (uint32_t i = 0; i < world.plan.apps; i++)
        machine->apps[i].late_by_ns += for_ns;
}

static void come_back(struct event *event)
{
    struct machine *machine = &world.machines[event->a];
    if (!machine_is_up(machine) && !world.is_settling)
        machine_start(machine);
}

static void die(struct machine *machine)
{
    if (!machine_is_up(machine))
        return;
    machine_crash(machine);
    if (world_chance(80))
        world_after(world_spread(300 * MS), come_back, NOBODY)->a = (uint64_t)machine->number;
}

static void gone(struct event *event)
{
    die(&world.machines[event->machine]);
}

static void leave(struct machine *machine)
{
    if (!machine_is_up(machine) || machine->is_leaving || machine->paused_until_ns > world.now_ns)
        return;
    machine->is_leaving = true;
    narrate(NARRATED_leave, machine->number, 0, 0, 0);
    struct core_event event = {.type = CORE_LEAVE};
    machine_step(machine, &event, NULL);
    world_after(world_spread(MS), gone, machine->number);
}

static void strike(struct event *event)
{
    (void)event;
    if (world.is_settling)
        return;
    switch (world_below(8)) {
    case 0:
    case 1:
    case 2:
        if (world.plan.breaks)
            break_one();
        break;
    case 3:
        if (world.plan.partitions)
            part();
        break;
    case 4:
        if (world.plan.crashes)
            die(any_machine());
        break;
    case 5:
    case 6:
        if (world.plan.pauses)
            stop_process(any_machine());
        break;
    case 7:
        if (world.plan.leaves)
            leave(any_machine());
        break;
    }
    world_after(world_spread(300 * MS), strike, NOBODY);
}

void fault_begin(void)
{
    world_after(world_below(3 * SECOND), strike, NOBODY);
}

/* No new ones.  Those that last end by themselves: the time is returned when the last one has. */
uint64_t fault_stop(void)
{
    uint64_t calm_ns = world.now_ns;
    narrate(NARRATED_calm, NOBODY, 0, 0, 0);
    world.plan.lies = world.plan.loses_requests = false;
    world.plan.again_every_nth = 0;
    for (uint32_t i = 0; i < world.plan.machines; i++) {
        if (world.machines[i].paused_until_ns > calm_ns)
            calm_ns = world.machines[i].paused_until_ns;
        for (uint32_t j = 0; j < world.plan.machines; j++)
            if (world.blocked_until_ns[i][j] > calm_ns)
                calm_ns = world.blocked_until_ns[i][j];
    }
    return calm_ns;
}
