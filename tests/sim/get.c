/* SPDX-License-Identifier: Apache-2.0 */
/*
 * get.c - a get, as node/fetch.c: locate, read each page from the best holder, verify, try another.
 */
#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "sim.h"

static void next_round(struct app *app);

static void remember(struct machine *machine, int life, const struct page_key *key,
                     const struct location *place)
{
    if (life == NOBODY)
        return;
    machine->seen[machine->n_seen++ % SEEN_MAX] = (struct seen){true, life, *key, *place};
}

/* --- one page --- */

static void finish(struct app *app, uint32_t page, bool is_hit)
{
    app->is_done[page] = true;
    honesty_get(app, page, is_hit);
    if (!is_hit)
        check_arrived(app, page);
    if (is_hit)
        world.totals.hits++;
    else
        world.totals.misses++;
}

static void note_stale(struct app *app, uint32_t page, const struct location *place)
{
    if (app->n_stales < sizeof app->stales / sizeof *app->stales)
        app->stales[app->n_stales++] = (struct core_stale){
            .peer = place->holder,
            .digest = app->asking.keys[page].digest,
            .ring_position = app->asking.keys[page].ring_position,
            .generation = place->generation,
        };
}

static void page_read(struct read *read, int error)
{
    struct app *app = read->asker;
    const struct location *place = &app->asking.keys[read->page].places[app->places[read->page]];
    struct machine *machine = &world.machines[read->machine];
    if (error == 0) {
        app->touches[app->n_touches++] = (struct core_touch){
            .peer = place->holder, .slot = place->slot, .generation = place->generation};
        finish(app, read->page, true);
        if (read->kind == READ_REMOTE && app->asking.keys[read->page].is_hot)
            copies_keep_read(read);
    } else {
        attempt_failed(&app->attempts[read->page], app->places[read->page], error);
        if (attempt_is_stale(error))
            note_stale(app, read->page, place);
    }
    if (read->kind == READ_REMOTE && (error == -EHOSTUNREACH || error == -ETIMEDOUT))
        machine_peer_failed(machine, place->holder);
    else if (read->kind == READ_REMOTE)
        machine_peer_answered(machine, place->holder);
    if (--app->n_reading == 0)
        next_round(app);
}

static enum read_kind choose_kind(const struct machine *machine, const struct location *place)
{
    struct view_peer info;
    if (place->holder == CORE_SELF)
        return READ_OWN;
    if (world_chance(10))
        return READ_ONE_SIDED;
    return view_peer(machine->view, place->holder, &info) == 0 && info.same_host ? READ_SHARED
                                                                                 : READ_REMOTE;
}

static void begin_read(struct app *app, uint32_t page, uint32_t place_index)
{
    struct machine *machine = &world.machines[app->machine];
    const struct location *place = &app->asking.keys[page].places[place_index];
    struct read *read = &app->reads[page];
    app->places[page] = place_index;
    app->n_reading++;
    read->kind = choose_kind(machine, place);
    read->machine = app->machine;
    read->asker = app;
    read->page = page;
    read->source = machine_route(machine, place->holder);
    read->key = app->keys[page];
    read->slot = place->slot;
    read->expected = (struct slot_expectation){.digest = app->asking.keys[page].digest,
                                               .generation = place->generation,
                                               .offset_bytes = place->offset_bytes,
                                               .length_bytes = place->length_bytes};
    read->deadline_ns = app->deadline_ns;
    read->done = page_read;
    note_asked(app, read->source);
    remember(machine, read->source, &app->keys[page], place);
    read_begin(read);
}

/* --- rounds --- */

static void round_is_late(struct event *event)
{
    struct app *app;
    if (app_event_is_stale(event, &app))
        return;
    for (uint32_t i = 0; i < app->n; i++)
        if (app->reads[i].is_running && app->reads[i].kind == READ_REMOTE)
            read_cancel(&app->reads[i]);
}

static void report(struct app *app)
{
    struct core_event event = {
        .type = CORE_READ_OUTCOMES,
        .u.outcomes = {app->touches, app->n_touches, app->stales, app->n_stales},
    };
    if (app->n_touches + app->n_stales > 0)
        machine_step(&world.machines[app->machine], &event, NULL);
    app_end(app);
}

static void wait_for_round(struct app *app)
{
    uint64_t until_ns = app->deadline_ns;
    if (app->is_first_round && world.now_ns < until_ns)
        until_ns = world.now_ns + (until_ns - world.now_ns) / 4 * 3;
    app->is_first_round = false;
    struct event *event = world_at(until_ns, round_is_late, app->machine);
    event->a = app->number;
    event->b = app->serial;
}

static void located(struct app *app)
{
    bool again = false;
    app->n_reading++; /* until all reads of this round have begun */
    for (uint32_t i = 0; i < app->n; i++) {
        uint32_t place = 0;
        if (app->is_done[i])
            continue;
        narrate(NARRATED_located, app->machine, app->number, i, app->asking.keys[i].state);
        switch (attempt_next(&app->attempts[i], world.machines[app->machine].view,
                             &app->asking.keys[i], app->lengths[i], &place)) {
        case ATTEMPT_READ: begin_read(app, i, place); break;
        case ATTEMPT_LOCATE_AGAIN:
            locate_again(&app->asking.locate, i);
            again = true;
            break;
        case ATTEMPT_GIVE_UP: finish(app, i, false); break;
        }
    }
    if (--app->n_reading > 0)
        wait_for_round(app);
    else if (again)
        ask_go_on(app);
    else
        report(app);
}

static void go_on(struct event *event)
{
    struct app *app;
    if (!app_event_is_stale(event, &app))
        ask_go_on(app);
}

static void next_round(struct app *app)
{
    struct event *event = world_after(world_below(5 * US), go_on, app->machine);
    event->a = app->number;
    event->b = app->serial;
}

void get_begin(struct app *app)
{
    app->n_reading = app->n_touches = app->n_stales = 0;
    app->is_first_round = true;
    for (uint32_t i = 0; i < app->n; i++) {
        attempt_begin(&app->attempts[i]);
        app->is_done[i] = false;
        app->lengths[i] = !app->honesty.is_following && world_chance(5)
                              ? filling_other_length(app->keys[i].ns, app->keys[i].number)
                              : filling_length(app->keys[i].ns, app->keys[i].number);
    }
    ask_begin(app, app->deadline_ns, located);
}
