/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forked.c - closes descriptors in a forked child.
 *
 * A table of the process, since fork() is one: places are taken and given back with one atomic
 * exchange, because the child sees the table as it is in the midst of other threads' calls.
 */
#include "io/forked.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

enum { FREE = 0 }; /* else the descriptor, plus one */

static _Atomic(int) places[FORKED_DESCRIPTORS_MAX];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void in_child(void)
{
    for (int i = 0; i < FORKED_DESCRIPTORS_MAX; i++) {
        int fd = atomic_exchange(&places[i], FREE) - 1;
        if (fd >= 0)
            close(fd);
    }
}

static void watch_forks(void)
{
    (void)pthread_atfork(NULL, NULL, in_child);
}

static void replace_one(int from, int to)
{
    for (int i = 0; i < FORKED_DESCRIPTORS_MAX; i++) {
        int expected = from;
        if (atomic_compare_exchange_strong(&places[i], &expected, to))
            return;
    }
}

void forked_gives_back(int fd)
{
    pthread_once(&once, watch_forks);
    replace_one(FREE, fd + 1);
}

void forked_forget(int fd)
{
    if (fd >= 0)
        replace_one(fd + 1, FREE);
}
