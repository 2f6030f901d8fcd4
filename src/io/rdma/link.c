/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link.c - opening, lending and closing the queue pairs to one peer on one rail.
 *
 * The link's mutex guards its state and the count of its users; it is not held while it is opened:
 * who comes meanwhile goes another way.  The table's mutex is taken before a link's.
 */
#include "io/rdma/link.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "io/rdma/pairing.h"

/* What the opener works with. */
struct opening {
    struct link *link;
    uint64_t deadline_ns;
    char *ret_reason;
    uint32_t psns[PAIR_MAX];
};

__attribute__((format(printf, 3, 4))) static int fail(const struct opening *opening, int error,
                                                      const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(opening->ret_reason, LINK_REASON_BYTES, format, arguments);
    va_end(arguments);
    return error;
}

/* --- closing ---------------------------------------------------------------------------------- */

static void close_parts(struct link *link)
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
    close_parts(link);
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
static struct link *take_unused(struct link_table *table, uint64_t before_ns)
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
        pthread_mutex_unlock(&oldest->mutex);
    }
    pthread_mutex_unlock(&table->mutex);
    return is_taken ? oldest : NULL;
}

void link_table_close_idle(struct link_table *table, uint64_t now_ns)
{
    struct link *link;
    while (now_ns > LINK_IDLE_NS && (link = take_unused(table, now_ns - LINK_IDLE_NS)) != NULL)
        close_rest(link);
}

/* --- opening ---------------------------------------------------------------------------------- */

static int open_queues(struct opening *opening)
{
    struct link *link = opening->link;
    for (uint32_t i = 0; i < PAIR_MAX; i++) {
        int error = queue_open(link->rail, &link->queues[i]);
        struct link *unused = error == -ENOSPC ? take_unused(link->table, UINT64_MAX) : NULL;
        if (unused) { /* the budget is spent: the least used one goes */
            close_rest(unused);
            error = queue_open(link->rail, &link->queues[i]);
        }
        if (error)
            return fail(opening, error, "no queue pair on %s: %s", link->rail->name,
                        strerror(-error));
    }
    return 0;
}

static int ask(struct opening *opening)
{
    struct link *link = opening->link;
    struct record_queue queues[PAIR_MAX];
    struct pairing own = pairing_of(link->rail);
    struct message_pair message;
    for (uint32_t i = 0; i < PAIR_MAX; i++) {
        opening->psns[i] = pairing_random_psn();
        queues[i] = (struct record_queue){link->queues[i]->made.number, opening->psns[i]};
    }
    own.queues = queues;
    own.n_queues = PAIR_MAX;
    pairing_to_pair(&own, &message);
    int error = channel_ask_pair(link->channel, 0, &message);
    return error ? fail(opening, error, "the peer cannot be asked: %s", strerror(-error)) : 0;
}

static int await_answer(struct opening *opening, struct channel_done *ret_done)
{
    struct channel *channel = opening->link->channel;
    int error = channel_wait(&channel, 1, -1, opening->deadline_ns, 0);
    if (!error)
        error = channel_next_done(channel, ret_done) ? ret_done->error : channel_error(channel);
    if (error)
        return fail(opening, error, "the peer does not answer for RDMA: %s", strerror(-error));
    const struct message_paired *paired = &ret_done->paired;
    if (paired->error)
        return fail(opening, paired->error < 0 ? paired->error : -EPROTO, "%.*s",
                    (int)paired->reason.len, paired->reason.bytes);
    return 0;
}

