/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link.c - lending and closing the queue pairs to one peer on one rail.
 *
 * The link's mutex guards its state and the count of its users; it is not held while it is opened
 * (link_opening.c): who comes meanwhile goes another way.  The table's mutex is taken before a
 * link's.
 */
#include "io/rdma/link_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/thread.h"

/* --- closing ---------------------------------------------------------------------------------- */

void link_close_parts(struct link *link)
{
    for (uint32_t i = 0; i < PAIR_MAX; i++) {
        queue_close(link->queues[i]);
        link->queues[i] = NULL;
    }
    channel_close(link->channel);
    free(link->keys);
    link->channel = NULL;
    link->keys = NULL;
}

static void leave_table(struct link *link)
{
    struct link_table *table = link->table;
    pthread_mutex_lock(&table->mutex);
    for (uint32_t i = 0; i < table->n; i++)
        if (table->links[i] == link) {
            table->links[i] = table->links[--table->n];
            break;
        }
    pthread_mutex_unlock(&table->mutex);
}

/* With the mutex. */
static void set_why(struct link *link, const char *why)
{
    snprintf(link->why, sizeof link->why, "%s", why);
}

/* With the mutex; it stays as OPENING, so that nobody else touches it, until close_rest(). */
static bool begin_to_close(struct link *link)
{
    if (link->state != LINK_UP || link->users > 0)
        return false;
    link->state = LINK_OPENING;
    return true;
}

static void close_rest(struct link *link)
{
    leave_table(link);
    link_close_parts(link);
    pthread_mutex_lock(&link->mutex);
    link->state = LINK_DOWN;
    link->is_broken = false;
    pthread_mutex_unlock(&link->mutex);
}

void link_table_init(struct link_table *table)
{
    *table = (struct link_table){0};
    pthread_mutex_init(&table->mutex, NULL);
}

void link_table_fini(struct link_table *table)
{
    CHECK(table->n == 0);
    pthread_mutex_destroy(&table->mutex);
}

/* One that nobody uses, and that is broken or was not used since @before_ns; the one that was used
 * longest ago. */
static struct link *take_unused(struct link_table *table, uint64_t before_ns, const char *why)
{
    struct link *oldest = NULL;
    pthread_mutex_lock(&table->mutex);
    for (uint32_t i = 0; i < table->n; i++) {
        struct link *link = table->links[i];
        pthread_mutex_lock(&link->mutex);
        bool is_free = link->state == LINK_UP && link->users == 0 &&
                       (link->is_broken || link->used_ns <= before_ns);
        if (is_free && (!oldest || link->used_ns < oldest->used_ns))
            oldest = link;
        pthread_mutex_unlock(&link->mutex);
    }
    bool is_taken = false;
    if (oldest) {
        pthread_mutex_lock(&oldest->mutex);
        is_taken = begin_to_close(oldest);
        if (is_taken && !oldest->is_broken)
            set_why(oldest, why);
        pthread_mutex_unlock(&oldest->mutex);
    }
    pthread_mutex_unlock(&table->mutex);
    return is_taken ? oldest : NULL;
}

bool link_make_room(struct link_table *table)
{
    struct link *unused = take_unused(table, UINT64_MAX, "its queue pairs went to another peer");
    if (unused)
        close_rest(unused);
    return unused != NULL;
}

void link_table_close_idle(struct link_table *table, uint64_t now_ns)
{
    struct link *link;
    while (now_ns > LINK_IDLE_NS &&
           (link = take_unused(table, now_ns - LINK_IDLE_NS, "nobody used it for a while")) != NULL)
        close_rest(link);
}

/* --- lending ---------------------------------------------------------------------------------- */

int link_enter_table(struct link *link)
{
    struct link_table *table = link->table;
    pthread_mutex_lock(&table->mutex);
    bool has_room = table->n < LINKS_MAX;
    if (has_room)
        table->links[table->n++] = link;
    pthread_mutex_unlock(&table->mutex);
    return has_room ? 0 : -ENOSPC;
}

void link_init(struct link *link, struct rail *rail, struct link_table *table)
{
    *link = (struct link){.rail = rail, .table = table, .pause_ns = LINK_PAUSE_NS};
    pthread_mutex_init(&link->mutex, NULL);
    thread_cond_init(&link->opened);
}

void link_fini(struct link *link)
{
    CHECK(link->users == 0);
    link_join_opener(link);
    if (link->state == LINK_UP)
        close_rest(link);
    pthread_cond_destroy(&link->opened);
    pthread_mutex_destroy(&link->mutex);
}

