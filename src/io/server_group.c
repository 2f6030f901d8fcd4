/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server_group.c - the pages of one `read` on their way out.
 *
 * A page is pinned from the moment its status is decided until the kernel has taken its last byte,
 * or the connection ends.  A connection has one group at a time, so what it can pin is bounded by a
 * group's pages and bytes, and by the group's deadline in time.
 *
 * Runs on the connection's serving thread.
 */
#include <errno.h>

#include "base/check.h"
#include "base/clock.h"
#include "io/server_internal.h"

/* The lengths are the asker's claims, and bind before anything is pinned: pin() refuses a page
 * whose length is another. */
static int check_size(const struct message_read *read)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < read->n_pages; i++)
        bytes += read->pages[i].place.length_bytes;
    bool fits = read->n_pages == 1 || bytes <= SERVER_GROUP_MAX_BYTES;
    return fits && read->n_pages >= 1 ? 0 : -EPROTO;
}

static uint64_t pin_page(struct server_conn *conn, const struct record_wanted *wanted,
                         struct record_status *ret_status)
{
    const struct server_setup *setup = &conn->thread->server->setup;
    struct server_group *group = &conn->group;
    const uint8_t *bytes = NULL;
    *ret_status = (struct record_status){0};
    setup->ops.pin(setup->context, wanted, ret_status, &bytes);
    CHECK(ret_status->error <= 0);
    if (ret_status->error != 0)
        return 0;
    CHECK(ret_status->length_bytes == wanted->place.length_bytes && bytes != NULL);
    group->slots[group->n] = wanted->place.slot;
    group->rest[group->n] =
        (struct iovec){.iov_base = (void *)(uintptr_t)bytes, .iov_len = ret_status->length_bytes};
    group->n++;
    return ret_status->length_bytes;
}

int server_group_begin(struct server_conn *conn, uint32_t request, const struct message_read *read)
{
    struct server_group *group = &conn->group;
    struct server_thread_counts *counts = &conn->thread->counts;
    struct record_status statuses[GROUP_MAX];
    uint64_t bytes = 0;
    CHECK(server_group_is_empty(group));
    int error = check_size(read);
    if (error < 0)
        return error;
    group->n = group->next = 0;
    for (uint32_t i = 0; i < read->n_pages; i++)
        bytes += pin_page(conn, &read->pages[i], &statuses[i]);
    group->deadline_ns = clock_now_ns() + conn->thread->server->setup.stall_timeout_ns +
                         bytes * CLOCK_NS_PER_S / SERVER_PACE_MIN_BYTES_PER_S;
    server_count(&counts->groups, 1);
    server_count(&counts->pages, group->n);
    server_count(&counts->page_bytes, bytes);
    server_count(&counts->refused_pages, read->n_pages - group->n);
    struct message message = {.type = MESSAGE_payload, .request = request};
    message.u.payload.pages = statuses;
    message.u.payload.n_pages = read->n_pages;
    return buffer_put_message(&conn->out, &message, SERVER_OUTPUT_MAX_BYTES);
}

static void unpin_next(struct server_conn *conn)
{
    const struct server_setup *setup = &conn->thread->server->setup;
    setup->ops.unpin(setup->context, conn->group.slots[conn->group.next]);
    conn->group.next++;
}

void server_group_advance(struct server_conn *conn, size_t len)
{
    struct server_group *group = &conn->group;
    while (!server_group_is_empty(group)) {
        struct iovec *rest = &group->rest[group->next];
        size_t taken = len < rest->iov_len ? len : rest->iov_len;
        rest->iov_base = (uint8_t *)rest->iov_base + taken;
        rest->iov_len -= taken;
        len -= taken;
        if (rest->iov_len > 0)
            break;
        unpin_next(conn);
    }
    CHECK(len == 0);
}

void server_group_drop(struct server_conn *conn)
{
    while (!server_group_is_empty(&conn->group))
        unpin_next(conn);
}
