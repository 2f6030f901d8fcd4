/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publish.c - from reserve to visible, and back.
 *
 * Messages go out one an owner: publish_fan_out() turns a list of pages into pairs of (owner,
 * page), sorted by owner.  The own shard is written at once.  An announce that waits for its reply
 * stands in the table of batches under the number that the reply repeats; numbers of sync (sync.c)
 * have SYNC_BATCH set and never come here.
 *
 * While a change of the ring lasts the owners by the rings before are told as well (rings.h): there
 * are readers that have not heard of it.
 *
 * An operation waits for every owner that readers would ask: a reader believes the first complete
 * owner that does not know the page, so with one reply of two the page could still be missed.
 * Owners that are suspect or whose breaker is open are told, and not waited for.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/metric.h"
#include "base/protection.h"
#include "core/publish_internal.h"

int publish_new(const struct publish_rooms *rooms, struct publish **ret_publish)
{
    struct publish *publish = calloc(1, sizeof *publish);
    if (!publish)
        return -ENOMEM;
    publish->rooms = *rooms;
    publish->check_at_ns = UINT64_MAX;
    *ret_publish = publish;
    return 0;
}

void publish_free(struct publish *publish)
{
    free(publish);
}

/* --- operations and batches by number --- */

uint32_t publish_op_number(const struct publish *publish, const struct op *op)
{
    return op->serial << 8 | (uint32_t)(op - publish->ops);
}

struct op *publish_op_find(struct publish *publish, uint32_t number)
{
    struct op *op = &publish->ops[number & 255];
    return op->used && publish_op_number(publish, op) == number ? op : NULL;
}

static struct op *op_begin(struct publish *publish)
{
    for (uint32_t i = 0; i < PUBLISH_OPS_MAX; i++) {
        struct op *op = &publish->ops[i];
        if (op->used)
            continue;
        op->used = true;
        op->is_copied = op->is_unawaited = false;
        op->serial = op->serial == 0x7fffff ? 1 : op->serial + 1; /* never PUBLISH_OP_NONE */
        op->n = op->n_waiting = 0;
        return op;
    }
    return NULL;
}

void publish_op_end_if_answered(struct publish *publish, struct update *update, struct op *op)
{
    if (!op->used || !op->is_copied || op->n_waiting > 0)
        return;
    bool all = true;
    uint8_t *recorded = update_allocate(update, op->n);
    for (uint32_t i = 0; i < op->n; i++) {
        recorded[i] = op->recorded[i];
        all &= op->recorded[i] || op->pages[i].error != 0;
    }
    update_complete(update, &(struct core_completion){.op = publish_op_number(publish, op),
                                                      .error = all ? 0 : -EAGAIN,
                                                      .n = op->n,
                                                      .recorded = recorded});
    op->used = false;
}

void publish_page_answered(struct op *op, uint16_t page, bool is_recorded)
{
    if (!op->used || op->pending[page] == 0)
        return;
    if (is_recorded)
        op->recorded[page] = 1;
    if (--op->pending[page] == 0)
        op->n_waiting--;
}

uint32_t publish_batch_number(const struct publish *publish, const struct batch *batch)
{
    return (uint32_t)batch->serial << 16 | (uint32_t)(batch - publish->batches);
}

static struct batch *batch_begin(struct publish *publish)
{
    for (uint32_t i = 0; i < BATCHES_MAX; i++) {
        struct batch *batch = &publish->batches[i];
        if (batch->used)
            continue;
        uint8_t serial = (batch->serial + 1) & 0x7f;
        *batch = (struct batch){.used = true, .serial = serial};
        return batch;
    }
    return NULL;
}

/* --- one message an owner --- */

int publish_compare_pairs(const void *a, const void *b)
{
    const struct pair *left = a, *right = b;
    return left->peer != right->peer ? left->peer - right->peer : left->page - right->page;
}

