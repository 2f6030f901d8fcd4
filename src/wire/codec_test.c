/* SPDX-License-Identifier: Apache-2.0 */
/*
 * codec_test.c - every message there and back; every bound, cut and damaged byte refused.
 *
 * The walks over fields are generated from the schema, as the codec is: a new message is tested as
 * soon as it stands in the table.  Bodies to decode are copied into memory of exactly their length,
 * so that AddressSanitizer sees a read behind the end.
 */
#include "wire/codec.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/splitmix.h"
#include "wire/shapes.h"

enum {
    FRAME_MAX_BYTES = FRAME_HEAD_BYTES + FRAME_BODY_MAX_BYTES,
    SEED = 20240,
    RANDOM_ROUNDS = 40,
    MUTATIONS = 50000,
    MUTATED_MAX_BYTES = 4096,
};

static uint8_t frame[FRAME_MAX_BYTES], frame_again[FRAME_MAX_BYTES];
static struct message_scratch scratch, lists;

/* --- coding ---------------------------------------------------------------------------------- */

/* One at a time: the lists of the one before are gone. */
static struct message make_message(int type, enum shape shape, uint64_t seed)
{
    return shapes_make((enum message_type)type, shape, seed, &lists);
}

static size_t encode(const struct message *message)
{
    int64_t len = message_encode(message, frame, sizeof frame);
    assert_true(len >= FRAME_HEAD_BYTES);
    return (size_t)len;
}

/* Leaves a frame of some elements a list in `frame`; returns the length of its body. */
static size_t encode_few(int type, uint64_t seed)
{
    struct message message = make_message(type, SHAPE_FEW, seed);
    return encode(&message) - FRAME_HEAD_BYTES;
}

/* Decodes from memory of exactly that length; the caller frees it once the texts were looked at. */
static int decode_copy(int type, uint32_t request, const uint8_t *body, size_t len,
                       struct message *ret_message, uint8_t **ret_copy)
{
    struct frame_head head = {(uint16_t)type, request, (uint32_t)len};
    *ret_copy = malloc(len > 0 ? len : 1);
    assert_non_null(*ret_copy);
    memcpy(*ret_copy, body, len);
    return message_decode(&head, *ret_copy, &scratch, ret_message);
}

static int decode_result(int type, const uint8_t *body, size_t len)
{
    struct message message;
    uint8_t *copy;
    int result = decode_copy(type, 0, body, len, &message, &copy);
    free(copy);
    return result;
}

/* What a newer build puts behind the fields of these is passed over. */
static bool is_first(int type)
{
    return type == MESSAGE_hello || type == MESSAGE_refuse;
}

/* There and back, and the same bytes once more. */
static size_t expect_round_trip(const struct message *message)
{
    struct frame_head head;
    struct message back;
    uint8_t *copy;
    size_t len = encode(message);
    assert_int_equal(frame_head_decode(frame, &head), 0);
    assert_int_equal(head.type, message->type);
    assert_int_equal(head.request, message->request);
    assert_int_equal(head.body_len_bytes, len - FRAME_HEAD_BYTES);
    assert_int_equal(decode_copy(head.type, head.request, frame + FRAME_HEAD_BYTES,
                                 head.body_len_bytes, &back, &copy),
                     0);
    assert_true(shapes_are_same(message, &back));
    assert_int_equal(message_encode(&back, frame_again, len), len);
    assert_memory_equal(frame, frame_again, len);
    free(copy);
    return len;
}

static void empty_messages_survive(void **state)
{
    (void)state;
    for (int type = 1; type < MESSAGE_TYPE_END; type++) {
        struct message message = make_message(type, SHAPE_EMPTY, SEED);
        expect_round_trip(&message);
    }
}

static void largest_messages_survive(void **state)
{
    (void)state;
    for (int type = 1; type < MESSAGE_TYPE_END; type++) {
        struct message message = make_message(type, SHAPE_MOST, SEED);
        size_t len = expect_round_trip(&message);
        assert_true(len <= message_max_bytes(message.type));
        assert_true(len == message_max_bytes(message.type) || is_first(type));
    }
}

