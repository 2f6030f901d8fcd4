/* SPDX-License-Identifier: Apache-2.0 */
/*
 * membership.h - who is there: this node's talk with the discovery head, and the head itself.
 *
 * Every node joins and sends heartbeats over one discovery connection; the answer brings the member
 * list when it changed.  The head judges liveness by its own clock: silent for member_ttl is
 * suspect, silent for ring_grace is gone.  Its table is soft state: for its first member_ttl it
 * answers with lists that are not whole, from which nobody is missed.
 */
#ifndef CORE_MEMBERSHIP_H
#define CORE_MEMBERSHIP_H

#include "core/core.h"
#include "core/update.h"

struct membership;

/* What a member list says: of a whole one first who is not in it, then one member at a time.  report()
 * returns false when there was no room for the member: it must be told again. */
struct membership_sink {
    bool (*report)(void *context, struct update *update, const struct record_member *member);
    void (*missing)(void *context, struct update *update, const struct record_member *members,
                    uint32_t n);
    void *context;
};

int membership_new(const struct core_config *config, const struct membership_sink *sink,
                   struct membership **ret_membership);
void membership_free(struct membership *membership);

void membership_set_head(struct membership *membership, struct update *update, bool is_head);
/* A discovery connection that this node dialled. */
void membership_link_up(struct membership *membership, struct update *update, uint32_t link);
void membership_link_down(struct membership *membership, uint32_t link);
void membership_message(struct membership *membership, struct update *update, uint32_t link,
                        const struct message *message);
void membership_tick(struct membership *membership, struct update *update);
/* What this node says of itself has changed: alive, or draining. */
void membership_set_state(struct membership *membership, struct update *update, uint8_t state);
void membership_leave(struct membership *membership, struct update *update);

/* A member said goodbye to this node itself: no list that is still on its way brings it back. */
void membership_peer_left(struct membership *membership, struct update *update,
                          struct id128 node_id, uint64_t incarnation);

bool membership_is_head(const struct membership *membership);
/* Connected to a head, or one itself. */
bool membership_is_connected(const struct membership *membership);

#endif
