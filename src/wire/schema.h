/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schema.h - every message between nodes, on one screen.
 *
 * A field is (kind, name[, most]):
 *   num       u8 u16 u32 u64 i32
 *   id        16 bytes: hi, then lo
 *   text      u16 length and that many bytes, at most `most`
 *   list      u16 count and that many records, at most `most`; only messages have lists
 *   location  22 bytes (location.h), the stamp 0
 * All numbers are little endian, and nothing is aligned.  From this table come the structs below,
 * the codec (codec.c), and the field walks of its tests.  A frame has exactly one meaning and a
 * message exactly one frame.  The codec checks bounds and lengths; what a number may mean (a state,
 * a tier, an index into another list) is checked by whoever uses it.
 *
 * A `stale` entry is believed unseen, so a member that sends forged ones can take pages away, which
 * are missed and stored anew; it cannot change what bytes a read returns.
 *
 * `reader` in a lookup is what the asker calls its host when it is going to read the pages, and 0
 * when it only wants to know; `hot` in the answer are the keys that it may publish once it has read
 * them.  Both are hints: a forged one costs a copy.
 *
 * A message that was released never changes.  What needs another field is another message with a
 * number of its own; `since` is the version that it came with, and it is sent on connections of at
 * least that version only.  The two first messages are met before a version is agreed on: they may
 * get more fields behind those that are here, which older builds pass over, up to
 * FIRST_BODY_MAX_BYTES.
 *
 * Addresses and keys in `paired` are the holder's own, to be used by the reader's adapter only; a
 * GID is an id here, its first byte the highest.
 *
 * Payload bytes of pages never stand in a message: they follow `payload`, `request` and `answer`
 * on the same connection, in the length that these name.
 *
 * Whoever walks the table defines a macro location(name) of its own around the walk.
 */
#ifndef WIRE_SCHEMA_H
#define WIRE_SCHEMA_H

#include <stdint.h>

#include "base/id128.h"
#include "wire/location.h"
#include "wire/next.h"

/* The first protocol that was released is 1. */
enum { WIRE_VERSION_MIN = 1, WIRE_VERSION_MAX = 1 + WIRE_NEXT_VERSIONS };
enum { BATCH_MAX = 256, MEMBERS_MAX = 1024, FOUND_MAX = 1024, GROUP_MAX = 64, TEXT_MAX = 65535 };
enum { FIRST_BODY_MAX_BYTES = 512 };
/* Queue pairs that are connected together, and slices of 2 GiB of an arena: 4 TiB and its
 * headers. */
enum { PAIR_MAX = 2, SLICES_MAX = 2304 };

/* clang-format off */
#define RECORD_MEMBER(num, id, text, list)                                                        \
    id(node_id) num(u64, incarnation) num(u64, version) num(u8, state) id(boot_id) num(u32, uid)  \
    text(host, 63) num(u16, control_port) num(u16, discovery_port) num(u64, pool_bytes)           \
    num(u64, seat)
#define RECORD_ENTRY(num, id, text, list)   id(digest) location(place)
#define RECORD_KEY(num, id, text, list)     id(digest)
#define RECORD_FOUND(num, id, text, list)   num(u16, index) location(place)
#define RECORD_HOLDER(num, id, text, list)  id(node_id) num(u64, incarnation)
#define RECORD_FILLING(num, id, text, list) id(digest) num(u64, generation)
#define RECORD_STALE(num, id, text, list)                                                         \
    id(digest) id(node_id) num(u64, incarnation) num(u64, generation)
#define RECORD_TOUCHED(num, id, text, list) num(u32, slot) num(u64, generation)
#define RECORD_EPOCH(num, id, text, list)   id(identity) num(u64, epoch)
#define RECORD_STATUS(num, id, text, list)                                                        \
    num(i32, error) num(u64, generation) num(u32, length_bytes) num(u64, checksum)
#define RECORD_WANTED(num, id, text, list)  id(digest) location(place)
#define RECORD_INDEX(num, id, text, list)   num(u16, index)
#define RECORD_QUEUE(num, id, text, list)   num(u32, number) num(u32, first_psn)
#define RECORD_SLICE(num, id, text, list)   num(u32, remote_key)

