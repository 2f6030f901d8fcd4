/* SPDX-License-Identifier: Apache-2.0 */
/*
 * locate.c - own pool, own shard, then the owners one after another until one is sure.
 *
 * "Not here" is final only from an owner by the newest ring that knows all: its ring is the
 * asker's, and every alive member has named its pages to it.  Owners by the ring before are asked
 * last.  An owner that cannot be asked costs the other keys nothing.
 */
#include "core/locate.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/protection.h"
#include "core/invite.h"

enum verdict { UNDECIDED = 0, USABLE, UNUSABLE };

/* Any owner may answer, and the own shard does so without a journey. */
static void put_self_first(struct locate_key *key)
{
    for (uint8_t i = 1; i < key->n_present; i++)
        if (key->owners[i] == CORE_SELF) {
            key->owners[i] = key->owners[0];
            key->owners[0] = CORE_SELF;
        }
}

/* While owners are told of what a new ring gives them, those by the ring before know it still. */
static void add_owners_before(const struct ring *before, uint32_t replicas, struct locate_key *key)
{
    uint16_t owners[CORE_OWNERS_MAX];
    uint32_t n = ring_owners(before, key->ring_position, replicas, owners);
    for (uint32_t i = 0; i < n; i++) {
        bool is_present = false;
        for (uint8_t j = 0; j < key->n_present; j++)
            is_present |= key->owners[j] == owners[i];
        if (!is_present)
            key->owners[key->n_owners++] = owners[i];
    }
}

static void find_owners(struct locate *locate)
{
    const struct ring *ring = ring_borrow(locate->view->rings);
    const struct ring *before =
        PROTECTED(ring_before) ? ring_borrow_before(locate->view->rings) : NULL;
    uint32_t replicas = locate->view->directory_replicas;
    locate->ring_hash = ring_hash(ring);
    for (uint32_t i = 0; i < locate->n; i++)
        view_prefetch(locate->view, locate->keys[i].digest);
    for (uint32_t i = 0; i < locate->n; i++) {
        struct locate_key *key = &locate->keys[i];
        key->n_present = key->n_owners =
            (uint8_t)ring_owners(ring, key->ring_position, replicas, key->owners);
        put_self_first(key);
        if (before)
            add_owners_before(before, replicas, key);
    }
    ring_return(locate->view->rings, before);
    ring_return(locate->view->rings, ring);
}

void locate_begin(struct locate *locate, const struct core_view *view, struct locate_key *keys,
                  uint32_t n)
{
    CHECK(n <= LOCATE_KEYS_MAX);
    locate->view = view;
    locate->keys = keys;
    locate->n = n;
    locate->is_read = false;
    find_owners(locate);
    for (uint32_t i = 0; i < n; i++) {
        struct locate_key *key = &keys[i];
        key->state = LOCATE_PENDING;
        key->n_places = key->owner = 0;
        key->was_answered = key->is_hot = false;
        if (view_own_page(view, key->digest, &key->places[0]) == 0) {
            key->n_places = 1;
            key->state = LOCATE_FOUND;
        }
    }
}

static bool has_place(const struct locate_key *key, const struct location *place)
{
    for (uint32_t i = 0; i < key->n_places; i++)
        if (key->places[i].holder == place->holder &&
            key->places[i].generation == place->generation)
            return true;
    return false;
}

/* The page may have come here meanwhile; what was read here in vain is not believed again. */
void locate_again(struct locate *locate, uint32_t index)
{
    struct locate_key *key = &locate->keys[index];
    struct location own;
    bool is_here = view_own_page(locate->view, key->digest, &own) == 0 && !has_place(key, &own);
    key->state = is_here ? LOCATE_FOUND : LOCATE_PENDING;
    key->n_places = is_here;
    key->owner = 0;
    key->was_answered = false;
    if (is_here)
        key->places[0] = own;
}

static void next_owner(struct locate_key *key)
{
    if (++key->owner >= key->n_owners)
        key->state = key->was_answered ? LOCATE_UNKNOWN : LOCATE_FAILED;
}

static void add_place(struct locate_key *key, const struct location *place)
{
    if (place->length_bytes == 0 || key->n_places == LOCATE_PLACES_MAX)
        return;
    for (uint32_t i = 0; i < key->n_places; i++)
        if (key->places[i].holder == place->holder)
            return;
    key->places[key->n_places++] = *place;
}

static void conclude(struct locate_key *key, bool is_final)
{
    if (key->n_places > 0) {
        key->state = LOCATE_FOUND;
    } else if ((is_final && key->owner < key->n_present) || !PROTECTED(lookup_fallback)) {
        key->state = LOCATE_UNKNOWN;
    } else {
        key->was_answered |= key->owner < key->n_present;
        next_owner(key);
    }
}

static void ask_own_shard(const struct locate *locate, struct locate_key *key, uint64_t now_ns)
{
    bool complete = view_is_complete(locate->view, locate->ring_hash);
    struct location places[CORE_HOLDERS_MAX];
    int n = view_holders(locate->view, key->digest, places);
    bool is_vague = n < 0;
    for (int i = 0; i < n; i++)
        if (places[i].holder != CORE_SELF)
            add_place(key, &places[i]);
        else
            is_vague = true; /* own pages were looked up where they are, and it is not there */
    key->is_hot = locate->is_read &&
                  invite_self(locate->view, key->digest, key->places, key->n_places, now_ns);
    conclude(key, complete && !is_vague);
}

