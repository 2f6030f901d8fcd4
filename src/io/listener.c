/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listener.c - accepts connections on one port into a set of connections.
 *
 * Runs on the loop's thread.  When the process is out of descriptors, or the set is full of those
 * that cannot be spared, accepting pauses: the pending connection would otherwise make the loop
 * spin.
 */
#include "io/listener.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "io/forked.h"

/* Accepted in one turn of the loop; the rest waits in the backlog. */
enum { ACCEPT_MAX = 32 };

struct listener {
    struct loop *loop;
    struct conn_set *set;
    struct loop_watch *watch;
    struct loop_timer pause;
    int fd;
    uint16_t port;
};

static bool is_shortage(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static void accept_pause(struct listener *listener)
{
    (void)loop_modify(listener->watch, 0);
    loop_set_timer(listener->loop, &listener->pause, clock_now_ns() + LISTENER_PAUSE_NS);
}

static void pause_end(struct loop_timer *timer)
{
    struct listener *listener =
        (struct listener *)((char *)timer - offsetof(struct listener, pause));
    (void)loop_modify(listener->watch, EPOLLIN);
}

static void on_connection(void *context, uint32_t events)
{
    struct listener *listener = context;
    (void)events;
    for (int i = 0; i < ACCEPT_MAX; i++) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (is_shortage(errno)) {
                conn_set_shortage(listener->set);
                accept_pause(listener);
            }
            return;
        }
        forked_gives_back(fd);
        if (conn_accept(listener->set, fd) < 0) {
            accept_pause(listener);
            return;
        }
    }
}

int listener_open(struct loop *loop, struct conn_set *set, const struct address *address,
                  struct listener **ret_listener, char ret_reason[SOCKET_REASON_BYTES])
{
    struct listener *listener = calloc(1, sizeof *listener);
    if (listener == NULL)
        return -ENOMEM;
    listener->loop = loop;
    listener->set = set;
    listener->pause.run = pause_end;
    int error = socket_listen(address, &listener->fd, &listener->port, ret_reason);
    if (error < 0)
        goto free_listener;
    error = loop_add(loop, listener->fd, EPOLLIN, on_connection, listener, &listener->watch);
    if (error < 0)
        goto close_socket;
    *ret_listener = listener;
    return 0;

close_socket:
    forked_close(listener->fd);
free_listener:
    free(listener);
    return error;
}

uint16_t listener_port(const struct listener *listener)
{
    return listener->port;
}

void listener_close(struct listener *listener)
{
    if (listener == NULL)
        return;
    loop_set_timer(listener->loop, &listener->pause, 0);
    loop_remove(listener->watch);
    forked_close(listener->fd);
    free(listener);
}
