/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checks.c - the invariants of the design (section 10), while the cluster works.
 *
 *     1  a hit has the bytes of one filling that a set published under that key and epoch
 *     2  what is published lies in a slot that is sealed with those bytes, or void by now
 *     3  a generation is used once in a life                          (filling_begin)
 *     4  an entry is what its holder said about its own life
 *     5  every operation completes once, by its deadline              (app_end, app_completed)
 *     6  slots move along the table of moves                          (CHECKs of the core)
 *     7  who sees the same members has the same ring
 *     8  everything has a bound                                       (where it is counted)
 *    10  pages of a group that were in the pool together leave together      (groups.c)
 *
 * Cheap checks run after every event, dear ones in turn, each for one machine.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/seqtable.h"
#include "core/inspection.h"
#include "core/ring.h"
#include "sim.h"

enum { EVENTS_A_POOL_CHECK = 16, EVENTS_A_DIRECTORY_CHECK = 48, EVENTS_A_RING_CHECK = 256 };
#define LATE_FOR_GOOD_NS (30 * SECOND)

static bool is_place_of(const struct filling *filling, struct id128 digest,
                        const struct location *place)
{
    return filling && id128_equal(filling->digest, digest) && filling->slot == place->slot &&
           filling->offset_bytes == place->offset_bytes &&
           filling->length_bytes == place->length_bytes;
}

/* --- 1: hits --- */

static bool is_page(int life, uint64_t generation, const struct read *read)
{
    const struct filling *filling = filling_find(&world.lives[life], generation);
    return filling && filling->state == FILLING_WHOLE &&
           filling->length_bytes == read->expected.length_bytes &&
           filling->key.ns == read->key.ns && filling->key.number == read->key.number &&
           filling->key.epoch == read->key.epoch &&
           filling_is(life, generation, read->bytes, 0, filling->length_bytes);
}

static bool is_any_page(const struct read *read)
{
    for (uint32_t life = 0; life < world.n_lives; life++)
        for (uint32_t g = 1; g < world.lives[life].fillings_size; g++)
            if (is_page((int)life, g, read))
                return true;
    return false;
}

void check_hit(const struct read *read)
{
    if (is_page(read->source, read->expected.generation, read)) {
        if (read->asker)
            check_hit_is_new(read->asker, read->source,
                             filling_find(&world.lives[read->source], read->expected.generation));
        return;
    }
    if (is_any_page(read))
        return;
    const struct filling *filling =
        filling_find(&world.lives[read->source], read->expected.generation);
    world_violated(
        "1",
        "m%d has a hit on ns %u number %u epoch %llu, with other bytes (read kind %d, "
        "slot %u generation %llu of life %d, which is number %d epoch %lld)",
        read->machine, read->key.ns, read->key.number, (unsigned long long)read->key.epoch,
        read->kind, read->slot, (unsigned long long)read->expected.generation, read->source,
        filling ? (int)filling->key.number : -1, filling ? (long long)filling->key.epoch : -1LL);
}

/* --- 2: slots and their bytes --- */

static void check_slot(const struct machine *machine, uint32_t slot)
{
    struct slot_sample sample;
    const struct life *life = &world.lives[machine->life];
    slot_header_sample(&life->headers[slot], &sample);
    if (slot_word_state(sample.word) != SLOT_SEALED)
        return;
    uint64_t generation = slot_word_generation(sample.word);
    const struct filling *filling = filling_find(life, generation);
    struct location place = {
        .slot = slot, .offset_bytes = sample.offset_bytes, .length_bytes = sample.length_bytes};
    if (!is_place_of(filling, sample.digest, &place) || filling->state != FILLING_WHOLE)
        world_violated("2", "slot %u of m%d is sealed as generation %llu, which is not whole", slot,
                       machine->number, (unsigned long long)generation);
    if (!filling_is(machine->life, generation, life->payload + sample.offset_bytes, 0,
                    sample.length_bytes))
        world_violated("2", "slot %u of m%d is sealed as generation %llu and has other bytes", slot,
                       machine->number, (unsigned long long)generation);
}