static void random_messages_survive(void **state)
{
    (void)state;
    for (int type = 1; type < MESSAGE_TYPE_END; type++) {
        for (uint64_t seed = SEED; seed < SEED + RANDOM_ROUNDS; seed++) {
            struct message message = make_message(type, SHAPE_RANDOM, seed);
            expect_round_trip(&message);
        }
    }
}

/* --- what is refused ------------------------------------------------------------------------- */

static void every_truncation_is_refused(void **state)
{
    (void)state;
    for (int type = 1; type < MESSAGE_TYPE_END; type++) {
        size_t len = encode_few(type, SEED);
        assert_int_equal(decode_result(type, frame + FRAME_HEAD_BYTES, len), 0);
        for (size_t cut = 0; cut < len; cut++)
            assert_int_equal(decode_result(type, frame + FRAME_HEAD_BYTES, cut), -EPROTO);
    }
}

/* Each buffer is exactly as large as the encoder is told. */
static void short_buffers_are_refused(void **state)
{
    (void)state;
    for (int type = 1; type < MESSAGE_TYPE_END; type++) {
        struct message message = make_message(type, SHAPE_FEW, SEED);
        size_t len = encode(&message);
        for (size_t size = 0; size <= len; size++) {
            uint8_t *bytes = malloc(size > 0 ? size : 1);
            assert_non_null(bytes);
            int64_t expected = size == len ? (int64_t)len : -EMSGSIZE;
            assert_int_equal(message_encode(&message, bytes, size), expected);
            free(bytes);
        }
    }
}

static void left_over_bytes_are_refused(void **state)
{
    (void)state;
    for (int type = 1; type < MESSAGE_TYPE_END; type++) {
        size_t len = encode_few(type, SEED);
        for (size_t more = 1; more <= 64; more++) {
            frame[FRAME_HEAD_BYTES + len + more - 1] = 0;
            assert_int_equal(decode_result(type, frame + FRAME_HEAD_BYTES, len + more),
                             is_first(type) ? 0 : -EPROTO);
        }
    }
}

/* A body whose one text or list, counted at @at, has @count elements of @unit zero bytes, as the
 * wire would have it. */
static int decode_with_count(int type, size_t at, uint32_t count, size_t unit)
{
    struct message message = make_message(type, SHAPE_EMPTY, SEED);
    size_t len = encode(&message) - FRAME_HEAD_BYTES;
    uint8_t *body = frame + FRAME_HEAD_BYTES;
    assert_true(body[at] == 0 && body[at + 1] == 0);
    assert_true(len + count * unit <= FRAME_BODY_MAX_BYTES);
    memmove(body + at + 2 + count * unit, body + at + 2, len - at - 2);
    memset(body + at + 2, 0, count * unit);
    body[at] = (uint8_t)count;
    body[at + 1] = (uint8_t)(count >> 8);
    return decode_result(type, body, len + count * unit);
}

static void expect_decode_bound(int type, size_t at, uint32_t most, size_t unit)
{
    assert_int_equal(decode_with_count(type, at, most, unit), 0);
    if (most < UINT16_MAX)
        assert_int_equal(decode_with_count(type, at, most + 1, unit), -EPROTO);
}

/* The encoder must not look at elements behind the bound: there are none. */
static void expect_encode_bound(struct message *message, uint32_t *ret_count, uint32_t most)
{
    uint32_t before = *ret_count;
    for (uint64_t count = (uint64_t)most + 1; count <= UINT32_MAX; count = count * 2 + 1) {
        *ret_count = (uint32_t)count;
        assert_int_equal(message_encode(message, frame, sizeof frame), -EMSGSIZE);
    }
    *ret_count = before;
}

