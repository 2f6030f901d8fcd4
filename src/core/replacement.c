/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replacement.c - the order in which pages leave: least recently used, children before parents.
 *
 * All pages stand in one order from the last used to the coldest.  It is cut into segments of
 * about as many pages each: what has become too much for a segment moves on to the next, so the
 * segment tells in which eighth of all pages one stands.  A page used shortly after its parent is
 * put directly behind it, so a prompt that was used head first leaves tail first.  A parent that
 * reaches the cold end before its children (they were used without it) is parked: it leaves the
 * order, and comes back to the cold end when its last child goes.
 *
 * The children of a page are a family.  When a page is removed although it has children, because
 * its neighbour had to grow, the family is stale: what is in it goes first, and whatever is behind
 * a page that goes this way becomes stale in turn.  A touch takes a page out of a stale family:
 * somebody uses it, so its head must be there again.
 *
 * Pages that are bound to another hang in a list of their own behind it.  Only the leader of such a
 * unit stands in the order and has a family; a unit enters part by part and falls apart at once.
 *
 * Invariants: a slot is in exactly one place; a family has at least one child, so there are never
 * more families than slots; a parked page has children; a family is stale if and only if its parent
 * is gone or retired; the leader of a bound page is in the order and not bound itself.  Parents
 * form no circle: a page gets one as it comes in, or later while nothing is behind it.
 *
 * The owner is the pool; it is touched by the thread that runs the core, and by no other.
 */
#include "core/replacement.h"

#include <errno.h>
#include <stdlib.h>

#include "base/check.h"

#define FAMILY_NONE UINT32_MAX

enum { SEGMENTS = REPLACEMENT_HEAT_MAX + 1, COLDEST = SEGMENTS - 1 };

enum place { PLACE_ABSENT = 0, PLACE_LISTED, PLACE_PARKED, PLACE_RETIRED, PLACE_BOUND };

/* The other fields mean something only where place is not absent, so the table starts as zeros. */
struct page {
    uint64_t used;           /* the count of uses when it was used last */
    uint32_t warmer, colder; /* neighbours in its list; of a bound page only colder */
    uint32_t family;         /* the one that it is a child in, or FAMILY_NONE */
    uint32_t warmer_sibling, colder_sibling;
    uint32_t children; /* its own family, or FAMILY_NONE */
    uint32_t unit;     /* of a bound page the leader, else the first bound to it, or SLOT_NONE */
    uint8_t place;     /* enum place */
    uint8_t segment;   /* of a listed page: 0 is the warmest */
};

struct family {
    uint32_t parent;        /* SLOT_NONE: stale */
    uint32_t first;         /* child */
    uint32_t before, after; /* among the stale ones; an unused record has its next in after */
};

struct list {
    uint32_t warmest, coldest, count;
};

struct replacement {
    uint32_t max_slots;
    uint32_t count, bound; /* pages in the order; of these, bound to another */
    uint64_t uses;
    struct list segments[SEGMENTS]; /* the warmest first */
    struct list retired;
    uint32_t stale;           /* the first stale family */
    uint32_t unused_families; /* chain of those that were used before */
    uint32_t fresh_families;  /* from here on they were never used */
    struct page *pages;
    struct family *families;
};

/* Puts @slot on the colder side of @warmer; SLOT_NONE: at the warm end. */
static void list_insert(struct replacement *r, struct list *list, uint32_t slot, uint32_t warmer)
{
    uint32_t colder = warmer == SLOT_NONE ? list->warmest : r->pages[warmer].colder;
    r->pages[slot].warmer = warmer;
    r->pages[slot].colder = colder;
    *(warmer == SLOT_NONE ? &list->warmest : &r->pages[warmer].colder) = slot;
    *(colder == SLOT_NONE ? &list->coldest : &r->pages[colder].warmer) = slot;
    list->count++;
}

static void list_remove(struct replacement *r, struct list *list, uint32_t slot)
{
    uint32_t warmer = r->pages[slot].warmer, colder = r->pages[slot].colder;
    *(warmer == SLOT_NONE ? &list->warmest : &r->pages[warmer].colder) = colder;
    *(colder == SLOT_NONE ? &list->coldest : &r->pages[colder].warmer) = warmer;
    list->count--;
}

static void listed_insert(struct replacement *r, uint32_t segment, uint32_t slot, uint32_t warmer)
{
    r->pages[slot].place = PLACE_LISTED;
    r->pages[slot].segment = (uint8_t)segment;
    list_insert(r, &r->segments[segment], slot, warmer);
}

static void listed_remove(struct replacement *r, uint32_t slot)
{
    list_remove(r, &r->segments[r->pages[slot].segment], slot);
}

