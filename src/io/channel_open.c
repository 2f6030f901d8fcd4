/* SPDX-License-Identifier: Apache-2.0 */
/*
 * channel_open.c - a data connection up to the point where both hellos are there.
 *
 * Runs on the thread that will hold the channel, and waits no longer than its deadline.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/channel_internal.h"
#include "io/dial.h"

static int check_peer(const struct channel_peer *peer, const struct message_hello *theirs,
                      char *ret_reason)
{
    bool is_node = id128_is_zero(peer->node_id) || id128_equal(peer->node_id, theirs->node_id);
    if (!is_node)
        snprintf(ret_reason, HELLO_REASON_BYTES, "another node answers at %s, port %u",
                 peer->address.host, peer->address.port);
    bool is_life = peer->incarnation == 0 || peer->incarnation == theirs->incarnation;
    if (is_node && !is_life)
        snprintf(ret_reason, HELLO_REASON_BYTES, "the node at %s, port %u has been restarted",
                 peer->address.host, peer->address.port);
    return is_node && is_life ? 0 : -ESTALE;
}

int channel_open(const struct channel_peer *peer, const struct message_hello *mine,
                 uint64_t deadline_ns, struct channel **ret_channel,
                 char ret_reason[HELLO_REASON_BYTES])
{
    struct dial_hello theirs;
    struct channel *channel = malloc(sizeof *channel);
    if (channel == NULL) {
        snprintf(ret_reason, HELLO_REASON_BYTES, "out of memory");
        return -ENOMEM;
    }
    /* Not the scratch: it is large, and most of it is never touched. */
    memset(channel, 0, offsetof(struct channel, scratch));
    channel->fd = -1;
    int error =
        dial(&peer->address, mine, PURPOSE_CHANNEL, deadline_ns, &channel->fd, &theirs, ret_reason);
    if (error == 0)
        error = check_peer(peer, &theirs.hello, ret_reason);
    if (error == 0)
        error = buffer_reserve(&channel->in, CHANNEL_INPUT_BYTES, CHANNEL_INPUT_BYTES);
    if (error < 0) {
        channel_close(channel);
        return error;
    }
    *ret_channel = channel;
    return 0;
}
