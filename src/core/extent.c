/* SPDX-License-Identifier: Apache-2.0 */
/*
 * extent.c - the line of extents, and the bins that find a free one.
 *
 * Extents are nodes of one fixed table, linked by address.  Free ones are also linked in bins by
 * size: a row for each power of two, 32 columns to a row, a bit for each that is not empty.  A
 * take looks through the first few of the bin that its size belongs to, where an extent may or may
 * not be large enough, and then goes to the next bin that is not empty, where each is.  So pages
 * of one length find the holes that pages of this length left, and small pages leave large holes
 * alone.
 *
 * Invariants: the nodes cover [0, units) without gap or overlap; no two free nodes are neighbours;
 * node 0 begins at 0.  At most max_slots nodes are held, so at most max_slots + 1 are free.
 *
 * The owner is the pool; it is touched by the thread that runs the core, and by no other.
 */
#include "core/extent.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/check.h"

enum { COLUMN_BITS = 5, COLUMNS = 1 << COLUMN_BITS, ROWS = 36 - COLUMN_BITS + 2 };

struct extent {
    uint64_t offset_units, units;
    uint32_t before, after;         /* by address */
    uint32_t bin_before, bin_after; /* of a free one; an unused node has its next in bin_after */
    uint32_t slot;                  /* SLOT_NONE: free */
};

struct extents {
    uint64_t units, free_units;
    uint32_t max_slots;
    uint32_t fresh;  /* nodes from here on were never used */
    uint32_t unused; /* chain of nodes that were used before */
    uint64_t rows_filled;
    uint32_t columns_filled[ROWS];
    uint32_t bins[ROWS][COLUMNS]; /* the first of each; meaningful where its bit is set */
    uint32_t *of_slot;            /* id + 1, 0: none; so that untouched pages stay untouched */
    struct extent *nodes;
};

struct bin {
    uint32_t row, column;
};

/* Row 0 has one column for each size below 32 units; row r > 0 has the sizes from 2^(r+4) on. */
static struct bin bin_of(uint64_t units)
{
    if (units < COLUMNS)
        return (struct bin){0, (uint32_t)units};
    uint32_t log2 = 63 - (uint32_t)__builtin_clzll(units);
    return (struct bin){log2 - COLUMN_BITS + 1, units >> (log2 - COLUMN_BITS) & (COLUMNS - 1)};
}

static bool bin_is_empty(const struct extents *x, struct bin bin)
{
    return !(x->columns_filled[bin.row] >> bin.column & 1);
}

static void bin_insert(struct extents *x, uint32_t id)
{
    struct bin bin = bin_of(x->nodes[id].units);
    uint32_t *first = &x->bins[bin.row][bin.column];
    uint32_t next = bin_is_empty(x, bin) ? EXTENT_NONE : *first;
    x->nodes[id].bin_before = EXTENT_NONE;
    x->nodes[id].bin_after = next;
    if (next != EXTENT_NONE)
        x->nodes[next].bin_before = id;
    *first = id;
    x->columns_filled[bin.row] |= UINT32_C(1) << bin.column;
    x->rows_filled |= UINT64_C(1) << bin.row;
    x->free_units += x->nodes[id].units;
}

static void bin_remove(struct extents *x, uint32_t id)
{
    const struct extent *node = &x->nodes[id];
    struct bin bin = bin_of(node->units);
    if (node->bin_after != EXTENT_NONE)
        x->nodes[node->bin_after].bin_before = node->bin_before;
    if (node->bin_before != EXTENT_NONE)
        x->nodes[node->bin_before].bin_after = node->bin_after;
    else
        x->bins[bin.row][bin.column] = node->bin_after;
    if (x->bins[bin.row][bin.column] == EXTENT_NONE)
        x->columns_filled[bin.row] &= ~(UINT32_C(1) << bin.column);
    if (!x->columns_filled[bin.row])
        x->rows_filled &= ~(UINT64_C(1) << bin.row);
    x->free_units -= node->units;
}

