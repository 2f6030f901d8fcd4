/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settle.c - what must hold of a quiet cluster: invariant 9, and that nothing was left behind.
 *
 * The faults have stopped, calls have ended, and the time has passed that the design allows for
 * healing.  Who is up is a member everywhere; every live page is found from everywhere, and nothing
 * else is.
 */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/seqtable.h"
#include "core/inspection.h"
#include "sim.h"

enum { PAGES_MAX = MACHINES_MAX * SLOTS_MAX };

static struct live {
    struct pool_page page;
    int machine;
    uint32_t slot;
    bool must_be_found;
} pages[PAGES_MAX];
static uint32_t n_pages;

static bool is_up(uint32_t number)
{
    return machine_is_up(&world.machines[number]);
}

static bool is_host_up(int host)
{
    for (uint32_t i = 0; i < world.plan.machines; i++)
        if (is_up(i) && world.machines[i].host == host)
            return true;
    return false;
}

/* Somebody is there whom all know from the beginning: at the only seed, or all hosts are seeds. */
bool settle_has_discovery(void)
{
    for (uint32_t i = 0; i < world.plan.machines; i++)
        if (is_up(i) && (world.machines[i].host == 0 || world.plan.seeds == world.plan.hosts))
            return true;
    return false;
}

/* --- nothing is left behind --- */

static void check_left_behind(const struct machine *machine)
{
    check_pool(machine);
    if (machine->n_filling > 0)
        world_violated("5", "m%d still has %u slots being filled", machine->number,
                       machine->n_filling);
    for (uint32_t i = 0; i < world.plan.apps; i++)
        if (machine->apps[i].call != CALL_NONE)
            world_violated("5", "a call of kind %d on m%d never ended", machine->apps[i].call,
                           machine->number);
    for (uint32_t slot = 0; slot < machine->slots; slot++)
        if (slot_word_pins(atomic_load(&world.lives[machine->life].headers[slot].word)) > 0)
            world_violated("8", "slot %u of m%d is pinned for ever", slot, machine->number);
}

/* --- members, epochs --- */

static void check_members(const struct machine *machine)
{
    static struct core_inspection inspection;
    uint32_t n_up = 0;
    core_inspect(machine->core, &inspection);
    for (uint32_t i = 0; i < world.plan.machines; i++) {
        bool is_seen = false;
        for (uint32_t j = 0; j < inspection.n_members; j++)
            is_seen |= is_up(i) &&
                       id128_equal(inspection.members[j].node_id, world.machines[i].node_id) &&
                       inspection.members[j].incarnation ==
                           world.lives[world.machines[i].life].incarnation &&
                       inspection.members[j].is_connected;
        n_up += is_up(i);
        if (is_up(i) && !is_seen)
            world_violated("9", "m%d does not see m%u, or is not connected to it", machine->number,
                           i);
    }
    if (inspection.n_members != n_up)
        world_violated("9", "m%d sees %u members of %u", machine->number, inspection.n_members,
                       n_up);
    if (!inspection.is_complete)
        world_violated("9", "the shard of m%d is not complete", machine->number);
}

static void check_one_ring(void)
{
    uint64_t common = 0;
    for (uint32_t i = 0; i < world.plan.machines; i++) {
        uint64_t hash = is_up(i) ? view_ring_hash(world.machines[i].view) : common;
        if (common && hash != common)
            world_violated("9", "m%u has another ring than the machines before it", i);
        common = hash;
    }
}

/* The hosts that are masters, as bits; all answer, unless it is the head and nobody is there. */
static uint64_t masters_of(const struct machine *machine)
{
    static struct core_inspection inspection;
    uint64_t masters = 0;
    core_inspect(machine->core, &inspection);
    for (uint32_t i = 0; i < inspection.n_masters; i++) {
        const struct core_master *master = &inspection.masters[i];
        int host = atoi(master->at.host + 1);
        masters |= UINT64_C(1) << host;
        if (!(master->answers && master->is_fresh) && !(master->is_head && !is_host_up(host)))
            world_violated("9", "m%d has no answer from its master on host %d", machine->number,
                           host);
    }
    return masters;
}

static void check_masters(void)
{
    uint64_t masters = 0;
    for (uint32_t i = 0; i < world.plan.machines; i++) {
        if (!is_up(i))
            continue;
        uint64_t own = masters_of(&world.machines[i]);
        if (masters && own != masters)
            world_violated("9", "m%u has the masters %llx, another %llx", i,
                           (unsigned long long)own, (unsigned long long)masters);
        masters = own;
    }
}

static void check_epochs(void)
{
    for (uint32_t ns = 0; ns < world.plan.namespaces; ns++) {
        uint64_t epoch = UINT64_MAX;
        for (uint32_t i = 0; i < world.plan.machines; i++) {
            if (!is_up(i))
                continue;
            uint64_t own = view_epoch(world.machines[i].view, world.identities[ns]);
            if (epoch != UINT64_MAX && own != epoch)
                world_violated("9", "ns %u: m%u knows epoch %llu, another %llu", ns, i,
                               (unsigned long long)own, (unsigned long long)epoch);
            epoch = own;
        }
    }
}

/* --- pages --- */

