/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hello.c - whether two ends of a connection suit each other.  Pure.
 *
 * What a peer sent is quoted in logs and on terminals, so it is made printable first.
 */
#include "io/hello.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/protection.h"
#include "wire/codec.h"

enum { CLUSTER_TEXT_BYTES = 64 };

static void text_quote(struct wire_text text, char ret_text[CLUSTER_TEXT_BYTES])
{
    uint32_t len = text.len < CLUSTER_TEXT_BYTES - 1 ? text.len : CLUSTER_TEXT_BYTES - 1;
    for (uint32_t i = 0; i < len; i++) {
        char byte = text.bytes[i];
        ret_text[i] = byte >= ' ' && byte <= '~' ? byte : '?';
    }
    ret_text[len] = '\0';
}

static int check_auth(const struct message_hello *theirs, char *ret_reason)
{
    if (theirs->auth == AUTH_NONE)
        return 0;
    snprintf(ret_reason, HELLO_REASON_BYTES,
             "authentication method %u is not supported, only none (0)", theirs->auth);
    return -EOPNOTSUPP;
}

static int check_version(const struct message_hello *mine, const struct message_hello *theirs,
                         char *ret_reason)
{
    if (theirs->version_min > theirs->version_max) {
        snprintf(ret_reason, HELLO_REASON_BYTES, "protocol versions %u to %u are no range",
                 theirs->version_min, theirs->version_max);
        return -EPROTO;
    }
    if (theirs->version_min <= mine->version_max && mine->version_min <= theirs->version_max)
        return 0;
    snprintf(ret_reason, HELLO_REASON_BYTES,
             "no protocol version in common: this node speaks %u to %u, the peer %u to %u",
             mine->version_min, mine->version_max, theirs->version_min, theirs->version_max);
    return -EPROTONOSUPPORT;
}

static int check_cluster(const struct message_hello *mine, const struct message_hello *theirs,
                         char *ret_reason)
{
    if (mine->cluster.len == theirs->cluster.len &&
        (mine->cluster.len == 0 ||
         memcmp(mine->cluster.bytes, theirs->cluster.bytes, mine->cluster.len) == 0))
        return 0;
    char own[CLUSTER_TEXT_BYTES], other[CLUSTER_TEXT_BYTES];
    text_quote(mine->cluster, own);
    text_quote(theirs->cluster, other);
    snprintf(ret_reason, HELLO_REASON_BYTES,
             "cluster names differ: a node of '%s' asked one of '%s'; set cluster_name to the same",
             other, own);
    return -EPERM;
}

static int check_purpose(const struct message_hello *theirs, char *ret_reason)
{
    if (theirs->purpose >= PURPOSE_CONTROL && theirs->purpose <= PURPOSE_TOOL)
        return 0;
    snprintf(ret_reason, HELLO_REASON_BYTES, "connections of purpose %u are not known here",
             theirs->purpose);
    return -EPROTO;
}

static int check_same(const char *option, uint32_t mine, uint32_t theirs, char *ret_reason)
{
    if (mine == theirs)
        return 0;
    snprintf(ret_reason, HELLO_REASON_BYTES,
             "%s differs: a node with %u asked one with %u; set it to the same on all nodes",
             option, theirs, mine);
    return -EPERM;
}

/* Members with other points on the ring, or other numbers of owners, would look for pages in other
 * places than where these are announced.  Tools have no part in it. */
static int check_ring(const struct message_hello *mine, const struct message_hello *theirs,
                      char *ret_reason)
{
    if (theirs->purpose != PURPOSE_CONTROL && theirs->purpose != PURPOSE_DISCOVERY)
        return 0;
    int error = check_same("vnodes", mine->vnodes, theirs->vnodes, ret_reason);
    if (error == 0)
        error = check_same("directory_replicas", mine->directory_replicas,
                           theirs->directory_replicas, ret_reason);
    return error;
}

/* The version comes first: between other versions the rest may mean something else. */
int hello_check(const struct message_hello *mine, const struct message_hello *theirs,
                char ret_reason[HELLO_REASON_BYTES])
{
    int error = check_version(mine, theirs, ret_reason);
    if (error == 0)
        error = check_auth(theirs, ret_reason);
    if (error == 0)
        error = check_cluster(mine, theirs, ret_reason);
    if (error == 0)
        error = check_purpose(theirs, ret_reason);
    if (error == 0)
        error = check_ring(mine, theirs, ret_reason);
    return error;
}

bool hello_allows(uint16_t version, uint32_t type)
{
    return message_since(type) <= version || !PROTECTED(version_gate);
}

uint16_t hello_version(const struct message_hello *mine, const struct message_hello *theirs)
{
    return mine->version_max < theirs->version_max ? mine->version_max : theirs->version_max;
}