/* The first header must be within reach, for the probe; pages are checked one by one. */
static int take_source(struct opening *opening, const struct message_paired *paired)
{
    struct link *link = opening->link;
    uint64_t headers_at = paired->headers_addr - paired->base_addr;
    if (paired->headers_addr < paired->base_addr || paired->n_slices == 0 ||
        headers_at / CHAIN_SLICE_BYTES >= paired->n_slices)
        return fail(opening, -EAGAIN, "the peer has registered nothing yet");
    link->keys = malloc(paired->n_slices * sizeof *link->keys);
    if (!link->keys)
        return fail(opening, -ENOMEM, "out of memory");
    for (uint32_t i = 0; i < paired->n_slices; i++)
        link->keys[i] = paired->slices[i].remote_key;
    link->source = (struct chain_source){.headers_addr = paired->headers_addr,
                                         .payload_addr = paired->payload_addr,
                                         .payload_bytes = paired->payload_bytes,
                                         .slot_count = paired->slot_count,
                                         .key_count = paired->n_slices,
                                         .base_addr = paired->base_addr,
                                         .keys = link->keys};
    uint64_t end = paired->payload_addr + paired->payload_bytes - paired->base_addr;
    bool is_partial = paired->n_slices < (end + CHAIN_SLICE_BYTES - 1) / CHAIN_SLICE_BYTES;
    link->reopen_at_ns = is_partial ? clock_now_ns() + LINK_PARTIAL_NS : UINT64_MAX;
    return 0;
}

static int connect_queues(struct opening *opening, const struct message_paired *paired)
{
    struct link *link = opening->link;
    struct pairing theirs = pairing_from_paired(paired);
    for (uint32_t i = 0; i < PAIR_MAX; i++) {
        struct verbs_path path;
        int error = pairing_path(link->rail, &theirs, i, opening->psns[i], &path);
        if (!error)
            error = queue_connect(link->queues[i], &path);
        if (error)
            return fail(opening, error, "%s cannot connect to the peer's adapter: %s",
                        link->rail->name, strerror(-error));
    }
    return 0;
}

/* A path that does not carry a small READ is none, whatever both sides say. */
static int probe(struct opening *opening, struct queue *queue)
{
    struct waiters *waiters = opening->link->rail->waiters;
    uint32_t place = waiters_take(waiters);
    struct chain *chain;
    int error = queue_post_probe(queue, &opening->link->source, place, &chain);
    while (!error && chain_end(chain) == CHAIN_UNDER_WAY) {
        uint64_t now_ns = clock_now_ns();
        uint32_t seen = waiters_ticks(waiters, place);
        if (now_ns >= opening->deadline_ns)
            error = -ETIMEDOUT;
        else if (chain_end(chain) == CHAIN_UNDER_WAY)
            waiters_sleep(waiters, place, seen, opening->deadline_ns - now_ns);
    }
    if (error || chain_end(chain) != CHAIN_DONE)
        queue_break(queue);
    bool is_done = chain_end(chain) == CHAIN_DONE;
    queue_release(queue, chain);
    return is_done ? 0
                   : fail(opening, error ? error : -EHOSTUNREACH,
                          "a READ by %s does not come through", opening->link->rail->name);
}

static int open_link(struct opening *opening, const struct channel_peer *peer,
                     const struct message_hello *mine)
{
    struct link *link = opening->link;
    struct channel_done done;
    int error = open_queues(opening);
    if (!error)
        error = channel_open(peer, mine, opening->deadline_ns, &link->channel, opening->ret_reason);
    if (!error)
        error = ask(opening);
    if (!error)
        error = await_answer(opening, &done);
    if (!error)
        error = take_source(opening, &done.paired);
    if (!error)
        error = connect_queues(opening, &done.paired);
    for (uint32_t i = 0; !error && i < PAIR_MAX; i++)
        error = probe(opening, link->queues[i]);
    if (error)
        close_parts(link);
    return error;
}

static int enter_table(struct link *link)
{
    struct link_table *table = link->table;
    pthread_mutex_lock(&table->mutex);
    bool has_room = table->n < LINKS_MAX;
    if (has_room)
        table->links[table->n++] = link;
    pthread_mutex_unlock(&table->mutex);
    return has_room ? 0 : -ENOSPC;
}

/* --- lending ---------------------------------------------------------------------------------- */

