/* SPDX-License-Identifier: Apache-2.0 */
/*
 * channel_receive.c - answers from a data connection: heads into a buffer, page bytes straight into
 * the caller's segments.
 *
 * An answer's `payload` message has a length that the ask fixes, so its head is read to the byte
 * and no payload byte ever lands in the buffer.  The one readv() that fetches the last bytes of a
 * group fetches the head of the next answer too.  Nothing that the peer says moves a byte to where
 * the caller did not ask for it: statuses must agree with the ask before the first byte is taken.
 *
 * Runs on the thread that holds the channel.
 */
#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/check.h"
#include "io/channel_internal.h"

enum {
    /* Of one readv(), the kernel's bound. */
    IOV_MOST = 1024,
    /* Enough for the cost of a call to vanish beside that of the copy. */
    READ_MAX_BYTES = 1 << 20,
    STATUS_BYTES = 4 + 8 + 4 + 8,
    LIST_COUNT_BYTES = 2,
};

static uint32_t payload_body_bytes(uint32_t n_pages)
{
    return LIST_COUNT_BYTES + n_pages * STATUS_BYTES;
}

/* --- heads ---------------------------------------------------------------------------------- */

static int check_head(const struct channel_ask *open, const struct frame_head *head)
{
    static const uint16_t types[] = {[CHANNEL_LOOKUP] = MESSAGE_locations,
                                     [CHANNEL_READ] = MESSAGE_payload,
                                     [CHANNEL_PAIR] = MESSAGE_paired};
    if (head->type != types[open->kind] || head->request != open->request)
        return -EPROTO;
    if (open->kind == CHANNEL_READ && head->body_len_bytes != payload_body_bytes(open->n_pages))
        return -EPROTO;
    return 0;
}

static int check_status(const struct channel_page *page, const struct record_status *status)
{
    if (status->error < 0 && status->error > -4096 && status->error != -EINPROGRESS)
        return 0; /* that one is ours: a page whose bytes are still to come */
    if (status->error == 0 && status->generation == page->place.generation &&
        status->length_bytes == page->place.length_bytes)
        return 0;
    return -EPROTO;
}

/* All statuses are looked at before any of them counts. */
static int take_statuses(struct channel_ask *open, const struct message_payload *payload)
{
    if (payload->n_pages != open->n_pages)
        return -EPROTO;
    for (uint32_t i = 0; i < open->n_pages; i++)
        if (check_status(&open->pages[i], &payload->pages[i]) < 0)
            return -EPROTO;
    for (uint32_t i = 0; i < open->n_pages; i++) {
        open->pages[i].checksum = payload->pages[i].checksum;
        if (payload->pages[i].error != 0)
            open->pages[i].error = payload->pages[i].error;
    }
    return 0;
}

/* --- the place of the next byte ------------------------------------------------------------- */

/* To the next segment with room of a page that is on its way; false: the group is complete. */
static bool cursor_settle(struct channel_cursor *at, struct channel_ask *open)
{
    while (at->page < open->n_pages) {
        struct channel_page *page = &open->pages[at->page];
        while (page->error == -EINPROGRESS && at->segment < page->n_segments) {
            if (at->offset_bytes < page->segments[at->segment].len_bytes)
                return true;
            at->segment++;
            at->offset_bytes = 0;
        }
        if (page->error == -EINPROGRESS)
            page->error = 0;
        at->page++;
        at->segment = 0;
        at->offset_bytes = 0;
    }
    return false;
}

/* @len bytes have arrived.  Returns how many of them lie behind the group. */
static size_t cursor_advance(struct channel_cursor *at, struct channel_ask *open, size_t len)
{
    while (cursor_settle(at, open) && len > 0) {
        const struct peercache_segment *segment = &open->pages[at->page].segments[at->segment];
        uint64_t room = segment->len_bytes - at->offset_bytes;
        uint64_t taken = len < room ? len : room;
        at->offset_bytes += taken;
        len -= taken;
    }
    return len;
}

/* The rest of the group, as much of it as one call takes; whether that is all of it. */
static bool fill_iov(const struct channel_cursor *at, const struct channel_ask *open,
                     struct iovec *iov, uint32_t *ret_n, size_t *ret_len)
{
    uint64_t offset_bytes = at->offset_bytes;
    uint32_t n = 0, segment = at->segment;
    size_t len = 0;
    for (uint32_t i = at->page; i < open->n_pages; i++, segment = 0) {
        const struct channel_page *page = &open->pages[i];
        for (; page->error == -EINPROGRESS && segment < page->n_segments; segment++) {
            uint64_t left = page->segments[segment].len_bytes - offset_bytes;
            void *to = (uint8_t *)page->segments[segment].addr + offset_bytes;
            offset_bytes = 0;
            if (left == 0)
                continue;
            if (n == IOV_MOST - 1 || len >= READ_MAX_BYTES) {
                *ret_n = n;
                *ret_len = len;
                return false;
            }
            iov[n++] = (struct iovec){.iov_base = to, .iov_len = (size_t)left};
            len += (size_t)left;
        }
    }
    *ret_n = n;
    *ret_len = len;
    return true;
}