/* The bytes of a record whose texts are empty. */
#define LEAST_NUM(kind, name) +sizeof(NUM_##kind)
#define LEAST_ID(name) +16
#define LEAST_TEXT(name, most) +2
#define location(name) +LOCATION_BYTES
#define R(name, table)                                                                             \
    enum { RECORD_LEAST_##name = 0 RECORD_##table(LEAST_NUM, LEAST_ID, LEAST_TEXT, ) };
RECORDS(R)
#undef R
#undef location

#define BOUND_NUM(kind, name) at += sizeof(NUM_##kind);
#define BOUND_ID(name) at += 16;
#define BOUND_TEXT(name, most)                                                                     \
    expect_decode_bound((int)message.type, at, most, 1);                                           \
    expect_encode_bound(&message, &full->name.len, most);                                          \
    at += 2;
#define BOUND_LIST(record, name, most)                                                             \
    expect_decode_bound((int)message.type, at, most, RECORD_LEAST_##record);                       \
    expect_encode_bound(&message, &full->n_##name, most);                                          \
    at += 2;
#define M(number, since, name, table, what)                                                        \
    static void name##_keeps_its_bounds(void **state)                                              \
    {                                                                                              \
        (void)state;                                                                               \
        struct message message = make_message(MESSAGE_##name, SHAPE_FEW, SEED);                    \
        struct message_##name *full = &message.u.name;                                             \
        size_t at = 0;                                                                             \
        (void)full;                                                                                \
        FIELDS_##table(BOUND_NUM, BOUND_ID, BOUND_TEXT, BOUND_LIST);                               \
        assert_true(at <= message_max_bytes(message.type));                                        \
    }
MESSAGES(M)
#undef M

/* The one text inside a record: 2 bytes of count and 53 of fields stand before a member's host. */
static void text_in_a_record_keeps_its_bound(void **state)
{
    (void)state;
    enum { COUNT_AT = 16, HOST_AT = COUNT_AT + 2 + 53, HOST_MOST = 63, SIZE = 256 };
    uint8_t body[SIZE] = {[COUNT_AT] = 1, [HOST_AT] = HOST_MOST};
    assert_int_equal(decode_result(MESSAGE_join, body, HOST_AT + 2 + HOST_MOST + 20), 0);
    body[HOST_AT] = HOST_MOST + 1;
    assert_int_equal(decode_result(MESSAGE_join, body, HOST_AT + 2 + HOST_MOST + 1 + 20), -EPROTO);

    struct message message = make_message(MESSAGE_join, SHAPE_FEW, SEED);
    struct record_member member = message.u.join.members[0];
    message.u.join.members = &member;
    const char host[HOST_MOST + 1] = "a host name";
    member.host = (struct wire_text){host, HOST_MOST};
    expect_round_trip(&message);
    member.host.len++;
    assert_int_equal(message_encode(&message, frame, sizeof frame), -EMSGSIZE);
}

static void unknown_types_are_refused(void **state)
{
    (void)state;
    const uint8_t body[1] = {0};
    const int unknown[] = {0, MESSAGE_TYPE_END, MESSAGE_TYPE_END + 1, UINT16_MAX};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        assert_int_equal(decode_result(unknown[i], body, 0), -EPROTO);
        assert_int_equal(message_max_bytes((enum message_type)unknown[i]), 0);
        assert_string_equal(message_type_name((enum message_type)unknown[i]), "unknown");
    }
    assert_string_equal(message_type_name(MESSAGE_hello), "hello");
    assert_string_equal(message_type_name(MESSAGE_answer), "answer");
}

/* Refused before the body is looked at: this one has a single byte, as AddressSanitizer knows. */
static void absurd_lengths_are_refused(void **state)
{
    (void)state;
    struct message message;
    uint8_t *body = calloc(1, 1);
    const uint32_t absurd[] = {FRAME_BODY_MAX_BYTES + 1, INT32_MAX, UINT32_C(1) << 31, UINT32_MAX};
    for (size_t i = 0; i < sizeof absurd / sizeof *absurd; i++) {
        struct frame_head head = {MESSAGE_members, 1, absurd[i]};
        assert_int_equal(message_decode(&head, body, &scratch, &message), -EPROTO);
    }
    free(body);
}

/* What becomes of a good head after @len bytes of it at @at were given another value. */
static int head_result(enum message_type type, size_t at, uint32_t value, size_t len)
{
    struct frame_head head;
    encode_few((int)type, SEED);
    for (size_t i = 0; i < len; i++)
        frame[at + i] = (uint8_t)(value >> 8 * i);
    return frame_head_decode(frame, &head);
}

static void heads_that_are_not_ours_are_refused(void **state)
{
    (void)state;
    enum { MAGIC_AT = 0, TYPE_AT = 4, RESERVED_AT = 6, REQUEST_AT = 8 };
    assert_int_equal(head_result(MESSAGE_leave, MAGIC_AT, FRAME_MAGIC, 4), 0);
    assert_int_equal(head_result(MESSAGE_leave, MAGIC_AT, FRAME_MAGIC + 1, 4), -EPROTO);
    assert_int_equal(head_result(MESSAGE_leave, MAGIC_AT, 0x20544547, 4), -EPROTO); /* "GET " */
    assert_int_equal(head_result(MESSAGE_leave, TYPE_AT, 0, 2), -EPROTO);
    assert_int_equal(head_result(MESSAGE_leave, TYPE_AT, MESSAGE_TYPE_END, 2), -EPROTO);
    assert_int_equal(head_result(MESSAGE_leave, TYPE_AT, UINT16_MAX, 2), -EPROTO);
    for (int bit = 0; bit < 16; bit++)
        assert_int_equal(head_result(MESSAGE_leave, RESERVED_AT, 1 << bit, 2), -EPROTO);
    assert_int_equal(head_result(MESSAGE_leave, REQUEST_AT, UINT32_MAX, 4), 0);
}

static void head_bounds_the_length_by_the_type(void **state)
{
    (void)state;
    enum { LENGTH_AT = 12 };
    for (int i = 1; i < MESSAGE_TYPE_END; i++) {
        enum message_type type = (enum message_type)i;
        uint32_t most = (uint32_t)message_max_bytes(type) - FRAME_HEAD_BYTES;
        assert_int_equal(head_result(type, LENGTH_AT, most, 4), 0);
        assert_int_equal(head_result(type, LENGTH_AT, most + 1, 4), -EPROTO);
        assert_int_equal(head_result(type, LENGTH_AT, UINT32_MAX, 4), -EPROTO);
    }
}

static void stamps_stay_at_home(void **state)
{
    (void)state;
    struct message message = make_message(MESSAGE_announce, SHAPE_FEW, SEED);
    struct record_entry entry = message.u.announce.entries[0];
    message.u.announce.entries = &entry;
    message.u.announce.n_entries = 1;
    size_t len = encode(&message);
    memcpy(frame_again, frame, len);
    entry.place.stamp = 127;
    assert_int_equal(encode(&message), len);
    assert_memory_equal(frame, frame_again, len);
    for (int bit = 1; bit < 8; bit++) {
        frame[len - 1] = (uint8_t)(frame_again[len - 1] | 1 << bit);
        assert_int_equal(
            decode_result(MESSAGE_announce, frame + FRAME_HEAD_BYTES, len - FRAME_HEAD_BYTES),
            -EPROTO);
    }
}

/* A hello of a later build: what is known of it is read as it stands. */
static void fields_behind_a_hello_are_passed_over(void **state)
{
    (void)state;
    const int types[] = {MESSAGE_hello, MESSAGE_refuse};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct message message = make_message(types[i], SHAPE_FEW, SEED), back;
        struct frame_head head;
        size_t len = encode(&message) - FRAME_HEAD_BYTES;
        uint8_t *copy;
        memset(frame + FRAME_HEAD_BYTES + len, 0xee, FIRST_BODY_MAX_BYTES - len);
        frame[12] = (uint8_t)FIRST_BODY_MAX_BYTES;
        frame[13] = (uint8_t)(FIRST_BODY_MAX_BYTES >> 8);
        assert_int_equal(frame_head_decode(frame, &head), 0);
        assert_int_equal(head.body_len_bytes, FIRST_BODY_MAX_BYTES);
        assert_int_equal(decode_copy(types[i], message.request, frame + FRAME_HEAD_BYTES,
                                     head.body_len_bytes, &back, &copy),
                         0);
        assert_true(shapes_are_same(&message, &back));
        free(copy);
    }
}

static void messages_have_come_with_a_version(void **state)
{
    (void)state;
    for (int type = 1; type < MESSAGE_TYPE_END; type++)
        assert_in_range(message_since((uint32_t)type), WIRE_VERSION_MIN, WIRE_VERSION_MAX);
    assert_int_equal(message_since(MESSAGE_hello), 1);
    assert_int_equal(message_since(MESSAGE_refuse), 1);
    assert_int_equal(message_since(0), UINT16_MAX);
    assert_int_equal(message_since(MESSAGE_TYPE_END), UINT16_MAX);
}

/* What a damaged body still says is said by that body alone: encoding it gives it back, up to what
 * may be a newer build's. */
static bool expect_stable(int type, const uint8_t *body, size_t len)
{
    struct message message;
    uint8_t *copy;
    int result = decode_copy(type, 7, body, len, &message, &copy);
    if (result == 0) {
        int64_t again = message_encode(&message, frame_again, sizeof frame_again);
        assert_in_range(again, FRAME_HEAD_BYTES, FRAME_HEAD_BYTES + len);
        assert_true(again == FRAME_HEAD_BYTES + (int64_t)len || is_first(type));
        assert_memory_equal(frame_again + FRAME_HEAD_BYTES, body, (size_t)again - FRAME_HEAD_BYTES);
    } else {
        assert_int_equal(result, -EPROTO);
    }
    free(copy);
    return result == 0;
}

static void damaged_bodies_are_refused_or_stable(void **state)
{
    (void)state;
    uint64_t random = SEED;
    uint32_t decoded = 0;
    for (uint32_t i = 0; i < MUTATIONS; i++) {
        int type = 1 + (int)(splitmix_next(&random) % (MESSAGE_TYPE_END - 1));
        size_t len = encode_few(type, i);
        uint8_t *body = frame + FRAME_HEAD_BYTES;
        len = shapes_mutate(body, len, MUTATED_MAX_BYTES, &random);
        decoded += expect_stable(type, body, len);
    }
    /* Both ways were taken, or the test shows nothing. */
    assert_in_range(decoded, MUTATIONS / 20, MUTATIONS / 20 * 19);
}

static int say_seed(void **state)
{
    (void)state;
    print_message("seed %d\n", SEED);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_messages_survive),
        cmocka_unit_test(largest_messages_survive),
        cmocka_unit_test(random_messages_survive),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(short_buffers_are_refused),
        cmocka_unit_test(left_over_bytes_are_refused),
#define M(number, since, name, table, what) cmocka_unit_test(name##_keeps_its_bounds),
        MESSAGES(M)
#undef M
            cmocka_unit_test(text_in_a_record_keeps_its_bound),
        cmocka_unit_test(unknown_types_are_refused),
        cmocka_unit_test(absurd_lengths_are_refused),
        cmocka_unit_test(heads_that_are_not_ours_are_refused),
        cmocka_unit_test(head_bounds_the_length_by_the_type),
        cmocka_unit_test(stamps_stay_at_home),
        cmocka_unit_test(fields_behind_a_hello_are_passed_over),
        cmocka_unit_test(messages_have_come_with_a_version),
        cmocka_unit_test(damaged_bodies_are_refused_or_stable),
    };
    return cmocka_run_group_tests(tests, say_seed, NULL);
}
