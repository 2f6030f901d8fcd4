/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seqtable_interleave_test.c - a reader held up at every step while the writer acts, and the other
 * way round.
 *
 * The pause between two steps of one side runs a whole call of the other, at the first step, then
 * at the second, and so on until the call has no more steps.  So each place where a reader may be
 * overtaken is tried in every run.  Where both have to be half way, the writer is a thread that
 * takes turns with the reader.  Chance is left to tests/stress/seqtable_stress.c.
 *
 * seqtable_broken_test.c runs the same against a table without the second look at the sequence,
 * and expects wrong reads.
 */
#include <limits.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void pause_between_steps(void);
#define SEQTABLE_PAUSE() pause_between_steps()
#include "base/seqtable.c"

enum { TABLE_ENTRIES = 4096 };

/* Who is let in, and at which step; of each thread. */
static _Thread_local struct {
    void (*other_side)(void);
    long steps_left; /* 0: at this one */
    bool at_every_step;
} hook;

static struct seqtable *table;
static unsigned wrong_values, false_misses, gave_up;

static void pause_between_steps(void)
{
    void (*other_side)(void) = hook.other_side;
    if (!other_side || (!hook.at_every_step && hook.steps_left-- > 0))
        return;
    hook.other_side = NULL; /* the other side is not interrupted itself */
    other_side();
    if (hook.at_every_step)
        hook.other_side = other_side;
}

/* Keys 1, 2, 3 ... share one home, the first bucket of segment 0, at every size of the segment. */
static struct id128 neighbour(uint64_t number)
{
    return (struct id128){.hi = number, .lo = number << 32};
}

/* Keys with homes all over segment 0. */
static struct id128 stranger(uint64_t number)
{
    return (struct id128){.hi = number, .lo = number * SPREAD};
}

/* The first four bytes, which stand beside the sequence, are the same for all keys and versions:
 * the sequence has to tell two writings apart alone. */
static struct seqtable_value value_of(uint64_t number, uint64_t version)
{
    struct seqtable_value value = {{'s', 'a', 'm', 'e'}};
    for (int i = 0; i < 5; i++) {
        uint64_t word = (number * 1000 + version) * SPREAD + i;
        memcpy(value.bytes + 4 + 8 * i, &word, 8);
    }
    return value;
}

static void put(struct id128 key, uint64_t number, uint64_t version)
{
    struct seqtable_value value = value_of(number, version);
    assert_int_equal(seqtable_put(table, key, &value), 0);
}

/* Grows segment 0 once. */
static void grow(void)
{
    assert_int_equal(segment_grow(table, 0), 0);
}

/* Neighbours 1 .. 4 in a row, and a few strangers. */
static void set_up(void)
{
    hook.other_side = NULL;
    assert_int_equal(seqtable_new(TABLE_ENTRIES, &table), 0);
    for (uint64_t i = 1; i <= 4; i++)
        put(neighbour(i), i, 1);
    for (uint64_t i = 100; i < 120; i++)
        put(stranger(i), i, 1);
}

/* Neighbour 3 is the one that is looked for: version 1, or 2 where the action writes that. */
static void look(bool may_miss)
{
    struct seqtable_value found, first = value_of(3, 1), second = value_of(3, 2);
    int error = seqtable_find(table, neighbour(3), &found);
    if (error == 0 && memcmp(&found, &first, sizeof found) && memcmp(&found, &second, sizeof found))
        wrong_values++;
    false_misses += error == -ENOENT && !may_miss;
    gave_up += error == -EAGAIN;
}

static void look_for_what_stays(void)
{
    look(false);
}

static void overwrite(void)
{
    put(neighbour(3), 3, 2);
}

static void overwrite_often(void)
{
    for (int i = 0; i < 100; i++)
        put(neighbour(3), 3, 1 + i % 2);
}

static void insert(void)
{
    put(neighbour(9), 9, 1);
}

static void remove_before(void)
{
    assert_int_equal(seqtable_remove(table, neighbour(1)), 0);
}

static void remove_last(void)
{
    assert_int_equal(seqtable_remove(table, neighbour(4)), 0);
}

static void grow_twice(void)
{
    grow();
    grow();
}

/* Back in the half where it was, in the bucket where it was, with another value. */
static void grow_twice_and_overwrite_between(void)
{
    grow();
    overwrite();
    grow();
}

static void remove_it(void)
{
    assert_int_equal(seqtable_remove(table, neighbour(3)), 0);
}

static void replace_by_another(void)
{
    remove_it();
    assert_int_equal(seqtable_remove(table, neighbour(4)), 0);
    put(neighbour(8), 8, 1);
}

static void remove_and_put_again(void)
{
    remove_it();
    put(neighbour(8), 8, 1);
    overwrite();
}

/* Runs the action at the first step of a search, at the second, and so on. */
static unsigned act_during_search(void (*action)(void), bool may_miss)
{
    wrong_values = false_misses = gave_up = 0;
    for (long step = 0;; step++) {
        set_up();
        hook.steps_left = step;
        hook.other_side = action;
        look(may_miss);
        bool acted = hook.other_side == NULL;
        hook.other_side = NULL;
        seqtable_free(table);
        if (!acted)
            break;
    }
    assert_int_equal(false_misses, 0);
    assert_int_equal(gave_up, 0); /* it acts once, so the next try succeeds */
    return wrong_values;
}

