/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hash.h - the digests of the project: XXH3 from libxxhash, with the seeds in one place.
 *
 * None of them is a secret or withstands an attacker: they tell pages apart and find damage.
 */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/id128.h"

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