/* Moves on what a segment has too much: two pages at most, since a use adds one, and the number of
 * all units, which sets the measure, changes by one. */
static void segments_balance(struct replacement *r)
{
    uint32_t enough = (r->count - r->bound) / SEGMENTS + 1;
    for (uint32_t i = 0; i < COLDEST; i++) {
        for (int moved = 0; moved < 2 && r->segments[i].count > enough; moved++) {
            uint32_t slot = r->segments[i].coldest;
            list_remove(r, &r->segments[i], slot);
            listed_insert(r, i + 1, slot, SLOT_NONE);
        }
    }
}

/* The coldest of @segment or, where that is empty, of the next warmer one that is not. */
static uint32_t coldest_from(const struct replacement *r, uint32_t segment)
{
    for (uint32_t i = segment + 1; i-- > 0;)
        if (r->segments[i].coldest != SLOT_NONE)
            return r->segments[i].coldest;
    return SLOT_NONE;
}

static uint32_t next_warmer(const struct replacement *r, uint32_t slot)
{
    const struct page *page = &r->pages[slot];
    if (page->warmer != SLOT_NONE || page->segment == 0)
        return page->warmer;
    return coldest_from(r, page->segment - 1u);
}

static void stale_insert(struct replacement *r, uint32_t family)
{
    r->families[family].parent = SLOT_NONE;
    r->families[family].before = FAMILY_NONE;
    r->families[family].after = r->stale;
    if (r->stale != FAMILY_NONE)
        r->families[r->stale].before = family;
    r->stale = family;
}

static void stale_remove(struct replacement *r, uint32_t family)
{
    uint32_t before = r->families[family].before, after = r->families[family].after;
    *(before == FAMILY_NONE ? &r->stale : &r->families[before].after) = after;
    if (after != FAMILY_NONE)
        r->families[after].before = before;
}

static uint32_t family_borrow(struct replacement *r, uint32_t parent)
{
    uint32_t family = r->unused_families;
    if (family != FAMILY_NONE) {
        r->unused_families = r->families[family].after;
    } else {
        CHECK(r->fresh_families < r->max_slots);
        family = r->fresh_families++;
    }
    r->families[family].parent = parent;
    r->families[family].first = SLOT_NONE;
    return family;
}

static void family_join(struct replacement *r, uint32_t slot, uint32_t parent)
{
    struct page *page = &r->pages[slot];
    if (r->pages[parent].children == FAMILY_NONE)
        r->pages[parent].children = family_borrow(r, parent);
    page->family = r->pages[parent].children;
    struct family *family = &r->families[page->family];
    page->warmer_sibling = SLOT_NONE;
    page->colder_sibling = family->first;
    if (family->first != SLOT_NONE)
        r->pages[family->first].warmer_sibling = slot;
    family->first = slot;
}

/* The last child is gone: the record is unused again, and a parked parent may leave next. */
static void family_end(struct replacement *r, uint32_t id)
{
    uint32_t parent = r->families[id].parent;
    if (parent == SLOT_NONE) {
        stale_remove(r, id);
    } else {
        r->pages[parent].children = FAMILY_NONE;
        if (r->pages[parent].place == PLACE_PARKED)
            listed_insert(r, COLDEST, parent, r->segments[COLDEST].coldest);
    }
    r->families[id].after = r->unused_families;
    r->unused_families = id;
}

static void family_leave(struct replacement *r, uint32_t slot)
{
    struct page *page = &r->pages[slot];
    uint32_t id = page->family;
    if (id == FAMILY_NONE)
        return;
    page->family = FAMILY_NONE;
    if (page->colder_sibling != SLOT_NONE)
        r->pages[page->colder_sibling].warmer_sibling = page->warmer_sibling;
    if (page->warmer_sibling != SLOT_NONE)
        r->pages[page->warmer_sibling].colder_sibling = page->colder_sibling;
    else
        r->families[id].first = page->colder_sibling;
    if (r->families[id].first == SLOT_NONE)
        family_end(r, id);
}

int replacement_new(uint32_t max_slots, struct replacement **ret_replacement)
{
    if (!max_slots || max_slots > EXTENTS_MAX_SLOTS)
        return -EINVAL;
    struct replacement *r = calloc(1, sizeof *r);
    if (!r)
        return -ENOMEM;
    r->pages = calloc(max_slots, sizeof *r->pages);
    r->families = calloc(max_slots, sizeof *r->families);
    if (!r->pages || !r->families) {
        replacement_free(r);
        return -ENOMEM;
    }
    r->max_slots = max_slots;
    r->retired = (struct list){.warmest = SLOT_NONE, .coldest = SLOT_NONE};
    for (int i = 0; i < SEGMENTS; i++)
        r->segments[i] = r->retired;
    r->stale = r->unused_families = FAMILY_NONE;
    *ret_replacement = r;
    return 0;
}

