/* SPDX-License-Identifier: Apache-2.0 */
/* clock.c - CLOCK_MONOTONIC as one number. */
#include "base/clock.h"

#include <time.h>

#include "base/check.h"

uint64_t clock_now_ns(void)
{
    struct timespec now;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (uint64_t)now.tv_sec * CLOCK_NS_PER_S + (uint64_t)now.tv_nsec;
}
