/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.c - looks whether a peer whose breaker is open is back.
 *
 * No call waits for a peer that has failed once.  Who finds that it is time to look (the breaker is
 * half open) leaves it to the node thread, by probe_request(); the node thread looks by itself too,
 * while any breaker is open, so that the pages of a peer that nobody asks count again.  A probe is
 * what a caller would do: a channel, and on it a look-up, of no keys, which the peer's serving
 * threads answer.  It lives until the breaker is half open again; a process that is continued
 * answers the probe that waits for it.
 *
 * All on the node thread but probe_request(), probe_silent() and probe_look().
 */
#include "node/probe.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "node/internal.h"

/* How late a look may be: a fraction of the shortest pause of a breaker. */
#define LOOK_INTERVAL_NS UINT64_C(100000000)

/* The user of a probe's connection. */
struct probe {
    uint16_t peer;
    struct id128 node_id;
    uint64_t incarnation;
};

/* For as long as a breaker is open. */
static void look_again(struct node *node)
{
    if (node->probe_timer.at_ns == 0)
        loop_set_timer(node->loop, &node->probe_timer, clock_now_ns() + LOOK_INTERVAL_NS);
}

/* Only what is found out about the present meaning of the index counts. */
static void report(struct node *node, const struct probe *probe, bool has_answered)
{
    struct node_peer *peer = &node->peers[probe->peer];
    struct breaker *breaker = &node->view->breakers[probe->peer];
    pthread_mutex_lock(&peer->lock);
    bool is_same = !peer->is_gone && id128_equal(peer->identity.node_id, probe->node_id) &&
                   peer->identity.incarnation == probe->incarnation;
    pthread_mutex_unlock(&peer->lock);
    if (is_same && has_answered)
        breaker_succeeded(breaker);
    else if (is_same)
        breaker_failed(breaker, clock_now_ns());
    look_again(node);
}

/* The connection is the caller's to close, if it is not closed already. */
static void end(struct node *node, struct conn *conn, bool has_answered)
{
    struct probe *probe = conn_user(conn);
    if (node->peers[probe->peer].probe == conn)
        node->peers[probe->peer].probe = NULL;
    report(node, probe, has_answered);
    conn_set_user(conn, NULL);
    free(probe);
}

static void give_up(struct node *node, uint16_t index)
{
    struct conn *conn = node->peers[index].probe;
    if (!conn)
        return;
    end(node, conn, false);
    conn_close(conn);
}

static void begin(struct node *node, uint16_t index)
{
    struct node_peer *peer = &node->peers[index];
    struct probe *probe = malloc(sizeof *probe);
    pthread_mutex_lock(&peer->lock);
    bool is_gone = peer->is_gone || peer->control_port == 0;
    struct address to = address_of(peer->host, peer->control_port);
    if (probe)
        *probe = (struct probe){index, peer->identity.node_id, peer->identity.incarnation};
    pthread_mutex_unlock(&peer->lock);
    if (!probe || is_gone || conn_dial(node->conns, &to, PURPOSE_CHANNEL, probe, &peer->probe) != 0)
        free(probe); /* the next look tries again */
}

static void look(struct node *node)
{
    uint64_t now_ns = clock_now_ns();
    for (uint16_t i = 1; i < CORE_PEERS_MAX; i++) {
        struct node_peer *peer = &node->peers[i];
        struct breaker *breaker = &node->view->breakers[i];
        bool is_open = !breaker_is_closed(breaker);
        bool is_due = is_open && breaker_allows(breaker, now_ns);
        bool is_wanted = atomic_load(&peer->wants_probe) &&
                         atomic_exchange(&peer->wants_probe, false) && !peer->probe;
        if (is_open)
            look_again(node);
        if (is_due)
            give_up(node, i);
        if (is_due || is_wanted)
            begin(node, i);
    }
}

static void on_timer(struct loop_timer *timer)
{
    look((struct node *)((char *)timer - offsetof(struct node, probe_timer)));
}

static void on_wanted(struct loop_task *task)
{
    look((struct node *)((char *)task - offsetof(struct node, probe_task)));
}

void probe_init(struct node *node)
{
    node->probe_task.run = on_wanted;
    node->probe_timer.run = on_timer;
}

void probe_stop(struct node *node)
{
    if (node->loop)
        loop_set_timer(node->loop, &node->probe_timer, 0);
}

void probe_look(struct node *node)
{
    loop_post(node->loop, &node->probe_task);
}

void probe_request(struct node *node, uint16_t peer)
{
    atomic_store(&node->peers[peer].wants_probe, true);
    probe_look(node);
}

/* The peer may be tried at once, and the node thread sees that it may. */
void probe_silent(struct node *node, uint16_t peer)
{
    breaker_silent(&node->view->breakers[peer], clock_now_ns());
    probe_look(node);
}

/* --- from the connection --- */

bool probe_owns(const struct conn *conn)
{
    return conn_is_dialled(conn) && conn_purpose(conn) == PURPOSE_CHANNEL;
}

void probe_opened(struct node *node, struct conn *conn, const struct message_hello *theirs)
{
    const struct probe *probe = conn_user(conn);
    const struct message lookup = {.type = MESSAGE_lookup};
    bool is_it =
        id128_equal(probe->node_id, theirs->node_id) && probe->incarnation == theirs->incarnation;
    if (is_it && conn_send(conn, &lookup) == 0)
        return;
    end(node, conn, false);
    conn_close(conn);
}

void probe_answered(struct node *node, struct conn *conn, const struct message *message)
{
    end(node, conn, message->type == MESSAGE_locations);
    conn_close(conn);
}

void probe_closed(struct node *node, struct conn *conn)
{
    if (conn_user(conn))
        end(node, conn, false);
}