/* The smallest that fits among the first few of a bin. */
static uint32_t bin_search(const struct extents *x, struct bin bin, uint64_t units)
{
    uint32_t best = EXTENT_NONE;
    if (bin_is_empty(x, bin))
        return best;
    uint32_t id = x->bins[bin.row][bin.column];
    for (int i = 0; i < EXTENTS_BIN_SEARCH && id != EXTENT_NONE; i++) {
        uint64_t have = x->nodes[id].units;
        if (have == units)
            return id;
        if (have > units && (best == EXTENT_NONE || have < x->nodes[best].units))
            best = id;
        id = x->nodes[id].bin_after;
    }
    return best;
}

/* The next bin after this one that is not empty; false: there is none. */
static bool bin_above(const struct extents *x, struct bin bin, struct bin *ret_bin)
{
    uint32_t columns = x->columns_filled[bin.row] & (UINT32_MAX - 1) << bin.column;
    if (!columns) {
        uint64_t rows = x->rows_filled & (UINT64_MAX - 1) << bin.row;
        if (!rows)
            return false;
        bin.row = (uint32_t)__builtin_ctzll(rows);
        columns = x->columns_filled[bin.row];
    }
    *ret_bin = (struct bin){bin.row, (uint32_t)__builtin_ctz(columns)};
    return true;
}

static uint32_t node_borrow(struct extents *x)
{
    uint32_t id = x->unused;
    if (id != EXTENT_NONE) {
        x->unused = x->nodes[id].bin_after;
        return id;
    }
    CHECK(x->fresh < 2 * x->max_slots + 2);
    return x->fresh++;
}

static void node_return(struct extents *x, uint32_t id)
{
    x->nodes[id].bin_after = x->unused;
    x->unused = id;
}

int extents_new(uint64_t units, uint32_t max_slots, struct extents **ret_extents)
{
    if (!units || units > EXTENTS_MAX_UNITS || !max_slots || max_slots > EXTENTS_MAX_SLOTS)
        return -EINVAL;
    struct extents *x = calloc(1, sizeof *x);
    if (!x)
        return -ENOMEM;
    x->nodes = calloc(2 * (size_t)max_slots + 2, sizeof *x->nodes);
    x->of_slot = calloc(max_slots, sizeof *x->of_slot);
    if (!x->nodes || !x->of_slot) {
        extents_free(x);
        return -ENOMEM;
    }
    x->units = units;
    x->max_slots = max_slots;
    x->unused = EXTENT_NONE;
    x->fresh = 1;
    x->nodes[0] = (struct extent){
        .units = units, .before = EXTENT_NONE, .after = EXTENT_NONE, .slot = SLOT_NONE};
    bin_insert(x, 0);
    *ret_extents = x;
    return 0;
}

void extents_free(struct extents *x)
{
    if (!x)
        return;
    free(x->nodes);
    free(x->of_slot);
    free(x);
}

uint32_t extents_take(struct extents *x, uint64_t units, uint32_t slot)
{
    CHECK(units);
    if (units > x->free_units)
        return EXTENT_NONE;
    struct bin bin = bin_of(units);
    uint32_t id = bin_search(x, bin, units);
    if (id == EXTENT_NONE && bin_above(x, bin, &bin))
        id = bin_search(x, bin, units);
    return id == EXTENT_NONE ? EXTENT_NONE : extents_take_at(x, id, units, slot);
}

/* Cuts what lies behind the first @units of @id off into a free extent of its own. */
static void split(struct extents *x, uint32_t id, uint64_t units)
{
    uint32_t rest = node_borrow(x);
    struct extent *node = &x->nodes[id];
    x->nodes[rest] = (struct extent){.offset_units = node->offset_units + units,
                                     .units = node->units - units,
                                     .before = id,
                                     .after = node->after,
                                     .slot = SLOT_NONE};
    if (node->after != EXTENT_NONE)
        x->nodes[node->after].before = rest;
    node->after = rest;
    node->units = units;
    bin_insert(x, rest);
}

