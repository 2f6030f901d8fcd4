/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shm.c - how a pool's memory is handed to the other nodes of the host.
 *
 * The holder's side runs on the node thread: an accept and one send that never block, and nothing
 * kept per caller.  That the offer fits into one message of a SOCK_SEQPACKET socket makes this
 * possible: the reader has to say nothing first.  The reader's side runs in the thread that meets
 * the peer, and the mapping that it gets is the caller's.
 */
#include "io/shm.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "io/forked.h"

enum {
    ACCEPTS_MAX = 16, /* a call, so that a crowd at the start does not hold up the loop */
    BACKLOG = 1024,   /* more than the nodes that one host can hold */
};

/* One message.  Both ends are on one host, so it is sent as it lies in memory.  The layout's
 * number in the magic changes with this struct, with slot headers, and with where they lie in the
 * file; nodes of two layouts read each other's pages over TCP. */
#ifndef SHM_LAYOUT
#define SHM_LAYOUT 1
#endif
#define OFFER_MAGIC (UINT64_C(0x0000304d48534350) | (uint64_t)SHM_LAYOUT << 48)

struct offer {
    uint64_t magic;
    struct shm_identity from;
    uint64_t payload_bytes;
    uint32_t slot_count;
    uint32_t reserved;
};
_Static_assert(sizeof(struct offer) == 72, "sent as it lies in memory: no padding");

/* Room for one descriptor and no more: the kernel drops what does not fit. */
union control {
    struct cmsghdr head;
    char bytes[CMSG_SPACE(sizeof(int))];
};

/* --- both sides ----------------------------------------------------------------------------- */

static socklen_t make_address(const struct shm_identity *identity, struct sockaddr_un *ret_address)
{
    char node_id[ID128_TEXT_LEN + 1];
    id128_format(identity->node_id, node_id);
    *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    int len = snprintf(ret_address->sun_path + 1, sizeof ret_address->sun_path - 1,
                       "peercache/%s/%" PRIu64, node_id, identity->incarnation);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len);
}

/* An abstract socket has no permissions: who is at the other end is asked of the kernel. */
static bool is_own_user(int fd)
{
    struct ucred credentials;
    socklen_t len = sizeof credentials;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &len) == 0 &&
           len == sizeof credentials && credentials.uid == geteuid();
}

static int open_socket(void)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return fd < 0 ? -errno : fd;
}

/* --- holder --------------------------------------------------------------------------------- */

struct shm_listener {
    struct shm_identity self;
    int fd;
};

int shm_listener_open(const struct shm_identity *self, struct shm_listener **ret_listener)
{
    struct sockaddr_un address;
    socklen_t len = make_address(self, &address);
    struct shm_listener *listener = malloc(sizeof *listener);
    if (!listener)
        return -ENOMEM;
    int fd = open_socket(), error = fd < 0 ? fd : 0;
    forked_gives_back(fd);
    if (!error && bind(fd, (struct sockaddr *)&address, len) < 0)
        error = -errno;
    if (!error && listen(fd, BACKLOG) < 0)
        error = -errno;
    *listener = (struct shm_listener){.self = *self, .fd = fd};
    if (error) {
        shm_listener_close(listener);
        return error;
    }
    *ret_listener = listener;
    return 0;
}

int shm_listener_fd(const struct shm_listener *listener)
{
    return listener->fd;
}

void shm_listener_close(struct shm_listener *listener)
{
    if (!listener)
        return;
    if (listener->fd >= 0)
        forked_close(listener->fd);
    free(listener);
}

/* What was sent stays readable at the other end after the descriptor here is closed. */
static bool send_offer(int fd, const struct shm_identity *self, const struct arena *arena)
{
    struct offer offer = {
        .magic = OFFER_MAGIC,
        .from = *self,
        .payload_bytes = arena->payload_bytes,
        .slot_count = arena->slot_count,
    };
    struct iovec bytes = {&offer, sizeof offer};
    union control control = {0};
    struct msghdr message = {
        .msg_iov = &bytes,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof control.bytes,
    };
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(head), &arena->fd, sizeof(int));
    return sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof offer;
}

int shm_listener_accept(struct shm_listener *listener, const struct arena *arena)
{
    int offers = 0;
    for (int i = 0; i < ACCEPTS_MAX; i++) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0 && (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR))
            break;
        if (fd < 0)
            return -errno;
        if (is_own_user(fd) && send_offer(fd, &listener->self, arena))
            offers++;
        close(fd);
    }
    return offers;
}

/* --- reader ---------------------------------------------------------------------- */

static int refuse(int error, const char *why, char *ret_reason)
{
    snprintf(ret_reason, SHM_REASON_BYTES, "%s", why);
    return error;
}

