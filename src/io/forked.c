/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forked.c - closes descriptors in a forked child.
 *
 * A bit a descriptor, of the whole process, since fork() is one: the child sees the table as it is
 * in the midst of other threads' calls.  A bit is taken away before its descriptor is closed, so
 * none ever means a descriptor of somebody else.
 */
#include "io/forked.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

enum { WORD_BITS = sizeof(unsigned long) * CHAR_BIT };

static _Atomic(unsigned long) words[FORKED_DESCRIPTORS_MAX / WORD_BITS];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void in_child(void)
{
    for (int i = 0; i < FORKED_DESCRIPTORS_MAX / WORD_BITS; i++) {
        unsigned long word = atomic_exchange(&words[i], 0);
        for (; word != 0; word &= word - 1)
            close(i * WORD_BITS + __builtin_ctzl(word));
    }
}

static void watch_forks(void)
{
    (void)pthread_atfork(NULL, NULL, in_child);
}

void forked_gives_back(int fd)
{
    pthread_once(&once, watch_forks);
    if (fd >= 0 && fd < FORKED_DESCRIPTORS_MAX)
        atomic_fetch_or(&words[fd / WORD_BITS], 1ul << fd % WORD_BITS);
}

void forked_close(int fd)
{
    if (fd >= 0 && fd < FORKED_DESCRIPTORS_MAX)
        atomic_fetch_and(&words[fd / WORD_BITS], ~(1ul << fd % WORD_BITS));
    close(fd);
}