/* record name -> RECORD_ table */
#define RECORDS(R)                                                                                \
    R(member, MEMBER) R(entry, ENTRY) R(found, FOUND) R(holder, HOLDER) R(filling, FILLING)       \
    R(stale, STALE) R(touched, TOUCHED) R(epoch, EPOCH) R(status, STATUS) R(wanted, WANTED)       \
    R(index, INDEX) R(key, KEY) R(queue, QUEUE) R(slice, SLICE)

#define FIELDS_HELLO(num, id, text, list)                                                         \
    num(u16, version_min) num(u16, version_max) num(u8, auth) num(u8, purpose)                    \
    num(u64, capabilities) text(cluster, 63) id(node_id) num(u64, incarnation) id(boot_id)        \
    num(u64, ring_hash) num(u32, vnodes) num(u8, directory_replicas)
#define FIELDS_REFUSE(num, id, text, list)    num(i32, error) text(reason, 255)
#define FIELDS_JOIN(num, id, text, list)                                                          \
    num(u64, table) num(u64, known_version) list(member, members, 1)
#define FIELDS_HEARTBEAT(num, id, text, list)                                                     \
    id(node_id) num(u64, incarnation) num(u64, counter) num(u64, table) num(u64, known_version)
#define FIELDS_MEMBERS(num, id, text, list)                                                       \
    num(u64, table) num(u64, version) num(u8, fresh) num(u8, whole) num(u8, listed)               \
    list(member, members, MEMBERS_MAX)
#define FIELDS_LEAVE(num, id, text, list)     id(node_id) num(u64, incarnation)
#define FIELDS_ANNOUNCE(num, id, text, list)  num(u32, batch) list(entry, entries, BATCH_MAX)
#define FIELDS_ANNOUNCED(num, id, text, list)                                                     \
    num(u32, batch) num(u32, credit) list(index, refused, BATCH_MAX)
#define FIELDS_RETRACT(num, id, text, list)   num(u32, batch) list(filling, entries, BATCH_MAX)
#define FIELDS_SYNC(num, id, text, list)      num(u8, kind) num(u64, ring_hash)
#define FIELDS_TOUCH(num, id, text, list)     list(touched, slots, BATCH_MAX)
#define FIELDS_STALE(num, id, text, list)     list(stale, entries, BATCH_MAX)
#define FIELDS_EPOCHS(num, id, text, list)    num(u32, batch) list(epoch, entries, BATCH_MAX)
#define FIELDS_HEARD(num, id, text, list)     num(u32, batch)
#define FIELDS_LOOKUP(num, id, text, list)                                                        \
    num(u64, ring_hash) num(u32, reader) list(key, keys, BATCH_MAX)
#define FIELDS_LOCATIONS(num, id, text, list)                                                     \
    num(u8, complete) num(u64, ring_hash) list(holder, holders, BATCH_MAX)                        \
    list(found, found, FOUND_MAX) list(index, hot, BATCH_MAX)
#define FIELDS_READ(num, id, text, list)      list(wanted, pages, GROUP_MAX)
#define FIELDS_PAYLOAD(num, id, text, list)   list(status, pages, GROUP_MAX)
#define FIELDS_REQUEST(num, id, text, list)   text(json, TEXT_MAX) num(u64, body_len_bytes)
#define FIELDS_ANSWER(num, id, text, list)                                                        \
    num(i32, error) num(u32, json_len_bytes) num(u64, body_len_bytes)
/* How one side's adapter is reached, and what it can do. */
#define FIELDS_OF_ADAPTER(num, id, text, list)                                                    \
    num(u8, rail) num(u8, link) num(u8, gid_type) id(gid) num(u16, lid) num(u32, mtu_bytes)       \
    num(u8, reads_served) num(u8, reads_asked) list(queue, queues, PAIR_MAX)
#define FIELDS_PAIR(num, id, text, list)      FIELDS_OF_ADAPTER(num, id, text, list)
#define FIELDS_PAIRED(num, id, text, list)                                                        \
    num(i32, error) text(reason, 255) FIELDS_OF_ADAPTER(num, id, text, list)                      \
    num(u64, base_addr) num(u64, headers_addr) num(u64, payload_addr) num(u64, payload_bytes)     \
    num(u32, slot_count) list(slice, slices, SLICES_MAX)

