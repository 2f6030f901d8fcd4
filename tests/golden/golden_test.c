/* SPDX-License-Identifier: Apache-2.0 */
/*
 * golden_test.c - the bytes on the wire are what they were.
 *
 *     golden_test DIRECTORY            compares with DIRECTORY/<name>.hex
 *     golden_test --write DIRECTORY    writes these files anew: only for a new message, or along
 *                                      with a new protocol version
 *
 * Nodes of other builds read these bytes: of messages, of slot headers in shared memory, and of
 * packed locations; bounds.hex has the most bytes of each message, in the order of their numbers.
 * A difference or a missing file is a failure.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "samples.h"
#include "wire/codec.h"
#include "wire/slot_header.h"

enum { BYTES_PER_LINE = 32, SAMPLE_MAX_BYTES = 1024, TEXT_SIZE = 3 * SAMPLE_MAX_BYTES };

static const char *directory;
static bool is_writing;

static void format_hex(const uint8_t *bytes, size_t len, char ret_text[TEXT_SIZE])
{
    assert_in_range(len, 1, SAMPLE_MAX_BYTES);
    for (size_t i = 0; i < len; i++) {
        bool ends_line = i % BYTES_PER_LINE == BYTES_PER_LINE - 1 || i == len - 1;
        ret_text += sprintf(ret_text, "%02x%s", bytes[i], ends_line ? "\n" : "");
    }
}

static void write_golden(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    if (file == NULL || fputs(text, file) < 0 || fclose(file) != 0)
        fail_msg("cannot write %s", path);
}

static void read_golden(const char *path, char ret_text[TEXT_SIZE])
{
    FILE *file = fopen(path, "r");
    if (file == NULL)
        fail_msg("%s is missing", path);
    size_t len = fread(ret_text, 1, TEXT_SIZE - 1, file);
    ret_text[len] = '\0';
    fclose(file);
}

static void expect_golden(const char *name, const uint8_t *bytes, size_t len)
{
    char path[4096], found[TEXT_SIZE], golden[TEXT_SIZE];
    snprintf(path, sizeof path, "%s/%s.hex", directory, name);
    format_hex(bytes, len, found);
    if (is_writing)
        write_golden(path, found);
    read_golden(path, golden);
    if (strcmp(found, golden) != 0)
        fail_msg("%s differs; now it is:\n%s", path, found);
}

static void messages_are_golden(void **state)
{
    (void)state;
    uint8_t bytes[SAMPLE_MAX_BYTES];
    for (int type = 1; type < MESSAGE_TYPE_END; type++) {
        int64_t len = message_encode(samples_get((enum message_type)type), bytes, sizeof bytes);
        assert_true(len > 0);
        expect_golden(message_type_name((enum message_type)type), bytes, (size_t)len);
    }
}

/* A bound that changes lets one node send what another refuses. */
static void bounds_are_golden(void **state)
{
    (void)state;
    uint8_t bytes[4 * (MESSAGE_TYPE_END - 1)], *next = bytes;
    for (int type = 1; type < MESSAGE_TYPE_END; type++) {
        size_t most = message_max_bytes((enum message_type)type);
        for (int shift = 24; shift >= 0; shift -= 8)
            *next++ = (uint8_t)(most >> shift);
    }
    expect_golden("bounds", bytes, sizeof bytes);
}

static void slot_header_is_golden(void **state)
{
    (void)state;
    struct slot_header header = {
        .digest = {UINT64_C(0x1112131415161718), UINT64_C(0x2122232425262728)},
        .offset_bytes = UINT64_C(0x3132333435363738),
        .checksum = UINT64_C(0x4142434445464748),
        .length_bytes = 0x51525354,
        .name_len = 0x61626364,
    };
    atomic_store(&header.word, slot_word_make(UINT64_C(0x010203040506), SLOT_SEALED, 0x789));
    expect_golden("slot_header", (const uint8_t *)&header, sizeof header);
}

static void location_is_golden(void **state)
{
    (void)state;
    uint8_t bytes[LOCATION_BYTES];
    struct location place = samples_get(MESSAGE_announce)->u.announce.entries[0].place;
    place.stamp = 0x55;
    location_pack(&place, bytes);
    expect_golden("location", bytes, sizeof bytes);
}

/* A field that is 0 in its sample could be lost without a trace. */
#define SET_NUM(kind, name) assert_true(from->name != 0);
#define SET_ID(name) assert_true(from->name.hi != 0 && from->name.lo != 0);
#define SET_TEXT(name, most) assert_true(from->name.len > 0 && from->name.bytes != NULL);
#define SET_LIST(record, name, most)                                                               \
    assert_true(from->n_##name > 0);                                                               \
    for (uint32_t i = 0; i < from->n_##name; i++)                                                  \
        expect_set_##record(&from->name[i]);
#define location(name) expect_set_place(&from->name);

static void expect_set_place(const struct location *place)
{
    assert_true(place->holder != 0 && place->arena != 0 && place->slot != 0 && place->tier != 0);
    assert_true(place->offset_bytes != 0 && place->length_bytes != 0 && place->generation != 0);
}

#define R(name, table)                                                                             \
    static void expect_set_##name(const struct record_##name *from)                                \
    {                                                                                              \
        RECORD_##table(SET_NUM, SET_ID, SET_TEXT, SET_LIST)                                        \
    }
RECORDS(R)
#undef R

#define M(number, since, name, table, what)                                                        \
    static void name##_is_populated(void **state)                                                  \
    {                                                                                              \
        (void)state;                                                                               \
        const struct message_##name *from = &samples_get(MESSAGE_##name)->u.name;                  \
        FIELDS_##table(SET_NUM, SET_ID, SET_TEXT, SET_LIST)                                        \
    }
MESSAGES(M)
#undef M
#undef location

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_are_golden), cmocka_unit_test(bounds_are_golden),
        cmocka_unit_test(slot_header_is_golden), cmocka_unit_test(location_is_golden),
#define M(number, since, name, table, what) cmocka_unit_test(name##_is_populated),
        MESSAGES(M)
#undef M
    };
    is_writing = argc == 3 && strcmp(argv[1], "--write") == 0;
    if (argc != 2 + is_writing) {
        fprintf(stderr, "usage: %s [--write] DIRECTORY\n", argv[0]);
        return 2;
    }
    directory = argv[argc - 1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
