/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publish_replies.c - what owners say to announces, and what is done when they do not.
 *
 * An owner that owes a reply for too long is suspected, and its batches end as not recorded.
 * Batches whose connection broke wait a little: a peer that is alive is connected to again at once,
 * and then the pages that are still there are announced to it once more.
 */
#include <string.h>

#include "base/metric.h"
#include "core/publish_internal.h"

/* An owner that has not replied by a deadline that was nearer than this may just be busy. */
#define PATIENCE_NS UINT64_C(200000000)
/* As long as batches wait for another connection: many times what it takes. */
#define RECONNECT_NS UINT64_C(100000000)

/* --- giving up --- */

/* Owners that had time enough to reply are not waited for by the next operation. */
static void give_up_on(struct publish *publish, struct update *update, uint32_t number)
{
    for (uint32_t i = 0; i < BATCHES_MAX; i++)
        if (publish->batches[i].used && publish->batches[i].op == number)
            update_peer_failed(update, &publish->rooms.view->breakers[publish->batches[i].peer]);
}

void publish_cancel(struct publish *publish, struct update *update, uint32_t number)
{
    struct op *op = publish_op_find(publish, number);
    if (!op || !op->is_copied)
        return;
    if (update_now_ns(update) - op->announced_at_ns >= PATIENCE_NS)
        give_up_on(publish, update, number);
    op->used = false;
}

/* --- replies --- */

static struct batch *batch_find(struct publish *publish, uint32_t number)
{
    uint32_t index = number & 0xffff;
    if (index >= BATCHES_MAX || !publish->batches[index].used)
        return NULL;
    struct batch *batch = &publish->batches[index];
    return publish_batch_number(publish, batch) == number ? batch : NULL;
}

static uint64_t due_ns(const struct batch *batch)
{
    return batch->sent_ns + (batch->is_lost ? RECONNECT_NS : REPLY_TIMEOUT_NS);
}

static void end_batch(struct publish *publish, struct update *update, struct batch *batch,
                      const bool is_recorded[BATCH_MAX])
{
    struct op *op = publish_op_find(publish, batch->op);
    for (uint32_t i = 0; op && i < batch->n; i++)
        publish_page_answered(op, batch->pages[i], is_recorded[i]);
    batch->used = false;
    if (op)
        publish_op_end_if_answered(publish, update, op);
}

void publish_announced(struct publish *publish, struct update *update, uint16_t peer,
                       const struct message_announced *message)
{
    struct batch *batch = batch_find(publish, message->batch);
    if (!batch || batch->peer != peer)
        return;
    bool is_recorded[BATCH_MAX];
    memset(is_recorded, true, sizeof is_recorded);
    for (uint32_t i = 0; i < message->n_refused; i++)
        if (message->refused[i].index < BATCH_MAX)
            is_recorded[message->refused[i].index] = false;
    metric_add(publish->rooms.metrics, METRIC_announces_refused, message->n_refused);
    end_batch(publish, update, batch, is_recorded);
}

void publish_peer_gone(struct publish *publish, struct update *update, uint16_t peer)
{
    static const bool none[BATCH_MAX];
    for (uint32_t i = 0; i < BATCHES_MAX; i++)
        if (publish->batches[i].used && publish->batches[i].peer == peer)
            end_batch(publish, update, &publish->batches[i], none);
}

void publish_peer_down(struct publish *publish, const struct update *update, uint16_t peer)
{
    for (uint32_t i = 0; i < BATCHES_MAX; i++) {
        struct batch *batch = &publish->batches[i];
        if (!batch->used || batch->is_lost || batch->peer != peer)
            continue;
        batch->is_lost = true;
        batch->sent_ns = update_now_ns(update);
        publish_check_by(publish, due_ns(batch));
    }
}

/* The owner may have recorded them before: an announce says what is, not what changed. */
static void send_again(struct publish *publish, struct update *update, struct batch *batch)
{
    struct op *op = publish_op_find(publish, batch->op);
    struct record_entry *entries = update_allocate(update, batch->n * sizeof *entries);
    uint32_t count = 0;
    for (uint32_t i = 0; op && i < batch->n; i++) {
        struct pool_page live;
        uint16_t page = batch->pages[i];
        if (!pool_live_page(publish->rooms.pool, op->pages[page].slot, &live) ||
            live.place.generation != op->pages[page].generation) {
            publish_page_answered(op, page, false);
            continue;
        }
        batch->pages[count] = page;
        entries[count++] = (struct record_entry){.digest = live.digest, .place = live.place};
    }
    if (count == 0) {
        batch->used = false;
        if (op)
            publish_op_end_if_answered(publish, update, op);
        return;
    }
    batch->n = count;
    batch->is_lost = false;
    batch->sent_ns = update_now_ns(update);
    struct message *message =
        update_send(update, publish_link_of(publish, batch->peer), MESSAGE_announce);
    message->u.announce = (struct message_announce){
        .batch = publish_batch_number(publish, batch), .entries = entries, .n_entries = count};
}

void publish_peer_up(struct publish *publish, struct update *update, uint16_t peer)
{
    for (uint32_t i = 0; i < BATCHES_MAX; i++) {
        struct batch *batch = &publish->batches[i];
        if (batch->used && batch->is_lost && batch->peer == peer && update_has_room(update))
            send_again(publish, update, batch);
    }
}

/* Looks at all of them no more often than it has to: there are many, and each step comes here. */
void publish_tick(struct publish *publish, struct update *update)
{
    uint64_t now_ns = update_now_ns(update);
    if (now_ns >= publish->check_at_ns) {
        publish->check_at_ns = UINT64_MAX;
        for (uint32_t i = 0; i < BATCHES_MAX; i++) {
            const struct batch *batch = &publish->batches[i];
            if (batch->used && now_ns >= due_ns(batch)) {
                if (!batch->is_lost)
                    update_peer_failed(update, &publish->rooms.view->breakers[batch->peer]);
                publish_peer_gone(publish, update, batch->peer);
            } else if (batch->used) {
                publish_check_by(publish, due_ns(batch));
            }
        }
    }
    update_wake_at(update, publish->check_at_ns);
}
