/* SPDX-License-Identifier: Apache-2.0 */
/* events.h - what is yet to happen, in order of time, and of arrival where times are equal. */
#ifndef SIM_EVENTS_H
#define SIM_EVENTS_H

#include <stdbool.h>
#include <stdint.h>

struct event;
typedef void event_run(struct event *event);

/* Something that happens to one machine in one of its lives; it is dropped when that life is over.
 * machine NOBODY: it happens to the world. */
struct event {
    uint64_t at_ns, order;
    event_run *run;
    int machine, life;
    uint64_t a, b;
    void *box; /* freed behind the event, unless it is taken out */
    uint32_t box_len;
};

struct events {
    struct event *heap;
    uint32_t n, size, most; /* most: ever waiting at a time */
};

void events_put(struct events *events, const struct event *event);
/* The next one, if it is no later than that. */
bool events_take(struct events *events, uint64_t until_ns, struct event *ret_event);
/* Forgets all; the memory is kept for the next run. */
void events_clear(struct events *events);

#endif
