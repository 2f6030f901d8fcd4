/* SPDX-License-Identifier: Apache-2.0 */
/*
 * codec.c - the table of schema.h, turned into functions that write and read each message.
 *
 * A writer and a reader are cursors with a sticky error: once something did not fit, nothing more
 * is written or read, and the one question at the end is whether the cursor broke.  So the
 * generated functions are straight lines without error paths.  Each kind of field has a put_ and a
 * get_ function; the macros only name the fields in their order.
 *
 * Pure, without allocation; any thread, on buffers that belong to the caller.
 */
#include "wire/codec.h"

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/check.h"

/* --- the most that each record and message can need, from the table ------------------------- */

enum { TEXT_LEN_BYTES = 2, LIST_COUNT_BYTES = 2, ID_BYTES = 16, SCRATCH_ALIGN_BYTES = 16 };

#define SCRATCH_ROUND(len)                                                                         \
    (((len) + SCRATCH_ALIGN_BYTES - 1) / SCRATCH_ALIGN_BYTES * SCRATCH_ALIGN_BYTES)

#define MOST_NUM(kind, name) +sizeof(NUM_##kind)
#define MOST_ID(name) +ID_BYTES
#define MOST_TEXT(name, most) +TEXT_LEN_BYTES + (most)
#define MOST_LIST(record, name, most) +LIST_COUNT_BYTES + ((most)*RECORD_MOST_##record)
#define location(name) +LOCATION_BYTES

