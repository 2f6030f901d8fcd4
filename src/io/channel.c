/* SPDX-License-Identifier: Apache-2.0 */
/*
 * channel.c - asks on a data connection, and waiting for their answers.
 *
 * The thread that holds the channel does everything: there is no other one that could write into a
 * page's segments.  Asks are answered in their order; the first answer that does not belong to the
 * first open ask breaks the channel, and with it all asks that are under way.
 */
#include "io/channel.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "io/channel_internal.h"
#include "io/forked.h"

void channel_close(struct channel *channel)
{
    if (channel == NULL)
        return;
    if (channel->fd >= 0)
        forked_close(channel->fd);
    buffer_fini(&channel->in);
    buffer_fini(&channel->out);
    free(channel);
}

uint32_t channel_asks(const struct channel *channel)
{
    return channel->n - channel->n_done;
}

uint64_t channel_received_bytes(const struct channel *channel)
{
    return channel->received_bytes;
}

int channel_error(const struct channel *channel)
{
    return channel->error;
}

/* --- asking --------------------------------------------------------------------------------- */

uint32_t channel_group_size(const struct channel_page *pages, uint32_t n)
{
    uint64_t bytes = 0;
    uint32_t size = 0;
    while (size < n && size < GROUP_MAX) {
        bytes += pages[size].place.length_bytes;
        if (size > 0 && bytes > CHANNEL_GROUP_MAX_BYTES)
            break;
        size++;
    }
    return size;
}

static int ask(struct channel *channel, const struct message *message,
               const struct channel_ask *ask_now)
{
    if (channel->error < 0)
        return channel->error;
    if (channel->n == CHANNEL_ASKS_MAX)
        return -EAGAIN;
    if (!hello_allows(channel->version, message->type))
        return -EPROTONOSUPPORT;
    int error = buffer_put_message(&channel->out, message, CHANNEL_OUTPUT_MAX_BYTES);
    if (error < 0)
        return error == -EMSGSIZE ? -EINVAL : error;
    *channel_ask_at(channel, channel->n) = *ask_now;
    channel->n++;
    channel->n_new++;
    return 0;
}

int channel_ask_lookup(struct channel *channel, uint32_t request,
                       const struct message_lookup *lookup)
{
    struct message message = {.type = MESSAGE_lookup, .request = request, .u.lookup = *lookup};
    struct channel_ask ask_now = {.kind = CHANNEL_LOOKUP, .request = request};
    return ask(channel, &message, &ask_now);
}

int channel_ask_pair(struct channel *channel, uint32_t request, const struct message_pair *pair)
{
    struct message message = {.type = MESSAGE_pair, .request = request, .u.pair = *pair};
    struct channel_ask ask_now = {.kind = CHANNEL_PAIR, .request = request};
    return ask(channel, &message, &ask_now);
}

static bool page_is_sound(const struct channel_page *page)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < page->n_segments; i++) {
        if (page->segments[i].len_bytes > PEERCACHE_PAGE_MAX_BYTES)
            return false;
        bytes += page->segments[i].len_bytes;
    }
    return bytes > 0 && bytes == page->place.length_bytes;
}

int channel_ask_read(struct channel *channel, uint32_t request, struct channel_page *pages,
                     uint32_t n)
{
    struct record_wanted wanted[GROUP_MAX];
    if (n == 0 || channel_group_size(pages, n) != n)
        return -EINVAL;
    for (uint32_t i = 0; i < n; i++) {
        if (!page_is_sound(&pages[i]))
            return -EINVAL;
        wanted[i] = (struct record_wanted){.digest = pages[i].digest, .place = pages[i].place};
    }
    struct message message = {.type = MESSAGE_read, .request = request};
    message.u.read.pages = wanted;
    message.u.read.n_pages = n;
    struct channel_ask ask_now = {
        .kind = CHANNEL_READ, .request = request, .pages = pages, .n_pages = n};
    int error = ask(channel, &message, &ask_now);
    for (uint32_t i = 0; i < n && error == 0; i++)
        pages[i].error = -EINPROGRESS;
    return error;
}

/* --- progress ------------------------------------------------------------------------------- */

static int send_asks(struct channel *channel)
{
    struct buffer *out = &channel->out;
    while (buffer_len(out) > 0) {
        ssize_t n = send(channel->fd, out->bytes + out->begin, buffer_len(out), MSG_NOSIGNAL);
        if (n >= 0)
            buffer_consume(out, (size_t)n);
        else if (errno == EAGAIN)
            return 0;
        else if (errno != EINTR)
            return -errno;
    }
    return 0;
}

