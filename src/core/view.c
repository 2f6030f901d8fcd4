/* SPDX-License-Identifier: Apache-2.0 */
/* view.c - reading the core's tables from any thread; nothing here changes state. */
#include "core/view.h"

#include <errno.h>
#include <string.h>

#include "base/hash.h"
#include "base/protection.h"
#include "base/seqtable.h"
#include "core/directory.h"
#include "core/member.h"

struct id128 view_peer_key(uint16_t peer)
{
    return (struct id128){.hi = (uint64_t)(peer + 1) * UINT64_C(0x9e3779b97f4a7c15),
                          .lo = peer + 1};
}

/* Never zero, which a table does not take. */
struct id128 view_peer_id_key(uint64_t table_seed, struct id128 node_id, uint64_t incarnation)
{
    struct {
        struct id128 node_id;
        uint64_t incarnation;
    } life = {node_id, PROTECTED(holder_incarnation) ? incarnation : 0};
    struct id128 key = hash_bytes128(&life, sizeof life, table_seed);
    key.lo |= 1;
    return key;
}

void view_prefetch(const struct core_view *view, struct id128 digest)
{
    seqtable_prefetch(view->pool_index, digest);
    seqtable_prefetch(view->directory, digest);
}

int view_own_page(const struct core_view *view, struct id128 digest, struct location *ret_location)
{
    struct seqtable_value value;
    int error = seqtable_find(view->pool_index, digest, &value);
    if (error)
        return error;
    location_unpack(value.bytes, ret_location);
    return ret_location->length_bytes ? 0 : -ENOENT; /* 0: still being filled */
}

int view_holders(const struct core_view *view, struct id128 digest,
                 struct location ret_locations[CORE_HOLDERS_MAX])
{
    int n = directory_find(view->directory, view->directory_overflow, digest, ret_locations);
    int kept = 0;
    for (int i = 0; i < n; i++) {
        struct view_peer holder;
        if (view_peer(view, ret_locations[i].holder, &holder) == 0)
            ret_locations[kept++] = ret_locations[i];
    }
    return n < 0 ? n : kept;
}

int view_peer(const struct core_view *view, uint16_t peer, struct view_peer *ret_peer)
{
    struct seqtable_value value;
    int error = seqtable_find(view->peers, view_peer_key(peer), &value);
    if (error)
        return -ENOENT;
    memcpy(ret_peer, value.bytes, sizeof *ret_peer);
    return 0;
}

int view_peer_index(const struct core_view *view, struct id128 node_id, uint64_t incarnation,
                    uint16_t *ret_peer)
{
    struct seqtable_value value;
    if (seqtable_find(view->peer_ids, view_peer_id_key(view->table_seed, node_id, incarnation),
                      &value) != 0)
        return -ENOENT;
    memcpy(ret_peer, value.bytes, sizeof *ret_peer);
    return 0;
}

static bool is_alive(const struct core_view *view, uint16_t peer)
{
    struct view_peer info;
    return view_peer(view, peer, &info) == 0 && member_is_there(info.state);
}

bool view_peer_usable(const struct core_view *view, uint16_t peer, uint64_t now_ns)
{
    return peer == CORE_SELF ||
           (is_alive(view, peer) && breaker_allows(&view->breakers[peer], now_ns));
}

bool view_peer_trusted(const struct core_view *view, uint16_t peer)
{
    return peer == CORE_SELF || (is_alive(view, peer) && breaker_is_closed(&view->breakers[peer]));
}

/* Under an epoch that is over, cleared pages would be found and stored again, so "try again" is no
 * answer here.  The table is written only when a namespace is cleared, a bucket at a time. */
uint64_t view_epoch(const struct core_view *view, struct id128 identity)
{
    struct seqtable_value value;
    uint64_t epoch = 0;
    int error;
    do
        error = seqtable_find(view->epochs, identity, &value);
    while (error == -EAGAIN);
    if (error == 0)
        memcpy(&epoch, value.bytes, sizeof epoch);
    return epoch;
}

bool view_is_complete(const struct core_view *view, uint64_t hash)
{
    return hash != 0 &&
           atomic_load_explicit(&view->complete_ring_hash, memory_order_acquire) == hash;
}

uint64_t view_ring_hash(const struct core_view *view)
{
    const struct ring *ring = ring_borrow(view->rings);
    uint64_t hash = ring_hash(ring);
    ring_return(view->rings, ring);
    return hash;
}

/* The index of a holder in the answer's list, which it joins when it is new there. */
static int name_holder(const struct core_view *view, uint16_t peer, struct record_holder *holders,
                       uint32_t *n_holders)
{
    struct view_peer info;
    if (view_peer(view, peer, &info) != 0)
        return -ENOENT;
    for (uint32_t i = 0; i < *n_holders; i++)
        if (id128_equal(holders[i].node_id, info.node_id) &&
            holders[i].incarnation == info.incarnation)
            return (int)i;
    if (*n_holders == BATCH_MAX)
        return -ENOENT;
    holders[*n_holders] =
        (struct record_holder){.node_id = info.node_id, .incarnation = info.incarnation};
    return (int)(*n_holders)++;
}

static void answer_key(const struct core_view *view, uint16_t index, struct id128 digest,
                       struct record_holder *holders, struct record_found *found,
                       struct message_locations *answer, bool *complete)
{
    struct location places[CORE_HOLDERS_MAX];
    int n = view_holders(view, digest, places);
    if (n < 0)
        *complete = false;
    for (int i = 0; i < n && answer->n_found < FOUND_MAX; i++) {
        int holder = name_holder(view, places[i].holder, holders, &answer->n_holders);
        if (holder < 0) {
            *complete = false; /* gone since, or one holder too many for this answer */
            continue;
        }
        places[i].holder = (uint16_t)holder;
        found[answer->n_found++] = (struct record_found){.index = index, .place = places[i]};
    }
}

/* Completeness is read before the shard: what becomes complete meanwhile does not make an answer
 * complete that was looked up before. */
void view_answer_lookup(const struct core_view *view, const struct message_lookup *lookup,
                        struct record_holder *holders, struct record_found *found,
                        struct message_locations *ret_answer)
{
    bool complete = view_is_complete(view, lookup->ring_hash);
    *ret_answer = (struct message_locations){.holders = holders, .found = found};
    for (uint32_t i = 0; i < lookup->n_keys; i++)
        seqtable_prefetch(view->directory, lookup->keys[i].digest);
    for (uint32_t i = 0; i < lookup->n_keys; i++)
        answer_key(view, (uint16_t)i, lookup->keys[i].digest, holders, found, ret_answer,
                   &complete);
    ret_answer->complete = complete;
    ret_answer->ring_hash = view_ring_hash(view);
}
