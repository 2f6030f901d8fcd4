/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn_hello.c - hellos and refusals of control connections, and what their users ask of them.
 *
 * Runs on the loop's thread, like conn.c.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "io/conn.h"
#include "io/conn_internal.h"
#include "io/note.h"

/* Who is sent away for one reason is told of once in this time, however often it comes. */
#define STRANGER_PAUSE_NS UINT64_C(60000000000)
/* And all of them together no more often than CONN_STRANGERS_MAX in this time. */
#define STRANGERS_PAUSE_NS UINT64_C(1000000000)

int conn_queue_hello(struct conn *conn)
{
    struct message message = {.type = MESSAGE_hello, .u.hello = *conn->set->mine};
    message.u.hello.purpose = (uint8_t)conn->purpose;
    return conn_queue(conn, &message);
}

/* The peer reads what was sent before it sees the end, if it listens at all. */
static void send_refusal(struct conn *conn, int error, const char *reason)
{
    struct message message = {.type = MESSAGE_refuse};
    message.u.refuse.error = error;
    message.u.refuse.reason = (struct wire_text){reason, (uint32_t)strnlen(reason, 255)};
    if (conn_queue(conn, &message) < 0 || conn_flush(conn) < 0)
        return;
    shutdown(conn->fd, SHUT_WR);
}

/* Only to those who speak this protocol well enough to have sent a message's head. */
void conn_fail_garbage(struct conn *conn, const char *reason)
{
    struct frame_head head;
    size_t len;
    conn->set->counts.garbage++;
    if (buffer_len(&conn->in) >= FRAME_HEAD_BYTES && buffer_peek_frame(&conn->in, &head, &len) >= 0)
        send_refusal(conn, -EPROTO, reason);
    conn_fail(conn, -EPROTO, reason);
}

static int check_hello(struct conn *conn, const struct message_hello *theirs, char *ret_reason)
{
    struct conn_set *set = conn->set;
    int error = hello_check(set->mine, theirs, ret_reason);
    if (error == 0 && set->callbacks.check_hello != NULL)
        error = set->callbacks.check_hello(set->context, theirs, ret_reason);
    return error;
}

/* Only the tests' next build has something to say here. */
static void send_note(struct conn *conn)
{
    struct message note;
    bool is_control = conn->purpose == PURPOSE_CONTROL || conn->purpose == PURPOSE_DISCOVERY;
    if (is_control && note_make(&note))
        (void)conn_queue(conn, &note);
}

static void handle_hello(struct conn *conn, const struct message_hello *theirs)
{
    struct conn_set *set = conn->set;
    char reason[HELLO_REASON_BYTES] = "";
    int error = check_hello(conn, theirs, reason);
    if (error < 0) {
        set->counts.refused_by_us++;
        send_refusal(conn, error, reason);
        conn_fail(conn, error, reason);
        return;
    }
    if (!conn->is_dialled) {
        conn->purpose = (enum purpose)theirs->purpose;
        error = conn_queue_hello(conn);
        if (error == 0)
            error = conn_flush(conn);
        /* The socket is fresh: one that does not even take a hello is not worth waiting for. */
        if (error == 0 && buffer_len(&conn->out) > 0)
            error = -ENOBUFS;
        if (error < 0) {
            conn_fail(conn, error, strerror(-error));
            return;
        }
    }
    loop_set_timer(set->loop, &conn->timer, 0);
    conn->version = hello_version(set->mine, theirs);
    set->n_silent -= conn_is_silent(conn);
    conn->state = CONN_OPEN;
    send_note(conn);
    set->counts.opened++;
    set->callbacks.on_open(set->context, conn, theirs);
}

/* The peer's words go to a log and perhaps a terminal. */
static void handle_refusal(struct conn *conn, const struct message_refuse *refuse)
{
    char reason[HELLO_REASON_BYTES];
    snprintf(reason, sizeof reason, "%.*s", (int)refuse->reason.len, refuse->reason.bytes);
    for (char *at = reason; *at != '\0'; at++)
        *at = *at >= ' ' && *at <= '~' ? *at : '?';
    int error = refuse->error < 0 && refuse->error > -4096 ? refuse->error : -EPROTO;
    conn->set->counts.refused_by_peer++;
    conn_fail(conn, error, reason);
}

void conn_handle(struct conn *conn, const struct message *message)
{
    struct conn_set *set = conn->set;
    if (message->type == MESSAGE_refuse)
        handle_refusal(conn, &message->u.refuse);
    else if (conn->state == CONN_HELLO)
        handle_hello(conn, &message->u.hello);
    else if (message->type == MESSAGE_hello)
        conn_fail_garbage(conn, "a second hello");
    else if (note_is(message->type))
        log_event(LOG_LEVEL_INFO, "note", "peer=%s version=%u", conn->peer_text, conn->version);
    else
        set->callbacks.on_message(set->context, conn, message);
}

