/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine.c - one node: its core, the memory of its pool, and its lives one after another.
 *
 * The simulator is the core's shell here: it steps it, sends what it wants sent, and keeps what the
 * core says about peer indices, as node/ does.  The memory of a life outlasts it, since somebody
 * may still be reading there.
 */
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/seqtable.h"
#include "sim.h"

enum { STEPS_AT_ONCE_MAX = 5000, DISCOVERY_PORT = 31998 };

static struct {
    _Alignas(64) struct slot_header headers[SLOTS_MAX];
    uint8_t payload[POOL_MAX_BYTES];
} memory[LIVES_MAX];

bool machine_is_up(const struct machine *machine)
{
    return machine->life != NOBODY;
}

struct life *machine_life(const struct machine *machine)
{
    CHECK(machine->life != NOBODY);
    return &world.lives[machine->life];
}

int machine_route(const struct machine *machine, uint16_t peer)
{
    if (peer == CORE_SELF)
        return machine->life;
    return peer < PEERS_SEEN_MAX ? machine->routes[peer] : NOBODY;
}

/* The life that says so of itself, or said so; NOBODY: there never was one. */
int machine_find_life(struct id128 node_id, uint64_t incarnation)
{
    for (uint32_t i = 0; i < world.n_lives; i++) {
        const struct life *life = &world.lives[i];
        if (life->incarnation == incarnation && id128_equal(life->node_id, node_id))
            return (int)i;
        for (uint32_t j = 0; j < life->n_former; j++)
            if (life->former[j].incarnation == incarnation &&
                id128_equal(life->former[j].node_id, node_id))
                return (int)i;
    }
    return NOBODY;
}

void machine_peer_failed(struct machine *machine, uint16_t peer)
{
    machine->distrusted_ns[peer] = world.now_ns;
    breaker_failed(&machine->view->breakers[peer], clock_ns(machine));
}

/* The core itself holds it against owners that they did not reply in time. */
void machine_distrust_all(struct machine *machine)
{
    for (uint32_t i = 0; i < PEERS_SEEN_MAX; i++)
        machine->distrusted_ns[i] = world.now_ns;
}

void machine_peer_answered(struct machine *machine, uint16_t peer)
{
    breaker_succeeded(&machine->view->breakers[peer]);
}

/* Only who reads without being the writer can be told to come again. */
static void inject_again(const struct machine *machine, uint32_t every_nth)
{
    seqtable_inject_again(machine->view->pool_index, every_nth);
    seqtable_inject_again(machine->view->directory, every_nth);
    seqtable_inject_again(machine->view->peers, every_nth);
    seqtable_inject_again(machine->view->peer_ids, every_nth);
    seqtable_inject_again(machine->view->epochs, every_nth);
}

/* --- a step --- */

static void apply_peer_change(struct machine *machine, const struct core_peer_change *change)
{
    CHECK(change->peer < PEERS_SEEN_MAX);
    int route = change->state == MEMBER_LEFT
                    ? NOBODY
                    : machine_find_life(change->node_id, change->incarnation);
    check_not_taken_away(machine, machine_find_life(change->node_id, change->incarnation),
                         change->state);
    machine->routes[change->peer] = route;
    if (change->state != MEMBER_ALIVE)
        machine->distrusted_ns[change->peer] = world.now_ns;
    quiet_ends("news of a member");
    narrate(NARRATED_peer, machine->number, change->peer, (uint64_t)(int64_t)route, change->state);
}

static void wake(struct event *event)
{
    struct machine *machine = &world.machines[event->machine];
    if (machine->wake_at_ns != event->a)
        return;
    machine->wake_at_ns = UINT64_MAX;
    struct core_event tick = {.type = CORE_TICK};
    machine_step(machine, &tick, NULL);
}

static void set_wake(struct machine *machine, uint64_t wake_at_ns)
{
    if (machine->wake_at_ns == wake_at_ns || wake_at_ns == UINT64_MAX) {
        machine->wake_at_ns = wake_at_ns;
        return;
    }
    machine->wake_at_ns = wake_at_ns;
    world_at(wake_at_ns, wake, machine->number)->a = wake_at_ns;
}

static void apply(struct machine *machine, const struct core_update *update)
{
    for (size_t i = 0; i < update->n_peer_changes; i++)
        apply_peer_change(machine, &update->peer_changes[i]);
    for (size_t i = 0; i < update->n_sends; i++)
        network_send(machine, update->sends[i].link, update->sends[i].message);
    for (size_t i = 0; i < update->n_dials; i++)
        network_dial(machine, &update->dials[i]);
    for (size_t i = 0; i < update->n_hangups; i++)
        network_hangup(machine, update->hangups[i]);
    for (size_t i = 0; i < update->n_completions; i++)
        app_completed(machine, &update->completions[i]);
    set_wake(machine, update->wake_at_ns == UINT64_MAX
                          ? UINT64_MAX
                          : clock_when_ns(machine, update->wake_at_ns));
}

static void count_step(struct machine *machine)
{
    world.totals.steps++;
    machine->steps_now = machine->last_step_ns == world.now_ns ? machine->steps_now + 1 : 0;
    machine->last_step_ns = world.now_ns;
    if (machine->steps_now > STEPS_AT_ONCE_MAX)
        world_violated("8", "m%d wants to be stepped again and again", machine->number);
}

