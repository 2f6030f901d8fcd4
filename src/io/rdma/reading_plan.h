/* SPDX-License-Identifier: Apache-2.0 */
/* reading_plan.h - which rail brings which bytes of a call, and where they land. */
#ifndef IO_RDMA_READING_PLAN_H
#define IO_RDMA_READING_PLAN_H

#include "io/rdma/reading.h"

/* Fills lanes; pages that cannot be read so are -EOPNOTSUPP, the others -EINPROGRESS. */
void reading_plan(struct reading *reading, struct rails *rails, const struct reading_peer *peers,
                  uint32_t n_peers, struct reading_page *pages, uint32_t n);
/* Nothing is under way any more. */
void reading_plan_fini(struct reading *reading);

#endif
