/* SPDX-License-Identifier: Apache-2.0 */
/*
 * splitmix.h - numbers that look random: SplitMix64, a counter that is stirred (Steele, Lea and
 * Flood, "Fast splittable pseudorandom number generators", 2014).  Not for secrets.
 */
#ifndef BASE_SPLITMIX_H
#define BASE_SPLITMIX_H

#include <stdint.h>

/* Between two numbers of the counter: odd, and far apart. */
#define SPLITMIX_STEP UINT64_C(0x9e3779b97f4a7c15)

static inline uint64_t splitmix_stir(uint64_t number)
{
    number = (number ^ number >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    number = (number ^ number >> 27) * UINT64_C(0x94d049bb133111eb);
    return number ^ number >> 31;
}

/* The next of a row that begins with *@state. */
static inline uint64_t splitmix_next(uint64_t *state)
{
    return splitmix_stir(*state += SPLITMIX_STEP);
}

/* The first of the row that begins with @number. */
static inline uint64_t splitmix_of(uint64_t number)
{
    return splitmix_next(&number);
}

#endif
