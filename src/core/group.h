/* SPDX-License-Identifier: Apache-2.0 */
/*
 * group.h - which page stands for a group of pages that leave the pool together.
 *
 * A hash table over the pool's slots: a group is known by a key, and at most one slot is under a
 * key.  Nothing is allocated after group_table_new(); the pool is the only caller.
 */
#ifndef CORE_GROUP_H
#define CORE_GROUP_H

#include <stdint.h>

struct group_table;

/* -EINVAL: no slots or too many.  -ENOMEM. */
int group_table_new(uint32_t max_slots, struct group_table **ret_table);
void group_table_free(struct group_table *table);

/* Puts a slot that is under no key under @key, which is not 0 and has no slot yet. */
void group_put(struct group_table *table, uint32_t slot, uint64_t key);
/* SLOT_NONE: no slot is under this key. */
uint32_t group_find(const struct group_table *table, uint64_t key);
/* The key that the slot is under; 0: none. */
uint64_t group_key(const struct group_table *table, uint32_t slot);
/* Nothing happens to a slot that is under no key. */
void group_remove(struct group_table *table, uint32_t slot);

#endif
