/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peers.h - the nodes that this one knows, each life of a node id under an index of its own.
 *
 * An index is what locations carry as their holder.  It is used again only after the directory
 * has swept what belonged to it.
 */
#ifndef CORE_PEERS_H
#define CORE_PEERS_H

#include "core/core.h"
#include "core/update.h"

struct peers;
struct seqtable;

enum { LINK_NONE = 0xffffffff };

enum sync_ride { SYNC_NONE, SYNC_WHOLE, SYNC_GAINED, SYNC_FORGET };

/* How far this node has named its pages to a peer (sync.c). */
struct peer_sync {
    uint8_t ride; /* enum sync_ride: what it is being told */
    bool is_riding, has_been_round;
    uint32_t start, cursor;      /* slots: where it got on, and where it is */
    uint32_t n_notes;            /* found for it and not sent yet */
    uint32_t unanswered, credit; /* entries sent without a reply, and how many may be */
    uint64_t told, follows; /* rings by their serials (rings.h): of all it was told, of the ride */
};

struct peer {
    bool used;
    uint8_t state; /* enum member_state */
    bool is_draining;
    struct id128 node_id, boot_id;
    uint64_t incarnation, version, seat;
    uint32_t uid;
    uint16_t control_port, discovery_port;
    uint64_t pool_bytes;
    char host[ADDRESS_HOST_BYTES];
    uint32_t link;             /* the control connection, or LINK_NONE */
    uint64_t dial_at_ns;       /* not before */
    uint8_t dials;             /* since the last connection, as far as it matters */
    struct peer_sync sync;     /* what I name to it */
    uint64_t synced_ring_hash; /* the ring for which it has told me everything */
};

int peers_new(const struct core_config *config, struct peers **ret_peers);
void peers_free(struct peers *peers);
struct seqtable *peers_by_index(const struct peers *peers);
struct seqtable *peers_by_id(const struct peers *peers);

/* NULL when there is none.  Index 0 is this node and always there. */
struct peer *peers_get(struct peers *peers, uint16_t index);
/* CORE_PEER_NONE when it is not known. */
uint16_t peers_find(const struct peers *peers, struct id128 node_id);

/* A member as discovery reports it: adds or updates it.  Another life replaces the one that
 * is here, whose index is returned to be dropped.  Returns true when the ring may have changed. */
bool peers_report(struct peers *peers, struct update *update, const struct record_member *member,
                  uint16_t *ret_replaced);
/* What this node says of itself. */
void peers_set_own_state(struct peers *peers, uint8_t state);
/* This node goes on as another life. */
void peers_rename_self(struct peers *peers, struct id128 node_id, uint64_t incarnation);
/* The member is off the ring: its index is kept until peers_forget(). */
void peers_retire(struct peers *peers, struct update *update, uint16_t index);
void peers_forget(struct peers *peers, uint16_t index);

/* Walks the members that are in use: @index starts at 0; false at the end. */
bool peers_next(const struct peers *peers, uint16_t *index);
uint32_t peers_count(const struct peers *peers);

#endif
