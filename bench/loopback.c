/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loopback.c - what plain sockets do between two processes of this machine: the other side of what
 * goes over TCP.
 *
 *     bench-loopback                 starts itself a second time as the peer, then obeys:
 *
 *     ping sleeping|polling ROUNDS   a short message and its echo; both sides wait the same way
 *     stream BYTES                   the peer sends so much, a piece a call, and this side receives
 *
 * No library is in this: no epoll, no hello, one connection.  One thread a process.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rig.h"

enum {
    PING_BYTES = 64,         /* about the length of a look-up of one key */
    PIECE_BYTES = 128 << 10, /* what iperf3 sends with one call */
};

enum task { TASK_PING_SLEEPING = 1, TASK_PING_POLLING, TASK_STREAM };

struct request {
    uint64_t task, amount;
};

/* --- moving bytes --- */

static void receive_all(int fd, void *bytes, size_t len, bool polls)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = recv(fd, (char *)bytes + done, len - done, polls ? MSG_DONTWAIT : 0);
        if (n > 0)
            done += (size_t)n;
        else if (n == 0)
            exit(0); /* the other process has ended */
        else if (errno != EAGAIN && errno != EINTR)
            rig_fail("recv: %s", strerror(errno));
    }
}

static void send_all(int fd, const void *bytes, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = send(fd, (const char *)bytes + done, len - done, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR)
            rig_fail("send: %s", strerror(errno));
        if (n > 0)
            done += (size_t)n;
    }
}

/* --- the peer --- */

static void echo(int fd, uint64_t rounds, bool polls)
{
    char message[PING_BYTES];
    for (uint64_t i = 0; i < rounds; i++) {
        receive_all(fd, message, sizeof message, polls);
        send_all(fd, message, sizeof message);
    }
}

static void stream(int fd, uint64_t bytes)
{
    static char piece[PIECE_BYTES];
    for (uint64_t done = 0; done < bytes; done += sizeof piece)
        send_all(fd, piece, bytes - done < sizeof piece ? bytes - done : sizeof piece);
}

static void serve(int fd)
{
    for (;;) {
        struct request request;
        receive_all(fd, &request, sizeof request, false);
        if (request.task == TASK_STREAM)
            stream(fd, request.amount);
        else
            echo(fd, request.amount, request.task == TASK_PING_POLLING);
    }
}

/* --- connection --- */

static int checked(int result, const char *what)
{
    if (result < 0)
        rig_fail("%s: %s", what, strerror(errno));
    return result;
}

static int no_delay(int fd)
{
    int on = 1;
    checked(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "TCP_NODELAY");
    return fd;
}

static int call(const char *port)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)rig_number(port)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = checked(socket(AF_INET, SOCK_STREAM, 0), "socket");
    checked(connect(fd, (struct sockaddr *)&to, sizeof to), "connect");
    return no_delay(fd);
}

static int start_peer(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int listener = checked(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    checked(bind(listener, (struct sockaddr *)&at, sizeof at), "bind");
    checked(getsockname(listener, (struct sockaddr *)&at, &len), "getsockname");
    checked(listen(listener, 1), "listen");
    char port[16];
    snprintf(port, sizeof port, "%u", ntohs(at.sin_port));
    if (checked(fork(), "fork") == 0) {
        execl("/proc/self/exe", "bench-loopback", port, (char *)NULL);
        rig_fail("exec: %s", strerror(errno));
    }
    int fd = no_delay(checked(accept4(listener, NULL, NULL, SOCK_CLOEXEC), "accept"));
    close(listener);
    return fd;
}

/* --- measuring --- */

static void ping(int fd, const char *how, uint64_t rounds)
{
    bool polls = strcmp(how, "polling") == 0;
    struct request request = {polls ? TASK_PING_POLLING : TASK_PING_SLEEPING, rounds};
    char message[PING_BYTES] = {0};
    send_all(fd, &request, sizeof request);
    long sleeps = rig_sleeps();
    double begin = rig_now_s();
    for (uint64_t i = 0; i < rounds; i++) {
        send_all(fd, message, sizeof message);
        receive_all(fd, message, sizeof message, polls);
    }
    printf("{\"seconds\": %.9f, \"rounds\": %llu, \"sleeps\": %ld}\n", rig_now_s() - begin,
           (unsigned long long)rounds, rig_sleeps() - sleeps);
}

static void receive_stream(int fd, uint64_t bytes)
{
    static char piece[PIECE_BYTES];
    struct request request = {TASK_STREAM, bytes};
    double begin = rig_now_s();
    send_all(fd, &request, sizeof request);
    for (uint64_t done = 0; done < bytes; done += sizeof piece)
        receive_all(fd, piece, bytes - done < sizeof piece ? bytes - done : sizeof piece, false);
    printf("{\"seconds\": %.9f, \"bytes\": %llu}\n", rig_now_s() - begin,
           (unsigned long long)bytes);
}

int main(int argc, char **argv)
{
    char line[256], *words[RIG_WORDS_MAX];
    if (argc == 2)
        serve(call(argv[1]));
    int fd = start_peer();
    for (uint32_t n; (n = rig_read_command(line, words)) > 0;) {
        if (n == 3 && strcmp(words[0], "ping") == 0)
            ping(fd, words[1], rig_number(words[2]));
        else if (n == 2 && strcmp(words[0], "stream") == 0)
            receive_stream(fd, rig_number(words[1]));
        else
            rig_fail("'%s' is no command, or has other words behind it", words[0]);
    }
    return 0;
}
