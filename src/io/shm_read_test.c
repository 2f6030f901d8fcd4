/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shm_read_test.c - pages that change at a known byte of a read, and places that are none.
 *
 * The holder's moves are made by a hook in the middle of the copy, so that each interleaving
 * happens always.  The reader has a mapping of its own, as in another process.
 */
#include "io/shm_read.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "base/protection.h"
#include "io/copy.h"

enum {
    SLOTS = 8,
    SLOT = 3,
    OFFSET = 4096,
    PAGE_BYTES = 2 * COPY_PIECE_BYTES,
    OLD = 0x11,
    NEW = 0x22,
    UNTOUCHED = 0xee,
};
static const struct id128 old_digest = {1, 2}, new_digest = {3, 4};

static struct arena arena;
static struct arena_mapping mapping;
static uint8_t buffer[PAGE_BYTES];
static const struct peercache_segment segments[] = {
    {buffer, 1000},
    {buffer + 1000, 0},
    {buffer + 1000, PAGE_BYTES - 1000},
};

/* What the core and the copying thread of a holder do together. */
static void fill_slot(struct id128 digest, uint64_t generation, uint8_t byte)
{
    struct slot_header *header = &arena.headers[SLOT];
    slot_word_fill(&header->word, generation);
    slot_word_copy_begin();
    memset(arena.payload + OFFSET, byte, PAGE_BYTES);
    header->digest = digest;
    header->offset_bytes = OFFSET;
    header->length_bytes = PAGE_BYTES;
    header->checksum = copy_checksum(arena.payload + OFFSET, PAGE_BYTES);
    slot_word_copy_end();
    assert_true(slot_word_seal(&header->word, generation));
}

static void let_go(void)
{
    assert_int_equal(slot_word_void(&arena.headers[SLOT].word, 7), 0);
}

static void reuse(void)
{
    let_go();
    fill_slot(new_digest, 8, NEW);
}

static int set_up(void **state)
{
    (void)state;
    char error[ARENA_ERROR_BYTES];
    assert_int_equal(arena_create(1 << 20, SLOTS, &arena, error), 0);
    assert_int_equal(arena_attach(arena.fd, 1 << 20, SLOTS, &mapping), 0);
    fill_slot(old_digest, 7, OLD);
    memset(buffer, UNTOUCHED, sizeof buffer);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    copy_set_hook(NULL, NULL);
    protection_enable_all();
    arena_detach(&mapping);
    arena_destroy(&arena);
    return 0;
}

static struct shm_read old_page(void)
{
    return (struct shm_read){
        .expected = {.digest = old_digest,
                     .generation = 7,
                     .offset_bytes = OFFSET,
                     .length_bytes = PAGE_BYTES},
        .slot = SLOT,
        .segments = segments,
        .segment_count = 3,
        .deadline_ns = UINT64_MAX,
    };
}

static enum shm_stop stop;

static int read_page(struct shm_read read)
{
    return shm_read_page(&mapping, &read, &stop);
}

static bool buffer_is(uint8_t first_half, uint8_t second_half)
{
    for (size_t i = 0; i < PAGE_BYTES; i++)
        if (buffer[i] != (i < COPY_PIECE_BYTES ? first_half : second_half))
            return false;
    return true;
}

/* --- moves of the holder in the middle of a read -------------------------------------------- */

struct move {
    uint64_t at_byte;
    void (*run)(void);
};

static void run_move(void *context, uint64_t done_bytes)
{
    const struct move *move = context;
    if (done_bytes == move->at_byte)
        move->run();
}

static int read_while(uint64_t at_byte, void (*run)(void), bool verify_checksum)
{
    struct move move = {at_byte, run};
    struct shm_read read = old_page();
    read.verify_checksum = verify_checksum;
    copy_set_hook(run_move, &move);
    int error = read_page(read);
    copy_set_hook(NULL, NULL);
    return error;
}

/* --- tests ---------------------------------------------------------------------------------- */

static void whole_page_arrives(void **state)
{
    (void)state;
    struct shm_read read = old_page();
    assert_int_equal(read_page(read), 0);
    assert_int_equal(stop, SHM_STOP_NONE);
    assert_true(buffer_is(OLD, OLD));
    read.verify_checksum = true;
    assert_int_equal(read_page(read), 0);
}

static void pins_of_others_do_not_matter(void **state)
{
    (void)state;
    assert_int_equal(slot_word_pin(&arena.headers[SLOT].word, 7), 0);
    assert_int_equal(read_page(old_page()), 0);
    slot_word_unpin(&arena.headers[SLOT].word);
}

static void page_let_go_before_is_not_copied(void **state)
{
    (void)state;
    let_go();
    assert_int_equal(read_page(old_page()), -ESTALE);
    assert_int_equal(stop, SHM_STOP_BEFORE_COPY);
    fill_slot(new_digest, 8, NEW);
    assert_int_equal(read_page(old_page()), -ESTALE);
    assert_int_equal(stop, SHM_STOP_BEFORE_COPY);
    assert_true(buffer_is(UNTOUCHED, UNTOUCHED));
}

/* Without the first look another page's bytes are copied, and only the second look stops them. */
static void without_word_before_copy_another_page_is_copied(void **state)
{
    (void)state;
    reuse();
    assert_true(protection_disable("word_before_copy"));
    assert_int_equal(read_page(old_page()), -ESTALE);
    assert_int_equal(stop, SHM_STOP_AFTER_COPY);
    assert_true(buffer_is(NEW, NEW));
}

