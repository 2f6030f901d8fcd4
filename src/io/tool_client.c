/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tool_client.c - one question of a tool to a running node.
 *
 * Runs on the caller's thread; no state of its own.
 */
#include "io/tool_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/buffer.h"
#include "io/dial.h"
#include "io/forked.h"
#include "io/socket.h"

/* An answer's JSON lists at most this much, whatever a node claims. */
enum { ANSWER_JSON_MAX_BYTES = 256 << 20 };

static int send_request(int fd, const struct server_request *request, uint64_t deadline_ns)
{
    struct buffer out = {0};
    struct message message = {.type = MESSAGE_request, .request = 1};
    message.u.request.json = (struct wire_text){request->json, (uint32_t)request->json_len};
    message.u.request.body_len_bytes = request->body_len;
    int error = buffer_put_message(&out, &message, message_max_bytes(MESSAGE_request));
    if (error == 0)
        error = socket_send_all(fd, out.bytes, buffer_len(&out), deadline_ns);
    buffer_fini(&out);
    if (error == 0)
        error = socket_send_all(fd, request->body, request->body_len, deadline_ns);
    return error;
}

/* An answer, or a refusal, whose reason is then written. */
static int receive_head(int fd, uint64_t deadline_ns, struct message_answer *ret_answer,
                        char *ret_reason)
{
    uint8_t head_bytes[FRAME_HEAD_BYTES], body[512];
    struct frame_head head;
    struct message message;
    int error = socket_receive_all(fd, head_bytes, sizeof head_bytes, deadline_ns);
    if (error < 0)
        return error;
    if (frame_head_decode(head_bytes, &head) < 0 || head.body_len_bytes > sizeof body ||
        (head.type != MESSAGE_answer && head.type != MESSAGE_refuse))
        return -EPROTO;
    error = socket_receive_all(fd, body, head.body_len_bytes, deadline_ns);
    if (error == 0)
        error = message_decode(&head, body, NULL, &message);
    if (error < 0)
        return error;
    if (message.type == MESSAGE_refuse)
        return dial_refusal(&message.u.refuse, ret_reason);
    *ret_answer = message.u.answer;
    return 0;
}

static int receive_bytes(int fd, size_t len, size_t most, uint64_t deadline_ns, void **ret_bytes)
{
    if (len > most)
        return -EPROTO;
    char *bytes = malloc(len + 1);
    if (bytes == NULL)
        return -ENOMEM;
    int error = socket_receive_all(fd, bytes, len, deadline_ns);
    if (error < 0) {
        free(bytes);
        return error;
    }
    bytes[len] = '\0';
    *ret_bytes = bytes;
    return 0;
}

static int receive_answer(int fd, uint64_t deadline_ns, struct server_answer *ret_answer,
                          char *ret_reason)
{
    struct message_answer head = {0};
    void *json = NULL, *body = NULL;
    int error = receive_head(fd, deadline_ns, &head, ret_reason);
    if (error == 0)
        error = receive_bytes(fd, head.json_len_bytes, ANSWER_JSON_MAX_BYTES, deadline_ns, &json);
    if (error == 0)
        error = receive_bytes(fd, head.body_len_bytes, SERVER_BODY_MAX_BYTES, deadline_ns, &body);
    if (error < 0) {
        free(json);
        return error;
    }
    *ret_answer = (struct server_answer){
        .error = head.error,
        .json = json,
        .json_len = head.json_len_bytes,
        .body = body,
        .body_len = head.body_len_bytes,
    };
    return 0;
}

int tool_client_ask(const struct address *address, const struct message_hello *mine,
                    const struct server_request *request, uint64_t deadline_ns,
                    struct server_answer *ret_answer, char ret_reason[HELLO_REASON_BYTES])
{
    struct dial_hello theirs;
    int fd;
    int error = dial(address, mine, PURPOSE_TOOL, deadline_ns, &fd, &theirs, ret_reason);
    if (error < 0)
        return error;
    ret_reason[0] = '\0';
    error = send_request(fd, request, deadline_ns);
    /* A node that refuses a request stops reading it, and its reason may still be there. */
    if (error == 0 || error == -EPIPE || error == -ECONNRESET)
        error = receive_answer(fd, deadline_ns, ret_answer, ret_reason);
    if (error < 0 && ret_reason[0] == '\0')
        snprintf(ret_reason, HELLO_REASON_BYTES, "%s, port %u: %s", address->host, address->port,
                 error == -ETIMEDOUT ? "the node does not answer in time" : strerror(-error));
    forked_close(fd);
    return error;
}
