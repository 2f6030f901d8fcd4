/* SPDX-License-Identifier: Apache-2.0 */
/*
 * group.c - chains of slots by the hash of their group's key.
 *
 * There are at least as many buckets as slots, and keys are hashes already, so a chain has about
 * one slot.  Slots are stored plus one, 0 for none: memory that no group has used is never touched.
 */
#include "core/group.h"

#include <errno.h>
#include <stdlib.h>

#include "base/check.h"
#include "core/extent.h" /* SLOT_NONE, EXTENTS_MAX_SLOTS */

struct member {
    uint64_t key;  /* 0: under none */
    uint32_t next; /* in its bucket's chain */
};

struct group_table {
    uint32_t max_slots, mask;
    uint32_t *buckets;
    struct member *members; /* by slot */
};

int group_table_new(uint32_t max_slots, struct group_table **ret_table)
{
    if (!max_slots || max_slots > EXTENTS_MAX_SLOTS)
        return -EINVAL;
    struct group_table *table = calloc(1, sizeof *table);
    if (!table)
        return -ENOMEM;
    uint32_t buckets = 1;
    while (buckets < max_slots)
        buckets *= 2;
    table->max_slots = max_slots;
    table->mask = buckets - 1;
    table->buckets = calloc(buckets, sizeof *table->buckets);
    table->members = calloc(max_slots, sizeof *table->members);
    if (!table->buckets || !table->members) {
        group_table_free(table);
        return -ENOMEM;
    }
    *ret_table = table;
    return 0;
}

void group_table_free(struct group_table *table)
{
    if (!table)
        return;
    free(table->buckets);
    free(table->members);
    free(table);
}

static uint32_t *bucket_of(const struct group_table *table, uint64_t key)
{
    return &table->buckets[key & table->mask];
}

uint32_t group_find(const struct group_table *table, uint64_t key)
{
    uint32_t at = *bucket_of(table, key);
    while (at && table->members[at - 1].key != key)
        at = table->members[at - 1].next;
    return at ? at - 1 : SLOT_NONE;
}

void group_put(struct group_table *table, uint32_t slot, uint64_t key)
{
    CHECK(key && slot < table->max_slots && !table->members[slot].key);
    uint32_t *bucket = bucket_of(table, key);
    table->members[slot] = (struct member){.key = key, .next = *bucket};
    *bucket = slot + 1;
}

void group_remove(struct group_table *table, uint32_t slot)
{
    struct member *member = &table->members[slot];
    if (!member->key)
        return;
    uint32_t *link = bucket_of(table, member->key);
    while (*link != slot + 1)
        link = &table->members[*link - 1].next;
    *link = member->next;
    *member = (struct member){0};
}

uint64_t group_key(const struct group_table *table, uint32_t slot)
{
    return table->members[slot].key;
}
