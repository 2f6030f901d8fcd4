/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link_opening.c - a link is opened on a thread of its own, since a driver may hold it for longer
 * than the call that wants it has time.
 */
#include "io/rdma/link_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/thread.h"

struct opener {
    struct link *link;
    struct channel_peer peer;
    struct message_hello mine;
};

/* Whoever broke it meanwhile has said why. */
static void end(struct link *link, int error, const char *reason)
{
    pthread_mutex_lock(&link->mutex);
    link->state = error ? LINK_DOWN : LINK_UP;
    link->used_ns = clock_now_ns();
    link->open_error = error;
    link->openings_ended++;
    if (!link->is_broken)
        snprintf(link->why, sizeof link->why, "%s", reason);
    if (error)
        link->is_broken = false;
    if (error == -EAGAIN) /* the holder is registering its pool: no failure */
        link->retry_at_ns = link->used_ns + LINK_PARTIAL_NS;
    else if (error)
        link_pause(link, link->used_ns);
    pthread_cond_broadcast(&link->opened);
    pthread_mutex_unlock(&link->mutex);
}

static void *open_it(void *context)
{
    struct opener *opener = context;
    struct link *link = opener->link;
    struct link_table *table = link->table; /* outlives the link */
    char reason[LINK_REASON_BYTES] = "";
    int error =
        link_open(link, &opener->peer, &opener->mine, clock_now_ns() + LINK_OPEN_NS, reason);
    free(opener);
    if (!error) {
        error = link_enter_table(link);
        if (error)
            link_close_parts(link);
    }
    metric_add(link->rail->metrics, error ? METRIC_rdma_links_failed : METRIC_rdma_links_opened, 1);
    end(link, error, reason);
    atomic_fetch_sub(&table->openings, 1);
    return NULL;
}

void link_join_opener(struct link *link)
{
    if (link->has_opener)
        pthread_join(link->opener, NULL);
    link->has_opener = false;
}

void link_begin_opening(struct link *link, const struct channel_peer *peer,
                        const struct message_hello *mine)
{
    link_join_opener(link);
    struct opener *opener = malloc(sizeof *opener);
    atomic_fetch_add(&link->table->openings, 1);
    if (opener) {
        *opener = (struct opener){link, *peer, *mine};
        pthread_mutex_lock(&link->mutex); /* the opening does not end before it is known by whom */
        link->has_opener = thread_start(&link->opener, NULL, "pc-rdma-open", open_it, opener) == 0;
        bool is_begun = link->has_opener;
        pthread_mutex_unlock(&link->mutex);
        if (is_begun)
            return;
    }
    free(opener);
    metric_add(link->rail->metrics, METRIC_rdma_links_failed, 1);
    end(link, -ENOMEM, "there is no thread on which to open it");
    atomic_fetch_sub(&link->table->openings, 1);
}

int link_await_opening(struct link *link, uint32_t ended, uint64_t deadline_ns,
                       char ret_reason[LINK_REASON_BYTES])
{
    struct timespec until = {(time_t)(deadline_ns / CLOCK_NS_PER_S),
                             (long)(deadline_ns % CLOCK_NS_PER_S)};
    int late = 0;
    pthread_mutex_lock(&link->mutex);
    while (link->openings_ended == ended && !late)
        late = pthread_cond_timedwait(&link->opened, &link->mutex, &until);
    bool is_under_way = link->openings_ended == ended;
    int error = is_under_way ? -ETIMEDOUT : link->open_error;
    if (!error && (link->state != LINK_UP || link->is_broken))
        error = -EAGAIN;
    if (!error)
        link->users++;
    snprintf(ret_reason, LINK_REASON_BYTES, "%s", is_under_way ? "" : link->why);
    pthread_mutex_unlock(&link->mutex);
    return error;
}
