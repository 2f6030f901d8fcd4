/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rooms.h - the core's own view of itself: its rooms, and which file does what with them.
 *
 * The rooms (peers, ring, directory, pool, publish, sync, membership, namespaces) do not know each
 * other's events.  The files named here join them, each for one kind of event; core.c calls them.
 */
#ifndef CORE_ROOMS_H
#define CORE_ROOMS_H

#include "core/core.h"
#include "core/credit.h"
#include "core/directory.h"
#include "core/membership.h"
#include "core/namespaces.h"
#include "core/peers.h"
#include "core/pool.h"
#include "core/publish.h"
#include "core/rings.h"
#include "core/sync.h"
#include "core/update.h"
#include "core/view.h"

enum { SWEEPS_MAX = 64 };

struct link {
    bool used, is_former; /* is_former: of this node's life before, and being hung up */
    enum purpose purpose;
    uint16_t version; /* what both ends speak: newer messages are not for this link */
    struct id128 node_id;
    uint64_t incarnation;
    uint16_t peer; /* CORE_PEER_NONE: of nobody, or being hung up */
};

/* A namespace whose older pages are being retired. */
struct sweep {
    bool used;
    struct id128 identity;
    uint64_t epoch;
    uint32_t cursor;
};

struct core {
    struct core_config config;
    struct core_view view;
    struct update *update;
    struct peers *peers;
    struct rings rings;
    struct directory *directory;
    struct pool *pool;
    struct publish *publish;
    struct membership *membership;
    struct namespaces *namespaces;
    struct sync *sync;
    struct credit credit;
    bool ring_is_old; /* to be built */
    bool is_draining;
    uint64_t ring_paid_ns;               /* rings are built no faster (members.c) */
    uint64_t forget_at_ns;               /* look for peers to forget then; UINT64_MAX: none */
    uint64_t dropped_ns[CORE_PEERS_MAX]; /* when; 0: not dropped */
    struct sweep sweeps[SWEEPS_MAX];
    struct link links[CORE_LINKS_MAX];
};

/* peer_links.c: control and discovery connections */
void peer_links_up(struct core *core, const struct core_event *event);
void peer_links_down(struct core *core, uint32_t link);
void peer_links_dial(struct core *core);
/* Begins anew with this peer, unless it is this node or CORE_PEER_NONE. */
void peer_links_renew(struct core *core, uint16_t peer);

/* members.c: who is there, and what follows from it */
struct membership_sink members_sink(struct core *core);
void members_remove(struct core *core, uint16_t peer);
void members_renew_ring(struct core *core);
void members_judge_completeness(struct core *core);
void members_forget_dropped(struct core *core);

/* inbox.c: messages from other nodes */
void inbox_take(struct core *core, uint32_t link, const struct message *message);
void inbox_take_stale(struct core *core, uint16_t reader, const struct message_stale *stale);

/* requests.c: what applications of this process ask and report */
void requests_clear(struct core *core, const struct core_event *event);
void requests_cancel(struct core *core, uint32_t op);
void requests_take_outcomes(struct core *core, const struct core_event *event);
void requests_leave(struct core *core);

/* handover.c: before this node leaves */
void handover_begin(struct core *core);
void handover_cancel(struct core *core);
void handover_list(struct core *core, const struct core_list *list);

/* reborn.c: other lives of this node, before and after */
void reborn_begin(struct core *core, const struct core_event *event);
void reborn_judge(struct core *core, const struct record_member *member);

/* sweeps.c: cleared namespaces leave the pool, piece by piece */
void sweeps_begin(struct core *core, struct id128 identity);
void sweeps_check_copied(struct core *core, const struct core_page *pages, uint32_t n);
bool sweeps_advance(struct core *core);

#endif
