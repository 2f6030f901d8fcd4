/* SPDX-License-Identifier: Apache-2.0 */
/* hash.c - XXH3 behind names that say what is hashed. */
#include "base/hash.h"

#include <string.h>
#include <xxhash.h>

#include "base/protection.h"

struct id128 hash_bytes128(const void *bytes, size_t len, uint64_t seed)
{
    XXH128_hash_t hash = XXH3_128bits_withSeed(bytes, len, seed);
    return (struct id128){.hi = hash.high64, .lo = hash.low64};
}

uint64_t hash_bytes64(const void *bytes, size_t len, uint64_t seed)
{
    return XXH3_64bits_withSeed(bytes, len, seed);
}

struct id128 hash_page_digest(struct id128 identity, uint64_t epoch, const void *name, size_t len)
{
    uint8_t buffer[16 + 8 + 256];
    if (!PROTECTED(epoch_in_digest))
        epoch = 0;
    size_t name_len = len < 256 ? len : 256;
    memcpy(buffer, &identity, 16);
    memcpy(buffer + 16, &epoch, 8);
    memcpy(buffer + 24, name, name_len);
    return hash_bytes128(buffer, 24 + name_len, SEED_DIGEST);
}

uint64_t hash_ring_position(const void *name, size_t len)
{
    return hash_bytes64(name, len, SEED_RING);
}

uint64_t hash_page_group(uint64_t group, const void *name, size_t len)
{
    uint64_t parts[2] = {group, hash_bytes64(name, len, SEED_GROUP)};
    uint64_t hash = hash_bytes64(parts, sizeof parts, SEED_GROUP);
    return hash ? hash : 1;
}
