/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slot_stress.c - slots over one payload, written and read by real threads.
 *
 *     stress-slot-stress [SECONDS] [--without PROTECTION]
 *
 * One thread makes slots void, carves them anew over whatever room a generation's number says,
 * fills and seals them, half of the pages with non-temporal stores, and gives some up half way.
 * Readers take any of the last generations, most of them gone by then, and read the page past the
 * writer, between two looks at its word; others read it under a pin.  Each word of a page is
 * computed from its generation and place, so every byte of every hit is compared.
 *
 * The exit status is 1 when a hit had a wrong byte, and also when nothing was at stake: no hit, or
 * no page that changed while it was copied.  --without turns off one of word_before_copy,
 * word_after_copy, void_before_reuse, pins_block_void; without the last three bytes are wrong.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/protection.h"
#include "wire/slot_header.h"

enum {
    SLOTS = 8,
    UNIT_WORDS = 256, /* 2 KiB; room and pages are multiples of it */
    UNITS = 24,       /* so that about half of the slots can be full at a time */
    PAGE_UNITS_MAX = 8,
    RECENT = 16, /* generations that readers ask for; about a third are still there */
    READERS = 2,
    PINNERS = 1,
    PAUSE_ONE_IN = 64,   /* units copied, so that others get in where there are few cores */
    ABANDON_ONE_IN = 16, /* fillings */
};

struct place {
    uint32_t slot, unit, units;
};

struct tally {
    uint64_t random; /* a thread's own */
    uint64_t hits, stopped_before, stopped_after, pinned, busy, wrong;
};

static struct slot_header headers[SLOTS];
static _Alignas(64) uint64_t payload[UNITS * UNIT_WORDS];
static _Atomic uint64_t recent[RECENT];
static atomic_bool ends;

