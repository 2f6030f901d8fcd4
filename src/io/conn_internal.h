/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn_internal.h - what conn.c (bytes), conn_hello.c (hellos, and what callers ask) and
 * conn_mute.c (those that say nothing) share.
 */
#ifndef IO_CONN_INTERNAL_H
#define IO_CONN_INTERNAL_H

#include "io/buffer.h"
#include "io/conn.h"

enum conn_state { CONN_RESOLVING, CONN_CONNECTING, CONN_HELLO, CONN_OPEN, CONN_CLOSED };

struct conn {
    struct conn_set *set;
    TAILQ_ENTRY(conn) link; /* in the set, unless closed */
    uint64_t heard_ns;      /* when something came last; before that, when it began */
    uint64_t patience_ns;   /* once it is open; 0: for ever */
    enum conn_state state;
    enum purpose purpose;
    uint16_t version; /* agreed on; until then what the two first messages need */
    bool is_dialled, watches_output;
    int fd;
    int late_error; /* to be told by the task */
    struct loop_watch *watch;
    struct loop_timer timer; /* until it is open; then of its patience */
    struct loop_task task;   /* flushes; tells late errors; frees */
    struct resolve *resolve;
    struct buffer in, out;
    size_t in_wanted; /* bytes that the frame at the front needs in all */
    void *user;
    char peer_text[SOCKET_TEXT_BYTES];
};

/* Somebody of whom the log was told: again only after a while. */
enum { CONN_STRANGERS_MAX = 16 };
struct conn_stranger {
    uint64_t who; /* hash of its host and the reason; 0: unused */
    uint64_t told_ns;
    uint32_t repeats; /* since then */
};

struct conn_set {
    struct loop *loop;
    const struct message_hello *mine;
    struct conn_callbacks callbacks;
    void *context;
    uint64_t open_timeout_ns;
    TAILQ_HEAD(conn_list, conn) conns; /* the one that was heard last is the first */
    uint32_t n_conns, n_accepted, accepted_max;
    uint64_t spare_ns;
    uint32_t n_silent, silent_max; /* accepted, and without a hello */
    struct conn_counts counts;
    struct conn_stranger strangers[CONN_STRANGERS_MAX];
    struct message_scratch scratch; /* of the message that is being handled */
};

/* conn.c */
void conn_release(struct conn *conn);
void conn_fail(struct conn *conn, int error, const char *reason);
bool conn_is_silent(const struct conn *conn);
int conn_flush(struct conn *conn);
int conn_queue(struct conn *conn, const struct message *message);

/* conn_mute.c */
void conn_link(struct conn *conn);
void conn_unlink(struct conn *conn);
void conn_heard(struct conn *conn);
void conn_lose_patience(struct conn *conn);
void conn_drop_silent(struct conn_set *set);
/* Hangs up on the connection that can best be spared: of those worth @most or less one that is
 * worth least, and of these the one that was mute longest.  False: there is none. */
bool conn_make_room(struct conn_set *set, enum conn_worth most);

/* conn_hello.c */
int conn_queue_hello(struct conn *conn);
void conn_handle(struct conn *conn, const struct message *message);
void conn_fail_garbage(struct conn *conn, const char *reason);

#endif