static int dial(const struct shm_identity *peer, int *ret_fd, char *ret_reason)
{
    struct sockaddr_un address;
    socklen_t len = make_address(peer, &address);
    int fd = open_socket();
    if (fd < 0)
        return refuse(fd, strerror(-fd), ret_reason);
    if (connect(fd, (struct sockaddr *)&address, len) < 0) {
        int error = -errno;
        close(fd);
        return error == -ECONNREFUSED
                   ? refuse(error, "no such socket (it is gone, or in another network namespace)",
                            ret_reason)
                   : refuse(error, strerror(-error), ret_reason);
    }
    if (!is_own_user(fd)) {
        close(fd);
        return refuse(-EPERM, "another user", ret_reason);
    }
    *ret_fd = fd;
    return 0;
}

static int wait_readable(int fd, uint64_t deadline_ns)
{
    for (;;) {
        uint64_t now = clock_now_ns();
        uint64_t left_ms = now < deadline_ns ? (deadline_ns - now) / 1000000 + 1 : 0;
        struct pollfd entry = {.fd = fd, .events = POLLIN};
        int n = poll(&entry, 1, left_ms < INT32_MAX ? (int)left_ms : INT32_MAX);
        if (n > 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return -errno;
        if (left_ms == 0)
            return -ETIMEDOUT;
    }
}

/* The descriptor that came along, or -1. */
static int take_fd(struct msghdr *message)
{
    struct cmsghdr *head = CMSG_FIRSTHDR(message);
    int fd = -1;
    if (head && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS &&
        head->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(&fd, CMSG_DATA(head), sizeof fd);
    return fd;
}

/* On success the caller owns *@ret_fd. */
static int receive_offer(int socket_fd, struct offer *ret_offer, int *ret_fd, char *ret_reason)
{
    struct iovec bytes = {ret_offer, sizeof *ret_offer};
    union control control;
    struct msghdr message = {
        .msg_iov = &bytes,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = CMSG_LEN(sizeof(int)),
    };
    ssize_t len = recvmsg(socket_fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (len < 0)
        return refuse(-errno, strerror(errno), ret_reason);
    if (len == 0)
        return refuse(-ECONNREFUSED, "refused: it hung up without an offer", ret_reason);
    int fd = take_fd(&message);
    bool is_whole = len == sizeof *ret_offer && !(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC));
    if (fd < 0 || !is_whole || ret_offer->magic != OFFER_MAGIC) {
        if (fd >= 0)
            close(fd);
        return refuse(-EPROTO, "its memory is laid out as in another version", ret_reason);
    }
    *ret_fd = fd;
    return 0;
}

static int check_offer(const struct offer *offer, const struct shm_identity *peer, char *ret_reason)
{
    const struct shm_identity *from = &offer->from;
    if (from->cluster != peer->cluster)
        return refuse(-EPROTO, "another cluster answered", ret_reason);
    if (!id128_equal(from->boot_id, peer->boot_id))
        return refuse(-EHOSTUNREACH, "another host", ret_reason);
    if (!id128_equal(from->node_id, peer->node_id) || from->incarnation != peer->incarnation)
        return refuse(-EPROTO, "another node or incarnation answered", ret_reason);
    return 0;
}

static int map_offer(int fd, const struct offer *offer, struct arena_mapping *ret_arena,
                     char *ret_reason)
{
    int error = arena_attach(fd, offer->payload_bytes, offer->slot_count, ret_arena);
    if (error == -EPERM)
        return refuse(error, "its memory is not sealed", ret_reason);
    if (error == -EPROTO)
        return refuse(error, "its memory has another size than it says", ret_reason);
    return error ? refuse(error, strerror(-error), ret_reason) : 0;
}

static int attach_over(int socket_fd, const struct shm_identity *peer, uint64_t deadline_ns,
                       struct arena_mapping *ret_arena, char *ret_reason)
{
    struct offer offer;
    int fd = -1, error = wait_readable(socket_fd, deadline_ns);
    if (error)
        return refuse(error, "its socket does not answer", ret_reason);
    error = receive_offer(socket_fd, &offer, &fd, ret_reason);
    if (error)
        return error;
    error = check_offer(&offer, peer, ret_reason);
    if (!error)
        error = map_offer(fd, &offer, ret_arena, ret_reason);
    close(fd);
    return error;
}

int shm_attach(const struct shm_identity *peer, struct id128 own_boot_id, uint64_t deadline_ns,
               struct arena_mapping *ret_arena, char ret_reason[SHM_REASON_BYTES])
{
    int socket_fd = -1;
    if (!id128_equal(peer->boot_id, own_boot_id))
        return refuse(-EHOSTUNREACH, "another host", ret_reason);
    int error = dial(peer, &socket_fd, ret_reason);
    if (error)
        return error;
    error = attach_over(socket_fd, peer, deadline_ns, ret_arena, ret_reason);
    close(socket_fd);
    return error;
}
