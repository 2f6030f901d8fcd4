/* SPDX-License-Identifier: Apache-2.0 */
/*
 * protection.c - the names of the protections, and, in test builds, the switches.
 *
 * A switch is an atomic that any thread reads without order: a test turns protections off while
 * nothing runs that asks for them.  All are on until somebody names them, and a process that has
 * one off says so once on stderr, where it cannot be overlooked.
 */
#include "base/protection.h"

#include "base/check.h"

static const struct {
    const char *name, *without;
} protections[PROTECTION_COUNT] = {
#define P(name, without) [PROTECTION_##name] = {#name, without},
    PROTECTIONS(P)
#undef P
};

const char *protection_name(enum protection protection)
{
    CHECK((unsigned)protection < PROTECTION_COUNT);
    return protections[protection].name;
}

const char *protection_without(enum protection protection)
{
    CHECK((unsigned)protection < PROTECTION_COUNT);
    return protections[protection].without;
}

#ifdef PEERCACHE_PROTECTIONS_SWITCHABLE

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static atomic_bool is_off[PROTECTION_COUNT];
static atomic_flag was_said = ATOMIC_FLAG_INIT;

bool protection_is_on(enum protection protection)
{
    return !atomic_load_explicit(&is_off[protection], memory_order_relaxed);
}

static bool disable(const char *name, size_t len)
{
    for (int i = 0; i < PROTECTION_COUNT; i++) {
        if (strlen(protections[i].name) != len || memcmp(protections[i].name, name, len) != 0)
            continue;
        atomic_store_explicit(&is_off[i], true, memory_order_relaxed);
        return true;
    }
    return false;
}

/* Once a process: the simulator turns them off thousands of times. */
static void say_off(const char *names)
{
    if (!atomic_flag_test_and_set(&was_said))
        fprintf(stderr, "peercache: TEST BUILD WITH PROTECTIONS OFF (%s): pages may be wrong\n",
                names);
}

bool protection_disable(const char *name)
{
    if (!disable(name, strlen(name)))
        return false;
    say_off(name);
    return true;
}

void protection_enable_all(void)
{
    for (int i = 0; i < PROTECTION_COUNT; i++)
        atomic_store_explicit(&is_off[i], false, memory_order_relaxed);
}

/* Before main(), so that no thread can have asked yet.  A name that is none ends the process: a
 * test that meant to turn something off must not pass with everything on. */
__attribute__((constructor)) static void take_environment(void)
{
    const char *names = getenv("PEERCACHE_TEST_PROTECTIONS_OFF");
    if (names == NULL || *names == '\0')
        return;
    for (const char *name = names; *name != '\0';) {
        size_t len = strcspn(name, ",");
        if (!disable(name, len)) {
            fprintf(stderr, "peercache: PEERCACHE_TEST_PROTECTIONS_OFF: no protection '%.*s'\n",
                    (int)len, name);
            abort();
        }
        name += len + (name[len] == ',');
    }
    say_off(names);
}

#endif