/* NULL: nothing is to be said about it now.  The one that was told longest ago makes room. */
static struct conn_stranger *find_stranger(struct conn *conn, const char *reason, uint64_t now_ns)
{
    const char *port = strrchr(conn->peer_text, ':');
    size_t host_len = port ? (size_t)(port - conn->peer_text) : strlen(conn->peer_text);
    uint64_t who =
        hash_bytes64(reason, strlen(reason), hash_bytes64(conn->peer_text, host_len, 0)) | 1;
    struct conn_stranger *oldest = &conn->set->strangers[0];
    for (int i = 0; i < CONN_STRANGERS_MAX; i++) {
        struct conn_stranger *at = &conn->set->strangers[i];
        if (at->who == who && now_ns < at->told_ns + STRANGER_PAUSE_NS) {
            at->repeats++;
            return NULL;
        }
        if (at->who == who)
            return at;
        if (at->told_ns < oldest->told_ns)
            oldest = at;
    }
    if (oldest->who && now_ns < oldest->told_ns + STRANGERS_PAUSE_NS)
        return NULL;
    *oldest = (struct conn_stranger){.who = who};
    return oldest;
}

/* A port that is scanned, or asked by the wrong cluster again and again, must not fill a disk, nor
 * must something else that lives at a discovery address. */
void conn_tell(struct conn *conn, const char *event, int error, const char *reason)
{
    uint64_t now_ns = clock_now_ns();
    struct conn_stranger *stranger = find_stranger(conn, reason, now_ns);
    if (!stranger)
        return;
    log_event(LOG_LEVEL_WARNING, event, "peer=%s error=%s reason=%s repeats=%u", conn->peer_text,
              strerrorname_np(-error), log_quoted(reason), stranger->repeats);
    stranger->told_ns = now_ns;
    stranger->repeats = 0;
}

/* --- what users ask ------------------------------------------------------------------------- */

void conn_close(struct conn *conn)
{
    if (conn == NULL || conn->state == CONN_CLOSED)
        return;
    if (conn->state == CONN_OPEN)
        (void)conn_flush(conn);
    conn_release(conn);
}

void conn_refuse(struct conn *conn, int error, const char *reason)
{
    CHECK(conn->state == CONN_OPEN);
    conn->set->counts.refused_by_us++;
    send_refusal(conn, error, reason);
    conn_release(conn);
}

int conn_detach(struct conn *conn, const uint8_t **ret_rest, size_t *ret_rest_len)
{
    CHECK(conn->state == CONN_OPEN && !conn->is_dialled && buffer_len(&conn->out) == 0);
    int fd = conn->fd;
    /* The watch must go while the descriptor is still ours: it leaves the loop's epoll set. */
    loop_remove(conn->watch);
    conn->watch = NULL;
    conn->fd = -1;
    *ret_rest = conn->in.bytes + conn->in.begin;
    *ret_rest_len = buffer_len(&conn->in);
    conn_release(conn);
    return fd;
}

void conn_set_user(struct conn *conn, void *user)
{
    conn->user = user;
}

void *conn_user(const struct conn *conn)
{
    return conn->user;
}

bool conn_is_dialled(const struct conn *conn)
{
    return conn->is_dialled;
}

const char *conn_peer_text(const struct conn *conn)
{
    return conn->peer_text;
}

enum purpose conn_purpose(const struct conn *conn)
{
    return conn->purpose;
}

uint16_t conn_version(const struct conn *conn)
{
    return conn->version;
}

uint32_t conn_queued_bytes(const struct conn *conn)
{
    return (uint32_t)buffer_len(&conn->out);
}

int conn_set_new(struct loop *loop, const struct message_hello *mine,
                 const struct conn_callbacks *callbacks, void *context, struct conn_set **ret_set)
{
    struct conn_set *set = calloc(1, sizeof *set);
    if (set == NULL)
        return -ENOMEM;
    TAILQ_INIT(&set->conns);
    set->loop = loop;
    set->mine = mine;
    set->callbacks = *callbacks;
    set->context = context;
    set->open_timeout_ns = CONN_OPEN_TIMEOUT_NS;
    set->silent_max = CONN_SILENT_MAX;
    set->accepted_max = CONN_ACCEPTED_MAX;
    set->spare_ns = CONN_SPARE_NS;
    *ret_set = set;
    return 0;
}

void conn_set_free(struct conn_set *set)
{
    if (set == NULL)
        return;
    while (!TAILQ_EMPTY(&set->conns))
        conn_close(TAILQ_FIRST(&set->conns));
    free(set);
}

struct conn *conn_set_first(const struct conn_set *set)
{
    return set == NULL ? NULL : TAILQ_FIRST(&set->conns);
}

void conn_set_open_timeout(struct conn_set *set, uint64_t timeout_ns)
{
    set->open_timeout_ns = timeout_ns;
}

void conn_set_silent_max(struct conn_set *set, uint32_t most)
{
    set->silent_max = most;
}

void conn_set_accepted_max(struct conn_set *set, uint32_t most, uint64_t spare_ns)
{
    set->accepted_max = most;
    set->spare_ns = spare_ns;
}

const struct conn_counts *conn_set_counts(const struct conn_set *set)
{
    return &set->counts;
}
