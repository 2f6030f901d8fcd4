/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sync.h - the one way of healing: a holder names to an owner all that the owner should have.
 *
 * On a new connection, and when the ring changes, this node says `sync` begin, announces every live
 * page that the peer owns, and says `sync` end; the owner then sweeps what was not named.  The own
 * shard is synced in the same way without messages.
 */
#ifndef CORE_SYNC_H
#define CORE_SYNC_H

#include "core/core.h"
#include "core/directory.h"
#include "core/peers.h"
#include "core/pool.h"
#include "core/ring.h"
#include "core/update.h"

/* Set in the batch numbers of announces that belong to a sync. */
#define SYNC_BATCH UINT32_C(0x80000000)

struct sync_rooms {
    struct pool *pool;
    struct directory *directory;
    struct peers *peers;
    struct ring_set *rings;
    uint32_t replicas;
};

/* From now on the peer wants a whole sync: it has just been connected, or the ring is new. */
void sync_want(struct peer *peer);
/* Goes on with all syncs, a bounded piece; true: there is more that nothing else will wake. */
bool sync_advance(const struct sync_rooms *rooms, struct update *update);
/* A reply to an announce whose batch number has SYNC_BATCH. */
void sync_announced(struct peer *peer);
/* The connection broke. */
void sync_peer_down(struct peer *peer);

#endif