/* Searches at every step of the action. */
static void search_during_act(void (*action)(void))
{
    wrong_values = false_misses = gave_up = 0;
    set_up();
    hook.at_every_step = true;
    hook.other_side = look_for_what_stays;
    action();
    hook.other_side = NULL;
    hook.at_every_step = false;
    seqtable_free(table);
    assert_int_equal(wrong_values, 0);
    assert_int_equal(false_misses, 0);
}

/* A writer on a thread of its own, which goes on to a step and stops there. */
static struct {
    void (*action)(void);
    long step, stops_at_step;
    bool has_ended;
    pthread_t thread;
    sem_t stopped, go_on;
} writer;

static void await(sem_t *semaphore)
{
    while (sem_wait(semaphore) != 0)
        ;
}

static void stop_writer(void)
{
    if (writer.step++ != writer.stops_at_step)
        return;
    sem_post(&writer.stopped);
    await(&writer.go_on);
}

static void *run_writer(void *unused)
{
    hook.at_every_step = true;
    hook.other_side = stop_writer;
    writer.action();
    hook.other_side = NULL;
    writer.has_ended = true;
    sem_post(&writer.stopped);
    return unused;
}

static void start_writer(void (*action)(void), long stops_at_step)
{
    writer.action = action;
    writer.step = 0;
    writer.stops_at_step = stops_at_step;
    writer.has_ended = false;
    sem_init(&writer.stopped, 0, 0);
    sem_init(&writer.go_on, 0, 0);
    assert_int_equal(pthread_create(&writer.thread, NULL, run_writer, NULL), 0);
    await(&writer.stopped);
}

static long writer_goes_to_step;

static void continue_writer(void)
{
    if (writer.has_ended)
        return;
    writer.stops_at_step = writer_goes_to_step;
    sem_post(&writer.go_on);
    await(&writer.stopped);
}

static void end_writer(void)
{
    writer_goes_to_step = LONG_MAX;
    continue_writer();
    pthread_join(writer.thread, NULL);
}

/* The writer stops at a step; a search begins and stops at one of its own; the writer goes on for
 * some steps; the search ends, then the writer.  Returns whether the writer had so many steps. */
static bool search_between_steps(void (*action)(void), long from_step, long search_step, long steps)
{
    set_up();
    start_writer(action, from_step);
    bool more = !writer.has_ended;
    writer_goes_to_step = from_step + steps;
    hook.steps_left = search_step;
    hook.other_side = continue_writer;
    look(false);
    hook.other_side = NULL;
    end_writer();
    seqtable_free(table);
    return more;
}

/* A gap is closed while a search passes over it. */
static void both_are_half_way(void **state)
{
    (void)state;
    enum {
        SEARCH_STEPS = 16,             /* all of a search that is not repeated */
        MOVE_STEPS = BUCKET_WORDS + 1, /* of the writer, for one bucket */
        MOVES = 4,
    };
    wrong_values = false_misses = gave_up = 0;
    bool more = true;
    for (long from_step = 0; more; from_step++)
        for (long search_step = 0; search_step < SEARCH_STEPS; search_step++)
            for (long moves = 1; moves <= MOVES; moves++)
                more =
                    search_between_steps(remove_before, from_step, search_step, moves * MOVE_STEPS);
    assert_int_equal(false_misses, 0);
#ifndef SEQTABLE_BROKEN
    assert_int_equal(wrong_values, 0);
#endif
}

static void reader_is_overtaken(void **state)
{
    (void)state;
    unsigned wrong = 0;
    wrong += act_during_search(overwrite, false);
    wrong += act_during_search(overwrite_often, false);
    wrong += act_during_search(insert, false);
    wrong += act_during_search(remove_before, false);
    wrong += act_during_search(remove_last, false);
    wrong += act_during_search(grow, false);
    wrong += act_during_search(grow_twice, false);
    wrong += act_during_search(grow_twice_and_overwrite_between, false);
    wrong += act_during_search(remove_it, true);
    wrong += act_during_search(replace_by_another, true);
    wrong += act_during_search(remove_and_put_again, true);
#ifdef SEQTABLE_BROKEN
    assert_true(wrong > 0);
#else
    assert_int_equal(wrong, 0);
#endif
}

static void writer_is_watched(void **state)
{
    (void)state;
    search_during_act(overwrite);
    search_during_act(insert);
    search_during_act(remove_before);
    search_during_act(remove_last);
    search_during_act(grow);
    search_during_act(grow_twice_and_overwrite_between);
}

/* A sequence that wraps leaves out 0, the number of memory that was never written. */
static void sequence_wraps_past_zero(void **state)
{
    (void)state;
    set_up();
    table->sequence = UINT32_MAX - 3;
    for (uint64_t version = 1; version <= 4; version++) {
        put(neighbour(3), 3, version);
        assert_int_not_equal(table->sequence, 0);
        assert_int_equal(table->sequence % 2, 0);
        struct seqtable_value found, expected = value_of(3, version);
        assert_int_equal(seqtable_find(table, neighbour(3), &found), 0);
        assert_memory_equal(&found, &expected, sizeof found);
    }
    seqtable_free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reader_is_overtaken),
        cmocka_unit_test(writer_is_watched),
        cmocka_unit_test(both_are_half_way),
        cmocka_unit_test(sequence_wraps_past_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
