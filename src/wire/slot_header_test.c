/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slot_header_test.c - the layout that other builds read, and the verdict, with and without its
 * protections: what a disabled one lets through is what an enabled one stops.
 */
#include "wire/slot_header.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/protection.h"

enum { GENERATION = 77, OTHER_GENERATION = 78, OFFSET_BYTES = 4096, LENGTH_BYTES = 65536 };

static const struct id128 digest = {5, 6}, other_high = {7, 6}, other_low = {5, 7};
static const struct slot_expectation expected = {
    .digest = {5, 6},
    .generation = GENERATION,
    .offset_bytes = OFFSET_BYTES,
    .length_bytes = LENGTH_BYTES,
};

static uint64_t sealed(uint32_t pins)
{
    return slot_word_make(GENERATION, SLOT_SEALED, pins);
}

static struct slot_sample whole_sample(void)
{
    return (struct slot_sample){
        .word = sealed(0),
        .digest = digest,
        .offset_bytes = OFFSET_BYTES,
        .checksum = 9,
        .length_bytes = LENGTH_BYTES,
        .name_len = 10,
    };
}

static enum slot_verdict verdict_on_word(uint64_t word)
{
    struct slot_sample sample = whole_sample();
    sample.word = word;
    return slot_verdict(&sample, &expected);
}

static enum slot_verdict verdict_on_digest(struct id128 other)
{
    struct slot_sample sample = whole_sample();
    sample.digest = other;
    return slot_verdict(&sample, &expected);
}

static enum slot_verdict verdict_on_length(uint32_t length_bytes)
{
    struct slot_sample sample = whole_sample();
    sample.length_bytes = length_bytes;
    return slot_verdict(&sample, &expected);
}

static enum slot_verdict verdict_on_offset(uint64_t offset_bytes)
{
    struct slot_sample sample = whole_sample();
    sample.offset_bytes = offset_bytes;
    return slot_verdict(&sample, &expected);
}

static void layout_is_fixed(void **state)
{
    (void)state;
    assert_int_equal(sizeof(struct slot_header), 64);
    assert_int_equal(offsetof(struct slot_header, word), 0);
    assert_int_equal(offsetof(struct slot_header, digest), 8);
    assert_int_equal(offsetof(struct slot_header, offset_bytes), 24);
    assert_int_equal(offsetof(struct slot_header, checksum), 32);
    assert_int_equal(offsetof(struct slot_header, length_bytes), 40);
    assert_int_equal(offsetof(struct slot_header, name_len), 44);
    assert_int_equal(offsetof(struct slot_header, reserved), 48);
}

static void sample_is_a_copy(void **state)
{
    (void)state;
    struct slot_header header = {
        .digest = {1, 2},
        .offset_bytes = 3,
        .checksum = 4,
        .length_bytes = 5,
        .name_len = 6,
    };
    atomic_store(&header.word, sealed(3));
    struct slot_sample sample;
    slot_header_sample(&header, &sample);
    assert_int_equal(sample.word, sealed(3));
    assert_int_equal(sample.digest.hi, 1);
    assert_int_equal(sample.digest.lo, 2);
    assert_int_equal(sample.offset_bytes, 3);
    assert_int_equal(sample.checksum, 4);
    assert_int_equal(sample.length_bytes, 5);
    assert_int_equal(sample.name_len, 6);
}

static void sealed_page_is_whole_with_any_pins(void **state)
{
    (void)state;
    assert_int_equal(verdict_on_word(sealed(0)), SLOT_WHOLE);
    assert_int_equal(verdict_on_word(sealed(1)), SLOT_WHOLE);
    assert_int_equal(verdict_on_word(sealed(SLOT_PINS_MAX)), SLOT_WHOLE);
}

static void other_words_are_stale(void **state)
{
    (void)state;
    assert_int_equal(verdict_on_word(0), SLOT_STALE);
    assert_int_equal(verdict_on_word(slot_word_make(GENERATION, SLOT_VOID, 0)), SLOT_STALE);
    assert_int_equal(verdict_on_word(slot_word_make(GENERATION, SLOT_FILLING, 0)), SLOT_STALE);
    for (unsigned name = SLOT_SEALED + 1; name < 16; name++)
        assert_int_equal(verdict_on_word(slot_word_make(GENERATION, (enum slot_state)name, 0)),
                         SLOT_STALE);
    uint64_t other = slot_word_make(OTHER_GENERATION, SLOT_SEALED, 0);
    assert_int_equal(verdict_on_word(other), SLOT_STALE);
    for (int bit = 16; bit < 64; bit++)
        assert_int_equal(verdict_on_word(sealed(0) ^ UINT64_C(1) << bit), SLOT_STALE);
}

/* A slot that was let go may hold any other fields: that is no lie of the holder. */
static void stale_goes_before_mismatch(void **state)
{
    (void)state;
    struct slot_sample sample = {.word = slot_word_make(OTHER_GENERATION, SLOT_SEALED, 0)};
    assert_int_equal(slot_verdict(&sample, &expected), SLOT_STALE);
}

static void other_fields_are_a_mismatch(void **state)
{
    (void)state;
    assert_int_equal(verdict_on_digest(digest), SLOT_WHOLE);
    assert_int_equal(verdict_on_digest(other_high), SLOT_MISMATCH);
    assert_int_equal(verdict_on_digest(other_low), SLOT_MISMATCH);
    assert_int_equal(verdict_on_length(LENGTH_BYTES - 1), SLOT_MISMATCH);
    assert_int_equal(verdict_on_length(0), SLOT_MISMATCH);
    assert_int_equal(verdict_on_offset(OFFSET_BYTES + 64), SLOT_MISMATCH);
    assert_int_equal(verdict_on_offset(OFFSET_BYTES | UINT64_C(1) << 40), SLOT_MISMATCH);
}

static void without_header_digest_another_key_is_a_hit(void **state)
{
    (void)state;
    assert_true(protection_disable("header_digest"));
    assert_int_equal(verdict_on_digest(other_low), SLOT_WHOLE);
    assert_int_equal(verdict_on_length(1), SLOT_MISMATCH);
}

static void without_header_length_another_length_is_a_hit(void **state)
{
    (void)state;
    assert_true(protection_disable("header_length"));
    assert_int_equal(verdict_on_length(1), SLOT_WHOLE);
    assert_int_equal(verdict_on_digest(other_low), SLOT_MISMATCH);
}

static int enable_all(void **state)
{
    (void)state;
    protection_enable_all();
    return 0;
}

#define TEST(name) cmocka_unit_test_teardown(name, enable_all)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(layout_is_fixed),
        TEST(sample_is_a_copy),
        TEST(sealed_page_is_whole_with_any_pins),
        TEST(other_words_are_stale),
        TEST(stale_goes_before_mismatch),
        TEST(other_fields_are_a_mismatch),
        TEST(without_header_digest_another_key_is_a_hit),
        TEST(without_header_length_another_length_is_a_hit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
