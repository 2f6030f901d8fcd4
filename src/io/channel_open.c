/* SPDX-License-Identifier: Apache-2.0 */
/*
 * channel_open.c - a data connection up to the point where both hellos are there.
 *
 * Nothing waits here for the peer: the connect is under way when channel_open() returns, the hello
 * and the first asks stand behind it in the output, and the peer's hello is the first thing that
 * channel_progress() takes in.  So several peers are connected to at the same time, and the first
 * ask costs two journeys, not three.  These first asks are sent before a version is agreed on, in
 * the form of the lowest one that this node speaks.
 *
 * Runs on the thread that will hold the channel.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "io/channel_internal.h"
#include "io/note.h"
#include "io/resolve.h"
#include "io/socket.h"

/* No wait for the answer is tied up in here: a name server is all that the deadline is for. */
static int start(struct channel *channel, uint64_t deadline_ns)
{
    struct socket_name name;
    struct message message = {.type = MESSAGE_hello, .u.hello = channel->mine};
    message.u.hello.purpose = PURPOSE_CHANNEL;
    int error = resolve_wait(&channel->peer.address, deadline_ns, &name);
    if (error == 0)
        error = socket_connect_start(&name, &channel->fd);
    if (error == 0)
        error = buffer_put_message(&channel->out, &message, CHANNEL_OUTPUT_MAX_BYTES);
    if (error == 0)
        error = buffer_reserve(&channel->in, CHANNEL_INPUT_BYTES, CHANNEL_INPUT_BYTES);
    return error;
}

int channel_open(const struct channel_peer *peer, const struct message_hello *mine,
                 uint64_t deadline_ns, struct channel **ret_channel,
                 char ret_reason[HELLO_REASON_BYTES])
{
    struct channel *channel = malloc(sizeof *channel);
    if (channel == NULL) {
        snprintf(ret_reason, HELLO_REASON_BYTES, "out of memory");
        return -ENOMEM;
    }
    /* Not the scratch: it is large, and most of it is never touched. */
    memset(channel, 0, offsetof(struct channel, scratch));
    channel->fd = -1;
    channel->is_opening = true;
    channel->peer = *peer;
    channel->mine = *mine;
    channel->version = mine->version_min;
    int error = start(channel, deadline_ns);
    if (error < 0) {
        snprintf(ret_reason, HELLO_REASON_BYTES, "%s, port %u: %s", peer->address.host,
                 peer->address.port, strerror(-error));
        channel_close(channel);
        return error;
    }
    *ret_channel = channel;
    return 0;
}

static int check_peer(const struct channel_peer *peer, const struct message_hello *theirs)
{
    bool is_node = id128_is_zero(peer->node_id) || id128_equal(peer->node_id, theirs->node_id);
    bool is_life = peer->incarnation == 0 || peer->incarnation == theirs->incarnation;
    return is_node && is_life ? 0 : -ESTALE;
}

static int refusal(const struct message_refuse *refuse)
{
    return refuse->error < 0 && refuse->error > -4096 ? refuse->error : -EPROTO;
}

/* From here on the channel may carry more.  Only the tests' next build has something to say at
 * once. */
static int agree(struct channel *channel, const struct message_hello *theirs)
{
    struct message note;
    channel->version = hello_version(&channel->mine, theirs);
    if (!note_make(&note) || !hello_allows(channel->version, note.type))
        return 0;
    return buffer_put_message(&channel->out, &note, CHANNEL_OUTPUT_MAX_BYTES);
}

/* The first message: a hello or a refusal, neither of which has lists. */
static int take_first(struct channel *channel, const struct frame_head *head, size_t len)
{
    char reason[HELLO_REASON_BYTES];
    struct message message;
    const uint8_t *body = channel->in.bytes + channel->in.begin + FRAME_HEAD_BYTES;
    int error = message_decode(head, body, NULL, &message);
    if (error == 0 && message.type == MESSAGE_refuse)
        error = refusal(&message.u.refuse);
    if (error == 0)
        error = hello_check(&channel->mine, &message.u.hello, reason);
    if (error == 0)
        error = check_peer(&channel->peer, &message.u.hello);
    if (error == 0)
        error = agree(channel, &message.u.hello);
    buffer_consume(&channel->in, len);
    channel->is_opening = error != 0;
    return error;
}

/* Reads no byte beyond the hello, since bytes of pages may come behind it. */
int channel_receive_hello(struct channel *channel)
{
    struct buffer *in = &channel->in;
    for (;;) {
        struct frame_head head;
        size_t len;
        int complete = buffer_peek_frame(in, &head, &len);
        if (complete < 0 || len > CHANNEL_INPUT_BYTES ||
            (buffer_len(in) >= FRAME_HEAD_BYTES && head.type != MESSAGE_hello &&
             head.type != MESSAGE_refuse))
            return -EPROTO;
        if (complete)
            return take_first(channel, &head, len);
        int error = buffer_reserve(in, len - buffer_len(in), CHANNEL_INPUT_BYTES);
        if (error < 0)
            return error;
        ssize_t got = recv(channel->fd, in->bytes + in->end, len - buffer_len(in), 0);
        if (got < 0)
            return errno == EAGAIN || errno == EINTR ? 0 : -errno;
        if (got == 0)
            return -ECONNRESET;
        in->end += (size_t)got;
    }
}
