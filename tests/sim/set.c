/* SPDX-License-Identifier: Apache-2.0 */
/*
 * set.c - a set, as node/store.c: skip what is stored, take room, copy, seal, announce, wait.
 *
 * The copy takes time: between its pieces everything else goes on.  Sometimes the application gives
 * up in the middle of it.
 */
#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "base/hash.h"
#include "sim.h"

enum { FULL_TRIES = 3 };
#define FULL_PAUSE_NS (2 * MS)
#define EXISTS_TIMEOUT_NS (300 * MS)

static void later(struct app *app, uint64_t delay_ns, event_run *run)
{
    struct event *event = world_after(delay_ns, run, app->machine);
    event->a = app->number;
    event->b = app->serial;
}

static uint32_t page_of(const struct app *app, const struct core_page *page)
{
    for (uint32_t i = 0; i < app->n; i++)
        if (id128_equal(app->asking.keys[i].digest, page->digest))
            return i;
    CHECK(false);
}

/* --- copied, and what comes of it --- */

static void reserve(struct event *event);

static void try_again_or_end(struct app *app)
{
    bool is_full = false;
    for (uint32_t i = 0; i < app->n_pages; i++) {
        const struct core_page *page = &app->pages[i];
        if (page->error == -EBUSY)
            is_full = true;
        else
            app->is_done[page_of(app, page)] = true;
    }
    world.totals.refused += is_full;
    if (is_full && ++app->tries < FULL_TRIES && world.now_ns + FULL_PAUSE_NS < app->deadline_ns)
        later(app, FULL_PAUSE_NS, reserve);
    else
        app_end(app);
}

static void wait_is_over(struct event *event)
{
    struct app *app;
    if (app_event_is_stale(event, &app) || !app->is_waiting)
        return;
    app->is_waiting = false;
    struct core_event cancel = {.type = CORE_CANCEL, .u.set.op = app->op};
    machine_step(&world.machines[app->machine], &cancel, NULL);
    machine_distrust_all(&world.machines[app->machine]);
    narrate(NARRATED_stored, app->machine, app->number, (uint64_t)-ETIMEDOUT, 0);
    try_again_or_end(app);
}

static void say_copied(struct app *app)
{
    struct machine *machine = &world.machines[app->machine];
    struct core_event event = {
        .type = CORE_COPIED,
        .u.set = {.pages = app->pages, .n = app->n_pages, .op = app->op},
    };
    for (uint32_t i = 0; i < app->n_pages; i++) {
        if (app->pages[i].generation == 0)
            continue;
        machine->n_filling--;
        machine->filling_bytes -= filling_room_bytes(app->pages[i].length_bytes);
    }
    machine_step(machine, &event, app);
    if (!app->is_waiting)
        return;
    struct event *late = world_at(app->deadline_ns, wait_is_over, app->machine);
    late->a = app->number;
    late->b = app->serial;
}

static void go_on_after_wait(struct event *event)
{
    struct app *app;
    if (!app_event_is_stale(event, &app))
        try_again_or_end(app);
}

void set_completed(struct app *app, int error, const uint8_t *recorded, uint32_t n)
{
    uint32_t n_recorded = 0;
    for (uint32_t i = 0; i < n; i++) {
        n_recorded += recorded[i];
        if (recorded[i])
            note_visible(machine_life(&world.machines[app->machine]), app->pages[i].generation);
    }
    world.totals.stored += n_recorded;
    narrate(NARRATED_stored, app->machine, app->number, (uint64_t)(int64_t)error, n_recorded);
    later(app, world_below(20 * US), go_on_after_wait);
}

/* --- copying --- */

static struct core_page *page_to_copy(struct app *app)
{
    while (app->copying < app->n_pages && app->pages[app->copying].error != 0)
        app->copying++;
    return app->copying < app->n_pages ? &app->pages[app->copying] : NULL;
}

static void end_page(struct app *app, struct core_page *page, int error)
{
    struct life *life = machine_life(&world.machines[app->machine]);
    struct filling *filling = filling_find(life, page->generation);
    page->error = error;
    filling->state = error ? FILLING_GIVEN_UP : FILLING_WHOLE;
    narrate(error ? NARRATED_given_up : NARRATED_copied, app->machine, app->number, page->slot,
            page->generation);
    app->copying++;
    app->chunk = 0;
}

static void seal(struct app *app, struct core_page *page)
{
    struct life *life = machine_life(&world.machines[app->machine]);
    uint8_t *payload = life->payload + page->offset_bytes;
    filling_name(filling_find(life, page->generation)->key.number, payload + page->length_bytes);
    life->headers[page->slot].checksum = hash_bytes64(payload, page->length_bytes, 0);
    slot_word_copy_end();
    bool sealed = slot_word_seal(&life->headers[page->slot].word, page->generation);
    end_page(app, page, sealed ? 0 : -ESTALE);
}

