/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replacement.h - which page goes next when the pool needs room: the coldest that no other needs.
 *
 * Least recently used, with one rule more: a page is of no use without the pages before it, so a
 * page that has children in the pool stays until they are gone.  docs/replacement.md has the
 * measurements behind this choice.  Nothing is allocated after replacement_new, every call takes a
 * bounded number of steps, and one thread at a time calls them.
 *
 * Pages that are of use only together are bound into a unit.  It has one place in the order, that
 * of its first page, the leader; whatever is done to one part is done to the unit.
 */
#ifndef CORE_REPLACEMENT_H
#define CORE_REPLACEMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/extent.h" /* SLOT_NONE */

enum {
    REPLACEMENT_HEAT_MAX = 7,
    /* A page used within so many uses of its parent takes its place directly behind it. */
    REPLACEMENT_NEAR_USES = 1024,
    /* So many pages with children are passed over by one call before one of them has to go. */
    REPLACEMENT_SCAN = 1024,
    /* Pages of a unit, its leader included: what one eviction may take along. */
    REPLACEMENT_UNIT_MAX = 16,
};

struct replacement;

/* -EINVAL: no slots or too many.  -ENOMEM. */
int replacement_new(uint32_t max_slots, struct replacement **ret_replacement);
void replacement_free(struct replacement *r);

/* Adds a slot that is not in the order, as just used.  @parent: the slot of the page before it;
 * SLOT_NONE, or a slot that is not in the order or retired, means that it is not known. */
void replacement_insert(struct replacement *r, uint32_t slot, uint32_t parent);
/* Adds a slot that is not in the order to the unit of @leader, which is in it and not retired, and
 * counts as a use of the unit.  @parent as above: the unit becomes its child if it has neither a
 * parent nor children yet.  false: the unit is full, and nothing was done. */
bool replacement_bind(struct replacement *r, uint32_t slot, uint32_t leader, uint32_t parent);
/* The page was used.  Nothing happens to one that is not in the order, or retired. */
void replacement_touch(struct replacement *r, uint32_t slot);
/* Takes a slot out of the order.  If pages were behind its unit, they become the coldest; the other
 * parts of the unit are retired, and each stands for itself from then on. */
void replacement_remove(struct replacement *r, uint32_t slot);
/* The page and all its unit stay readable, but nobody is told of them any more: they go before all
 * others, in the order of retirement, and their parent does not wait for them. */
void replacement_retire(struct replacement *r, uint32_t slot);
/* The parts of the unit that a slot in the order belongs to, the leader first.  1: it is alone. */
uint32_t replacement_unit(const struct replacement *r, uint32_t slot,
                          uint32_t ret_slots[REPLACEMENT_UNIT_MAX]);

uint32_t replacement_leader(const struct replacement *r, uint32_t slot);

/* Eviction order: retired pages, then pages whose parent is gone, then the coldest without
 * children; of a unit the leader alone.  SLOT_NONE at the end.  None of these calls removes
 * anything. */
uint32_t replacement_victim(struct replacement *r);
uint32_t replacement_next(const struct replacement *r, uint32_t slot);
/* The first that is not retired: the next to retire. */
uint32_t replacement_coldest(struct replacement *r);

bool replacement_contains(const struct replacement *r, uint32_t slot);
bool replacement_is_retired(const struct replacement *r, uint32_t slot);
/* In which eighth of all units its unit stands: 0 (the coldest, retired, orphaned, not in the
 * order) to REPLACEMENT_HEAT_MAX (the last used); at least half of that while it has children. */
uint32_t replacement_heat(const struct replacement *r, uint32_t slot);
/* Pages in the order, retired ones included; and the retired ones, of a unit the leader alone. */
uint32_t replacement_count(const struct replacement *r);
uint32_t replacement_count_retired(const struct replacement *r);

#endif
