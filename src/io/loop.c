/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.c - a small epoll loop.
 *
 * One thread runs a loop and owns its watches.  Other threads reach it in two ways only: a counter
 * descriptor (loop_wake) and a stack of posted tasks, pushed with compare-and-swap and taken as a
 * whole by the loop's thread (so no ABA problem, and no lock).
 *
 * A watch that is removed stays allocated until the events that epoll_wait() has returned are
 * handled, because one of them may name it.
 */
#include "io/loop.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"

/* Events of one epoll_wait(): more wait for the next turn. */
enum { EVENTS_MAX = 64 };
/* Timers that run in one turn; late ones run in the next. */
enum { TIMERS_MAX = 1024 };
/* Rounds of tasks that queue tasks, per turn. */
enum { TASK_ROUNDS_MAX = 16 };

struct loop_watch {
    struct loop *loop;
    loop_callback *callback;
    void *context;
    LIST_ENTRY(loop_watch) link;
    int fd;
    bool removed;
};

struct loop {
    int epoll_fd, wake_fd;
    bool has_pwait2;
    LIST_HEAD(, loop_watch) watches; /* all that are not removed */
    LIST_HEAD(, loop_watch) removed; /* freed at the end of the turn */
    LIST_HEAD(, loop_timer) timers;  /* those that are set */
    uint64_t next_timer_ns;          /* none is earlier; UINT64_MAX: none is set */
    struct loop_task *deferred, **deferred_end;
    _Atomic(struct loop_task *) posted;
};

/* --- the turn ------------------------------------------------------------------------------- */

static void task_run(struct loop_task *task)
{
    /* Before it runs: it may queue itself again, or free itself.  What was done before it was
     * queued once more, in vain, is seen by this run: hence no mere store. */
    (void)atomic_exchange(&task->queued, false);
    task->run(task);
}

static void run_posted(struct loop *loop)
{
    struct loop_task *newest_first = atomic_exchange(&loop->posted, NULL), *tasks = NULL;
    while (newest_first != NULL) {
        struct loop_task *task = newest_first;
        newest_first = task->next;
        task->next = tasks;
        tasks = task;
    }
    while (tasks != NULL) {
        struct loop_task *task = tasks;
        tasks = task->next;
        task_run(task);
    }
}

static void run_deferred(struct loop *loop)
{
    struct loop_task *tasks = loop->deferred;
    loop->deferred = NULL;
    loop->deferred_end = &loop->deferred;
    while (tasks != NULL) {
        struct loop_task *task = tasks;
        tasks = task->next;
        task_run(task);
    }
}

static bool has_tasks(struct loop *loop)
{
    return loop->deferred != NULL || atomic_load(&loop->posted) != NULL;
}

static void run_tasks(struct loop *loop)
{
    for (int round = 0; round < TASK_ROUNDS_MAX && has_tasks(loop); round++) {
        run_posted(loop);
        run_deferred(loop);
    }
}

static int wait_events(struct loop *loop, struct epoll_event *events, uint64_t timeout_ns)
{
    int n;
    if (timeout_ns == 0 || timeout_ns == LOOP_FOREVER) {
        n = epoll_wait(loop->epoll_fd, events, EVENTS_MAX, timeout_ns == 0 ? 0 : -1);
        return n < 0 ? -errno : n;
    }
    if (loop->has_pwait2) {
        struct timespec timeout = {.tv_sec = (time_t)(timeout_ns / CLOCK_NS_PER_S),
                                   .tv_nsec = (long)(timeout_ns % CLOCK_NS_PER_S)};
        n = epoll_pwait2(loop->epoll_fd, events, EVENTS_MAX, &timeout, NULL);
        /* EPERM is what some sandboxes answer for calls that they do not know. */
        if (n >= 0 || (errno != ENOSYS && errno != EPERM))
            return n < 0 ? -errno : n;
        loop->has_pwait2 = false;
    }
    uint64_t timeout_ms = timeout_ns / CLOCK_NS_PER_MS + (timeout_ns % CLOCK_NS_PER_MS != 0);
    n = epoll_wait(loop->epoll_fd, events, EVENTS_MAX,
                   timeout_ms < INT_MAX ? (int)timeout_ms : INT_MAX);
    return n < 0 ? -errno : n;
}

static void free_removed(struct loop *loop)
{
    struct loop_watch *watch;
    while ((watch = LIST_FIRST(&loop->removed)) != NULL) {
        LIST_REMOVE(watch, link);
        free(watch);
    }
}

/* A timer that runs may set or end any other, also the next one of the list, so the walk starts
 * again after each.  It ends: a timer set meanwhile is later than @now_ns, or waits for a turn. */
static int run_timers(struct loop *loop)
{
    int n = 0;
    uint64_t now_ns = clock_now_ns();
    if (now_ns < loop->next_timer_ns)
        return 0;
again:
    loop->next_timer_ns = UINT64_MAX;
    struct loop_timer *timer;
    LIST_FOREACH (timer, &loop->timers, link) {
        if (timer->at_ns <= now_ns && n < TIMERS_MAX) {
            loop_set_timer(loop, timer, 0);
            timer->run(timer);
            n++;
            goto again;
        }
        if (timer->at_ns < loop->next_timer_ns)
            loop->next_timer_ns = timer->at_ns;
    }
    return n;
}

