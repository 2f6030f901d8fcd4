/* SPDX-License-Identifier: Apache-2.0 */
/*
 * option.h - the one table of all options: C API, command lines, environment, Python, SGLang.
 *
 * A line is: kind, name, default, least, most, choices, help.  From it come the field of struct
 * options, its default, the parser, the listings and the error texts.  Least and most are in bytes
 * (SIZE, and the length of a TEXT), nanoseconds (SECONDS) or plain numbers.
 *
 *     kind      written as                     field
 *     TEXT      any printable text             char NAME[256]
 *     SIZE      512mb, 8gb, 64GiB, 4096        uint64_t NAME_bytes   (mb is MiB: 1,048,576)
 *     SECONDS   2, 0.5, 500ms                  uint64_t NAME_ns
 *     COUNT     3                              uint32_t NAME
 *     INDEX     3, or auto                     int32_t NAME          (auto is -1)
 *     PORT      31998; 0 is any free port      uint16_t NAME
 *     FLAG      true, false, yes, 0 ...        bool NAME
 *     CHOICE    one of a few words             int NAME              (the enum of its choices)
 *
 * Whether a value makes sense on this machine (memory, devices, addresses) is for the node to say.
 */
#ifndef BASE_OPTION_H
#define BASE_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"

enum { OPTION_TEXT_BYTES = 256, OPTION_ERROR_BYTES = 256 };

/* Ports that are the same everywhere unless somebody says otherwise. */
enum { OPTION_DISCOVERY_PORT = 31998, OPTION_METRICS_PORT = 31997 };

/* value, text: each list becomes an enum, in this order */
#define OPTION_PROTOCOLS(C)                                                                        \
    C(OPTION_PROTOCOL_AUTO, "auto")                                                                \
    C(OPTION_PROTOCOL_TCP, "tcp")                                                                  \
    C(OPTION_PROTOCOL_SHM, "shm")                                                                  \
    C(OPTION_PROTOCOL_RDMA, "rdma")
#define OPTION_VERIFIES(C)                                                                         \
    C(OPTION_VERIFY_HEADER, "header")                                                              \
    C(OPTION_VERIFY_CHECKSUM, "checksum")
#define OPTION_AUTHS(C) C(OPTION_AUTH_NONE, "none")
/* What other caches let one choose, and this one does in one way: the words for that way. */
#define OPTION_MODES(C)                                                                            \
    C(OPTION_MODE_AUTO, "auto")                                                                    \
    C(OPTION_MODE_EMBEDDED, "embedded")                                                            \
    C(OPTION_MODE_P2P, "p2p")
#define OPTION_ROLES(C)                                                                            \
    C(OPTION_ROLE_AUTO, "auto")                                                                    \
    C(OPTION_ROLE_BOTH, "both")
#define OPTION_WRITE_POLICIES(C)                                                                   \
    C(OPTION_WRITE_POLICY_AUTO, "auto")                                                            \
    C(OPTION_WRITE_POLICY_WRITE_THROUGH, "write_through")

#define OPTION_ENUM(value, text) value,
#define OPTION_WORD(value, text) text "|"
enum option_protocol { OPTION_PROTOCOLS(OPTION_ENUM) };
enum option_verify { OPTION_VERIFIES(OPTION_ENUM) };
enum option_auth { OPTION_AUTHS(OPTION_ENUM) };
enum option_mode { OPTION_MODES(OPTION_ENUM) };
enum option_role { OPTION_ROLES(OPTION_ENUM) };
enum option_write_policy { OPTION_WRITE_POLICIES(OPTION_ENUM) };

#define OPTION_MIB (UINT64_C(1) << 20)
#define OPTION_TIB (UINT64_C(1) << 40)
#define OPTION_MS UINT64_C(1000000)
#define OPTION_HOUR (UINT64_C(3600) * 1000 * OPTION_MS)

