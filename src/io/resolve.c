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
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/thread.h"

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
    uint32_t turn, n_names;
    struct socket_name names[RESOLVE_NAMES_MAX];
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

/* An address may be said twice, for instance by two lines of /etc/hosts. */
static bool is_among(const struct socket_name *names, uint32_t n, const struct addrinfo *found)
{
    for (uint32_t i = 0; i < n; i++)
        if (names[i].len == found->ai_addrlen &&
            memcmp(&names[i].storage, found->ai_addr, found->ai_addrlen) == 0)
            return true;
    return false;
}

static int look_up(const struct address *address, struct socket_name ret_names[RESOLVE_NAMES_MAX],
                   uint32_t *ret_n)
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
    *ret_n = 0;
    memset(ret_names, 0, RESOLVE_NAMES_MAX * sizeof *ret_names);
    for (const struct addrinfo *at = found; at && *ret_n < RESOLVE_NAMES_MAX; at = at->ai_next) {
        if (is_among(ret_names, *ret_n, at))
            continue;
        memcpy(&ret_names[*ret_n].storage, at->ai_addr, at->ai_addrlen);
        ret_names[(*ret_n)++].len = at->ai_addrlen;
    }
    freeaddrinfo(found);
    return 0;
}

static void *thread_main(void *argument)
{
    struct resolve *resolve = argument;
    struct socket_name names[RESOLVE_NAMES_MAX];
    uint32_t n_names;
    int error = look_up(&resolve->address, names, &n_names);
    atomic_fetch_sub(&threads_now, 1);
    pthread_mutex_lock(&resolve->mutex);
    resolve->error = error;
    if (error == 0) {
        memcpy(resolve->names, names, n_names * sizeof *names);
        resolve->n_names = n_names;
    }
    pthread_cond_signal(&resolve->done);
    /* On a loop the asker's share is dropped by the task, which runs after this. */
    if (resolve->loop != NULL)
        loop_post(resolve->loop, &resolve->task);
    drop_and_unlock(resolve);
    return NULL;
}

/* The thread ends by itself, however long the resolver takes. */
static int begin(struct resolve *resolve)
{
    pthread_t thread;
    pthread_attr_t attributes;
    if (atomic_fetch_add(&threads_now, 1) >= RESOLVE_THREADS_MAX) {
        atomic_fetch_sub(&threads_now, 1);
        return -EAGAIN;
    }
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES);
    int error = thread_start(&thread, &attributes, "pc-resolve", thread_main, resolve);
    pthread_attr_destroy(&attributes);
    if (error != 0)
        atomic_fetch_sub(&threads_now, 1);
    return error;
}

static struct resolve *resolve_alloc(const struct address *address)
{
    struct resolve *resolve = calloc(1, sizeof *resolve);
    if (resolve == NULL)
        return NULL;
    thread_cond_init(&resolve->done);
    pthread_mutex_init(&resolve->mutex, NULL);
    resolve->address = *address;
    resolve->error = -EINPROGRESS;
    resolve->owners = 2;
    return resolve;
}

/* --- with a deadline ------------------------------------------------------------------------ */

int resolve_wait(const struct address *address, uint64_t deadline_ns, struct socket_name *ret_name)
{
    struct socket_name names[RESOLVE_NAMES_MAX];
    uint32_t n;
    int error = resolve_wait_all(address, deadline_ns, names, &n);
    if (error == 0)
        *ret_name = names[0];
    return error;
}

int resolve_wait_all(const struct address *address, uint64_t deadline_ns,
                     struct socket_name ret_names[RESOLVE_NAMES_MAX], uint32_t *ret_n)
{
    *ret_n = 1;
    if (socket_name_parse(address, &ret_names[0]) == 0)
        return 0;
    if (deadline_ns <= clock_now_ns())
        return -ETIMEDOUT;
    struct resolve *resolve = resolve_alloc(address);
    if (resolve == NULL)
        return -ENOMEM;
    int error = begin(resolve);
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
    if (error == 0) {
        memcpy(ret_names, resolve->names, resolve->n_names * sizeof *ret_names);
        *ret_n = resolve->n_names;
    }
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
    struct socket_name name = {0};
    if (error == 0)
        name = resolve->names[resolve->turn % resolve->n_names];
    drop_and_unlock(resolve);
    if (callback != NULL)
        callback(context, error, error == 0 ? &name : NULL);
}

int resolve_start(struct loop *loop, const struct address *address, uint32_t turn,
                  resolve_callback *callback, void *context, struct resolve **ret_resolve)
{
    struct resolve *resolve = resolve_alloc(address);
    if (resolve == NULL)
        return -ENOMEM;
    resolve->task.run = task_run;
    resolve->loop = loop;
    resolve->callback = callback;
    resolve->context = context;
    resolve->turn = turn;
    if (socket_name_parse(address, &resolve->names[0]) == 0) {
        resolve->n_names = 1;
        resolve->error = 0;
        resolve->owners = 1;
        loop_defer(loop, &resolve->task);
        *ret_resolve = resolve;
        return 0;
    }
    int error = begin(resolve);
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
