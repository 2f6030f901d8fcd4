/* SPDX-License-Identifier: Apache-2.0 */
/* inspection.h - a copy of what a core knows, for people and for the simulator's checks. */
#ifndef CORE_INSPECTION_H
#define CORE_INSPECTION_H

#include "core/core.h"
#include "core/membership.h"
#include "core/pool.h"

struct core_member {
    struct id128 node_id;
    uint64_t incarnation, pool_bytes;
    char host[ADDRESS_HOST_BYTES];
    uint16_t control_port, discovery_port;
    uint8_t state;
    uint16_t protocol_version; /* of the control connection; 0: there is none */
    bool is_connected;
    bool is_trusted; /* its pages count: alive, and it has not failed to answer */
};

struct core_inspection {
    struct pool_usage pool;
    uint64_t directory_entries, directory_bytes;
    uint32_t ring_nodes, n_members, n_masters;
    bool is_complete, is_connected, serves;
    bool ring_is_old; /* the members are newer than the ring */
    struct core_master masters[CORE_MASTERS_MAX];
    struct core_member members[MEMBERS_MAX];
};

/* The thread that may step the core. */
void core_inspect(struct core *core, struct core_inspection *ret_inspection);
void core_usage(const struct core *core, struct pool_usage *ret_usage);
/* The live page in a slot; false: none there. */
bool core_live_page(const struct core *core, uint32_t slot, struct pool_page *ret_page);

#endif
