/* SPDX-License-Identifier: Apache-2.0 */
/*
 * groups.c - pages of one number, in all namespaces and epochs, are parts of one page.
 *
 *     10  parts that a node had in its index together leave it in one step
 *
 * What is there after a step is compared with what was there after the step before.  A page that is
 * stored when the rest of its group has left starts a new group.
 */
#include "base/seqtable.h"
#include "core/inspection.h"
#include "sim.h"

uint64_t group_of(const struct page_key *key)
{
    return world.plan.groups ? key->number + UINT64_C(1) : 0;
}

static bool is_found(const struct machine *machine, uint32_t slot, const struct part *part)
{
    struct seqtable_value value;
    struct location place;
    if (seqtable_find(machine->view->pool_index, part->digest, &value) != 0)
        return false;
    location_unpack(value.bytes, &place);
    return place.slot == slot && place.generation == part->generation && place.length_bytes > 0;
}

static struct part part_in(const struct machine *machine, uint32_t slot)
{
    struct pool_page page;
    if (!core_live_page(machine->core, slot, &page))
        return (struct part){0};
    const struct filling *filling = filling_find(machine_life(machine), page.place.generation);
    /* None: only with a protection switched off, published before it was noted. */
    if (!filling || filling->is_alone)
        return (struct part){0};
    return (struct part){group_of(&filling->key), page.place.generation, page.digest};
}

static void check_part(const struct machine *machine, uint32_t slot, uint32_t n_left)
{
    const struct part *part = &machine->parts[slot];
    if (part->generation && n_left && is_found(machine, slot, part))
        world_violated("10",
                       "m%d finds slot %u generation %llu of number %llu, of which another part "
                       "has left",
                       machine->number, slot, (unsigned long long)part->generation,
                       (unsigned long long)part->group - 1);
}

void check_groups(struct machine *machine)
{
    uint32_t n_left[KEYS_MAX + 1] = {0}; /* by group */
    if (!world.plan.groups)
        return;
    for (uint32_t slot = 0; slot < machine->slots; slot++) {
        const struct part *part = &machine->parts[slot];
        if (part->generation && !is_found(machine, slot, part))
            n_left[part->group]++;
    }
    for (uint32_t slot = 0; slot < machine->slots; slot++) {
        check_part(machine, slot, n_left[machine->parts[slot].group]);
        machine->parts[slot] = part_in(machine, slot);
    }
    for (uint32_t group = 1; group <= KEYS_MAX; group++)
        world.totals.groups_left += n_left[group] > 1;
}
