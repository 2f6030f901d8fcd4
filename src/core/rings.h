/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rings.h - the rings that count: the newest one, and those before it by which some owner may still
 * have entries of this holder.  The core only; other threads read the ring_set.
 *
 * A change of the ring is over when the owners by the newest ring have been told what they gained,
 * and those by the ones before it to forget what they lost (sync.c).  Until then what becomes known
 * of a page is told to the owners by all of them, and readers may fall back to an older one.
 *
 * A ring is named by its serial number; 0 is none.  What was told under a serial below `first` can
 * no longer be compared with: it has to be told as a whole.
 */
#ifndef CORE_RINGS_H
#define CORE_RINGS_H

#include "core/core.h"
#include "core/ring.h"

enum { RINGS_MAX = 4, RINGS_OWNERS_MAX = RINGS_MAX * CORE_OWNERS_MAX };

struct rings {
    struct ring_set *set;
    uint32_t replicas;
    uint32_t n;                         /* of ring[]; 0 before the first ring */
    const struct ring *ring[RINGS_MAX]; /* borrowed; the newest comes last */
    uint64_t first;                     /* serial of ring[0] */
    bool is_forgetting;                 /* those before the newest get nothing new */
};

int rings_init(struct rings *rings, uint32_t vnodes, uint32_t replicas);
void rings_fini(struct rings *rings);

/* 1: a new ring; 0: the nodes are the same as before; -EBUSY: build again at the next step. */
int rings_build(struct rings *rings, const struct ring_node *nodes, uint32_t n);
/* The change is over: only the newest counts. */
void rings_settle(struct rings *rings);
/* All that the own shard should know it knows: nobody needs to fall back any more. */
void rings_complete(struct rings *rings);

uint64_t rings_newest(const struct rings *rings);
/* The ring of a serial within first .. rings_newest(). */
const struct ring *rings_get(const struct rings *rings, uint64_t serial);

/* Owners by the newest ring come first, each owner once; returns how many there are. */
uint32_t rings_owners(const struct rings *rings, uint64_t position,
                      uint16_t ret_peers[RINGS_OWNERS_MAX]);
/* Whom to tell of a new page; whom to tell that one is gone are all of the above. */
uint32_t rings_owners_of_new(const struct rings *rings, uint64_t position,
                             uint16_t ret_peers[RINGS_OWNERS_MAX]);

#endif
