/* SPDX-License-Identifier: Apache-2.0 */
/* clock.h - the one clock that deadlines are measured by. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

#define CLOCK_NS_PER_S UINT64_C(1000000000)
#define CLOCK_NS_PER_MS UINT64_C(1000000)
#define CLOCK_NS_PER_US UINT64_C(1000)

/* Nanoseconds since some moment before this process; never goes back; not the time of day. */
uint64_t clock_now_ns(void);
/* Another one, which goes on while the machine is suspended. */
uint64_t clock_boot_ns(void);
/* Microseconds since 1970: the time of day, which somebody may set. */
uint64_t clock_day_us(void);

#endif
