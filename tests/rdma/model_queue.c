/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_queue.c - completion queues and queue pairs of the model, and posting.
 *
 * A destroyed queue pair stays in the model's list, so that what is still on the wire for it finds
 * that it is no more, and so that a caller who goes on using it is found out.
 */
#include "model_queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static struct model *model_of(const struct verbs *verbs)
{
    return (struct model *)(uintptr_t)verbs;
}

/* --- completion queues ------------------------------------------------------------------------ */

int model_completions_create(const struct verbs *verbs, struct verbs_device *device, uint32_t depth,
                             struct verbs_completions **ret_completions)
{
    if (device->adapter->is_removed)
        return -EIO;
    if (depth == 0 || depth > COMPLETIONS_DEPTH_MAX)
        return -EINVAL;
    struct verbs_completions *completions = calloc(1, sizeof *completions);
    CHECK(completions);
    *completions = (struct verbs_completions){
        .device = device,
        .depth = depth,
        .ring = calloc(depth, sizeof *completions->ring),
        .released = calloc(depth, sizeof *completions->released),
        .fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
    };
    CHECK(completions->ring && completions->released && completions->fd >= 0);
    model_of(verbs)->counts.completion_queues++;
    *ret_completions = completions;
    return 0;
}

void model_completions_destroy(const struct verbs *verbs, struct verbs_completions *completions)
{
    struct model *model = model_of(verbs);
    if (!completions)
        return;
    for (uint32_t i = 0; i < model->queue_count; i++)
        CHECK(model->queues[i]->completions != completions ||
              model->queues[i]->state == QUEUE_DESTROYED);
    close(completions->fd);
    free(completions->ring);
    free(completions->released);
    free(completions);
    model->counts.completion_queues--;
}

static void overrun(struct model *model, struct verbs_completions *completions)
{
    completions->has_overrun = true;
    model_report(completions->device->adapter,
                 (struct verbs_event){.kind = VERBS_EVENT_COMPLETIONS_FAILED});
    for (uint32_t i = 0; i < model->queue_count; i++)
        if (model->queues[i]->completions == completions &&
            model->queues[i]->state != QUEUE_DESTROYED)
            model->queues[i]->state = QUEUE_FAILED;
}

void model_complete(struct verbs_queue *queue, uint64_t id, uint64_t released,
                    enum verbs_status status)
{
    struct verbs_completions *completions = queue->completions;
    if (completions->has_overrun)
        return;
    if (completions->count == completions->depth) {
        overrun(queue->adapter->model, completions);
        return;
    }
    uint32_t at = (completions->first + completions->count++) % completions->depth;
    completions->ring[at] =
        (struct verbs_completion){.id = id, .queue_number = queue->number, .status = status};
    completions->released[at] = released;
    if (completions->is_armed)
        eventfd_write(completions->fd, 1);
    completions->is_armed = false;
}

/* The queue pair's reads before number @released make room for others. */
static void release(struct model *model, uint32_t queue_number, uint64_t released)
{
    for (uint32_t i = 0; i < model->queue_count; i++)
        if (model->queues[i]->number == queue_number)
            model->queues[i]->released = released;
}

int model_poll(const struct verbs *verbs, struct verbs_completions *completions,
               struct verbs_completion *ret_completions, uint32_t most, uint32_t *ret_n)
{
    uint32_t n = 0;
    for (; n < most && completions->count > 0; n++) {
        ret_completions[n] = completions->ring[completions->first];
        release(model_of(verbs), ret_completions[n].queue_number,
                completions->released[completions->first]);
        completions->first = (completions->first + 1) % completions->depth;
        completions->count--;
    }
    *ret_n = n;
    return 0;
}

int model_arm(const struct verbs *verbs, struct verbs_completions *completions)
{
    (void)verbs;
    completions->is_armed = true;
    return completions->device->adapter->is_removed ? -EIO : 0;
}

int model_completions_fd(const struct verbs *verbs, const struct verbs_completions *completions)
{
    (void)verbs;
    return completions->fd;
}

void model_woken(const struct verbs *verbs, struct verbs_completions *completions)
{
    eventfd_t count;
    (void)verbs;
    eventfd_read(completions->fd, &count);
}

/* --- queue pairs ------------------------------------------------------------------------------ */

int model_queue_create(const struct verbs *verbs, struct verbs_device *device,
                       const struct verbs_queue_request *request, struct verbs_queue **ret_queue,
                       struct verbs_queue_made *ret_made)
{
    struct model *model = model_of(verbs);
    if (device->adapter->is_removed)
        return -EIO;
    if (request->port != 1 || request->depth == 0 || request->depth > MODEL_DEPTH_MAX ||
        request->segments == 0 || request->segments > SEGMENTS_MAX ||
        request->completions->device != device)
        return -EINVAL;
    if (model->queue_count == MODEL_QUEUES_MAX)
        return -ENOMEM;
    struct verbs_queue *queue = calloc(1, sizeof *queue);
    CHECK(queue);
    *queue = (struct verbs_queue){
        .device = device,
        .adapter = device->adapter,
        .completions = request->completions,
        .number = 0x100 + model->queue_count,
        .depth = request->depth,
        .segments = request->segments,
        .ring = calloc(request->depth, sizeof *queue->ring),
        .serving = calloc(MODEL_DEPTH_MAX, sizeof *queue->serving),
    };
    CHECK(queue->ring && queue->serving);
    model->queues[model->queue_count++] = queue;
    model->counts.queues++;
    *ret_queue = queue;
    *ret_made = (struct verbs_queue_made){queue->number, queue->depth, queue->segments};
    return 0;
}