void machine_step(struct machine *machine, struct core_event *event, struct app *waiter)
{
    struct core_update update;
    if (event->type == CORE_CANCEL)
        machine->cancelled = event->u.set.op;
    identity_go_on(machine);
    if (event->type == CORE_CANCEL)
        machine->cancelled = 0;
    count_step(machine);
    event->now_ns = clock_ns(machine);
    inject_again(machine, 0);
    core_step(machine->core, event, &update);
    check_groups(machine);
    inject_again(machine, world.plan.again_every_nth);
    narrate(NARRATED_step, machine->number, event->type, update.n_sends, update.n_completions);
    if (waiter) {
        waiter->op = event->type == CORE_CLEAR ? *event->u.clear.ret_op : event->u.set.op;
        waiter->is_waiting = true;
    }
    struct core_yield yield = update.yield;
    apply(machine, &update);
    identity_obey(machine, &yield);
}

/* --- lives --- */

static struct life *begin_life(struct machine *machine)
{
    uint32_t number = world.n_lives++;
    CHECK(number < LIVES_MAX);
    memset(memory[number].headers, 0, machine->slots * sizeof *memory[number].headers);
    memset(memory[number].payload, 0xee, machine->pool_bytes);
    world.lives[number] = (struct life){
        .machine = machine->number,
        .is_alive = true,
        .node_id = machine->node_id,
        .incarnation = machine->incarnation,
        .pool_bytes = machine->pool_bytes,
        .slots = machine->slots,
        .headers = memory[number].headers,
        .payload = memory[number].payload,
    };
    machine->life = (int)number;
    return &world.lives[number];
}

static void build_core(struct machine *machine, const struct life *life)
{
    struct core_config config = {
        .node_id = machine->node_id,
        .boot_id = {7, (uint64_t)machine->host + 1},
        .incarnation = life->incarnation,
        .seat = machine->seat,
        .uid = 1000,
        .control_port = (uint16_t)(CONTROL_PORT + machine->number),
        .discovery_port = DISCOVERY_PORT,
        .max_masters = world.plan.max_masters,
        .has_head = world.plan.has_head,
        .n_seeds = world.plan.seeds,
        .heartbeat_interval_ns = HEARTBEAT_NS,
        .member_ttl_ns = MEMBER_TTL_NS,
        .ring_grace_ns = RING_GRACE_NS,
        .vnodes = world.plan.vnodes,
        .directory_replicas = world.plan.replicas,
        .directory_limit = world.plan.directory_limit,
        .headers = life->headers,
        .slot_count = machine->slots,
        .pool_bytes = machine->pool_bytes,
        .hot_pages = world.plan.hot_pages,
        .is_apart = true,
    };
    snprintf(config.host, sizeof config.host, "h%d", machine->host);
    for (uint32_t i = 0; i < config.n_seeds; i++) {
        snprintf(config.seeds[i].host, sizeof config.seeds[i].host, "h%u", i);
        config.seeds[i].port = DISCOVERY_PORT;
    }
    CHECK(core_new(&config, &machine->core) == 0);
    machine->view = core_view(machine->core);
}

static void first_tick(struct event *event)
{
    struct core_event tick = {.type = CORE_TICK};
    machine_step(&world.machines[event->machine], &tick, NULL);
}

void machine_start(struct machine *machine)
{
    if (world.n_lives == LIVES_MAX || machine->has_ended)
        return;
    machine->slots = 4 + (uint32_t)world_below(world.plan.slots - 3);
    machine->pool_bytes =
        (world.plan.pool_bytes / 2 + world_below(world.plan.pool_bytes / 2)) & ~UINT64_C(63);
    identity_begin(machine);
    build_core(machine, begin_life(machine));
    machine->wake_at_ns = UINT64_MAX;
    machine->paused_until_ns = 0;
    machine->serves = machine->is_leaving = machine->is_draining = false;
    machine->n_filling = machine->n_serving = machine->n_seen = 0;
    machine->filling_bytes = 0;
    memset(machine->links, 0, sizeof machine->links);
    memset(machine->routes, 0xff, sizeof machine->routes);
    memset(machine->distrusted_ns, 0, sizeof machine->distrusted_ns);
    memset(machine->seen, 0, sizeof machine->seen);
    memset(machine->cleared, 0, sizeof machine->cleared);
    memset(machine->parts, 0, sizeof machine->parts);
    narrate(NARRATED_start, machine->number, (uint64_t)machine->life, (uint64_t)machine->host,
            machine->pool_bytes);
    network_serve(machine);
    world_after(0, first_tick, machine->number);
    uint64_t half_ns = world.plan.warm_up_ns / 2;
    for (uint32_t i = 0; i < world.plan.apps; i++) {
        machine->apps[i].machine = machine->number;
        machine->apps[i].number = i;
        machine->apps[i].call = machine->apps[i].next = CALL_NONE;
        machine->apps[i].honesty = (struct honesty){0};
        machine->apps[i].is_waiting = false;
        for (uint32_t j = 0; j < BATCH_PAGES; j++)
            machine->apps[i].reads[j].is_running = false;
        app_schedule(&machine->apps[i], half_ns + world_below(half_ns));
    }
    probe_schedule(machine, world_below(SECOND));
}

void machine_crash(struct machine *machine)
{
    narrate(NARRATED_crash, machine->number, (uint64_t)machine->life, 0, 0);
    world.totals.crashes++;
    network_crashed(machine);
    machine_life(machine)->is_alive = false;
    core_free(machine->core);
    machine->core = NULL;
    machine->view = NULL;
    machine->life = NOBODY;
    machine->serves = false;
}

void machine_free_all(void)
{
    for (uint32_t i = 0; i < MACHINES_MAX; i++) {
        core_free(world.machines[i].core);
        world.machines[i].core = NULL;
        world.machines[i].life = NOBODY;
    }
}
