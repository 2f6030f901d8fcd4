/* SPDX-License-Identifier: Apache-2.0 */
/* breaker_test.c - open after a failure, one probe after a pause, closed by a success. */
#include "core/breaker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MS UINT64_C(1000000)

static void new_breaker_is_closed(void **state)
{
    struct breaker breaker = {0};
    (void)state;
    assert_true(breaker_is_closed(&breaker));
    for (int i = 0; i < 5; i++)
        assert_true(breaker_allows(&breaker, 0));
}

static void failure_opens_it_for_all(void **state)
{
    struct breaker breaker = {0};
    (void)state;
    breaker_failed(&breaker, 1000 * MS);
    assert_false(breaker_is_closed(&breaker));
    assert_false(breaker_allows(&breaker, 1000 * MS));
    assert_false(breaker_allows(&breaker, 1249 * MS));
}

static void after_the_pause_one_caller_and_only_one_may_try(void **state)
{
    struct breaker breaker = {0};
    (void)state;
    breaker_failed(&breaker, 1000 * MS);
    assert_true(breaker_allows(&breaker, 1250 * MS));
    assert_false(breaker_allows(&breaker, 1250 * MS));
    assert_false(breaker_allows(&breaker, 1300 * MS));
    assert_false(breaker_is_closed(&breaker));
    /* A probe that never reports does not block it for ever. */
    assert_true(breaker_allows(&breaker, 1500 * MS));
}

static void success_closes_it(void **state)
{
    struct breaker breaker = {0};
    (void)state;
    breaker_failed(&breaker, 1000 * MS);
    breaker_succeeded(&breaker);
    assert_true(breaker_is_closed(&breaker));
    assert_true(breaker_allows(&breaker, 1000 * MS));
}

static void suspicion_opens_it_and_lets_one_try_at_once(void **state)
{
    struct breaker breaker = {0};
    (void)state;
    breaker_suspect(&breaker, 1000 * MS);
    assert_false(breaker_is_closed(&breaker));
    assert_true(breaker_allows(&breaker, 1000 * MS));
    assert_false(breaker_allows(&breaker, 1249 * MS));
    assert_true(breaker_allows(&breaker, 1250 * MS));
    breaker_succeeded(&breaker);
    breaker_failed(&breaker, 2000 * MS); /* what is known is not softened by a suspicion */
    breaker_suspect(&breaker, 2000 * MS);
    assert_false(breaker_allows(&breaker, 2000 * MS));
}

static void silence_lets_one_try_at_once(void **state)
{
    struct breaker breaker = {0};
    (void)state;
    breaker_silent(&breaker, 1000 * MS);
    assert_false(breaker_is_closed(&breaker));
    /* Others whose calls began before hear the same silence, and know no more. */
    breaker_silent(&breaker, 1000 * MS);
    breaker_silent(&breaker, 1001 * MS);
    assert_true(breaker_allows(&breaker, 1001 * MS));
    breaker_silent(&breaker, 1002 * MS);
    assert_false(breaker_allows(&breaker, 1250 * MS));
    assert_true(breaker_allows(&breaker, 1251 * MS));
}

/* It answers probes but not calls: every second of its silences at most may be as cheap as that. */
static void one_that_is_silent_again_is_left_alone(void **state)
{
    struct breaker breaker = {0};
    (void)state;
    breaker_silent(&breaker, 1000 * MS);
    breaker_succeeded(&breaker);
    breaker_silent(&breaker, 1999 * MS);
    assert_false(breaker_allows(&breaker, 2248 * MS));
    assert_true(breaker_allows(&breaker, 2249 * MS));
    breaker_succeeded(&breaker);
    breaker_silent(&breaker, 2300 * MS);
    assert_true(breaker_allows(&breaker, 2300 * MS));
}

/* A hung peer: what the probe finds out counts on from there. */
static void silent_probe_pauses_longer(void **state)
{
    struct breaker breaker = {0};
    (void)state;
    breaker_silent(&breaker, 1000 * MS);
    assert_true(breaker_allows(&breaker, 1000 * MS));
    breaker_failed(&breaker, 1250 * MS);
    assert_false(breaker_allows(&breaker, 1749 * MS));
    assert_true(breaker_allows(&breaker, 1750 * MS));
}

/* The first pause at which it lets somebody try again, in ms. */
static uint64_t pause_after(struct breaker *breaker, uint64_t at_ms)
{
    for (uint64_t ms = 0;; ms++)
        if (breaker_allows(breaker, (at_ms + ms) * MS))
            return ms;
}

static void pause_doubles_up_to_a_bound(void **state)
{
    static const uint64_t pauses[] = {250, 500, 1000, 2000, 4000, 4000};
    struct breaker breaker = {0};
    uint64_t at_ms = 1000;
    (void)state;
    for (int i = 0; i < 6; i++) {
        breaker_failed(&breaker, at_ms * MS);
        assert_int_equal(pause_after(&breaker, at_ms), pauses[i]);
        at_ms += 100000;
    }
    for (int i = 0; i < 1000; i++) /* the count of failures does not run over */
        breaker_failed(&breaker, at_ms * MS);
    assert_int_equal(pause_after(&breaker, at_ms), 4000);
    breaker_succeeded(&breaker);
    breaker_failed(&breaker, at_ms * MS);
    assert_int_equal(pause_after(&breaker, at_ms), 250);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_breaker_is_closed),
        cmocka_unit_test(failure_opens_it_for_all),
        cmocka_unit_test(after_the_pause_one_caller_and_only_one_may_try),
        cmocka_unit_test(success_closes_it),
        cmocka_unit_test(suspicion_opens_it_and_lets_one_try_at_once),
        cmocka_unit_test(silence_lets_one_try_at_once),
        cmocka_unit_test(one_that_is_silent_again_is_left_alone),
        cmocka_unit_test(silent_probe_pauses_longer),
        cmocka_unit_test(pause_doubles_up_to_a_bound),
    };
    return cmocka_run_group_tests_name("core/breaker", tests, NULL, NULL);
}
