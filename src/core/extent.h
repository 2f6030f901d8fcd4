/* SPDX-License-Identifier: Apache-2.0 */
/*
 * extent.h - who has which part of the pool's payload, in units of 64 bytes.
 *
 * The payload is one line of extents, each free or held by one slot.  Two free extents never
 * touch.  A slot holds at most one extent, and its id stays the same until it is released.  Nothing
 * is allocated after extents_new, every call takes a bounded number of steps, and one thread at a
 * time calls them.
 */
#ifndef CORE_EXTENT_H
#define CORE_EXTENT_H

#include <stdint.h>

#define EXTENT_NONE UINT32_MAX
#define SLOT_NONE UINT32_MAX

enum {
    EXTENT_UNIT_BYTES = 64,
    EXTENTS_MAX_SLOTS = 1 << 30,
    /* So many free extents of one bin are looked at for the one that fits best. */
    EXTENTS_BIN_SEARCH = 16,
};
/* What a location can say: 36 bits of offset in units. */
#define EXTENTS_MAX_UNITS (UINT64_C(1) << 36)

struct extents;

/* -EINVAL: no units, no slots, or more than the limits above.  -ENOMEM. */
int extents_new(uint64_t units, uint32_t max_slots, struct extents **ret_extents);
void extents_free(struct extents *x);

/* The units that @bytes of payload need. */
static inline uint64_t extents_units_of(uint64_t bytes)
{
    return (bytes + EXTENT_UNIT_BYTES - 1) / EXTENT_UNIT_BYTES;
}

/* Gives @slot an extent of exactly @units from free space, by good fit.  EXTENT_NONE: no free
 * extent is large enough, or one is but the search of its bin ended before it was found (only one
 * that is less than 1/32 larger than asked can be missed). */
uint32_t extents_take(struct extents *x, uint64_t units, uint32_t slot);
/* The same from the front of the free extent @id, which is large enough. */
uint32_t extents_take_at(struct extents *x, uint32_t id, uint64_t units, uint32_t slot);
/* Makes @id free and joins it with free neighbours: ids of free extents are stale afterwards. */
void extents_release(struct extents *x, uint32_t id);

/* Neighbours by address; EXTENT_NONE at the ends. */
uint32_t extents_first(const struct extents *x);
uint32_t extents_before(const struct extents *x, uint32_t id);
uint32_t extents_after(const struct extents *x, uint32_t id);
/* SLOT_NONE for a free extent. */
uint32_t extents_slot(const struct extents *x, uint32_t id);
/* EXTENT_NONE for a slot without an extent. */
uint32_t extents_of_slot(const struct extents *x, uint32_t slot);
uint64_t extents_offset_units(const struct extents *x, uint32_t id);
uint64_t extents_units(const struct extents *x, uint32_t id);

uint64_t extents_total_units(const struct extents *x);
uint64_t extents_free_units(const struct extents *x);
uint32_t extents_max_slots(const struct extents *x);
/* A free extent of so many units exists (0: none), and none is more than 1/32 larger. */
uint64_t extents_largest_free(const struct extents *x);

#endif
