/* SPDX-License-Identifier: Apache-2.0 */
/* member.h - what follows from a member's state, and how its record is kept. */
#ifndef CORE_MEMBER_H
#define CORE_MEMBER_H

#include <stdbool.h>
#include <string.h>

#include "base/address.h"
#include "wire/schema.h"

/* Who left or died is remembered for so long: words that were on their way cannot bring it back. */
#define MEMBER_GONE_KEPT_NS UINT64_C(60000000000)

/* It answers, and its pages count. */
static inline bool member_is_there(uint8_t state)
{
    return state == MEMBER_ALIVE || state == MEMBER_DRAINING;
}

static inline bool member_is_gone(uint8_t state)
{
    return state == MEMBER_LEFT || state == MEMBER_DEAD;
}

/* Copies a record whose host text lies in a frame to one whose text lies in @ret_host. */
static inline void member_keep(const struct record_member *member, struct record_member *ret_member,
                               char ret_host[ADDRESS_HOST_BYTES])
{
    *ret_member = *member;
    memset(ret_host, 0, 64);
    memcpy(ret_host, member->host.bytes, member->host.len);
    ret_member->host.bytes = ret_host;
}

#endif