static void page_let_go_meanwhile_is_stopped(void **state)
{
    (void)state;
    assert_int_equal(read_while(COPY_PIECE_BYTES, let_go, false), -ESTALE);
    assert_int_equal(stop, SHM_STOP_AFTER_COPY);
}

static void torn_page_is_stopped(void **state)
{
    (void)state;
    assert_int_equal(read_while(COPY_PIECE_BYTES, reuse, false), -ESTALE);
    assert_int_equal(stop, SHM_STOP_AFTER_COPY);
    assert_true(buffer_is(OLD, NEW));
}

static void page_replaced_before_the_first_byte_is_stopped(void **state)
{
    (void)state;
    assert_int_equal(read_while(0, reuse, true), -ESTALE);
    assert_int_equal(stop, SHM_STOP_AFTER_COPY);
    assert_true(buffer_is(NEW, NEW));
}

static void without_word_after_copy_wrong_bytes_pass(void **state)
{
    (void)state;
    assert_true(protection_disable("word_after_copy"));
    assert_int_equal(read_while(COPY_PIECE_BYTES, reuse, false), 0);
    assert_true(buffer_is(OLD, NEW));
}

/* The checksum that was sampled with the first word is the second net. */
static void checksum_stops_what_the_word_let_pass(void **state)
{
    (void)state;
    assert_true(protection_disable("word_after_copy"));
    assert_int_equal(read_while(COPY_PIECE_BYTES, reuse, true), -EILSEQ);
}

static void damaged_byte_has_another_checksum(void **state)
{
    (void)state;
    struct shm_read read = old_page();
    arena.payload[OFFSET + PAGE_BYTES - 1] ^= 1;
    assert_int_equal(read_page(read), 0);
    read.verify_checksum = true;
    assert_int_equal(read_page(read), -EILSEQ);
}

static void another_page_under_the_generation_is_a_lie(void **state)
{
    (void)state;
    struct shm_read reads[] = {old_page(), old_page(), old_page()};
    reads[0].expected.digest.lo ^= 1;
    reads[1].expected.length_bytes -= 1;
    reads[2].expected.offset_bytes += 64;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(read_page(reads[i]), -EBADMSG);
        assert_int_equal(stop, SHM_STOP_NONE);
    }
    assert_true(buffer_is(UNTOUCHED, UNTOUCHED));
}

/* A location may say anything.  Headers agree with it here, as a holder's that lies would. */
static void no_place_outside_of_the_mapping_is_read(void **state)
{
    (void)state;
    const struct {
        uint64_t offset_bytes;
        uint32_t length_bytes, slot;
    } places[] = {
        {OFFSET, PAGE_BYTES, SLOTS},
        {OFFSET, PAGE_BYTES, UINT32_MAX},
        {(1 << 20) - PAGE_BYTES + 64, PAGE_BYTES, SLOT},
        {1 << 20, 1, SLOT},
        {UINT64_MAX, PAGE_BYTES, SLOT},
        {UINT64_MAX - PAGE_BYTES + 1, PAGE_BYTES, SLOT},
        {UINT64_C(1) << 41, PAGE_BYTES, SLOT},
        {OFFSET, UINT32_MAX, SLOT},
    };
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        struct shm_read read = old_page();
        read.slot = places[i].slot;
        read.expected.offset_bytes = places[i].offset_bytes;
        read.expected.length_bytes = places[i].length_bytes;
        arena.headers[SLOT].offset_bytes = places[i].offset_bytes;
        arena.headers[SLOT].length_bytes = places[i].length_bytes;
        assert_int_equal(read_page(read), -EBADMSG);
    }
    assert_true(buffer_is(UNTOUCHED, UNTOUCHED));
}

static void page_at_the_very_end_is_read(void **state)
{
    (void)state;
    struct shm_read read = old_page();
    read.expected.offset_bytes = (1 << 20) - PAGE_BYTES;
    arena.headers[SLOT].offset_bytes = read.expected.offset_bytes;
    assert_int_equal(read_page(read), 0);
}

static void deadline_ends_a_read_between_pieces(void **state)
{
    (void)state;
    struct shm_read read = old_page();
    read.deadline_ns = 0;
    assert_int_equal(read_page(read), -ETIMEDOUT);
    assert_true(buffer_is(OLD, UNTOUCHED));
}

static void segments_that_do_not_add_up_are_refused(void **state)
{
    (void)state;
    struct shm_read read = old_page();
    read.segment_count = 1;
    assert_int_equal(read_page(read), -EINVAL);
}

int main(void)
{
#define WITH_POOL(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_POOL(whole_page_arrives),
        WITH_POOL(pins_of_others_do_not_matter),
        WITH_POOL(page_let_go_before_is_not_copied),
        WITH_POOL(without_word_before_copy_another_page_is_copied),
        WITH_POOL(page_let_go_meanwhile_is_stopped),
        WITH_POOL(torn_page_is_stopped),
        WITH_POOL(page_replaced_before_the_first_byte_is_stopped),
        WITH_POOL(without_word_after_copy_wrong_bytes_pass),
        WITH_POOL(checksum_stops_what_the_word_let_pass),
        WITH_POOL(damaged_byte_has_another_checksum),
        WITH_POOL(another_page_under_the_generation_is_a_lie),
        WITH_POOL(no_place_outside_of_the_mapping_is_read),
        WITH_POOL(page_at_the_very_end_is_read),
        WITH_POOL(deadline_ends_a_read_between_pieces),
        WITH_POOL(segments_that_do_not_add_up_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
