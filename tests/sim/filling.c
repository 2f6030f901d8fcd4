/* SPDX-License-Identifier: Apache-2.0 */
/*
 * filling.c - a record of every filling, and bytes that say which filling they are of.
 *
 * The bytes are a function of the life, the generation and the position in the page, so that bytes
 * of two fillings, also of one key, never pass for one page.  Which life and generation a location
 * belongs to is thus known for certain, and so is what a reader must find there.
 */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "sim.h"

/* A key's length is a function of the key alone: whoever sets it has the same page. */
uint32_t filling_length(uint32_t ns, uint32_t number)
{
    uint64_t random = hash_bytes64(&number, sizeof number, world.seed + ns);
    uint32_t most = world.plan.page_bytes_most;
    if (random % 4 == 0)
        return most; /* so that many pages have the same length */
    if (random % 100 < world.plan.small_share && most > 600)
        most = 600;
    return 1 + (uint32_t)(random >> 32) % most;
}

uint32_t filling_other_length(uint32_t ns, uint32_t number)
{
    uint32_t length = filling_length(ns, number);
    return length > 1 ? length - 1 - (length > 64 ? 63 : 0) : 2;
}

uint64_t filling_room_bytes(uint32_t length_bytes)
{
    return (length_bytes + NAME_BYTES + UINT64_C(63)) & ~UINT64_C(63);
}

void filling_name(uint32_t number, uint8_t ret_name[NAME_BYTES])
{
    uint64_t name = (number + 1) * UINT64_C(0x9e3779b97f4a7c15);
    memcpy(ret_name, &name, NAME_BYTES);
}

struct id128 filling_digest(const struct page_key *key)
{
    uint8_t name[NAME_BYTES];
    filling_name(key->number, name);
    return hash_page_digest(world.identities[key->ns], key->epoch, name, sizeof name);
}

uint64_t filling_ring_position(const struct page_key *key)
{
    uint8_t name[NAME_BYTES];
    filling_name(key->number, name);
    return hash_ring_position(name, sizeof name);
}

/* --- the record --- */

struct filling *filling_begin(struct life *life, const struct core_page *page,
                              const struct page_key *key)
{
    if (page->generation == 0 || page->generation > 1 << 20)
        world_violated("3", "a generation that is none: %llu",
                       (unsigned long long)page->generation);
    while (page->generation >= life->fillings_size) {
        uint32_t size = life->fillings_size ? 2 * life->fillings_size : 256;
        life->fillings = realloc(life->fillings, size * sizeof *life->fillings);
        if (!life->fillings)
            abort();
        memset(life->fillings + life->fillings_size, 0,
               (size - life->fillings_size) * sizeof *life->fillings);
        life->fillings_size = size;
    }
    struct filling *filling = &life->fillings[page->generation];
    if (filling->state != 0)
        world_violated("3", "generation %llu of life %d is used a second time",
                       (unsigned long long)page->generation, (int)(life - world.lives));
    *filling = (struct filling){
        .state = FILLING_RESERVED,
        .key = *key,
        .digest = page->digest,
        .slot = page->slot,
        .length_bytes = page->length_bytes,
        .offset_bytes = page->offset_bytes,
        .begun = world.n_events_run,
    };
    return filling;
}

struct filling *filling_find(const struct life *life, uint64_t generation)
{
    if (generation >= life->fillings_size || life->fillings[generation].state == 0)
        return NULL;
    return &life->fillings[generation];
}

void filling_free_all(void)
{
    for (uint32_t i = 0; i < world.n_lives; i++)
        free(world.lives[i].fillings);
    world.n_lives = 0;
}

/* --- the bytes --- */

static uint64_t word_at(int life, uint64_t generation, uint32_t index)
{
    uint64_t z = ((uint64_t)life << 40 | generation << 14 | index) * UINT64_C(0x9e3779b97f4a7c15);
    z ^= world.seed;
    z = (z ^ z >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
    return z ^ z >> 32;
}

/* The bytes from @at on that lie in one word, low byte first, and how many they are. */
static uint64_t piece(int life, uint64_t generation, uint32_t at, uint32_t left, uint32_t *ret_len)
{
    *ret_len = left < 8 - at % 8 ? left : 8 - at % 8;
    return word_at(life, generation, at / 8) >> at % 8 * 8;
}

void filling_copy(struct filling *filling, int life, uint64_t generation)
{
    filling->copied_life = life;
    filling->copied_generation = generation;
}

/* A copy of a copy has the bytes of the first. */
static void find_original(int *life, uint64_t *generation)
{
    const struct filling *filling;
    while ((filling = filling_find(&world.lives[*life], *generation)) != NULL &&
           filling->copied_generation != 0) {
        *life = filling->copied_life;
        *generation = filling->copied_generation;
    }
}

void filling_write(int life, uint64_t generation, uint32_t from, uint32_t len, uint8_t *to)
{
    find_original(&life, &generation);
    for (uint32_t n; len > 0; from += n, to += n, len -= n) {
        uint64_t word = piece(life, generation, from, len, &n);
        memcpy(to, &word, n);
    }
}

bool filling_is(int life, uint64_t generation, const uint8_t *bytes, uint32_t from, uint32_t len)
{
    find_original(&life, &generation);
    for (uint32_t n; len > 0; from += n, bytes += n, len -= n) {
        uint64_t word = piece(life, generation, from, len, &n), found = 0;
        memcpy(&found, bytes, n);
        if (found != (n < 8 ? word & ((UINT64_C(1) << n * 8) - 1) : word))
            return false;
    }
    return true;
}
