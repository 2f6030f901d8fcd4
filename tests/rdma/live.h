/* SPDX-License-Identifier: Apache-2.0 */
/*
 * live.h - the model under real threads: a table that takes a lock around each call, and moves the
 * model's clock for whoever polls or sleeps.
 */
#ifndef TESTS_RDMA_LIVE_H
#define TESTS_RDMA_LIVE_H

#include "model_adapter.h"

struct live;

/* The model is the caller's, and not called by anybody else but between live_lock() and
 * live_unlock(). */
struct live *live_new(struct model *model);
void live_free(struct live *live);
const struct verbs *live_verbs(struct live *live);

void live_lock(struct live *live);
/* Then what sleeps is woken, where it has something to do now. */
void live_unlock(struct live *live);

/* While it is frozen no time passes, so nothing moves and nothing is told. */
void live_freeze(struct live *live, bool is_frozen);
/* Meanwhile no registration with any of these rights ends; 0: all do. */
void live_hold_memory(struct live *live, uint32_t rights);
/* Of the coming registrations so many are made, and the one behind them is refused. */
void live_refuse_memory(struct live *live, uint32_t after);
/* After so many that are as ever, each connect takes so long and fails, as where an address does
 * not resolve; 0 ms: not any more. */
void live_slow_connects(struct live *live, uint32_t after, uint32_t ms);
/* Called with the READs of each post, which it may spoil; NULL: not any more. */
void live_on_post(struct live *live, void (*callback)(struct verbs_read *reads, uint32_t n));

#endif
