/* SPDX-License-Identifier: Apache-2.0 */
/*
 * links.c - control and discovery connections as the core's numbered links.  The node thread only.
 */
#include "node/links.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/log.h"
#include "node/discovery.h"
#include "node/internal.h"
#include "node/life.h"
#include "node/probe.h"
#include "node/step.h"

/* What a dialled connection is for; freed with it. */
struct link_user {
    uint32_t link; /* UINT32_MAX until it is open */
    enum purpose purpose;
    struct id128 node_id;
    uint64_t incarnation;
    uint64_t life; /* of this node, that has said hello or will */
    uint32_t dial; /* to discovery: its number; 0: the other end dialled */
    bool is_probe; /* only who has the port is to be known */
};

static uint32_t take_link(struct node *node, struct conn *conn)
{
    for (uint32_t i = 0; i < CORE_LINKS_MAX; i++)
        if (!node->links[i]) {
            node->links[i] = conn;
            return i;
        }
    return UINT32_MAX;
}

static struct link_user *new_user(const struct node *node, enum purpose purpose,
                                  struct id128 node_id, uint64_t incarnation)
{
    struct link_user *user = malloc(sizeof *user);
    if (user)
        *user = (struct link_user){.link = UINT32_MAX,
                                   .purpose = purpose,
                                   .node_id = node_id,
                                   .incarnation = incarnation,
                                   .life = node->links_life};
    return user;
}

/* --- from the core --- */

void links_send(struct node *node, uint32_t link, const uint8_t *frame, size_t len)
{
    struct conn *conn = node->links[link];
    const struct link_user *user = conn ? conn_user(conn) : NULL;
    if (user && life_may_speak(node, user->life))
        conn_send_frame(conn, frame, len);
}

static void link_down(struct node *node, const struct link_user *user)
{
    uint32_t link = user->link;
    struct core_event event = {.type = CORE_LINK_DOWN, .link = link};
    if (user->dial)
        node->discovery.n_links--;
    node->links[link] = NULL;
    node_step(node, &event, NULL);
}

void links_hangup(struct node *node, uint32_t link)
{
    struct conn *conn = node->links[link];
    if (!conn)
        return;
    struct link_user *user = conn_user(conn);
    conn_close(conn);
    link_down(node, user);
    free(user);
}

void links_dial(struct node *node, const struct core_dial *dial)
{
    struct address to = address_of(dial->host, dial->port);
    if (atomic_load(&node->has_ended))
        return;
    struct link_user *user = new_user(node, dial->purpose, dial->node_id, dial->incarnation);
    struct conn *conn;
    if (!user)
        return; /* the core dials again */
    user->dial = dial->number;
    if (conn_dial(node->conns, &to, dial->purpose, user, &conn) != 0)
        free(user);
}

void links_probe(struct node *node, const struct address *to)
{
    struct link_user *user = new_user(node, PURPOSE_DISCOVERY, (struct id128){0}, 0);
    struct conn *conn;
    if (!user)
        return;
    user->is_probe = true;
    if (conn_dial(node->conns, to, PURPOSE_DISCOVERY, user, &conn) != 0)
        free(user);
}

/* --- from the sockets --- */

static void refuse_or_close(struct conn *conn, struct link_user *user, int error,
                            const char *reason)
{
    free(user);
    conn_set_user(conn, NULL);
    conn_refuse(conn, error, reason);
}

static void open_link(struct node *node, struct conn *conn, struct link_user *user,
                      const struct message_hello *theirs)
{
    user->link = take_link(node, conn);
    if (user->link == UINT32_MAX) {
        refuse_or_close(conn, user, -EBUSY, "this node has too many control connections");
        return;
    }
    conn_set_user(conn, user);
    struct core_event event = {
        .type = CORE_LINK_UP,
        .link = user->link,
        .u.up = {user->purpose, theirs->node_id, theirs->incarnation, user->dial,
                 conn_version(conn)},
    };
    if (user->dial) {
        node->discovery.n_links++;
        discovery_reached(node, conn_peer_text(conn), NULL);
    } else if (user->purpose == PURPOSE_DISCOVERY) {
        conn_set_patience(conn, node->config.ring_grace_ns); /* members speak at each heartbeat */
    }
    node_step(node, &event, NULL);
}

