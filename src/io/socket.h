/* SPDX-License-Identifier: Apache-2.0 */
/*
 * socket.h - TCP sockets as this project wants them: non-blocking, close-on-exec, without Nagle's
 * delay, with keep-alive, over IPv4 and IPv6.
 */
#ifndef IO_SOCKET_H
#define IO_SOCKET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/address.h"

enum { SOCKET_TEXT_BYTES = ADDRESS_TEXT_BYTES, SOCKET_REASON_BYTES = ADDRESS_ERROR_BYTES };

struct socket_name {
    struct sockaddr_storage storage;
    socklen_t len;
};

/* Only numeric hosts ("127.0.0.1", "::1"); -EINVAL otherwise. */
int socket_name_parse(const struct address *address, struct socket_name *ret_name);
/* Whether it is an address of this machine. */
bool socket_name_is_own(const struct socket_name *name);
/* "127.0.0.1:31998" or "[::1]:31998" of the other end; "?" when it has none. */
void socket_peer_text(int fd, char ret_text[SOCKET_TEXT_BYTES]);

/* Host "" or "*": every interface, IPv6 and IPv4.  Port 0: any; @ret_port says which.  The reason
 * is a sentence with port and host in it. */
int socket_listen(const struct address *address, int *ret_fd, uint16_t *ret_port,
                  char ret_reason[SOCKET_REASON_BYTES]);
/* 0: under way, writable when done; then socket_connect_result() is 0 or a negative errno. */
int socket_connect_start(const struct socket_name *to, int *ret_fd);
int socket_connect_result(int fd);
/* What every connection gets, dialled or accepted. */
void socket_tune(int fd);

/* Waits for poll() events.  0; -ETIMEDOUT at the deadline (clock_now_ns()). */
int socket_wait(int fd, short events, uint64_t deadline_ns);
/* All of it, or -ETIMEDOUT, -ECONNRESET (also: the peer closed), ...; for sockets of one thread. */
int socket_send_all(int fd, const void *bytes, size_t len, uint64_t deadline_ns);
int socket_receive_all(int fd, void *ret_bytes, size_t len, uint64_t deadline_ns);

#endif