static void copy_piece(struct event *event);

/* A piece takes what it takes, whatever the deadline says. */
static void next_piece(struct app *app)
{
    uint64_t delay_ns = world_spread(world.plan.chunk_ns);
    call_is_held(app, world.now_ns + delay_ns);
    later(app, delay_ns, copy_piece);
}

static void copy_piece(struct event *event)
{
    struct app *app;
    if (app_event_is_stale(event, &app))
        return;
    struct machine *machine = &world.machines[app->machine];
    struct core_page *page = page_to_copy(app);
    if (!page) {
        say_copied(app);
        return;
    }
    uint32_t pieces = 1 + page->length_bytes % 5;
    uint32_t bytes = (page->length_bytes + pieces - 1) / pieces, from = app->chunk * bytes;
    if (app->chunk == 0 && world.now_ns >= app->deadline_ns) {
        end_page(app, page, -ETIMEDOUT);
        later(app, world_below(US), copy_piece);
        return;
    }
    if (app->chunk == 0)
        slot_word_copy_begin();
    if (app->gives_up && world_chance(30)) {
        slot_word_copy_end();
        end_page(app, page, -EINVAL);
    } else if (from >= page->length_bytes) {
        seal(app, page);
    } else {
        uint32_t len = page->length_bytes - from < bytes ? page->length_bytes - from : bytes;
        filling_write(machine->life, page->generation, from, len,
                      machine_life(machine)->payload + page->offset_bytes + from);
        app->chunk++;
    }
    next_piece(app);
}

/* --- room --- */

static void take_pages(struct app *app)
{
    app->n_pages = 0;
    for (uint32_t i = 0; i < app->n; i++) {
        if (app->is_done[i])
            continue;
        const struct page_key *key = &app->keys[i];
        struct page_key parent = {key->ns, key->number - 1, key->epoch};
        bool has_parent = key->number % 4 && (key->ns == 0 || !world.plan.groups);
        app->pages[app->n_pages++] = (struct core_page){
            .digest = app->asking.keys[i].digest,
            .identity = world.identities[key->ns],
            .epoch = key->epoch,
            .parent = has_parent ? filling_digest(&parent) : (struct id128){0},
            .group = group_of(key),
            .ring_position = app->asking.keys[i].ring_position,
            .length_bytes = filling_length(key->ns, key->number),
            .name_len = NAME_BYTES,
        };
    }
}

static void note_reserved(struct app *app)
{
    struct machine *machine = &world.machines[app->machine];
    for (uint32_t i = 0; i < app->n_pages; i++) {
        struct core_page *page = &app->pages[i];
        const struct page_key *key = &app->keys[page_of(app, page)];
        if (page->error) {
            narrate(NARRATED_reserved_not, app->machine, key->ns, key->number,
                    (uint64_t)(int64_t)page->error);
            continue;
        }
        filling_begin(machine_life(machine), page, key);
        world.recent[world.n_recent++ % RECENT_MAX] = *key;
        machine->n_filling++;
        machine->filling_bytes += filling_room_bytes(page->length_bytes);
        narrate(NARRATED_reserve, app->machine, page->slot, page->generation, page->length_bytes);
    }
}

static void reserve(struct event *event)
{
    struct app *app;
    if (app_event_is_stale(event, &app))
        return;
    take_pages(app);
    struct core_event reserve_event = {
        .type = CORE_RESERVE,
        .u.set = {.pages = app->pages, .n = app->n_pages, .ret_op = &app->op},
    };
    machine_step(&world.machines[app->machine], &reserve_event, NULL);
    note_reserved(app);
    app->copying = app->chunk = 0;
    if (app->op == 0)
        try_again_or_end(app);
    else
        next_piece(app);
}

static void located(struct app *app)
{
    bool any = false;
    for (uint32_t i = 0; i < app->n; i++) {
        app->is_done[i] =
            !app->doubles && locate_is_there(&app->asking.locate, &app->asking.keys[i]);
        any |= !app->is_done[i];
    }
    if (any)
        later(app, world_below(10 * US), reserve);
    else
        app_end(app);
}

void set_begin(struct app *app)
{
    uint64_t until_ns = world.now_ns + EXISTS_TIMEOUT_NS;
    app->tries = 0;
    app->doubles = world.plan.doubles && world_chance(70);
    app->gives_up = world.plan.gives_up && world_chance(20);
    ask_begin(app, until_ns < app->deadline_ns ? until_ns : app->deadline_ns, located);
}
