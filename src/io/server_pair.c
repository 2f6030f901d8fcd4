/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server_pair.c - channels by which a peer asks for queue pairs, on a thread of their own.
 *
 * Making queue pairs and destroying them takes an adapter a millisecond, or, when it is about to
 * fail, as long as its driver waits for it.  That must not hold up look-ups and reads of other
 * peers, so a channel goes from its serving thread to this one with its first request of the kind,
 * and stays. What hangs there costs others new queue pairs, for which nobody waits longer than 0.2
 * s.
 */
#include <errno.h>

#include "io/server_internal.h"

/* NULL: the setup cannot pair. */
static struct server_thread *pair_thread(const struct server *server)
{
    return server->threads[server->setup.threads];
}

bool server_pair_is_elsewhere(const struct server_conn *conn, const struct frame_head *head)
{
    const struct server_thread *there = pair_thread(conn->thread->server);
    return head->type == MESSAGE_pair && conn->purpose == PURPOSE_CHANNEL && there != NULL &&
           there != conn->thread;
}

void server_pair_move(struct server_conn *conn)
{
    struct server_thread *there = pair_thread(conn->thread->server);
    /* Those beyond the most make room there, if nobody who has queue pairs must go for it. */
    if (atomic_load(&there->n_conns) >=
        there->server->setup.connections_max + SERVER_ARRIVALS_MAX) {
        server_conn_close(conn);
        return;
    }
    server_conn_leave(conn);
    conn->is_blocked = false; /* it is found out anew */
    conn->thread = there;
    atomic_fetch_add(&there->n_conns, 1);
    loop_post(there->loop, &conn->task);
}

int server_pair_answer(struct server_conn *conn, const struct message *message)
{
    struct server_thread *thread = conn->thread;
    const struct server_setup *setup = &thread->server->setup;
    struct message answer = {.type = MESSAGE_paired, .request = message->request};
    if (conn->has_paired || setup->ops.pair == NULL)
        return -EPROTO; /* once a channel, whatever came of it: an adapter may take a second */
    conn->has_paired = true;
    setup->ops.pair(setup->context, &conn->asker, &message->u.pair, &thread->answer_scratch,
                    &answer.u.paired, &conn->guest);
    return buffer_put_message(&conn->out, &answer, SERVER_OUTPUT_MAX_BYTES);
}
