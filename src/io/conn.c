/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn.c - control connections: messages in order, both ways, on a loop.
 *
 * Everything runs on the loop's thread, and callbacks run only from the loop: what goes wrong
 * inside conn_dial() or conn_send() is told later, by the connection's task.  A connection is freed
 * by that task too, so it stays readable until everything that is on the stack now has returned.
 *
 *     dialled:   resolving -> connecting -> hello -> open -> closed
 *     accepted:                             hello -> open -> closed
 */
#include "io/conn.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "io/conn_internal.h"
#include "io/forked.h"
#include "io/resolve.h"

enum {
    /* What is read at a time; larger frames grow the buffer as far as their own length. */
    INPUT_BYTES = 64 << 10,
    /* Until the hello is there, a stranger costs no more than this. */
    INPUT_HELLO_BYTES = 2 << 10,
    /* An empty buffer above this is given back. */
    BUFFER_KEEP_BYTES = 64 << 10,
};

/* --- the end of a connection ---------------------------------------------------------------- */

/* Accepted, and its hello is to come. */
bool conn_is_silent(const struct conn *conn)
{
    return !conn->is_dialled && conn->state == CONN_HELLO;
}

/* From here on nothing refers to the connection but its own task, which frees it. */
void conn_release(struct conn *conn)
{
    CHECK(conn->state != CONN_CLOSED);
    conn->set->n_silent -= conn_is_silent(conn);
    conn->state = CONN_CLOSED;
    conn_unlink(conn);
    conn->set->n_conns--;
    conn->set->n_accepted -= !conn->is_dialled;
    resolve_cancel(conn->resolve);
    loop_set_timer(conn->set->loop, &conn->timer, 0);
    loop_remove(conn->watch);
    if (conn->fd >= 0)
        forked_close(conn->fd);
    conn->fd = -1;
    loop_defer(conn->set->loop, &conn->task);
}

void conn_fail(struct conn *conn, int error, const char *reason)
{
    struct conn_set *set = conn->set;
    bool is_told = conn->is_dialled || conn->state == CONN_OPEN;
    if (!is_told)
        conn_tell(conn, "connection_not_accepted", error, reason);
    conn_release(conn);
    if (is_told)
        set->callbacks.on_close(set->context, conn, error, reason);
}

static void conn_fail_later(struct conn *conn, int error)
{
    if (conn->late_error != 0)
        return;
    conn->late_error = error;
    loop_defer(conn->set->loop, &conn->task);
}

/* --- output --------------------------------------------------------------------------------- */