static uint64_t mix(uint64_t number)
{
    number = (number ^ number >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    number = (number ^ number >> 27) * UINT64_C(0x94d049bb133111eb);
    return number ^ number >> 31;
}

/* A generation's number says everything about its page, so that it is a location by itself. */
static struct place place_of(uint64_t generation)
{
    uint64_t random = mix(generation);
    uint32_t units = 1 + random % PAGE_UNITS_MAX;
    return (struct place){
        .slot = random >> 8 & (SLOTS - 1),
        .unit = (random >> 16) % (UNITS - units + 1),
        .units = units,
    };
}

static uint64_t word_of(uint64_t generation, uint64_t index)
{
    return generation << 20 | index;
}

static struct slot_expectation expectation_of(uint64_t generation)
{
    struct place place = place_of(generation);
    return (struct slot_expectation){
        .digest = {.hi = mix(generation), .lo = generation},
        .generation = generation,
        .offset_bytes = place.unit * UNIT_WORDS * sizeof *payload,
        .length_bytes = place.units * UNIT_WORDS * sizeof *payload,
    };
}

static void pause_sometimes(void)
{
    static _Thread_local uint32_t steps;
    if (++steps % PAUSE_ONE_IN == 0)
        sched_yield();
}

/* --- the bytes: everything that is a race by the letter stands here --- */

#define RACY __attribute__((noinline, no_sanitize("thread")))

#if defined(__x86_64__)
#include <emmintrin.h>
static void store_past_caches(uint64_t *dst, const uint64_t *src)
{
    for (int i = 0; i < UNIT_WORDS; i++)
        _mm_stream_si64((long long *)&dst[i], (long long)src[i]);
}
#else
static void store_past_caches(uint64_t *dst, const uint64_t *src)
{
    memcpy(dst, src, UNIT_WORDS * sizeof *dst);
}
#endif

static void write_unit(uint64_t *dst, const uint64_t *src, bool past_caches)
{
    if (past_caches)
        store_past_caches(dst, src);
    else
        memcpy(dst, src, UNIT_WORDS * sizeof *dst);
}

RACY static void read_unit(uint64_t *dst, const volatile uint64_t *src)
{
    for (int i = 0; i < UNIT_WORDS; i++)
        dst[i] = src[i];
}

RACY static void write_fields(struct slot_header *header, const struct slot_expectation *page)
{
    volatile struct slot_header *fields = header;
    fields->digest.hi = page->digest.hi;
    fields->digest.lo = page->digest.lo;
    fields->offset_bytes = page->offset_bytes;
    fields->length_bytes = page->length_bytes;
}

/* --- the writer: the core's role and the copying thread in one --- */

/* The generation that a slot holds, sealed; 0: none. */
static uint64_t held[SLOTS];

static bool overlap(struct place a, struct place b)
{
    return a.unit < b.unit + b.units && b.unit < a.unit + a.units;
}

/* Makes void what stands in the way; false: somebody has pinned it. */
static bool make_room(struct place place)
{
    for (uint32_t i = 0; i < SLOTS; i++) {
        if (!held[i] || (i != place.slot && !overlap(place_of(held[i]), place)))
            continue;
        if (i != place.slot && !PROTECTED(void_before_reuse))
            continue;
        int error = slot_word_void(&headers[i].word, held[i]);
        if (error == -EBUSY && i != place.slot && !PROTECTED(pins_block_void))
            continue;
        if (error == -EBUSY)
            return false;
        CHECK(error == 0);
        held[i] = 0;
    }
    return true;
}

static void write_page(uint64_t generation, struct place place, uint32_t units)
{
    uint64_t unit[UNIT_WORDS];
    slot_word_copy_begin();
    for (uint32_t i = 0; i < units; i++) {
        for (uint32_t j = 0; j < UNIT_WORDS; j++)
            unit[j] = word_of(generation, i * UNIT_WORDS + j);
        write_unit(&payload[(place.unit + i) * UNIT_WORDS], unit, generation % 2);
        pause_sometimes();
    }
    slot_word_copy_end();
}

static void fill(uint64_t generation)
{
    struct place place = place_of(generation);
    struct slot_header *header = &headers[place.slot];
    struct slot_expectation page = expectation_of(generation);
    slot_word_fill(&header->word, generation);
    slot_word_copy_begin();
    write_fields(header, &page);
    if (mix(generation + 1) % ABANDON_ONE_IN == 0) {
        write_page(generation, place, place.units / 2);
        CHECK(slot_word_abandon(&header->word, generation));
        return;
    }
    write_page(generation, place, place.units);
    CHECK(slot_word_seal(&header->word, generation));
    held[place.slot] = generation;
    atomic_store_explicit(&recent[generation % RECENT], generation, memory_order_release);
}

static void *write_until_end(void *argument)
{
    struct tally *tally = argument;
    for (uint64_t generation = 1; !atomic_load(&ends); generation++) {
        if (make_room(place_of(generation)))
            fill(generation);
        else
            tally->busy++;
    }
    return NULL;
}

/* --- the readers --- */

static uint64_t draw_generation(struct tally *tally)
{
    tally->random = tally->random * UINT64_C(6364136223846793005) + 1442695040888963407;
    return atomic_load_explicit(&recent[(tally->random >> 33) % RECENT], memory_order_acquire);
}

static void copy_page(uint64_t *dst, struct place place)
{
    for (uint32_t i = 0; i < place.units; i++) {
        read_unit(&dst[i * UNIT_WORDS], &payload[(place.unit + i) * UNIT_WORDS]);
        pause_sometimes();
    }
}

static bool is_page(const uint64_t *words, uint64_t generation)
{
    for (uint64_t i = 0; i < place_of(generation).units * UNIT_WORDS; i++) {
        if (words[i] != word_of(generation, i))
            return false;
    }
    return true;
}

static void read_past_writer(uint64_t generation, struct tally *tally)
{
    uint64_t page[PAGE_UNITS_MAX * UNIT_WORDS];
    struct place place = place_of(generation);
    struct slot_expectation expected = expectation_of(generation);
    struct slot_sample sample;
    slot_header_sample(&headers[place.slot], &sample);
    if (PROTECTED(word_before_copy) && slot_verdict(&sample, &expected) != SLOT_WHOLE) {
        tally->stopped_before++;
        sched_yield(); /* else the writer, who alone can change that, waits for a core */
        return;
    }
    copy_page(page, place);
    slot_word_read_fence();
    slot_header_sample(&headers[place.slot], &sample);
    if (PROTECTED(word_after_copy) && slot_verdict(&sample, &expected) != SLOT_WHOLE) {
        tally->stopped_after++;
        return;
    }
    tally->hits++;
    tally->wrong += !is_page(page, generation);
}

static void read_pinned(uint64_t generation, struct tally *tally)
{
    uint64_t page[PAGE_UNITS_MAX * UNIT_WORDS];
    struct place place = place_of(generation);
    struct slot_header *header = &headers[place.slot];
    struct slot_expectation expected = expectation_of(generation);
    struct slot_sample sample;
    if (slot_word_pin(&header->word, generation)) {
        tally->stopped_before++;
        sched_yield(); /* else the writer, who alone can change that, waits for a core */
        return;
    }
    slot_header_sample(header, &sample);
    CHECK(slot_verdict(&sample, &expected) == SLOT_WHOLE);
    copy_page(page, place);
    slot_word_unpin(&header->word);
    tally->pinned++;
    tally->wrong += !is_page(page, generation);
}

static void *read_until_end(void *argument)
{
    struct tally *tally = argument;
    while (!atomic_load(&ends)) {
        uint64_t generation = draw_generation(tally);
        if (generation)
            read_past_writer(generation, tally);
    }
    return NULL;
}

static void *pin_until_end(void *argument)
{
    struct tally *tally = argument;
    while (!atomic_load(&ends)) {
        uint64_t generation = draw_generation(tally);
        if (generation)
            read_pinned(generation, tally);
    }
    return NULL;
}

/* --- the run --- */

static void run(double seconds, struct tally *ret_sum)
{
    enum { THREADS = 1 + READERS + PINNERS };
    static _Alignas(64) struct {
        _Alignas(64) struct tally tally;
    } each[THREADS];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        void *(*start)(void *) = i == 0         ? write_until_end
                                 : i <= READERS ? read_until_end
                                                : pin_until_end;
        each[i].tally.random = (uint64_t)i;
        CHECK(pthread_create(&threads[i], NULL, start, &each[i].tally) == 0);
    }
    struct timespec pause = {.tv_sec = (time_t)seconds,
                             .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&pause, NULL);
    atomic_store(&ends, true);
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        ret_sum->hits += each[i].tally.hits;
        ret_sum->stopped_before += each[i].tally.stopped_before;
        ret_sum->stopped_after += each[i].tally.stopped_after;
        ret_sum->pinned += each[i].tally.pinned;
        ret_sum->busy += each[i].tally.busy;
        ret_sum->wrong += each[i].tally.wrong;
    }
}

static bool parse(int argc, char **argv, double *ret_seconds)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--without") == 0 && i + 1 < argc) {
            if (!protection_disable(argv[++i]))
                return false;
            continue;
        }
        char *end;
        *ret_seconds = strtod(argv[i], &end);
        if (end == argv[i] || *end || !(*ret_seconds > 0 && *ret_seconds < 3600))
            return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    double seconds = 1.0;
    struct tally sum = {0};
    if (!parse(argc, argv, &seconds)) {
        fprintf(stderr, "usage: %s [SECONDS] [--without PROTECTION]\n", argv[0]);
        return 2;
    }
    run(seconds, &sum);
    printf("hits=%" PRIu64 " stopped_before=%" PRIu64 " stopped_after=%" PRIu64 " pinned=%" PRIu64
           " busy=%" PRIu64 " wrong=%" PRIu64 "\n",
           sum.hits, sum.stopped_before, sum.stopped_after, sum.pinned, sum.busy, sum.wrong);
    bool too_mild = !sum.hits || !sum.pinned || (PROTECTED(word_after_copy) && !sum.stopped_after);
    if (too_mild)
        puts("too mild: nothing was at stake");
    return sum.wrong || too_mild;
}
