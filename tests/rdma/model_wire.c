/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_wire.c - the way of a read: asked for, sampled, sent, accepted, landed, completed.
 *
 * A reader asks (model_ask); half of the latency later the holder's adapter puts the read into the
 * queue pair's list of what it serves, and samples some of its packets at once.  It sends a packet
 * at a time, in turn over its queue pairs, each sampled at the latest then.  The reader accepts
 * packets in order and completes a read when all of its packets have landed.
 */
#include <stdlib.h>
#include <string.h>

#include "model_internal.h"

/* Retries as the specification counts them: 4.096 us * 2^n. */
#define TIMEOUT_UNIT_PS UINT64_C(4096000)

static struct model *model_of(const struct verbs_queue *queue)
{
    return queue->adapter->model;
}

static struct pending *pending_of(const struct verbs_queue *queue, uint64_t number)
{
    return &queue->ring[number % queue->depth];
}

static uint64_t half_way_ps(const struct model *model)
{
    return model->settings.latency_ns * PS_PER_NS / 2;
}

static bool is_alive(const struct verbs_queue *queue)
{
    return queue->state == QUEUE_READY && !queue->adapter->is_removed;
}

static uint32_t packet_bytes(const struct verbs_queue *queue, const struct pending *pending,
                             uint32_t packet)
{
    uint64_t left = pending->len_bytes - (uint64_t)packet * queue->path.mtu_bytes;
    return left < queue->path.mtu_bytes ? (uint32_t)left : queue->path.mtu_bytes;
}

/* The queue pair at the other end, if there is one that knows of this one. */
static struct verbs_queue *peer_of(const struct verbs_queue *queue)
{
    struct model *model = model_of(queue);
    for (uint32_t i = 0; i < model->queue_count; i++) {
        struct verbs_queue *peer = model->queues[i];
        if (is_alive(peer) && peer->number == queue->path.peer_number &&
            peer->path.peer_number == queue->number &&
            !memcmp(peer->adapter->gid, queue->path.peer_gid, VERBS_GID_BYTES))
            return peer;
    }
    return NULL;
}

static bool reaches(const struct verbs_queue *queue, const struct verbs_queue *peer)
{
    return peer && queue->adapter->is_up && peer->adapter->is_up;
}

/* --- the reader asks -------------------------------------------------------------------------- */

static void start_timer(struct verbs_queue *queue)
{
    if (queue->has_timer)
        return;
    queue->has_timer = true;
    struct model *model = model_of(queue);
    model_schedule(model, model->now_ps + (TIMEOUT_UNIT_PS << queue->path.timeout_exponent),
                   (struct event){.kind = EVENT_TIMER, .queue = queue, .number = queue->progress});
}

static void ask_for(struct verbs_queue *queue, uint64_t number)
{
    struct adapter *adapter = queue->adapter;
    struct model *model = adapter->model;
    struct pending *pending = pending_of(queue, number);
    uint64_t at = adapter->may_ask_ps > model->now_ps ? adapter->may_ask_ps : model->now_ps;
    adapter->may_ask_ps = at + model->settings.asking_ns * PS_PER_NS;
    pending->asking++;
    pending->sent = pending->accepted;
    memset(pending->is_sampled + pending->accepted, 0, pending->packets - pending->accepted);
    model_schedule(
        model, at + half_way_ps(model),
        (struct event){
            .kind = EVENT_ASKED, .queue = queue, .number = number, .asking = pending->asking});
    start_timer(queue);
}

static bool may_ask(const struct verbs_queue *queue)
{
    if (queue->asked == queue->posted || queue->asked - queue->done >= queue->path.reads_asked)
        return false;
    bool is_fenced = pending_of(queue, queue->asked)->read.flags & VERBS_FENCED;
    return !is_fenced || queue->done == queue->asked;
}

void model_ask(struct verbs_queue *queue)
{
    while (is_alive(queue) && may_ask(queue))
        ask_for(queue, queue->asked++);
}

