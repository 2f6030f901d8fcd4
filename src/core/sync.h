/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sync.h - the one way of healing: a holder names to an owner what the owner should have.
 *
 * On a new connection that is everything: `sync` begins, every live page that the peer owns, `sync`
 * ends; the owner then sweeps what was not named.  When the ring changes it is what the peer has
 * gained, and `sync` gained says that it is all; once everybody has got theirs, and readers have
 * had time to hear of the new ring, the owners by the rings before are told to forget what they
 * lost. The own shard is synced in the same way without messages.
 */
#ifndef CORE_SYNC_H
#define CORE_SYNC_H

#include "core/core.h"
#include "core/directory.h"
#include "core/peers.h"
#include "core/pool.h"
#include "core/rings.h"
#include "core/update.h"

/* Set in the batch numbers of announces and retracts that belong to a sync; the number of their
 * entries stands below it. */
#define SYNC_BATCH UINT32_C(0x80000000)

/* Entries that may stand unanswered with a peer that has not granted any credit yet. */
enum { SYNC_FIRST_CREDIT = 32 };

struct sync;

struct sync_rooms {
    struct pool *pool;
    struct directory *directory;
    struct peers *peers;
    struct rings *rings;
    uint64_t patience_ns; /* from a ring change on until old owners forget */
};

/* The rooms stay the core's. */
int sync_new(const struct sync_rooms *rooms, struct sync **ret_sync);
void sync_free(struct sync *sync);

/* The peer has just been connected: it is told everything. */
void sync_connected(struct sync *sync, struct peer *peer);
/* The connection broke. */
void sync_peer_down(struct sync *sync, struct peer *peer);
/* rings_build() has made a new one. */
void sync_ring_changed(struct sync *sync, const struct update *update);
/* A reply to an announce or retract whose batch number has SYNC_BATCH. */
void sync_answered(struct sync *sync, struct peer *peer, uint32_t batch, uint32_t credit);

/* Goes on with all syncs, a bounded piece; true: there is more that nothing else will wake. */
bool sync_advance(struct sync *sync, struct update *update);

#endif