static uint64_t time_to_wait(struct loop *loop, uint64_t timeout_ns)
{
    if (has_tasks(loop))
        return 0;
    if (timeout_ns == 0 || loop->next_timer_ns == UINT64_MAX)
        return timeout_ns;
    uint64_t now_ns = clock_now_ns();
    uint64_t left_ns = loop->next_timer_ns > now_ns ? loop->next_timer_ns - now_ns : 0;
    return left_ns < timeout_ns ? left_ns : timeout_ns;
}

static void wake_drain(struct loop *loop)
{
    uint64_t count;
    while (read(loop->wake_fd, &count, sizeof count) < 0 && errno == EINTR)
        ;
}

int loop_run_once(struct loop *loop, uint64_t timeout_ns)
{
    struct epoll_event events[EVENTS_MAX];
    run_tasks(loop);
    int n_callbacks = 0, n = wait_events(loop, events, time_to_wait(loop, timeout_ns));
    if (n < 0 && n != -EINTR)
        return n;
    for (int i = 0; i < n; i++) {
        struct loop_watch *watch = events[i].data.ptr;
        if (watch == NULL) {
            wake_drain(loop);
        } else if (!watch->removed) {
            watch->callback(watch->context, events[i].events);
            n_callbacks++;
        }
    }
    n_callbacks += run_timers(loop);
    run_tasks(loop);
    free_removed(loop);
    return n_callbacks;
}

/* --- watches -------------------------------------------------------------------------------- */

int loop_add(struct loop *loop, int fd, uint32_t events, loop_callback *callback, void *context,
             struct loop_watch **ret_watch)
{
    struct loop_watch *watch = calloc(1, sizeof *watch);
    if (watch == NULL)
        return -ENOMEM;
    *watch = (struct loop_watch){.loop = loop, .fd = fd, .callback = callback, .context = context};
    struct epoll_event event = {.events = events, .data.ptr = watch};
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
        int error = -errno;
        free(watch);
        return error;
    }
    LIST_INSERT_HEAD(&loop->watches, watch, link);
    *ret_watch = watch;
    return 0;
}

int loop_modify(struct loop_watch *watch, uint32_t events)
{
    CHECK(!watch->removed);
    struct epoll_event event = {.events = events, .data.ptr = watch};
    return epoll_ctl(watch->loop->epoll_fd, EPOLL_CTL_MOD, watch->fd, &event) < 0 ? -errno : 0;
}

void loop_remove(struct loop_watch *watch)
{
    if (watch == NULL)
        return;
    CHECK(!watch->removed);
    struct loop *loop = watch->loop;
    (void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
    LIST_REMOVE(watch, link);
    watch->removed = true;
    LIST_INSERT_HEAD(&loop->removed, watch, link);
}

void loop_set_timer(struct loop *loop, struct loop_timer *timer, uint64_t at_ns)
{
    if (timer->at_ns != 0)
        LIST_REMOVE(timer, link);
    timer->at_ns = at_ns;
    if (at_ns == 0)
        return;
    LIST_INSERT_HEAD(&loop->timers, timer, link);
    if (at_ns < loop->next_timer_ns)
        loop->next_timer_ns = at_ns;
}

/* --- tasks and wake-ups --------------------------------------------------------------------- */

void loop_defer(struct loop *loop, struct loop_task *task)
{
    if (atomic_exchange(&task->queued, true))
        return;
    task->next = NULL;
    *loop->deferred_end = task;
    loop->deferred_end = &task->next;
}

void loop_post(struct loop *loop, struct loop_task *task)
{
    if (atomic_exchange(&task->queued, true))
        return;
    task->next = atomic_load(&loop->posted);
    while (!atomic_compare_exchange_weak(&loop->posted, &task->next, task))
        ;
    /* Once it is in the stack, the task belongs to the loop's thread: nothing of it is touched. */
    loop_wake(loop);
}

void loop_wake(struct loop *loop)
{
    uint64_t one = 1;
    int saved_errno = errno;
    /* EAGAIN: the counter is full, so the loop is about to wake up anyway. */
    while (write(loop->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
    errno = saved_errno;
}

int loop_new(struct loop **ret_loop)
{
    struct loop *loop = calloc(1, sizeof *loop);
    if (loop == NULL)
        return -ENOMEM;
    *loop = (struct loop){.epoll_fd = epoll_create1(EPOLL_CLOEXEC),
                          .wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                          .has_pwait2 = true,
                          .next_timer_ns = UINT64_MAX};
    loop->deferred_end = &loop->deferred;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (loop->epoll_fd < 0 || loop->wake_fd < 0 ||
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->wake_fd, &event) < 0) {
        int error = -errno;
        loop_free(loop);
        return error;
    }
    *ret_loop = loop;
    return 0;
}

void loop_free(struct loop *loop)
{
    if (loop == NULL)
        return;
    run_tasks(loop);
    CHECK(LIST_EMPTY(&loop->watches) && LIST_EMPTY(&loop->timers));
    free_removed(loop);
    if (loop->epoll_fd >= 0)
        close(loop->epoll_fd);
    if (loop->wake_fd >= 0)
        close(loop->wake_fd);
    free(loop);
}
