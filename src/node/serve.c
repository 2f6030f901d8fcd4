/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve.c - what other nodes read from this one, on the server's threads.
 *
 * Neither a look-up nor a read of a page waits for the core: the shard is read through views, and a
 * page that is sent is held by the pins of its own slot word.
 */
#include "node/serve.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "core/invite.h"
#include "node/internal.h"
#include "node/life.h"
#include "node/rdma.h"
#include "node/tool.h"
#include "wire/slot_pin.h"

static void lookup(void *context, const struct message_lookup *message,
                   struct server_scratch *scratch, struct message_locations *ret_locations)
{
    struct node *node = context;
    if (!life_may_speak(node, atomic_load(&node->life)))
        return; /* knows nothing for certain */
    view_answer_lookup(node->view, message, scratch->holders, scratch->found, ret_locations);
    invite_reader(node->view, message, clock_now_ns(), scratch->hot, ret_locations);
    metric_add(&node->metrics, METRIC_lookups_served, message->n_keys);
}

static int pin_page(struct node *node, const struct record_wanted *wanted,
                    const uint8_t **ret_bytes, uint64_t *ret_checksum)
{
    const struct arena *arena = &node->arena;
    const struct slot_table slots = {arena->headers, arena->slot_count, arena->payload_bytes};
    int error = slot_pin(&slots, wanted);
    if (error)
        return error;
    const struct slot_header *header = &arena->headers[wanted->place.slot];
    *ret_bytes = arena->payload + header->offset_bytes;
    *ret_checksum = header->checksum;
    return 0;
}

static void pin(void *context, const struct record_wanted *wanted, struct record_status *ret_status,
                const uint8_t **ret_bytes)
{
    struct node *node = context;
    uint64_t checksum = 0;
    bool may_serve = life_may_speak(node, atomic_load(&node->life));
    int error = may_serve ? pin_page(node, wanted, ret_bytes, &checksum) : -EBUSY;
    *ret_status = (struct record_status){.error = error};
    if (error) {
        metric_add(&node->metrics, METRIC_reads_refused, 1);
        return;
    }
    ret_status->generation = wanted->place.generation;
    ret_status->length_bytes = wanted->place.length_bytes;
    ret_status->checksum = checksum;
    metric_add(&node->metrics, METRIC_pages_served, 1);
    metric_add(&node->metrics, METRIC_bytes_served, wanted->place.length_bytes);
}

static void unpin(void *context, uint32_t slot)
{
    struct node *node = context;
    slot_word_unpin(&node->arena.headers[slot].word);
}

int serve_start(struct node *node, char ret_error[NODE_ERROR_BYTES])
{
    struct server_setup setup = {
        .ops = {.lookup = lookup,
                .pin = pin,
                .unpin = unpin,
                .pair = rdma_pair,
                .unpair = rdma_unpair,
                .request = tool_request},
        .context = node,
        .threads = node->config.serve_threads,
        .spin_ns = node->config.spin_ns,
    };
    int error = server_start(&setup, &node->server);
    if (error)
        snprintf(ret_error, NODE_ERROR_BYTES, "the %u serving threads could not be started: %s",
                 node->config.serve_threads, strerror(-error));
    return error;
}
