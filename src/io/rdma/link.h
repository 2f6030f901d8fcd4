/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link.h - two queue pairs, used in turn, from this node to one peer on one rail.
 *
 * Opened by the first call that wants it, by a question on a channel of its own; the peer keeps its
 * side as long as that channel is open.  Believed once a small READ came through.  Lent to any
 * number of calls at once.
 */
#ifndef IO_RDMA_LINK_H
#define IO_RDMA_LINK_H

#include "io/channel.h"
#include "io/rdma/queue.h"

enum { LINK_REASON_BYTES = 256, LINKS_MAX = RAIL_QUEUES_MAX / PAIR_MAX };

/* After a failure nobody tries again for this, twice as long each time. */
#define LINK_PAUSE_NS UINT64_C(500000000)
#define LINK_PAUSE_MAX_NS UINT64_C(30000000000)
/* A link that nobody used for so long is closed. */
#define LINK_IDLE_NS UINT64_C(60000000000)
/* An opening ends by then, unless the driver keeps it. */
#define LINK_OPEN_NS UINT64_C(500000000)
/* The holder was still registering its pool: then ask again, for the rest or at all. */
#define LINK_PARTIAL_NS UINT64_C(1000000000)

struct link;

/* The open links of one rail. */
struct link_table {
    pthread_mutex_t mutex;
    uint32_t n;
    struct link *links[LINKS_MAX];
    _Atomic(uint32_t) openings; /* under way */
};

enum link_state { LINK_DOWN, LINK_OPENING, LINK_UP };

struct link {
    struct rail *rail;
    struct link_table *table;
    pthread_mutex_t mutex;
    pthread_cond_t opened; /* an opening has ended */
    pthread_t opener;
    bool has_opener; /* to be joined, before the next one begins, and at the end */
    enum link_state state;
    uint32_t openings_ended;
    int open_error;   /* of the last that has ended */
    bool is_broken;   /* lent no more; closed when the last one is returned */
    bool was_renewed; /* and has not worked since */
    uint32_t users;
    uint64_t retry_at_ns, pause_ns, used_ns, reopen_at_ns;
    char why[LINK_REASON_BYTES]; /* it is not up; "": it is, or nobody wanted it yet */
    /* While it is up, or the opener's. */
    struct queue *queues[PAIR_MAX];
    _Atomic(uint32_t) turn;
    struct channel *channel;
    struct chain_source source;
    uint32_t *keys;
};

void link_table_init(struct link_table *table);
void link_table_fini(struct link_table *table);
/* Any thread, now and then: closes links that nobody uses, and broken ones. */
void link_table_close_idle(struct link_table *table, uint64_t now_ns);

void link_init(struct link *link, struct rail *rail, struct link_table *table);
/* Nobody has borrowed it, and no opening is under way on any link of the rails. */
void link_fini(struct link *link);

/* Has it opened where it is not open, and waits for that until the deadline.  A driver may take a
 * second for an address that does not resolve, so it is done on a thread of its own, and goes on
 * for others.  -EAGAIN: it is being opened for another, or failed a moment ago; then, as with
 * another error, @ret_reason says why not, if that is known.  What @mine names stays until
 * link_fini(). */
int link_borrow(struct link *link, const struct channel_peer *peer,
                const struct message_hello *mine, uint64_t deadline_ns,
                char ret_reason[LINK_REASON_BYTES]);
void link_return(struct link *link);
/* A read failed or was late, or the peer has another life, as @why says: it is lent no more, and
 * closed by who returns it last, or as one that is idle. */
void link_break(struct link *link, const char *why);
/* The same, but nobody is at fault, as far as is known: a call's time was up.  It is opened again
 * as soon as it is wanted, unless it is the second time in a row. */
void link_renew(struct link *link, const char *why);
/* Whether the peer still keeps its side, as far as is known without waiting; of a borrowed one. */
bool link_is_alive(const struct link *link);

/* For people. */
struct link_view {
    const char *state; /* "up", "opening", "broken", "down" */
    uint32_t queue_pairs, users;
    char why[LINK_REASON_BYTES];
};
void link_look(struct link *link, struct link_view *ret_view);

#endif