/* From the packet that comes next on. */
static void ask_again(struct verbs_queue *queue)
{
    model_of(queue)->counts.asked_again++;
    for (uint64_t number = queue->accepting; number < queue->asked; number++)
        ask_for(queue, number);
}

static void on_timer(struct verbs_queue *queue, uint64_t progress)
{
    queue->has_timer = false;
    if (!is_alive(queue) || queue->done == queue->asked)
        return;
    if (queue->progress != progress)
        queue->retries = 0;
    else if (queue->retries++ < queue->path.retry_count)
        ask_again(queue);
    else
        model_fail_queue(queue, VERBS_UNREACHABLE);
    if (is_alive(queue))
        start_timer(queue);
}

/* --- the holder samples and sends ------------------------------------------------------------- */

/* Serving is by number and asking in one word. */
static uint64_t serving_word(uint64_t number, uint32_t asking)
{
    return number << 16 | (asking & 0xffff);
}

/* An adapter reads past all threads, which may be storing there: that is what the slot protocol is
 * for, and no race that ThreadSanitizer should tell of. */
__attribute__((no_sanitize("thread"))) static void take_bytes(uint8_t *to, uint64_t addr,
                                                              uint32_t len)
{
    const volatile uint8_t *from = (const volatile uint8_t *)(uintptr_t)addr;
    uint32_t i = 0;
    for (; !(((uintptr_t)to | addr) & 7) && i + 8 <= len; i += 8)
        *(uint64_t *)(void *)(to + i) =
            *(const volatile uint64_t *)(const volatile void *)(from + i);
    for (; i < len; i++)
        to[i] = from[i];
}

/* False: the holder's adapter may not read there. */
static bool sample(const struct verbs_queue *holder, const struct verbs_queue *queue,
                   struct pending *pending, uint32_t packet)
{
    struct model *model = model_of(holder);
    if (pending->is_sampled[packet])
        return true;
    uint64_t offset = (uint64_t)packet * queue->path.mtu_bytes;
    uint32_t len = packet_bytes(queue, pending, packet);
    if (model->on_sample)
        model->on_sample(model->on_sample_context);
    const uint64_t addr = pending->read.remote_addr + offset;
    if (!model_find_memory(holder->device, pending->read.remote_key, addr, len, VERBS_REMOTE_READ))
        return false;
    take_bytes(pending->bytes + offset, addr, len);
    pending->is_sampled[packet] = 1;
    model->counts.packets_sampled++;
    return true;
}

static void start_sending(struct adapter *adapter)
{
    if (adapter->is_sending)
        return;
    adapter->is_sending = true;
    model_schedule(adapter->model, adapter->model->now_ps,
                   (struct event){.kind = EVENT_SEND, .adapter = adapter});
}

/* A refusal breaks both ends. */
static void refuse(struct verbs_queue *queue, struct verbs_queue *peer, struct pending *pending)
{
    pending->status = VERBS_REMOTE_ACCESS;
    model_report(peer->adapter, (struct verbs_event){.kind = VERBS_EVENT_QUEUE_FAILED,
                                                     .queue_number = peer->number});
    model_fail_queue(peer, VERBS_FLUSHED);
    model_schedule(model_of(queue), model_of(queue)->now_ps + half_way_ps(model_of(queue)),
                   (struct event){.kind = EVENT_TURN, .queue = queue});
}

static void on_asked(const struct event *event)
{
    struct verbs_queue *queue = event->queue, *peer = peer_of(queue);
    struct pending *pending = pending_of(queue, event->number);
    struct model *model = model_of(queue);
    if (!reaches(queue, peer) || event->number > peer->expected)
        return; /* lost, or behind one that was */
    if (event->number == peer->expected)
        peer->expected++;
    for (uint32_t packet = pending->sent; packet < pending->packets; packet++)
        if (model_chance(model, model->settings.early_permille))
            model->counts.sampled_early += sample(peer, queue, pending, packet);
    uint32_t at = (peer->serving_first + peer->serving_count++) % MODEL_DEPTH_MAX;
    CHECK(peer->serving_count <= MODEL_DEPTH_MAX);
    peer->serving[at] = serving_word(event->number, event->asking);
    start_sending(peer->adapter);
}

