/* SPDX-License-Identifier: Apache-2.0 */
/* test_fds.h - for unit tests: the descriptors of this process, and a stranger's connection. */
#ifndef IO_TEST_FDS_H
#define IO_TEST_FDS_H

#include <dirent.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "io/socket.h"

static inline uint32_t count_fds(void)
{
    DIR *folder = opendir("/proc/self/fd");
    uint32_t n = 0;
    while (readdir(folder) != NULL)
        n++;
    closedir(folder);
    return n;
}

/* Up, without a hello; the caller's to close. */
static inline int connect_raw(const struct address *to)
{
    struct socket_name name;
    int fd;
    assert_int_equal(socket_name_parse(to, &name), 0);
    assert_int_equal(socket_connect_start(&name, &fd), 0);
    assert_int_equal(socket_wait(fd, POLLOUT, clock_now_ns() + 5 * CLOCK_NS_PER_S), 0);
    return fd;
}

#endif
