/* SPDX-License-Identifier: Apache-2.0 */
/*
 * directory.c - entries in a seqtable, with a stamp of 7 bits a location: five of age (the shard's
 * clock moves once each time that a 24th of its limit was inserted, so that it does not come round
 * while a full shard is renewed) and two of the sync round in which the holder named it.  Four
 * rounds, because a sync that breaks off leaves entries of its own round behind, beside those of the
 * round before: the next one must be told from both.
 *
 * Sweeping walks the whole table in bounded pieces.  A holder's flags say what of it is doomed; a
 * flag raised during a walk counts from the next walk on.
 */
#include "core/directory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/protection.h"
#include "base/seqtable.h"

enum {
    LOCATIONS = 2,
    SWEEP_BUCKETS = 1024, /* of one step */
    AGES = 32,
    TICKS_A_LIMIT = 24,
    ROUND_UNIT = AGES, /* of a stamp; the age is below it */
    ROUNDS = 4,
};

enum doom { DOOM_NONE, DOOM_OLD_ROUND, DOOM_ALL };

struct holder {
    uint8_t round;            /* of what the holder names now */
    uint8_t unswept;          /* so many rounds before it may still have entries */
    uint8_t wanted, sweeping; /* enum doom: for the next walk, and in the present one */
};

struct directory {
    struct seqtable *table;
    uint32_t limit, inserted_since_tick;
    uint8_t age;
    bool walking, has_wanted; /* has_wanted: some holder may have one */
    uint64_t cursor;
    struct holder holders[CORE_PEERS_MAX];
};

struct entry {
    struct location locations[LOCATIONS]; /* length 0: none */
};

int directory_new(uint32_t limit, struct directory **ret_directory)
{
    struct directory *directory = calloc(1, sizeof *directory);
    if (!directory)
        return -ENOMEM;
    directory->limit = limit;
    int error = seqtable_new(limit, &directory->table);
    if (error) {
        free(directory);
        return error;
    }
    *ret_directory = directory;
    return 0;
}

void directory_free(struct directory *directory)
{
    if (!directory)
        return;
    seqtable_free(directory->table);
    free(directory);
}

struct seqtable *directory_table(const struct directory *directory)
{
    return directory->table;
}

static void unpack(const struct seqtable_value *value, struct entry *ret_entry)
{
    for (int i = 0; i < LOCATIONS; i++)
        location_unpack(value->bytes + i * LOCATION_BYTES, &ret_entry->locations[i]);
}

static void pack(const struct entry *entry, struct seqtable_value *ret_value)
{
    memset(ret_value, 0, sizeof *ret_value);
    for (int i = 0; i < LOCATIONS; i++)
        location_pack(&entry->locations[i], ret_value->bytes + i * LOCATION_BYTES);
}

static bool find(const struct directory *directory, struct id128 digest, struct entry *ret_entry)
{
    struct seqtable_value value;
    if (seqtable_find(directory->table, digest, &value) != 0)
        return false;
    unpack(&value, ret_entry);
    return true;
}

static int store(struct directory *directory, struct id128 digest, const struct entry *entry)
{
    struct seqtable_value value;
    pack(entry, &value);
    return seqtable_put(directory->table, digest, &value);
}

static uint8_t age_of(const struct directory *directory, const struct location *location)
{
    return (uint8_t)(directory->age - location->stamp) % AGES;
}

static uint8_t entry_age(const struct directory *directory, const struct seqtable_value *value)
{
    struct entry entry;
    unpack(value, &entry);
    uint8_t youngest = AGES - 1;
    for (int i = 0; i < LOCATIONS; i++)
        if (entry.locations[i].length_bytes && age_of(directory, &entry.locations[i]) < youngest)
            youngest = age_of(directory, &entry.locations[i]);
    return youngest;
}

/* The key's segment of the table is full: its oldest entry goes. */
static void drop_oldest(struct directory *directory, struct id128 digest)
{
    struct id128 key, oldest_key = {0};
    struct seqtable_value value;
    int oldest = -1;
    for (uint64_t cursor = 0;
         seqtable_walk_segment(directory->table, digest, &cursor, &key, &value) == 1;) {
        int age = entry_age(directory, &value);
        if (age > oldest) {
            oldest = age;
            oldest_key = key;
        }
    }
    if (oldest >= 0)
        seqtable_remove(directory->table, oldest_key);
}

static void advance_age(struct directory *directory)
{
    if (++directory->inserted_since_tick < directory->limit / TICKS_A_LIMIT)
        return;
    directory->inserted_since_tick = 0;
    directory->age = (directory->age + 1) % AGES;
}

/* The holder's own place, else an empty one, else the older of the two. */
static struct location *choose_place(const struct directory *directory, struct entry *entry,
                                     uint16_t holder)
{
    struct location *choice = &entry->locations[0];
    for (int i = LOCATIONS - 1; i >= 0; i--) {
        struct location *place = &entry->locations[i];
        if (place->length_bytes && place->holder == holder)
            return place;
        if (choice->length_bytes &&
            (!place->length_bytes || age_of(directory, place) > age_of(directory, choice)))
            choice = place;
    }
    return choice;
}

