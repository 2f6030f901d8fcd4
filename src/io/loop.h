/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.h - a small epoll loop: descriptors, timers, tasks.  One thread runs it and owns all that
 * hangs on it; only loop_wake() and loop_post() may be called from other threads.
 */
#ifndef IO_LOOP_H
#define IO_LOOP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct loop;
struct loop_watch;

/* @events: EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP ... */
typedef void loop_callback(void *context, uint32_t events);

/* Embedded in what it is for.  In one loop at a time, and queued once however often it is asked. */
struct loop_task {
    void (*run)(struct loop_task *task);
    struct loop_task *next;
    atomic_bool queued;
};

/* Embedded in what it is for; zeroed but for run at first. */
struct loop_timer {
    void (*run)(struct loop_timer *timer);
    uint64_t at_ns;              /* 0: not set */
    LIST_ENTRY(loop_timer) link; /* among those that are set */
};

int loop_new(struct loop **ret_loop);
/* Runs the tasks that are still queued (what they free is freed).  Watches and timers must be gone;
 * NULL is allowed. */
void loop_free(struct loop *loop);

/* The descriptor stays the caller's, who removes the watch before closing it. */
int loop_add(struct loop *loop, int fd, uint32_t events, loop_callback *callback, void *context,
             struct loop_watch **ret_watch);
int loop_modify(struct loop_watch *watch, uint32_t events);
/* Also inside any callback: the callback of a removed watch is not called again.  NULL is
 * allowed. */
void loop_remove(struct loop_watch *watch);

/* Runs the timer once when clock_now_ns() reaches @at_ns; 0: not any more. */
void loop_set_timer(struct loop *loop, struct loop_timer *timer, uint64_t at_ns);

/* The loop's thread: runs the task before the loop waits next. */
void loop_defer(struct loop *loop, struct loop_task *task);
/* Any thread: runs the task on the loop's thread, soon. */
void loop_post(struct loop *loop, struct loop_task *task);
/* Any thread, also a signal handler: the present or next loop_run_once() returns. */
void loop_wake(struct loop *loop);

#define LOOP_FOREVER UINT64_MAX
/* Runs tasks, waits for at most @timeout_ns, runs callbacks.  The number of callbacks run (0: the
 * time is up, or loop_wake()), or a negative errno. */
int loop_run_once(struct loop *loop, uint64_t timeout_ns);

#endif
