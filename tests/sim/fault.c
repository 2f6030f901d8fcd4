/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault.c - what goes wrong, and when it stops.
 *
 * A strike comes after so many events, whatever time they take, so that busy runs have as many as
 * slow ones.  Which kind it is, is drawn by the weights of the plan (plan.h has the list).
 */
#include "sim.h"

#define SHORTEST_NS (10 * MS)
/* Beyond ring_grace: who is away for that long is taken off the ring, and comes back. */
#define LONGEST_NS (RING_GRACE_NS + 3 * SECOND)
#define SLOWEST_NS (SECOND / 2)

static struct machine *any_machine(void)
{
    return &world.machines[world_below(world.plan.machines)];
}

/* From the shortest to the longest, each order of magnitude as often as the next. */
static uint64_t some_time_ns(void)
{
    uint64_t most_ns = SHORTEST_NS;
    while (most_ns < LONGEST_NS && !world_chance(30))
        most_ns *= 3;
    return SHORTEST_NS + world_below(most_ns < LONGEST_NS ? most_ns : LONGEST_NS);
}

/* --- connections and paths --- */

static void strike_break_link(void)
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

/* Some connections across a cut path time out, others live until it has healed. */
static void break_some_between(int a, int b)
{
    for (uint32_t i = 0; i < LINKS_MAX; i++) {
        const struct link *link = &world.links[i];
        bool is_between = link->used && !link->is_broken &&
                          ((link->ends[0].machine == a && link->ends[1].machine == b) ||
                           (link->ends[0].machine == b && link->ends[1].machine == a));
        if (is_between && world_chance(50))
            network_break(&world.links[i]);
    }
}

static void cut_both_ways(int a, int b, uint64_t for_ns)
{
    path_cut(a, b, for_ns);
    path_cut(b, a, for_ns);
    break_some_between(a, b);
}

static void strike_cut(void)
{
    int a = any_machine()->number, b = any_machine()->number;
    uint64_t for_ns = some_time_ns();
    if (a == b)
        return;
    narrate(NARRATED_cut, a, (uint64_t)b, for_ns / US, 0);
    cut_both_ways(a, b, for_ns);
}

static void strike_cut_one_way(void)
{
    int a = any_machine()->number, b = any_machine()->number;
    uint64_t for_ns = some_time_ns();
    if (a == b)
        return;
    narrate(NARRATED_cut_one_way, a, (uint64_t)b, for_ns / US, 0);
    path_cut(a, b, for_ns);
    break_some_between(a, b);
}

static void strike_split(void)
{
    uint64_t side = world_random(), for_ns = some_time_ns();
    narrate(NARRATED_split, NOBODY, side & ((1u << world.plan.machines) - 1), for_ns / US, 0);
    for (uint32_t a = 0; a < world.plan.machines; a++)
        for (uint32_t b = 0; b < a; b++)
            if ((side >> a & 1) != (side >> b & 1))
                cut_both_ways((int)a, (int)b, for_ns);
}

static void strike_slow(void)
{
    int a = any_machine()->number, b = any_machine()->number;
    uint64_t for_ns = some_time_ns(), by_ns = world_below(SLOWEST_NS);
    if (a == b)
        return;
    narrate(NARRATED_slow, a, (uint64_t)b, for_ns / US, by_ns / US);
    path_slow(a, b, for_ns, by_ns);
    path_slow(b, a, for_ns, by_ns);
}

/* --- processes --- */

/* Its process is stopped: memory that others read stays, but it answers nothing. */
static void stop_process(struct machine *machine)
{
    if (!machine_is_up(machine) || machine->paused_until_ns > world.now_ns)
        return;
    uint64_t for_ns = some_time_ns() + (world.plan.pauses_one ? SECOND : 0);
    machine->paused_until_ns = world.now_ns + for_ns;
    note_stopped(machine, for_ns);
    world.stopped_at = world.n_events_run;
    narrate(NARRATED_pause, machine->number, for_ns / US, 0, 0);
    for (uint32_t i = 0; i < world.plan.apps; i++)
        call_is_held(&machine->apps[i], machine->paused_until_ns);
}

static void strike_pause(void)
{
    stop_process(world.plan.pauses_one ? &world.machines[world.plan.stopped] : any_machine());
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
        world_after(some_time_ns(), come_back, NOBODY)->a = (uint64_t)machine->number;
}

static void strike_crash(void)
{
    die(any_machine());
}

static void strike_host_crash(void)
{
    int host = any_machine()->host;
    for (uint32_t i = 0; i < world.plan.machines; i++)
        if (world.machines[i].host == host)
            die(&world.machines[i]);
}

static void strike_blackout(void)
{
    for (uint32_t i = 0; i < world.plan.machines; i++)
        die(&world.machines[i]);
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

static void strike_leave(void)
{
    leave(any_machine());
}

static void drained(struct event *event)
{
    leave(&world.machines[event->machine]);
}

static void strike_drain(void)
{
    struct machine *machine = any_machine();
    if (!machine_is_up(machine) || machine->is_draining || machine->paused_until_ns > world.now_ns)
        return;
    machine->is_draining = true;
    drain_begin(machine, drained);
}

/* --- load --- */

static void strike_burst(void)
{
    uint64_t for_ns = some_time_ns();
    narrate(NARRATED_burst, NOBODY, for_ns / US, 0, 0);
    world.burst_until_ns = world.now_ns + for_ns;
}

/* --- when --- */

static void strike(void)
{
    static void (*const strikes[FAULT_COUNT])(void) = {
#define F(name, percent, what) [FAULT_##name] = strike_##name,
        FAULTS(F)
#undef F
    };
    uint64_t sum = 0, at;
    for (int i = 0; i < FAULT_COUNT; i++)
        sum += world.plan.weights[i];
    at = world_below(sum);
    for (int i = 0; i < FAULT_COUNT && sum; at -= world.plan.weights[i], i++)
        if (at < world.plan.weights[i]) {
            world.totals.strikes[i]++;
            strikes[i]();
            return;
        }
}

void fault_begin(void)
{
    uint32_t typical = world.plan.events_a_strike;
    world.strike_at =
        world.plan.pauses_one ? typical + world_below(typical) : world_below(2 * typical);
}

void fault_after_event(void)
{
    if (world.is_settling || world.n_events_run < world.strike_at)
        return;
    strike();
    world.strike_at = world.n_events_run + 1 + world_below(2 * world.plan.events_a_strike);
    if (world.plan.pauses_one)
        world.strike_at = UINT64_MAX;
}

/* No new ones.  Those that last end by themselves, and who joins late still does: the time is
 * returned when the last one has. */
uint64_t fault_stop(void)
{
    uint64_t calm_ns = path_all_well_ns();
    narrate(NARRATED_calm, NOBODY, 0, 0, 0);
    world.plan.lies = false;
    world.plan.loss_percent = world.plan.dies_percent = world.plan.again_every_nth = 0;
    if (calm_ns < world.last_start_ns)
        calm_ns = world.last_start_ns;
    for (uint32_t i = 0; i < world.plan.machines; i++)
        if (world.machines[i].paused_until_ns > calm_ns)
            calm_ns = world.machines[i].paused_until_ns;
    return calm_ns;
}
