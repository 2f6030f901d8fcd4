/* SPDX-License-Identifier: Apache-2.0 */
/* outcome.h - the names of outcomes and ways, the same in answers, metrics and messages. */
#ifndef NODE_OUTCOME_H
#define NODE_OUTCOME_H

#include <stdint.h>

/* "HIT", "MISS_EVICTED", ...; "UNKNOWN_OUTCOME" for a number that is none. */
const char *outcome_name(uint16_t outcome);
/* "local", "shm", "rdma", "tcp", "none". */
const char *via_name(uint8_t via);

#endif