static void next_served(struct verbs_queue *holder)
{
    holder->serving_first = (holder->serving_first + 1) % MODEL_DEPTH_MAX;
    holder->serving_count--;
}

/* The read that @holder sends a packet of next, or NULL; drops what nobody waits for any more. */
static struct pending *serve_next(struct verbs_queue *holder, struct verbs_queue *reader,
                                  uint64_t *ret_number)
{
    while (holder->serving_count > 0) {
        uint64_t word = holder->serving[holder->serving_first], number = word >> 16;
        struct pending *pending = reader ? pending_of(reader, number) : NULL;
        if (pending && number >= reader->done && number < reader->asked &&
            (pending->asking & 0xffff) == (word & 0xffff) && pending->sent < pending->packets) {
            *ret_number = number;
            return pending;
        }
        next_served(holder);
    }
    return NULL;
}

/* The next queue pair, in turn, that has something to send from this adapter. */
static struct verbs_queue *next_sender(struct adapter *adapter, struct verbs_queue **ret_reader,
                                       uint64_t *ret_number)
{
    struct model *model = adapter->model;
    for (uint32_t i = 0; i < model->queue_count; i++) {
        struct verbs_queue *holder = model->queues[++adapter->turn % model->queue_count];
        if (holder->adapter != adapter || !is_alive(holder))
            continue;
        *ret_reader = peer_of(holder);
        if (serve_next(holder, *ret_reader, ret_number))
            return holder;
    }
    return NULL;
}

static uint64_t wire_ps(const struct model *model, uint32_t bytes)
{
    return (uint64_t)(8000.0 * bytes / model->settings.gbit_per_s);
}

static void deliver(struct adapter *from, struct verbs_queue *reader, uint64_t number,
                    uint32_t packet, uint64_t sent_ps, uint64_t length_ps)
{
    struct model *model = from->model;
    struct adapter *to = reader->adapter;
    if (!reaches(reader, peer_of(reader)) || model_chance(model, model->settings.lost_permille)) {
        model->counts.lost++;
        return;
    }
    uint64_t begins = sent_ps + half_way_ps(model);
    uint64_t at = (to->arrives_at_ps > begins ? to->arrives_at_ps : begins) + length_ps;
    to->arrives_at_ps = at;
    model_schedule(model, at,
                   (struct event){.kind = EVENT_ARRIVED,
                                  .queue = reader,
                                  .number = number,
                                  .asking = pending_of(reader, number)->asking,
                                  .packet = packet});
}

static void on_send(struct adapter *adapter)
{
    struct model *model = adapter->model;
    struct verbs_queue *reader = NULL;
    uint64_t number = 0;
    adapter->is_sending = false;
    struct verbs_queue *holder = next_sender(adapter, &reader, &number);
    if (!holder)
        return;
    struct pending *pending = pending_of(reader, number);
    uint32_t packet = pending->sent++;
    if (!sample(holder, reader, pending, packet)) {
        refuse(reader, holder, pending);
        start_sending(adapter);
        return;
    }
    uint64_t length_ps = wire_ps(model, packet_bytes(reader, pending, packet));
    deliver(adapter, reader, number, packet, model->now_ps, length_ps);
    adapter->is_sending = true;
    model_schedule(model, model->now_ps + length_ps,
                   (struct event){.kind = EVENT_SEND, .adapter = adapter});
}

/* --- the reader accepts and completes --------------------------------------------------------- */

