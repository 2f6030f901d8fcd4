/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stopped.c - what one stopped process may cost the others: its own pages, and no more.
 *
 *     5  a get ends by its deadline, whoever is stopped                    (app_end)
 *     9  pages that healthy nodes have all arrive, in the same batch as those that do not
 *     12 nobody is silent or gone in the eyes of others because another one was stopped
 *
 * Checked where the plan stops the same process again and again and nothing else goes wrong.  It
 * may be the holder, an owner, the one that keeps the member list, or all of these.
 */
#include "core/inspection.h"
#include "sim.h"

/* A reader waits for a stopped owner once, and then for a stopped holder. */
#define DEADLINE_ENOUGH_NS (600 * MS)
#define DISTRUST_NS (10 * SECOND)

static const struct machine *stopped_machine(void)
{
    const struct machine *machine = &world.machines[world.plan.stopped];
    bool is_stopped = machine_is_up(machine) && machine->paused_until_ns > world.now_ns;
    return world.plan.pauses_one && is_stopped ? machine : NULL;
}

/* Whether there is nobody but the stopped one that this machine lately found fault with. */
static bool trusts_the_rest(const struct machine *machine, const struct machine *stopped)
{
    for (uint32_t i = 0; i < PEERS_SEEN_MAX; i++) {
        uint64_t distrusted_ns = machine->distrusted_ns[i];
        if (distrusted_ns && distrusted_ns + DISTRUST_NS > world.now_ns &&
            machine->routes[i] != stopped->life)
            return false;
    }
    return true;
}

/* Whether somebody healthy had it, and said so, before the process was stopped. */
static bool must_arrive(const struct app *app, uint32_t page, const struct machine *stopped)
{
    uint32_t n_holders = 0;
    bool must = false;
    for (uint32_t i = 0; i < world.n_lives; i++) {
        const struct life *life = &world.lives[i];
        bool is_holder = false;
        for (uint32_t g = 1; g < life->fillings_size; g++) {
            const struct filling *filling = &life->fillings[g];
            if (filling->state == 0 || !id128_equal(filling->digest, app->asking.keys[page].digest))
                continue;
            is_holder = true;
            must |= life->machine != stopped->number && filling->visible &&
                    filling->visible < world.stopped_at && filling->visible < app->begun &&
                    filling->visible_ring && filling->visible_ring == check_common_ring() &&
                    check_is_live(life, filling, g);
        }
        n_holders += is_holder;
    }
    return must && n_holders <= LOCATE_PLACES_MAX;
}

void check_arrived(const struct app *app, uint32_t page)
{
    const struct machine *stopped = stopped_machine(), *machine = &world.machines[app->machine];
    const struct page_key *key = &app->keys[page];
    if (!stopped || machine == stopped ||
        app->deadline_ns - app->asking.begun_ns < DEADLINE_ENOUGH_NS ||
        app->lengths[page] != filling_length(key->ns, key->number))
        return;
    world.totals.missed_beside++;
    if (trusts_the_rest(machine, stopped) && must_arrive(app, page, stopped))
        world_violated("9", "m%d misses ns %u number %u while m%d is stopped, which others have",
                       machine->number, key->ns, key->number, stopped->number);
}

/* Whatever the stopped one says when it goes on: those that were not have spoken to each other. */
void check_not_taken_away(const struct machine *machine, int life, uint8_t state)
{
    if (!world.plan.pauses_one || life == NOBODY || state == MEMBER_ALIVE)
        return;
    const struct machine *member = &world.machines[world.lives[life].machine];
    if (member->number == (int)world.plan.stopped || !world.lives[life].is_alive)
        return;
    world_violated("12", "m%d takes m%d away (state %u), which has always been there",
                   machine->number, member->number, state);
}

/* --- what the stopped one costs --- */

void note_asked(struct app *app, int life)
{
    const struct machine *stopped = stopped_machine();
    if (stopped && life == stopped->life)
        app->asks_stopped = true;
}

void note_beside_stopped(const struct app *app)
{
    if (!stopped_machine() || app->machine == stopped_machine()->number)
        return;
    world.totals.beside_stopped++;
    world.totals.waited_for_stopped += app->asks_stopped;
}