static void hand_to_server(struct node *node, struct conn *conn, enum purpose purpose,
                           const struct message_hello *theirs)
{
    const uint8_t *rest;
    size_t rest_len;
    struct server_arrival arrival = {
        purpose, conn_version(conn), {theirs->node_id, theirs->incarnation}};
    int fd = conn_detach(conn, &rest, &rest_len);
    if (fd >= 0)
        server_add(node->server, fd, &arrival, rest, rest_len);
}

/* Its hello came from this node before a new life of it began, or after the last one has ended. */
static bool is_void(const struct node *node, const struct conn *conn, const struct link_user *user)
{
    uint64_t said = user ? user->life : node->links_life;
    return conn_purpose(conn) != PURPOSE_TOOL && !life_may_speak(node, said);
}

static void on_open(void *context, struct conn *conn, const struct message_hello *theirs)
{
    struct node *node = context;
    struct link_user *user = conn_user(conn);
    enum purpose purpose = conn_purpose(conn);
    if (probe_owns(conn)) {
        probe_opened(node, conn, theirs);
    } else if (is_void(node, conn, user)) {
        refuse_or_close(conn, user, -ESTALE,
                        atomic_load(&node->has_ended) ? node->end_text
                                                      : "this node begins a new life: call again");
    } else if (conn_is_dialled(conn)) {
        bool is_other =
            !id128_is_zero(user->node_id) && (!id128_equal(user->node_id, theirs->node_id) ||
                                              user->incarnation != theirs->incarnation);
        if (user->is_probe)
            refuse_or_close(conn, user, -EALREADY, "only a look at who serves this port");
        else if (is_other)
            refuse_or_close(conn, user, -ESTALE, "another node was expected at this address");
        else
            open_link(node, conn, user, theirs);
    } else if (purpose == PURPOSE_CHANNEL || purpose == PURPOSE_TOOL) {
        hand_to_server(node, conn, purpose, theirs);
    } else if (purpose == PURPOSE_DISCOVERY && !node->discovery.serves) {
        conn_refuse(conn, -ENOTCONN, "this node does not serve discovery: is the port right?");
    } else {
        user = new_user(node, purpose, theirs->node_id, theirs->incarnation);
        if (user)
            open_link(node, conn, user, theirs);
        else
            conn_close(conn);
    }
}

static void on_message(void *context, struct conn *conn, const struct message *message)
{
    if (probe_owns(conn)) {
        probe_answered(context, conn, message);
        return;
    }
    const struct link_user *user = conn_user(conn);
    struct core_event event = {.type = CORE_MESSAGE, .link = user->link, .u.message = message};
    node_step(context, &event, NULL);
}

static void on_close(void *context, struct conn *conn, int error, const char *reason)
{
    struct node *node = context;
    struct link_user *user = conn_user(conn);
    if (probe_owns(conn))
        probe_closed(node, conn);
    if (!user || probe_owns(conn))
        return;
    if (error == -EPROTO)
        conn_tell(conn, "connection_broken", error, reason);
    else if (!conn_is_dialled(conn) && (error == -ETIMEDOUT || error == -EBUSY))
        conn_tell(conn, "connection_mute", error, reason);
    if (user->link != UINT32_MAX)
        link_down(node, user);
    if (user->is_probe)
        discovery_probed(node, error, reason);
    else if (user->dial)
        discovery_reached(node, conn_peer_text(conn), reason);
    free(user);
}

/* A control connection is a member's, and its only one: the core hangs up on all others.  It may be
 * mute for long. */
static enum conn_worth worth(void *context, const struct conn *conn)
{
    const struct node *node = context;
    const struct link_user *user = conn_user(conn);
    uint16_t peer;
    if (!user || user->purpose != PURPOSE_DISCOVERY)
        return CONN_TO_BE_KEPT;
    bool is_known = view_peer_index(node->view, user->node_id, user->incarnation, &peer) == 0;
    return is_known ? CONN_OF_MEMBER : CONN_OF_STRANGER;
}