void replacement_free(struct replacement *r)
{
    if (!r)
        return;
    free(r->pages);
    free(r->families);
    free(r);
}

static bool is_orphan(const struct replacement *r, uint32_t slot)
{
    uint32_t family = r->pages[slot].family;
    return family != FAMILY_NONE && r->families[family].parent == SLOT_NONE;
}

static bool has_children(const struct replacement *r, uint32_t slot)
{
    return r->pages[slot].children != FAMILY_NONE;
}

/* Puts a page at the warm end, or behind its parent when that was used just now. */
static void place_used(struct replacement *r, uint32_t slot)
{
    struct page *page = &r->pages[slot];
    uint32_t parent = page->family == FAMILY_NONE ? SLOT_NONE : r->families[page->family].parent;
    if (parent != SLOT_NONE && (r->pages[parent].place != PLACE_LISTED ||
                                r->uses - r->pages[parent].used > REPLACEMENT_NEAR_USES))
        parent = SLOT_NONE;
    page->used = ++r->uses;
    listed_insert(r, parent == SLOT_NONE ? 0 : r->pages[parent].segment, slot, parent);
    segments_balance(r);
}

/* The page that stands in the order for @slot. */
static uint32_t leader_of(const struct replacement *r, uint32_t slot)
{
    return r->pages[slot].place == PLACE_BOUND ? r->pages[slot].unit : slot;
}

/* @parent may be a page of @slot's own unit: such a page comes after none. */
static void join_parent(struct replacement *r, uint32_t slot, uint32_t parent)
{
    if (parent == SLOT_NONE || !replacement_contains(r, parent) ||
        replacement_is_retired(r, parent) || leader_of(r, parent) == slot)
        return;
    family_join(r, slot, leader_of(r, parent));
}

void replacement_insert(struct replacement *r, uint32_t slot, uint32_t parent)
{
    CHECK(slot < r->max_slots && r->pages[slot].place == PLACE_ABSENT);
    r->pages[slot].family = r->pages[slot].children = FAMILY_NONE;
    r->pages[slot].unit = SLOT_NONE;
    join_parent(r, slot, parent);
    r->count++;
    place_used(r, slot);
}

void replacement_touch(struct replacement *r, uint32_t slot)
{
    if (!replacement_contains(r, slot) || replacement_is_retired(r, slot))
        return;
    slot = leader_of(r, slot);
    if (is_orphan(r, slot))
        family_leave(r, slot);
    if (r->pages[slot].place == PLACE_LISTED)
        listed_remove(r, slot);
    place_used(r, slot);
}

uint32_t replacement_leader(const struct replacement *r, uint32_t slot)
{
    CHECK(replacement_contains(r, slot));
    return leader_of(r, slot);
}

uint32_t replacement_unit(const struct replacement *r, uint32_t slot,
                          uint32_t ret_slots[REPLACEMENT_UNIT_MAX])
{
    CHECK(replacement_contains(r, slot));
    uint32_t n = 0, leader = leader_of(r, slot);
    ret_slots[n++] = leader;
    for (uint32_t part = r->pages[leader].unit; part != SLOT_NONE; part = r->pages[part].colder)
        ret_slots[n++] = part;
    return n;
}

/* Only a unit without children may get a parent later, or it could come to be behind itself. */
static void adopt(struct replacement *r, uint32_t leader, uint32_t parent)
{
    if (is_orphan(r, leader))
        family_leave(r, leader);
    if (r->pages[leader].family == FAMILY_NONE && !has_children(r, leader))
        join_parent(r, leader, parent);
}

bool replacement_bind(struct replacement *r, uint32_t slot, uint32_t leader, uint32_t parent)
{
    uint32_t parts[REPLACEMENT_UNIT_MAX];
    CHECK(slot < r->max_slots && r->pages[slot].place == PLACE_ABSENT);
    CHECK(replacement_contains(r, leader) && !replacement_is_retired(r, leader));
    if (replacement_unit(r, leader, parts) == REPLACEMENT_UNIT_MAX)
        return false;
    leader = parts[0];
    struct page *page = &r->pages[slot];
    page->family = page->children = FAMILY_NONE;
    page->place = PLACE_BOUND;
    page->unit = leader;
    page->colder = r->pages[leader].unit;
    r->pages[leader].unit = slot;
    r->count++;
    r->bound++;
    adopt(r, leader, parent);
    replacement_touch(r, leader);
    return true;
}

