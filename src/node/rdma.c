/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rdma.c - opens and closes what the node has of RDMA, and tells what came of it.
 *
 * The pool is registered by a thread of its own, because that takes up to a second a GiB: the node
 * serves meanwhile, by RDMA as far as its slices are registered and by TCP otherwise.
 */
#include "node/rdma.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/protection.h"
#include "base/thread.h"
#include "core/member.h"
#include "io/rdma/guest.h"
#include "io/rdma/module.h"
#include "node/life.h"
#include "node/peers.h"

/* How long a call waits until a link is open; after it that call's pages go another way. */
#define OPEN_TIMEOUT_NS UINT64_C(200000000)

/* --- the devices and the pool ----------------------------------------------------------------- */

static bool is_wanted(const struct node *node)
{
    return node->config.protocol == NODE_PROTOCOL_AUTO ||
           node->config.protocol == NODE_PROTOCOL_RDMA;
}

static int open_rails(struct node *node, char ret_reason[RAILS_REASON_BYTES])
{
    const struct node_config *config = &node->config;
    struct rails_setup setup = {
        .wishes = {config->device_names, config->ib_port, config->gid_index},
        .service_level = (uint8_t)config->service_level,
        .traffic_class = (uint8_t)config->traffic_class,
        .spin_ns = config->spin_ns,
        .spread = config->node_id.lo,
        .metrics = &node->metrics,
    };
    int error = rdma_module_open(&setup.verbs, ret_reason);
    return error ? error : rails_open(&setup, &node->rails, ret_reason);
}

static void *register_pool(void *context)
{
    struct node *node = context;
    struct arena *arena = &node->arena;
    char text[MEMORY_TEXT_BYTES];
    uint64_t began_ns = clock_now_ns();
    uint64_t bytes = (uint64_t)(arena->payload - (uint8_t *)arena->headers) + arena->payload_bytes;
    int error = memory_add(node->rails->memory, "the pool", arena->headers, bytes,
                           VERBS_REMOTE_READ, &node->pool_range, text);
    if (error == -ECANCELED)
        return NULL;
    atomic_store(&node->pool_is_refused, error != 0);
    if (error)
        log_event(LOG_LEVEL_ERROR, "rdma_pool_not_registered",
                  "reason=%s effect=\"others read this node's pages by TCP, or with protocol=rdma "
                  "not at all\"",
                  log_quoted(text));
    else
        log_event(LOG_LEVEL_INFO, "rdma_ready", "devices=%u bytes=%llu after_ms=%llu",
                  node->rails->n, (unsigned long long)bytes,
                  (unsigned long long)((clock_now_ns() - began_ns) / CLOCK_NS_PER_MS));
    return NULL;
}

/* Whoever says which device, port or address to use counts on it. */
static bool names_a_device(const struct node_config *config)
{
    return config->device_names[0] || config->gid_index >= 0 || config->ib_port != 1;
}

int rdma_start(struct node *node, char ret_error[NODE_ERROR_BYTES])
{
    char reason[RAILS_REASON_BYTES];
    snprintf(node->no_rdma, sizeof node->no_rdma, "the option protocol names another one");
    if (!is_wanted(node))
        return 0;
    int error = open_rails(node, reason);
    if (!error) {
        error = thread_start(&node->register_thread, NULL, "pc-register", register_pool, node);
        node->has_register_thread = error == 0;
        snprintf(reason, sizeof reason, "no thread can be started");
    }
    if (!error)
        return 0;
    if (node->config.protocol == NODE_PROTOCOL_RDMA) {
        snprintf(ret_error, NODE_ERROR_BYTES, "protocol=rdma: %.230s", reason);
        return error;
    }
    log_event(names_a_device(&node->config) ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, "rdma_off",
              "reason=%s", log_quoted(reason));
    snprintf(node->no_rdma, sizeof node->no_rdma, "%.255s", reason);
    rails_close(node->rails);
    node->rails = NULL;
    return 0;
}

void rdma_give_up(struct node *node)
{
    if (node->rails)
        memory_give_up(node->rails->memory);
}

void rdma_stop_closing(struct node *node)
{
    if (node->rails)
        rails_stop_closing(node->rails);
}

void rdma_stop(struct node *node)
{
    if (!node->rails)
        return;
    rdma_give_up(node);
    if (node->has_register_thread)
        pthread_join(node->register_thread, NULL);
    memory_remove(node->rails->memory, node->pool_range);
    rails_close(node->rails);
    node->rails = NULL;
}

/* --- regions of the caller's ------------------------------------------------------------------ */

bool node_has_rdma(const struct node *node)
{
    return node->rails && !node->rails->is_fork_unsafe;
}

int node_region_add(struct node *node, void *base, uint64_t len_bytes,
                    struct memory_range **ret_range, char ret_error[NODE_ERROR_BYTES])
{
    char text[MEMORY_TEXT_BYTES];
    *ret_range = NULL;
    if (!node_has_rdma(node))
        return 0;
    int error = memory_add(node->rails->memory, "a region", base, len_bytes, VERBS_LOCAL_WRITE,
                           ret_range, text);
    if (!error)
        metric_move(&node->metrics, METRIC_rdma_region_bytes, (int64_t)len_bytes);
    if (error == -ECANCELED)
        return 0;
    if (error && node->config.protocol == NODE_PROTOCOL_RDMA) {
        snprintf(ret_error, NODE_ERROR_BYTES, "protocol=rdma: %.230s", text);
        return error;
    }
    if (error)
        log_event(LOG_LEVEL_WARNING, "rdma_region_not_registered",
                  "reason=%s effect=\"pages come there through a bounce buffer\"",
                  log_quoted(text));
    return 0;
}