bool link_is_alive(const struct link *link)
{
    return channel_is_alive(link->channel);
}

void link_pause(struct link *link, uint64_t now_ns)
{
    link->retry_at_ns = now_ns + link->pause_ns;
    link->pause_ns *= 2;
    if (link->pause_ns > LINK_PAUSE_MAX_NS)
        link->pause_ns = LINK_PAUSE_MAX_NS;
}

/* With the mutex: one that is up and whole is lent (0); -EAGAIN: not now; -ENOTCONN: the caller is
 * to close it; -ENOENT: to open it. */
static int lend(struct link *link, uint64_t now_ns)
{
    if (link->state == LINK_OPENING)
        return -EAGAIN;
    if (link->state == LINK_DOWN)
        return now_ns < link->retry_at_ns || atomic_load(&link->rail->is_dead) ? -EAGAIN : -ENOENT;
    if (!link->is_broken && !link_is_alive(link)) {
        link->is_broken = true;
        set_why(link, "the peer has closed its side");
        link_pause(link, now_ns);
    }
    bool is_old = now_ns >= link->reopen_at_ns; /* lent no more until it is made again */
    if (link->is_broken || is_old)
        return begin_to_close(link) ? -ENOTCONN : -EAGAIN;
    link->users++;
    link->used_ns = now_ns;
    return 0;
}

/* As lend(), and for -ENOENT this thread is the one that has it opened, while there is time. */
static int lend_or_begin(struct link *link, uint64_t deadline_ns, uint32_t *ret_ended,
                         char ret_reason[LINK_REASON_BYTES])
{
    uint64_t now_ns = clock_now_ns();
    pthread_mutex_lock(&link->mutex);
    int error = lend(link, now_ns);
    if (error == -ENOENT && now_ns >= deadline_ns)
        error = -EAGAIN;
    if (error == -ENOENT)
        link->state = LINK_OPENING;
    if (error == -EAGAIN && link->state == LINK_DOWN && link->open_error)
        snprintf(ret_reason, LINK_REASON_BYTES, "%s", link->why);
    *ret_ended = link->openings_ended;
    pthread_mutex_unlock(&link->mutex);
    return error;
}

int link_borrow(struct link *link, const struct channel_peer *peer,
                const struct message_hello *mine, uint64_t deadline_ns,
                char ret_reason[LINK_REASON_BYTES])
{
    uint32_t ended;
    int error = lend_or_begin(link, deadline_ns, &ended, ret_reason);
    if (error == -ENOTCONN) {
        close_rest(link);
        error = lend_or_begin(link, deadline_ns, &ended, ret_reason);
    }
    if (error != -ENOENT)
        return error ? -EAGAIN : 0;
    link_begin_opening(link, peer, mine);
    return link_await_opening(link, ended, deadline_ns, ret_reason);
}

void link_return(struct link *link)
{
    pthread_mutex_lock(&link->mutex);
    CHECK(link->users > 0);
    link->users--;
    if (!link->is_broken) { /* it has worked */
        link->pause_ns = LINK_PAUSE_NS;
        link->was_renewed = false;
    }
    bool closes = link->is_broken && begin_to_close(link);
    pthread_mutex_unlock(&link->mutex);
    if (closes)
        close_rest(link);
}

static void stop_lending(struct link *link, const char *why, bool pauses)
{
    pthread_mutex_lock(&link->mutex);
    if (link->state != LINK_DOWN && !link->is_broken) {
        link->is_broken = true;
        set_why(link, why);
        if (pauses || link->was_renewed)
            link_pause(link, clock_now_ns());
        link->was_renewed = !pauses;
    }
    pthread_mutex_unlock(&link->mutex);
}

void link_break(struct link *link, const char *why)
{
    stop_lending(link, why, true);
}

void link_renew(struct link *link, const char *why)
{
    stop_lending(link, why, false);
}

/* With the mutex. */
static const char *state_of(const struct link *link)
{
    if (link->state == LINK_UP)
        return link->is_broken ? "broken" : "up";
    return link->state == LINK_OPENING ? "opening" : "down";
}

void link_look(struct link *link, struct link_view *ret_view)
{
    pthread_mutex_lock(&link->mutex);
    *ret_view = (struct link_view){.state = state_of(link),
                                   .queue_pairs = link->state == LINK_UP ? PAIR_MAX : 0,
                                   .users = link->users};
    memcpy(ret_view->why, link->why, sizeof link->why);
    pthread_mutex_unlock(&link->mutex);
}
