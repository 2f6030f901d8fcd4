/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seqtable_stress.c - one writer and several readers of one seqtable, on real threads.
 *
 *     stress-seqtable-stress [SECONDS]
 *
 * A value is computed from its key and a version, so a value that belongs to another key or is torn
 * between two versions shows.  The writer notes each version in `floors` once its call returned: a
 * reader that began later must see that version or a later one.  Keys of which the lowest bit is
 * set are never removed once they are in: for them a miss is an error too.  The table is small and
 * made anew again and again, since growth is what is rare otherwise.
 *
 * The file takes the table's source into itself, with a pause between any two steps that the other
 * side may see: a thread that gives up its core there lets the others in even where there are few
 * cores.  Compiled with -DSEQTABLE_BROKEN (no second look at the sequence) the program succeeds
 * when it has found a wrong read, and fails when it has not: there are some in every round.
 */
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static void pause_between_steps(void);
#define SEQTABLE_PAUSE() pause_between_steps()
#include "base/seqtable.c"
#include "base/splitmix.h"

enum {
    READERS = 3,
    KEYS = 8192,         /* two segments */
    ROUND_STEPS = 60000, /* puts and removals on one table */
    PAUSE_ONE_IN = 512,  /* steps: some 10 searches, or one put */
    TRIES_OF_A_KEY = 64, /* so that the writer comes back to a key while it is being read */
};

static struct seqtable *table;
static _Atomic bool round_ends;
/* Of each key: the version last put, 0 when it was not put in this round. */
static _Atomic uint32_t floors[KEYS];

struct tally {
    uint64_t finds, hits, misses, again;
    uint64_t wrong_values, old_values, false_misses;
};

static _Thread_local uint64_t random_state;

static uint64_t draw(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static void pause_between_steps(void)
{
    static _Thread_local uint32_t steps;
    if (random_state && ++steps % PAUSE_ONE_IN == 0) {
        steps = draw() % PAUSE_ONE_IN;
        sched_yield();
    }
}

static struct id128 key_of(uint32_t number)
{
    return (struct id128){.hi = splitmix_of(2 * number + 1), .lo = splitmix_of(2 * number + 2)};
}

/* The version stands beside the sequence, the rest follows from it. */
static struct seqtable_value value_of(uint32_t number, uint32_t version)
{
    struct seqtable_value value;
    memcpy(value.bytes, &version, 4);
    for (int i = 0; i < 5; i++) {
        uint64_t word = splitmix_of((uint64_t)number << 40 | (uint64_t)version << 8 | i);
        memcpy(value.bytes + 4 + 8 * i, &word, 8);
    }
    return value;
}

static void check_hit(uint32_t number, uint32_t floor, const struct seqtable_value *value,
                      struct tally *tally)
{
    uint32_t version;
    memcpy(&version, value->bytes, 4);
    struct seqtable_value expected = value_of(number, version);
    tally->hits++;
    tally->wrong_values += memcmp(value, &expected, sizeof expected) != 0;
    tally->old_values += version < floor;
}

static void *read_until_round_ends(void *argument)
{
    struct tally *tally = argument;
    random_state = (uintptr_t)argument * SPREAD | 1;
    while (!atomic_load_explicit(&round_ends, memory_order_acquire)) {
        uint32_t number = draw() % KEYS;
        for (int i = 0; i < TRIES_OF_A_KEY; i++) {
            uint32_t floor = atomic_load_explicit(&floors[number], memory_order_acquire);
            struct seqtable_value value;
            int error = seqtable_find(table, key_of(number), &value);
            tally->finds++;
            tally->again += error == -EAGAIN;
            if (error == 0)
                check_hit(number, floor, &value, tally);
            if (error != -ENOENT)
                continue;
            tally->misses++;
            tally->false_misses += floor != 0 && number % 2 == 1;
        }
    }
    return NULL;
}

static void set_floor(uint32_t number, uint32_t version)
{
    atomic_store_explicit(&floors[number], version, memory_order_release);
}

/* Mostly puts at first, so that the segments grow, then as many removals. */
static void write_one_round(uint32_t *version)
{
    for (int step = 0; step < ROUND_STEPS; step++) {
        uint64_t random = draw();
        uint32_t number = random % KEYS;
        bool may_remove = number % 2 == 0 && random >> 32 & 1;
        if (may_remove && step > ROUND_STEPS / 4) {
            seqtable_remove(table, key_of(number));
            continue;
        }
        struct seqtable_value value = value_of(number, ++*version);
        CHECK(seqtable_put(table, key_of(number), &value) == 0);
        set_floor(number, *version);
    }
}

static void run_round(struct tally *tallies, uint32_t *version)
{
    pthread_t readers[READERS];
    CHECK(seqtable_new(KEYS, &table) == 0);
    for (uint32_t i = 0; i < KEYS; i++)
        set_floor(i, 0);
    atomic_store_explicit(&round_ends, false, memory_order_release);
    for (int i = 0; i < READERS; i++)
        CHECK(pthread_create(&readers[i], NULL, read_until_round_ends, &tallies[i]) == 0);
    write_one_round(version);
    atomic_store_explicit(&round_ends, true, memory_order_release);
    for (int i = 0; i < READERS; i++)
        CHECK(pthread_join(readers[i], NULL) == 0);
    seqtable_free(table);
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static struct tally sum_of(const struct tally *tallies)
{
    struct tally sum = {0};
    for (int i = 0; i < READERS; i++) {
        sum.finds += tallies[i].finds;
        sum.hits += tallies[i].hits;
        sum.misses += tallies[i].misses;
        sum.again += tallies[i].again;
        sum.wrong_values += tallies[i].wrong_values;
        sum.old_values += tallies[i].old_values;
        sum.false_misses += tallies[i].false_misses;
    }
    return sum;
}

static bool report(const struct tally *sum, unsigned rounds)
{
    printf("rounds=%u finds=%" PRIu64 " hits=%" PRIu64 " misses=%" PRIu64 " again=%" PRIu64
           " wrong_values=%" PRIu64 " old_values=%" PRIu64 " false_misses=%" PRIu64 "\n",
           rounds, sum->finds, sum->hits, sum->misses, sum->again, sum->wrong_values,
           sum->old_values, sum->false_misses);
    return sum->wrong_values == 0 && sum->old_values == 0 && sum->false_misses == 0;
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? strtod(argv[1], NULL) : 1.0;
    static struct tally tallies[READERS];
    uint32_t version = 0;
    unsigned rounds = 0;
    random_state = 1;
    for (double end = now_s() + seconds; rounds == 0 || now_s() < end; rounds++)
        run_round(tallies, &version);
    struct tally sum = sum_of(tallies);
    bool is_right = report(&sum, rounds);
#ifdef SEQTABLE_BROKEN
    puts(is_right ? "no wrong read was found, although the second look is missing"
                  : "as expected: wrong reads without the second look");
    return is_right ? 1 : 0;
#else
    return is_right ? 0 : 1;
#endif
}
