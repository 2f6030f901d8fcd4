/* SPDX-License-Identifier: Apache-2.0 */
/*
 * identity.c - who a machine is: its seat, its incarnations, and another machine with its node id.
 *
 * As node/life.c: a lease that ran out makes the next step the first of a new life, a copy takes
 * another id, a machine whose given id was taken over ends for good.
 *
 *     4   a shard has no entry of an incarnation when it knows a newer one of the same node
 *     11  nothing is said under an incarnation that is void: on a connection whose hello named an
 *         older one, or by a process that was stopped for longer than member_ttl
 */
#include "base/seqtable.h"
#include "sim.h"

/* Beyond what clocks run apart. */
#define STOPPED_FOR_LONG_NS (MEMBER_TTL_NS + MEMBER_TTL_NS / 32)

/* --- lives --- */

/* No two are equal, as with real clocks, and a restart with the former state counts on. */
static uint64_t next_incarnation(const struct machine *machine)
{
    uint64_t now = world.now_ns / US * MACHINES_MAX + (uint64_t)machine->number;
    return machine->incarnation + 1 > now ? machine->incarnation + 1 : now;
}

static bool is_copy(const struct machine *machine)
{
    return world.plan.twins != TWINS_NONE && machine->number == (int)world.plan.twin &&
           id128_is_zero(machine->node_id);
}

void identity_begin(struct machine *machine)
{
    const struct machine *other = &world.machines[world.plan.twin_of];
    bool was_given = world.plan.twins == TWINS_GIVEN;
    if (is_copy(machine) && !id128_is_zero(other->node_id))
        machine->node_id = other->node_id;
    else if (id128_is_zero(machine->node_id) ||
             (!was_given && world_chance(world.plan.fresh_percent)))
        machine->node_id = (struct id128){world_random(), world_random()};
    machine->seat = was_given ? 0 : (uint64_t)machine->number + 1;
    machine->incarnation = next_incarnation(machine);
    machine->void_incarnation = 0;
    lease_begin(&machine->lease, MEMBER_TTL_NS, clock_ns(machine));
}

static void be_reborn(struct machine *machine, struct id128 node_id, uint64_t incarnation)
{
    struct life *life = machine_life(machine);
    struct core_event event = {.type = CORE_REBORN, .u.reborn = {node_id, incarnation}};
    if (life->n_former == FORMER_MAX)
        world_violated("8", "m%d was reborn more than %d times", machine->number, FORMER_MAX);
    life->former[life->n_former].node_id = life->node_id;
    life->former[life->n_former++].incarnation = life->incarnation;
    machine->node_id = life->node_id = node_id;
    machine->incarnation = life->incarnation = incarnation;
    lease_begin(&machine->lease, MEMBER_TTL_NS, clock_ns(machine));
    narrate(NARRATED_reborn, machine->number, incarnation, life->n_former, 0);
    machine_step(machine, &event, NULL);
}

void identity_go_on(struct machine *machine)
{
    if (!lease_renew(&machine->lease, clock_ns(machine)))
        be_reborn(machine, machine->node_id, machine->incarnation + 1);
}

bool identity_may_speak(const struct machine *machine)
{
    return !lease_is_over(&machine->lease, clock_ns(machine));
}

static void ends_now(struct event *event)
{
    struct machine *machine = &world.machines[event->machine];
    machine->has_ended = true;
    machine_crash(machine);
}

void identity_obey(struct machine *machine, const struct core_yield *yield)
{
    if (yield->kind == CORE_YIELD_ALL)
        world_after(0, ends_now, machine->number);
    else if (yield->kind == CORE_YIELD_ID)
        be_reborn(machine, (struct id128){world_random(), world_random()},
                  next_incarnation(machine));
}

/* --- what must hold --- */

void note_stopped(struct machine *machine, uint64_t for_ns)
{
    if (for_ns >= STOPPED_FOR_LONG_NS)
        machine->void_incarnation = machine->incarnation;
}

void check_says(const struct machine *machine, const struct link_end *end)
{
    bool is_present = end->said_incarnation == machine->incarnation &&
                      id128_equal(end->said_node_id, machine->node_id);
    if (!is_present || machine->incarnation == machine->void_incarnation)
        world_violated("11", "m%d speaks under incarnation %llu, which is over", machine->number,
                       (unsigned long long)end->said_incarnation);
}

/* Whether this machine knows a newer incarnation of the same node than that of @peer. */
static bool is_outdated(const struct machine *machine, const struct view_peer *peer)
{
    struct view_peer other;
    for (uint32_t i = 0; i < PEERS_SEEN_MAX; i++)
        if (view_peer(machine->view, (uint16_t)i, &other) == 0 &&
            id128_equal(other.node_id, peer->node_id) && other.incarnation > peer->incarnation)
            return true;
    return false;
}

void check_no_former_life(const struct machine *machine)
{
    bool is_void[PEERS_SEEN_MAX] = {false};
    struct view_peer peer;
    struct id128 digest;
    struct seqtable_value value;
    uint64_t cursor = 0;
    for (uint32_t i = 0; i < PEERS_SEEN_MAX; i++)
        is_void[i] =
            view_peer(machine->view, (uint16_t)i, &peer) == 0 && is_outdated(machine, &peer);
    while (seqtable_walk(machine->view->directory, &cursor, UINT32_MAX, &digest, &value) == 1)
        for (int i = 0; i < 2; i++) {
            struct location place;
            location_unpack(value.bytes + i * LOCATION_BYTES, &place);
            if (place.length_bytes && place.holder < PEERS_SEEN_MAX && is_void[place.holder])
                world_violated("4", "m%d has an entry of peer %u, and knows of a newer life of it",
                               machine->number, place.holder);
        }
}