static void on_shortage(void *context)
{
    struct node *node = context;
    server_make_room(node->server);
}

/* --- open, rename, close --- */

static void on_shm_wanted(void *context, uint32_t events)
{
    struct node *node = context;
    (void)events;
    shm_listener_accept(node->shm_listener, &node->arena);
}

/* An error only where shared memory was asked for by name. */
static int open_shm(struct node *node, char ret_error[NODE_ERROR_BYTES])
{
    pthread_mutex_lock(&node->core_lock);
    struct shm_identity self = node->peers[CORE_SELF].identity;
    pthread_mutex_unlock(&node->core_lock);
    if (node->config.protocol == NODE_PROTOCOL_TCP)
        return 0;
    int error = shm_listener_open(&self, &node->shm_listener);
    if (!error)
        error = loop_add(node->loop, shm_listener_fd(node->shm_listener), EPOLLIN, on_shm_wanted,
                         node, &node->shm_watch);
    if (error && node->config.protocol == NODE_PROTOCOL_SHM) {
        snprintf(ret_error, NODE_ERROR_BYTES, "protocol=shm does not work here: %s",
                 strerror(-error));
        return error;
    }
    if (error)
        log_event(LOG_LEVEL_WARNING, "shm_unavailable", "reason=\"%s\" effect=\"peers use tcp\"",
                  strerror(-error));
    return 0;
}

/* Where it is not the port that is in the way, it is the host. */
static void explain_no_port(const struct node *node, int error, const char *reason,
                            char ret_error[NODE_ERROR_BYTES])
{
    if (error == -EADDRINUSE || error == -EACCES)
        snprintf(ret_error, NODE_ERROR_BYTES, "%.200s: give another control_port", reason);
    else
        snprintf(ret_error, NODE_ERROR_BYTES, "%.200s (the address comes from %s)", reason,
                 node->discovery.host_option);
}

int links_open(struct node *node, char ret_error[NODE_ERROR_BYTES])
{
    static const struct conn_callbacks callbacks = {.on_open = on_open,
                                                    .on_message = on_message,
                                                    .on_close = on_close,
                                                    .worth = worth,
                                                    .on_shortage = on_shortage};
    if (conn_set_new(node->loop, &node->links_hello, &callbacks, node, &node->conns) != 0) {
        snprintf(ret_error, NODE_ERROR_BYTES, "not enough memory for the control connections");
        return -ENOMEM;
    }
    char reason[SOCKET_REASON_BYTES];
    int error =
        listener_open(node->loop, node->conns, &node->config.control, &node->listener, reason);
    if (error) {
        explain_no_port(node, error, reason, ret_error);
        return error;
    }
    node->config.control.port = listener_port(node->listener);
    discovery_open(node);
    probe_init(node);
    return open_shm(node, ret_error);
}

static void close_shm(struct node *node)
{
    loop_remove(node->shm_watch);
    shm_listener_close(node->shm_listener);
    node->shm_watch = NULL;
    node->shm_listener = NULL;
}

void links_rename(struct node *node)
{
    char ignored[NODE_ERROR_BYTES]; /* it worked before, and what does not work is logged */
    close_shm(node);
    (void)open_shm(node, ignored);
}

void links_retire(struct node *node)
{
    close_shm(node);
    discovery_close(node);
    server_hang_up(node->server);
    for (uint32_t i = 0; i < CORE_LINKS_MAX; i++)
        links_hangup(node, i);
}

void links_close(struct node *node)
{
    probe_stop(node);
    close_shm(node);
    discovery_close(node);
    listener_close(node->listener);
    for (struct conn *conn; (conn = conn_set_first(node->conns)) != NULL; conn_close(conn))
        free(conn_user(conn)); /* also of those that are still being dialled */
    conn_set_free(node->conns);
}
