/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core.h - the node's decisions, with no input or output, no clock and no threads.
 *
 * core_step() makes every change of state; core/view.h answers what only reads.  All memory is
 * taken in core_new().  One caller at a time steps a core; which thread that is does not matter.
 *
 * A link is a control connection that the shell (node/, or the simulator) keeps; its number is
 * chosen by the shell and may be used again after LINK_DOWN.
 */
#ifndef CORE_CORE_H
#define CORE_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/address.h"
#include "base/id128.h"
#include "wire/schema.h"
#include "wire/slot_header.h"

struct core;
struct core_view;
struct metrics;

enum {
    CORE_BATCH_MAX = BATCH_MAX, /* pages of one event */
    CORE_LINKS_MAX = 4096,
    CORE_PEERS_MAX = 2048, /* incarnations of members known at a time; 0 is this node */
    CORE_OWNERS_MAX = 4,   /* the largest directory_replicas */
    CORE_HOLDERS_MAX = 4,  /* that a page's owner knows at a time */
    CORE_SELF = 0,         /* this node's own peer index */
    CORE_PEER_NONE = 0xffff,
    CORE_SLOT_NONE = 0xffffffff,
    CORE_MASTERS_MAX = 16, /* the largest max_masters */
    CORE_SEEDS_MAX = 64,   /* of discovery_addr, and of those remembered from before */
};

/* A discovery service: where the nodes of one host answer for it.  Equal texts are one service. */
struct core_service {
    char host[ADDRESS_HOST_BYTES];
    uint16_t port;
};

struct core_config {
    struct id128 node_id, boot_id;
    uint64_t incarnation;
    uint64_t seat; /* where the id is kept (twin.h); 0: it was given, or is random */
    uint32_t uid;
    char host[ADDRESS_HOST_BYTES]; /* where others reach the control port */
    uint16_t control_port;
    uint16_t discovery_port; /* of the service of this host; 0: it has none */
    uint32_t max_masters;
    bool has_head;                  /* the first seed is the head: a master even while it is dead */
    uint32_t n_seeds, n_remembered; /* no seeds: a cluster of one */
    struct core_service seeds[CORE_SEEDS_MAX];
    bool seed_spreads[CORE_SEEDS_MAX]; /* it is a name with several hosts behind it, or may be */
    struct core_service remembered[CORE_SEEDS_MAX]; /* of the members of a former life */
    uint64_t heartbeat_interval_ns, member_ttl_ns, ring_grace_ns;
    uint32_t vnodes, directory_replicas;
    uint32_t directory_limit;    /* entries of the own shard */
    struct slot_header *headers; /* the arena's header table, zeroed */
    uint32_t slot_count;
    uint64_t pool_bytes; /* of payload */
    bool hot_pages;      /* readers may publish what many ask for (invite.h) */
    bool is_apart;       /* reaches nobody by shared memory: counts as a host of its own there */
    uint64_t table_seed; /* a secret: keys of tables that strangers could else crowd */
    struct metrics *metrics; /* the shell's, counted into; NULL: not counted */
};

/* A page of a reserve or copied event.  The caller's until the step returns. */
struct core_page {
    struct id128 digest;
    struct id128 identity; /* of the namespace, and its epoch: what clear() sweeps by */
    uint64_t epoch;
    struct id128 parent; /* digest of the page before it, or zero */
    uint64_t group;      /* pages of one group leave the pool together; 0: of none */
    uint64_t ring_position;
    uint32_t length_bytes, name_len;
    /* out of reserve, in of copied: */
    uint32_t slot;
    uint64_t generation, offset_bytes;
    int32_t error; /* 0; -EEXIST: already here; -EBUSY: no room; -EFBIG; -ESTALE;
                    * -ESHUTDOWN: this node drains */
    uint8_t claim; /* enum core_claim, in: what may go for it */
};

/* The room that a page may have: any; what is free or of retired pages (for a copy, or a hot page
 * of a node that leaves); or what is free and not needed soon (for what else that node has). */
enum core_claim { CORE_CLAIM_ANY, CORE_CLAIM_RETIRED, CORE_CLAIM_FREE };

enum core_event_type {
    CORE_TICK = 1,      /* time passed */
    CORE_SERVING,       /* this node got its host's discovery port: it answers there from now on */
    CORE_LINK_UP,       /* a control or discovery connection said hello */
    CORE_LINK_DOWN,     /* it broke */
    CORE_MESSAGE,       /* a message arrived on a link */
    CORE_RESERVE,       /* a set wants room: fills the pages' out fields and ret_op */
    CORE_COPIED,        /* the set's pages are sealed (error 0) or were given up */
    CORE_CANCEL,        /* the set no longer waits for its owners */
    CORE_CLEAR,         /* a namespace's epoch is to be raised: fills ret_epoch and ret_op */
    CORE_READ_OUTCOMES, /* what readers of this process saw: touches and stale locations */
    CORE_DRAIN,         /* say that this node will leave, and store nothing from now on */
    CORE_STAY,          /* it will not: the end of CORE_DRAIN */
    CORE_LIST,          /* some of the pages that it has, by how hot they are */
    CORE_LEAVE,         /* say that this node leaves */
    CORE_REBORN,        /* go on as another life: what was said so far is void */
};

