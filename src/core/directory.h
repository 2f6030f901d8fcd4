/* SPDX-License-Identifier: Apache-2.0 */
/*
 * directory.h - the own shard of the directory: which holders have a page.
 *
 * An entry is one 64-byte bucket: the page's digest and two packed locations.  A page with more
 * holders has a second bucket in a smaller table, under the same digest, with up to two more.  Only
 * a holder's own words change its locations; the shard itself drops what belongs to holders that
 * are gone, what a holder did not name in its last whole sync, and its oldest entries at the limit.
 */
#ifndef CORE_DIRECTORY_H
#define CORE_DIRECTORY_H

#include "core/core.h"

struct directory;
struct seqtable;

int directory_new(uint32_t limit, struct directory **ret_directory);
void directory_free(struct directory *directory);
/* What any thread may read (directory_find): the entries, and what did not fit into them. */
struct seqtable *directory_table(const struct directory *directory);
struct seqtable *directory_overflow(const struct directory *directory);

/* Any thread.  The locations of a page, none of them torn, each holder once: their number, or
 * -EAGAIN.  One that is changed at this moment may be missing beside others; "none" is certain. */
int directory_find(const struct seqtable *table, const struct seqtable *overflow,
                   struct id128 digest, struct location ret_locations[CORE_HOLDERS_MAX]);

/* Upsert of (key, holder); location.holder is a peer index.  0; negative: refused.  Where four
 * holders are known, or two and the overflow is full, the one named longest ago makes room. */
int directory_put(struct directory *directory, struct id128 digest,
                  const struct location *location);
/* Removes exactly this filling of this holder; 0 or -ENOENT. */
int directory_remove(struct directory *directory, struct id128 digest, uint16_t holder,
                     uint64_t generation);

/* A holder begins to name all it has; at the end what it did not name is swept. */
void directory_sync_begin(struct directory *directory, uint16_t holder);
void directory_sync_end(struct directory *directory, uint16_t holder);
/* A holder, once, whose syncs broke off so often that what it let go cannot be told from what it
 * has: it must begin to name all again.  CORE_PEER_NONE: none. */
uint16_t directory_muddled(struct directory *directory);
/* The holder is gone for good: its locations are swept, then its index is free again. */
void directory_drop_holder(struct directory *directory, uint16_t holder);
bool directory_holder_is_free(const struct directory *directory, uint16_t holder);

/* Goes on with sweeping, a bounded piece; false: nothing left to do. */
bool directory_sweep(struct directory *directory);

uint64_t directory_count(const struct directory *directory);
uint64_t directory_bytes(const struct directory *directory);

#endif
