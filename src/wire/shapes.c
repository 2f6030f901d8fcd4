/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shapes.c - messages for tests: fillers and comparisons, generated from the schema like the codec.
 *
 * Written apart from the codec and looking at fields by name, so that a field which the codec
 * forgets or confuses with another in both directions shows.  Not part of the library.
 */
#include "wire/shapes.h"

#include <string.h>

#include "base/check.h"
#include "base/splitmix.h"

/* --- chance and damage ----------------------------------------------------------------------- */

/* Bytes that are bounds of something are more likely to hurt than others. */
static uint8_t hurtful_byte(uint64_t *state)
{
    static const uint8_t bytes[] = {0x00, 0x01, 0x3f, 0x40, 0x7f, 0x80, 0xff};
    uint64_t random = splitmix_next(state);
    return random & 1 ? bytes[(random >> 8) % sizeof bytes] : (uint8_t)(random >> 8);
}

static size_t mutate_once(uint8_t *bytes, size_t len, size_t size, uint64_t *state)
{
    uint64_t random = splitmix_next(state);
    size_t at = len > 0 ? (random >> 16) % len : 0;
    size_t count = 1 + (random >> 8) % 32;
    switch (random % 4) {
    case 0: return at;
    case 1:
        if (count > size - len)
            return len;
        memmove(bytes + at + count, bytes + at, len - at);
        memset(bytes + at, hurtful_byte(state), count);
        return len + count;
    default:
        if (len > 0)
            bytes[at] = hurtful_byte(state);
        return len;
    }
}

size_t shapes_mutate(uint8_t *bytes, size_t len, size_t size, uint64_t *state)
{
    for (uint64_t i = 1 + splitmix_next(state) % 4; i > 0; i--)
        len = mutate_once(bytes, len, size, state);
    return len;
}

/* --- filling --------------------------------------------------------------------------------- */

enum { FEW = 3 };

struct filler {
    enum shape shape;
    uint64_t random;
    struct message_scratch *lists;
    size_t lists_used_bytes;
};

static uint32_t fill_count(struct filler *f, uint32_t most)
{
    if (f->shape == SHAPE_RANDOM)
        return (uint32_t)(splitmix_next(&f->random) % (most + 1));
    const uint32_t counts[] = {[SHAPE_EMPTY] = 0, [SHAPE_FEW] = FEW, [SHAPE_MOST] = most};
    return counts[f->shape] < most ? counts[f->shape] : most;
}

/* Bytes to take texts from: made at the first use of each thread, without zeros, and never changed
 * after. */
static const char *text_bytes(void)
{
    static _Thread_local char bytes[2 * TEXT_MAX];
    uint64_t random = 1;
    if (bytes[0] == '\0') {
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (char)(1 + splitmix_next(&random) % 255);
    }
    return bytes;
}

static struct wire_text fill_text(struct filler *f, uint32_t most)
{
    const char *bytes = text_bytes() + splitmix_next(&f->random) % TEXT_MAX;
    return (struct wire_text){bytes, fill_count(f, most)};
}

static struct id128 fill_id(struct filler *f)
{
    struct id128 id;
    id.hi = splitmix_next(&f->random);
    id.lo = splitmix_next(&f->random);
    return id;
}

static struct location fill_place(struct filler *f)
{
    uint8_t bytes[LOCATION_BYTES];
    struct location place;
    for (int i = 0; i < LOCATION_BYTES; i++)
        bytes[i] = (uint8_t)splitmix_next(&f->random);
    location_unpack(bytes, &place);
    place.stamp = 0;
    return place;
}

static void *fill_room(struct filler *f, size_t len)
{
    void *room = f->lists->bytes + f->lists_used_bytes;
    f->lists_used_bytes += (len + 15) / 16 * 16;
    CHECK(f->lists_used_bytes <= sizeof f->lists->bytes);
    return room;
}

