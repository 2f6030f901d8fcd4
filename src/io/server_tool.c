/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server_tool.c - requests of tools: received by a serving thread, run and answered by a thread of
 * their own, because a put or get may wait for other nodes.
 *
 * One request a connection.  The mutex guards the queue and what runs now: the tool thread must be
 * able to sleep, and server_stop() to cut off the connection that it is answering; nothing on the
 * way of a page takes it.  A tool belongs to its connection until server_tool_submit(), then to the
 * queue, then to the tool thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/thread.h"

#include "base/clock.h"
#include "io/forked.h"
#include "io/server_internal.h"
#include "io/socket.h"

static void tool_free(struct server_tool *tool)
{
    if (tool->fd >= 0)
        forked_close(tool->fd);
    free(tool->json);
    free(tool->body);
    free(tool);
}

/* The others wait meanwhile, so a tool that takes nothing is not waited for as long as one that is
 * slow. */
static int send_pieces(const struct server *server, int fd, const void *bytes, size_t len,
                       uint64_t deadline_ns)
{
    const char *at = bytes;
    int error = 0;
    while (len > 0 && error == 0) {
        size_t piece = len < SERVER_TOOL_PIECE_BYTES ? len : SERVER_TOOL_PIECE_BYTES;
        uint64_t stalls_at_ns = clock_now_ns() + server->setup.stall_timeout_ns;
        error =
            socket_send_all(fd, at, piece, stalls_at_ns < deadline_ns ? stalls_at_ns : deadline_ns);
        at += piece;
        len -= piece;
    }
    return error;
}

static void send_answer(const struct server *server, const struct server_tool *tool,
                        const struct server_answer *answer)
{
    uint8_t head[FRAME_HEAD_BYTES + 64];
    struct message message = {.type = MESSAGE_answer, .request = tool->request};
    message.u.answer.error = answer->error;
    message.u.answer.json_len_bytes = (uint32_t)answer->json_len;
    message.u.answer.body_len_bytes = answer->body_len;
    int64_t len = message_encode(&message, head, sizeof head);
    uint64_t deadline_ns = clock_now_ns() + SERVER_TOOL_TIMEOUT_NS;
    /* A tool that hangs up early has its reasons: its end of the connection is all that is lost. */
    if (len > 0 && send_pieces(server, tool->fd, head, (size_t)len, deadline_ns) == 0 &&
        send_pieces(server, tool->fd, answer->json, answer->json_len, deadline_ns) == 0)
        (void)send_pieces(server, tool->fd, answer->body, answer->body_len, deadline_ns);
}

static void run(struct server *server, struct server_tool *tool)
{
    struct server_request request = {tool->json, tool->json_len, tool->body, tool->body_len};
    struct server_answer answer = {0};
    server->setup.ops.request(server->setup.context, &request, &answer);
    send_answer(server, tool, &answer);
    free(answer.json);
    free(answer.body);
}

/* The next tool, or NULL at the end. */
static struct server_tool *take(struct server_tools *tools)
{
    pthread_mutex_lock(&tools->mutex);
    while (tools->first == NULL && !tools->is_stopping)
        pthread_cond_wait(&tools->changed, &tools->mutex);
    struct server_tool *tool = tools->is_stopping ? NULL : tools->first;
    if (tool != NULL) {
        tools->first = tool->next;
        if (tools->first == NULL)
            tools->end = &tools->first;
        tools->fd_now = tool->fd;
    }
    pthread_mutex_unlock(&tools->mutex);
    return tool;
}

/* The descriptor is not cut off any more, so it may be closed. */
static void finish(struct server_tools *tools, struct server_tool *tool)
{
    pthread_mutex_lock(&tools->mutex);
    tools->fd_now = -1;
    tools->n--;
    pthread_mutex_unlock(&tools->mutex);
    tool_free(tool);
}

static void *thread_main(void *argument)
{
    struct server *server = argument;
    struct server_tool *tool;
    while ((tool = take(&server->tools)) != NULL) {
        run(server, tool);
        finish(&server->tools, tool);
    }
    return NULL;
}

int server_tools_start(struct server *server)
{
    struct server_tools *tools = &server->tools;
    pthread_mutex_init(&tools->mutex, NULL);
    pthread_cond_init(&tools->changed, NULL);
    tools->end = &tools->first;
    tools->fd_now = -1;
    int error = thread_start(&tools->id, NULL, "pc-tools", thread_main, server);
    tools->is_started = error == 0;
    return error;
}

void server_tools_stop(struct server *server)
{
    struct server_tools *tools = &server->tools;
    pthread_mutex_lock(&tools->mutex);
    tools->is_stopping = true;
    if (tools->fd_now >= 0)
        shutdown(tools->fd_now, SHUT_RDWR);
    pthread_cond_signal(&tools->changed);
    pthread_mutex_unlock(&tools->mutex);
    if (tools->is_started)
        pthread_join(tools->id, NULL);
    while (tools->first != NULL) {
        struct server_tool *tool = tools->first;
        tools->first = tool->next;
        tool_free(tool);
    }
    pthread_cond_destroy(&tools->changed);
    pthread_mutex_destroy(&tools->mutex);
}

/* --- what serving threads call -------------------------------------------------------------- */

static int tool_fill(struct server_tool *tool, uint32_t request,
                     const struct message_request *message)
{
    tool->fd = -1;
    tool->request = request;
    tool->json_len = message->json.len;
    tool->body_len = (size_t)message->body_len_bytes;
    tool->json = malloc(tool->json_len + 1);
    tool->body = malloc(tool->body_len + 1);
    if (tool->json == NULL || tool->body == NULL)
        return -ENOMEM;
    if (tool->json_len > 0)
        memcpy(tool->json, message->json.bytes, tool->json_len);
    tool->json[tool->json_len] = '\0';
    return 0;
}

static int reserve(struct server_tools *tools)
{
    pthread_mutex_lock(&tools->mutex);
    bool fits = tools->n < SERVER_TOOLS_MAX;
    tools->n += fits;
    pthread_mutex_unlock(&tools->mutex);
    return fits ? 0 : -EBUSY;
}

static void give_back(struct server_tools *tools)
{
    pthread_mutex_lock(&tools->mutex);
    tools->n--;
    pthread_mutex_unlock(&tools->mutex);
}

int server_tool_new(struct server *server, uint32_t request, const struct message_request *message,
                    struct server_tool **ret_tool)
{
    if (message->body_len_bytes > SERVER_BODY_MAX_BYTES)
        return -EMSGSIZE;
    int error = reserve(&server->tools);
    if (error < 0)
        return error;
    struct server_tool *tool = calloc(1, sizeof *tool);
    if (tool == NULL) {
        give_back(&server->tools);
        return -ENOMEM;
    }
    error = tool_fill(tool, request, message);
    if (error < 0) {
        server_tool_drop(server, tool);
        return error;
    }
    *ret_tool = tool;
    return 0;
}

void server_tool_submit(struct server *server, struct server_tool *tool, int fd)
{
    struct server_tools *tools = &server->tools;
    tool->fd = fd;
    tool->next = NULL;
    server_count(&server->tool_requests, 1);
    pthread_mutex_lock(&tools->mutex);
    *tools->end = tool;
    tools->end = &tool->next;
    pthread_cond_signal(&tools->changed);
    pthread_mutex_unlock(&tools->mutex);
}

void server_tool_drop(struct server *server, struct server_tool *tool)
{
    if (tool == NULL)
        return;
    give_back(&server->tools);
    tool_free(tool);
}
