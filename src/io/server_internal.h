/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server_internal.h - what the files of the serving side share: server.c (threads), server_conn.c
 * (bytes of one connection), server_group.c (pages on their way out), server_idle.c (who asks
 * nothing), server_pair.c (queue pairs), server_tool.c (tools).
 */
#ifndef IO_SERVER_INTERNAL_H
#define IO_SERVER_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/uio.h>

#include "io/buffer.h"
#include "io/loop.h"
#include "io/server.h"

enum {
    /* Answers to look-ups are gathered up to here before they are sent. */
    SERVER_OUTPUT_FLUSH_BYTES = 64 << 10,
    /* One more answer of any kind fits behind them. */
    SERVER_OUTPUT_MAX_BYTES = 256 << 10,
};

/* The pages of one group whose bytes the kernel has not taken yet.  Only these are pinned. */
struct server_group {
    uint32_t n, next; /* pages before next are gone and unpinned */
    uint32_t slots[GROUP_MAX];
    struct iovec rest[GROUP_MAX]; /* what is left of each page */
    uint64_t deadline_ns;         /* after this they are pinned no longer, moving or not */
};

struct server_thread;
struct server_tool;

struct server_conn {
    struct server_thread *thread;
    TAILQ_ENTRY(server_conn) link; /* in its thread */
    uint64_t asked_ns;             /* when something came last; before that, when it arrived */
    int fd;
    enum purpose purpose;
    uint16_t version; /* of the protocol, agreed on */
    struct server_asker asker;
    bool is_closed, is_blocked; /* is_blocked: the socket takes nothing, so nothing is read */
    bool has_paired;            /* it has asked for queue pairs */
    struct loop_watch *watch;
    struct loop_timer timer; /* of a blocked output, or of a tool's request */
    struct loop_task task;   /* arrives at its thread; frees */
    struct buffer in, out;
    struct server_group group;
    void *guest;              /* of RDMA, or NULL */
    struct server_tool *tool; /* a tool's request whose body is being received */
};

/* Written by one thread, read by any. */
struct server_thread_counts {
    _Atomic uint64_t lookups, lookup_keys, groups, pages, page_bytes, refused_pages, stalled,
        garbage, spared;
};

struct server_thread {
    struct server *server;
    struct loop *loop;
    pthread_t id;
    bool is_started;
    TAILQ_HEAD(server_conn_list, server_conn) conns; /* the one that asked last is the first */
    struct loop_task hang_up, make_room;
    _Atomic uint32_t n_conns;
    struct server_thread_counts counts;
    uint64_t tell_garbage_at_ns;
    struct message_scratch message_scratch;
    struct server_scratch answer_scratch;
};

/* One request of a tool, from its head until it is answered. */
struct server_tool {
    struct server_tool *next;
    int fd;
    uint32_t request;
    char *json;
    size_t json_len;
    uint8_t *body;
    size_t body_len, body_received;
};

/* The thread that runs tools' requests, and their queue. */
struct server_tools {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    pthread_t id;
    bool is_started, is_stopping;
    struct server_tool *first, **end;
    int fd_now; /* being answered, or -1 */
    uint32_t n; /* received, queued and running */
};

struct server {
    struct server_setup setup;
    uint32_t n_threads; /* the serving ones, and behind them the one for queue pairs, if any */
    struct server_thread *threads[SERVER_THREADS_MAX + 1];
    struct server_tools tools;
    atomic_bool is_stopping;
    _Atomic uint32_t next_thread;
    _Atomic uint64_t accepted, connections_refused, tool_requests, tools_refused;
};

static inline void server_count(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* server_conn.c */
struct server_conn *server_conn_new(struct server_thread *thread, int fd,
                                    const struct server_arrival *arrival, const uint8_t *rest,
                                    size_t rest_len);
void server_conn_close(struct server_conn *conn);
/* Its thread knows nothing of it any more. */
void server_conn_leave(struct server_conn *conn);

/* server_pair.c */
/* Whether this request is for the thread of queue pairs, and the connection is not there yet. */
bool server_pair_is_elsewhere(const struct server_conn *conn, const struct frame_head *head);
/* What was not taken and what was not sent goes along; the connection is the other thread's
 * then. */
void server_pair_move(struct server_conn *conn);
/* Once a channel: what it made lives as long.  -EPROTO. */
int server_pair_answer(struct server_conn *conn, const struct message *message);

/* server_idle.c */
void server_conn_link(struct server_conn *conn);
void server_conn_unlink(struct server_conn *conn);
void server_conn_asked(struct server_conn *conn);
/* False: all have asked lately, or are in use. */
bool server_thread_make_room(struct server_thread *thread);

/* server_group.c */
/* Pins what can be pinned and appends the payload message to the output.  -EPROTO: more than a
 * group may have; -ENOBUFS, -ENOMEM. */
int server_group_begin(struct server_conn *conn, uint32_t request, const struct message_read *read);
static inline bool server_group_is_empty(const struct server_group *group)
{
    return group->next == group->n;
}
/* The kernel took @len bytes of the group. */
void server_group_advance(struct server_conn *conn, size_t len);
/* Unpins what is left. */
void server_group_drop(struct server_conn *conn);

/* server_tool.c */
int server_tools_start(struct server *server);
void server_tools_stop(struct server *server);
/* A request's head has arrived; its body follows.  -EBUSY, -EMSGSIZE, -ENOMEM. */
int server_tool_new(struct server *server, uint32_t request, const struct message_request *message,
                    struct server_tool **ret_tool);
/* All of it has arrived: takes the descriptor and the tool. */
void server_tool_submit(struct server *server, struct server_tool *tool, int fd);
/* It will not arrive any more.  NULL is allowed. */
void server_tool_drop(struct server *server, struct server_tool *tool);

#endif
