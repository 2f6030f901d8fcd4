/* SPDX-License-Identifier: Apache-2.0 */
/*
 * application.c - threads that call get, set, exists and clear, one call after another.
 */
#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "base/seqtable.h"
#include "sim.h"

/* A call may end this much after its deadline, or after it was let go: the way back. */
#define LATE_ALLOWED_NS (10 * MS)
/* From an exists to the get behind it, and back (honesty.c). */
#define FOLLOW_NS (20 * MS)

bool app_event_is_stale(const struct event *event, struct app **ret_app)
{
    struct app *app = &world.machines[event->machine].apps[event->a];
    *ret_app = app;
    return app->call == CALL_NONE || app->serial != (uint32_t)event->b;
}

/* The process is stopped until then, or a piece of a copy is under way. */
void call_is_held(struct app *app, uint64_t until_ns)
{
    if (app->held_until_ns < until_ns)
        app->held_until_ns = until_ns;
}

uint64_t call_allowed_ns(const struct app *app)
{
    uint64_t latest_ns =
        app->held_until_ns > app->deadline_ns ? app->held_until_ns : app->deadline_ns;
    return latest_ns + LATE_ALLOWED_NS;
}

/* Late, and counted: something held on to the caller's memory beyond the deadline. */
static void note_late(const struct app *app)
{
    if (world.now_ns <= app->deadline_ns + LATE_ALLOWED_NS)
        return;
    uint64_t late_ns = world.now_ns - app->deadline_ns;
    world.totals.late_calls++;
    if (late_ns > world.totals.most_late_ns)
        world.totals.most_late_ns = late_ns;
}

void app_end(struct app *app)
{
    narrate(NARRATED_ended, app->machine, app->number, app->call, 0);
    note_late(app);
    if (world.now_ns > call_allowed_ns(app))
        world_violated("5", "a call of kind %d on m%d ends %llu us after its deadline", app->call,
                       app->machine, (unsigned long long)(world.now_ns - app->deadline_ns) / 1000);
    note_beside_stopped(app);
    app->next = honesty_next(app, app->call);
    app->call = CALL_NONE;
    app->serial++;
    app_schedule(app, world_spread(app->next == CALL_NONE ? world.plan.think_ns : FOLLOW_NS));
}

/* --- completions of the core --- */

static void clear_completed(struct app *app, int error)
{
    narrate(NARRATED_cleared, app->machine, app->number, (uint64_t)(int64_t)error, 0);
    if (error == 0)
        check_cleared(app);
    app_end(app);
}

void app_completed(struct machine *machine, const struct core_completion *completion)
{
    for (uint32_t i = 0; i < world.plan.apps; i++) {
        struct app *app = &machine->apps[i];
        if (!app->is_waiting || app->op != completion->op)
            continue;
        app->is_waiting = false;
        if (app->call == CALL_CLEAR)
            clear_completed(app, completion->error);
        else
            set_completed(app, completion->error, completion->recorded, completion->n);
        return;
    }
    if (completion->op == machine->cancelled)
        return; /* a new life began before it could be cancelled */
    world_violated("5", "m%d completes operation %u, for which nobody waits", machine->number,
                   completion->op);
}

/* --- calls --- */

static void exists_located(struct app *app)
{
    for (uint32_t i = 0; i < app->n; i++) {
        bool is_there = locate_is_there(&app->asking.locate, &app->asking.keys[i]);
        narrate(NARRATED_located, app->machine, app->number, i, is_there);
        honesty_exists(app, i, is_there);
    }
    app_end(app);
}

static void clear_is_late(struct event *event)
{
    struct app *app;
    if (app_event_is_stale(event, &app) || !app->is_waiting)
        return;
    app->is_waiting = false;
    struct core_event cancel = {.type = CORE_CANCEL, .u.set.op = app->op};
    machine_step(&world.machines[app->machine], &cancel, NULL);
    clear_completed(app, -ETIMEDOUT);
}

