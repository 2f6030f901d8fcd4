/* SPDX-License-Identifier: Apache-2.0 */
/*
 * directory.c - entries in two seqtables, with a stamp of 7 bits a location: five of age (the
 * shard's clock moves once each time that a 24th of its limit was inserted, so that it does not
 * come round while a full shard is renewed) and two of the sync round in which the holder named it.
 * Four rounds, because a sync that breaks off leaves entries of its own round behind, beside those
 * of the round before: the next one must be told from both.
 *
 * The overflow has a bucket for a key only while both places of the key's entry are taken, so that
 * who walks the entries sees everything.  Of a change that concerns both buckets the entry's is
 * written first: a reader, who reads it first, may see a location twice, but never none where there
 * is one.
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
    INLINE = 2,           /* locations of a bucket */
    SWEEP_BUCKETS = 1024, /* of one step */
    OVERFLOW_SHARE = 16,  /* one bucket of overflow for so many entries */
    OVERFLOW_LEAST = 64,
    OLDEST_OF = 64,       /* entries that are compared to make room for one */
    OLDEST_BUCKETS = 512, /* and buckets looked at to find them */
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
    bool is_muddled;          /* its round was begun twice */
    bool must_renew;          /* that has been swept: all must be named again */
};

struct directory {
    struct seqtable *table, *overflow;
    uint32_t limit, overflow_limit, inserted_since_tick;
    uint8_t age;
    bool walking, has_wanted; /* has_wanted: some holder may have one */
    uint32_t n_must_renew;
    uint64_t cursor;
    struct holder holders[CORE_PEERS_MAX];
};

struct entry {
    struct location locations[CORE_HOLDERS_MAX]; /* length 0: none; no gaps between them */
    uint32_t n;
};

int directory_new(uint32_t limit, struct directory **ret_directory)
{
    struct directory *directory = calloc(1, sizeof *directory);
    if (!directory)
        return -ENOMEM;
    directory->limit = limit;
    directory->overflow_limit = limit / OVERFLOW_SHARE;
    if (directory->overflow_limit < OVERFLOW_LEAST)
        directory->overflow_limit = OVERFLOW_LEAST;
    int error = seqtable_new(limit, &directory->table);
    if (!error)
        error = seqtable_new(directory->overflow_limit, &directory->overflow);
    if (error) {
        directory_free(directory);
        return error;
    }
    *ret_directory = directory;
    return 0;
}

void directory_free(struct directory *directory)
{
    if (!directory)
        return;
    seqtable_free(directory->overflow);
    seqtable_free(directory->table);
    free(directory);
}

struct seqtable *directory_table(const struct directory *directory)
{
    return directory->table;
}

struct seqtable *directory_overflow(const struct directory *directory)
{
    return directory->overflow;
}

/* --- an entry, in one bucket or two --- */

static uint32_t unpack(const struct seqtable_value *value, struct location *ret_locations,
                       uint32_t n)
{
    for (int i = 0; i < INLINE; i++) {
        location_unpack(value->bytes + i * LOCATION_BYTES, &ret_locations[n]);
        if (ret_locations[n].length_bytes == 0)
            break;
        n++;
    }
    return n;
}

static void pack(const struct location *locations, uint32_t n, struct seqtable_value *ret_value)
{
    memset(ret_value, 0, sizeof *ret_value);
    for (uint32_t i = 0; i < n && i < INLINE; i++)
        location_pack(&locations[i], ret_value->bytes + i * LOCATION_BYTES);
}

static uint32_t drop_doubles(struct location *locations, uint32_t n)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        bool is_double = false;
        for (uint32_t j = 0; j < kept; j++)
            is_double |= locations[j].holder == locations[i].holder;
        if (!is_double)
            locations[kept++] = locations[i];
    }
    return kept;
}

int directory_find(const struct seqtable *table, const struct seqtable *overflow,
                   struct id128 digest, struct location ret_locations[CORE_HOLDERS_MAX])
{
    struct seqtable_value value;
    int error = seqtable_find(table, digest, &value);
    if (error)
        return error == -ENOENT ? 0 : error;
    uint32_t n = unpack(&value, ret_locations, 0);
    if (n == INLINE && seqtable_find(overflow, digest, &value) == 0)
        n = drop_doubles(ret_locations, unpack(&value, ret_locations, n));
    return (int)n;
}

static void load(const struct directory *directory, struct id128 digest,
                 const struct seqtable_value *value, struct entry *ret_entry)
{
    struct seqtable_value more;
    *ret_entry = (struct entry){0};
    ret_entry->n = unpack(value, ret_entry->locations, 0);
    if (ret_entry->n == INLINE && seqtable_find(directory->overflow, digest, &more) == 0)
        ret_entry->n = unpack(&more, ret_entry->locations, ret_entry->n);
}

