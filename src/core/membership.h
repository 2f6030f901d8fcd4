/* SPDX-License-Identifier: Apache-2.0 */
/*
 * membership.h - who is there: this node's talk with its masters, and its answers where it serves.
 *
 *     contacts.h    to which discovery services it holds connections (masters.h: who is a master)
 *     beliefs.h     what follows from their answers
 *     service.h     its answers to others, from the table of roster.h
 *
 * A node joins each of its masters with its own record and then sends heartbeats, to all at the
 * same time; an answer brings what has changed.  A master that does not answer soon counts no
 * longer, and costs nothing else.  The node's own table is one master more, without a connection.
 */
#ifndef CORE_MEMBERSHIP_H
#define CORE_MEMBERSHIP_H

#include "core/beliefs.h"
#include "core/core.h"
#include "core/update.h"

struct membership;

int membership_new(const struct core_config *config, const struct membership_sink *sink,
                   struct membership **ret_membership);
void membership_free(struct membership *membership);

/* This node has its host's discovery port from now on. */
void membership_serve(struct membership *membership, struct update *update);
/* A discovery connection; @dial: the number of the dial that it comes from, 0: accepted. */
void membership_link_up(struct membership *membership, struct update *update, uint32_t link,
                        uint32_t dial, struct id128 node_id, uint64_t incarnation);
void membership_link_down(struct membership *membership, struct update *update, uint32_t link);
void membership_message(struct membership *membership, struct update *update, uint32_t link,
                        const struct message *message);
void membership_tick(struct membership *membership, struct update *update);
/* What this node says of itself has changed: alive, or draining. */
void membership_set_state(struct membership *membership, struct update *update, uint8_t state);
/* This node goes on as another life: it joins anew, and as the head begins with an empty table. */
void membership_reborn(struct membership *membership, struct update *update, struct id128 node_id,
                       uint64_t incarnation);
void membership_leave(struct membership *membership, struct update *update);

/* A member said goodbye to this node itself: no list that is still on its way brings it back. */
void membership_peer_left(struct membership *membership, struct update *update,
                          struct id128 node_id, uint64_t incarnation);

/* Some fresh master that answers has this life of the node; that its own table has it proves
 * nothing. */
bool membership_is_listed(const struct membership *membership);
bool membership_serves(const struct membership *membership);
/* A master answers it, or it is one itself at an address where others look for it. */
bool membership_is_connected(const struct membership *membership);

/* A master as this node sees it. */
struct core_master {
    struct core_service at;
    bool is_self, is_head, is_connected, answers, is_fresh;
};
uint32_t membership_masters(const struct membership *membership, uint64_t now_ns,
                            struct core_master ret_masters[CORE_MASTERS_MAX]);

#endif
