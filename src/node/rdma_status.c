/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rdma_status.c - RDMA as a part of the node's status: the devices in use, and the links to peers,
 * each with its state and why it is not up.
 *
 * Any thread.  A peer's links are made under its lock and live as long as the node.
 */
#include <jansson.h>

#include "node/rdma.h"

static json_t *device_json(struct rail *rail)
{
    char address[GID_TEXT_BYTES];
    uint32_t taken = 0;
    gid_format(&rail->gid, address);
    pthread_mutex_lock(&rail->mutex);
    for (uint32_t i = 0; i < rail->queue_limit; i++)
        taken += rail->queues[i].is_taken;
    uint32_t guests = rail->n_guests;
    pthread_mutex_unlock(&rail->mutex);
    return json_pack("{s:s, s:i, s:s, s:b, s:b, s:i, s:i, s:i, s:i}", "device", rail->name, "port",
                     rail->port, "address", address, "has_failed", atomic_load(&rail->is_dead),
                     "port_is_down", atomic_load(&rail->port_is_down), "queue_pairs", taken,
                     "queue_pairs_max", rail->queue_limit, "guest_queue_pairs", guests,
                     "guest_queue_pairs_max", RAIL_GUESTS_MAX);
}

static void add_links(json_t *links, struct node_peer *peer)
{
    char id[ID128_TEXT_LEN + 1], text[ADDRESS_TEXT_BYTES];
    struct address address = address_of(peer->host, peer->control_port);
    id128_format(peer->identity.node_id, id);
    address_format(&address, text);
    for (uint32_t i = 0; i < peer->links->n; i++) {
        struct link_view view;
        link_look(&peer->links->links[i], &view);
        json_t *why = json_string(view.why); /* a peer's words may be no text */
        json_array_append_new(links, json_pack("{s:s, s:o, s:s, s:s, s:i, s:i, s:o}", "node_id", id,
                                               "address", json_string(text), "device",
                                               peer->links->links[i].rail->name, "state",
                                               view.state, "queue_pairs", view.queue_pairs, "calls",
                                               view.users, "why", why ? why : json_string("?")));
    }
}

static json_t *links_json(struct node *node)
{
    json_t *links = json_array();
    for (uint32_t i = 0; i < CORE_PEERS_MAX; i++) {
        struct node_peer *peer = &node->peers[i];
        pthread_mutex_lock(&peer->lock);
        if (peer->links && !peer->is_gone)
            add_links(links, peer);
        pthread_mutex_unlock(&peer->lock);
    }
    return links;
}

/* What does not go by RDMA though a device works. */
static json_t *troubles_json(struct node *node)
{
    json_t *troubles = json_array();
    if (atomic_load(&node->pool_is_refused))
        json_array_append_new(
            troubles,
            json_string("this node's pool is not registered, so others read it by TCP, or "
                        "with protocol=rdma not at all: the log says why "
                        "(rdma_pool_not_registered)"));
    if (node->rails && bounce_has_failed(&node->rails->bounce))
        json_array_append_new(
            troubles, json_string("there is no bounce buffer, so pages that go to memory of no "
                                  "region come by TCP, or with protocol=rdma not at all: the log "
                                  "says why (rdma_no_bounce)"));
    return troubles;
}

json_t *rdma_json(struct node *node)
{
    json_t *devices = json_array();
    for (uint32_t i = 0; node->rails && i < node->rails->n; i++)
        json_array_append_new(devices, device_json(&node->rails->list[i]));
    return json_pack("{s:o, s:o, s:o, s:s}", "devices", devices, "links", links_json(node),
                     "troubles", troubles_json(node), "why_not", node->rails ? "" : node->no_rdma);
}
