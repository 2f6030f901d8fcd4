/* SPDX-License-Identifier: Apache-2.0 */
/* publish_retract.c - tells owners of pages that went, one message an owner. */
#include <stdlib.h>

#include "base/metric.h"
#include "core/publish_internal.h"

static void retract_run(struct publish *publish, struct update *update,
                        const struct pool_gone *gone, uint32_t from, uint32_t end)
{
    uint16_t peer = publish->pairs[from].peer;
    uint32_t link = publish_link_of(publish, peer), n = end - from;
    if (peer == CORE_SELF) {
        for (uint32_t i = from; i < end; i++) {
            const struct pool_gone *page = &gone[publish->pairs[i].page];
            directory_remove(publish->rooms.directory, page->digest, CORE_SELF, page->generation);
        }
        return;
    }
    if (link == LINK_NONE)
        return; /* the sync of the next connection leaves it out */
    struct record_filling *entries = update_allocate(update, n * sizeof *entries);
    for (uint32_t i = 0; i < n; i++) {
        const struct pool_gone *page = &gone[publish->pairs[from + i].page];
        entries[i] = (struct record_filling){page->digest, page->generation};
    }
    struct message *message = update_send(update, link, MESSAGE_retract);
    message->u.retract = (struct message_retract){.entries = entries, .n_entries = n};
    metric_add(publish->rooms.metrics, METRIC_retracts_sent, n);
}

void publish_retract_gone(struct publish *publish, struct update *update)
{
    const struct pool_gone *gone;
    uint32_t n_gone = pool_take_gone(publish->rooms.pool, &gone), n = 0;
    if (n_gone == 0)
        return;
    uint16_t owners[RINGS_OWNERS_MAX];
    for (uint32_t i = 0; i < n_gone; i++) {
        view_prefetch(publish->rooms.view, gone[i].digest); /* for the own shard */
        uint32_t n_owners = rings_owners(publish->rooms.rings, gone[i].ring_position, owners);
        n = publish_add_pairs(publish, owners, n_owners, (uint16_t)i, n);
    }
    qsort(publish->pairs, n, sizeof *publish->pairs, publish_compare_pairs);
    for (uint32_t from = 0, end; from < n; from = end) {
        end = publish_run_end(publish, from, n);
        retract_run(publish, update, gone, from, end);
    }
}
