/* SPDX-License-Identifier: Apache-2.0 */
/* patience.h - for how long a peer that sends nothing may be well, whatever way its bytes take. */
#ifndef IO_PATIENCE_H
#define IO_PATIENCE_H

#include <stdint.h>

/* A busy machine is silent for less: who says nothing for longer may hang. */
#define PATIENCE_BUSY_NS UINT64_C(20000000)
/* Two lost packets in a row are silent for less: what is under way for longer is given up. */
#define PATIENCE_STALL_NS UINT64_C(500000000)

#endif
