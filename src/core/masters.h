/* SPDX-License-Identifier: Apache-2.0 */
/*
 * masters.h - which discovery services are masters: a pure function of the member list.
 *
 * It only says to whom heartbeats go, so nodes whose lists differ for a moment do no harm.  The
 * head is pinned: it stands first even while it is dead.  The others are the hosts in a fixed
 * order, so a dead one is replaced by the next and nothing else moves.  A small cluster has all
 * hosts.
 */
#ifndef CORE_MASTERS_H
#define CORE_MASTERS_H

#include "core/core.h"

struct masters {
    uint32_t n, max;
    bool has_head;
    struct core_service services[CORE_MASTERS_MAX]; /* the head first */
    uint64_t order[CORE_MASTERS_MAX];
};

/* @head: NULL where there is none. */
void masters_begin(struct masters *masters, uint32_t max, const struct core_service *head);
/* One after another the services of all members that are there; those of one host may repeat. */
void masters_offer(struct masters *masters, const struct core_service *service);
bool masters_have(const struct masters *masters, const struct core_service *service);

static inline bool core_service_equal(const struct core_service *a, const struct core_service *b)
{
    if (a->port != b->port)
        return false;
    for (size_t i = 0; i < sizeof a->host; i++)
        if (a->host[i] != b->host[i] || a->host[i] == 0)
            return a->host[i] == b->host[i];
    return true;
}

#endif