int directory_put(struct directory *directory, struct id128 digest, const struct location *location)
{
    struct entry entry = {0};
    if (id128_is_zero(digest))
        return -EINVAL;
    bool is_new = !find(directory, digest, &entry);
    struct location *place = choose_place(directory, &entry, location->holder);
    *place = *location;
    place->stamp = directory->age + ROUND_UNIT * directory->holders[location->holder].round;
    if (is_new) {
        advance_age(directory);
        if (seqtable_count(directory->table) >= directory->limit)
            drop_oldest(directory, digest);
    }
    if (store(directory, digest, &entry) == 0)
        return 0;
    drop_oldest(directory, digest);
    return store(directory, digest, &entry);
}

/* Takes out the locations that @is_doomed names; the entry goes with its last one. */
static void strip(struct directory *directory, struct id128 digest, struct entry *entry,
                  const bool is_doomed[LOCATIONS])
{
    bool changed = false, empty = true;
    for (int i = 0; i < LOCATIONS; i++) {
        if (is_doomed[i] && entry->locations[i].length_bytes) {
            entry->locations[i] = (struct location){0};
            changed = true;
        }
        empty &= entry->locations[i].length_bytes == 0;
    }
    if (empty)
        seqtable_remove(directory->table, digest);
    else if (changed)
        CHECK(store(directory, digest, entry) == 0);
}

int directory_remove(struct directory *directory, struct id128 digest, uint16_t holder,
                     uint64_t generation)
{
    struct entry entry;
    if (!find(directory, digest, &entry))
        return -ENOENT;
    bool is_doomed[LOCATIONS], any = false;
    for (int i = 0; i < LOCATIONS; i++) {
        const struct location *location = &entry.locations[i];
        is_doomed[i] = location->length_bytes && location->holder == holder &&
                       (location->generation == generation || !PROTECTED(retract_generation));
        any |= is_doomed[i];
    }
    if (!any)
        return -ENOENT;
    strip(directory, digest, &entry, is_doomed);
    return 0;
}

static void want_sweep(struct directory *directory, uint16_t holder, enum doom doom)
{
    if (directory->holders[holder].wanted < doom)
        directory->holders[holder].wanted = (uint8_t)doom;
    directory->has_wanted = true;
}

/* An unfinished sweep of the round before would now hit what is being named: it is called off.  When
 * the rounds are used up, after three syncs that broke off, this one goes on in the round of the last:
 * what only that one named stays until the next sync. */
void directory_sync_begin(struct directory *directory, uint16_t holder)
{
    struct holder *h = &directory->holders[holder];
    if (h->wanted == DOOM_OLD_ROUND)
        h->wanted = DOOM_NONE;
    if (h->sweeping == DOOM_OLD_ROUND)
        h->sweeping = DOOM_NONE;
    if (h->unswept == ROUNDS - 1)
        return;
    h->unswept++;
    h->round = (h->round + 1) % ROUNDS;
}

void directory_sync_end(struct directory *directory, uint16_t holder)
{
    want_sweep(directory, holder, DOOM_OLD_ROUND);
}

void directory_drop_holder(struct directory *directory, uint16_t holder)
{
    want_sweep(directory, holder, DOOM_ALL);
}

bool directory_holder_is_free(const struct directory *directory, uint16_t holder)
{
    return directory->holders[holder].wanted != DOOM_ALL &&
           directory->holders[holder].sweeping != DOOM_ALL;
}

static bool begin_walk(struct directory *directory)
{
    bool any = false;
    if (!directory->has_wanted)
        return false;
    directory->has_wanted = false;
    for (uint32_t i = 0; i < CORE_PEERS_MAX; i++) {
        struct holder *h = &directory->holders[i];
        h->sweeping = h->wanted;
        h->wanted = DOOM_NONE;
        any |= h->sweeping != DOOM_NONE;
    }
    directory->walking = any;
    directory->cursor = 0;
    return any;
}

static void end_walk(struct directory *directory)
{
    for (uint32_t i = 0; i < CORE_PEERS_MAX; i++) {
        if (directory->holders[i].sweeping != DOOM_NONE)
            directory->holders[i].unswept = 0;
        directory->holders[i].sweeping = DOOM_NONE;
    }
    directory->walking = false;
}

static bool is_swept(const struct directory *directory, const struct location *location)
{
    const struct holder *h = &directory->holders[location->holder];
    return h->sweeping == DOOM_ALL ||
           (h->sweeping == DOOM_OLD_ROUND && location->stamp / ROUND_UNIT != h->round);
}

bool directory_sweep(struct directory *directory)
{
    if (!directory->walking && !begin_walk(directory))
        return false;
    struct id128 digest;
    struct seqtable_value value;
    for (uint32_t seen = 0; seen < SWEEP_BUCKETS; seen++) {
        int got =
            seqtable_walk(directory->table, &directory->cursor, SWEEP_BUCKETS, &digest, &value);
        if (got == -EAGAIN)
            return true;
        if (got == 0) {
            end_walk(directory);
            return true;
        }
        struct entry entry;
        unpack(&value, &entry);
        bool is_doomed[LOCATIONS] = {is_swept(directory, &entry.locations[0]),
                                     is_swept(directory, &entry.locations[1])};
        if (is_doomed[0] || is_doomed[1])
            strip(directory, digest, &entry, is_doomed);
    }
    return true;
}

uint64_t directory_count(const struct directory *directory)
{
    return seqtable_count(directory->table);
}

uint64_t directory_bytes(const struct directory *directory)
{
    return seqtable_bytes(directory->table);
}
