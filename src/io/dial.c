/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dial.c - connecting with a deadline, hellos included.
 *
 * Runs on the caller's thread; no state of its own.
 */
#include "io/dial.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "io/forked.h"
#include "io/resolve.h"
#include "io/socket.h"

static void explain(const struct address *address, int error, char *ret_reason)
{
    const char *what = strerror(-error);
    if (error == -ETIMEDOUT)
        what = "does not answer in time";
    else if (error == -ECONNREFUSED)
        what = "refuses connections: no node listens there";
    else if (error == -EHOSTUNREACH)
        what = "cannot be reached: no such host name, or no way to it";
    else if (error == -ECONNRESET)
        what = "hung up";
    else if (error == -EPROTO)
        what = "does not speak this protocol";
    snprintf(ret_reason, HELLO_REASON_BYTES, "%s, port %u: %s", address->host, address->port, what);
}

static int connect_to(const struct address *address, uint64_t deadline_ns, int *ret_fd)
{
    struct socket_name name;
    int error = resolve_wait(address, deadline_ns, &name);
    if (error < 0)
        return error;
    error = socket_connect_start(&name, ret_fd);
    if (error < 0)
        return error;
    error = socket_wait(*ret_fd, POLLOUT, deadline_ns);
    return error < 0 ? error : socket_connect_result(*ret_fd);
}

static int send_hello(int fd, const struct message_hello *mine, enum purpose purpose,
                      uint64_t deadline_ns)
{
    uint8_t frame[FRAME_HEAD_BYTES + 256];
    struct message message = {.type = MESSAGE_hello, .u.hello = *mine};
    message.u.hello.purpose = (uint8_t)purpose;
    int64_t len = message_encode(&message, frame, sizeof frame);
    return len < 0 ? (int)len : socket_send_all(fd, frame, (size_t)len, deadline_ns);
}

/* A hello or a refusal; a hello's texts point into @body. */
static int receive_first(int fd, uint64_t deadline_ns, uint8_t *body, size_t body_size,
                         struct message *ret_message)
{
    uint8_t head_bytes[FRAME_HEAD_BYTES];
    struct frame_head head;
    int error = socket_receive_all(fd, head_bytes, sizeof head_bytes, deadline_ns);
    if (error < 0)
        return error;
    if (frame_head_decode(head_bytes, &head) < 0 || head.body_len_bytes > body_size ||
        (head.type != MESSAGE_hello && head.type != MESSAGE_refuse))
        return -EPROTO;
    error = socket_receive_all(fd, body, head.body_len_bytes, deadline_ns);
    /* Neither of the two has lists, so no scratch is needed. */
    return error < 0 ? error : message_decode(&head, body, NULL, ret_message);
}

int dial_refusal(const struct message_refuse *refuse, char ret_reason[HELLO_REASON_BYTES])
{
    snprintf(ret_reason, HELLO_REASON_BYTES, "%.*s", (int)refuse->reason.len, refuse->reason.bytes);
    for (char *at = ret_reason; *at != '\0'; at++)
        *at = *at >= ' ' && *at <= '~' ? *at : '?';
    return refuse->error < 0 && refuse->error > -4096 ? refuse->error : -EPROTO;
}

int dial(const struct address *address, const struct message_hello *mine, enum purpose purpose,
         uint64_t deadline_ns, int *ret_fd, struct dial_hello *ret_theirs,
         char ret_reason[HELLO_REASON_BYTES])
{
    struct message message;
    uint8_t body[512];
    int fd = -1, error = connect_to(address, deadline_ns, &fd);
    if (error == 0)
        error = send_hello(fd, mine, purpose, deadline_ns);
    if (error == 0)
        error = receive_first(fd, deadline_ns, body, sizeof body, &message);
    if (error < 0) {
        explain(address, error, ret_reason);
        goto close_socket;
    }
    error = message.type == MESSAGE_refuse ? dial_refusal(&message.u.refuse, ret_reason)
                                           : hello_check(mine, &message.u.hello, ret_reason);
    if (error < 0)
        goto close_socket;
    ret_theirs->hello = message.u.hello;
    memcpy(ret_theirs->body, message.u.hello.cluster.bytes, message.u.hello.cluster.len);
    ret_theirs->hello.cluster.bytes = (const char *)ret_theirs->body;
    *ret_fd = fd;
    return 0;

close_socket:
    if (fd >= 0)
        forked_close(fd);
    return error;
}
