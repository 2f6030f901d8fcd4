/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pairing.c - pure but for its random numbers; what the other side says is a claim, and is bounded
 * before it is used.
 */
#include "io/rdma/pairing.h"

#include <errno.h>

#include "io/host_id.h"

enum {
    /* 67 ms, eight times: a lost packet is asked for again before the half second after which a
     * call gives the queue pair up. */
    TIMEOUT_EXPONENT = 14,
    RETRIES = 7,
    HOP_LIMIT = 64,
    MTU_LEAST_BYTES = 256,
    MTU_MOST_BYTES = VERBS_MTU_MAX_BYTES,
};

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static struct id128 id_of_gid(const uint8_t bytes[VERBS_GID_BYTES])
{
    struct id128 id = {0};
    for (int i = 0; i < 8; i++) {
        id.hi = id.hi << 8 | bytes[i];
        id.lo = id.lo << 8 | bytes[8 + i];
    }
    return id;
}

struct gid pairing_gid(const struct pairing *theirs)
{
    struct gid gid = {.entry.type = (enum verbs_gid_type)theirs->gid_type};
    for (int i = 0; i < 8; i++) {
        gid.entry.bytes[i] = (uint8_t)(theirs->gid.hi >> (56 - 8 * i));
        gid.entry.bytes[8 + i] = (uint8_t)(theirs->gid.lo >> (56 - 8 * i));
    }
    return gid;
}

/* --- messages --------------------------------------------------------------------------------- */

struct pairing pairing_of(const struct rail *rail)
{
    return (struct pairing){
        .rail = (uint8_t)rail->index,
        .link = (uint8_t)rail->port_info.link,
        .gid_type = (uint8_t)rail->gid.entry.type,
        .gid = id_of_gid(rail->gid.entry.bytes),
        .lid = rail->port_info.lid,
        .mtu_bytes = rail->port_info.mtu_bytes,
        .reads_served = (uint8_t)least(rail->limits.reads_served, READS_UNDER_WAY),
        .reads_asked = (uint8_t)least(rail->limits.reads_asked, READS_UNDER_WAY),
    };
}

#define COPY_FIELDS(from)                                                                          \
    .rail = (from)->rail, .link = (from)->link, .gid_type = (from)->gid_type, .gid = (from)->gid,  \
    .lid = (from)->lid, .mtu_bytes = (from)->mtu_bytes, .reads_served = (from)->reads_served,      \
    .reads_asked = (from)->reads_asked, .queues = (from)->queues, .n_queues = (from)->n_queues

struct pairing pairing_from_pair(const struct message_pair *pair)
{
    return (struct pairing){COPY_FIELDS(pair)};
}

struct pairing pairing_from_paired(const struct message_paired *paired)
{
    return (struct pairing){COPY_FIELDS(paired)};
}

void pairing_to_pair(const struct pairing *own, struct message_pair *ret_pair)
{
    *ret_pair = (struct message_pair){COPY_FIELDS(own)};
}

void pairing_to_paired(const struct pairing *own, struct message_paired *ret_paired)
{
    *ret_paired = (struct message_paired){COPY_FIELDS(own)};
}

/* --- what follows ----------------------------------------------------------------------------- */

bool pairing_reaches(const struct rail *rail, const struct pairing *theirs, bool *ret_shares)
{
    const struct gid *own_gid, *their_gid;
    struct gid gid = pairing_gid(theirs);
    if (theirs->link != rail->port_info.link || theirs->gid_type > VERBS_GID_ROCE_V2)
        return false;
    *ret_shares = gid_share_subnet(&rail->gid, &gid);
    return gid_choose_pair(&rail->gid, 1, &gid, 1, &own_gid, &their_gid);
}

static bool is_mtu(uint32_t bytes)
{
    return bytes >= MTU_LEAST_BYTES && bytes <= MTU_MOST_BYTES && (bytes & (bytes - 1)) == 0;
}

/* Within an InfiniBand subnet the LID is enough. */
static bool needs_gid(const struct rail *rail, const struct pairing *theirs)
{
    return rail->port_info.link == VERBS_LINK_ETHERNET || theirs->lid == 0;
}

int pairing_path(const struct rail *rail, const struct pairing *theirs, uint32_t index,
                 uint32_t own_psn, struct verbs_path *ret_path)
{
    struct pairing own = pairing_of(rail);
    struct gid gid = pairing_gid(theirs);
    if (index >= theirs->n_queues || !is_mtu(theirs->mtu_bytes) || theirs->reads_served == 0 ||
        theirs->queues[index].number > VERBS_PSN_MASK ||
        theirs->queues[index].first_psn > VERBS_PSN_MASK)
        return -EPROTO;
    uint32_t gid_index = rail->gid.entry.index;
    int error = needs_gid(rail, theirs) ? rail_gid_index(rail, &gid_index) : 0;
    if (error)
        return error;
    *ret_path = (struct verbs_path){
        .peer_number = theirs->queues[index].number,
        .peer_psn = theirs->queues[index].first_psn,
        .own_psn = own_psn,
        .is_global = needs_gid(rail, theirs),
        .peer_lid = theirs->lid,
        .gid_index = gid_index,
        .mtu_bytes = least(own.mtu_bytes, theirs->mtu_bytes),
        .service_level = rail->service_level,
        .traffic_class = rail->traffic_class,
        .hop_limit = HOP_LIMIT,
        .reads_served = (uint8_t)least(own.reads_served, theirs->reads_asked),
        .reads_asked = (uint8_t)least(own.reads_asked, theirs->reads_served),
        .timeout_exponent = TIMEOUT_EXPONENT,
        .retry_count = RETRIES,
    };
    for (int i = 0; i < VERBS_GID_BYTES; i++)
        ret_path->peer_gid[i] = gid.entry.bytes[i];
    return 0;
}

uint32_t pairing_random_psn(void)
{
    struct id128 number = {0};
    return host_id_random(&number) == 0 ? (uint32_t)number.lo & VERBS_PSN_MASK : 1;
}
