/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server_conn.c - one connection of the serving side: requests in, answers out, in order.
 *
 * Requests wait in the input buffer (and in the kernel); one is taken when everything before it is
 * with the kernel.  While the socket takes nothing, nothing is read: that is the back-pressure, and
 * a timer bounds it.
 *
 * Runs on the connection's serving thread, but for server_conn_new().
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "io/forked.h"
#include "io/note.h"
#include "io/server_internal.h"
#include "io/socket.h"

/* --- the end -------------------------------------------------------------------------------- */

static void conn_free(struct server_conn *conn)
{
    buffer_fini(&conn->in);
    buffer_fini(&conn->out);
    free(conn);
}

/* The task frees it once nothing on the stack uses it any more. */
void server_conn_close(struct server_conn *conn)
{
    if (conn->is_closed)
        return;
    struct server_thread *thread = conn->thread;
    conn->is_closed = true;
    server_group_drop(conn);
    if (conn->guest != NULL)
        thread->server->setup.ops.unpair(thread->server->setup.context, conn->guest);
    server_tool_drop(thread->server, conn->tool);
    conn->tool = NULL;
    server_conn_leave(conn);
    if (conn->fd >= 0)
        forked_close(conn->fd);
    loop_defer(thread->loop, &conn->task);
}

/* One line a second and thread says it; the rest is counted. */
static void close_garbage(struct server_conn *conn)
{
    struct server_thread *thread = conn->thread;
    uint64_t now_ns = clock_now_ns();
    server_count(&thread->counts.garbage, 1);
    if (now_ns >= thread->tell_garbage_at_ns) {
        char text[SOCKET_TEXT_BYTES];
        socket_peer_text(conn->fd, text);
        thread->tell_garbage_at_ns = now_ns + CLOCK_NS_PER_S;
        log_event(LOG_LEVEL_WARNING, "connection_broken",
                  "peer=%s reason=\"what came is no request of this protocol\"", text);
    }
    server_conn_close(conn);
}

static void on_timer(struct loop_timer *timer)
{
    struct server_conn *conn =
        (struct server_conn *)((char *)timer - offsetof(struct server_conn, timer));
    server_count(&conn->thread->counts.stalled, 1);
    server_conn_close(conn);
}

void server_conn_leave(struct server_conn *conn)
{
    struct server_thread *thread = conn->thread;
    loop_set_timer(thread->loop, &conn->timer, 0);
    loop_remove(conn->watch);
    conn->watch = NULL;
    server_conn_unlink(conn);
    atomic_fetch_sub(&thread->n_conns, 1);
}

/* --- output --------------------------------------------------------------------------------- */

