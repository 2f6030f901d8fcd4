/* SPDX-License-Identifier: Apache-2.0 */
/* model_events.c - the model's clock: what happens next, and chance. */
#include <stdlib.h>

#include "base/splitmix.h"
#include "model_internal.h"

uint64_t model_random(struct model *model)
{
    return splitmix_next(&model->random);
}

bool model_chance(struct model *model, uint32_t permille)
{
    return permille > 0 && model_random(model) % 1000 < permille;
}

/* --- a heap of events: the earliest first, then the first that was scheduled ------------------ */

static bool is_before(const struct event *a, const struct event *b)
{
    return a->time_ps < b->time_ps || (a->time_ps == b->time_ps && a->order < b->order);
}

static void swap(struct event *a, struct event *b)
{
    struct event kept = *a;
    *a = *b;
    *b = kept;
}

void model_schedule(struct model *model, uint64_t time_ps, struct event event)
{
    if (model->heap_count == model->heap_size) {
        model->heap_size = model->heap_size ? 2 * model->heap_size : 1024;
        model->heap = realloc(model->heap, model->heap_size * sizeof *model->heap);
        CHECK(model->heap);
    }
    event.time_ps = time_ps > model->now_ps ? time_ps : model->now_ps;
    event.order = model->order++;
    size_t at = model->heap_count++;
    model->heap[at] = event;
    for (; at > 0 && is_before(&model->heap[at], &model->heap[(at - 1) / 2]); at = (at - 1) / 2)
        swap(&model->heap[at], &model->heap[(at - 1) / 2]);
}

bool model_take_event(struct model *model, struct event *ret_event)
{
    if (model->heap_count == 0)
        return false;
    *ret_event = model->heap[0];
    model->heap[0] = model->heap[--model->heap_count];
    for (size_t at = 0;;) {
        size_t least = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < model->heap_count; child++)
            if (is_before(&model->heap[child], &model->heap[least]))
                least = child;
        if (least == at)
            return true;
        swap(&model->heap[at], &model->heap[least]);
        at = least;
    }
}

/* --- running ---------------------------------------------------------------------------------- */

uint64_t model_now_ns(const struct model *model)
{
    return model->now_ps / PS_PER_NS;
}

bool model_step(struct model *model)
{
    struct event event;
    if (!model_take_event(model, &event))
        return false;
    model->now_ps = event.time_ps;
    model_do(model, &event);
    return true;
}

void model_run_until(struct model *model, uint64_t time_ns)
{
    while (model->heap_count > 0 && model->heap[0].time_ps <= time_ns * PS_PER_NS)
        model_step(model);
    if (model->now_ps < time_ns * PS_PER_NS)
        model->now_ps = time_ns * PS_PER_NS;
}

void model_on_sample(struct model *model, void (*callback)(void *context), void *context)
{
    model->on_sample = callback;
    model->on_sample_context = context;
}