/* Adds the owners of the page that stands at @page of the caller's list. */
uint32_t publish_add_pairs(struct publish *publish, const uint16_t *owners, uint32_t n_owners,
                           uint16_t page, uint32_t n)
{
    for (uint32_t i = 0; i < n_owners && n < PAIRS_MAX; i++)
        publish->pairs[n++] = (struct pair){.peer = owners[i], .page = page};
    return n;
}

/* The end of the run of pairs from @from on that share a peer and fit into one message. */
uint32_t publish_run_end(const struct publish *publish, uint32_t from, uint32_t n)
{
    uint32_t end = from;
    while (end < n && end - from < BATCH_MAX &&
           publish->pairs[end].peer == publish->pairs[from].peer)
        end++;
    return end;
}

uint32_t publish_link_of(const struct publish *publish, uint16_t index)
{
    const struct peer *peer = peers_get(publish->rooms.peers, index);
    return peer ? peer->link : LINK_NONE;
}

/* --- announce --- */

static void record_in_own_shard(struct publish *publish, struct op *op, uint32_t from, uint32_t end)
{
    for (uint32_t i = from; i < end; i++) {
        uint16_t page = publish->pairs[i].page;
        struct pool_page live;
        bool is_live = pool_live_page(publish->rooms.pool, op->pages[page].slot, &live);
        publish_page_answered(
            op, page,
            is_live && directory_put(publish->rooms.directory, live.digest, &live.place) == 0);
    }
}

void publish_check_by(struct publish *publish, uint64_t at_ns)
{
    if (publish->check_at_ns > at_ns)
        publish->check_at_ns = at_ns;
}

/* Without a batch the reply is not waited for. */
static void send_announce(struct publish *publish, struct update *update, struct op *op,
                          struct batch *batch, const struct pair *pairs, uint32_t n)
{
    struct message *message =
        update_send(update, publish_link_of(publish, pairs->peer), MESSAGE_announce);
    struct record_entry *entries = update_allocate(update, n * sizeof *entries);
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct pool_page live;
        if (!pool_live_page(publish->rooms.pool, op->pages[pairs[i].page].slot, &live))
            continue;
        if (batch)
            batch->pages[count] = pairs[i].page;
        entries[count++] = (struct record_entry){.digest = live.digest, .place = live.place};
    }
    if (batch) {
        batch->peer = pairs->peer;
        batch->op = publish_op_number(publish, op);
        batch->n = count;
        batch->sent_ns = update_now_ns(update);
        publish_check_by(publish, batch->sent_ns + REPLY_TIMEOUT_NS);
    }
    message->u.announce = (struct message_announce){
        .batch = batch ? publish_batch_number(publish, batch) : BATCH_NONE,
        .entries = entries,
        .n_entries = count};
    metric_add(publish->rooms.metrics, METRIC_announces_sent, count);
}

/* An owner without a connection gets what it should know from the sync of the next one. */
static void announce_run(struct publish *publish, struct update *update, struct op *op,
                         uint32_t from, uint32_t end)
{
    const struct pair *pairs = &publish->pairs[from];
    if (pairs->peer == CORE_SELF) {
        record_in_own_shard(publish, op, from, end);
        return;
    }
    struct batch *batch = pairs->is_awaited ? batch_begin(publish) : NULL;
    if (publish_link_of(publish, pairs->peer) != LINK_NONE)
        send_announce(publish, update, op, batch, pairs, end - from);
    for (uint32_t i = from; pairs->is_awaited && !batch && i < end; i++)
        publish_page_answered(op, publish->pairs[i].page, false);
}

static bool is_awaited(const struct publish *publish, uint16_t peer)
{
    return peer == CORE_SELF || (publish_link_of(publish, peer) != LINK_NONE &&
                                 view_peer_trusted(publish->rooms.view, peer));
}

