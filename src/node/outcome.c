/* SPDX-License-Identifier: Apache-2.0 */
/* outcome.c - names from one table. */
#include "node/outcome.h"

#include <stddef.h>

#include "peercache.h"

#define NAME(outcome) [PEERCACHE_##outcome] = #outcome

static const char *const outcome_names[] = {
    NAME(UNSET),
    NAME(HIT),
    NAME(FOUND),
    NAME(STORED),
    NAME(STORED_LOCAL),
    NAME(ALREADY_STORED),
    NAME(MISS_UNKNOWN),
    NAME(MISS_EVICTED),
    NAME(MISS_LENGTH),
    NAME(MISS_CHECKSUM),
    NAME(MISS_PEER),
    NAME(MISS_DEADLINE),
    NAME(MISS_DISK),
    NAME(REFUSED_FULL),
    NAME(REFUSED_INVALID),
    NAME(REFUSED_TOO_LARGE),
    NAME(REFUSED_UNSUPPORTED),
    NAME(REFUSED_CLOSED),
    NAME(REFUSED_DRAINING),
};

static const char *const via_names[] = {
    [PEERCACHE_VIA_NONE] = "none", [PEERCACHE_VIA_LOCAL] = "local", [PEERCACHE_VIA_SHM] = "shm",
    [PEERCACHE_VIA_RDMA] = "rdma", [PEERCACHE_VIA_TCP] = "tcp",
};

const char *outcome_name(uint16_t outcome)
{
    if (outcome >= sizeof outcome_names / sizeof *outcome_names || !outcome_names[outcome])
        return "UNKNOWN_OUTCOME";
    return outcome_names[outcome];
}

const char *via_name(uint8_t via)
{
    return via < sizeof via_names / sizeof *via_names ? via_names[via] : "none";
}