static void check_not_cleared(const struct machine *machine, const struct pool_page *page)
{
    const struct filling *filling =
        filling_find(&world.lives[machine->life], page->place.generation);
    uint64_t epoch = view_epoch(machine->view, world.identities[filling->key.ns]);
    if (filling->key.epoch < epoch)
        world_violated("9", "m%d keeps ns %u number %u of epoch %llu, and knows of epoch %llu",
                       machine->number, filling->key.ns, filling->key.number,
                       (unsigned long long)filling->key.epoch, (unsigned long long)epoch);
}

/* An entry has room for so many holders: where one more came, the owner dropped one, and knows of
 * none when the others let the page go. */
static bool had_many_holders(struct id128 digest)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < world.n_lives; i++)
        for (uint32_t g = 1; g < world.lives[i].fillings_size; g++)
            if (world.lives[i].fillings[g].state == FILLING_WHOLE &&
                id128_equal(world.lives[i].fillings[g].digest, digest)) {
                n++;
                break;
            }
    return n > LOCATE_PLACES_MAX;
}

/* A shard at its limit drops entries; and who was lied to about a page's length tells its owner
 * that this filling cannot be read. */
static bool must_be_found(struct id128 digest)
{
    return world.plan.directory_limit >= 4096 && !world.had_lies && !had_many_holders(digest);
}

static void list_pages(void)
{
    n_pages = 0;
    for (uint32_t i = 0; i < world.plan.machines; i++) {
        struct pool_page page;
        for (uint32_t slot = 0; is_up(i) && slot < world.machines[i].slots; slot++)
            if (core_live_page(world.machines[i].core, slot, &page)) {
                check_not_cleared(&world.machines[i], &page);
                bool must = must_be_found(page.digest);
                pages[n_pages++] = (struct live){page, (int)i, slot, must};
            }
    }
}

static void ask_at_once(const struct machine *asker, struct locate *locate,
                        const struct locate_ask *ask)
{
    static struct record_holder holders[BATCH_MAX];
    static struct record_found found[FOUND_MAX];
    struct record_key keys[BATCH_MAX];
    struct message_lookup lookup;
    struct message_locations answer;
    int life = machine_route(asker, ask->peer);
    if (life == NOBODY || !world.lives[life].is_alive)
        world_violated("9", "m%d would ask an owner that is gone", asker->number);
    locate_fill_lookup(locate, ask, keys, &lookup);
    view_answer_lookup(world.machines[world.lives[life].machine].view, &lookup, holders, found,
                       &answer);
    locate_answer(locate, ask, &answer);
}

static void check_key(const struct machine *asker, const struct locate_key *key,
                      const struct live *page)
{
    if (key->state != LOCATE_FOUND && page->must_be_found)
        world_violated("9", "m%d does not find the page in slot %u of m%d (state %d)",
                       asker->number, page->slot, page->machine, key->state);
    struct pool_page found;
    for (uint32_t i = 0; i < key->n_places; i++)
        if (!shard_place_is_live(asker, key->digest, &key->places[i], &found))
            world_violated(
                "9", "m%d is sent to a page that is gone: slot %u generation %llu of life %d",
                asker->number, key->places[i].slot, (unsigned long long)key->places[i].generation,
                machine_route(asker, key->places[i].holder));
}

static void find_pages(const struct machine *asker, uint32_t from, uint32_t n)
{
    static struct locate locate;
    static struct locate_key keys[LOCATE_KEYS_MAX];
    static struct locate_ask asks[LOCATE_ASKS_MAX];
    for (uint32_t i = 0; i < n; i++) {
        keys[i].digest = pages[from + i].page.digest;
        keys[i].ring_position = pages[from + i].page.ring_position;
    }
    locate_begin(&locate, asker->view, keys, n);
    for (uint32_t n_asks; (n_asks = locate_plan(&locate, clock_ns(asker), asks)) > 0;)
        for (uint32_t i = 0; i < n_asks; i++)
            ask_at_once(asker, &locate, &asks[i]);
    for (uint32_t i = 0; i < n; i++)
        check_key(asker, &keys[i], &pages[from + i]);
}

void settle_check(void)
{
    for (uint32_t i = 0; i < world.plan.machines; i++)
        if (is_up(i))
            check_left_behind(&world.machines[i]);
    check_rings();
    if (!settle_has_discovery())
        return;
    list_pages();
    check_masters();
    check_epochs();
    for (uint32_t i = 0; i < world.plan.machines; i++)
        if (is_up(i))
            check_members(&world.machines[i]);
    check_one_ring();
    for (uint32_t i = 0; i < world.plan.machines; i++) {
        const struct machine *machine = &world.machines[i];
        if (!is_up(i))
            continue;
        check_shard(machine);
        for (uint32_t from = 0; from < n_pages; from += LOCATE_KEYS_MAX)
            find_pages(machine, from,
                       n_pages - from < LOCATE_KEYS_MAX ? n_pages - from : LOCATE_KEYS_MAX);
    }
    for (uint32_t i = 0; i < n_pages; i++)
        if (pages[i].must_be_found)
            check_is_listed(&world.machines[pages[i].machine], &pages[i].page);
}
