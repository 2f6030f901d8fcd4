/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drain.c - a machine that hands its pages to others before it leaves, as node/drain.c does: by
 * eighths of the order of eviction, while its applications and those of others go on.
 */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "core/replacement.h"
#include "sim.h"

enum { PAGES_AT_ONCE = 8 };

static struct draining {
    uint32_t heat, cursor;
    event_run *gone;
} drainings[MACHINES_MAX];

static void parcel_arrives(struct event *event)
{
    const struct original *original = event->box;
    if (world.is_settling)
        return;
    world.totals.handed_over +=
        copies_keep(&world.machines[event->machine], original,
                    event->a > REPLACEMENT_HEAT_MAX / 2 ? CORE_CLAIM_RETIRED : CORE_CLAIM_FREE);
}

/* The page is pinned while its bytes are taken: it may be gone, and then is not sent. */
static void send_page(const struct machine *machine, const struct core_page *page, uint32_t heat)
{
    struct life *life = machine_life(machine);
    const struct filling *filling = filling_find(life, page->generation);
    struct machine *to = &world.machines[world_below(world.plan.machines)];
    struct slot_header *header = &life->headers[page->slot];
    if (to == machine || !machine_is_up(to) || slot_word_pin(&header->word, page->generation) != 0)
        return;
    struct original *original = malloc(sizeof *original);
    CHECK(original);
    *original = (struct original){.life = machine->life,
                                  .generation = page->generation,
                                  .key = filling->key,
                                  .group = page->group,
                                  .length_bytes = page->length_bytes};
    memcpy(original->bytes, life->payload + page->offset_bytes, page->length_bytes);
    slot_word_unpin(&header->word);
    struct event *event =
        world_at(path_arrival_ns(machine->number, to->number), parcel_arrives, to->number);
    event->a = heat;
    event->box = original;
}

static void go_on(struct event *event)
{
    static struct core_page pages[CORE_BATCH_MAX];
    struct machine *machine = &world.machines[event->machine];
    struct draining *draining = &drainings[machine->number];
    uint32_t n = 0;
    struct core_event list = {.type = CORE_LIST,
                              .u.list = {draining->heat, &draining->cursor, &n, pages}};
    if (world.is_settling)
        return;
    machine_step(machine, &list, NULL);
    for (uint32_t i = 0; i < n && i < PAGES_AT_ONCE; i++)
        send_page(machine, &pages[i], draining->heat);
    if (draining->cursor == CORE_SLOT_NONE && draining->heat-- == 0) {
        world_after(world_spread(MS), draining->gone, machine->number);
        return;
    }
    if (draining->cursor == CORE_SLOT_NONE)
        draining->cursor = 0;
    world_after(world_spread(world.plan.chunk_ns), go_on, machine->number);
}

void drain_begin(struct machine *machine, event_run *gone)
{
    struct core_event event = {.type = CORE_DRAIN};
    drainings[machine->number] = (struct draining){REPLACEMENT_HEAT_MAX, 0, gone};
    narrate(NARRATED_leave, machine->number, 1, 0, 0);
    machine_step(machine, &event, NULL);
    world_after(world_spread(MS), go_on, machine->number);
}
