/* SPDX-License-Identifier: Apache-2.0 */
/* clock.c - the kernel's clocks as one number each. */
#include "base/clock.h"

#include <time.h>

#include "base/check.h"

static uint64_t read_ns(clockid_t clock)
{
    struct timespec now;
    CHECK(clock_gettime(clock, &now) == 0);
    return (uint64_t)now.tv_sec * CLOCK_NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t clock_now_ns(void)
{
    return read_ns(CLOCK_MONOTONIC);
}

uint64_t clock_boot_ns(void)
{
    return read_ns(CLOCK_BOOTTIME);
}

uint64_t clock_day_us(void)
{
    return read_ns(CLOCK_REALTIME) / CLOCK_NS_PER_US;
}