/* Sends the answers that wait and the bytes of the group behind them with one call. */
static ssize_t send_once(struct server_conn *conn)
{
    struct server_group *group = &conn->group;
    struct iovec iov[1 + GROUP_MAX];
    size_t n = 0;
    if (buffer_len(&conn->out) > 0)
        iov[n++] = (struct iovec){.iov_base = conn->out.bytes + conn->out.begin,
                                  .iov_len = buffer_len(&conn->out)};
    for (uint32_t i = group->next; i < group->n; i++)
        iov[n++] = group->rest[i];
    struct msghdr header = {.msg_iov = iov, .msg_iovlen = n};
    ssize_t sent;
    do
        sent = sendmsg(conn->fd, &header, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : sent;
}

static bool has_output(const struct server_conn *conn)
{
    return buffer_len(&conn->out) > 0 || !server_group_is_empty(&conn->group);
}

static void set_blocked(struct server_conn *conn, bool is_blocked)
{
    if (conn->is_blocked != is_blocked)
        (void)loop_modify(conn->watch, is_blocked ? EPOLLOUT : EPOLLIN);
    conn->is_blocked = is_blocked;
    uint64_t at_ns = 0;
    if (is_blocked) {
        at_ns = clock_now_ns() + conn->thread->server->setup.stall_timeout_ns;
        if (!server_group_is_empty(&conn->group) && conn->group.deadline_ns < at_ns)
            at_ns = conn->group.deadline_ns;
    }
    loop_set_timer(conn->thread->loop, &conn->timer, at_ns);
}

/* Until all is out, or the socket takes no more.  A negative errno: the connection is broken. */
static int flush(struct server_conn *conn)
{
    bool moved = false;
    while (has_output(conn)) {
        ssize_t sent = send_once(conn);
        if (sent == -EAGAIN) {
            /* Waiting starts anew when something has moved, and only then. */
            if (moved || !conn->is_blocked)
                set_blocked(conn, true);
            return 0;
        }
        if (sent < 0)
            return (int)sent;
        moved = true;
        size_t of_out =
            (size_t)sent < buffer_len(&conn->out) ? (size_t)sent : buffer_len(&conn->out);
        buffer_consume(&conn->out, of_out);
        server_group_advance(conn, (size_t)sent - of_out);
    }
    if (conn->is_blocked)
        set_blocked(conn, false);
    return 0;
}

/* --- requests ------------------------------------------------------------------------------- */

static int answer_lookup(struct server_conn *conn, const struct message *message)
{
    struct server_thread *thread = conn->thread;
    const struct server_setup *setup = &thread->server->setup;
    struct message answer = {.type = MESSAGE_locations, .request = message->request};
    setup->ops.lookup(setup->context, &message->u.lookup, &thread->answer_scratch,
                      &answer.u.locations);
    server_count(&thread->counts.lookups, 1);
    server_count(&thread->counts.lookup_keys, message->u.lookup.n_keys);
    return buffer_put_message(&conn->out, &answer, SERVER_OUTPUT_MAX_BYTES);
}

static void refuse_tool(struct server_conn *conn, int error)
{
    struct message message = {.type = MESSAGE_refuse};
    const char *reason = error == -EBUSY      ? "too many tools ask at once, try again"
                         : error == -EMSGSIZE ? "the request's body is too large"
                                              : strerror(-error);
    message.u.refuse.error = error;
    message.u.refuse.reason = (struct wire_text){reason, (uint32_t)strlen(reason)};
    server_count(&conn->thread->server->tools_refused, 1);
    if (buffer_put_message(&conn->out, &message, SERVER_OUTPUT_MAX_BYTES) == 0 && flush(conn) == 0)
        shutdown(conn->fd, SHUT_WR);
    server_conn_close(conn);
}

static void submit_tool(struct server_conn *conn)
{
    struct server_tool *tool = conn->tool;
    int fd = conn->fd;
    loop_remove(conn->watch);
    conn->watch = NULL;
    conn->tool = NULL;
    conn->fd = -1;
    server_tool_submit(conn->thread->server, tool, fd);
    server_conn_close(conn);
}

/* What stands in the input buffer behind the head is the beginning of the body. */
static int begin_tool(struct server_conn *conn, const struct message *message)
{
    struct server *server = conn->thread->server;
    int error = server_tool_new(server, message->request, &message->u.request, &conn->tool);
    if (error < 0) {
        refuse_tool(conn, error);
        return 0;
    }
    struct server_tool *tool = conn->tool;
    size_t len = buffer_len(&conn->in) < tool->body_len ? buffer_len(&conn->in) : tool->body_len;
    if (len > 0)
        memcpy(tool->body, conn->in.bytes + conn->in.begin, len);
    buffer_consume(&conn->in, len);
    tool->body_received = len;
    if (len == tool->body_len)
        submit_tool(conn);
    return 0;
}

static int dispatch(struct server_conn *conn, const struct message *message)
{
    if (conn->purpose == PURPOSE_CHANNEL && message->type == MESSAGE_lookup)
        return answer_lookup(conn, message);
    if (conn->purpose == PURPOSE_CHANNEL && message->type == MESSAGE_read)
        return server_group_begin(conn, message->request, &message->u.read);
    if (conn->purpose == PURPOSE_CHANNEL && message->type == MESSAGE_pair)
        return server_pair_answer(conn, message);
    if (conn->purpose == PURPOSE_TOOL && message->type == MESSAGE_request)
        return begin_tool(conn, message);
    return note_is(message->type) ? 0 : -EPROTO;
}

static size_t input_max(const struct server_conn *conn)
{
    size_t request = message_max_bytes(MESSAGE_request);
    return conn->purpose == PURPOSE_TOOL && request > SERVER_INPUT_BYTES ? request
                                                                         : SERVER_INPUT_BYTES;
}

/* 1: a request was taken; 0: none is complete; -EXDEV: the next is for the thread of queue
 * pairs. */
static int take_request(struct server_conn *conn)
{
    struct frame_head head;
    struct message message;
    size_t len;
    int complete = buffer_peek_frame(&conn->in, &head, &len);
    if (len > input_max(conn))
        return -EPROTO; /* no request is so long, and it would never be complete */
    if (complete <= 0)
        return complete;
    if (server_pair_is_elsewhere(conn, &head))
        return -EXDEV;
    const uint8_t *body = conn->in.bytes + conn->in.begin + FRAME_HEAD_BYTES;
    if (message_since(head.type) > conn->version)
        return -EPROTO;
    int error = message_decode(&head, body, &conn->thread->message_scratch, &message);
    if (error < 0)
        return error;
    buffer_consume(&conn->in, len);
    error = dispatch(conn, &message);
    return error < 0 ? error : 1;
}

/* The number of requests taken: small answers gather, a group must be out before the next request.
 * A negative errno: what came makes no sense. */
static int take_requests(struct server_conn *conn)
{
    int n = 0;
    while (!conn->is_closed && conn->tool == NULL && server_group_is_empty(&conn->group) &&
           buffer_len(&conn->out) < SERVER_OUTPUT_FLUSH_BYTES) {
        int taken = take_request(conn);
        if (taken < 0)
            return taken;
        if (taken == 0)
            break;
        n++;
    }
    return n;
}

/* Answers what has arrived, until nothing is left of it or the socket takes no more. */
static void serve(struct server_conn *conn)
{
    for (;;) {
        bool had_output = has_output(conn);
        int taken = take_requests(conn);
        if (conn->is_closed)
            return;
        if (taken == -EXDEV) {
            server_pair_move(conn);
            return;
        }
        if (taken < 0) {
            close_garbage(conn);
            return;
        }
        if (flush(conn) < 0) {
            server_conn_close(conn);
            return;
        }
        if (conn->is_blocked || (taken == 0 && !had_output))
            return;
    }
}

/* --- input ---------------------------------------------------------------------------------- */

static ssize_t receive(struct server_conn *conn)
{
    struct server_tool *tool = conn->tool;
    if (tool != NULL)
        return recv(conn->fd, tool->body + tool->body_received,
                    tool->body_len - tool->body_received, 0);
    /* A frame is smaller than the buffer, and what is complete was taken: there is room. */
    CHECK(buffer_len(&conn->in) < input_max(conn));
    if (buffer_reserve(&conn->in, input_max(conn) - buffer_len(&conn->in), input_max(conn)) < 0)
        return 0;
    return recv(conn->fd, conn->in.bytes + conn->in.end, buffer_room(&conn->in), 0);
}

static void on_input(struct server_conn *conn)
{
    ssize_t n = receive(conn);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        server_conn_close(conn);
        return;
    }
    server_conn_asked(conn);
    if (conn->tool == NULL) {
        conn->in.end += (size_t)n;
        serve(conn);
        return;
    }
    conn->tool->body_received += (size_t)n;
    if (conn->tool->body_received == conn->tool->body_len)
        submit_tool(conn);
}