/* Moves a pending key on to an owner that can be asked now, or to its end. */
static void settle(const struct locate *locate, struct locate_key *key, uint64_t now_ns,
                   uint8_t verdicts[CORE_PEERS_MAX])
{
    if (key->n_owners == 0)
        key->state = LOCATE_FAILED;
    while (key->state == LOCATE_PENDING) {
        uint16_t owner = key->owners[key->owner];
        if (owner == CORE_SELF) {
            ask_own_shard(locate, key, now_ns);
            continue;
        }
        if (verdicts[owner] == UNDECIDED)
            verdicts[owner] = view_peer_usable(locate->view, owner, now_ns) ? USABLE : UNUSABLE;
        if (verdicts[owner] == USABLE)
            return;
        next_owner(key);
    }
}

static uint16_t owner_of(const struct locate *locate, uint16_t index)
{
    const struct locate_key *key = &locate->keys[index];
    return key->owners[key->owner];
}

/* By counting: the keys of one owner side by side, in the caller's order. */
static void sort_by_owner(struct locate *locate, uint32_t n)
{
    uint16_t counts[CORE_PEERS_MAX + 1] = {0}, sorted[LOCATE_KEYS_MAX];
    for (uint32_t i = 0; i < n; i++)
        counts[owner_of(locate, locate->order[i]) + 1]++;
    for (uint32_t i = 1; i <= CORE_PEERS_MAX; i++)
        counts[i] += counts[i - 1];
    for (uint32_t i = 0; i < n; i++)
        sorted[counts[owner_of(locate, locate->order[i])]++] = locate->order[i];
    memcpy(locate->order, sorted, n * sizeof *sorted);
}

uint32_t locate_plan(struct locate *locate, uint64_t now_ns,
                     struct locate_ask ret_asks[LOCATE_ASKS_MAX])
{
    uint8_t verdicts[CORE_PEERS_MAX] = {UNDECIDED};
    uint32_t n_pending = 0, n_asks = 0;
    for (uint32_t i = 0; i < locate->n; i++) {
        settle(locate, &locate->keys[i], now_ns, verdicts);
        if (locate->keys[i].state == LOCATE_PENDING)
            locate->order[n_pending++] = (uint16_t)i;
    }
    if (n_pending == 0)
        return 0;
    sort_by_owner(locate, n_pending);
    for (uint32_t first = 0, end; first < n_pending && n_asks < LOCATE_ASKS_MAX; first = end) {
        uint16_t peer = owner_of(locate, locate->order[first]);
        for (end = first; end < n_pending && end - first < BATCH_MAX &&
                          owner_of(locate, locate->order[end]) == peer;)
            end++;
        ret_asks[n_asks++] = (struct locate_ask){.peer = peer, .first = first, .n = end - first};
    }
    return n_asks;
}

void locate_fill_lookup(const struct locate *locate, const struct locate_ask *ask,
                        struct record_key *keys, struct message_lookup *ret_lookup)
{
    for (uint32_t i = 0; i < ask->n; i++)
        keys[i].digest = locate->keys[locate->order[ask->first + i]].digest;
    *ret_lookup = (struct message_lookup){.ring_hash = locate->ring_hash,
                                          .reader = locate->is_read ? locate->view->reader : 0,
                                          .keys = keys,
                                          .n_keys = ask->n};
}

/* Holders that this node does not know, or only in another life, are no holders, nor is this node,
 * which has looked: false, and then another owner may name one that is. */
static bool take_found(struct locate *locate, const struct locate_ask *ask,
                       const struct message_locations *answer, const struct record_found *found)
{
    struct location place = found->place;
    uint16_t holder;
    const struct record_holder *named = &answer->holders[place.holder];
    if (view_peer_index(locate->view, named->node_id, named->incarnation, &holder) != 0)
        return false;
    if (holder == CORE_SELF)
        return false;
    place.holder = holder;
    add_place(&locate->keys[locate->order[ask->first + found->index]], &place);
    return true;
}

void locate_answer(struct locate *locate, const struct locate_ask *ask,
                   const struct message_locations *answer)
{
    bool is_vague[BATCH_MAX] = {false};
    for (uint32_t i = 0; i < answer->n_found; i++) {
        const struct record_found *found = &answer->found[i];
        if (found->index < ask->n && found->place.holder < answer->n_holders)
            is_vague[found->index] |= !take_found(locate, ask, answer, found);
    }
    for (uint32_t i = 0; i < answer->n_hot; i++)
        if (answer->hot[i].index < ask->n)
            locate->keys[locate->order[ask->first + answer->hot[i].index]].is_hot = true;
    for (uint32_t i = 0; i < ask->n; i++)
        conclude(&locate->keys[locate->order[ask->first + i]], answer->complete && !is_vague[i]);
}

void locate_fail(struct locate *locate, const struct locate_ask *ask)
{
    for (uint32_t i = 0; i < ask->n; i++) {
        struct locate_key *key = &locate->keys[locate->order[ask->first + i]];
        if (!PROTECTED(owner_failover))
            key->owner = key->n_owners;
        next_owner(key);
    }
}

bool locate_is_there(const struct locate *locate, const struct locate_key *key)
{
    for (uint32_t i = 0; key->state == LOCATE_FOUND && i < key->n_places; i++)
        if (view_peer_trusted(locate->view, key->places[i].holder))
            return true;
    return false;
}
