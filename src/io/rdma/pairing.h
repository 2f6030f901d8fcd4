/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pairing.h - what two adapters tell each other to connect queue pairs, and what follows from it.
 */
#ifndef IO_RDMA_PAIRING_H
#define IO_RDMA_PAIRING_H

#include "io/rdma/rail.h"

/* The fields that `pair` and `paired` have in common. */
struct pairing {
    uint8_t rail, link, gid_type;
    struct id128 gid;
    uint16_t lid;
    uint32_t mtu_bytes;
    uint8_t reads_served, reads_asked;
    const struct record_queue *queues;
    uint32_t n_queues;
};

/* Of this rail, without the queues. */
struct pairing pairing_of(const struct rail *rail);
struct pairing pairing_from_pair(const struct message_pair *pair);
struct pairing pairing_from_paired(const struct message_paired *paired);
void pairing_to_pair(const struct pairing *own, struct message_pair *ret_pair);
void pairing_to_paired(const struct pairing *own, struct message_paired *ret_paired);

/* The other side's address. */
struct gid pairing_gid(const struct pairing *theirs);
/* Whether the rail reaches the other side: equal kinds of link and of address, and one subnet where
 * the address does not go beyond; *ret_shares: one subnet. */
bool pairing_reaches(const struct rail *rail, const struct pairing *theirs, bool *ret_shares);

/* The path of queue pair @index, whose first packet has @own_psn.  -EPROTO: what the other side
 * says makes no sense; or what rail_gid_index() says. */
int pairing_path(const struct rail *rail, const struct pairing *theirs, uint32_t index,
                 uint32_t own_psn, struct verbs_path *ret_path);

/* A first packet sequence number. */
uint32_t pairing_random_psn(void);

#endif