static void note_who_must_hear(struct app *app)
{
    const struct machine *machine = &world.machines[app->machine];
    memset(app->told, 0, sizeof app->told);
    for (uint16_t peer = 1; peer < PEERS_SEEN_MAX; peer++) {
        struct view_peer info;
        int life = machine->routes[peer];
        if (life != NOBODY && view_peer(machine->view, peer, &info) == 0 &&
            info.state == MEMBER_ALIVE)
            app->told[world.lives[life].machine] =
                (uint64_t)(life + 1) << 8 | world.lives[life].n_former;
    }
}

static void clear_begin(struct app *app)
{
    struct core_event event = {
        .type = CORE_CLEAR,
        .u.clear = {.identity = world.identities[app->keys[0].ns],
                    .ret_epoch = &app->cleared_epoch,
                    .ret_op = &app->op},
    };
    note_who_must_hear(app);
    machine_step(&world.machines[app->machine], &event, app);
    narrate(NARRATED_clear, app->machine, app->keys[0].ns, app->cleared_epoch, 0);
    if (!app->is_waiting)
        return;
    struct event *late = world_at(app->deadline_ns, clear_is_late, app->machine);
    late->a = app->number;
    late->b = app->serial;
}

static void choose_first(const struct app *app, struct page_key *ret_key)
{
    uint32_t a = (uint32_t)world_below(world.plan.keys), b = (uint32_t)world_below(world.plan.keys);
    *ret_key = (struct page_key){(uint32_t)world_below(world.plan.namespaces), a < b ? a : b, 0};
    if (app->call == CALL_GET && world.n_recent > 0 && world_chance(60))
        *ret_key = world.recent[world_below(world.n_recent) % RECENT_MAX];
}

/* Some pages are asked for often, pages set lately too, and neighbours together. */
static void choose_keys(struct app *app)
{
    struct page_key first;
    choose_first(app, &first);
    uint32_t n = 1 + (uint32_t)world_below(BATCH_PAGES);
    app->n = n < world.plan.keys ? n : world.plan.keys;
    for (uint32_t i = 0; i < app->n; i++) {
        app->keys[i] = (struct page_key){
            .ns = first.ns,
            .number = (first.number + i) % world.plan.keys,
        };
    }
}

/* The same page is another one after a clear. */
static void name_keys(struct app *app)
{
    const struct core_view *view = world.machines[app->machine].view;
    for (uint32_t i = 0; i < app->n; i++) {
        uint64_t epoch = view_epoch(view, world.identities[app->keys[i].ns]);
        if (app->keys[i].epoch != epoch)
            app->honesty = (struct honesty){0};
        app->keys[i].epoch = epoch;
        narrate(NARRATED_page, app->machine, app->number, app->keys[i].ns, app->keys[i].number);
    }
}

static enum call_kind choose_call(void)
{
    uint64_t choice = world_below(100);
    if (world.plan.clears && choice < 2)
        return CALL_CLEAR;
    return choice < 45 ? CALL_SET : choice < 92 ? CALL_GET : CALL_EXISTS;
}

static void next_call(struct event *event)
{
    struct app *app = &world.machines[event->machine].apps[event->a];
    if (world.is_settling || world.machines[app->machine].is_leaving)
        return;
    app->call = app->next == CALL_NONE ? choose_call() : app->next;
    app->asks_stopped = false;
    app->serial++;
    app->held_until_ns = 0;
    app->begun = world.n_events_run;
    app->deadline_ns = world.now_ns + 50 * MS + world_below(SECOND);
    if (app->next == CALL_NONE)
        choose_keys(app);
    name_keys(app);
    check_epoch_used(app);
    narrate(NARRATED_call, app->machine, app->number, app->call, app->n);
    switch (app->call) {
    case CALL_GET: get_begin(app); break;
    case CALL_SET: set_begin(app); break;
    case CALL_CLEAR: clear_begin(app); break;
    default: ask_begin(app, app->deadline_ns, exists_located); break;
    }
}

void app_schedule(struct app *app, uint64_t delay_ns)
{
    uint64_t wait_ns = world.burst_until_ns > world.now_ns ? world_below(100 * US) : delay_ns;
    world_after(wait_ns, next_call, app->machine)->a = app->number;
}
