/* SPDX-License-Identifier: Apache-2.0 */
/*
 * life.c - who this node is: its seat, its incarnation, and what ends a life of it.
 *
 * A new life begins in place, under core_lock, in whichever thread finds that the old one is over,
 * before that thread's own step: the core forgets its connections, what waits to be sent is
 * dropped, channels of both directions are closed.  The node thread takes the new life over before
 * it speaks again: it has the seat written (io/state_writer.h), answers to the new name, and dials.
 *
 *     the lease ran out (core/lease.h)      the same id, incarnation + 1
 *     a copy of the id is in the cluster    another id, unless this one was given
 *     a newer life of the id is             none: the node has ended by itself, and says why
 *
 * After a pause the incarnation is raised by one and not taken from the clock, so this process
 * stays the older one of two that were given one id.
 */
#include "node/life.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "io/host_id.h"
#include "node/internal.h"
#include "node/links.h"
#include "node/step.h"
#include "wire/version.h"

static void introduce(struct node *node)
{
    node->hello = (struct message_hello){
        .version_min = wire_versions.min,
        .version_max = wire_versions.max,
        .auth = AUTH_NONE,
        .cluster = {node->config.cluster, (uint32_t)strlen(node->config.cluster)},
        .node_id = node->config.node_id,
        .incarnation = node->incarnation,
        .boot_id = node->boot_id,
        .vnodes = node->config.vnodes,
        .directory_replicas = (uint8_t)node->config.directory_replicas,
    };
    node->peers[CORE_SELF].identity = (struct shm_identity){
        .node_id = node->config.node_id,
        .boot_id = node->boot_id,
        .incarnation = node->incarnation,
        .cluster = hash_bytes64(node->config.cluster, strlen(node->config.cluster), 0),
    };
    atomic_fetch_add(&node->life, 1);
    lease_begin(&node->lease, node->config.member_ttl_ns, clock_boot_ns());
}

/* --- the first one -------------------------------------------------------------------------- */

/* Rises at every start, also when the clock was set back or the seat came out of a backup. */
static uint64_t next_incarnation(uint64_t stored)
{
    uint64_t now_us = clock_day_us();
    return stored + 1 > now_us ? stored + 1 : now_us;
}

/* A seat's id, unless another one was given; the incarnation only if it is that id's. */
static int take_seat(struct node *node, uint64_t *stored, char ret_error[NODE_ERROR_BYTES])
{
    char reason[STATE_DIR_REASON_BYTES];
    struct seat_identity kept;
    const char *flaw;
    int error = seat_take(node->config.state_dir, node->config.node_id, &node->seat, reason);
    if (error) {
        snprintf(ret_error, NODE_ERROR_BYTES, "%s", reason);
        return error;
    }
    bool is_kept = seat_read(node->seat, &kept, &flaw);
    if (flaw)
        log_event(LOG_LEVEL_WARNING, "seat_damaged", "seat=%s reason=\"%s\" effect=\"%s\"",
                  seat_path(node->seat), flaw,
                  node->id_is_given ? "it is written anew" : "this node takes a new id");
    if (is_kept && !node->id_is_given)
        node->config.node_id = kept.node_id;
    if (is_kept && id128_equal(kept.node_id, node->config.node_id))
        *stored = kept.incarnation;
    if (!node->id_is_given)
        node->seat_place = seat_place(node->seat, node->boot_id);
    return 0;
}

/* Whoever starts the node waits for it, and hears what is wrong; from then on nobody does. */
static int keep_identity(struct node *node, char ret_error[NODE_ERROR_BYTES])
{
    struct seat_identity identity = {node->config.node_id, node->incarnation};
    if (!node->seat)
        return 0;
    int error = seat_write(node->seat, &identity);
    if (!error)
        error = state_writer_new(node->config.state_dir, node->seat, &node->state);
    if (error)
        snprintf(ret_error, NODE_ERROR_BYTES, "state_dir: cannot write %.120s/identity: %s",
                 seat_path(node->seat), strerror(-error));
    return error;
}

int life_open(struct node *node, char ret_error[NODE_ERROR_BYTES])
{
    uint64_t stored = 0;
    int error = host_id_boot(HOST_ID_BOOT_PATH, &node->boot_id);
    if (error) {
        snprintf(ret_error, NODE_ERROR_BYTES, "%s cannot be read: %s", HOST_ID_BOOT_PATH,
                 strerror(-error));
        return error;
    }
    node->id_is_given = !id128_is_zero(node->config.node_id);
    if (node->config.state_dir[0])
        error = take_seat(node, &stored, ret_error);
    if (!error && id128_is_zero(node->config.node_id))
        error = host_id_random(&node->config.node_id);
    if (error)
        return error;
    node->incarnation = next_incarnation(stored);
    introduce(node);
    node->links_hello = node->hello;
    node->links_life = atomic_load(&node->life);
    return keep_identity(node, ret_error);
}

/* What was opened meanwhile took its time. */
void life_start(struct node *node)
{
    lease_begin(&node->lease, node->config.member_ttl_ns, clock_boot_ns());
}

