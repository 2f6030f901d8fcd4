/* SPDX-License-Identifier: Apache-2.0 */
/* gid.c - ranks GIDs by type, reach, subnet and index. */
#include "io/rdma/gid.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

enum { IPV4_AT = 12, SUBNET_BYTES = 8 }; /* where an IPv4 address begins; InfiniBand's prefix */

static bool is_ipv4(const uint8_t *bytes)
{
    static const uint8_t before[IPV4_AT] = {[10] = 0xff, [11] = 0xff};
    return memcmp(bytes, before, IPV4_AT) == 0;
}

static bool is_link_local(const uint8_t *bytes)
{
    if (is_ipv4(bytes))
        return bytes[IPV4_AT] == 169 && bytes[IPV4_AT + 1] == 254;
    return bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80;
}

/* Nobody is reached by nothing, by itself or by a group. */
static bool is_no_place(const uint8_t *bytes)
{
    static const uint8_t zero[VERBS_GID_BYTES];
    if (is_ipv4(bytes))
        return bytes[IPV4_AT] == 0 || bytes[IPV4_AT] == 127 || bytes[IPV4_AT] >= 224;
    return memcmp(bytes, zero, VERBS_GID_BYTES - 1) == 0 || bytes[0] == 0xff;
}

enum gid_scope gid_scope(const struct gid *gid)
{
    const uint8_t *bytes = gid->entry.bytes;
    if (is_no_place(bytes))
        return GID_SCOPE_NONE;
    if (gid->entry.type == VERBS_GID_INFINIBAND)
        return GID_SCOPE_INFINIBAND;
    if (is_link_local(bytes))
        return GID_SCOPE_LINK_LOCAL;
    return is_ipv4(bytes) ? GID_SCOPE_IPV4 : GID_SCOPE_IPV6;
}

static bool equal_bits(const uint8_t *a, const uint8_t *b, uint32_t bits)
{
    uint32_t bytes = bits / 8, rest = bits % 8;
    if (memcmp(a, b, bytes) != 0)
        return false;
    return rest == 0 || (a[bytes] ^ b[bytes]) >> (8 - rest) == 0;
}

bool gid_share_subnet(const struct gid *a, const struct gid *b)
{
    if (gid_scope(a) != gid_scope(b))
        return false;
    if (gid_scope(a) == GID_SCOPE_INFINIBAND)
        return memcmp(a->entry.bytes, b->entry.bytes, SUBNET_BYTES) == 0;
    /* The narrower view counts where they differ. */
    uint8_t bits = a->prefix_bits > b->prefix_bits ? a->prefix_bits : b->prefix_bits;
    return bits > 0 && bits <= 128 && equal_bits(a->entry.bytes, b->entry.bytes, bits);
}

/* --- one side --------------------------------------------------------------------------------- */

/* The higher the better; 0: not to be taken.  IPv4 and IPv6 are equally good. */
static uint32_t rank(const struct gid *gid)
{
    enum gid_scope scope = gid_scope(gid);
    if (scope == GID_SCOPE_NONE)
        return 0;
    return 1 + 2 * (gid->entry.type == VERBS_GID_ROCE_V2) + (scope != GID_SCOPE_LINK_LOCAL);
}

const struct gid *gid_choose(const struct gid *gids, uint32_t n, uint32_t port, int32_t index)
{
    const struct gid *best = NULL;
    for (uint32_t i = 0; i < n; i++) {
        const struct gid *gid = &gids[i];
        bool is_wanted = index == GID_INDEX_AUTO || gid->entry.index == (uint32_t)index;
        if (gid->entry.port != port || !is_wanted || rank(gid) == 0)
            continue;
        if (!best || rank(gid) > rank(best) ||
            (rank(gid) == rank(best) && gid->entry.index < best->entry.index))
            best = gid;
    }
    return best;
}

/* --- both sides ------------------------------------------------------------------------------- */

/* Packets of RoCE v1 and of InfiniBand do not leave their subnet. */
static bool can_reach(const struct gid *a, const struct gid *b)
{
    if (a->entry.type != b->entry.type || gid_scope(a) != gid_scope(b) || rank(a) == 0)
        return false;
    return a->entry.type == VERBS_GID_ROCE_V2 || gid_share_subnet(a, b);
}

static uint32_t pair_rank(const struct gid *own, const struct gid *peer)
{
    return can_reach(own, peer) ? 2 * rank(own) + gid_share_subnet(own, peer) : 0;
}

struct pair {
    const struct gid *own, *peer;
};

/* Among equals the order of the addresses decides, the lower of both first: it looks the same from
 * both sides, as indexes do not. */
static int compare_addresses(const struct pair *a, const struct pair *b)
{
    const uint8_t *low[2], *high[2];
    const struct pair *pairs[2] = {a, b};
    for (int i = 0; i < 2; i++) {
        const uint8_t *own = pairs[i]->own->entry.bytes, *peer = pairs[i]->peer->entry.bytes;
        bool own_is_low = memcmp(own, peer, VERBS_GID_BYTES) < 0;
        low[i] = own_is_low ? own : peer;
        high[i] = own_is_low ? peer : own;
    }
    int order = memcmp(low[0], low[1], VERBS_GID_BYTES);
    return order ? order : memcmp(high[0], high[1], VERBS_GID_BYTES);
}

static bool is_better(const struct pair *pair, const struct pair *than)
{
    uint32_t left = pair_rank(pair->own, pair->peer);
    if (left == 0 || !than->own)
        return left > 0;
    uint32_t right = pair_rank(than->own, than->peer);
    return left > right || (left == right && compare_addresses(pair, than) < 0);
}

bool gid_choose_pair(const struct gid *own, uint32_t n_own, const struct gid *peer, uint32_t n_peer,
                     const struct gid **ret_own, const struct gid **ret_peer)
{
    struct pair best = {NULL, NULL};
    for (uint32_t i = 0; i < n_own; i++)
        for (uint32_t j = 0; j < n_peer; j++) {
            struct pair pair = {&own[i], &peer[j]};
            if (is_better(&pair, &best))
                best = pair;
        }
    if (!best.own)
        return false;
    *ret_own = best.own;
    *ret_peer = best.peer;
    return true;
}

/* --- words ------------------------------------------------------------------------------------ */

void gid_format(const struct gid *gid, char ret_text[GID_TEXT_BYTES])
{
    const uint8_t *bytes = gid->entry.bytes;
    bool short_form = gid->entry.type != VERBS_GID_INFINIBAND && is_ipv4(bytes);
    if (!inet_ntop(short_form ? AF_INET : AF_INET6, short_form ? bytes + IPV4_AT : bytes, ret_text,
                   GID_TEXT_BYTES))
        ret_text[0] = 0;
}

const char *gid_type_text(enum verbs_gid_type type)
{
    static const char *const texts[] = {[VERBS_GID_INFINIBAND] = "InfiniBand",
                                        [VERBS_GID_ROCE_V1] = "RoCE v1",
                                        [VERBS_GID_ROCE_V2] = "RoCE v2"};
    return texts[type];
}

const char *gid_scope_text(enum gid_scope scope)
{
    static const char *const texts[] = {[GID_SCOPE_NONE] = "no address",
                                        [GID_SCOPE_LINK_LOCAL] = "link-local",
                                        [GID_SCOPE_IPV4] = "IPv4",
                                        [GID_SCOPE_IPV6] = "IPv6",
                                        [GID_SCOPE_INFINIBAND] = "InfiniBand"};
    return texts[scope];
}
