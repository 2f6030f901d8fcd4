/* SPDX-License-Identifier: Apache-2.0 */
/* attempt.c - the order of holders, and one more look-up for a page whose holders all let it go. */
#include "core/attempt.h"

#include <errno.h>

#include "peercache.h"

void attempt_begin(struct attempt *attempt)
{
    *attempt = (struct attempt){.outcome = PEERCACHE_MISS_UNKNOWN};
}

/* Higher is better; 0: not to be read.  A holder that is about to leave comes behind its like. */
static uint32_t rank(const struct core_view *view, const struct location *place)
{
    struct view_peer peer;
    if (place->holder == CORE_SELF)
        return 6;
    if (view_peer(view, place->holder, &peer) != 0)
        return 0;
    if (!view_peer_trusted(view, place->holder))
        return 1;
    return (peer.same_host ? 5 : 3) - (peer.state == MEMBER_DRAINING);
}

/* Equally good holders are told apart by chance that depends on the page and on the reader, so that
 * each of them gets its share of the pages of one call, and of the readers of one page. */
static uint64_t preference(const struct core_view *view, const struct locate_key *key,
                           const struct location *place)
{
    uint64_t number = (key->digest.lo ^ view->table_seed) + place->holder;
    number = (number ^ number >> 31) * UINT64_C(0x9e3779b97f4a7c15);
    return (uint64_t)rank(view, place) << 32 | number >> 32;
}

static bool choose(const struct attempt *attempt, const struct core_view *view,
                   const struct locate_key *key, uint32_t length_bytes, uint32_t *ret_place)
{
    uint64_t best = 0;
    for (uint32_t i = 0; i < key->n_places; i++) {
        if (attempt->tried >> i & 1 || key->places[i].length_bytes != length_bytes)
            continue;
        uint64_t value = preference(view, key, &key->places[i]);
        if (value >> 32 > 0 && value > best) {
            best = value;
            *ret_place = i;
        }
    }
    return best > 0;
}

static bool has_other_length(const struct locate_key *key, uint32_t length_bytes)
{
    for (uint32_t i = 0; i < key->n_places; i++)
        if (key->places[i].length_bytes != length_bytes)
            return true;
    return false;
}

/* A holder that is no member any more may have handed the page to another. */
static bool has_left(const struct core_view *view, const struct locate_key *key)
{
    for (uint32_t i = 0; i < key->n_places; i++)
        if (rank(view, &key->places[i]) == 0)
            return true;
    return false;
}

enum attempt_next attempt_next(struct attempt *attempt, const struct core_view *view,
                               const struct locate_key *key, uint32_t length_bytes,
                               uint32_t *ret_place)
{
    if (key->state == LOCATE_FAILED && attempt->outcome == PEERCACHE_MISS_UNKNOWN)
        attempt->outcome = PEERCACHE_MISS_PEER;
    if (key->state != LOCATE_FOUND)
        return ATTEMPT_GIVE_UP;
    if (choose(attempt, view, key, length_bytes, ret_place))
        return ATTEMPT_READ;
    if (has_other_length(key, length_bytes))
        attempt->outcome = PEERCACHE_MISS_LENGTH;
    bool is_old = attempt->outcome == PEERCACHE_MISS_EVICTED || has_left(view, key);
    if (!is_old || attempt->was_located_again)
        return ATTEMPT_GIVE_UP;
    attempt->was_located_again = true;
    attempt->tried = 0;
    return ATTEMPT_LOCATE_AGAIN;
}

bool attempt_is_stale(int error)
{
    return error == -ESTALE || error == -EBADMSG;
}

bool attempt_is_damaged(int error)
{
    return error == -EILSEQ;
}

static uint16_t outcome_of(int error)
{
    switch (error) {
    case -ESTALE:
    case -EBADMSG: return PEERCACHE_MISS_EVICTED;
    case -EILSEQ: return PEERCACHE_MISS_CHECKSUM;
    case -ETIMEDOUT: return PEERCACHE_MISS_DEADLINE;
    case -ESHUTDOWN: return PEERCACHE_REFUSED_CLOSED;
    default: return PEERCACHE_MISS_PEER;
    }
}

void attempt_failed(struct attempt *attempt, uint32_t place, int error)
{
    attempt->tried |= (uint8_t)(1u << place);
    attempt->outcome = outcome_of(error);
}
