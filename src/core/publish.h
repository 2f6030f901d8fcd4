/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publish.h - the operations of a set: room reserved, bytes copied, locations announced.
 *
 * An operation lives from publish_reserve() until all its pages have an answer or publish_cancel().
 */
#ifndef CORE_PUBLISH_H
#define CORE_PUBLISH_H

#include "core/core.h"
#include "core/directory.h"
#include "core/peers.h"
#include "core/pool.h"
#include "core/rings.h"
#include "core/update.h"
#include "core/view.h"

enum { PUBLISH_OPS_MAX = 256, PUBLISH_OP_NONE = 0 };

struct publish;

/* The rooms it works with stay the core's. */
struct publish_rooms {
    struct pool *pool;
    struct directory *directory;
    struct peers *peers;
    const struct rings *rings;
    struct metrics *metrics;
    struct slot_header *headers;
    const struct core_view *view;
};

int publish_new(const struct publish_rooms *rooms, struct publish **ret_publish);
void publish_free(struct publish *publish);

/* Fills every page's out fields; *@ret_op is PUBLISH_OP_NONE when no page was reserved. */
void publish_reserve(struct publish *publish, struct update *update, struct core_page *pages,
                     uint32_t n, uint32_t *ret_op);
/* Nothing is reserved any more: -ESHUTDOWN. */
void publish_close(struct publish *publish);
/* As before that. */
void publish_open(struct publish *publish);
/* The reserved pages are sealed (error 0) or given up.  Announces them; the operation completes
 * once all their owners that readers would ask have replied, or ends here if nobody waits. */
void publish_copied(struct publish *publish, struct update *update, uint32_t op,
                    const struct core_page *pages, uint32_t n, bool is_unawaited);
void publish_cancel(struct publish *publish, struct update *update, uint32_t op);

/* An owner's reply to an announce of a set. */
void publish_announced(struct publish *publish, struct update *update, uint16_t peer,
                       const struct message_announced *message);
/* @peer has left: its replies will not come. */
void publish_peer_gone(struct publish *publish, struct update *update, uint16_t peer);
/* The connection to @peer broke, or there is another one: over that, what it owes a reply for is
 * announced again. */
void publish_peer_down(struct publish *publish, const struct update *update, uint16_t peer);
void publish_peer_up(struct publish *publish, struct update *update, uint16_t peer);

/* Owners that owe a reply for too long are suspected, and not waited for any more. */
void publish_tick(struct publish *publish, struct update *update);

/* Tells the owners of pages that went. */
void publish_retract_gone(struct publish *publish, struct update *update);

#endif
