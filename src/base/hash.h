/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hash.h - the digests of the project: XXH3 from libxxhash, and the seeds of all uses.
 *
 * None of them is a secret or withstands an attacker: they tell pages apart and find damage.
 */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/id128.h"

/* The seeds, which tell uses apart.  All nodes must hash alike, and seats are kept on disk: a value
 * never changes, and a new use takes one that is neither here nor in the next lines.
 *
 * The core's own stand beside their uses: SEED_POINT 3 and SEED_NODES 4 (ring.c), SEED_EPOCH 6
 * (namespaces.c), SEED_MASTERS 11 (masters.c, which adds a port), SEED_TABLE 12 (roster.c).  That
 * 11 and 12 are taken twice does no harm: nothing compares a seat's hashes with those of the core.
 * 0 is for the name of a cluster, which is hashed nowhere else, and for what only one process
 * compares. */
enum {
    SEED_DIGEST = 1,
    SEED_RING = 2,
    SEED_IDENTITY = 5, /* of a namespace */
    SEED_TAG = 7,      /* of the option tag, and of an identity with it */
    SEED_GROUP = 8,
    SEED_CHECK = 11, /* of the text of a seat's file */
    SEED_PLACE = 12, /* of where a seat's lock lies */
};

/* What a page is known by everywhere: its namespace's identity, the namespace's epoch, its name. */
struct id128 hash_page_digest(struct id128 identity, uint64_t epoch, const void *name, size_t len);
/* Where a page stands on the ring: of the name alone, so namespaces of one name share owners. */
uint64_t hash_ring_position(const void *name, size_t len);
/* Which pages of a node are parts of one: of the caller's number of the group and the name.  Never
 * 0. */
uint64_t hash_page_group(uint64_t group, const void *name, size_t len);
/* Of any bytes; @seed tells uses apart. */
struct id128 hash_bytes128(const void *bytes, size_t len, uint64_t seed);
uint64_t hash_bytes64(const void *bytes, size_t len, uint64_t seed);

#endif