void link_init(struct link *link, struct rail *rail, struct link_table *table)
{
    *link = (struct link){.rail = rail, .table = table, .pause_ns = LINK_PAUSE_NS};
    pthread_mutex_init(&link->mutex, NULL);
}

void link_fini(struct link *link)
{
    CHECK(link->users == 0);
    if (link->state == LINK_UP)
        close_rest(link);
    pthread_mutex_destroy(&link->mutex);
}

bool link_is_alive(const struct link *link)
{
    return channel_is_alive(link->channel);
}

/* With the mutex. */
static void pause(struct link *link, uint64_t now_ns)
{
    link->retry_at_ns = now_ns + link->pause_ns;
    link->pause_ns *= 2;
    if (link->pause_ns > LINK_PAUSE_MAX_NS)
        link->pause_ns = LINK_PAUSE_MAX_NS;
}

/* With the mutex: one that is up and whole is lent (0); -EAGAIN: not now; -ENOTCONN: the caller is to
 * close it; -ENOENT: to open it. */
static int lend(struct link *link, uint64_t now_ns)
{
    if (link->state == LINK_OPENING)
        return -EAGAIN;
    if (link->state == LINK_DOWN)
        return now_ns < link->retry_at_ns || atomic_load(&link->rail->is_dead) ? -EAGAIN : -ENOENT;
    if (!link->is_broken && !link_is_alive(link)) {
        link->is_broken = true;
        pause(link, now_ns);
    }
    bool is_old = now_ns >= link->reopen_at_ns && link->users == 0;
    if (link->is_broken || is_old)
        return begin_to_close(link) ? -ENOTCONN : -EAGAIN;
    link->users++;
    link->used_ns = now_ns;
    return 0;
}

static int open_and_lend(struct link *link, const struct channel_peer *peer,
                         const struct message_hello *mine, uint64_t deadline_ns,
                         char ret_reason[LINK_REASON_BYTES])
{
    struct opening opening = {.link = link, .deadline_ns = deadline_ns, .ret_reason = ret_reason};
    int error = open_link(&opening, peer, mine);
    if (!error) {
        error = enter_table(link);
        if (error)
            close_parts(link);
    }
    metric_add(link->rail->metrics, error ? METRIC_rdma_links_failed : METRIC_rdma_links_opened, 1);
    pthread_mutex_lock(&link->mutex);
    link->state = error ? LINK_DOWN : LINK_UP;
    link->used_ns = clock_now_ns();
    if (error) {
        link->is_broken = false;
        pause(link, link->used_ns);
    } else {
        link->users = 1;
    }
    pthread_mutex_unlock(&link->mutex);
    return error;
}

int link_borrow(struct link *link, const struct channel_peer *peer,
                const struct message_hello *mine, uint64_t deadline_ns,
                char ret_reason[LINK_REASON_BYTES])
{
    uint64_t now_ns = clock_now_ns();
    pthread_mutex_lock(&link->mutex);
    int error = lend(link, now_ns);
    if (error == -ENOENT)
        link->state = LINK_OPENING;
    pthread_mutex_unlock(&link->mutex);
    if (error == -ENOTCONN)
        close_rest(link);
    if (error == -ENOENT)
        return open_and_lend(link, peer, mine, deadline_ns, ret_reason);
    return error ? -EAGAIN : 0;
}

void link_return(struct link *link)
{
    pthread_mutex_lock(&link->mutex);
    CHECK(link->users > 0);
    link->users--;
    if (!link->is_broken)
        link->pause_ns = LINK_PAUSE_NS; /* it has worked */
    bool closes = link->is_broken && begin_to_close(link);
    pthread_mutex_unlock(&link->mutex);
    if (closes)
        close_rest(link);
}

void link_break(struct link *link)
{
    pthread_mutex_lock(&link->mutex);
    if (link->state != LINK_DOWN && !link->is_broken) {
        link->is_broken = true;
        pause(link, clock_now_ns());
    }
    pthread_mutex_unlock(&link->mutex);
}