/* Takes a page out of its place and both its families, and leaves it absent and without a unit. */
static void detach(struct replacement *r, uint32_t slot)
{
    struct page *page = &r->pages[slot];
    family_leave(r, slot);
    if (has_children(r, slot))
        stale_insert(r, page->children);
    page->children = FAMILY_NONE;
    page->unit = SLOT_NONE;
    if (page->place == PLACE_LISTED)
        listed_remove(r, slot);
    if (page->place == PLACE_RETIRED)
        list_remove(r, &r->retired, slot);
    r->bound -= page->place == PLACE_BOUND;
    page->place = PLACE_ABSENT;
    r->count--;
}

static void retired_insert(struct replacement *r, uint32_t slot)
{
    r->pages[slot].place = PLACE_RETIRED;
    list_insert(r, &r->retired, slot, SLOT_NONE);
    r->count++;
}

void replacement_remove(struct replacement *r, uint32_t slot)
{
    uint32_t parts[REPLACEMENT_UNIT_MAX], n = replacement_unit(r, slot, parts);
    for (uint32_t i = 0; i < n; i++) {
        detach(r, parts[i]);
        if (parts[i] != slot)
            retired_insert(r, parts[i]);
    }
}

void replacement_retire(struct replacement *r, uint32_t slot)
{
    CHECK(replacement_contains(r, slot) && !replacement_is_retired(r, slot));
    uint32_t leader = leader_of(r, slot), first = r->pages[leader].unit;
    detach(r, leader);
    r->pages[leader].unit = first;
    retired_insert(r, leader);
}

/* From @slot on towards the warm end, the first that neither has children nor goes earlier. */
static uint32_t leaf_from(const struct replacement *r, uint32_t slot)
{
    for (int i = 0; i < REPLACEMENT_SCAN && slot != SLOT_NONE; i++) {
        if (!has_children(r, slot) && !is_orphan(r, slot))
            return slot;
        slot = next_warmer(r, slot);
    }
    return SLOT_NONE;
}

static void park(struct replacement *r, uint32_t slot)
{
    listed_remove(r, slot);
    r->pages[slot].place = PLACE_PARKED;
}

uint32_t replacement_coldest(struct replacement *r)
{
    if (r->stale != FAMILY_NONE)
        return r->families[r->stale].first;
    for (int i = 0; i < REPLACEMENT_SCAN; i++) {
        uint32_t slot = coldest_from(r, COLDEST);
        if (slot == SLOT_NONE || !has_children(r, slot))
            return slot;
        park(r, slot);
    }
    return coldest_from(r, COLDEST);
}

uint32_t replacement_victim(struct replacement *r)
{
    return r->retired.coldest != SLOT_NONE ? r->retired.coldest : replacement_coldest(r);
}

uint32_t replacement_next(const struct replacement *r, uint32_t slot)
{
    CHECK(replacement_contains(r, slot));
    const struct page *page = &r->pages[slot];
    uint32_t family = FAMILY_NONE;
    if (page->place == PLACE_RETIRED) {
        if (page->warmer != SLOT_NONE)
            return page->warmer;
        family = r->stale;
    } else if (is_orphan(r, slot)) {
        if (page->colder_sibling != SLOT_NONE)
            return page->colder_sibling;
        family = r->families[page->family].after;
    } else {
        return page->place == PLACE_LISTED ? leaf_from(r, next_warmer(r, slot)) : SLOT_NONE;
    }
    return family != FAMILY_NONE ? r->families[family].first
                                 : leaf_from(r, coldest_from(r, COLDEST));
}

bool replacement_contains(const struct replacement *r, uint32_t slot)
{
    CHECK(slot < r->max_slots);
    return r->pages[slot].place != PLACE_ABSENT;
}

bool replacement_is_retired(const struct replacement *r, uint32_t slot)
{
    CHECK(slot < r->max_slots);
    return r->pages[leader_of(r, slot)].place == PLACE_RETIRED;
}

/* Who has children takes them along, so it is never called cold. */
uint32_t replacement_heat(const struct replacement *r, uint32_t slot)
{
    if (!replacement_contains(r, slot) || replacement_is_retired(r, slot))
        return 0;
    slot = leader_of(r, slot);
    if (is_orphan(r, slot))
        return 0;
    bool listed = r->pages[slot].place == PLACE_LISTED;
    uint32_t heat = listed ? COLDEST - (uint32_t)r->pages[slot].segment : 0;
    return has_children(r, slot) && heat < REPLACEMENT_HEAT_MAX / 2 ? REPLACEMENT_HEAT_MAX / 2
                                                                    : heat;
}

uint32_t replacement_count(const struct replacement *r)
{
    return r->count;
}

uint32_t replacement_count_retired(const struct replacement *r)
{
    return r->retired.count;
}
