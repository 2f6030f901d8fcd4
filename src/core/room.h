/* SPDX-License-Identifier: Apache-2.0 */
/*
 * room.h - chooses which pages must go so that a page of a given length fits.
 *
 * Free extents do not lie side by side, so what goes is a window: pages that are neighbours by
 * address, with the free space between them, around one of the coldest pages of the pool.
 */
#ifndef CORE_ROOM_H
#define CORE_ROOM_H

#include <stdbool.h>
#include <stdint.h>

#include "core/extent.h"
#include "core/replacement.h"

enum {
    /* Cold units around whose parts a window is tried; the cheapest window wins. */
    ROOM_CANDIDATES = 16,
    /* Neighbours looked at by one call before the cheapest window so far has to do. */
    ROOM_STEPS = 4096,
};

/* Whether this page can go now: for instance sealed and not pinned. */
typedef bool room_may_evict(void *ctx, uint32_t slot);

/*
 * Names at least one and at most @max_slots slots; when all of them are released, extents_take of
 * @units succeeds.  Changes nothing itself: the caller makes the slots void, removes them from the
 * order, releases their extents and then takes.
 * -EBUSY: no window around any of the coldest pages can be had, because of pages that may not go
 * or because it would be more than @max_slots pages.  -EINVAL: more units than the pool has.
 * A call looks at ROOM_STEPS neighbours, or while none is found adds up the prices of
 * ROOM_CANDIDATES times twice @max_slots pages, all parts of their units counted; the window at
 * which it gets there is still tried to its end.
 */
int room_make(const struct extents *x, struct replacement *r, uint64_t units,
              room_may_evict *may_evict, void *ctx, uint32_t *ret_slots, uint32_t max_slots,
              uint32_t *ret_n);

#endif
