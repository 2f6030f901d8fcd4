/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slot_word_test.c - every allowed and every forbidden move of a slot word, by one thread.
 *
 * What other threads see meanwhile is the subject of tests/stress/slot_stress.c, and what they
 * could see on other processors that of tests/model/slot.pml.  A broken promise ends the process,
 * so each of those is a child's death.
 */
#include "base/slot_word.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/protection.h"

enum { STATES = 16 }; /* all that four bits can say; only the first three mean something */

static uint64_t load(slot_word *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static void assert_word(slot_word *word, uint64_t generation, enum slot_state state, uint32_t pins)
{
    assert_int_equal(load(word), slot_word_make(generation, state, pins));
}

static void bits_are_where_the_wire_has_them(void **state)
{
    (void)state;
    assert_int_equal(slot_word_make(1, SLOT_VOID, 0), 0x10000);
    assert_int_equal(slot_word_make(0, SLOT_FILLING, 0), 0x1000);
    assert_int_equal(slot_word_make(0x123456789abc, SLOT_SEALED, 0xdef), 0x123456789abc2def);
    uint64_t word = slot_word_make(SLOT_GENERATION_MAX, SLOT_SEALED, SLOT_PINS_MAX);
    assert_int_equal(slot_word_generation(word), SLOT_GENERATION_MAX);
    assert_int_equal(slot_word_state(word), SLOT_SEALED);
    assert_int_equal(slot_word_pins(word), SLOT_PINS_MAX);
}

static void sealed_means_state_and_generation_but_not_pins(void **state)
{
    (void)state;
    assert_true(slot_word_is_sealed(slot_word_make(7, SLOT_SEALED, 0), 7));
    assert_true(slot_word_is_sealed(slot_word_make(7, SLOT_SEALED, SLOT_PINS_MAX), 7));
    assert_false(slot_word_is_sealed(slot_word_make(7, SLOT_SEALED, 0), 8));
    assert_false(slot_word_is_sealed(slot_word_make(7, SLOT_FILLING, 0), 7));
    assert_false(slot_word_is_sealed(slot_word_make(7, SLOT_VOID, 0), 7));
    for (int bit = 48; bit < 64; bit++)
        assert_false(
            slot_word_is_sealed(slot_word_make(7, SLOT_SEALED, 0), 7 | UINT64_C(1) << bit));
}

/* The table of slot_word.h again, in other words. */
static bool is_allowed(uint64_t from, uint64_t to)
{
    uint64_t before = slot_word_generation(from), after = slot_word_generation(to);
    uint32_t pins_before = slot_word_pins(from), pins_after = slot_word_pins(to);
    unsigned move = slot_word_state(from) * STATES + slot_word_state(to);
    bool unpinned = pins_before == 0 && pins_after == 0;

    switch (move) {
    case SLOT_VOID *STATES + SLOT_FILLING: return unpinned && after > before;
    case SLOT_FILLING *STATES + SLOT_SEALED:
    case SLOT_FILLING *STATES + SLOT_VOID:
    case SLOT_SEALED *STATES + SLOT_VOID: return unpinned && after == before;
    case SLOT_SEALED *STATES + SLOT_SEALED:
        return after == before && (pins_after == pins_before + 1 || pins_before == pins_after + 1);
    default: return false;
    }
}

static void check_moves_between(uint64_t before, uint64_t after)
{
    static const uint32_t pins[] = {0, 1, 2, 3, SLOT_PINS_MAX - 1, SLOT_PINS_MAX};
    enum { N = sizeof pins / sizeof *pins };
    for (unsigned i = 0; i < STATES * STATES * N * N; i++) {
        enum slot_state from_state = i % STATES, to_state = i / STATES % STATES;
        uint32_t from_pins = pins[i / (STATES * STATES) % N],
                 to_pins = pins[i / (STATES * STATES) / N];
        uint64_t from = slot_word_make(before, from_state, from_pins);
        uint64_t to = slot_word_make(after, to_state, to_pins);
        if (slot_word_may_move(from, to) != is_allowed(from, to))
            fail_msg("from %016lx to %016lx", (unsigned long)from, (unsigned long)to);
    }
}

static void table_allows_these_moves_and_no_others(void **state)
{
    (void)state;
    static const uint64_t generations[] = {
        0, 1, 2, 1000, SLOT_GENERATION_MAX - 1, SLOT_GENERATION_MAX};
    enum { N = sizeof generations / sizeof *generations };
    for (int i = 0; i < N * N; i++)
        check_moves_between(generations[i % N], generations[i / N]);
}

static void filling_seals_and_becomes_void_once(void **state)
{
    (void)state;
    slot_word word = 0;
    slot_word_fill(&word, 5);
    assert_word(&word, 5, SLOT_FILLING, 0);
    assert_true(slot_word_seal(&word, 5));
    assert_word(&word, 5, SLOT_SEALED, 0);
    assert_false(slot_word_seal(&word, 5));
    assert_false(slot_word_abandon(&word, 5));
    assert_int_equal(slot_word_void(&word, 5), 0);
    assert_word(&word, 5, SLOT_VOID, 0);
    assert_int_equal(slot_word_void(&word, 5), -ESTALE);
    slot_word_fill(&word, SLOT_GENERATION_MAX);
    assert_word(&word, SLOT_GENERATION_MAX, SLOT_FILLING, 0);
}

static void abandoned_filling_is_not_sealed_any_more(void **state)
{
    (void)state;
    slot_word word = 0;
    slot_word_fill(&word, 5);
    assert_true(slot_word_abandon(&word, 5));
    assert_word(&word, 5, SLOT_VOID, 0);
    assert_false(slot_word_abandon(&word, 5));
    assert_false(slot_word_seal(&word, 5));
    assert_word(&word, 5, SLOT_VOID, 0);
}

static void late_end_of_a_former_filling_changes_nothing(void **state)
{
    (void)state;
    slot_word word = 0;
    slot_word_fill(&word, 5);
    assert_true(slot_word_abandon(&word, 5));
    slot_word_fill(&word, 6);
    assert_false(slot_word_seal(&word, 5));
    assert_false(slot_word_abandon(&word, 5));
    assert_word(&word, 6, SLOT_FILLING, 0);
    assert_true(slot_word_seal(&word, 6));
    assert_int_equal(slot_word_void(&word, 5), -ESTALE);
    assert_int_equal(slot_word_void(&word, 7), -ESTALE);
    assert_word(&word, 6, SLOT_SEALED, 0);
}

static void only_a_sealed_slot_of_the_generation_is_pinned(void **state)
{
    (void)state;
    slot_word word = 0;
    assert_int_equal(slot_word_pin(&word, 0), -ESTALE);
    slot_word_fill(&word, 5);
    assert_int_equal(slot_word_pin(&word, 5), -ESTALE);
    assert_int_equal(slot_word_void(&word, 5), -ESTALE);
    assert_true(slot_word_seal(&word, 5));
    assert_int_equal(slot_word_pin(&word, 4), -ESTALE);
    assert_int_equal(slot_word_pin(&word, 6), -ESTALE);
    assert_int_equal(slot_word_pin(&word, 5 | UINT64_C(1) << 60), -ESTALE);
    assert_word(&word, 5, SLOT_SEALED, 0);
    assert_int_equal(slot_word_pin(&word, 5), 0);
    assert_word(&word, 5, SLOT_SEALED, 1);
}

static void pinned_slot_does_not_become_void(void **state)
{
    (void)state;
    slot_word word = slot_word_make(5, SLOT_SEALED, 0);
    assert_int_equal(slot_word_pin(&word, 5), 0);
    assert_int_equal(slot_word_pin(&word, 5), 0);
    assert_int_equal(slot_word_void(&word, 5), -EBUSY);
    slot_word_unpin(&word);
    assert_int_equal(slot_word_void(&word, 5), -EBUSY);
    assert_int_equal(slot_word_void(&word, 4), -ESTALE);
    assert_word(&word, 5, SLOT_SEALED, 1);
    slot_word_unpin(&word);
    assert_int_equal(slot_word_void(&word, 5), 0);
    assert_int_equal(slot_word_pin(&word, 5), -ESTALE);
}

static void full_pins_are_busy_and_never_wrap(void **state)
{
    (void)state;
    slot_word word = slot_word_make(5, SLOT_SEALED, 0);
    for (int i = 0; i < SLOT_PINS_MAX; i++)
        assert_int_equal(slot_word_pin(&word, 5), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(slot_word_pin(&word, 5), -EBUSY);
    assert_word(&word, 5, SLOT_SEALED, SLOT_PINS_MAX);
    slot_word_unpin(&word);
    assert_int_equal(slot_word_pin(&word, 5), 0);
    for (int i = 0; i < SLOT_PINS_MAX; i++)
        slot_word_unpin(&word);
    assert_word(&word, 5, SLOT_SEALED, 0);
}

/* Whether @act with @generation on a word of this content ends the process. */
static bool aborts(void (*act)(slot_word *, uint64_t), uint64_t content, uint64_t generation)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        if (!freopen("/dev/null", "w", stderr))
            _exit(2);
        slot_word word = content;
        act(&word, generation);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void broken_promise_of_the_filler_aborts(void **state)
{
    (void)state;
    assert_false(aborts(slot_word_fill, slot_word_make(5, SLOT_VOID, 0), 6));
    assert_true(aborts(slot_word_fill, slot_word_make(5, SLOT_VOID, 0), 5));
    assert_true(aborts(slot_word_fill, slot_word_make(5, SLOT_VOID, 0), 4));
    assert_true(aborts(slot_word_fill, slot_word_make(5, SLOT_FILLING, 0), 6));
    assert_true(aborts(slot_word_fill, slot_word_make(5, SLOT_SEALED, 0), 6));
    assert_true(aborts(slot_word_fill, slot_word_make(5, SLOT_VOID, 0), SLOT_GENERATION_MAX + 1));
    assert_true(aborts(slot_word_fill, 0, 0));
}

/* So that the tests of whole nodes see wrong bytes then, and not the end of the process. */
static void old_generation_is_accepted_with_its_protection_off(void **state)
{
    (void)state;
    assert_true(protection_disable("fresh_generation"));
    bool same = aborts(slot_word_fill, slot_word_make(5, SLOT_VOID, 0), 5);
    bool older = aborts(slot_word_fill, slot_word_make(5, SLOT_VOID, 0), 4);
    protection_enable_all();
    assert_false(same);
    assert_true(older);
}

static void unpin(slot_word *word, uint64_t generation)
{
    (void)generation;
    slot_word_unpin(word);
}

static void unpin_without_a_pin_aborts(void **state)
{
    (void)state;
    assert_false(aborts(unpin, slot_word_make(5, SLOT_SEALED, 1), 0));
    assert_true(aborts(unpin, slot_word_make(5, SLOT_SEALED, 0), 0));
    assert_true(aborts(unpin, slot_word_make(5, SLOT_VOID, 0), 0));
    assert_true(aborts(unpin, slot_word_make(5, SLOT_FILLING, 0), 0));
    assert_true(aborts(unpin, 0, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_are_where_the_wire_has_them),
        cmocka_unit_test(sealed_means_state_and_generation_but_not_pins),
        cmocka_unit_test(table_allows_these_moves_and_no_others),
        cmocka_unit_test(filling_seals_and_becomes_void_once),
        cmocka_unit_test(abandoned_filling_is_not_sealed_any_more),
        cmocka_unit_test(late_end_of_a_former_filling_changes_nothing),
        cmocka_unit_test(only_a_sealed_slot_of_the_generation_is_pinned),
        cmocka_unit_test(pinned_slot_does_not_become_void),
        cmocka_unit_test(full_pins_are_busy_and_never_wrap),
        cmocka_unit_test(broken_promise_of_the_filler_aborts),
        cmocka_unit_test(old_generation_is_accepted_with_its_protection_off),
        cmocka_unit_test(unpin_without_a_pin_aborts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
