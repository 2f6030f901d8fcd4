/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resolve.c - host names to addresses on short-lived, abandonable threads.
 *
 * A request belongs to two: the asker and the thread; the last of them frees it.  The mutex is held
 * for a few instructions only, never over getaddrinfo().  A message would not do in its place: the
 * thread must know, while it posts to the loop, that the loop is still there, and only a lock that
 * the canceller takes as well can promise that.
 */
#include "io/resolve.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

/* getaddrinfo() uses large buffers on the stack. */
enum { THREAD_STACK_BYTES = 256 * 1024 };

struct resolve {
    struct loop_task task; /* runs the callback */
    pthread_mutex_t mutex;
    pthread_cond_t done;
    struct address address;
    struct loop *loop;          /* NULL: somebody waits, or nobody is interested any more */
    resolve_callback *callback; /* NULL: cancelled */
    void *context;
    int error; /* -EINPROGRESS until the thread is done */
    int owners;
    struct socket_name name;
};

static _Atomic int threads_now;

static void resolve_free(struct resolve *resolve)
{
    pthread_cond_destroy(&resolve->done);
    pthread_mutex_destroy(&resolve->mutex);
    free(resolve);
}

/* Called with the mutex held, which it lets go. */
static void drop_and_unlock(struct resolve *resolve)
{
    int left = --resolve->owners;
    pthread_mutex_unlock(&resolve->mutex);
    if (left == 0)
        resolve_free(resolve);
}

static int look_up(const struct address *address, struct socket_name *ret_name)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    char port[8];
    snprintf(port, sizeof port, "%u", address->port);
    int error = getaddrinfo(address->host, port, &hints, &found);
    if (error == EAI_MEMORY)
        return -ENOMEM;
    if (error != 0)
        return -EHOSTUNREACH;
    memset(ret_name, 0, sizeof *ret_name);
    memcpy(&ret_name->storage, found->ai_addr, found->ai_addrlen);
    ret_name->len = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

static void *thread_main(void *argument)
{
    struct resolve *resolve = argument;
    struct socket_name name;
    int error = look_up(&resolve->address, &name);
    atomic_fetch_sub(&threads_now, 1);
    pthread_mutex_lock(&resolve->mutex);
    resolve->error = error;
    if (error == 0)
        resolve->name = name;
    pthread_cond_signal(&resolve->done);
    /* On a loop the asker's share is dropped by the task, which runs after this. */
    if (resolve->loop != NULL)
        loop_post(resolve->loop, &resolve->task);
    drop_and_unlock(resolve);
    return NULL;
}

/* Signals are the host program's, none is to be taken by a thread that it does not know. */
static int thread_start(struct resolve *resolve)
{
    pthread_t thread;
    pthread_attr_t attributes;
    sigset_t all, before;
    if (atomic_fetch_add(&threads_now, 1) >= RESOLVE_THREADS_MAX) {
        atomic_fetch_sub(&threads_now, 1);
        return -EAGAIN;
    }
    sigfillset(&all);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&thread, &attributes, thread_main, resolve);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (error != 0)
        atomic_fetch_sub(&threads_now, 1);
    return -error;
}

static struct resolve *resolve_alloc(const struct address *address)
{
    struct resolve *resolve = calloc(1, sizeof *resolve);
    if (resolve == NULL)
        return NULL;
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&resolve->done, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&resolve->mutex, NULL);
    resolve->address = *address;
    resolve->error = -EINPROGRESS;
    resolve->owners = 2;
    return resolve;
}

/* --- with a deadline ------------------------------------------------------------------------ */

int resolve_wait(const struct address *address, uint64_t deadline_ns, struct socket_name *ret_name)
{
    if (socket_name_parse(address, ret_name) == 0)
        return 0;
    if (deadline_ns <= clock_now_ns())
        return -ETIMEDOUT;
    struct resolve *resolve = resolve_alloc(address);
    if (resolve == NULL)
        return -ENOMEM;
    int error = thread_start(resolve);
    if (error < 0) {
        resolve_free(resolve);
        return error;
    }
    struct timespec until = {.tv_sec = (time_t)(deadline_ns / CLOCK_NS_PER_S),
                             .tv_nsec = (long)(deadline_ns % CLOCK_NS_PER_S)};
    pthread_mutex_lock(&resolve->mutex);
    int late = 0;
    while (resolve->error == -EINPROGRESS && late == 0)
        late = pthread_cond_timedwait(&resolve->done, &resolve->mutex, &until);
    error = resolve->error == -EINPROGRESS ? -ETIMEDOUT : resolve->error;
    if (error == 0)
        *ret_name = resolve->name;
    drop_and_unlock(resolve);
    return error;
}

/* --- on a loop ------------------------------------------------------------------------------ */

/* The thread posts with the mutex held: it is taken here so that the thread is through with the
 * request, or at least with all but its own share of it. */
static void task_run(struct loop_task *task)
{
    struct resolve *resolve = (struct resolve *)((char *)task - offsetof(struct resolve, task));
    pthread_mutex_lock(&resolve->mutex);
    resolve_callback *callback = resolve->callback;
    void *context = resolve->context;
    int error = resolve->error;
    struct socket_name name = resolve->name;
    drop_and_unlock(resolve);
    if (callback != NULL)
        callback(context, error, error == 0 ? &name : NULL);
}

int resolve_start(struct loop *loop, const struct address *address, resolve_callback *callback,
                  void *context, struct resolve **ret_resolve)
{
    struct resolve *resolve = resolve_alloc(address);
    if (resolve == NULL)
        return -ENOMEM;
    resolve->task.run = task_run;
    resolve->loop = loop;
    resolve->callback = callback;
    resolve->context = context;
    if (socket_name_parse(address, &resolve->name) == 0) {
        resolve->error = 0;
        resolve->owners = 1;
        loop_defer(loop, &resolve->task);
        *ret_resolve = resolve;
        return 0;
    }
    int error = thread_start(resolve);
    if (error < 0) {
        resolve_free(resolve);
        return error;
    }
    *ret_resolve = resolve;
    return 0;
}

void resolve_cancel(struct resolve *resolve)
{
    if (resolve == NULL)
        return;
    pthread_mutex_lock(&resolve->mutex);
    resolve->callback = NULL;
    if (resolve->error != -EINPROGRESS) {
        /* The task is queued, and drops our share. */
        pthread_mutex_unlock(&resolve->mutex);
        return;
    }
    resolve->loop = NULL;
    drop_and_unlock(resolve);
}