/* --- answers -------------------------------------------------------------------------------- */

static void finish_ask(struct channel *channel)
{
    channel->n_done++;
    channel->cursor = (struct channel_cursor){0};
}

static int decode_answer(struct channel *channel, struct channel_ask *open,
                         const struct frame_head *head)
{
    struct message message;
    const uint8_t *body = channel->in.bytes + channel->in.begin + FRAME_HEAD_BYTES;
    int error = message_decode(head, body, &channel->scratch, &message);
    if (error < 0)
        return error;
    buffer_consume(&channel->in, FRAME_HEAD_BYTES + (size_t)head->body_len_bytes);
    if (open->kind != CHANNEL_READ) {
        if (open->kind == CHANNEL_LOOKUP)
            open->locations = message.u.locations;
        else
            open->paired = message.u.paired;
        channel->has_lists = true;
        finish_ask(channel);
        return 0;
    }
    error = take_statuses(open, &message.u.payload);
    if (error < 0)
        return error;
    CHECK(buffer_len(&channel->in) == 0);
    channel->cursor = (struct channel_cursor){.is_in_payload = true};
    if (!cursor_settle(&channel->cursor, open))
        finish_ask(channel);
    return 0;
}

static bool wants_input(const struct channel *channel)
{
    return channel->n > channel->n_done && !channel->has_lists;
}

/* Handles what is in the buffer already. */
static int take_answers(struct channel *channel)
{
    while (wants_input(channel) && !channel->cursor.is_in_payload) {
        struct channel_ask *open = channel_ask_at(channel, channel->n_done);
        struct frame_head head;
        size_t len;
        int complete = buffer_peek_frame(&channel->in, &head, &len);
        if (complete < 0)
            return complete;
        if (buffer_len(&channel->in) >= FRAME_HEAD_BYTES && check_head(open, &head) < 0)
            return -EPROTO;
        if (complete == 0)
            return 0;
        int error = decode_answer(channel, open, &head);
        if (error < 0)
            return error;
    }
    return 0;
}

/* How much may be read into the buffer for ask @index: of a read, its payload message to the byte;
 * of look-ups, as much as there is, unless a read comes behind them. */
static size_t buffer_want(struct channel *channel, uint32_t index)
{
    struct buffer *in = &channel->in;
    struct frame_head head;
    size_t len;
    for (uint32_t i = index; i < channel->n; i++) {
        const struct channel_ask *behind = channel_ask_at(channel, i);
        if (behind->kind != CHANNEL_READ)
            continue;
        if (i == index)
            len = FRAME_HEAD_BYTES + (size_t)payload_body_bytes(behind->n_pages);
        else if (buffer_peek_frame(in, &head, &len) < 0)
            return 0;
        return len - buffer_len(in);
    }
    return CHANNEL_INPUT_BYTES - buffer_len(in);
}

/* One readv().  1: it brought all that was asked for, so there may be more; 0: the rest has not
 * come yet. */
static int receive_once(struct channel *channel)
{
    struct iovec iov[IOV_MOST];
    struct channel_ask *open = channel_ask_at(channel, channel->n_done);
    struct buffer *in = &channel->in;
    bool in_payload = channel->cursor.is_in_payload;
    uint32_t n = 0, index = channel->n_done;
    size_t asked = 0, want = 0;
    bool is_all = !in_payload || fill_iov(&channel->cursor, open, iov, &n, &asked);
    if (is_all && index + in_payload < channel->n)
        want = buffer_want(channel, index + in_payload);
    if (want > 0) {
        int error = buffer_reserve(in, want, CHANNEL_INPUT_BYTES);
        if (error < 0)
            return error;
        iov[n++] = (struct iovec){.iov_base = in->bytes + in->end, .iov_len = want};
    }
    ssize_t got = readv(channel->fd, iov, (int)n);
    if (got < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    if (got == 0)
        return -ECONNRESET;
    channel->received_bytes += (size_t)got;
    size_t behind = (size_t)got;
    if (in_payload)
        behind = cursor_advance(&channel->cursor, open, (size_t)got);
    if (in_payload && !cursor_settle(&channel->cursor, open))
        finish_ask(channel);
    CHECK(behind <= want);
    in->end += behind;
    return (size_t)got == asked + want;
}

int channel_receive(struct channel *channel)
{
    int error = channel->is_opening ? channel_receive_hello(channel) : 0;
    if (error < 0 || channel->is_opening)
        return error;
    for (;;) {
        error = take_answers(channel);
        if (error < 0)
            return error;
        if (!wants_input(channel))
            return 0;
        int more = receive_once(channel);
        if (more < 0)
            return more;
        if (more == 0)
            return take_answers(channel);
    }
}
