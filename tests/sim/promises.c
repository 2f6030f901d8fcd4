/* SPDX-License-Identifier: Apache-2.0 */
/*
 * promises.c - what a call says to its caller, held against what other calls see later.
 *
 *     clear returned 0      every alive member has heard, and no get of theirs that begins later
 *                           has a hit on bytes that one of them had before the clear began
 *     set said recorded     whoever looks for the page later finds it, while it is there
 *     any call              works on the newest epoch that its node knows
 *
 * The second holds in calm runs only, and among nodes that answer each other in time.
 */
#include "base/seqtable.h"
#include "core/inspection.h"
#include "core/ring.h"
#include "sim.h"

/* --- epochs --- */

static uint64_t epoch_known(const struct machine *machine, uint32_t ns)
{
    seqtable_inject_again(machine->view->epochs, 0);
    uint64_t epoch = view_epoch(machine->view, world.identities[ns]);
    seqtable_inject_again(machine->view->epochs, world.plan.again_every_nth);
    return epoch;
}

void check_epoch_used(const struct app *app)
{
    const struct machine *machine = &world.machines[app->machine];
    const struct page_key *key = &app->keys[0];
    uint64_t epoch = epoch_known(machine, key->ns);
    if (key->epoch != epoch)
        world_violated("1", "m%d works on epoch %llu of ns %u and knows of %llu", machine->number,
                       (unsigned long long)key->epoch, key->ns, (unsigned long long)epoch);
}

static bool is_member_to(const struct machine *machine, int life)
{
    for (uint32_t i = 0; i < PEERS_SEEN_MAX; i++)
        if (machine->routes[i] == life)
            return true;
    return false;
}

/* Who is no member by now is not meant. */
static bool must_have_heard(const struct app *app, const struct machine *machine)
{
    if (machine->number == app->machine)
        return true;
    uint64_t told = app->told[machine->number];
    return told > 0 && machine->life == (int)(told >> 8) - 1 &&
           machine_life(machine)->n_former == (told & 255) &&
           is_member_to(&world.machines[app->machine], machine->life);
}

void check_cleared(const struct app *app)
{
    uint32_t ns = app->keys[0].ns;
    for (uint32_t i = 0; i < world.plan.machines; i++) {
        struct machine *machine = &world.machines[i];
        if (!must_have_heard(app, machine))
            continue;
        if (epoch_known(machine, ns) < app->cleared_epoch)
            world_violated("1", "a clear of ns %u has ended, and m%u has not heard of it", ns, i);
        if (machine->cleared[ns].begun < app->begun) {
            machine->cleared[ns].begun = app->begun;
            machine->cleared[ns].ended = world.n_events_run;
        }
    }
}

/* Holders that were no members when it was cleared are not meant. */
void check_hit_is_new(const struct app *app, int source, const struct filling *filling)
{
    const struct machine *machine = &world.machines[app->machine];
    const struct machine *holder = &world.machines[world.lives[source].machine];
    uint32_t ns = filling->key.ns;
    uint64_t begun = machine->cleared[ns].begun;
    bool is_meant = machine->cleared[ns].ended && app->begun > machine->cleared[ns].ended &&
                    holder->life == source && holder->cleared[ns].begun == begun;
    if (is_meant && filling->begun < begun)
        world_violated(
            "1", "m%d has a hit on ns %u number %u epoch %llu, which was set before a clear",
            machine->number, ns, filling->key.number, (unsigned long long)filling->key.epoch);
}

/* --- visible --- */

/* Longer than a breaker stays open, and than any call takes. */
#define DISTRUST_NS (10 * SECOND)

/* Who failed to answer lately is told of new pages, but not waited for, and not asked. */
static bool trusts_all(const struct machine *machine)
{
    for (uint32_t i = 0; i < PEERS_SEEN_MAX; i++)
        if (machine->distrusted_ns[i] && machine->distrusted_ns[i] + DISTRUST_NS > world.now_ns)
            return false;
    return true;
}

/* The ring of all machines that are up, or 0 when they do not agree, or a shard is not complete. */
uint64_t check_common_ring(void)
{
    uint64_t common = 0;
    for (uint32_t i = 0; i < world.plan.machines; i++) {
        const struct machine *machine = &world.machines[i];
        if (!machine_is_up(machine))
            continue;
        uint64_t hash = view_ring_hash(machine->view);
        if ((common && hash != common) || !view_is_complete(machine->view, hash))
            return 0;
        common = hash;
    }
    return common;
}

void note_visible(const struct life *life, uint64_t generation)
{
    struct filling *filling = filling_find(life, generation);
    filling->visible = world.n_events_run;
    bool is_promise =
        (world.plan.is_calm || world.plan.pauses_one) && trusts_all(&world.machines[life->machine]);
    filling->visible_ring = is_promise ? check_common_ring() : 0;
}

bool check_is_live(const struct life *life, const struct filling *filling, uint64_t generation)
{
    struct pool_page page;
    const struct machine *machine = &world.machines[life->machine];
    return life->is_alive && core_live_page(machine->core, filling->slot, &page) &&
           page.place.generation == generation;
}

/* Where a fifth holder came, the owner forgot one of them. */
static void check_forgotten(const struct app *app, uint32_t key, struct id128 digest)
{
    uint32_t n_lives = 0;
    const struct filling *missed = NULL;
    for (uint32_t i = 0; i < world.n_lives; i++) {
        const struct life *life = &world.lives[i];
        bool is_known = false;
        for (uint32_t g = 1; g < life->fillings_size; g++) {
            const struct filling *filling = &life->fillings[g];
            if (filling->state == 0 || !id128_equal(filling->digest, digest))
                continue;
            is_known = true;
            bool was_visible = filling->visible && filling->visible < app->begun &&
                               filling->visible_ring &&
                               filling->visible_ring == check_common_ring();
            if (was_visible && check_is_live(life, filling, g))
                missed = filling;
        }
        n_lives += is_known;
    }
    if (missed && n_lives <= CORE_HOLDERS_MAX)
        world_violated("9", "m%d does not find ns %u number %u, whose set said that it is visible",
                       app->machine, app->keys[key].ns, app->keys[key].number);
}

void check_unknown_is_invisible(const struct app *app, uint32_t key)
{
    if (world.plan.is_calm && world.plan.directory_limit >= 4096 &&
        trusts_all(&world.machines[app->machine]))
        check_forgotten(app, key, app->asking.keys[key].digest);
}