/* Every open ask ends with the error; pages that are whole already stay so. */
static void break_all(struct channel *channel, int error)
{
    channel->error = error;
    for (uint32_t i = channel->n_done; i < channel->n; i++) {
        struct channel_ask *open = channel_ask_at(channel, i);
        open->error = error;
        for (uint32_t j = 0; j < open->n_pages; j++)
            if (open->pages[j].error == -EINPROGRESS)
                open->pages[j].error = error;
    }
    channel->n_done = channel->n;
}

int channel_progress(struct channel *channel)
{
    if (channel->error == 0) {
        /* No answer can be there yet to what goes out now: a system call less for a single ask. */
        bool is_all_new = channel_asks(channel) == channel->n_new;
        channel->n_new = 0;
        int error = send_asks(channel);
        if (error == 0 && !is_all_new)
            error = channel_receive(channel);
        if (error < 0)
            break_all(channel, error);
    }
    return channel->n_done > 0 ? (int)channel->n_done : channel->error;
}

bool channel_next_done(struct channel *channel, struct channel_done *ret_done)
{
    if (channel->n_done == 0)
        return false;
    const struct channel_ask *done = channel_ask_at(channel, 0);
    *ret_done = (struct channel_done){.kind = done->kind,
                                      .request = done->request,
                                      .error = done->error,
                                      .pages = done->pages,
                                      .n_pages = done->n_pages};
    if (done->kind == CHANNEL_LOOKUP)
        ret_done->locations = done->locations;
    if (done->kind == CHANNEL_PAIR)
        ret_done->paired = done->paired;
    if (done->kind != CHANNEL_READ)
        channel->has_lists = false;
    channel->first = (channel->first + 1) % CHANNEL_ASKS_MAX;
    channel->n--;
    channel->n_done--;
    return true;
}

/* Nothing is under way: whatever can be read is an end or an error, but for the hello of a channel
 * that nobody has used yet. */
bool channel_is_alive(const struct channel *channel)
{
    char byte;
    ssize_t n = recv(channel->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n < 0 ? errno == EAGAIN : n > 0 && channel->is_opening;
}

/* --- waiting -------------------------------------------------------------------------------- */

static bool any_done(struct channel *const *channels, uint32_t n)
{
    bool done = false;
    for (uint32_t i = 0; i < n; i++)
        if (channels[i]->n > 0 && channel_progress(channels[i]) != 0)
            done = true;
    return done;
}

/* Sleeps until one of the channels can move, or @wake_fd is readable (-ECANCELED). */
static int sleep_on(struct channel *const *channels, uint32_t n, int wake_fd, uint64_t left_ns)
{
    struct pollfd fds[CHANNEL_WAIT_MAX + 1];
    nfds_t n_fds = 0;
    fds[n_fds++] = (struct pollfd){.fd = wake_fd, .events = POLLIN};
    for (uint32_t i = 0; i < n; i++) {
        if (channels[i]->n == 0)
            continue;
        short events = buffer_len(&channels[i]->out) > 0 ? POLLIN | POLLOUT : POLLIN;
        fds[n_fds++] = (struct pollfd){.fd = channels[i]->fd, .events = events};
    }
    struct timespec timeout = {.tv_sec = (time_t)(left_ns / CLOCK_NS_PER_S),
                               .tv_nsec = (long)(left_ns % CLOCK_NS_PER_S)};
    if (ppoll(fds, n_fds, &timeout, NULL) < 0 && errno != EINTR)
        return -errno;
    return fds[0].revents != 0 ? -ECANCELED : 0;
}

int channel_wait(struct channel *const *channels, uint32_t n, int wake_fd, uint64_t deadline_ns,
                 uint64_t spin_ns)
{
    CHECK(n <= CHANNEL_WAIT_MAX);
    uint64_t now_ns = clock_now_ns(), spin_until_ns = now_ns + spin_ns;
    for (;;) {
        if (any_done(channels, n))
            return 0;
        now_ns = clock_now_ns();
        if (now_ns >= deadline_ns)
            return -ETIMEDOUT;
        if (now_ns < spin_until_ns) {
            sched_yield(); /* on this processor, perhaps, the peer wants to answer */
            continue;
        }
        int error = sleep_on(channels, n, wake_fd, deadline_ns - now_ns);
        if (error < 0)
            return error;
    }
}