void node_region_remove(struct node *node, struct memory_range *range)
{
    if (!range)
        return;
    metric_move(&node->metrics, METRIC_rdma_region_bytes, -(int64_t)memory_range_bytes(range));
    memory_remove(node->rails->memory, range);
}

/* --- peers ------------------------------------------------------------------------------------ */

static struct rails_peer *links_of(struct node *node, struct node_peer *peer,
                                   struct channel_peer *ret_to)
{
    pthread_mutex_lock(&peer->lock);
    if (!peer->links && !peer->is_gone)
        peer->links = rails_peer_new(node->rails);
    *ret_to = (struct channel_peer){.address = address_of(peer->host, peer->control_port),
                                    .node_id = peer->identity.node_id,
                                    .incarnation = peer->identity.incarnation};
    struct rails_peer *links = peer->is_gone ? NULL : peer->links;
    pthread_mutex_unlock(&peer->lock);
    return links;
}

static void tell(struct node_peer *peer, const char *protocol, const char *text)
{
    pthread_mutex_lock(&peer->lock);
    peers_tell_protocol(peer, protocol, text);
    pthread_mutex_unlock(&peer->lock);
}

static void tell_works(struct node_peer *peer, const char *device)
{
    char text[VERBS_NAME_BYTES + 64];
    snprintf(text, sizeof text, "both have a device that works, here %s", device);
    tell(peer, "rdma", text);
}

static void tell_fails(const struct node *node, struct node_peer *peer, const char *reason)
{
    char text[LINK_REASON_BYTES + 16];
    snprintf(text, sizeof text, "no RDMA: %s", reason);
    tell(peer, node->config.protocol == NODE_PROTOCOL_RDMA ? "none" : "tcp", text);
}

uint64_t rdma_open_until(uint64_t deadline_ns)
{
    uint64_t latest_ns = clock_now_ns() + OPEN_TIMEOUT_NS;
    return deadline_ns < latest_ns ? deadline_ns : latest_ns;
}

bool rdma_borrow_links(struct node *node, uint16_t index, uint64_t until_ns,
                       struct reading_peer *ret_links)
{
    struct node_peer *peer = &node->peers[index];
    struct channel_peer to;
    char reason[LINK_REASON_BYTES] = "";
    struct rails_peer *links = links_of(node, peer, &to);
    ret_links->n = 0;
    if (!links)
        return false;
    struct message_hello mine = life_hello(node);
    for (uint32_t i = 0; i < links->n; i++)
        if (link_borrow(&links->links[i], &to, &mine, until_ns, reason) == 0)
            ret_links->links[ret_links->n++] = &links->links[i];
    if (ret_links->n > 0)
        tell_works(peer, ret_links->links[0]->rail->name);
    else if (reason[0])
        tell_fails(node, peer, reason);
    return ret_links->n > 0;
}

void rdma_return_links(struct reading_peer *links)
{
    for (uint32_t i = 0; i < links->n; i++)
        link_return(links->links[i]);
    links->n = 0;
}

uint32_t rdma_openings(const struct node *node)
{
    return node->rails ? rails_openings(node->rails) : 0;
}

void rdma_forget_peer(struct node_peer *peer)
{
    if (peer->links)
        rails_peer_break(peer->links);
}

void rdma_free_peer(struct node_peer *peer)
{
    rails_peer_free(peer->links);
    peer->links = NULL;
}

/* --- what others want ------------------------------------------------------------------------- */

/* Whoever has the keys of the pool may read all of it, so they are for members alone: for those
 * whom discovery lists and does not call dead, in the life that it lists.  Who has only just joined
 * is refused once and comes again. */
static bool is_member(const struct node *node, const struct server_asker *asker)
{
    struct view_peer info;
    uint16_t peer;
    return view_peer_index(node->view, asker->node_id, asker->incarnation, &peer) == 0 &&
           view_peer(node->view, peer, &info) == 0 && !member_is_gone(info.state);
}

void rdma_pair(void *context, const struct server_asker *asker, const struct message_pair *pair,
               struct server_scratch *scratch, struct message_paired *ret_paired, void **ret_guest)
{
    struct node *node = context;
    struct guest *guest = NULL;
    if (!node->rails || !life_may_speak(node, atomic_load(&node->life))) {
        guest_refuse(ret_paired, -EOPNOTSUPP, "the peer has no RDMA");
        return;
    }
    if (atomic_load(&node->pool_is_refused)) {
        guest_refuse(ret_paired, -ENOMEM, "the peer's pool cannot be registered: its log says why");
        return;
    }
    if (PROTECTED(rdma_members_only) && !is_member(node, asker)) {
        metric_add(&node->metrics, METRIC_rdma_strangers_refused, 1);
        guest_refuse(ret_paired, -EACCES, "this node is no member that the peer knows");
        return;
    }
    guest_welcome(node->rails->list, node->rails->n, node->rails->memory, &node->arena,
                  asker->node_id, pair, scratch->queues, scratch->slices, ret_paired, &guest);
    *ret_guest = guest;
}

bool rdma_has_guests(struct node *node)
{
    uint32_t n = 0;
    for (uint32_t i = 0; node->rails && i < node->rails->n; i++) {
        struct rail *rail = &node->rails->list[i];
        pthread_mutex_lock(&rail->mutex);
        n += rail->n_guests;
        pthread_mutex_unlock(&rail->mutex);
    }
    return n > 0;
}

void rdma_unpair(void *context, void *guest)
{
    (void)context;
    guest_leave(guest);
}