void life_close(struct node *node)
{
    if (node->state)
        state_writer_stop(node->state, STATE_WRITER_STOP_NS);
    else
        seat_leave(node->seat);
}

/* --- the next one --------------------------------------------------------------------------- */

static void begin_again(struct node *node, struct id128 node_id, uint64_t incarnation)
{
    struct core_event event = {.type = CORE_REBORN, .u.reborn = {node_id, incarnation}};
    node->config.node_id = node_id;
    node->incarnation = incarnation;
    introduce(node);
    node->outbox.used = 0; /* words of the former life, for connections that are hung up now */
    for (uint32_t i = 0; i < CORE_PEERS_MAX; i++)
        if (node->peers[i].channels)
            channel_pool_rename(node->peers[i].channels, &node->hello);
    if (node->server)
        server_hang_up(node->server);
    node_step_locked(node, &event);
}

bool life_check(struct node *node)
{
    if (atomic_load(&node->has_ended) || !lease_is_over(&node->lease, clock_boot_ns()))
        return false;
    log_event(LOG_LEVEL_WARNING, "reborn",
              "incarnation=%" PRIu64
              " reason=\"this process did not run for member_ttl or longer\" "
              "effect=\"the others hear of its pages anew\"",
              node->incarnation + 1);
    begin_again(node, node->config.node_id, node->incarnation + 1);
    return true;
}

/* --- others with this node's id ------------------------------------------------------------- */

static void format_other(const struct core_yield *yield, char ret_text[ADDRESS_TEXT_BYTES])
{
    struct address at = address_of(yield->host, yield->control_port);
    address_format(&at, ret_text);
}

static void end(struct node *node, const char *what)
{
    char id[ID128_TEXT_LEN + 1], other[ADDRESS_TEXT_BYTES];
    id128_format(node->config.node_id, id);
    format_other(&node->yield, other);
    snprintf(node->end_text, sizeof node->end_text, "%s %s incarnation %" PRIu64, what, other,
             node->yield.incarnation);
    atomic_store(&node->has_ended, true);
    log_event(LOG_LEVEL_ERROR, "superseded",
              "node_id=%s incarnation=%" PRIu64 " reason=\"%s\" effect=\"this node serves nobody "
              "any more and does not come back by itself\"",
              id, node->incarnation, node->end_text);
}

static void take_another_id(struct node *node)
{
    struct id128 node_id;
    char former[ID128_TEXT_LEN + 1], next[ID128_TEXT_LEN + 1], other[ADDRESS_TEXT_BYTES];
    if (host_id_random(&node_id) != 0) {
        end(node, "its id is in use by");
        return;
    }
    id128_format(node->config.node_id, former);
    id128_format(node_id, next);
    format_other(&node->yield, other);
    log_event(LOG_LEVEL_WARNING, "id_copied",
              "node_id=%s other=%s new_node_id=%s reason=\"its state directory is a copy: the id "
              "is in use by another node\"",
              former, other, next);
    begin_again(node, node_id, next_incarnation(node->incarnation));
}

void life_obey(struct node *node)
{
    enum core_yield_kind kind = node->yield.kind;
    node->yield.kind = CORE_YIELD_NOT;
    if (kind == CORE_YIELD_NOT || atomic_load(&node->has_ended))
        return;
    if (kind == CORE_YIELD_ALL)
        end(node, "superseded by");
    else if (node->id_is_given)
        end(node, "its node_id is in use by");
    else
        take_another_id(node);
}

int node_check(const struct node *node, char ret_error[NODE_ERROR_BYTES])
{
    if (!atomic_load(&node->has_ended))
        return 0;
    memcpy(ret_error, node->end_text, NODE_ERROR_BYTES);
    return -ESTALE;
}

/* --- the node thread ------------------------------------------------------------------------ */

static void take_over(struct node *node)
{
    pthread_mutex_lock(&node->core_lock);
    node->links_hello = node->hello;
    node->links_life = atomic_load(&node->life);
    pthread_mutex_unlock(&node->core_lock);
    struct seat_identity identity = {node->links_hello.node_id, node->links_hello.incarnation};
    if (node->state)
        state_writer_keep_identity(node->state, &identity);
    links_rename(node);
}

void life_go_on(struct node *node)
{
    if (atomic_load(&node->has_ended)) {
        if (node->links_life != UINT64_MAX)
            links_retire(node);
        node->links_life = UINT64_MAX;
        return;
    }
    if (!lease_renew(&node->lease, clock_boot_ns())) {
        pthread_mutex_lock(&node->core_lock);
        life_check(node);
        pthread_mutex_unlock(&node->core_lock);
    }
    if (node->links_life != atomic_load(&node->life))
        take_over(node);
}

struct message_hello life_hello(struct node *node)
{
    pthread_mutex_lock(&node->core_lock);
    struct message_hello hello = node->hello;
    pthread_mutex_unlock(&node->core_lock);
    return hello;
}

bool life_may_speak(const struct node *node, uint64_t life)
{
    return atomic_load(&node->life) == life && !atomic_load(&node->has_ended) &&
           !lease_is_over(&node->lease, clock_boot_ns());
}
