/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dial.h - connecting with a deadline, hellos included, for threads that may wait: those that open
 * channels, and tools.
 */
#ifndef IO_DIAL_H
#define IO_DIAL_H

#include "base/address.h"
#include "io/hello.h"
#include "wire/codec.h"

/* The peer's hello with what its texts point to. */
struct dial_hello {
    struct message_hello hello;
    uint8_t body[256];
};

/* 0 and a socket; else a negative errno and a sentence.  A refusal's error is the peer's own. */
int dial(const struct address *address, const struct message_hello *mine, enum purpose purpose,
         uint64_t deadline_ns, int *ret_fd, struct dial_hello *ret_theirs,
         char ret_reason[HELLO_REASON_BYTES]);

/* What a `refuse` says: its error as a negative errno, its reason in printable ASCII. */
int dial_refusal(const struct message_refuse *refuse, char ret_reason[HELLO_REASON_BYTES]);

#endif
