/* SPDX-License-Identifier: Apache-2.0 */
/*
 * demand.h - how often, and from how many hosts, the pages of the own shard are asked for.
 *
 * A fixed table of one word a cell that any thread updates.  It is lossy on purpose: two pages may
 * share a cell, two hosts a bit, and an update that meets another is dropped.  The price of each is
 * a copy too few or too many, never a wrong answer.
 */
#ifndef CORE_DEMAND_H
#define CORE_DEMAND_H

#include <stdbool.h>
#include <stdint.h>

#include "base/id128.h"

enum {
    DEMAND_CELLS = 8192, /* pages that are watched at a time: 64 KiB */
    DEMAND_HOSTS_LEAST = 2,
    DEMAND_ASKS_A_COPY = 2, /* so many asks of one period deserve one more holder */
    DEMAND_HOLDERS_MOST = 4,
};
/* Counts are halved after one period, and forgotten after two in which nobody asks. */
#define DEMAND_PERIOD_NS UINT64_C(4000000000)

struct demand;

/* -ENOMEM. */
int demand_new(struct demand **ret_demand);
void demand_free(struct demand *demand);

/* What a host is called here: never 0. */
uint32_t demand_host(struct id128 boot_id);

/* Any thread.  Somebody on @host is going to read the page, which has @n_holders, none of them on
 * that host.  True: it deserves one more, and this reader is the one who may become it; others who
 * ask in this period are not told so for the same copy. */
bool demand_asked(struct demand *demand, struct id128 digest, uint32_t host, uint32_t n_holders,
                  uint64_t now_ns);

#endif
