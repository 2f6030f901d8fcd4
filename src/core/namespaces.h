/* SPDX-License-Identifier: Apache-2.0 */
/*
 * namespaces.h - the epochs of namespaces: clearing one raises its epoch on all members.
 *
 * Pages of an older epoch have another digest, so nobody asks for them; the pool sweeps them.
 * Only namespaces that were ever cleared stand here; the others have epoch 0.
 */
#ifndef CORE_NAMESPACES_H
#define CORE_NAMESPACES_H

#include "core/core.h"
#include "core/peers.h"
#include "core/update.h"

struct core_view;
struct namespaces;
struct seqtable;

enum { NAMESPACES_MAX = 4096, CLEARS_MAX = 64 };

/* How many clears an epoch stands for; what is below tells apart those of two lives. */
static inline uint64_t namespaces_epoch_count(uint64_t epoch)
{
    return epoch >> 32;
}

int namespaces_new(struct namespaces **ret_namespaces);
void namespaces_free(struct namespaces *namespaces);
struct seqtable *namespaces_epochs(const struct namespaces *namespaces);

uint64_t namespaces_epoch(const struct namespaces *namespaces, struct id128 identity);
/* Raises the epoch and tells all peers.  @ret_op completes when all alive ones have heard.
 * -ENOSPC: too many namespaces, or too many clears at a time. */
int namespaces_clear(struct namespaces *namespaces, struct peers *peers, struct update *update,
                     struct id128 identity, uint64_t *ret_epoch, uint32_t *ret_op);
/* What a peer says; true when the epoch rose, so that the pool must be swept. */
bool namespaces_hear(struct namespaces *namespaces, const struct record_epoch *epoch);
/* A peer that has not answered yet speaks of a higher epoch: a clear that waits for it has to go
 * beyond that.  True when the epoch rose once more. */
bool namespaces_overtaken(struct namespaces *namespaces, struct peers *peers, struct update *update,
                          const struct record_epoch *epoch, uint16_t from);
/* A peer answered, or is no longer waited for. */
void namespaces_heard(struct namespaces *namespaces, struct update *update, uint16_t peer,
                      uint32_t batch);
void namespaces_peer_gone(struct namespaces *namespaces, struct update *update, uint16_t peer);
/* A peer goes on as another life, which may have kept its pages: it has to hear as well. */
void namespaces_peer_replaced(struct namespaces *namespaces, uint16_t former, uint16_t present);
/* Tells a peer that has just been connected all epochs, and asks it again what it has not heard. */
void namespaces_tell_all(struct namespaces *namespaces, struct peers *peers, struct update *update,
                         uint16_t peer);
/* Tells all connected peers but the one that said so; @entries last until the next step. */
void namespaces_pass_on(struct peers *peers, struct update *update,
                        const struct record_epoch *entries, uint32_t n, uint16_t from);
/* Ends the waiting of callers whose clears only hung members have not heard of: -ETIMEDOUT.  The
 * clears go on. */
void namespaces_tick(struct namespaces *namespaces, struct peers *peers,
                     const struct core_view *view, struct update *update);
void namespaces_cancel(struct namespaces *namespaces, uint32_t op);

#endif