/* All replies are counted before the first one, that of the own shard, comes. */
static void count_awaited(struct publish *publish, struct op *op, uint32_t n)
{
    memset(op->recorded, 0, sizeof op->recorded);
    memset(op->pending, 0, sizeof op->pending);
    for (uint32_t i = 0; i < n; i++) {
        struct pair *pair = &publish->pairs[i];
        pair->is_awaited = i > 0 && pair[-1].peer == pair->peer
                               ? pair[-1].is_awaited
                               : !op->is_unawaited && is_awaited(publish, pair->peer);
        op->n_waiting += pair->is_awaited && op->pending[pair->page]++ == 0;
    }
}

static void announce(struct publish *publish, struct update *update, struct op *op)
{
    uint16_t owners[RINGS_OWNERS_MAX];
    uint32_t n = 0;
    for (uint32_t i = 0; i < op->n; i++) {
        if (op->pages[i].error != 0)
            continue;
        uint32_t n_owners =
            rings_owners_of_new(publish->rooms.rings, op->pages[i].ring_position, owners);
        n = publish_add_pairs(publish, owners, n_owners, (uint16_t)i, n);
    }
    qsort(publish->pairs, n, sizeof *publish->pairs, publish_compare_pairs);
    op->announced_at_ns = update_now_ns(update);
    count_awaited(publish, op, n);
    for (uint32_t from = 0, end; from < n; from = end) {
        end = publish_run_end(publish, from, n);
        announce_run(publish, update, op, from, end);
    }
}

/* --- reserve --- */

/* What must not happen, for the tests: the page is announced before its bytes are there. */
static void publish_too_early(struct publish *publish, struct update *update, struct op *op,
                              const struct core_page *pages, uint32_t n)
{
    op->n = n;
    memcpy(op->pages, pages, n * sizeof *pages);
    for (uint32_t i = 0; i < n; i++)
        if (pages[i].error == 0) {
            slot_word_seal(&publish->rooms.headers[pages[i].slot].word, pages[i].generation);
            pool_publish(publish->rooms.pool, &pages[i]);
        }
    announce(publish, update, op);
    op->n_waiting = 0;
}

void publish_close(struct publish *publish)
{
    publish->is_closed = true;
}

void publish_open(struct publish *publish)
{
    publish->is_closed = false;
}

static int reserve_page(struct publish *publish, struct update *update, struct core_page *page)
{
    if (publish->is_closed)
        return -ESHUTDOWN;
    return update_has_room(update) ? pool_reserve(publish->rooms.pool, page) : -EBUSY;
}

void publish_reserve(struct publish *publish, struct update *update, struct core_page *pages,
                     uint32_t n, uint32_t *ret_op)
{
    CHECK(n <= CORE_BATCH_MAX);
    struct op *op = op_begin(publish);
    bool any = false;
    pool_begin_batch(publish->rooms.pool);
    for (uint32_t i = 0; i < n; i++) {
        if (pool_gone_is_long(publish->rooms.pool))
            publish_retract_gone(publish, update);
        pages[i].error = op ? reserve_page(publish, update, &pages[i]) : -EBUSY;
        any |= pages[i].error == 0;
    }
    *ret_op = any ? publish_op_number(publish, op) : PUBLISH_OP_NONE;
    if (op && !any)
        op->used = false;
    if (any && !PROTECTED(publish_after_seal))
        publish_too_early(publish, update, op, pages, n);
}

/* --- copied --- */

void publish_copied(struct publish *publish, struct update *update, uint32_t number,
                    const struct core_page *pages, uint32_t n, bool is_unawaited)
{
    struct op *op = publish_op_find(publish, number);
    CHECK(op && !op->is_copied && n <= CORE_BATCH_MAX);
    op->n = n;
    op->is_copied = true;
    op->is_unawaited = is_unawaited;
    memcpy(op->pages, pages, n * sizeof *pages);
    for (uint32_t i = 0; i < n; i++) {
        struct core_page *page = &op->pages[i];
        if (page->error == 0)
            page->error = pool_publish(publish->rooms.pool, page);
        else if (page->generation != 0)
            pool_abandon(publish->rooms.pool, page);
    }
    announce(publish, update, op);
    if (is_unawaited)
        op->used = false;
    else
        publish_op_end_if_answered(publish, update, op);
}