/* At most CORE_BATCH_MAX live pages of one heat (replacement_heat(); CORE_HEAT_ANY: of any), from
 * slot *@cursor on, which is CORE_SLOT_NONE after the last. */
enum { CORE_HEAT_ANY = 0xffffffff };
struct core_list {
    uint32_t heat, *cursor, *ret_n;
    struct core_page *pages; /* digest to name_len, slot, generation, offset; the parent is not
                                known */
};

struct core_event {
    uint64_t now_ns;
    enum core_event_type type;
    uint32_t link;
    union {
        struct {
            enum purpose purpose;
            struct id128 node_id;
            uint64_t incarnation;
            uint32_t dial;    /* the number of the core_dial that it comes from; 0: accepted */
            uint16_t version; /* of the protocol, agreed on */
        } up;
        const struct message *message;
        struct core_list list;
        struct {
            struct core_page *pages;
            uint32_t n;
            uint32_t *ret_op;  /* reserve: the operation's number, for copied and cancel */
            uint32_t op;       /* copied, cancel */
            bool is_unawaited; /* copied: announced, and nobody waits for the owners' replies */
        } set;
        struct {
            struct id128 identity;
            uint64_t *ret_epoch;
            uint32_t *ret_op;
        } clear;
        struct {
            const struct core_touch *touches;
            uint32_t n_touches;
            const struct core_stale *stales;
            uint32_t n_stales;
        } outcomes;
        struct {
            struct id128 node_id;
            uint64_t incarnation;
        } reborn;
    } u;
};

struct core_touch {
    uint16_t peer; /* the holder; CORE_SELF for own pages */
    uint32_t slot;
    uint64_t generation;
};

struct core_stale {
    uint16_t peer; /* the holder whose location failed */
    struct id128 digest;
    uint64_t ring_position, generation;
    bool is_damaged; /* it is there, with other bytes than its checksum says */
};

struct core_send {
    uint32_t link;
    const struct message *message;
};

struct core_dial {
    enum purpose purpose;
    const char *host;
    uint16_t port;
    struct id128 node_id; /* whom to expect; zero for discovery */
    uint64_t incarnation;
    uint32_t number; /* of a dial to discovery: comes back in CORE_LINK_UP */
};

/* An operation that somebody waits for has ended. */
struct core_completion {
    uint32_t op;
    int32_t error; /* 0; -EAGAIN: not confirmed by an owner (set) */
    uint32_t n;
    const uint8_t *recorded; /* set: a byte a page, 1: an owner recorded it */
};

/* A peer index has a new meaning: the shell keeps connections and mappings by it. */
struct core_peer_change {
    uint16_t peer;
    struct id128 node_id, boot_id;
    uint64_t incarnation;
    uint32_t uid;
    char host[ADDRESS_HOST_BYTES];
    uint16_t control_port, discovery_port;
    uint8_t state; /* enum member_state */
};

/* Own pages that were withdrawn because a reader found them damaged: for the log. */
struct core_damage {
    uint32_t n;
    struct id128 reader, digest; /* the reader's node id; the last page's digest */
    struct location place;       /* and where it lies; holder CORE_SELF */
};

/* Another life has this node's id, and this one has to go (twin.h). */
enum core_yield_kind {
    CORE_YIELD_NOT,
    CORE_YIELD_ALL, /* a newer life of the same identity: stop for good */
    CORE_YIELD_ID,  /* a copy of the identity: go on under another id (CORE_REBORN) */
};

struct core_yield {
    enum core_yield_kind kind;
    uint64_t incarnation; /* of the other, and where it is reached */
    char host[ADDRESS_HOST_BYTES];
    uint16_t control_port;
};

/* What the shell must now do.  Arrays belong to the core until the next step. */
struct core_update {
    const struct core_send *sends;
    size_t n_sends;
    const struct core_dial *dials;
    size_t n_dials;
    const uint32_t *hangups;
    size_t n_hangups;
    const struct core_completion *completions;
    size_t n_completions;
    const struct core_peer_change *peer_changes;
    size_t n_peer_changes;
    struct core_damage damage;
    struct core_yield yield;
    bool has_failures;   /* a breaker was opened: it is to be seen when its peer is back */
    uint64_t wake_at_ns; /* step again no later than this; the event's time: there is more */
};

/* @config is copied.  -EINVAL, -ENOMEM. */
int core_new(const struct core_config *config, struct core **ret_core);
void core_free(struct core *core);
void core_step(struct core *core, const struct core_event *event, struct core_update *ret_update);
/* Lives as long as the core. */
const struct core_view *core_view(const struct core *core);

#endif
