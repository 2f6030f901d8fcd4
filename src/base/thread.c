/* SPDX-License-Identifier: Apache-2.0 */
/* thread.c - a new thread has the mask of the one that makes it. */
#include "base/thread.h"

#include <signal.h>
#include <time.h>

int thread_start(pthread_t *ret_thread, const pthread_attr_t *attributes, const char *name,
                 void *(*run)(void *), void *context)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(ret_thread, attributes, run, context);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    /* A detached thread may have ended by now, and its number is no one's any more. */
    int state = PTHREAD_CREATE_JOINABLE;
    if (attributes)
        pthread_attr_getdetachstate(attributes, &state);
    if (!error && state == PTHREAD_CREATE_JOINABLE)
        pthread_setname_np(*ret_thread, name);
    return -error;
}

void thread_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
}
