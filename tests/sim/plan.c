/* SPDX-License-Identifier: Apache-2.0 */
/* plan.c - a seed's own sizes, paces and mix of faults. */
#include "base/hash.h"
#include "sim.h"

/* Pools hold a part of all pages only, so that they evict and carve anew all the time. */
static void plan_pool(struct plan *plan)
{
    static const uint32_t most[] = {64, 600, 2048, PAGE_MAX_BYTES};
    plan->page_bytes_most = most[world_below(4)];
    plan->small_share = (uint32_t)world_below(60);
    plan->keys = 8 + (uint32_t)world_below(world_chance(60) ? 32 : KEYS_MAX - 7);
    plan->namespaces = 1 + (uint32_t)world_below(NAMESPACES);
    plan->slots = 8 + (uint32_t)world_below(SLOTS_MAX - 7);
    uint64_t all_bytes = plan->keys * plan->namespaces * (plan->page_bytes_most / 2 + UINT64_C(64));
    uint64_t least_bytes = 4 * (plan->page_bytes_most + UINT64_C(64));
    plan->pool_bytes = all_bytes * (5 + world_below(60)) / 100;
    if (plan->pool_bytes < least_bytes)
        plan->pool_bytes = least_bytes;
    if (plan->pool_bytes > POOL_MAX_BYTES)
        plan->pool_bytes = POOL_MAX_BYTES;
    plan->pool_bytes &= ~UINT64_C(63);
}

static uint32_t any_weight(uint32_t percent)
{
    return world_chance(percent) ? 1 + (uint32_t)world_below(8) : 0;
}

static void plan_weights(struct plan *plan)
{
#define F(name, percent, what) plan->weights[FAULT_##name] = any_weight(percent);
    FAULTS(F)
#undef F
    static const uint32_t events[] = {30, 100, 300};
    plan->events_a_strike = events[world_below(3)];
}

static void plan_faults(struct plan *plan)
{
    bool any = !world_chance(30);
    if (any)
        plan_weights(plan);
    plan->loss_percent = any && world_chance(25) ? 1 + (uint32_t)world_below(5) : 0;
    plan->dies_percent = any && world_chance(40) ? 5 : 0;
    plan->fresh_percent = world_chance(50) ? (uint32_t)world_below(101) : 0;
    plan->late_joins = world_chance(50) ? (uint32_t)world_below(plan->machines) : 0;
    plan->lies = world_chance(20);
    world.had_lies = plan->lies;
    plan->clears = world_chance(50);
    plan->gives_up = world_chance(50);
    plan->doubles = world_chance(30);
    plan->is_calm = !any && !plan->lies && world_chance(70);
    plan->again_every_nth = !plan->is_calm && world_chance(50) ? 2 + (uint32_t)world_below(40) : 0;
}

/* What must hold while one machine is stopped is checked where nothing else delays a call, and
 * pages stay: they are set, one process is stopped once, they are read. */
static void plan_one_pause(struct plan *plan)
{
    plan->is_calm = false;
    plan->pauses_one = true;
    plan->weights[FAULT_pause] = 1;
    plan->events_a_strike = 1000;
    plan->steps_times = 3;
    plan->page_bytes_most = 600;
    plan->keys = plan->keys < 16 ? plan->keys : 16;
    plan->namespaces = 1;
    plan->slots = SLOTS_MAX;
    plan->pool_bytes = POOL_MAX_BYTES;
    plan->machines = plan->machines < 3 ? 3 : plan->machines;
    plan->stopped = (uint32_t)world_below(plan->machines);
    plan->replicas = plan->replicas < 2 ? 2 : plan->replicas;
    plan->directory_limit = 4096;
    plan->late_joins = 0;
    plan->delay_ns = 100 * US;
    plan->chunk_ns = 20 * US;
    plan->think_ns = 10 * MS;
    plan->warm_up_ns = 8 * SECOND;
    plan->clears = plan->gives_up = plan->doubles = false;
}

static void plan_twins(struct plan *plan)
{
    if (plan->is_calm || plan->pauses_one || !world_chance(15))
        return;
    plan->twins = world_chance(50) ? TWINS_COPY : TWINS_GIVEN;
    plan->twin = 1 + (uint32_t)world_below(plan->machines - 1);
    plan->twin_of = (uint32_t)world_below(plan->twin);
}

void plan_run(void)
{
    static const uint64_t thinks_ns[] = {1 * MS, 10 * MS, 100 * MS, SECOND};
    struct plan *plan = &world.plan;
    *plan = (struct plan){
        .machines = 2 + (uint32_t)world_below(MACHINES_MAX - 1),
        .replicas = 1 + (uint32_t)world_below(3),
        .vnodes = 4 + (uint32_t)world_below(29),
        .apps = 1 + (uint32_t)world_below(APPS_MAX),
        .directory_limit = world_chance(10) ? 16 + (uint32_t)world_below(64) : 4096,
        .delay_ns = world_chance(50) ? 100 * US : 2 * MS,
        .chunk_ns = world_chance(50) ? 20 * US : 2 * MS,
        .think_ns = thinks_ns[world_below(4)],
        .warm_up_ns = world_chance(50) ? SECOND : 5 * SECOND,
        .skew_ppm = world_chance(50) ? (uint32_t)world_below(10001) : 0,
    };
    plan->steps_times = 1;
    plan->hosts = 1 + (uint32_t)world_below(world_chance(50) ? 3 : plan->machines);
    plan->seeds = world_chance(40) ? 1 : plan->hosts;
    plan->max_masters = 1 + (uint32_t)world_below(3);
    plan->has_head = world_chance(80);
    plan_pool(plan);
    plan_faults(plan);
    plan->groups = world_chance(60);
    plan->hot_pages = world.seed % 2 == 0;
    if (plan->is_calm && world_chance(40))
        plan_one_pause(plan);
    plan_twins(plan);
    for (uint32_t i = 0; i < NAMESPACES; i++)
        world.identities[i] = hash_bytes128(&i, sizeof i, 77);
}