/* number, since which version, name, FIELDS_ table, who says it to whom */
#define MESSAGES(M)                                                                               \
    M(1, 1, hello, HELLO, "the first message in both directions of every connection")             \
    M(2, 1, refuse, REFUSE, "instead of a hello, and before hanging up: why")                     \
    M(3, 1, join, JOIN, "node to master: here I am")                                              \
    M(4, 1, heartbeat, HEARTBEAT, "node to master: still here, and what I know of your table")    \
    M(5, 1, members, MEMBERS, "the answer to both: what has changed since, or (whole) all; table 0: ask")       \
    M(6, 1, leave, LEAVE, "node to masters and peers: gone for good")                             \
    M(7, 1, announce, ANNOUNCE, "holder to owner: I have these pages")                            \
    M(8, 1, announced, ANNOUNCED, "owner to holder: done, but for these; so many more may be under way") \
    M(9, 1, retract, RETRACT, "holder to owner: forget these fillings; batch 0: without an answer") \
    M(10, 1, sync, SYNC, "holder to owner: of what I have for you, enum sync_kind")               \
    M(11, 1, touch, TOUCH, "reader to holder: these were read past you")                          \
    M(12, 1, stale, STALE, "reader to owner: they were gone; to their holder: they are damaged")  \
    M(13, 1, epochs, EPOCHS, "node to node: these namespaces were cleared")                       \
    M(14, 1, heard, HEARD, "the answer to epochs")                                                \
    M(15, 1, lookup, LOOKUP, "reader to owner, on a channel: where are these")                    \
    M(16, 1, locations, LOCATIONS, "the answer to lookup")                                        \
    M(17, 1, read, READ, "reader to holder, on a channel: send these pages")                      \
    M(18, 1, payload, PAYLOAD, "the answer to read: statuses, then the bytes of those with error 0") \
    M(19, 1, request, REQUEST, "a tool to a node: a question, then its body")                     \
    M(20, 1, answer, ANSWER, "the answer to request: JSON, then a body")                          \
    M(21, 1, pair, PAIR, "reader to holder, on a channel: queue pairs of mine, for some of yours") \
    M(22, 1, paired, PAIRED, "the answer to pair: they serve until the channel closes; your keys") \
    MESSAGES_NEXT(M)
/* clang-format on */

enum message_type {
#define M(number, since, name, fields, what) MESSAGE_##name = number,
    MESSAGES(M)
#undef M
        MESSAGE_TYPE_END
};

/* What a connection is for, in its hello. */
enum purpose { PURPOSE_CONTROL = 1, PURPOSE_DISCOVERY, PURPOSE_CHANNEL, PURPOSE_TOOL };
enum auth { AUTH_NONE = 0 };
/* What follows is all; that was all; that was all that you gained with this ring. */
enum sync_kind { SYNC_BEGINS = 0, SYNC_ENDS = 1, SYNC_TOLD_GAINED = 2 };
/* The first three are the member's own word, the others the judgement of whoever lists it. */
enum member_state { MEMBER_ALIVE = 1, MEMBER_DRAINING, MEMBER_LEFT, MEMBER_SUSPECT, MEMBER_DEAD };

/* --- the structs of the table above --- */

#define NUM_u8 uint8_t
#define NUM_u16 uint16_t
#define NUM_u32 uint32_t
#define NUM_u64 uint64_t
#define NUM_i32 int32_t
#define FIELD_NUM(kind, name) NUM_##kind name;
#define FIELD_ID(name) struct id128 name;
#define FIELD_TEXT(name, most) struct wire_text name;
#define FIELD_LIST(record, name, most)                                                             \
    const struct record_##record *name;                                                            \
    uint32_t n_##name;
#define location(name) struct location name;

struct wire_text {
    const char *bytes; /* not NUL-terminated; into the frame it was decoded from */
    uint32_t len;
};

#define R(name, table)                                                                             \
    struct record_##name {                                                                         \
        RECORD_##table(FIELD_NUM, FIELD_ID, FIELD_TEXT, FIELD_LIST)                                \
    };
RECORDS(R)
#undef R

#define M(number, since, name, table, what)                                                        \
    struct message_##name {                                                                        \
        FIELDS_##table(FIELD_NUM, FIELD_ID, FIELD_TEXT, FIELD_LIST)                                \
    };
MESSAGES(M)
#undef M
#undef location

struct message {
    enum message_type type;
    uint32_t request; /* chosen by the asker, repeated in the answer; 0 where unused */
    union {
#define M(number, since, name, table, what) struct message_##name name;
        MESSAGES(M)
#undef M
    } u;
};

#endif
