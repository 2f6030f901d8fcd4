/* SPDX-License-Identifier: Apache-2.0 */
/*
 * location.c - a location as 22 bytes.
 *
 * The fields stand one behind the other in a little endian number of 176 bits, which is handled as
 * two words and 48 bits:
 *
 *     low    holder 16 | arena 8 | slot 32 | offset 0..7
 *     mid    offset 8..35 | length 27 | generation 0..8
 *     high   generation 9..47 | tier 2 | stamp 7
 *
 * Pure; any thread.  Packing asserts that no bit is lost: a location is made by our own code, or
 * was unpacked, and what was unpacked always fits.
 */
#include "wire/location.h"

#include <endian.h>
#include <string.h>

#include "base/check.h"

enum { HIGH_BYTES = LOCATION_BYTES - 2 * sizeof(uint64_t) };

static uint64_t low_bits(uint64_t value, unsigned count)
{
    return value & ((UINT64_C(1) << count) - 1);
}

static uint64_t load64(const uint8_t *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    return le64toh(word);
}

static void check_fits(const struct location *location)
{
    CHECK(location->offset_bytes % LOCATION_OFFSET_UNIT_BYTES == 0);
    CHECK(location->offset_bytes / LOCATION_OFFSET_UNIT_BYTES < UINT64_C(1) << 36);
    CHECK(location->length_bytes < UINT32_C(1) << 27);
    CHECK(location->generation < UINT64_C(1) << 48);
    CHECK(location->tier < 4);
    CHECK(location->stamp < 128);
}

void location_pack(const struct location *location, uint8_t ret_bytes[LOCATION_BYTES])
{
    check_fits(location);
    uint64_t units = location->offset_bytes / LOCATION_OFFSET_UNIT_BYTES;
    uint64_t low = htole64(location->holder | (uint64_t)location->arena << 16 |
                           (uint64_t)location->slot << 24 | units << 56);
    uint64_t mid =
        htole64(units >> 8 | (uint64_t)location->length_bytes << 28 | location->generation << 55);
    uint64_t high = htole64(location->generation >> 9 | (uint64_t)location->tier << 39 |
                            (uint64_t)location->stamp << 41);
    memcpy(ret_bytes, &low, sizeof low);
    memcpy(ret_bytes + 8, &mid, sizeof mid);
    memcpy(ret_bytes + 16, &high, HIGH_BYTES);
}

void location_unpack(const uint8_t bytes[LOCATION_BYTES], struct location *ret_location)
{
    uint64_t low = load64(bytes);
    uint64_t mid = load64(bytes + 8);
    /* The last whole word, of which the first two bytes belong to mid. */
    uint64_t high = load64(bytes + LOCATION_BYTES - sizeof high) >> 16;
    uint64_t units = low >> 56 | low_bits(mid, 28) << 8;
    *ret_location = (struct location){
        .holder = (uint16_t)low,
        .arena = (uint8_t)(low >> 16),
        .slot = (uint32_t)(low >> 24),
        .offset_bytes = units * LOCATION_OFFSET_UNIT_BYTES,
        .length_bytes = (uint32_t)low_bits(mid >> 28, 27),
        .generation = mid >> 55 | low_bits(high, 39) << 9,
        .tier = (uint8_t)low_bits(high >> 39, 2),
        .stamp = (uint8_t)(high >> 41),
    };
}