#define FILL_NUM(kind, name) to->name = (NUM_##kind)splitmix_next(&f->random);
#define FILL_ID(name) to->name = fill_id(f);
#define FILL_TEXT(name, most) to->name = fill_text(f, most);
#define FILL_LIST(record, name, most)                                                              \
    to->n_##name = fill_count(f, most);                                                            \
    struct record_##record *name = fill_room(f, to->n_##name * sizeof *name);                      \
    for (uint32_t i = 0; i < to->n_##name; i++)                                                    \
        fill_##record(f, &name[i]);                                                                \
    to->name = name;
#define location(name) to->name = fill_place(f);

#define R(name, table)                                                                             \
    static void fill_##name(struct filler *f, struct record_##name *to)                            \
    {                                                                                              \
        RECORD_##table(FILL_NUM, FILL_ID, FILL_TEXT, FILL_LIST)                                    \
    }
RECORDS(R)
#undef R

#define M(number, since, name, table, what)                                                        \
    static void fill_message_##name(struct filler *f, struct message *message)                     \
    {                                                                                              \
        struct message_##name *to = &message->u.name;                                              \
        FIELDS_##table(FILL_NUM, FILL_ID, FILL_TEXT, FILL_LIST)                                    \
    }
MESSAGES(M)
#undef M
#undef location

/* --- comparing ------------------------------------------------------------------------------- */

#define SAME_NUM(kind, name) is_same &= a->name == b->name;
#define SAME_ID(name) is_same &= id128_equal(a->name, b->name);
#define SAME_TEXT(name, most) is_same &= text_is_same(a->name, b->name);
#define SAME_LIST(record, name, most)                                                              \
    is_same &= a->n_##name == b->n_##name;                                                         \
    for (uint32_t i = 0; is_same && i < a->n_##name; i++)                                          \
        is_same &= same_##record(&a->name[i], &b->name[i]);
#define location(name) is_same &= place_is_same(&a->name, &b->name);

static bool text_is_same(struct wire_text a, struct wire_text b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.bytes, b.bytes, a.len) == 0);
}

static bool place_is_same(const struct location *a, const struct location *b)
{
    return a->holder == b->holder && a->arena == b->arena && a->tier == b->tier &&
           a->slot == b->slot && a->offset_bytes == b->offset_bytes &&
           a->length_bytes == b->length_bytes && a->stamp == b->stamp &&
           a->generation == b->generation;
}

#define R(name, table)                                                                             \
    static bool same_##name(const struct record_##name *a, const struct record_##name *b)          \
    {                                                                                              \
        bool is_same = true;                                                                       \
        RECORD_##table(SAME_NUM, SAME_ID, SAME_TEXT, SAME_LIST);                                   \
        return is_same;                                                                            \
    }
RECORDS(R)
#undef R

#define M(number, since, name, table, what)                                                        \
    static bool same_message_##name(const struct message *x, const struct message *y)              \
    {                                                                                              \
        const struct message_##name *a = &x->u.name, *b = &y->u.name;                              \
        bool is_same = true;                                                                       \
        FIELDS_##table(SAME_NUM, SAME_ID, SAME_TEXT, SAME_LIST);                                   \
        return is_same;                                                                            \
    }
MESSAGES(M)
#undef M
#undef location

/* --- by type --------------------------------------------------------------------------------- */

static const struct {
    void (*fill)(struct filler *f, struct message *message);
    bool (*is_same)(const struct message *x, const struct message *y);
} walks[MESSAGE_TYPE_END] = {
#define M(number, since, name, table, what) [number] = {fill_message_##name, same_message_##name},
    MESSAGES(M)
#undef M
};

struct message shapes_make(enum message_type type, enum shape shape, uint64_t seed,
                           struct message_scratch *lists)
{
    struct filler f = {.shape = shape, .random = seed, .lists = lists};
    struct message message = {.type = type};
    message.request = (uint32_t)splitmix_next(&f.random);
    CHECK(type < MESSAGE_TYPE_END && walks[type].fill != NULL);
    walks[type].fill(&f, &message);
    return message;
}

bool shapes_are_same(const struct message *a, const struct message *b)
{
    return a->type == b->type && a->request == b->request && walks[a->type].is_same(a, b);
}
