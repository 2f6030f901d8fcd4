/* SPDX-License-Identifier: Apache-2.0 */
/* events.c - a heap. */
#include "events.h"

#include <stdlib.h>

static bool is_before(const struct event *a, const struct event *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

void events_put(struct events *events, const struct event *event)
{
    if (events->n == events->size) {
        events->size = events->size ? 2 * events->size : 1024;
        events->heap = realloc(events->heap, events->size * sizeof *events->heap);
        if (!events->heap)
            abort();
    }
    struct event *heap = events->heap;
    uint32_t at = events->n++;
    for (; at > 0 && is_before(event, &heap[(at - 1) / 2]); at = (at - 1) / 2)
        heap[at] = heap[(at - 1) / 2];
    heap[at] = *event;
    if (events->n > events->most)
        events->most = events->n;
}

static void sift_down(struct event *heap, uint32_t n, struct event moving)
{
    uint32_t at = 0, child;
    for (; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && is_before(&heap[child + 1], &heap[child]))
            child++;
        if (!is_before(&heap[child], &moving))
            break;
        heap[at] = heap[child];
    }
    heap[at] = moving;
}

bool events_take(struct events *events, uint64_t until_ns, struct event *ret_event)
{
    if (events->n == 0 || events->heap[0].at_ns > until_ns)
        return false;
    *ret_event = events->heap[0];
    struct event last = events->heap[--events->n];
    if (events->n > 0)
        sift_down(events->heap, events->n, last);
    return true;
}

void events_clear(struct events *events)
{
    for (uint32_t i = 0; i < events->n; i++)
        free(events->heap[i].box);
    events->n = 0;
}