#define R(name, table)                                                                             \
    enum { RECORD_MOST_##name = 0 RECORD_##table(MOST_NUM, MOST_ID, MOST_TEXT, MOST_LIST) };
RECORDS(R)
#undef R

#define M(number, since, name, table, what)                                                        \
    enum { BODY_MOST_##name = 0 FIELDS_##table(MOST_NUM, MOST_ID, MOST_TEXT, MOST_LIST) };         \
    _Static_assert(FRAME_BODY_MAX_BYTES - BODY_MOST_##name >= 0, "a message fits into a frame");
MESSAGES(M)
#undef M
#undef location

#define ROOM_NONE(...)
#define ROOM_LIST(record, name, most) +SCRATCH_ROUND((most) * sizeof(struct record_##record))

#define M(number, since, name, table, what)                                                        \
    _Static_assert(0 FIELDS_##table(ROOM_NONE, ROOM_NONE, ROOM_NONE, ROOM_LIST) <=                 \
                       MESSAGE_SCRATCH_BYTES,                                                      \
                   "the lists of every message fit into the scratch");
MESSAGES(M)
#undef M

/* --- writing -------------------------------------------------------------------------------- */

struct writer {
    uint8_t *next, *end;
    bool is_broken;
};

static void put_bytes(struct writer *out, const void *bytes, size_t len)
{
    if (out->is_broken || len > (size_t)(out->end - out->next)) {
        out->is_broken = true;
        return;
    }
    if (len > 0)
        memcpy(out->next, bytes, len);
    out->next += len;
}

static void put_u8(struct writer *out, uint8_t value)
{
    put_bytes(out, &value, sizeof value);
}

static void put_u16(struct writer *out, uint16_t value)
{
    value = htole16(value);
    put_bytes(out, &value, sizeof value);
}

static void put_u32(struct writer *out, uint32_t value)
{
    value = htole32(value);
    put_bytes(out, &value, sizeof value);
}

static void put_u64(struct writer *out, uint64_t value)
{
    value = htole64(value);
    put_bytes(out, &value, sizeof value);
}

static void put_i32(struct writer *out, int32_t value)
{
    put_u32(out, (uint32_t)value);
}

static void put_id(struct writer *out, struct id128 id)
{
    put_u64(out, id.hi);
    put_u64(out, id.lo);
}

/* The length of a text or the count of a list. */
static void put_count(struct writer *out, uint32_t count, uint32_t most)
{
    if (count > most)
        out->is_broken = true;
    put_u16(out, (uint16_t)count);
}

static void put_text(struct writer *out, const struct wire_text *text, uint32_t most)
{
    put_count(out, text->len, most);
    put_bytes(out, text->bytes, text->len);
}

/* The stamp is a shard's own note and leaves the node as 0. */
static void put_location(struct writer *out, const struct location *place)
{
    struct location without_stamp = *place;
    uint8_t bytes[LOCATION_BYTES];
    without_stamp.stamp = 0;
    location_pack(&without_stamp, bytes);
    put_bytes(out, bytes, sizeof bytes);
}

#define PUT_NUM(kind, name) put_##kind(out, from->name);
#define PUT_ID(name) put_id(out, from->name);
#define PUT_TEXT(name, most) put_text(out, &from->name, most);
#define PUT_LIST(record, name, most)                                                               \
    put_count(out, from->n_##name, most);                                                          \
    for (uint32_t i = 0; i < from->n_##name && !out->is_broken; i++)                               \
        put_record_##record(out, &from->name[i]);
#define location(name) put_location(out, &from->name);

#define R(name, table)                                                                             \
    static void put_record_##name(struct writer *out, const struct record_##name *from)            \
    {                                                                                              \
        RECORD_##table(PUT_NUM, PUT_ID, PUT_TEXT, PUT_LIST)                                        \
    }
RECORDS(R)
#undef R

#define M(number, since, name, table, what)                                                        \
    static void put_message_##name(struct writer *out, const struct message *message)              \
    {                                                                                              \
        const struct message_##name *from = &message->u.name;                                      \
        FIELDS_##table(PUT_NUM, PUT_ID, PUT_TEXT, PUT_LIST)                                        \
    }
MESSAGES(M)
#undef M
#undef location

/* --- reading -------------------------------------------------------------------------------- */

struct reader {
    const uint8_t *next, *end;
    struct message_scratch *scratch;
    size_t scratch_used_bytes;
    bool is_broken;
};

/* The next @len bytes, or NULL and a broken cursor. */
static const uint8_t *take_bytes(struct reader *in, size_t len)
{
    if (in->is_broken || len > (size_t)(in->end - in->next)) {
        in->is_broken = true;
        return NULL;
    }
    const uint8_t *bytes = in->next;
    in->next += len;
    return bytes;
}

/* What a broken cursor cannot give any more reads as 0. */
static void get_bytes(struct reader *in, void *ret_bytes, size_t len)
{
    const uint8_t *bytes = take_bytes(in, len);
    if (bytes != NULL)
        memcpy(ret_bytes, bytes, len);
    else
        memset(ret_bytes, 0, len);
}

static uint8_t get_u8(struct reader *in)
{
    uint8_t value;
    get_bytes(in, &value, sizeof value);
    return value;
}

static uint16_t get_u16(struct reader *in)
{
    uint16_t value;
    get_bytes(in, &value, sizeof value);
    return le16toh(value);
}

static uint32_t get_u32(struct reader *in)
{
    uint32_t value;
    get_bytes(in, &value, sizeof value);
    return le32toh(value);
}

static uint64_t get_u64(struct reader *in)
{
    uint64_t value;
    get_bytes(in, &value, sizeof value);
    return le64toh(value);
}

static int32_t get_i32(struct reader *in)
{
    return (int32_t)get_u32(in);
}

static struct id128 get_id(struct reader *in)
{
    struct id128 id;
    id.hi = get_u64(in);
    id.lo = get_u64(in);
    return id;
}

/* The length of a text or the count of a list: 0 from a broken cursor. */
static uint32_t get_count(struct reader *in, uint32_t most)
{
    uint32_t count = get_u16(in);
    if (count <= most)
        return count;
    in->is_broken = true;
    return 0;
}

static struct wire_text get_text(struct reader *in, uint32_t most)
{
    uint32_t len = get_count(in, most);
    const uint8_t *bytes = take_bytes(in, len);
    return (struct wire_text){(const char *)bytes, bytes != NULL ? len : 0};
}

static struct location get_location(struct reader *in)
{
    struct location place = {0};
    const uint8_t *bytes = take_bytes(in, LOCATION_BYTES);
    if (bytes != NULL)
        location_unpack(bytes, &place);
    if (place.stamp != 0)
        in->is_broken = true;
    return place;
}

/* Room for a list whose count is within its bound; the table says that such lists fit. */
static void *borrow_room(struct reader *in, uint32_t count, size_t record_size_bytes)
{
    size_t len = SCRATCH_ROUND(count * record_size_bytes);
    CHECK(len <= MESSAGE_SCRATCH_BYTES - in->scratch_used_bytes);
    void *room = in->scratch->bytes + in->scratch_used_bytes;
    in->scratch_used_bytes += len;
    return count > 0 ? room : NULL;
}

#define GET_NUM(kind, name) to->name = get_##kind(in);
#define GET_ID(name) to->name = get_id(in);
#define GET_TEXT(name, most) to->name = get_text(in, most);
#define GET_LIST(record, name, most)                                                               \
    to->n_##name = get_count(in, most);                                                            \
    struct record_##record *name = borrow_room(in, to->n_##name, sizeof *name);                    \
    for (uint32_t i = 0; i < to->n_##name && !in->is_broken; i++)                                  \
        get_record_##record(in, &name[i]);                                                         \
    to->name = name;
#define location(name) to->name = get_location(in);

#define R(name, table)                                                                             \
    static void get_record_##name(struct reader *in, struct record_##name *to)                     \
    {                                                                                              \
        RECORD_##table(GET_NUM, GET_ID, GET_TEXT, GET_LIST)                                        \
    }
RECORDS(R)
#undef R

#define M(number, since, name, table, what)                                                        \
    static void get_message_##name(struct reader *in, struct message *message)                     \
    {                                                                                              \
        struct message_##name *to = &message->u.name;                                              \
        FIELDS_##table(GET_NUM, GET_ID, GET_TEXT, GET_LIST)                                        \
    }
MESSAGES(M)
#undef M
#undef location

/* --- frames --------------------------------------------------------------------------------- */

/* Met before a version is agreed on, so they may be longer than this build knows. */
#define is_first(type) ((type) == MESSAGE_hello || (type) == MESSAGE_refuse)

static const struct {
    const char *name;
    uint16_t since;
    void (*put)(struct writer *out, const struct message *message);
    void (*get)(struct reader *in, struct message *message);
    uint32_t body_most_bytes;
} codecs[MESSAGE_TYPE_END] = {
#define M(number, since, name, table, what)                                                        \
    [number] = {#name, since, put_message_##name, get_message_##name,                              \
                is_first(number) ? FIRST_BODY_MAX_BYTES : BODY_MOST_##name},
    MESSAGES(M)
#undef M
};

_Static_assert((int)BODY_MOST_hello + WIRE_HELLO_TAIL_BYTES <= (int)FIRST_BODY_MAX_BYTES &&
                   (int)BODY_MOST_refuse <= (int)FIRST_BODY_MAX_BYTES,
               "older builds take them");

static bool type_is_known(uint32_t type)
{
    return type < MESSAGE_TYPE_END && codecs[type].name != NULL;
}

int frame_head_decode(const uint8_t bytes[FRAME_HEAD_BYTES], struct frame_head *ret_head)
{
    struct reader in = {.next = bytes, .end = bytes + FRAME_HEAD_BYTES};
    uint32_t magic = get_u32(&in);
    uint16_t type = get_u16(&in);
    uint16_t reserved = get_u16(&in);
    uint32_t request = get_u32(&in);
    uint32_t body_len_bytes = get_u32(&in);
    if (magic != FRAME_MAGIC || !type_is_known(type) || reserved != 0)
        return -EPROTO;
    if (body_len_bytes > codecs[type].body_most_bytes)
        return -EPROTO;
    *ret_head = (struct frame_head){type, request, body_len_bytes};
    return 0;
}

static void put_head(uint8_t *ret_bytes, const struct message *message, uint32_t body_len_bytes)
{
    struct writer out = {.next = ret_bytes, .end = ret_bytes + FRAME_HEAD_BYTES};
    put_u32(&out, FRAME_MAGIC);
    put_u16(&out, (uint16_t)message->type);
    put_u16(&out, 0);
    put_u32(&out, message->request);
    put_u32(&out, body_len_bytes);
}

/* Where a newer build has more fields; in the released one there are none. */
static void put_tail(struct writer *out, size_t len)
{
    for (size_t i = 0; i < len; i++)
        put_u8(out, 0xee);
}

int64_t message_encode(const struct message *message, uint8_t *ret_bytes, size_t size)
{
    CHECK(type_is_known(message->type));
    if (size < FRAME_HEAD_BYTES)
        return -EMSGSIZE;
    uint8_t *body = ret_bytes + FRAME_HEAD_BYTES;
    struct writer out = {.next = body, .end = ret_bytes + size};
    codecs[message->type].put(&out, message);
    if (message->type == MESSAGE_hello)
        put_tail(&out, WIRE_HELLO_TAIL_BYTES);
    if (out.is_broken)
        return -EMSGSIZE;
    put_head(ret_bytes, message, (uint32_t)(out.next - body));
    return out.next - ret_bytes;
}

int message_decode(const struct frame_head *head, const uint8_t *body,
                   struct message_scratch *scratch, struct message *ret_message)
{
    if (!type_is_known(head->type) || head->body_len_bytes > FRAME_BODY_MAX_BYTES)
        return -EPROTO;
    struct message message = {.type = (enum message_type)head->type, .request = head->request};
    struct reader in = {.next = body, .end = body + head->body_len_bytes, .scratch = scratch};
    codecs[head->type].get(&in, &message);
    if (in.is_broken || (in.next != in.end && !is_first(head->type)))
        return -EPROTO;
    *ret_message = message;
    return 0;
}

uint16_t message_since(uint32_t type)
{
    return type_is_known(type) ? codecs[type].since : UINT16_MAX;
}

const char *message_type_name(enum message_type type)
{
    return type_is_known(type) ? codecs[type].name : "unknown";
}

size_t message_max_bytes(enum message_type type)
{
    return type_is_known(type) ? (size_t)FRAME_HEAD_BYTES + codecs[type].body_most_bytes : 0;
}