void check_pool(const struct machine *machine)
{
    static struct core_inspection inspection;
    core_inspect(machine->core, &inspection);
    const struct pool_usage *usage = &inspection.pool;
    for (uint32_t slot = 0; slot < machine->slots; slot++)
        check_slot(machine, slot);
    if (usage->filling_pages != machine->n_filling)
        world_violated("5", "m%d has %u slots being filled, and %u of them have an operation",
                       machine->number, usage->filling_pages, machine->n_filling);
    if (usage->free_bytes + usage->live_bytes + usage->retired_bytes + machine->filling_bytes !=
        usage->total_bytes)
        world_violated(
            "8", "m%d has lost room: free %llu live %llu retired %llu filling %llu of %llu",
            machine->number, (unsigned long long)usage->free_bytes,
            (unsigned long long)usage->live_bytes, (unsigned long long)usage->retired_bytes,
            (unsigned long long)machine->filling_bytes, (unsigned long long)usage->total_bytes);
}

/* --- 2 and 4: what directories say --- */

static void check_claim(const char *who, int machine, int life, struct id128 digest,
                        const struct location *place)
{
    const struct filling *filling = filling_find(&world.lives[life], place->generation);
    if (!is_place_of(filling, digest, place))
        world_violated("4", "%s of m%d: slot %u generation %llu of life %d, which never said so",
                       who, machine, place->slot, (unsigned long long)place->generation, life);
    if (filling->state != FILLING_WHOLE)
        world_violated("2",
                       "%s of m%d: slot %u generation %llu of life %d, whose bytes are not there",
                       who, machine, place->slot, (unsigned long long)place->generation, life);
}

static void check_directory(const struct machine *machine)
{
    struct id128 digest;
    struct seqtable_value value;
    uint64_t cursor = 0;
    while (seqtable_walk(machine->view->directory, &cursor, UINT32_MAX, &digest, &value) == 1) {
        struct location places[LOCATE_PLACES_MAX];
        for (int n = view_holders(machine->view, digest, places); n > 0; n--) {
            int life = machine_route(machine, places[n - 1].holder);
            if (life != NOBODY)
                check_claim("the directory", machine->number, life, digest, &places[n - 1]);
        }
    }
}

static int life_of(const struct record_holder *holder)
{
    int life = machine_find_life(holder->node_id, holder->incarnation);
    if (life == NOBODY)
        world_violated("4", "an answer names a holder that never was");
    return life;
}

void check_found(const struct machine *owner, const struct message_locations *answer,
                 const struct message_lookup *lookup)
{
    for (uint32_t i = 0; i < answer->n_found; i++) {
        const struct record_found *found = &answer->found[i];
        if (found->index >= lookup->n_keys || found->place.holder >= answer->n_holders)
            world_violated("8", "an answer of m%d points out of its lists", owner->number);
        check_claim("an answer", owner->number, life_of(&answer->holders[found->place.holder]),
                    lookup->keys[found->index].digest, &found->place);
    }
}

/* --- locate: who is asked, and what is believed --- */

static bool owner_knows(const struct app *app, uint16_t owner, struct id128 digest)
{
    const struct machine *asker = &world.machines[app->machine];
    struct location places[LOCATE_PLACES_MAX];
    int life = machine_route(asker, owner);
    if (owner == CORE_SELF || life == NOBODY || !world.lives[life].is_alive ||
        !view_peer_trusted(asker->view, owner) ||
        asker->distrusted_ns[owner] >= app->asking.begun_ns)
        return false;
    const struct machine *machine = &world.machines[world.lives[life].machine];
    for (int n = view_holders(machine->view, digest, places); n > 0; n--) {
        int holder = machine_route(machine, places[n - 1].holder);
        struct view_peer info;
        uint16_t index;
        if (holder != NOBODY && world.lives[holder].is_alive &&
            view_peer(machine->view, places[n - 1].holder, &info) == 0 &&
            info.incarnation == world.lives[holder].incarnation && /* not of a life that is void */
            view_peer_index(asker->view, info.node_id, info.incarnation, &index) == 0 &&
            index != CORE_SELF &&
            slot_word_is_sealed(atomic_load(&world.lives[holder].headers[places[n - 1].slot].word),
                                places[n - 1].generation))
            return true;
    }
    return false;
}

