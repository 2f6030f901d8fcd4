/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seqtable.h - a hash table with one writer that any thread may read without waiting.
 *
 * A bucket is one cache line: a sequence number, a 16-byte key and 44 bytes of value.  Reads
 * return copies, never pointers.  A false hit never happens.  A false miss is allowed by this
 * contract, so callers must bear one; what is built answers -ENOENT only when no entry of the
 * key's segment moved during the search, and -EAGAIN otherwise.  All words are atomics, so there
 * is no stand-alone fence.
 *
 * The table reserves address space for max_entries at init and never allocates afterwards.  It is
 * cut into segments that grow one at a time by a quarter, so that a step of the writer stays short
 * and a live entry costs 80 to 100 resident bytes.  It never shrinks.
 *
 * The key 0,0 marks an empty bucket.  It is nobody's digest (but a peer may send it): it is never
 * found, and seqtable_put() refuses it with -EINVAL.
 */
#ifndef BASE_SEQTABLE_H
#define BASE_SEQTABLE_H

#include <stddef.h>
#include <stdint.h>

#include "base/id128.h"

enum { SEQTABLE_VALUE_BYTES = 44 };
#define SEQTABLE_ENTRIES_MAX (UINT64_C(1) << 32)

struct seqtable_value {
    uint8_t bytes[SEQTABLE_VALUE_BYTES];
};

struct seqtable;

/* Holds @max_entries keys that spread evenly, and then some: who wants an exact limit counts.
 * -EINVAL: max_entries is not within 1 .. SEQTABLE_ENTRIES_MAX; -ENOMEM. */
int seqtable_new(uint64_t max_entries, struct seqtable **ret_table);
/* No thread may be in a call.  NULL is allowed. */
void seqtable_free(struct seqtable *table);

/* Any thread.  0 and a copy; -ENOENT; -EAGAIN: the writer was in the way a few times running. */
int seqtable_find(const struct seqtable *table, struct id128 key, struct seqtable_value *ret_value);
/* Any thread.  Fetches the key's home bucket into the cache without waiting for it: who has several
 * keys to find says so for all of them first. */
void seqtable_prefetch(const struct seqtable *table, struct id128 key);

/* The writer only.  Inserts or overwrites; -ENOSPC: the key's segment is full (overwriting always
 * works); -EINVAL: the key is 0,0. */
int seqtable_put(struct seqtable *table, struct id128 key, const struct seqtable_value *value);
/* The writer only.  0 or -ENOENT. */
int seqtable_remove(struct seqtable *table, struct id128 key);

/* The writer only.  Walks all entries: @cursor starts at 0, and each call goes on from there and
 * returns 1 with an entry, or 0 at the end.  Looks at no more than @max_buckets; -EAGAIN when they
 * are used up.  Entries put or removed meanwhile may be seen or not, or twice; those that stay are
 * seen at least once, also when the walk itself removes what it is given. */
int seqtable_walk(const struct seqtable *table, uint64_t *cursor, uint32_t max_buckets,
                  struct id128 *ret_key, struct seqtable_value *ret_value);
/* The writer only.  Walks entries that lie where @key lies, or would: from its home bucket on, then
 * from the start of its segment.  @cursor starts at 0; returns 1 with an entry, or 0 when
 * @max_buckets have been looked at since then, or all of the segment.  Nothing is put or removed
 * meanwhile. */
int seqtable_walk_near(const struct seqtable *table, struct id128 key, uint32_t *cursor,
                       uint32_t max_buckets, struct id128 *ret_key,
                       struct seqtable_value *ret_value);

/* Any thread. */
uint64_t seqtable_count(const struct seqtable *table);
/* Any thread.  Bytes of buckets in use by segments at their present size, empty ones included. */
uint64_t seqtable_bytes(const struct seqtable *table);

#ifdef PEERCACHE_PROTECTIONS_SWITCHABLE
/* Every n-th find answers -EAGAIN, so that the simulator sees it; 0: none. */
void seqtable_inject_again(struct seqtable *table, uint32_t every_nth);
#endif

#endif
