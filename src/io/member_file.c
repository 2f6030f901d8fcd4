/* SPDX-License-Identifier: Apache-2.0 */
/*
 * member_file.c - FOLDER/members, written beside its place and moved there.
 *
 * It is not synced to the disk: after a power failure an older list, or none, is as good as any.
 */
#include "io/member_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char heading[] = "# Discovery services of this node's cluster, as it saw it last.\n";

enum { FILE_MAX_BYTES = sizeof heading + MEMBER_FILE_MAX * (ADDRESS_TEXT_BYTES + 1) };

uint32_t member_file_read(const char *folder, struct address ret_services[MEMBER_FILE_MAX])
{
    char path[PATH_MAX], text[FILE_MAX_BYTES + 1], error[ADDRESS_ERROR_BYTES], *rest = text;
    uint32_t n = 0;
    if (snprintf(path, sizeof path, "%s/members", folder) >= (int)sizeof path)
        return 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t len = fd < 0 ? -1 : read(fd, text, FILE_MAX_BYTES);
    if (fd >= 0)
        close(fd);
    text[len > 0 ? len : 0] = '\0';
    for (char *line; n < MEMBER_FILE_MAX && (line = strsep(&rest, "\n"));)
        n += address_parse(line, 0, &ret_services[n], error) == 0;
    return n;
}

static int write_all(const char *path, const char *text, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    ssize_t n = write(fd, text, len);
    int error = n == (ssize_t)len ? 0 : n < 0 ? -errno : -ENOSPC;
    if (close(fd) < 0 && error == 0)
        error = -errno;
    return error;
}

/* The name of the new file is this process's, since the nodes of a host may share the folder. */
int member_file_write(const char *folder, const struct address *services, uint32_t n)
{
    char path[PATH_MAX], made[PATH_MAX], text[FILE_MAX_BYTES];
    size_t len = sizeof heading - 1;
    memcpy(text, heading, len);
    for (uint32_t i = 0; i < n && i < MEMBER_FILE_MAX; i++) {
        char one[ADDRESS_TEXT_BYTES];
        address_format(&services[i], one);
        len += (size_t)sprintf(text + len, "%s\n", one);
    }
    if (snprintf(path, sizeof path, "%s/members", folder) >= (int)sizeof path ||
        snprintf(made, sizeof made, "%s/members.%d", folder, getpid()) >= (int)sizeof made)
        return -ENAMETOOLONG;
    if (mkdir(folder, 0700) < 0 && errno != EEXIST)
        return -errno;
    int error = write_all(made, text, len);
    if (!error && rename(made, path) < 0)
        error = -errno;
    if (error)
        unlink(made);
    return error;
}
