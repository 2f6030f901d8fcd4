/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forger.c - messages of every type, with what was heard in their places.
 */
#include "forger.h"

#include <string.h>
#include <sys/socket.h>

#include "wire/shapes.h"

struct attack attack;

/* --- what was heard ------------------------------------------------------------------------- */

static bool is_spared(uint64_t word)
{
    for (uint32_t i = 0; i < attack.n_spared; i++)
        if (attack.spared[i] == word)
            return true;
    return false;
}

/* Ids, digests, generations, hashes of rings: they stand at any offset. */
void forger_hear(struct forger *forger, const uint8_t *bytes, size_t len)
{
    for (int i = 0; i < 8 && len >= sizeof(uint64_t); i++) {
        uint64_t word;
        memcpy(&word, bytes + forger_draw(forger, len - sizeof word + 1), sizeof word);
        if (!is_spared(word))
            atomic_store(&attack.heard[forger_draw(forger, HEARD_MAX)], word);
    }
}

struct id128 forger_member_id(uint64_t number)
{
    return (struct id128){number % 2 ? UINT64_MAX : 1, number};
}

uint64_t forger_word(struct forger *forger)
{
    static const uint64_t bounds[] = {
        0,     1,       2,       63,        64,        255,        256,        1023,        1024,
        65535, 1 << 20, 1 << 27, INT32_MAX, INT64_MAX, UINT64_MAX, UINT32_MAX, 0xffff << 16};
    struct id128 id = forger_member_id(forger_draw(forger, MEMBERS));
    switch (forger_draw(forger, 4)) {
    case 0: return bounds[forger_draw(forger, sizeof bounds / sizeof *bounds)];
    case 1: return forger_draw(forger, 2) ? id.hi : id.lo;
    default: return atomic_load(&attack.heard[forger_draw(forger, HEARD_MAX)]);
    }
}

/* --- messages ------------------------------------------------------------------------------- */

/* Puts words in the places of others; the frame stays one. */
static void forge(struct forger *forger, size_t len)
{
    for (uint64_t i = forger_draw(forger, 5); i > 0 && len > FRAME_HEAD_BYTES; i--) {
        uint64_t word = forger_word(forger);
        size_t width = (size_t)1 << forger_draw(forger, 4);
        size_t at = FRAME_HEAD_BYTES + forger_draw(forger, len - FRAME_HEAD_BYTES);
        memcpy(forger->frame + at, &word, width < len - at ? width : len - at);
    }
}

/* Most of what is sent is a frame with a body that can be decoded, or nearly. */
size_t forger_damage(struct forger *forger, size_t len)
{
    uint64_t kind = forger_draw(forger, 16);
    if (kind == 0)
        return shapes_mutate(forger->frame, len, FRAME_SIZE, &forger->random);
    if (kind == 1)
        return forger_draw(forger, len + 1);
    if (kind < 12)
        forge(forger, len);
    return len;
}

size_t forger_encode(struct forger *forger, const struct message *message)
{
    int64_t len = message_encode(message, forger->frame, FRAME_SIZE);
    return len > 0 ? (size_t)len : 0;
}

size_t forger_make_any(struct forger *forger)
{
    static const enum shape shapes[] = {SHAPE_EMPTY, SHAPE_FEW, SHAPE_FEW, SHAPE_FEW,
                                        SHAPE_FEW,   SHAPE_FEW, SHAPE_MOST};
    enum message_type type = 1 + (enum message_type)forger_draw(forger, MESSAGE_TYPE_END - 1);
    enum shape shape = shapes[forger_draw(forger, sizeof shapes / sizeof *shapes)];
    struct message message =
        shapes_make(type, shape, splitmix_next(&forger->random), &forger->lists);
    return forger_encode(forger, &message);
}

struct message_hello forger_hello(struct forger *forger, uint64_t number)
{
    return (struct message_hello){
        .version_min = 1,
        .version_max = 1,
        .cluster = {attack.cluster, (uint32_t)strlen(attack.cluster)},
        .node_id = forger_member_id(number),
        .incarnation = 1000 + forger_draw(forger, 2),
        .boot_id = {7, number},
        .ring_hash = forger_word(forger),
        .vnodes = 160,
        .directory_replicas = 2,
    };
}

size_t forger_make_join(struct forger *forger, uint64_t number)
{
    const struct address *own = &attack.own[number];
    struct record_member member = {
        .node_id = forger_member_id(number),
        .incarnation = 1000 + forger_draw(forger, 2),
        .version = forger_draw(forger, 100),
        .state = (uint8_t)(1 + forger_draw(forger, 6)),
        .boot_id = {7, number},
        .uid = 1,
        .host = {own->host, (uint32_t)strlen(own->host)},
        .control_port = own->port,
        .discovery_port = forger_draw(forger, 2) ? own->port : 0,
        .pool_bytes = 1 << 20,
        .seat = forger_draw(forger, 3),
    };
    struct message message = {.type = MESSAGE_join};
    message.u.join.members = &member;
    message.u.join.n_members = 1;
    return forger_encode(forger, &message);
}

bool forger_send(int fd, const uint8_t *bytes, size_t len)
{
    ssize_t sent = send(fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    atomic_fetch_add(&attack.sent, 1);
    return sent == (ssize_t)len;
}
