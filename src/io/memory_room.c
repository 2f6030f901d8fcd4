/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory_room.c - asks before a pool is promised.
 *
 * A pool is touched page by page as it fills, long after the start.  Without this question a pool
 * that is too large would start well and be killed under load.  The answer is a snapshot: several
 * nodes that start at once on one host can still promise the same memory twice.
 *
 * The kernel shows a container its own control group either as the root of the mount or under the
 * host's path, so every prefix of the path is tried, and what is not there is skipped.
 */
#include "io/memory_room.h"

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TEXT_BYTES = 16 * 1024 };

/* What one version of control groups calls things. */
struct names {
    const char *mount, *limit, *usage, *active_file, *inactive_file;
};

static const struct names version1 = {
    "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
    "total_active_file",     "total_inactive_file",
};
static const struct names version2 = {
    "/sys/fs/cgroup", "memory.max", "memory.current", "active_file", "inactive_file",
};

static bool read_text(const char *root, const char *folder, const char *name,
                      char ret_text[TEXT_BYTES])
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s%s/%s", root, folder, name) >= (int)sizeof path)
        return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t len = read(fd, ret_text, TEXT_BYTES - 1);
    close(fd);
    ret_text[len > 0 ? len : 0] = 0;
    return len > 0;
}

/* The number behind @name at the start of a line; 0 where there is none. */
static uint64_t field(const char *text, const char *name)
{
    size_t len = strlen(name);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (!strncmp(line, name, len) && (line[len] == ' ' || line[len] == ':'))
            return strtoull(line + len + 1, NULL, 10);
    }
    return 0;
}

static uint64_t room_of_machine(const char *root)
{
    char text[TEXT_BYTES];
    if (!read_text(root, "/proc", "meminfo", text) || !strstr(text, "MemAvailable:"))
        return UINT64_MAX;
    return field(text, "MemAvailable") * 1024;
}

static uint64_t room_of_group(const char *root, const char *folder, const struct names *names)
{
    char text[TEXT_BYTES];
    if (!read_text(root, folder, names->limit, text) || !strncmp(text, "max", 3))
        return UINT64_MAX;
    uint64_t limit = strtoull(text, NULL, 10);
    if (!read_text(root, folder, names->usage, text))
        return UINT64_MAX;
    uint64_t usage = strtoull(text, NULL, 10), cache = 0;
    if (read_text(root, folder, "memory.stat", text))
        cache = field(text, names->active_file) + field(text, names->inactive_file);
    usage -= cache < usage ? cache : usage;
    return limit > usage ? limit - usage : 0;
}

/* The group at @path and all above it. */
static uint64_t room_of_path(const char *root, const char *path, const struct names *names)
{
    char folder[PATH_MAX];
    uint64_t least = UINT64_MAX;
    int len = snprintf(folder, sizeof folder, "%s%s", names->mount, path);
    if (len >= (int)sizeof folder)
        return UINT64_MAX;
    for (; strlen(folder) >= strlen(names->mount); *strrchr(folder, '/') = 0) {
        uint64_t room = room_of_group(root, folder, names);
        least = room < least ? room : least;
    }
    return least;
}

/* A line is `0::PATH` (version 2) or `NUMBER:CONTROLLERS:PATH` (version 1). */
static uint64_t room_of_line(const char *root, char *line)
{
    char *controllers = strchr(line, ':');
    char *path = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!path)
        return UINT64_MAX;
    *path++ = 0;
    controllers++;
    if (!*controllers)
        return room_of_path(root, path, &version2);
    for (char *rest = controllers, *name; (name = strsep(&rest, ",")) != NULL;)
        if (!strcmp(name, "memory"))
            return room_of_path(root, path, &version1);
    return UINT64_MAX;
}

uint64_t memory_room_bytes(const char *root, const char **ret_limit)
{
    char text[TEXT_BYTES];
    uint64_t least = room_of_machine(root);
    *ret_limit = "available on this machine";
    if (!read_text(root, "/proc/self", "cgroup", text))
        return least;
    for (char *rest = text, *line; (line = strsep(&rest, "\n")) != NULL;) {
        uint64_t room = room_of_line(root, line);
        if (room >= least)
            continue;
        least = room;
        *ret_limit = "left under the memory limit of this container or control group";
    }
    return least;
}