static bool find(const struct directory *directory, struct id128 digest, struct entry *ret_entry)
{
    struct seqtable_value value;
    *ret_entry = (struct entry){0};
    if (seqtable_find(directory->table, digest, &value) != 0)
        return false;
    load(directory, digest, &value, ret_entry);
    return true;
}

static bool overflow_has_room(const struct directory *directory, struct id128 digest)
{
    struct seqtable_value value;
    return seqtable_count(directory->overflow) < directory->overflow_limit ||
           seqtable_find(directory->overflow, digest, &value) == 0;
}

/* -ENOSPC: one of the two tables has no room, and all is as it was before: what stands there
 * already is always overwritten, and who comes third comes behind the first two. */
static int store(struct directory *directory, struct id128 digest, const struct entry *entry)
{
    struct seqtable_value value, more;
    bool has_more = entry->n > INLINE;
    if (has_more && !overflow_has_room(directory, digest))
        return -ENOSPC;
    pack(entry->locations, entry->n, &value);
    int error = seqtable_put(directory->table, digest, &value);
    if (error)
        return error;
    if (!has_more) {
        seqtable_remove(directory->overflow, digest);
        return 0;
    }
    pack(entry->locations + INLINE, entry->n - INLINE, &more);
    return seqtable_put(directory->overflow, digest, &more);
}

static void forget(struct directory *directory, struct id128 digest)
{
    seqtable_remove(directory->table, digest);
    seqtable_remove(directory->overflow, digest);
}

/* --- put --- */

static uint8_t age_of(const struct directory *directory, const struct location *location)
{
    return (uint8_t)(directory->age - location->stamp) % AGES;
}

static uint8_t entry_age(const struct directory *directory, const struct entry *entry)
{
    uint8_t youngest = AGES - 1;
    for (uint32_t i = 0; i < entry->n; i++)
        if (age_of(directory, &entry->locations[i]) < youngest)
            youngest = age_of(directory, &entry->locations[i]);
    return youngest;
}

/* Makes room for a key: of some entries that lie where it would, the oldest goes.  Looking at all
 * of them would let who sends keys of one place hold up the step. */
static void drop_oldest(struct directory *directory, struct id128 digest)
{
    struct id128 key, oldest_key = {0};
    struct seqtable_value value;
    uint32_t cursor = 0;
    int oldest = -1;
    for (uint32_t seen = 0;
         seen < OLDEST_OF &&
         seqtable_walk_near(directory->table, digest, &cursor, OLDEST_BUCKETS, &key, &value);
         seen++) {
        struct entry entry;
        load(directory, key, &value, &entry);
        int age = entry_age(directory, &entry);
        if (age > oldest) {
            oldest = age;
            oldest_key = key;
        }
    }
    if (oldest >= 0)
        forget(directory, oldest_key);
}

static void advance_age(struct directory *directory)
{
    if (++directory->inserted_since_tick < directory->limit / TICKS_A_LIMIT)
        return;
    directory->inserted_since_tick = 0;
    directory->age = (directory->age + 1) % AGES;
}

/* Of the first @n places the one that was named longest ago. */
static struct location *oldest_place(const struct directory *directory, struct entry *entry,
                                     uint32_t n)
{
    struct location *oldest = &entry->locations[0];
    for (uint32_t i = 1; i < n; i++)
        if (age_of(directory, &entry->locations[i]) > age_of(directory, oldest))
            oldest = &entry->locations[i];
    return oldest;
}

/* The holder's own place, else one more, else the oldest. */
static struct location *choose_place(const struct directory *directory, struct entry *entry,
                                     uint16_t holder)
{
    for (uint32_t i = 0; i < entry->n; i++)
        if (entry->locations[i].holder == holder)
            return &entry->locations[i];
    if (entry->n < CORE_HOLDERS_MAX)
        return &entry->locations[entry->n++];
    return oldest_place(directory, entry, entry->n);
}

static int store_new(struct directory *directory, struct id128 digest, const struct entry *entry)
{
    advance_age(directory);
    if (seqtable_count(directory->table) >= directory->limit)
        drop_oldest(directory, digest);
    if (store(directory, digest, entry) == 0)
        return 0;
    drop_oldest(directory, digest);
    return store(directory, digest, entry);
}

int directory_put(struct directory *directory, struct id128 digest, const struct location *location)
{
    struct entry entry;
    struct location named = *location;
    if (id128_is_zero(digest) || location->length_bytes == 0)
        return -EINVAL;
    named.stamp = directory->age + ROUND_UNIT * directory->holders[location->holder].round;
    bool is_new = !find(directory, digest, &entry);
    *choose_place(directory, &entry, location->holder) = named;
    if (is_new)
        return store_new(directory, digest, &entry);
    if (store(directory, digest, &entry) == 0)
        return 0;
    entry.n = INLINE; /* the overflow is full */
    *oldest_place(directory, &entry, INLINE) = named;
    return store(directory, digest, &entry);
}

