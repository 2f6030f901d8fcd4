/* SPDX-License-Identifier: Apache-2.0 */
/*
 * credit.h - the owner's side of a sync: how much all holders together may have under way to it.
 *
 * Eight hundred holders that name their pages to one joiner at the same time share one amount; a
 * single one has a fixed share of it.  The ordinary announces of a set are bounded by themselves
 * and do not count.  The core only.
 */
#ifndef CORE_CREDIT_H
#define CORE_CREDIT_H

#include "core/core.h"

enum {
    CREDIT_TOTAL = 16384,       /* entries: 0.6 MB of messages, some 10 ms of work */
    CREDIT_A_HOLDER_MAX = 1024, /* four full messages hide the journey of their answers */
    CREDIT_A_HOLDER_MIN = 8,
};

struct credit {
    uint32_t n_naming;
    bool is_naming[CORE_PEERS_MAX]; /* between the beginning and the end of a sync */
};

void credit_begin(struct credit *credit, uint16_t peer);
/* Also of one that never began. */
void credit_end(struct credit *credit, uint16_t peer);
/* Entries that a holder may have under way now. */
uint32_t credit_grant(const struct credit *credit);

#endif