static int watch_output(struct conn *conn, bool wanted)
{
    if (conn->watches_output == wanted)
        return 0;
    conn->watches_output = wanted;
    return loop_modify(conn->watch, wanted ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

/* 0: all that the socket takes now is sent. */
int conn_flush(struct conn *conn)
{
    struct buffer *out = &conn->out;
    while (buffer_len(out) > 0) {
        ssize_t n = send(conn->fd, out->bytes + out->begin, buffer_len(out), MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN)
            return -errno;
        if (n < 0)
            break;
        buffer_consume(out, (size_t)n);
    }
    if (buffer_len(out) == 0 && out->size > BUFFER_KEEP_BYTES)
        buffer_fini(out);
    return watch_output(conn, buffer_len(out) > 0);
}

int conn_queue(struct conn *conn, const struct message *message)
{
    if (!hello_allows(conn->version, message->type))
        return -EPROTONOSUPPORT;
    int error = buffer_put_message(&conn->out, message, CONN_OUTPUT_MAX_BYTES);
    if (error == 0)
        loop_defer(conn->set->loop, &conn->task);
    return error;
}

static int fail_on_overflow(struct conn *conn, int error)
{
    if (error == -ENOBUFS || error == -ENOMEM) {
        conn->set->counts.overflows++;
        conn_fail_later(conn, error);
    }
    return error;
}

int conn_send(struct conn *conn, const struct message *message)
{
    if (conn->state != CONN_OPEN || conn->late_error != 0)
        return -ENOTCONN;
    return fail_on_overflow(conn, conn_queue(conn, message));
}

int conn_send_frame(struct conn *conn, const uint8_t *frame, size_t len)
{
    if (conn->state != CONN_OPEN || conn->late_error != 0)
        return -ENOTCONN;
    struct frame_head head;
    CHECK(len >= FRAME_HEAD_BYTES && frame_head_decode(frame, &head) == 0);
    if (!hello_allows(conn->version, head.type))
        return -EPROTONOSUPPORT;
    int error = buffer_put_frame(&conn->out, frame, len, CONN_OUTPUT_MAX_BYTES);
    if (error == 0)
        loop_defer(conn->set->loop, &conn->task);
    return fail_on_overflow(conn, error);
}

static void task_run(struct loop_task *task)
{
    struct conn *conn = (struct conn *)((char *)task - offsetof(struct conn, task));
    if (conn->state == CONN_CLOSED) {
        buffer_fini(&conn->in);
        buffer_fini(&conn->out);
        free(conn);
        return;
    }
    if (conn->late_error == -ENOBUFS) {
        conn_fail(conn, conn->late_error, "the peer takes its messages too slowly");
        return;
    }
    int error = conn->late_error;
    if (error == 0 && conn->state >= CONN_HELLO)
        error = conn_flush(conn);
    if (error < 0)
        conn_fail(conn, error,
                  error == -EAGAIN ? "too many host names are being looked up" : strerror(-error));
}

/* --- input ---------------------------------------------------------------------------------- */

/* 1: @message was handled, go on; 0: more bytes are needed; the connection may have ended. */
static int handle_next(struct conn *conn)
{
    struct frame_head head;
    struct message message;
    size_t len;
    int complete = buffer_peek_frame(&conn->in, &head, &len);
    if (complete < 0) {
        conn_fail_garbage(conn, "what came is no message of this protocol");
        return 0;
    }
    bool head_is_known = buffer_len(&conn->in) >= FRAME_HEAD_BYTES;
    if (conn->state == CONN_HELLO && head_is_known && head.type != MESSAGE_hello &&
        head.type != MESSAGE_refuse) {
        conn_fail_garbage(conn, "the first message must be a hello");
        return 0;
    }
    if (head_is_known && message_since(head.type) > conn->version) {
        conn_fail_garbage(conn, "a message of a newer version than was agreed on");
        return 0;
    }
    if (complete == 0) {
        conn->in_wanted = len;
        return 0;
    }
    const uint8_t *body = conn->in.bytes + conn->in.begin + FRAME_HEAD_BYTES;
    if (message_decode(&head, body, &conn->set->scratch, &message) < 0) {
        conn_fail_garbage(conn, "a message breaks the bounds of this protocol");
        return 0;
    }
    /* The bytes stay where they are until the buffer is filled again. */
    buffer_consume(&conn->in, len);
    conn_handle(conn, &message);
    return conn->state != CONN_CLOSED;
}

static void read_input(struct conn *conn)
{
    struct buffer *in = &conn->in;
    size_t usual = conn->state == CONN_OPEN ? INPUT_BYTES : INPUT_HELLO_BYTES;
    size_t missing = conn->in_wanted > buffer_len(in) ? conn->in_wanted - buffer_len(in) : 0;
    size_t room = missing > usual ? missing : usual;
    int error = buffer_reserve(in, room, FRAME_HEAD_BYTES + FRAME_BODY_MAX_BYTES + INPUT_BYTES);
    if (error < 0) {
        conn_fail(conn, error, strerror(-error));
        return;
    }
    ssize_t n = recv(conn->fd, in->bytes + in->end, buffer_room(in), 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        error = n == 0 ? -ECONNRESET : -errno;
        conn->set->counts.broken++;
        conn_fail(conn, error, n == 0 ? "the peer hung up" : strerror(-error));
        return;
    }
    in->end += (size_t)n;
    conn->in_wanted = 0;
    conn_heard(conn);
    while (handle_next(conn) == 1)
        ;
    if (conn->state != CONN_CLOSED && buffer_len(in) == 0 && in->size > 2 * BUFFER_KEEP_BYTES)
        buffer_fini(in);
}

static void on_connected(struct conn *conn)
{
    int error = socket_connect_result(conn->fd);
    if (error == 0) {
        conn->state = CONN_HELLO;
        conn->watches_output = true;
        error = conn_queue_hello(conn);
    }
    if (error == 0)
        error = conn_flush(conn);
    if (error < 0)
        conn_fail(conn, error, strerror(-error));
}

static void on_event(void *context, uint32_t events)
{
    struct conn *conn = context;
    if (conn->state == CONN_CONNECTING) {
        on_connected(conn);
        return;
    }
    if ((events & EPOLLOUT) != 0) {
        int error = conn_flush(conn);
        if (error < 0) {
            conn_fail(conn, error, strerror(-error));
            return;
        }
    }
    if ((events & ~(uint32_t)EPOLLOUT) != 0)
        read_input(conn);
}

/* --- the beginning of a connection ---------------------------------------------------------- */

static void on_timer(struct loop_timer *timer)
{
    static const char *const reasons[] = {
        [CONN_RESOLVING] = "the host's name could not be looked up in time",
        [CONN_CONNECTING] = "the host did not answer in time",
        [CONN_HELLO] = "the peer did not say hello in time",
    };
    struct conn *conn = (struct conn *)((char *)timer - offsetof(struct conn, timer));
    if (conn->state == CONN_OPEN) {
        conn_lose_patience(conn);
        return;
    }
    CHECK(conn->state <= CONN_HELLO);
    conn->set->counts.timeouts++;
    conn_fail(conn, -ETIMEDOUT, reasons[conn->state]);
}

static void on_resolved(void *context, int error, const struct socket_name *name)
{
    struct conn *conn = context;
    conn->resolve = NULL;
    if (error == 0)
        error = socket_connect_start(name, &conn->fd);
    if (error == 0)
        error = loop_add(conn->set->loop, conn->fd, EPOLLOUT, on_event, conn, &conn->watch);
    if (error < 0)
        conn_fail(conn, error,
                  error == -EHOSTUNREACH ? "no such host name, or no way to it" : strerror(-error));
    else
        conn->state = CONN_CONNECTING;
}

static struct conn *conn_new(struct conn_set *set, bool is_dialled)
{
    struct conn *conn = set->n_conns < CONN_MAX ? calloc(1, sizeof *conn) : NULL;
    if (conn == NULL)
        return NULL;
    conn->set = set;
    conn->fd = -1;
    conn->is_dialled = is_dialled;
    conn->version = message_since(MESSAGE_hello);
    conn->task.run = task_run;
    conn->timer.run = on_timer;
    conn_link(conn);
    set->n_conns++;
    loop_set_timer(set->loop, &conn->timer, clock_now_ns() + set->open_timeout_ns);
    return conn;
}

int conn_dial(struct conn_set *set, const struct address *to, enum purpose purpose, void *user,
              struct conn **ret_conn)
{
    struct conn *conn = conn_new(set, true);
    if (conn == NULL)
        return -EAGAIN;
    set->counts.dialled++;
    conn->purpose = purpose;
    conn->user = user;
    conn->state = CONN_RESOLVING;
    address_format(to, conn->peer_text);
    /* A name that stands for several masters is tried with another of them each time. */
    uint32_t turn = purpose == PURPOSE_DISCOVERY ? (uint32_t)(clock_now_ns() / 1024) : 0;
    int error = resolve_start(set->loop, to, turn, on_resolved, conn, &conn->resolve);
    if (error < 0)
        conn_fail_later(conn, error);
    *ret_conn = conn;
    return 0;
}

int conn_accept(struct conn_set *set, int fd)
{
    if (set->n_silent >= set->silent_max)
        conn_drop_silent(set);
    bool has_room = set->n_accepted < set->accepted_max || conn_make_room(set, CONN_OF_MEMBER);
    struct conn *conn = has_room ? conn_new(set, false) : NULL;
    if (conn == NULL) {
        forked_close(fd);
        return -EAGAIN;
    }
    set->counts.accepted++;
    set->n_accepted++;
    socket_tune(fd);
    socket_peer_text(fd, conn->peer_text);
    conn->fd = fd;
    conn->state = CONN_HELLO;
    set->n_silent++;
    int error = loop_add(set->loop, fd, EPOLLIN, on_event, conn, &conn->watch);
    if (error < 0)
        conn_release(conn);
    return error;
}
