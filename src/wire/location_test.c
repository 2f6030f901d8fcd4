/* SPDX-License-Identifier: Apache-2.0 */
/* location_test.c - each field has its own bits, all of them, and none is lost. */
#include "wire/location.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define OFFSET_MOST (((UINT64_C(1) << 36) - 1) * LOCATION_OFFSET_UNIT_BYTES)
#define LENGTH_MOST ((UINT32_C(1) << 27) - 1)
#define GENERATION_MOST ((UINT64_C(1) << 48) - 1)

/* One field at its greatest value, the others 0: from where to where its ones must stand. */
static const struct {
    struct location place;
    unsigned first_bit, bits;
} fields[] = {
    {{.holder = UINT16_MAX}, 0, 16},
    {{.arena = UINT8_MAX}, 16, 8},
    {{.slot = UINT32_MAX}, 24, 32},
    {{.offset_bytes = OFFSET_MOST}, 56, 36},
    {{.length_bytes = LENGTH_MOST}, 92, 27},
    {{.generation = GENERATION_MOST}, 119, 48},
    {{.tier = 3}, 167, 2},
    {{.stamp = 127}, 169, 7},
};
enum { N_FIELDS = sizeof fields / sizeof *fields };

static void expect_equal(const struct location *a, const struct location *b)
{
    assert_int_equal(a->holder, b->holder);
    assert_int_equal(a->arena, b->arena);
    assert_int_equal(a->tier, b->tier);
    assert_int_equal(a->slot, b->slot);
    assert_int_equal(a->offset_bytes, b->offset_bytes);
    assert_int_equal(a->length_bytes, b->length_bytes);
    assert_int_equal(a->stamp, b->stamp);
    assert_int_equal(a->generation, b->generation);
}

static void fields_stand_where_the_header_says(void **state)
{
    (void)state;
    unsigned next_bit = 0;
    for (unsigned i = 0; i < N_FIELDS; i++) {
        uint8_t bytes[LOCATION_BYTES];
        location_pack(&fields[i].place, bytes);
        for (unsigned bit = 0; bit < LOCATION_BYTES * 8; bit++) {
            unsigned is_set = bytes[bit / 8] >> bit % 8 & 1;
            assert_int_equal(is_set, bit - fields[i].first_bit < fields[i].bits);
        }
        assert_int_equal(fields[i].first_bit, next_bit);
        next_bit += fields[i].bits;
        struct location back;
        location_unpack(bytes, &back);
        expect_equal(&back, &fields[i].place);
    }
    assert_int_equal(next_bit, LOCATION_BYTES * 8);
}

/* Any 22 bytes are a location, and the only bytes of it. */
static void any_bytes_survive(void **state)
{
    (void)state;
    uint64_t random = 1;
    for (int round = 0; round < 10000; round++) {
        uint8_t bytes[LOCATION_BYTES], again[LOCATION_BYTES];
        for (int i = 0; i < LOCATION_BYTES; i++) {
            random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            bytes[i] = (uint8_t)(random >> 56);
        }
        struct location place;
        location_unpack(bytes, &place);
        location_pack(&place, again);
        assert_memory_equal(bytes, again, sizeof bytes);
    }
}

static void every_single_bit_survives(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < LOCATION_BYTES * 8; bit++) {
        uint8_t bytes[LOCATION_BYTES] = {0}, again[LOCATION_BYTES];
        bytes[bit / 8] = (uint8_t)(1 << bit % 8);
        struct location place;
        location_unpack(bytes, &place);
        location_pack(&place, again);
        assert_memory_equal(bytes, again, sizeof bytes);
    }
}

/* Whether packing ends the process, tried in a child whose last words nobody needs to read. */
static int packing_aborts(const struct location *place)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        uint8_t bytes[LOCATION_BYTES];
        close(STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        location_pack(place, bytes);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void lost_bits_are_our_own_mistake(void **state)
{
    (void)state;
    const struct location fits = {.offset_bytes = OFFSET_MOST},
                          too_big[] = {
                              {.offset_bytes = OFFSET_MOST + LOCATION_OFFSET_UNIT_BYTES},
                              {.offset_bytes = 1},
                              {.offset_bytes = LOCATION_OFFSET_UNIT_BYTES / 2},
                              {.length_bytes = LENGTH_MOST + 1},
                              {.generation = GENERATION_MOST + 1},
                              {.tier = 4},
                              {.stamp = 128},
                          };
    assert_false(packing_aborts(&fits));
    for (unsigned i = 0; i < sizeof too_big / sizeof *too_big; i++)
        assert_true(packing_aborts(&too_big[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_stand_where_the_header_says),
        cmocka_unit_test(any_bytes_survive),
        cmocka_unit_test(every_single_bit_survives),
        cmocka_unit_test(lost_bits_are_our_own_mistake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
