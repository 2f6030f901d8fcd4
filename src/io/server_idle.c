/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server_idle.c - connections of the serving side that ask nothing: one of them makes room.
 *
 * A thread keeps its connections in the order in which they asked last.  A channel that is in use
 * is never idle for long, and a reader whose idle one is gone opens another, so no more is looked
 * at than that; but queue pairs live as long as the channel that they were asked for on, and
 * nothing more is said there.
 *
 * Runs on the connection's serving thread.
 */
#include "base/clock.h"
#include "io/server_internal.h"

void server_conn_link(struct server_conn *conn)
{
    conn->asked_ns = clock_now_ns();
    TAILQ_INSERT_HEAD(&conn->thread->conns, conn, link);
}

void server_conn_unlink(struct server_conn *conn)
{
    TAILQ_REMOVE(&conn->thread->conns, conn, link);
}

void server_conn_asked(struct server_conn *conn)
{
    server_conn_unlink(conn);
    server_conn_link(conn);
}

/* What is being answered or received has a time-out of its own. */
static bool is_idle(const struct server_conn *conn)
{
    return !conn->is_blocked && conn->guest == NULL && conn->tool == NULL;
}

bool server_thread_make_room(struct server_thread *thread)
{
    uint64_t now_ns = clock_now_ns();
    struct server_conn *conn = TAILQ_LAST(&thread->conns, server_conn_list);
    while (conn != NULL && !is_idle(conn))
        conn = TAILQ_PREV(conn, server_conn_list, link);
    if (conn == NULL || now_ns < conn->asked_ns + thread->server->setup.spare_ns)
        return false;
    server_count(&thread->counts.spared, 1);
    server_conn_close(conn);
    return true;
}
