/* SPDX-License-Identifier: Apache-2.0 */
/*
 * update.h - collects what one step of the core wants done.
 *
 * All memory is taken once; a step begins with update_begin(), which forgets what the step before
 * it collected.  A handler must stay within UPDATE_ROOM; long work asks update_has_room() and
 * goes on in the next step.
 */
#ifndef CORE_UPDATE_H
#define CORE_UPDATE_H

#include "core/breaker.h"
#include "core/core.h"

enum {
    UPDATE_SENDS_MAX = 4096,
    UPDATE_SCRATCH_BYTES = 32 << 20, /* resident only as far as used */
    UPDATE_DIALS_MAX = 64,
    UPDATE_HANGUPS_MAX = CORE_LINKS_MAX,
    UPDATE_COMPLETIONS_MAX = 1024,
    UPDATE_PEER_CHANGES_MAX =
        3 * MEMBERS_MAX, /* a list's members replaced twice, all others gone */
    /* What one handler may need at most: a window retracted at the owners by RINGS_MAX rings. */
    UPDATE_RESERVE_BYTES = 8 << 20,
};

struct update;

struct update *update_new(void);
void update_free(struct update *update);
void update_begin(struct update *update, uint64_t now_ns);
void update_end(struct update *update, struct core_update *ret_update);

uint64_t update_now_ns(const struct update *update);
/* Step again no later than @at_ns. */
void update_wake_at(struct update *update, uint64_t at_ns);
/* Whether long work may go on; if not it is woken at once. */
bool update_has_room(struct update *update);

/* A message to fill in; it is sent on @link after the step. */
struct message *update_send(struct update *update, uint32_t link, enum message_type type);
/* Memory for a list of a message, valid until the next step. */
void *update_allocate(struct update *update, size_t bytes);
/* Returns false when no more dials fit into this step: ask again later. */
bool update_dial(struct update *update, const struct core_dial *dial);
void update_hangup(struct update *update, uint32_t link);
void update_complete(struct update *update, const struct core_completion *completion);
void update_peer_change(struct update *update, const struct core_peer_change *change);
/* One more page, of which @reader says that it is damaged. */
void update_damage(struct update *update, struct id128 reader, struct id128 digest,
                   const struct location *place);
/* A peer has failed, or may have: opens its breaker, and the node looks when the peer is back. */
void update_peer_failed(struct update *update, struct breaker *breaker);
void update_peer_suspected(struct update *update, struct breaker *breaker);
/* This node has to go, because of @other. */
void update_yield(struct update *update, enum core_yield_kind kind,
                  const struct record_member *other);

#endif
