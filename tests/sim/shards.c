/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shards.c - the pools of a quiet cluster held against the shards of its directory, entry by entry.
 *
 *     9  a live page is in the shard of each of its owners, and no shard has anything else
 */
#include "base/seqtable.h"
#include "core/inspection.h"
#include "core/ring.h"
#include "sim.h"

bool shard_place_is_live(const struct machine *owner, struct id128 digest,
                         const struct location *place, struct pool_page *ret_page)
{
    int life = machine_route(owner, place->holder);
    return life != NOBODY && world.lives[life].is_alive &&
           core_live_page(world.machines[world.lives[life].machine].core, place->slot, ret_page) &&
           id128_equal(ret_page->digest, digest) && ret_page->place.generation == place->generation;
}

static uint32_t owners_of(const struct machine *machine, uint64_t ring_position,
                          int ret_lives[CORE_OWNERS_MAX])
{
    uint16_t peers[CORE_OWNERS_MAX];
    const struct ring *ring = ring_borrow(machine->view->rings);
    uint32_t n = ring_owners(ring, ring_position, world.plan.replicas, peers);
    ring_return(machine->view->rings, ring);
    for (uint32_t i = 0; i < n; i++)
        ret_lives[i] = machine_route(machine, peers[i]);
    return n;
}

/* --- nothing but live pages, and each at one of its owners --- */

static void check_entry(const struct machine *owner, struct id128 digest,
                        const struct location *place)
{
    struct pool_page page;
    int lives[CORE_OWNERS_MAX];
    if (!shard_place_is_live(owner, digest, place, &page))
        world_violated(
            "9",
            "the directory of m%d keeps a page that is gone: slot %u generation %llu of peer %u",
            owner->number, place->slot, (unsigned long long)place->generation, place->holder);
    for (uint32_t i = owners_of(owner, page.ring_position, lives); i > 0; i--)
        if (lives[i - 1] == owner->life)
            return;
    world_violated("9",
                   "the directory of m%d keeps a page that it does not own: slot %u of peer %u",
                   owner->number, place->slot, place->holder);
}

void check_shard(const struct machine *owner)
{
    struct id128 digest;
    struct seqtable_value value;
    uint64_t cursor = 0;
    while (seqtable_walk(owner->view->directory, &cursor, UINT32_MAX, &digest, &value) == 1) {
        struct location places[LOCATE_PLACES_MAX];
        int n = view_holders(owner->view, digest, places);
        if (n <= 0)
            world_violated("9", "the directory of m%d keeps an entry without a holder",
                           owner->number);
        for (; n > 0; n--)
            check_entry(owner, digest, &places[n - 1]);
    }
}

/* --- every live page at every one of its owners --- */

static bool is_listed(const struct machine *owner, struct id128 digest, int holder,
                      uint64_t generation)
{
    struct location places[LOCATE_PLACES_MAX];
    for (int n = view_holders(owner->view, digest, places); n > 0; n--)
        if (machine_route(owner, places[n - 1].holder) == holder &&
            places[n - 1].generation == generation)
            return true;
    return false;
}

void check_is_listed(const struct machine *holder, const struct pool_page *page)
{
    int lives[CORE_OWNERS_MAX];
    for (uint32_t i = owners_of(holder, page->ring_position, lives); i > 0; i--) {
        const struct machine *owner = &world.machines[world.lives[lives[i - 1]].machine];
        if (!is_listed(owner, page->digest, holder->life, page->place.generation))
            world_violated("9", "m%d owns the page in slot %u of m%d, and does not list it",
                           owner->number, page->place.slot, holder->number);
    }
}
