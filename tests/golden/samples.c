/* SPDX-License-Identifier: Apache-2.0 */
/*
 * samples.c - one message of each type, written out by the names of its fields.
 *
 * By name, so that two fields of one width that change places in the schema change the golden
 * bytes.  Values differ from each other, and numbers use all their bytes, so that a lost or swapped
 * byte shows.  Constant data: the values are never changed, because the golden files hold them.
 */
#include "samples.h"

#include "base/check.h"

/* clang-format off */
#define TEXT(literal) {.bytes = literal, .len = sizeof(literal) - 1}
#define LIST(name, records) .name = records, .n_##name = sizeof(records) / sizeof *(records)

#define NODE_A {UINT64_C(0xa1a2a3a4a5a6a7a8), UINT64_C(0xa9aaabacadaeafa0)}
#define NODE_B {UINT64_C(0xb1b2b3b4b5b6b7b8), UINT64_C(0xb9babbbcbdbebfb0)}
#define BOOT {UINT64_C(0xc1c2c3c4c5c6c7c8), UINT64_C(0xc9cacbcccdcecfc0)}
#define DIGEST_A {UINT64_C(0xd1d2d3d4d5d6d7d8), UINT64_C(0xd9dadbdcdddedfd0)}
#define DIGEST_B {UINT64_C(0xe1e2e3e4e5e6e7e8), UINT64_C(0xe9eaebecedeeefe0)}

#define PLACE_A                                                                                   \
    {                                                                                             \
        .holder = 0x1122, .arena = 0x33, .slot = 0x44556677,                                      \
        .offset_bytes = UINT64_C(0x989abcdef) * LOCATION_OFFSET_UNIT_BYTES,                       \
        .length_bytes = 0x6543210, .generation = UINT64_C(0x8f7e6d5c4b3a), .tier = 1,             \
    }
/* Every field at its greatest value: the widths of the fields are in the golden bytes. */
#define PLACE_MOST                                                                                \
    {                                                                                             \
        .holder = UINT16_MAX, .arena = UINT8_MAX, .slot = UINT32_MAX,                             \
        .offset_bytes = ((UINT64_C(1) << 36) - 1) * LOCATION_OFFSET_UNIT_BYTES,                   \
        .length_bytes = (1 << 27) - 1, .generation = (UINT64_C(1) << 48) - 1, .tier = 3,          \
    }

static const struct record_member members[] = {
    {.node_id = NODE_A, .incarnation = UINT64_C(0x0102030405060708),
     .version = UINT64_C(0x1112131415161718), .state = MEMBER_ALIVE, .boot_id = BOOT,
     .uid = 0x21222324, .host = TEXT("host-a.example"), .control_port = 0x3132, .discovery_port = 0x3334,
     .pool_bytes = UINT64_C(0x4142434445464748), .seat = UINT64_C(0xf1f2f3f4f5f6f7f8)},
    {.node_id = NODE_B, .incarnation = UINT64_C(0x5152535455565758),
     .version = UINT64_C(0x6162636465666768), .state = MEMBER_SUSPECT, .boot_id = BOOT,
     .uid = 0x71727374, .host = TEXT("192.0.2.17"), .control_port = 0x8182, .discovery_port = 0x8384,
     .pool_bytes = UINT64_C(0x9192939495969798), .seat = UINT64_C(0xe9eaebecedeeefe1)},
};
static const struct record_member joining[] = {
    {.node_id = NODE_B, .incarnation = UINT64_C(0x0807060504030201),
     .version = UINT64_C(0x1817161514131211), .state = MEMBER_DRAINING, .boot_id = BOOT,
     .uid = 0x24232221, .host = TEXT("2001:db8::17"), .control_port = 0x3231, .discovery_port = 0x3433,
     .pool_bytes = UINT64_C(0x4847464544434241), .seat = UINT64_C(0xf8f7f6f5f4f3f2f1)},
};
static const struct record_entry entries[] = {
    {.digest = DIGEST_A, .place = PLACE_A},
    {.digest = DIGEST_B, .place = PLACE_MOST},
};
static const struct record_index refused[] = {{.index = 0x0102}, {.index = 0x0304}};
static const struct record_filling fillings[] = {
    {.digest = DIGEST_A, .generation = UINT64_C(0x0102030405060708)},
    {.digest = DIGEST_B, .generation = UINT64_C(0x1112131415161718)},
};
static const struct record_touched touched[] = {
    {.slot = 0x01020304, .generation = UINT64_C(0x1112131415161718)},
    {.slot = 0x21222324, .generation = UINT64_C(0x3132333435363738)},
};
static const struct record_stale stale[] = {
    {.digest = DIGEST_A, .node_id = NODE_B, .incarnation = UINT64_C(0x0102030405060708),
     .generation = UINT64_C(0x1112131415161718)},
};
static const struct record_epoch epochs[] = {
    {.identity = DIGEST_A, .epoch = UINT64_C(0x0102030405060708)},
    {.identity = DIGEST_B, .epoch = UINT64_C(0x1112131415161718)},
};
static const struct record_key keys[] = {{.digest = DIGEST_A}, {.digest = DIGEST_B}};
static const struct record_holder holders[] = {
    {.node_id = NODE_A, .incarnation = UINT64_C(0x0102030405060708)},
    {.node_id = NODE_B, .incarnation = UINT64_C(0x1112131415161718)},
};
static const struct record_found found[] = {
    {.index = 0x0102, .place = PLACE_A},
    {.index = 0x0304, .place = PLACE_MOST},
};
static const struct record_index hot[] = {{.index = 0x0506}};
static const struct record_wanted wanted[] = {
    {.digest = DIGEST_B, .place = PLACE_A},
    {.digest = DIGEST_A, .place = PLACE_MOST},
};
static const struct record_status statuses[] = {
    {.error = -71, .generation = UINT64_C(0x0102030405060708), .length_bytes = 0x11121314,
     .checksum = UINT64_C(0x2122232425262728)},
    {.error = 0x31323334, .generation = UINT64_C(0x4142434445464748), .length_bytes = 0x51525354,
     .checksum = UINT64_C(0x6162636465666768)},
};

