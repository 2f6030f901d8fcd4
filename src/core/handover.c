/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handover.c - a node that is about to leave: it says so, stores nothing new, and lists what it
 * has, the hottest pages first, for others to take over (node/drain.c).
 */
#include "core/replacement.h"
#include "core/rooms.h"

enum { SLOTS_A_STEP = 4096 };

void handover_begin(struct core *core)
{
    if (core->is_draining)
        return;
    core->is_draining = true;
    publish_close(core->publish);
    peers_set_own_state(core->peers, MEMBER_DRAINING);
    membership_set_state(core->membership, core->update, MEMBER_DRAINING);
}

void handover_cancel(struct core *core)
{
    if (!core->is_draining)
        return;
    core->is_draining = false;
    publish_open(core->publish);
    peers_set_own_state(core->peers, MEMBER_ALIVE);
    membership_set_state(core->membership, core->update, MEMBER_ALIVE);
}

static bool describe(const struct core *core, uint32_t slot, uint32_t heat,
                     struct core_page *ret_page)
{
    struct pool_page live;
    bool is_wanted = heat == CORE_HEAT_ANY || pool_heat(core->pool, slot) == heat;
    if (!is_wanted || !pool_live_page(core->pool, slot, &live))
        return false;
    *ret_page = (struct core_page){
        .digest = live.digest,
        .identity = live.identity,
        .epoch = live.epoch,
        .group = pool_group(core->pool, slot),
        .ring_position = live.ring_position,
        .length_bytes = live.place.length_bytes,
        .name_len = core->config.headers[slot].name_len,
        .slot = slot,
        .generation = live.place.generation,
        .offset_bytes = live.place.offset_bytes,
    };
    return true;
}

void handover_list(struct core *core, const struct core_list *list)
{
    uint32_t end = pool_slot_end(core->pool), budget = SLOTS_A_STEP;
    *list->ret_n = 0;
    for (; *list->cursor < end && budget > 0 && *list->ret_n < CORE_BATCH_MAX;
         ++*list->cursor, budget--)
        *list->ret_n += describe(core, *list->cursor, list->heat, &list->pages[*list->ret_n]);
    if (*list->cursor >= end)
        *list->cursor = CORE_SLOT_NONE;
}