static void on_event(void *context, uint32_t events)
{
    struct server_conn *conn = context;
    if (!conn->is_blocked)
        on_input(conn);
    else if ((events & (EPOLLERR | EPOLLHUP)) != 0)
        server_conn_close(conn);
    else
        serve(conn);
}

/* --- the beginning -------------------------------------------------------------------------- */

/* Others may have left since it was sent here. */
static bool has_place(struct server_conn *conn)
{
    struct server *server = conn->thread->server;
    if (atomic_load(&conn->thread->n_conns) <= server->setup.connections_max ||
        server_thread_make_room(conn->thread))
        return true;
    server_count(&server->connections_refused, 1);
    return false;
}

static void arrive(struct server_conn *conn)
{
    struct server_thread *thread = conn->thread;
    server_conn_link(conn);
    if (atomic_load(&thread->server->is_stopping) || !has_place(conn) ||
        loop_add(thread->loop, conn->fd, EPOLLIN, on_event, conn, &conn->watch) < 0) {
        server_conn_close(conn);
        return;
    }
    if (conn->purpose == PURPOSE_TOOL)
        loop_set_timer(thread->loop, &conn->timer, clock_now_ns() + SERVER_TOOL_TIMEOUT_NS);
    serve(conn);
}

static void task_run(struct loop_task *task)
{
    struct server_conn *conn =
        (struct server_conn *)((char *)task - offsetof(struct server_conn, task));
    if (conn->is_closed)
        conn_free(conn);
    else
        arrive(conn);
}

struct server_conn *server_conn_new(struct server_thread *thread, int fd,
                                    const struct server_arrival *arrival, const uint8_t *rest,
                                    size_t rest_len)
{
    struct server_conn *conn = calloc(1, sizeof *conn);
    if (conn == NULL)
        return NULL;
    conn->thread = thread;
    conn->fd = fd;
    conn->purpose = arrival->purpose;
    conn->version = arrival->version;
    conn->asker = arrival->asker;
    conn->task.run = task_run;
    conn->timer.run = on_timer;
    size_t size = rest_len > SERVER_INPUT_BYTES ? rest_len : SERVER_INPUT_BYTES;
    if (buffer_reserve(&conn->in, size, size) < 0) {
        free(conn);
        return NULL;
    }
    if (rest_len > 0)
        memcpy(conn->in.bytes, rest, rest_len);
    conn->in.end = rest_len;
    return conn;
}