/* --- remove --- */

/* Takes out the locations that @is_doomed names; the entry goes with its last one. */
static bool strip(struct directory *directory, struct id128 digest, struct entry *entry,
                  const bool is_doomed[CORE_HOLDERS_MAX])
{
    uint32_t n = entry->n, kept = 0;
    for (uint32_t i = 0; i < n; i++)
        if (!is_doomed[i])
            entry->locations[kept++] = entry->locations[i];
    entry->n = kept;
    if (kept == 0)
        forget(directory, digest);
    else if (kept < n)
        CHECK(store(directory, digest, entry) == 0);
    return kept < n;
}

int directory_remove(struct directory *directory, struct id128 digest, uint16_t holder,
                     uint64_t generation)
{
    struct entry entry;
    if (!find(directory, digest, &entry))
        return -ENOENT;
    bool is_doomed[CORE_HOLDERS_MAX] = {false};
    uint32_t n = PROTECTED(retract_overflow) || entry.n < INLINE ? entry.n : INLINE;
    for (uint32_t i = 0; i < n; i++) {
        const struct location *location = &entry.locations[i];
        is_doomed[i] = location->holder == holder &&
                       (location->generation == generation || !PROTECTED(retract_generation));
    }
    return strip(directory, digest, &entry, is_doomed) ? 0 : -ENOENT;
}

/* --- sync and sweeps --- */

static void want_sweep(struct directory *directory, uint16_t holder, enum doom doom)
{
    if (directory->holders[holder].wanted < doom)
        directory->holders[holder].wanted = (uint8_t)doom;
    directory->has_wanted = true;
}

/* An unfinished sweep of the round before would now hit what is being named: it is called off.
 * When the rounds are used up, after three syncs that broke off, this one goes on in the round of
 * the last. What only that one named stays until the next sync, and that is asked for after the
 * sweep. */
void directory_sync_begin(struct directory *directory, uint16_t holder)
{
    struct holder *h = &directory->holders[holder];
    if (h->wanted == DOOM_OLD_ROUND)
        h->wanted = DOOM_NONE;
    if (h->sweeping == DOOM_OLD_ROUND)
        h->sweeping = DOOM_NONE;
    if (h->unswept == ROUNDS - 1) {
        h->is_muddled = true;
        return;
    }
    h->unswept++;
    h->round = (h->round + 1) % ROUNDS;
}

void directory_sync_end(struct directory *directory, uint16_t holder)
{
    if (!PROTECTED(sweep_unnamed))
        return;
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

static void end_sweep(struct directory *directory, struct holder *h)
{
    if (h->is_muddled && h->sweeping == DOOM_OLD_ROUND && !h->must_renew) {
        h->must_renew = true;
        directory->n_must_renew++;
    }
    h->is_muddled = false;
    h->unswept = 0;
}

static void end_walk(struct directory *directory)
{
    for (uint16_t i = 0; i < CORE_PEERS_MAX; i++) {
        if (directory->holders[i].sweeping != DOOM_NONE)
            end_sweep(directory, &directory->holders[i]);
        directory->holders[i].sweeping = DOOM_NONE;
    }
    directory->walking = false;
}

uint16_t directory_muddled(struct directory *directory)
{
    if (directory->n_must_renew == 0 || !PROTECTED(muddled_sync_again))
        return CORE_PEER_NONE;
    uint16_t holder = 0;
    while (!directory->holders[holder].must_renew)
        holder++;
    directory->holders[holder].must_renew = false;
    directory->n_must_renew--;
    return holder;
}

static bool is_swept(const struct directory *directory, const struct location *location)
{
    const struct holder *h = &directory->holders[location->holder];
    return h->sweeping == DOOM_ALL ||
           (h->sweeping == DOOM_OLD_ROUND && location->stamp / ROUND_UNIT != h->round);
}

static void sweep_entry(struct directory *directory, struct id128 digest,
                        const struct seqtable_value *value)
{
    struct entry entry;
    bool is_doomed[CORE_HOLDERS_MAX];
    load(directory, digest, value, &entry);
    for (uint32_t i = 0; i < entry.n; i++)
        is_doomed[i] = is_swept(directory, &entry.locations[i]);
    strip(directory, digest, &entry, is_doomed);
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
        sweep_entry(directory, digest, &value);
    }
    return true;
}

uint64_t directory_count(const struct directory *directory)
{
    return seqtable_count(directory->table);
}

uint64_t directory_bytes(const struct directory *directory)
{
    return seqtable_bytes(directory->table) + seqtable_bytes(directory->overflow);
}
