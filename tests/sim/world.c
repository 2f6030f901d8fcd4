/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world.c - the seed, and one run from its plan to its end.
 *
 * A run has three parts: the machines work while faults happen; the faults stop and all calls end;
 * the cluster has time to settle.  Then what must hold of a quiet cluster is checked.  A violated
 * invariant, also a broken CHECK of the core (which aborts), jumps out of whatever was running.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/splitmix.h"
#include "sim.h"

enum { EVENTS_LIMIT = 200000 };

struct world world;
static sigjmp_buf violated;

/* --- random numbers: xoshiro256**, seeded by splitmix64 --- */

static uint64_t rotate(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

static void seed_random(uint64_t seed)
{
    for (int i = 0; i < 4; i++)
        world.random[i] = splitmix_next(&seed);
}

uint64_t world_random(void)
{
    uint64_t *s = world.random, result = rotate(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

uint64_t world_below(uint64_t limit)
{
    return limit ? world_random() % limit : 0;
}

bool world_chance(uint32_t percent)
{
    return world_below(100) < percent;
}

uint64_t world_spread(uint64_t typical_ns)
{
    uint64_t kind = world_below(32);
    if (kind == 0)
        return 1 + world_below(typical_ns * 64);
    if (kind < 4)
        return 1 + world_below(typical_ns * 8);
    return 1 + world_below(typical_ns * 2);
}

/* --- events --- */

/* The caller fills the rest in before anything else is scheduled: it is inserted by then. */
static struct event pending;
static bool has_pending;

static void insert_pending(void)
{
    if (has_pending)
        events_put(&world.events, &pending);
    has_pending = false;
}

struct event *world_at(uint64_t at_ns, event_run *run, int machine)
{
    insert_pending();
    pending = (struct event){.at_ns = at_ns > world.now_ns ? at_ns : world.now_ns,
                             .order = world.order++,
                             .run = run,
                             .machine = machine,
                             .life = machine == NOBODY ? NOBODY : world.machines[machine].life};
    has_pending = true;
    return &pending;
}

struct event *world_after(uint64_t delay_ns, event_run *run, int machine)
{
    return world_at(world.now_ns + delay_ns, run, machine);
}

static bool is_held_up(const struct event *event)
{
    return event->machine != NOBODY &&
           world.machines[event->machine].paused_until_ns > world.now_ns;
}

static bool is_over(const struct event *event)
{
    return event->machine != NOBODY && world.machines[event->machine].life != event->life;
}

/* An event of a stopped process waits for it, in its order. */
static bool run_next(uint64_t until_ns)
{
    struct event event;
    insert_pending();
    if (!events_take(&world.events, until_ns, &event))
        return false;
    world.now_ns = event.at_ns;
    if (!is_over(&event) && is_held_up(&event)) {
        event.at_ns = world.machines[event.machine].paused_until_ns;
        events_put(&world.events, &event);
        return true;
    }
    if (!is_over(&event)) {
        event.run(&event);
        insert_pending();
        world.n_events_run++;
        check_after_event();
        fault_after_event();
    }
    free(event.box);
    if (world.n_events_run > EVENTS_LIMIT)
        world_violated("8", "this run does not end: %u events", EVENTS_LIMIT);
    return true;
}

/* --- a run --- */

static void start_machine(struct event *event)
{
    struct machine *machine = &world.machines[event->a];
    if (machine->life == NOBODY)
        machine_start(machine);
}

static void set_up(uint64_t seed)
{
    struct events events = world.events;
    bool is_tracing = world.is_tracing;
    struct totals totals = world.totals;
    uint64_t keep = offsetof(struct world, scratch);
    memset(&world, 0, keep);
    world.events = events;
    world.is_tracing = is_tracing;
    world.totals = totals;
    world.seed = seed;
    world.now_ns = SECOND;
    has_pending = false;
    seed_random(seed);
    narrate_begin();
    plan_run();
    clocks_begin();
    for (uint32_t i = 0; i < MACHINES_MAX; i++)
        world.machines[i].life = NOBODY;
    for (uint32_t i = 0; i < world.plan.machines; i++) {
        struct machine *machine = &world.machines[i];
        machine->number = (int)i;
        machine->host = i == 0 ? 0 : (int)world_below(world.plan.hosts);
        bool is_late = i > 0 && i >= world.plan.machines - world.plan.late_joins;
        struct event *event = world_after(
            is_late ? world_below(15 * SECOND) : world_below(2 * SECOND), start_machine, NOBODY);
        event->a = i;
        if (world.last_start_ns < event->at_ns)
            world.last_start_ns = event->at_ns;
    }
}

void world_run_until(uint64_t until_ns)
{
    while (run_next(until_ns))
        ;
    world.now_ns = until_ns;
}

static void run_parts(uint32_t steps)
{
    fault_begin();
    while (world.n_events_run < steps * world.plan.steps_times && run_next(UINT64_MAX))
        ;
    world.is_settling = true;
    world.totals.active_ns += world.now_ns;
    world.calm_ns = fault_stop();
    uint64_t healed_ns = world.calm_ns + HEALED_NS;
    if (world.plan.twins == TWINS_GIVEN)
        healed_ns += HEALED_TWINS_NS;
    world_run_until(healed_ns);
    settle_check();
    if (settle_has_discovery())
        quiet_check(healed_ns);
}

static void take_down(void)
{
    insert_pending();
    events_clear(&world.events);
    machine_free_all();
    filling_free_all();
}

_Noreturn void world_violated(const char *invariant, const char *format, ...)
{
    int len = snprintf(world.violation, sizeof world.violation, "invariant %s: ", invariant);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(world.violation + len, sizeof world.violation - (size_t)len, format, arguments);
    va_end(arguments);
    if (world.is_tracing)
        report_machines();
    siglongjmp(violated, 1);
}

static void on_abort(int signal_number)
{
    (void)signal_number;
    strcpy(world.violation, "invariant 6: a CHECK of the code failed (its text is on stderr)");
    siglongjmp(violated, 1);
}

bool world_run(uint64_t seed, uint32_t steps)
{
    volatile bool ok = false;
    void (*before)(int) = signal(SIGABRT, on_abort);
    if (sigsetjmp(violated, 1) == 0) {
        set_up(seed);
        run_parts(steps);
        ok = true;
    }
    signal(SIGABRT, before);
    world.totals.events += world.n_events_run;
    take_down();
    return ok;
}
