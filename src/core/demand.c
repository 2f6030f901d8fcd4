/* SPDX-License-Identifier: Apache-2.0 */
/*
 * demand.c - one atomic word a cell: which page, when, how often, by whom, and how many holders it
 * has or was promised.
 *
 * A page that finds its cell taken by another of the same period wears that one's count down until
 * the cell is free: what is asked for often stays.
 */
#include "core/demand.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

enum {
    TAG_BITS = 24,
    PERIOD_BITS = 12,
    ASKS_MAX = 255,
    PROMISED_MAX = 15,
    TRIES = 2, /* of an update that another one meets */
};

struct demand {
    _Atomic(uint64_t) cells[DEMAND_CELLS];
};

/* What a cell says, 64 bits in all. */
struct cell {
    uint32_t tag;     /* 24: of the page */
    uint16_t period;  /* 12: of the last ask */
    uint8_t asks;     /* 8; 0: nobody's cell */
    uint8_t promised; /* 4: holders that there are, or that a reader of this period may become */
    uint16_t hosts;   /* 16: a bit a host that asked */
};

int demand_new(struct demand **ret_demand)
{
    *ret_demand = calloc(1, sizeof **ret_demand);
    return *ret_demand ? 0 : -ENOMEM;
}

void demand_free(struct demand *demand)
{
    free(demand);
}

uint32_t demand_host(struct id128 boot_id)
{
    uint64_t mixed = (boot_id.hi ^ boot_id.lo << 1) * UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(mixed >> 32) | 1;
}

static struct cell unpack(uint64_t word)
{
    return (struct cell){.tag = (uint32_t)(word >> 40),
                         .period = word >> 28 & ((1 << PERIOD_BITS) - 1),
                         .asks = (uint8_t)(word >> 20),
                         .promised = word >> 16 & PROMISED_MAX,
                         .hosts = (uint16_t)word};
}

static uint64_t pack(const struct cell *cell)
{
    return (uint64_t)cell->tag << 40 | (uint64_t)cell->period << 28 | (uint64_t)cell->asks << 20 |
           (uint64_t)cell->promised << 16 | cell->hosts;
}

static void grow_old(struct cell *cell, uint16_t period)
{
    uint16_t passed = (uint16_t)(period - cell->period) & ((1 << PERIOD_BITS) - 1);
    if (passed == 0)
        return;
    cell->asks = passed == 1 ? cell->asks / 2 : 0;
    cell->promised = 0; /* who was to become a holder is one by now, or will not */
    if (cell->asks == 0)
        cell->hosts = 0;
    cell->period = period;
}

/* The holders that the demand of one period is worth. */
static uint32_t deserved(const struct cell *cell)
{
    if (__builtin_popcount(cell->hosts) < DEMAND_HOSTS_LEAST)
        return 1;
    uint32_t holders = 1 + cell->asks / DEMAND_ASKS_A_COPY;
    return holders < DEMAND_HOLDERS_MOST ? holders : DEMAND_HOLDERS_MOST;
}

/* Two hosts that share a bit for one page do not for the next. */
static uint16_t host_bit(uint32_t host, uint32_t tag)
{
    return (uint16_t)(1u << ((host ^ tag * UINT32_C(0x85ebca6b)) * UINT32_C(0x9e3779b9) >> 28));
}

/* Counts one ask of the page @tag; true: the asker may become a holder. */
static bool count(struct cell *cell, uint32_t tag, uint32_t host, uint32_t n_holders)
{
    if (cell->asks > 0 && cell->tag != tag) {
        cell->asks--;
        return false;
    }
    if (cell->asks == 0)
        *cell = (struct cell){.tag = tag, .period = cell->period};
    cell->asks += cell->asks < ASKS_MAX;
    cell->hosts |= host_bit(host, tag);
    if (cell->promised < n_holders)
        cell->promised = n_holders < PROMISED_MAX ? (uint8_t)n_holders : PROMISED_MAX;
    if (cell->promised >= deserved(cell))
        return false;
    cell->promised++;
    return true;
}

bool demand_asked(struct demand *demand, struct id128 digest, uint32_t host, uint32_t n_holders,
                  uint64_t now_ns)
{
    _Atomic(uint64_t) *at = &demand->cells[digest.hi % DEMAND_CELLS];
    uint32_t tag = digest.lo & ((1 << TAG_BITS) - 1);
    uint16_t period = now_ns / DEMAND_PERIOD_NS & ((1 << PERIOD_BITS) - 1);
    uint64_t before = atomic_load_explicit(at, memory_order_relaxed);
    for (int i = 0; i < TRIES; i++) {
        struct cell cell = unpack(before);
        grow_old(&cell, period);
        bool is_invited = count(&cell, tag, host, n_holders);
        if (atomic_compare_exchange_weak_explicit(at, &before, pack(&cell), memory_order_relaxed,
                                                  memory_order_relaxed))
            return is_invited;
    }
    return false;
}
