/* SPDX-License-Identifier: Apache-2.0 */
/*
 * socket.c - TCP sockets as this project wants them.
 *
 * No state of its own: every function works on the descriptor of its caller, on any thread.
 */
#include "io/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "io/forked.h"

/* A peer whose host is gone is noticed within about 12 s, whether we send (user time-out) or not
 * (keep-alive): a few heartbeats, and well before a member counts as dead. */
enum {
    KEEPALIVE_IDLE_S = 6,
    KEEPALIVE_INTERVAL_S = 2,
    KEEPALIVE_PROBES = 3,
    USER_TIMEOUT_MS = 12000,
    /* Enough for a cluster's worth of nodes that dial at once. */
    LISTEN_BACKLOG = 1024,
};

static void set_int(int fd, int level, int option, int value)
{
    /* None of these is needed for correctness, and each may be missing in a sandbox. */
    (void)setsockopt(fd, level, option, &value, sizeof value);
}

void socket_tune(int fd)
{
    set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
    set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S);
    set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES);
    set_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS);
}

static void name_fill(struct socket_name *name, const struct sockaddr *address, socklen_t len)
{
    memset(name, 0, sizeof *name);
    memcpy(&name->storage, address, len);
    name->len = len;
}

int socket_name_parse(const struct address *address, struct socket_name *ret_name)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
                             .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    char port[8];
    snprintf(port, sizeof port, "%u", address->port);
    if (address->host[0] == '\0' || getaddrinfo(address->host, port, &hints, &found) != 0)
        return -EINVAL;
    name_fill(ret_name, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return 0;
}

bool socket_name_is_own(const struct socket_name *name)
{
    struct socket_name any_port = *name;
    int fd = socket(name->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    if (name->storage.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)&any_port.storage)->sin6_port = 0;
    else
        ((struct sockaddr_in *)&any_port.storage)->sin_port = 0;
    bool is_own = bind(fd, (const struct sockaddr *)&any_port.storage, any_port.len) == 0;
    close(fd);
    return is_own;
}

void socket_peer_text(int fd, char ret_text[SOCKET_TEXT_BYTES])
{
    struct sockaddr_storage storage;
    socklen_t len = sizeof storage;
    char host[INET6_ADDRSTRLEN + IF_NAMESIZE + 1], port[8];
    snprintf(ret_text, SOCKET_TEXT_BYTES, "?");
    if (getpeername(fd, (struct sockaddr *)&storage, &len) < 0 ||
        getnameinfo((struct sockaddr *)&storage, len, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return;
    struct address address = address_of(host, (uint16_t)strtoul(port, NULL, 10));
    address_format(&address, ret_text);
}

/* --- listening ------------------------------------------------------------------------------ */

static void listen_explain(const struct address *address, int error, char *ret_reason)
{
    const char *host = address->host[0] != '\0' ? address->host : "*";
    const char *what = strerror(-error);
    if (error == -EADDRINUSE)
        what = "in use by another process";
    else if (error == -EACCES)
        what = "not allowed to this user (ports below 1024 need a privilege)";
    else if (error == -EADDRNOTAVAIL)
        what = "not possible: this machine does not have that address";
    else if (error == -EHOSTUNREACH)
        what = "not possible: no such host name";
    snprintf(ret_reason, SOCKET_REASON_BYTES, "port %u on %s is %s", address->port, host, what);
}

static bool is_any(const char *host)
{
    return host[0] == '\0' || strcmp(host, "*") == 0;
}

/* Names may be looked up here without a deadline: this runs once, when the node starts. */
static int listen_name(const struct address *address, struct socket_name *ret_name)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    char port[8];
    snprintf(port, sizeof port, "%u", address->port);
    if (getaddrinfo(address->host, port, &hints, &found) != 0)
        return -EHOSTUNREACH;
    name_fill(ret_name, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return 0;
}

static int listen_on(const struct socket_name *name, bool both_families, int *ret_fd)
{
    int fd = socket(name->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (name->storage.ss_family == AF_INET6)
        set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, !both_families);
    if (bind(fd, (const struct sockaddr *)&name->storage, name->len) < 0 ||
        listen(fd, LISTEN_BACKLOG) < 0) {
        int error = -errno;
        close(fd);
        return error;
    }
    forked_gives_back(fd);
    *ret_fd = fd;
    return 0;
}

/* One socket for both families, unless this machine has IPv4 only. */
static int listen_on_any(uint16_t port, int *ret_fd)
{
    struct sockaddr_in6 six = {
        .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6addr_any};
    struct sockaddr_in four = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_ANY)};
    struct socket_name name;
    name_fill(&name, (struct sockaddr *)&six, sizeof six);
    int error = listen_on(&name, true, ret_fd);
    if (error != -EAFNOSUPPORT && error != -EADDRNOTAVAIL)
        return error;
    name_fill(&name, (struct sockaddr *)&four, sizeof four);
    return listen_on(&name, false, ret_fd);
}