/* None where the own shard is asked too, since that leaves no trace: it may have known all.  None
 * where views may say "try again" of a peer, which is then passed over. */
static uint32_t who_knows(const struct app *app, uint32_t key)
{
    const struct locate_key *located = &app->asking.keys[key];
    uint32_t knows = 0;
    for (uint32_t i = 0; i < located->n_owners; i++)
        if (located->owners[i] == CORE_SELF || world.plan.again_every_nth)
            return 0;
    for (uint32_t i = 0; i < located->n_owners; i++)
        if (owner_knows(app, located->owners[i], located->digest))
            knows |= 1u << i;
    return knows;
}

void check_ask_begins(struct app *app)
{
    for (uint32_t i = 0; i < app->n; i++)
        app->asking.knew[i] = who_knows(app, i);
}

static void check_unknown(const struct app *app, uint32_t key)
{
    const struct asking *asking = &app->asking;
    uint32_t unasked = asking->knew[key] & ~asking->asked[key] & ~asking->distrusted[key];
    if (unasked && !asking->denied[key] && (who_knows(app, key) & unasked))
        world_violated("9",
                       "m%d calls ns %u number %u unknown, and did not ask an owner that knows",
                       app->machine, app->keys[key].ns, app->keys[key].number);
}

void check_ask_ended(const struct app *app)
{
    for (uint32_t i = 0; i < app->n; i++) {
        const struct locate_key *key = &app->asking.keys[i];
        if (key->state == LOCATE_UNKNOWN) {
            check_unknown(app, i);
            check_unknown_is_invisible(app, i);
        }
        for (uint32_t j = 0; j < key->n_places && key->state == LOCATE_FOUND; j++) {
            int life = machine_route(&world.machines[app->machine], key->places[j].holder);
            if (life != NOBODY && !world.had_lies)
                check_claim("a locate", app->machine, life, key->digest, &key->places[j]);
        }
    }
}

/* --- 7: rings --- */

/* Equal for equal sets of node ids. */
static uint64_t members_of(const struct machine *machine)
{
    static struct core_inspection inspection;
    uint64_t members = 0;
    core_inspect(machine->core, &inspection);
    for (uint32_t i = 0; i < inspection.n_members && !inspection.ring_is_old; i++)
        members += hash_bytes64(&inspection.members[i].node_id, sizeof(struct id128), 1);
    return members;
}

void check_rings(void)
{
    uint64_t members[MACHINES_MAX], hashes[MACHINES_MAX];
    for (uint32_t i = 0; i < world.plan.machines; i++) {
        const struct machine *machine = &world.machines[i];
        members[i] = 0;
        if (!machine_is_up(machine) || machine->paused_until_ns > world.now_ns)
            continue;
        members[i] = members_of(machine);
        hashes[i] = view_ring_hash(machine->view);
        for (uint32_t j = 0; j < i; j++)
            if (members[i] && members[i] == members[j] && hashes[i] != hashes[j])
                world_violated("7", "m%u and m%u see the same members and have different rings", i,
                               j);
    }
}

/* --- after every event --- */

static void check_calls_end(const struct machine *machine)
{
    for (uint32_t i = 0; i < world.plan.apps; i++) {
        const struct app *app = &machine->apps[i];
        if (app->call != CALL_NONE && world.now_ns > call_allowed_ns(app) + LATE_FOR_GOOD_NS)
            world_violated("5", "a call of kind %d on m%d does not end", app->call,
                           machine->number);
    }
}

void check_after_event(void)
{
    const struct machine *machine = &world.machines[world.n_events_run % world.plan.machines];
    bool is_up = machine_is_up(machine);
    if (world.n_events_run % EVENTS_A_POOL_CHECK == 0 && is_up) {
        check_pool(machine);
        check_calls_end(machine);
    }
    if (world.n_events_run % EVENTS_A_DIRECTORY_CHECK == 0 && is_up) {
        check_directory(machine);
        check_no_former_life(machine);
    }
    if (world.n_events_run % EVENTS_A_RING_CHECK == 0)
        check_rings();
}
