/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gid.h - which address of a port RDMA goes by: pure rules over tables of GIDs.
 *
 * RoCE v2 before v1, what can be routed before link-local, the subnet that the peer shares before
 * another, the lower index before the higher.
 */
#ifndef IO_RDMA_GID_H
#define IO_RDMA_GID_H

#include <net/if.h>

#include "io/rdma/verbs.h"

enum { GID_TEXT_BYTES = 64, GID_INDEX_AUTO = -1 };

/* A GID and what the network interface behind it adds. */
struct gid {
    struct verbs_gid entry;
    char interface[IF_NAMESIZE]; /* empty: none, as with InfiniBand */
    uint8_t prefix_bits;         /* of its subnet, as an IPv6 prefix; 0: unknown */
};

/* How far an address reaches. */
enum gid_scope {
    GID_SCOPE_NONE,       /* all zero, loopback, multicast: no address to be reached by */
    GID_SCOPE_LINK_LOCAL, /* fe80::/10, 169.254.0.0/16 */
    GID_SCOPE_IPV4,       /* an IPv4 address inside an IPv6 one */
    GID_SCOPE_IPV6,
    GID_SCOPE_INFINIBAND, /* the subnet's manager gives it */
};

enum gid_scope gid_scope(const struct gid *gid);

/* Whether both are of one subnet, as far as one of them knows its own. */
bool gid_share_subnet(const struct gid *a, const struct gid *b);

/* The best GID of @port, or NULL.  @index: the only one that may be taken, or GID_INDEX_AUTO. */
const struct gid *gid_choose(const struct gid *gids, uint32_t n, uint32_t port, int32_t index);

/* The best pair by which @own and @peer reach each other, of ports chosen before: equal types and
 * scopes.  What cannot be routed needs one subnet.  False: there is none.  Both sides come to the
 * same pair. */
bool gid_choose_pair(const struct gid *own, uint32_t n_own, const struct gid *peer, uint32_t n_peer,
                     const struct gid **ret_own, const struct gid **ret_peer);

/* "10.1.2.3", "fe80::1", for InfiniBand the GID as an IPv6 address. */
void gid_format(const struct gid *gid, char ret_text[GID_TEXT_BYTES]);
/* "InfiniBand", "RoCE v1", "RoCE v2" */
const char *gid_type_text(enum verbs_gid_type type);
/* "link-local", "IPv4", ... */
const char *gid_scope_text(enum gid_scope scope);

#endif