static bool is_mtu(uint32_t bytes)
{
    return bytes >= 256 && bytes <= PORT_MTU_BYTES && (bytes & (bytes - 1)) == 0;
}

int model_queue_connect(const struct verbs *verbs, struct verbs_queue *queue,
                        const struct verbs_path *path)
{
    const struct model_settings *settings = &model_of(verbs)->settings;
    CHECK(queue->state != QUEUE_DESTROYED);
    if (queue->adapter->is_removed)
        return -EIO;
    if (queue->state != QUEUE_INIT || !path->is_global ||
        path->gid_index != queue->adapter->gid_index || !is_mtu(path->mtu_bytes) ||
        path->reads_asked == 0 || path->reads_served == 0 ||
        path->reads_asked > settings->reads_asked || path->reads_served > settings->reads_asked ||
        path->timeout_exponent < 1 || path->timeout_exponent > 31 || path->retry_count > 7)
        return -EINVAL;
    queue->path = *path;
    queue->state = QUEUE_READY;
    return 0;
}

static void free_pending(struct pending *pending)
{
    free(pending->bytes);
    free(pending->is_sampled);
    pending->bytes = pending->is_sampled = NULL;
}

int model_queue_destroy(const struct verbs *verbs, struct verbs_queue *queue)
{
    if (!queue)
        return 0;
    CHECK(queue->state != QUEUE_DESTROYED);
    if (queue->adapter->held_queues > 0) {
        queue->adapter->held_queues--;
        return -EBUSY;
    }
    queue->state = QUEUE_DESTROYED;
    model_of(verbs)->counts.queues--;
    return 0;
}

void model_free_queues(struct model *model)
{
    for (uint32_t i = 0; i < model->queue_count; i++) {
        struct verbs_queue *queue = model->queues[i];
        for (uint32_t j = 0; j < queue->depth; j++)
            free_pending(&queue->ring[j]);
        free(queue->ring);
        free(queue->serving);
        free(queue);
    }
}

/* --- posting ---------------------------------------------------------------------------------- */

static uint64_t length_of(const struct verbs_read *read)
{
    uint64_t len_bytes = 0;
    for (uint32_t i = 0; i < read->segment_count; i++)
        len_bytes += read->segments[i].len_bytes;
    return len_bytes;
}

static int check_read(const struct verbs_queue *queue, const struct verbs_read *read)
{
    if (queue->state == QUEUE_INIT || read->segment_count == 0 ||
        read->segment_count > queue->segments)
        return -EINVAL;
    return queue->posted - queue->released >= queue->depth ? -ENOMEM : 0;
}

static void add_read(struct verbs_queue *queue, const struct verbs_read *read)
{
    struct pending *pending = &queue->ring[queue->posted++ % queue->depth];
    uint64_t len_bytes = length_of(read);
    uint32_t mtu_bytes = queue->path.mtu_bytes;
    uint32_t packets = len_bytes ? (uint32_t)((len_bytes + mtu_bytes - 1) / mtu_bytes) : 1;
    free_pending(pending);
    *pending = (struct pending){.read = *read,
                                .len_bytes = len_bytes,
                                .packets = packets,
                                .bytes = malloc(len_bytes + 1),
                                .is_sampled = calloc(packets, 1)};
    CHECK(pending->bytes && pending->is_sampled);
    memcpy(pending->segments, read->segments, read->segment_count * sizeof *read->segments);
    if (len_bytes > MESSAGE_MAX_BYTES)
        pending->status = VERBS_LENGTH;
}

int model_post(const struct verbs *verbs, struct verbs_queue *queue, const struct verbs_read *reads,
               uint32_t n, uint32_t *ret_posted)
{
    int error = 0;
    CHECK(queue->state != QUEUE_DESTROYED);
    *ret_posted = 0;
    if (queue->adapter->is_removed)
        return -EIO;
    if (n > VERBS_CHAIN_MAX)
        return -ENOMEM;
    model_of(verbs)->counts.doorbells++;
    for (uint32_t i = 0; i < n && !error; i++) {
        error = check_read(queue, &reads[i]);
        if (error)
            break;
        add_read(queue, &reads[i]);
        *ret_posted = i + 1;
    }
    if (queue->state == QUEUE_FAILED)
        model_flush(queue);
    else
        model_ask(queue);
    return error;
}

/* --- faults ----------------------------------------------------------------------------------- */

void model_fail_read(struct model *model, uint32_t queue_number, enum verbs_status status)
{
    for (uint32_t i = 0; i < model->queue_count; i++) {
        struct verbs_queue *queue = model->queues[i];
        if (queue->number != queue_number || queue->done == queue->asked)
            continue;
        queue->ring[queue->done % queue->depth].status = status;
        model_schedule(model, model->now_ps, (struct event){.kind = EVENT_TURN, .queue = queue});
    }
}
