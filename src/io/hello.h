/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hello.h - whether two ends of a connection suit each other.  Pure; the same rule for control
 * connections, channels and tools.
 */
#ifndef IO_HELLO_H
#define IO_HELLO_H

#include <stdbool.h>
#include <stdint.h>

#include "wire/schema.h"

enum { HELLO_REASON_BYTES = 256 };
/* A peer that was connected but says nothing for so long is hung, or none of ours. */
#define HELLO_TIMEOUT_NS UINT64_C(5000000000)

/* 0; -EOPNOTSUPP: an authentication method other than none; -EPROTONOSUPPORT: no version in common;
 * -EPERM: another cluster, or a ring of another shape; -EPROTO: it makes no sense.  @ret_reason: a
 * sentence that names both sides, in printable ASCII whatever the peer sent; written on error
 * only. */
int hello_check(const struct message_hello *mine, const struct message_hello *theirs,
                char ret_reason[HELLO_REASON_BYTES]);

/* Whether a message of this type may be sent on a connection of @version. */
bool hello_allows(uint16_t version, uint32_t type);

/* The highest version that both speak; only after hello_check() was 0. */
uint16_t hello_version(const struct message_hello *mine, const struct message_hello *theirs);

#endif
