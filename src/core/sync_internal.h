/* SPDX-License-Identifier: Apache-2.0 */
/* sync_internal.h - what sync.c (the walk and who rides along), sync_notes.c and sync_forget.c
 * share. */
#ifndef CORE_SYNC_INTERNAL_H
#define CORE_SYNC_INTERNAL_H

#include "core/sync.h"

enum {
    SYNC_PIECE = 128,                        /* slots that are looked at in one go */
    SYNC_NOTES_MAX = BATCH_MAX + SYNC_PIECE, /* of one peer */
};

/* A page that a peer is to hear of. */
struct sync_note {
    uint32_t slot;
    uint64_t generation;
};

struct sync {
    struct sync_rooms rooms;
    bool is_idle;  /* nothing to do until something happens */
    uint32_t at;   /* where the walk last was */
    uint16_t next; /* the peer to serve first in the next piece */
    uint64_t forget_at_ns;
    struct sync_note (*notes)[SYNC_NOTES_MAX]; /* by peer; resident only as far as used */
};

/* sync.c */
bool sync_can_talk(uint16_t index, const struct peer *peer);
void sync_get_on(struct sync *sync, struct peer *peer, enum sync_ride ride);
void sync_get_off(struct peer *peer);

/* sync_notes.c */
/* Of the notes as many as make a full message, and the rest at the end of the ride, as far as the
 * peer's credit goes. */
void sync_send_notes(struct sync *sync, struct update *update, uint16_t index, struct peer *peer);

/* sync_forget.c */
void sync_advance_forgetting(struct sync *sync, struct update *update);

#endif