static uint16_t own_port(int fd)
{
    struct sockaddr_storage storage = {0};
    socklen_t len = sizeof storage;
    if (getsockname(fd, (struct sockaddr *)&storage, &len) < 0)
        return 0;
    if (storage.ss_family == AF_INET6)
        return ntohs(((struct sockaddr_in6 *)&storage)->sin6_port);
    return ntohs(((struct sockaddr_in *)&storage)->sin_port);
}

int socket_listen(const struct address *address, int *ret_fd, uint16_t *ret_port,
                  char ret_reason[SOCKET_REASON_BYTES])
{
    struct socket_name name;
    int error, fd = -1;
    if (is_any(address->host)) {
        error = listen_on_any(address->port, &fd);
    } else {
        error = listen_name(address, &name);
        if (error == 0)
            error = listen_on(&name, false, &fd);
    }
    if (error < 0) {
        listen_explain(address, error, ret_reason);
        return error;
    }
    *ret_fd = fd;
    *ret_port = own_port(fd);
    return 0;
}

/* --- connecting, waiting, moving ------------------------------------------------------------ */

int socket_connect_start(const struct socket_name *to, int *ret_fd)
{
    int fd = socket(to->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    forked_gives_back(fd);
    socket_tune(fd);
    if (connect(fd, (const struct sockaddr *)&to->storage, to->len) < 0 && errno != EINPROGRESS) {
        int error = -errno;
        forked_close(fd);
        return error;
    }
    *ret_fd = fd;
    return 0;
}

int socket_connect_result(int fd)
{
    int error = 0;
    socklen_t len = sizeof error;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        return -errno;
    return -error;
}

int socket_wait(int fd, short events, uint64_t deadline_ns)
{
    struct pollfd pollfd = {.fd = fd, .events = events};
    for (;;) {
        uint64_t now_ns = clock_now_ns();
        uint64_t left_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
        struct timespec timeout = {.tv_sec = (time_t)(left_ns / CLOCK_NS_PER_S),
                                   .tv_nsec = (long)(left_ns % CLOCK_NS_PER_S)};
        int n = ppoll(&pollfd, 1, &timeout, NULL);
        if (n > 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0 && left_ns == 0)
            return -ETIMEDOUT;
    }
}

int socket_send_all(int fd, const void *bytes, size_t len, uint64_t deadline_ns)
{
    const char *at = bytes;
    while (len > 0) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) {
            at += n;
            len -= (size_t)n;
            continue;
        }
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return -errno;
        int error = socket_wait(fd, POLLOUT, deadline_ns);
        if (error < 0)
            return error;
    }
    return 0;
}

int socket_receive_all(int fd, void *ret_bytes, size_t len, uint64_t deadline_ns)
{
    char *at = ret_bytes;
    while (len > 0) {
        ssize_t n = recv(fd, at, len, MSG_DONTWAIT);
        if (n == 0)
            return -ECONNRESET;
        if (n > 0) {
            at += n;
            len -= (size_t)n;
            continue;
        }
        if (errno != EAGAIN && errno != EINTR)
            return -errno;
        int error = socket_wait(fd, POLLIN, deadline_ns);
        if (error < 0)
            return error;
    }
    return 0;
}