uint32_t extents_take_at(struct extents *x, uint32_t id, uint64_t units, uint32_t slot)
{
    CHECK(slot < x->max_slots && x->of_slot[slot] == 0);
    CHECK(extents_slot(x, id) == SLOT_NONE && units && units <= x->nodes[id].units);
    bin_remove(x, id);
    if (x->nodes[id].units > units)
        split(x, id, units);
    x->nodes[id].slot = slot;
    x->of_slot[slot] = id + 1;
    return id;
}

static bool is_free(const struct extents *x, uint32_t id)
{
    return id != EXTENT_NONE && x->nodes[id].slot == SLOT_NONE;
}

/* @id takes in its neighbour behind it, which is in no bin any more. */
static void join(struct extents *x, uint32_t id)
{
    uint32_t gone = x->nodes[id].after;
    uint32_t after = x->nodes[gone].after;
    x->nodes[id].units += x->nodes[gone].units;
    x->nodes[id].after = after;
    if (after != EXTENT_NONE)
        x->nodes[after].before = id;
    node_return(x, gone);
}

void extents_release(struct extents *x, uint32_t id)
{
    CHECK(extents_slot(x, id) != SLOT_NONE);
    x->of_slot[x->nodes[id].slot] = 0;
    x->nodes[id].slot = SLOT_NONE;
    if (is_free(x, x->nodes[id].after)) {
        bin_remove(x, x->nodes[id].after);
        join(x, id);
    }
    uint32_t before = x->nodes[id].before;
    if (is_free(x, before)) {
        bin_remove(x, before);
        join(x, before);
        id = before;
    }
    bin_insert(x, id);
}

uint32_t extents_first(const struct extents *x)
{
    (void)x;
    return 0; /* a join always keeps the node in front, so node 0 is where the payload begins */
}

uint32_t extents_before(const struct extents *x, uint32_t id)
{
    CHECK(id < x->fresh);
    return x->nodes[id].before;
}

uint32_t extents_after(const struct extents *x, uint32_t id)
{
    CHECK(id < x->fresh);
    return x->nodes[id].after;
}

uint32_t extents_slot(const struct extents *x, uint32_t id)
{
    CHECK(id < x->fresh);
    return x->nodes[id].slot;
}

uint32_t extents_of_slot(const struct extents *x, uint32_t slot)
{
    CHECK(slot < x->max_slots);
    return x->of_slot[slot] ? x->of_slot[slot] - 1 : EXTENT_NONE;
}

uint64_t extents_offset_units(const struct extents *x, uint32_t id)
{
    CHECK(id < x->fresh);
    return x->nodes[id].offset_units;
}

uint64_t extents_units(const struct extents *x, uint32_t id)
{
    CHECK(id < x->fresh);
    return x->nodes[id].units;
}

uint64_t extents_total_units(const struct extents *x)
{
    return x->units;
}

uint64_t extents_free_units(const struct extents *x)
{
    return x->free_units;
}

uint32_t extents_max_slots(const struct extents *x)
{
    return x->max_slots;
}

uint64_t extents_largest_free(const struct extents *x)
{
    if (!x->rows_filled)
        return 0;
    uint32_t row = 63 - (uint32_t)__builtin_clzll(x->rows_filled);
    uint32_t column = 31 - (uint32_t)__builtin_clz(x->columns_filled[row]);
    uint64_t largest = 0;
    uint32_t id = x->bins[row][column];
    for (int i = 0; i < EXTENTS_BIN_SEARCH && id != EXTENT_NONE; i++) {
        if (x->nodes[id].units > largest)
            largest = x->nodes[id].units;
        id = x->nodes[id].bin_after;
    }
    return largest;
}