/* clang-format off */
#define OPTIONS(O)                                                                                 \
    O(TEXT, discovery_addr, "", 0, 255, NULL,                                                      \
      "where other members are found: host:port of the head, or a list of seeds with commas, the " \
      "same on all nodes (port 31998 if left out), IPv6 in brackets; a name with several addresses " \
      "is a list of them; empty: a cluster of one")                                                \
    O(COUNT, max_masters, "3", 1, 16, NULL,                                                        \
      "how many hosts keep the member list at a time: the first of discovery_addr, and others in " \
      "a fixed order")                                                                             \
    O(TEXT, cluster_name, "default", 1, 63, NULL,                                                  \
      "nodes of another cluster name are refused")                                                 \
    O(TEXT, tag, "", 0, 255, NULL,                                                                 \
      "keeps the pages of tenants apart: pages of another tag are never found")                    \
    O(TEXT, node_id, "", 0, 32, NULL,                                                              \
      "32 hexadecimal digits; empty: that of a seat in state_dir, or a random one")                \
    O(TEXT, state_dir, "", 0, 255, NULL,                                                           \
      "folder in which the nodes of a host keep over restarts their ids, a locked seat each, and " \
      "whom they knew; empty: a new id at every start")                                            \
    O(TEXT, local_hostname, "", 0, 63, NULL,                                                       \
      "name or address under which others reach this node; empty: chosen by the way to "           \
      "discovery_addr")                                                                            \
    O(TEXT, bind_host, "", 0, 63, NULL,                                                            \
      "address to listen on; empty: that of local_hostname, or 127.0.0.1 where local_hostname "    \
      "is empty and discovery_addr is empty or on this host")                                      \
    O(PORT, control_port, "0", 0, 65535, NULL,                                                     \
      "TCP port of this node; 0: any free one, told to the others")                                \
    O(CHOICE, protocol, "auto", 0, 0, OPTION_PROTOCOLS(OPTION_WORD),                               \
      "how page bytes travel: auto takes shared memory on the same host, RDMA where both sides "   \
      "have a device that works, and TCP otherwise; shm misses the pages of other hosts and "      \
      "other users, rdma those to which there is no RDMA; a protocol that is named and does not "  \
      "work on this node is an error")                                                             \
    O(TEXT, device_names, "", 0, 255, NULL,                                                        \
      "RDMA devices to use, separated by commas, all at once; empty: one that works, near by")     \
    O(COUNT, ib_port, "1", 1, 255, NULL,                                                           \
      "port of the RDMA devices")                                                                  \
    O(INDEX, gid_index, "auto", 0, 255, NULL,                                                      \
      "index of the RDMA devices' global identifier, or auto")                                     \
    O(COUNT, service_level, "0", 0, 15, NULL,                                                      \
      "InfiniBand service level, or RoCE priority, of RDMA connections")                           \
    O(COUNT, traffic_class, "0", 0, 255, NULL,                                                     \
      "traffic class of RDMA connections: with RoCE v2 the DSCP in its upper six bits")            \
    O(PORT, rdma_port, "0", 0, 65535, NULL,                                                        \
      "0, or what control_port is: RDMA is set up over that port, and another one is refused")     \
    O(COUNT, max_channels_per_peer, "4", 1, 64, NULL,                                              \
      "data connections to one peer; a call borrows one")                                          \
    O(COUNT, serve_threads, "2", 1, 16, NULL,                                                      \
      "threads that answer other nodes")                                                           \
    O(SIZE, global_segment_size, "4gb", OPTION_MIB, 4 * OPTION_TIB, NULL,                          \
      "memory for pages on this node")                                                             \
    O(COUNT, directory_limit, "0", 0, UINT32_MAX, NULL,                                            \
      "entries that this node keeps for others; 0: derived from global_segment_size")              \
    O(COUNT, directory_replicas, "2", 1, 4, NULL,                                                  \
      "nodes that know where a page is; the same on all nodes")                                    \
    O(COUNT, vnodes, "160", 1, 1024, NULL,                                                         \
      "points of each node on the ring; the same on all nodes")                                    \
    O(FLAG, hot_pages, "true", 0, 0, NULL,                                                         \
      "a page that readers on several hosts keep asking for is kept by some of them too")          \
    O(CHOICE, verify, "header", 0, 0, OPTION_VERIFIES(OPTION_WORD),                                \
      "how a page read from a peer is checked: by its slot's header, or by its bytes' checksum "   \
      "as well")                                                                                   \
    O(CHOICE, auth, "none", 0, 0, OPTION_AUTHS(OPTION_WORD),                                       \
      "how members prove who they are: this release has no method but none")                       \
    O(SECONDS, get_timeout, "2", OPTION_MS, OPTION_HOUR, NULL,                                     \
      "a get ends after this time, with what it has")                                              \
    O(SECONDS, set_timeout, "2", OPTION_MS, OPTION_HOUR, NULL,                                     \
      "a set ends after this time; what is stored by then stays")                                  \
    O(SECONDS, exists_timeout, "0.5", OPTION_MS, OPTION_HOUR, NULL,                                \
      "an exists ends after this time, with what it knows")                                        \
    O(SECONDS, drain_timeout, "5", 0, OPTION_HOUR, NULL,                                           \
      "a node that is told to leave hands its pages to others for so long at most; 0: to none")    \
    O(SECONDS, heartbeat_interval, "2", 10 * OPTION_MS, OPTION_HOUR, NULL,                         \
      "time between two signs of life")                                                            \
    O(SECONDS, member_ttl, "6", 20 * OPTION_MS, OPTION_HOUR, NULL,                                 \
      "a member silent for this time is not asked any more")                                       \
    O(SECONDS, ring_grace, "30", 20 * OPTION_MS, 24 * OPTION_HOUR, NULL,                           \
      "a member silent for this time is off the ring")                                             \
    O(FLAG, disk_enabled, "false", 0, 0, NULL,                                                     \
      "keep pages on disk too")                                                                    \
    O(TEXT, disk_path, "/data/peercache", 1, 255, NULL,                                            \
      "folder for pages on disk")                                                                  \
    O(SIZE, disk_size, "100gb", OPTION_MIB, 1024 * OPTION_TIB, NULL,                               \
      "disk space for pages of this node")                                                         \
    O(FLAG, metrics_enabled, "false", 0, 0, NULL,                                                  \
      "serve metrics over HTTP")                                                                   \
    O(PORT, metrics_port, "31997", 0, 65535, NULL,                                                 \
      "port of the metrics; 0: any free one")                                                      \
    O(TEXT, metrics_bind_host, "127.0.0.1", 1, 63, NULL,                                           \
      "address on which metrics are served")                                                       \
    O(CHOICE, log_level, "info", 0, 0, LOG_LEVELS(OPTION_WORD),                                    \
      "least grave events that are logged")                                                        \
    O(CHOICE, mode, "auto", 0, 0, OPTION_MODES(OPTION_WORD),                                       \
      "every node lives in its process and is equal to the others; there is no other mode")        \
    O(CHOICE, role, "auto", 0, 0, OPTION_ROLES(OPTION_WORD),                                       \
      "every node both stores and reads pages; there is no other role")                            \
    O(CHOICE, write_policy, "auto", 0, 0, OPTION_WRITE_POLICIES(OPTION_WORD),                      \
      "a set stores its pages before it returns; there is no other policy")
