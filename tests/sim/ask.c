/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ask.c - carries out the look-ups of one call, as node/ask.c does with threads and channels.
 *
 * A round asks several owners at once and ends when all have answered or failed, or its time is up.
 */
#include <string.h>

#include "base/check.h"
#include "sim.h"

#define ANSWER_TIMEOUT_NS (250 * MS)

enum answer_state { OPEN = 0, ANSWERED, FAILED };

static void go_on(struct event *event)
{
    struct app *app;
    if (!app_event_is_stale(event, &app))
        ask_go_on(app);
}

static void end_round(struct app *app)
{
    struct asking *asking = &app->asking;
    for (uint32_t i = 0; i < asking->n_asks; i++) {
        if (asking->answered[i] == ANSWERED)
            continue;
        narrate(NARRATED_no_answer, app->machine, app->number, i, 0);
        locate_fail(&asking->locate, &asking->asks[i]);
        machine_peer_failed(&world.machines[app->machine], asking->asks[i].peer);
    }
    asking->round++;
    asking->n_asks = 0;
    struct event *event = world_after(world_below(5 * US), go_on, app->machine);
    event->a = app->number;
    event->b = app->serial;
}

static void round_is_late(struct event *event)
{
    struct app *app;
    uint32_t round = (uint32_t)(event->a >> 8);
    event->a &= 255;
    if (!app_event_is_stale(event, &app) && app->asking.round == round && app->asking.n_asks > 0)
        end_round(app);
}

static void one_less(struct app *app)
{
    if (--app->asking.n_open == 0)
        end_round(app);
}

void ask_answered(struct app *app, uint32_t index, const struct message_locations *answer)
{
    struct asking *asking = &app->asking;
    const struct locate_ask *ask = &asking->asks[index];
    if (index >= asking->n_asks || asking->answered[index] != OPEN)
        return;
    bool has_found[BATCH_PAGES] = {false};
    narrate(NARRATED_answer, app->machine, app->number, index, answer->n_found);
    for (uint32_t i = 0; i < answer->n_found; i++)
        if (answer->found[i].index < BATCH_PAGES)
            has_found[answer->found[i].index] = true;
    for (uint32_t i = 0; i < ask->n; i++)
        asking->denied[asking->locate.order[ask->first + i]] |= answer->complete && !has_found[i];
    locate_answer(&asking->locate, ask, answer);
    asking->answered[index] = ANSWERED;
    machine_peer_answered(&world.machines[app->machine], ask->peer);
    one_less(app);
}

void ask_failed(struct app *app, uint32_t index)
{
    if (index >= app->asking.n_asks || app->asking.answered[index] != OPEN)
        return;
    app->asking.answered[index] = FAILED;
    one_less(app);
}

static void fail_all(struct app *app)
{
    for (uint32_t i = 0; i < app->asking.n_asks; i++)
        locate_fail(&app->asking.locate, &app->asking.asks[i]);
    app->asking.n_asks = 0;
}

static void note_distrusted(struct asking *asking, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < asking->keys[i].n_owners; j++)
            if (!view_peer_trusted(asking->locate.view, asking->keys[i].owners[j]))
                asking->distrusted[i] |= 1u << j;
}

static void plan(struct app *app)
{
    static struct locate_ask asks[LOCATE_ASKS_MAX];
    struct asking *asking = &app->asking;
    note_distrusted(asking, app->n);
    asking->n_asks = locate_plan(&asking->locate, clock_ns(&world.machines[app->machine]), asks);
    CHECK(asking->n_asks <= sizeof asking->asks / sizeof *asking->asks);
    memcpy(asking->asks, asks, asking->n_asks * sizeof *asks);
    for (uint32_t i = 0; i < asking->n_asks; i++) {
        asking->answered[i] = OPEN;
        for (uint32_t j = 0; j < asks[i].n; j++) {
            uint16_t key = asking->locate.order[asks[i].first + j];
            asking->asked[key] |= 1u << asking->keys[key].owner;
        }
    }
}

static void send_round(struct app *app)
{
    struct asking *asking = &app->asking;
    uint64_t wait_ns = (asking->deadline_ns - world.now_ns) / 2;
    asking->n_open = asking->n_asks;
    for (uint32_t i = 0; i < asking->n_asks; i++)
        serve_ask_lookup(app, i);
    struct event *event = world_after(wait_ns < ANSWER_TIMEOUT_NS ? wait_ns : ANSWER_TIMEOUT_NS,
                                      round_is_late, app->machine);
    event->a = (uint64_t)asking->round << 8 | app->number;
    event->b = app->serial;
}

void ask_go_on(struct app *app)
{
    struct asking *asking = &app->asking;
    for (plan(app); asking->n_asks > 0; plan(app)) {
        if (world.now_ns < asking->deadline_ns) {
            send_round(app);
            return;
        }
        fail_all(app);
    }
    check_ask_ended(app);
    asking->done(app);
}

void ask_begin(struct app *app, uint64_t deadline_ns, ask_done *done)
{
    struct asking *asking = &app->asking;
    const struct machine *machine = &world.machines[app->machine];
    asking->begun_ns = world.now_ns;
    asking->deadline_ns = deadline_ns;
    asking->done = done;
    asking->round++;
    asking->n_asks = 0;
    for (uint32_t i = 0; i < app->n; i++) {
        asking->keys[i].digest = filling_digest(&app->keys[i]);
        asking->keys[i].ring_position = filling_ring_position(&app->keys[i]);
        asking->asked[i] = asking->distrusted[i] = 0;
        asking->denied[i] = false;
    }
    locate_begin(&asking->locate, machine->view, asking->keys, app->n);
    asking->locate.is_read = app->call == CALL_GET;
    check_ask_begins(app);
    ask_go_on(app);
}