static const struct record_queue queues[] = {
    {.number = 0x01020304, .first_psn = 0x11121314},
    {.number = 0x21222324, .first_psn = 0x31323334},
};
static const struct record_slice slices[] = {{.remote_key = 0x41424344}, {.remote_key = 0x51525354}};
#define ADAPTER                                                                                   \
    .rail = 0x61, .link = 0x62, .gid_type = 0x63, .gid = BOOT, .lid = 0x7172,                     \
    .mtu_bytes = 0x81828384, .reads_served = 0x91, .reads_asked = 0x92, LIST(queues, queues)

#define SAMPLE(name) [MESSAGE_##name] = {.type = MESSAGE_##name, .request = 0xf1f2f3f4, .u.name =

static const struct message samples[MESSAGE_TYPE_END] = {
    SAMPLE(hello) {.version_min = 0x0102, .version_max = 0x0304, .auth = 0x05,
        .purpose = PURPOSE_TOOL, .capabilities = UINT64_C(0x1112131415161718),
        .cluster = TEXT("production"), .node_id = NODE_A,
        .incarnation = UINT64_C(0x2122232425262728), .boot_id = BOOT,
        .ring_hash = UINT64_C(0x3132333435363738), .vnodes = 0x41424344,
        .directory_replicas = 0x51}},
    SAMPLE(refuse) {.error = -93, .reason = TEXT("this is cluster 'test', not 'production'")}},
    SAMPLE(join) {.table = UINT64_C(0x2122232425262728),
        .known_version = UINT64_C(0x3132333435363738), LIST(members, joining)}},
    SAMPLE(heartbeat) {.node_id = NODE_A, .incarnation = UINT64_C(0x0102030405060708),
        .counter = UINT64_C(0x1112131415161718), .table = UINT64_C(0x2122232425262728),
        .known_version = UINT64_C(0x3132333435363738)}},
    SAMPLE(members) {.table = UINT64_C(0xe1e2e3e4e5e6e7e8),
        .version = UINT64_C(0xf1f2f3f4f5f6f7f8), .fresh = 0x11, .whole = 0x22, .listed = 0x33,
        LIST(members, members)}},
    SAMPLE(leave) {.node_id = NODE_B, .incarnation = UINT64_C(0x0102030405060708)}},
    SAMPLE(announce) {.batch = 0x01020304, LIST(entries, entries)}},
    SAMPLE(announced) {.batch = 0x01020304, .credit = 0x11121314, LIST(refused, refused)}},
    SAMPLE(retract) {.batch = 0x01020304, LIST(entries, fillings)}},
    SAMPLE(sync) {.kind = SYNC_ENDS, .ring_hash = UINT64_C(0x0102030405060708)}},
    SAMPLE(touch) {LIST(slots, touched)}},
    SAMPLE(stale) {LIST(entries, stale)}},
    SAMPLE(epochs) {.batch = 0x01020304, LIST(entries, epochs)}},
    SAMPLE(heard) {.batch = 0x01020304}},
    SAMPLE(lookup) {.ring_hash = UINT64_C(0x0102030405060708), .reader = 0x11121314,
        LIST(keys, keys)}},
    SAMPLE(locations) {.complete = 1, .ring_hash = UINT64_C(0x0102030405060708),
        LIST(holders, holders), LIST(found, found), LIST(hot, hot)}},
    SAMPLE(read) {LIST(pages, wanted)}},
    SAMPLE(payload) {LIST(pages, statuses)}},
    SAMPLE(request) {.json = TEXT("{\"what\": \"status\"}"),
        .body_len_bytes = UINT64_C(0x0102030405060708)}},
    SAMPLE(answer) {.error = -110, .json_len_bytes = 0x01020304,
        .body_len_bytes = UINT64_C(0x1112131415161718)}},
    SAMPLE(pair) {ADAPTER}},
    SAMPLE(paired) {.error = -95, .reason = TEXT("no adapter reaches yours"), ADAPTER,
        .base_addr = UINT64_C(0x0102030405060708), .headers_addr = UINT64_C(0x1112131415161718),
        .payload_addr = UINT64_C(0x2122232425262728),
        .payload_bytes = UINT64_C(0x3132333435363738), .slot_count = 0xa1a2a3a4,
        LIST(slices, slices)}},
};
/* clang-format on */

const struct message *samples_get(enum message_type type)
{
    CHECK(type > 0 && type < MESSAGE_TYPE_END);
    CHECK(samples[type].type == type);
    return &samples[type];
}