/* clang-format on */

#define OPTION_FIELD_TEXT(name) char name[OPTION_TEXT_BYTES];
#define OPTION_FIELD_SIZE(name) uint64_t name##_bytes;
#define OPTION_FIELD_SECONDS(name) uint64_t name##_ns;
#define OPTION_FIELD_COUNT(name) uint32_t name;
#define OPTION_FIELD_INDEX(name) int32_t name;
#define OPTION_FIELD_PORT(name) uint16_t name;
#define OPTION_FIELD_FLAG(name) bool name;
#define OPTION_FIELD_CHOICE(name) int name;

struct options {
#define O(kind, name, text, least, most, choices, help) OPTION_FIELD_##kind(name)
    OPTIONS(O)
#undef O
};

enum option_kind {
    OPTION_TEXT,
    OPTION_SIZE,
    OPTION_SECONDS,
    OPTION_COUNT,
    OPTION_INDEX,
    OPTION_PORT,
    OPTION_FLAG,
    OPTION_CHOICE,
};

/* A line of the table, for listings. */
struct option {
    const char *name, *default_text, *help;
    const char *choices; /* "auto|tcp|...|", each with a bar behind it; NULL unless a choice */
    enum option_kind kind;
    uint64_t least, most;
    size_t offset; /* of the field in struct options */
};

void options_init_defaults(struct options *ret_options);
/* Sets an option by its name (or an alias; "-" counts as "_").  0; -ENOENT: there is none, and the
 * text names the nearest; -EINVAL: the text says what is accepted.  Nothing changes then. */
int option_set(struct options *options, const char *name, const char *value,
               char ret_error[OPTION_ERROR_BYTES]);
/* What each option accepts alone and not together: 0, or -EINVAL and the reason. */
int options_check(const struct options *options, char ret_error[OPTION_ERROR_BYTES]);
/* The value as option_set() would take it; -ENOENT. */
int option_get_text(const struct options *options, const char *name,
                    char ret_text[OPTION_TEXT_BYTES]);

/* The option that @name, which is none, was probably meant to be; NULL: nothing is near. */
const char *option_nearest(const char *name);
/* By name or alias; NULL. */
const struct option *option_find(const char *name);
/* 0, 1, ... in the order of the table, until NULL. */
const struct option *option_at(size_t index);

#endif
