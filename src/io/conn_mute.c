/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn_mute.c - connections that say nothing: who is hung up on, and when.
 *
 * A set keeps its connections in the order in which something was heard of them, so the one that
 * can be spared best stands near the end.  Those that have not even said hello are few and go
 * first; then, where the owner expects words (conn_set_patience()), those that were mute for too
 * long; and where there is no room, those that were mute longest, though nobody who has just
 * spoken.
 *
 * Runs on the loop's thread, like conn.c.
 */
#include <errno.h>

#include "base/check.h"
#include "base/clock.h"
#include "io/conn_internal.h"

/* --- the order ------------------------------------------------------------------------------ */

void conn_link(struct conn *conn)
{
    conn->heard_ns = clock_now_ns();
    TAILQ_INSERT_HEAD(&conn->set->conns, conn, link);
}

void conn_unlink(struct conn *conn)
{
    TAILQ_REMOVE(&conn->set->conns, conn, link);
}

void conn_heard(struct conn *conn)
{
    conn_unlink(conn);
    conn_link(conn);
}

/* --- patience ------------------------------------------------------------------------------- */

void conn_set_patience(struct conn *conn, uint64_t patience_ns)
{
    CHECK(conn->state == CONN_OPEN);
    conn->patience_ns = patience_ns;
    loop_set_timer(conn->set->loop, &conn->timer, conn->heard_ns + patience_ns);
}

void conn_lose_patience(struct conn *conn)
{
    uint64_t until_ns = conn->heard_ns + conn->patience_ns;
    if (clock_now_ns() < until_ns) {
        loop_set_timer(conn->set->loop, &conn->timer, until_ns);
        return;
    }
    conn->set->counts.timeouts++;
    conn_fail(conn, -ETIMEDOUT, "nothing was heard of the peer for too long");
}

/* --- room ----------------------------------------------------------------------------------- */

void conn_drop_silent(struct conn_set *set)
{
    struct conn *conn = TAILQ_LAST(&set->conns, conn_list);
    while (conn != NULL && !conn_is_silent(conn))
        conn = TAILQ_PREV(conn, conn_list, link);
    CHECK(conn != NULL);
    conn_fail(conn, -EBUSY, "too many connections say nothing");
}

static enum conn_worth worth_of(const struct conn *conn)
{
    const struct conn_set *set = conn->set;
    if (conn->is_dialled || conn->state != CONN_OPEN)
        return CONN_TO_BE_KEPT;
    return set->callbacks.worth ? set->callbacks.worth(set->context, conn) : CONN_OF_STRANGER;
}

bool conn_make_room(struct conn_set *set, enum conn_worth most)
{
    uint64_t now_ns = clock_now_ns();
    struct conn *chosen = NULL;
    enum conn_worth least = most + 1;
    struct conn *conn;
    TAILQ_FOREACH_REVERSE (conn, &set->conns, conn_list, link) {
        if (now_ns < conn->heard_ns + set->spare_ns || least == CONN_OF_STRANGER)
            break; /* and so are all before it */
        enum conn_worth worth = worth_of(conn);
        if (worth >= least)
            continue;
        least = worth;
        chosen = conn;
    }
    if (chosen == NULL)
        return false;
    set->counts.spared++;
    conn_fail(chosen, -EBUSY, "too many connections, and this one was mute for the longest time");
    return true;
}

void conn_set_shortage(struct conn_set *set)
{
    (void)conn_make_room(set, CONN_OF_STRANGER);
    if (set->callbacks.on_shortage != NULL)
        set->callbacks.on_shortage(set->context);
}