/* Of the piece [offset, offset + len) of a read, as far as it lies in one segment after another. */
static bool scatter(const struct verbs_queue *queue, const struct pending *pending, uint64_t offset,
                    uint32_t len)
{
    const uint8_t *from = pending->bytes + offset;
    for (uint32_t i = 0; i < pending->read.segment_count && len > 0; i++) {
        const struct verbs_segment *segment = &pending->segments[i];
        if (offset >= segment->len_bytes) {
            offset -= segment->len_bytes;
            continue;
        }
        uint64_t room = segment->len_bytes - offset;
        uint32_t piece = room < len ? (uint32_t)room : len;
        if (!model_find_memory(queue->device, segment->local_key, segment->addr + offset, piece,
                               VERBS_LOCAL_WRITE))
            return false;
        memcpy((void *)(uintptr_t)(segment->addr + offset), from, piece);
        from += piece;
        len -= piece;
        offset = 0;
    }
    return true;
}

static void on_arrived(const struct event *event)
{
    struct verbs_queue *queue = event->queue;
    struct pending *pending = pending_of(queue, event->number);
    struct model *model = model_of(queue);
    if (!is_alive(queue) || event->number < queue->accepting || event->asking != pending->asking)
        return;
    if (event->number > queue->accepting || event->packet > pending->accepted) {
        ask_again(queue); /* one was lost before it */
        return;
    }
    if (event->packet < pending->accepted)
        return;
    pending->accepted++;
    queue->progress++;
    if (pending->accepted == pending->packets)
        queue->accepting++;
    uint64_t within_ps = model->settings.landing_ns * PS_PER_NS;
    model_schedule(
        model, model->now_ps + (within_ps ? model_random(model) % (within_ps + 1) : 0),
        (struct event){
            .kind = EVENT_LAND, .queue = queue, .number = event->number, .packet = event->packet});
    if (model_chance(model, model->settings.again_permille))
        ask_again(queue);
}

static void complete_done(struct verbs_queue *queue)
{
    while (is_alive(queue) && queue->done < queue->asked) {
        struct pending *pending = pending_of(queue, queue->done);
        if (pending->status != VERBS_OK) {
            model_fail_queue(queue, pending->status);
            return;
        }
        if (pending->landed < pending->packets)
            break;
        queue->done++;
        model_of(queue)->counts.reads_done++;
        if (pending->read.flags & VERBS_SIGNALLED)
            model_complete(queue, pending->read.id, queue->done, VERBS_OK);
    }
    model_ask(queue);
}

static void on_land(const struct event *event)
{
    struct verbs_queue *queue = event->queue;
    if (!is_alive(queue))
        return;
    struct pending *pending = pending_of(queue, event->number);
    uint64_t offset = (uint64_t)event->packet * queue->path.mtu_bytes;
    uint32_t len = packet_bytes(queue, pending, event->packet);
    if (scatter(queue, pending, offset, len)) {
        pending->landed++;
        model_of(queue)->counts.bytes_landed += len;
    } else {
        pending->status = VERBS_LOCAL_ACCESS;
    }
    complete_done(queue);
}

static void complete_all(struct verbs_queue *queue, enum verbs_status first)
{
    for (; queue->done < queue->posted; first = VERBS_FLUSHED) {
        queue->done++;
        model_complete(queue, pending_of(queue, queue->done - 1)->read.id, queue->done, first);
    }
}

void model_flush(struct verbs_queue *queue)
{
    complete_all(queue, VERBS_FLUSHED);
}

void model_fail_queue(struct verbs_queue *queue, enum verbs_status status)
{
    if (queue->state != QUEUE_READY)
        return;
    queue->state = QUEUE_FAILED;
    complete_all(queue, status);
}

void model_do(struct model *model, const struct event *event)
{
    (void)model;
    switch (event->kind) {
    case EVENT_ASKED:
        if (is_alive(event->queue) && event->number >= event->queue->accepting &&
            pending_of(event->queue, event->number)->asking == event->asking)
            on_asked(event);
        break;
    case EVENT_SEND: on_send(event->adapter); break;
    case EVENT_ARRIVED: on_arrived(event); break;
    case EVENT_LAND: on_land(event); break;
    case EVENT_TURN: complete_done(event->queue); break;
    case EVENT_TIMER: on_timer(event->queue, event->number); break;
    }
}
