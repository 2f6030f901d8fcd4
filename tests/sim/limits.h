/* SPDX-License-Identifier: Apache-2.0 */
/* limits.h - how large a simulated cluster can be, and its units of time. */
#ifndef SIM_LIMITS_H
#define SIM_LIMITS_H

#include <stdint.h>

enum {
    MACHINES_MAX = 8,
    FORMER_MAX = 32, /* rebirths of one life */
    LIVES_MAX = 40,  /* of all machines together */
    APPS_MAX = 3,    /* threads that make calls, a machine */
    BATCH_PAGES = 6, /* pages of one call */
    SLOTS_MAX = 256,
    POOL_MAX_BYTES = 128 << 10,
    PAGE_MAX_BYTES = 8 << 10,
    NAME_BYTES = 8,
    LINKS_MAX = 1024, /* connections at a time */
    MACHINE_LINKS_MAX = 64,
    PEERS_SEEN_MAX = 128, /* peer indices that a short life can come to use */
    NAMESPACES = 3,
    KEYS_MAX = 256,  /* of a namespace */
    SEEN_MAX = 64,   /* old locations that a machine remembers */
    CHUNKS_MAX = 16, /* pieces of one copy */
    RECENT_MAX = 32, /* pages set lately, which others ask for */
    SERVES_MAX = 64, /* pages being sent by one machine */
    NOBODY = -1,
    CONTROL_PORT = 1000, /* of machine 0; the next ones follow */
};

#define US UINT64_C(1000)
#define MS UINT64_C(1000000)
#define SECOND UINT64_C(1000000000)

enum { HEARTBEAT_NS = 1000000000, MEMBER_TTL_NS = 2 * 1000000000u };
#define RING_GRACE_NS (6 * SECOND)

/* How long one end of a broken connection may not know of it. */
#define NOTICE_MOST_NS (4 * SECOND)

/* The bound of healing: from when the last fault has ended until nothing happens any more.  A
 * broken connection is noticed, a silent member is suspected and taken off the ring, heartbeats
 * carry the news there and back, and what follows from it is named. */
#define HEALED_NS (NOTICE_MOST_NS + MEMBER_TTL_NS + RING_GRACE_NS + 2 * (uint64_t)HEARTBEAT_NS)
/* More, where one id was given to two machines: if the newer one died before the older one heard of
 * it, the older one is taken back when the newer one is off the ring, and may be a master after
 * that, who has all the dead to judge. */
#define HEALED_TWINS_NS (RING_GRACE_NS + MEMBER_TTL_NS)

#endif
