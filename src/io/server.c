/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server.c - the threads of the serving side.
 *
 * A connection belongs to one serving thread from its arrival to its end; it gets there as a posted
 * task.  (One that asks for queue pairs goes on to the thread for those, in the same way.)
 * Counters have one writer each and are summed up by whoever asks.  server_add() and server_stop()
 * are called by the same thread, or one after the other.
 */
#include "io/server.h"

#include <errno.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/thread.h"
#include "io/forked.h"
#include "io/server_internal.h"

static void *thread_main(void *argument)
{
    struct server_thread *thread = argument;
    struct server *server = thread->server;
    uint64_t spin_ns = server->setup.spin_ns, spin_until_ns = 0;
    while (!atomic_load(&server->is_stopping)) {
        bool spins = spin_ns > 0 && clock_now_ns() < spin_until_ns;
        if (spins)
            sched_yield(); /* often the asker wants this processor */
        int n = loop_run_once(thread->loop, spins ? 0 : LOOP_FOREVER);
        if (spin_ns > 0 && n > 0)
            spin_until_ns = clock_now_ns() + spin_ns;
    }
    while (!TAILQ_EMPTY(&thread->conns))
        server_conn_close(TAILQ_FIRST(&thread->conns));
    return NULL;
}

static void hang_up(struct loop_task *task)
{
    struct server_thread *thread =
        (struct server_thread *)((char *)task - offsetof(struct server_thread, hang_up));
    for (struct server_conn *conn = TAILQ_FIRST(&thread->conns), *next; conn != NULL; conn = next) {
        next = TAILQ_NEXT(conn, link);
        if (conn->purpose == PURPOSE_CHANNEL)
            server_conn_close(conn);
    }
}

static void make_room(struct loop_task *task)
{
    (void)server_thread_make_room(
        (struct server_thread *)((char *)task - offsetof(struct server_thread, make_room)));
}

/* Signals are the host program's, none is to be taken by a thread that it does not know. */
static int add_thread(struct server *server, uint32_t index, struct server_thread **ret_thread)
{
    struct server_thread *thread = calloc(1, sizeof *thread);
    if (thread == NULL)
        return -ENOMEM;
    *ret_thread = thread;
    thread->server = server;
    TAILQ_INIT(&thread->conns);
    thread->hang_up.run = hang_up;
    thread->make_room.run = make_room;
    int error = loop_new(&thread->loop);
    if (error < 0)
        return error;
    char name[16];
    snprintf(name, sizeof name, "pc-serve-%u", (unsigned)(index & 0xffff));
    error = thread_start(&thread->id, NULL, name, thread_main, thread);
    thread->is_started = error == 0;
    return error;
}

int server_start(const struct server_setup *setup, struct server **ret_server)
{
    CHECK(setup->threads >= 1 && setup->threads <= SERVER_THREADS_MAX);
    struct server *server = calloc(1, sizeof *server);
    if (server == NULL)
        return -ENOMEM;
    server->setup = *setup;
    if (server->setup.stall_timeout_ns == 0)
        server->setup.stall_timeout_ns = SERVER_STALL_TIMEOUT_NS;
    if (server->setup.connections_max == 0)
        server->setup.connections_max = SERVER_CONNECTIONS_MAX;
    if (server->setup.spare_ns == 0)
        server->setup.spare_ns = SERVER_SPARE_NS;
    int error = server_tools_start(server);
    uint32_t wanted = setup->threads + (setup->ops.pair != NULL);
    while (error == 0 && server->n_threads < wanted) {
        error = add_thread(server, server->n_threads, &server->threads[server->n_threads]);
        server->n_threads++;
    }
    if (error < 0) {
        server_stop(server);
        return error;
    }
    *ret_server = server;
    return 0;
}

/* Threads end in any order, but before their loops: a thread may hand a tool's request on, and
 * whatever is still posted to a loop frees itself in loop_free(). */
void server_stop(struct server *server)
{
    if (server == NULL)
        return;
    atomic_store(&server->is_stopping, true);
    for (uint32_t i = 0; i < server->n_threads; i++) {
        struct server_thread *thread = server->threads[i];
        if (thread == NULL || !thread->is_started)
            continue;
        loop_wake(thread->loop);
        pthread_join(thread->id, NULL);
    }
    server_tools_stop(server);
    for (uint32_t i = 0; i < server->n_threads; i++) {
        if (server->threads[i] != NULL)
            loop_free(server->threads[i]->loop);
        free(server->threads[i]);
    }
    free(server);
}

/* Where all threads are full, one of them is to make room. */
static struct server_thread *choose_thread(struct server *server)
{
    uint32_t most = server->setup.connections_max, n = server->setup.threads;
    for (uint32_t i = 0; i < 2 * n; i++) {
        uint32_t next = atomic_fetch_add(&server->next_thread, 1);
        struct server_thread *thread = server->threads[next % n];
        if (atomic_load(&thread->n_conns) < most)
            return thread;
        if (i + 1 == n)
            most += SERVER_ARRIVALS_MAX;
    }
    return NULL;
}

int server_add(struct server *server, int fd, const struct server_arrival *arrival,
               const uint8_t *rest, size_t rest_len)
{
    CHECK(arrival->purpose == PURPOSE_CHANNEL || arrival->purpose == PURPOSE_TOOL);
    struct server_thread *thread = choose_thread(server);
    struct server_conn *conn = NULL;
    if (thread != NULL)
        conn = server_conn_new(thread, fd, arrival, rest, rest_len);
    if (conn == NULL) {
        server_count(&server->connections_refused, 1);
        forked_close(fd);
        return thread == NULL ? -EBUSY : -ENOMEM;
    }
    int size = (int)server->setup.send_buffer_bytes;
    if (size > 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    server_count(&server->accepted, 1);
    atomic_fetch_add(&thread->n_conns, 1);
    loop_post(thread->loop, &conn->task);
    return 0;
}

void server_hang_up(struct server *server)
{
    for (uint32_t i = 0; i < server->n_threads; i++)
        loop_post(server->threads[i]->loop, &server->threads[i]->hang_up);
}

void server_make_room(struct server *server)
{
    for (uint32_t i = 0; i < server->n_threads; i++)
        loop_post(server->threads[i]->loop, &server->threads[i]->make_room);
}

static uint64_t load(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void server_counts(const struct server *server, struct server_counts *ret_counts)
{
    *ret_counts = (struct server_counts){
        .accepted = load(&server->accepted),
        .connections_refused = load(&server->connections_refused),
        .tool_requests = load(&server->tool_requests),
        .tools_refused = load(&server->tools_refused),
    };
    for (uint32_t i = 0; i < server->n_threads; i++) {
        const struct server_thread_counts *counts = &server->threads[i]->counts;
        ret_counts->connections += atomic_load(&server->threads[i]->n_conns);
        ret_counts->lookups += load(&counts->lookups);
        ret_counts->lookup_keys += load(&counts->lookup_keys);
        ret_counts->groups += load(&counts->groups);
        ret_counts->pages += load(&counts->pages);
        ret_counts->page_bytes += load(&counts->page_bytes);
        ret_counts->refused_pages += load(&counts->refused_pages);
        ret_counts->stalled += load(&counts->stalled);
        ret_counts->garbage += load(&counts->garbage);
        ret_counts->spared += load(&counts->spared);
    }
}
