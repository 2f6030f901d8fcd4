/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memlock.c - the limit of locked memory, as the kernel applies it to registrations.
 *
 * It does not hold a process with CAP_IPC_LOCK, but only with that of the machine itself: the root
 * of a container with user ids of its own has it in vain.
 */
#include "io/rdma/memlock.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { CAP_IPC_LOCK_BIT = 14 };

static bool has_capability(const char *root)
{
    char path[PATH_MAX], line[256];
    unsigned long long capabilities = 0;
    snprintf(path, sizeof path, "%s/proc/self/status", root);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "CapEff: %llx", &capabilities) == 1)
            break;
    if (file)
        fclose(file);
    return capabilities >> CAP_IPC_LOCK_BIT & 1;
}

/* Whether user ids are the machine's own: one range, all of them, mapped to themselves. */
static bool is_in_first_namespace(const char *root)
{
    char path[PATH_MAX];
    unsigned long inside = 1, outside = 1, count = 0;
    snprintf(path, sizeof path, "%s/proc/self/uid_map", root);
    FILE *file = fopen(path, "re");
    if (!file)
        return true;
    int n = fscanf(file, "%lu %lu %lu", &inside, &outside, &count);
    fclose(file);
    return n == 3 && inside == 0 && outside == 0 && count == UINT32_MAX;
}

uint64_t memlock_limit_bytes(const char *root)
{
    struct rlimit limit;
    if (has_capability(root) && is_in_first_namespace(root))
        return MEMLOCK_UNLIMITED;
    if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
        return MEMLOCK_UNLIMITED;
    return limit.rlim_cur;
}

bool memlock_allows(uint64_t limit_bytes, uint64_t needed_bytes, char ret_text[MEMLOCK_TEXT_BYTES])
{
    if (limit_bytes >= needed_bytes)
        return true;
    snprintf(ret_text, MEMLOCK_TEXT_BYTES,
             "the limit of locked memory is %llu KiB, and RDMA needs %llu KiB of it: raise "
             "it (ulimit -l unlimited, LimitMEMLOCK=infinity in a systemd unit, --ulimit "
             "memlock=-1 for a container)",
             (unsigned long long)limit_bytes >> 10,
             (unsigned long long)(needed_bytes + 1023) >> 10);
    return false;
}
