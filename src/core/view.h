/* SPDX-License-Identifier: Apache-2.0 */
/*
 * view.h - questions about the core that any thread may ask at any time, without waiting.
 *
 * The core writes fixed-size tables with one writer; these functions read them and return copies.
 * A false "not here" is possible while a table grows; a false "here" is not, and what a view
 * says is verified where it matters: by the slot's word when its bytes are read.
 */
#ifndef CORE_VIEW_H
#define CORE_VIEW_H

#include "core/breaker.h"
#include "core/core.h"
#include "core/ring.h"

struct demand;
struct seqtable;

struct core_view {
    uint64_t table_seed;
    uint32_t directory_replicas;
    struct slot_header *headers;
    uint32_t slot_count;
    struct seqtable *pool_index;         /* page digest -> own location */
    struct seqtable *directory;          /* page digest -> up to two packed locations */
    struct seqtable *directory_overflow; /* page digest -> two more */
    struct seqtable *peers;              /* peer index -> struct view_peer */
    struct seqtable *peer_ids;           /* node id and incarnation -> peer index */
    struct seqtable *epochs;             /* identity of a namespace -> epoch */
    struct ring_set *rings;
    struct demand *demand;    /* of readers for pages of the own shard */
    uint32_t reader;          /* what this host is called there; 0: readers publish nothing */
    struct breaker *breakers; /* by peer index; written by any thread */
    _Atomic(uint64_t) complete_ring_hash; /* of the ring for which the own shard knows all, or 0 */
};

struct view_peer {
    struct id128 node_id;
    uint64_t incarnation;
    uint8_t state; /* enum member_state */
    uint8_t same_host;
    uint32_t host; /* demand_host() of its boot id */
};

/* Questions about this page follow soon: what answers them is fetched into the cache meanwhile. */
void view_prefetch(const struct core_view *view, struct id128 digest);
/* A page in the own pool: 0, -ENOENT or -EAGAIN. */
int view_own_page(const struct core_view *view, struct id128 digest, struct location *ret_location);
/* Holders in the own shard that are not dead: their number or -EAGAIN. */
int view_holders(const struct core_view *view, struct id128 digest,
                 struct location ret_locations[CORE_HOLDERS_MAX]);
/* 0 or -ENOENT. */
int view_peer(const struct core_view *view, uint16_t peer, struct view_peer *ret_peer);
/* The peer index of one life of a node: 0 or -ENOENT. */
int view_peer_index(const struct core_view *view, struct id128 node_id, uint64_t incarnation,
                    uint16_t *ret_peer);
/* Alive by what discovery says, and its breaker closed (or this call is the probe). */
bool view_peer_usable(const struct core_view *view, uint16_t peer, uint64_t now_ns);
/* The same, without using up the probe: what exists and set count as a holder. */
bool view_peer_trusted(const struct core_view *view, uint16_t peer);
uint64_t view_epoch(const struct core_view *view, struct id128 identity);
/* Whether "not here" of the own shard is final for a reader with this ring. */
bool view_is_complete(const struct core_view *view, uint64_t hash);
uint64_t view_ring_hash(const struct core_view *view);

/* Answers a look-up of another node from the own shard.  @holders and @found are memory for the
 * answer's lists, of BATCH_MAX and FOUND_MAX. */
void view_answer_lookup(const struct core_view *view, const struct message_lookup *lookup,
                        struct record_holder *holders, struct record_found *found,
                        struct message_locations *ret_answer);

/* --- for the core, which writes what views read --- */

struct id128 view_peer_key(uint16_t peer);
struct id128 view_peer_id_key(uint64_t table_seed, struct id128 node_id, uint64_t incarnation);

#endif
