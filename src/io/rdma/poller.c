/* SPDX-License-Identifier: Apache-2.0 */
/*
 * poller.c - the thread that takes the completions of one device, and its events.
 *
 * It polls while reads are under way and something completed a moment ago; otherwise it sleeps on
 * the completion channel, so an idle node uses no processor, and a peer that hangs none either.
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/thread.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "io/rdma/queue.h"

enum { BATCH = 32 };

static void die(struct rail *rail, const char *reason)
{
    if (atomic_exchange(&rail->is_dead, true))
        return;
    log_event(LOG_LEVEL_ERROR, "rdma_device_failed", "device=%s reason=%s", rail->name,
              log_quoted(reason));
    waiters_tick_all(rail->waiters); /* who waits looks after its queue pairs */
}

/* The number of completions. */
static uint32_t take_completions(struct rail *rail)
{
    struct verbs_completion completions[BATCH];
    uint32_t n = 0;
    int error = rail->verbs->poll(rail->verbs, rail->completions, completions, BATCH, &n);
    if (error) {
        die(rail, "its completion queue cannot be read");
        return 0;
    }
    for (uint32_t i = 0; i < n; i++)
        queue_completed(rail, &completions[i]);
    return n;
}

static void take_event(struct rail *rail, const struct verbs_event *event)
{
    switch (event->kind) {
    case VERBS_EVENT_DEVICE_FAILED: die(rail, "it failed or was removed"); break;
    case VERBS_EVENT_COMPLETIONS_FAILED: die(rail, "its completion queue overran"); break;
    case VERBS_EVENT_PORT_DOWN:
        if (event->port != rail->port)
            break;
        atomic_store(&rail->port_is_down, true);
        log_event(LOG_LEVEL_WARNING, "rdma_port_down", "device=%s port=%u", rail->name,
                  event->port);
        break;
    case VERBS_EVENT_PORT_UP:
        if (event->port != rail->port)
            break;
        atomic_store(&rail->port_is_down, false);
        log_event(LOG_LEVEL_INFO, "rdma_port_up", "device=%s port=%u", rail->name, event->port);
        break;
    default: break; /* a queue pair that fails completes its reads, which tells more */
    }
}

static void take_events(struct rail *rail)
{
    struct verbs_event event;
    while (rail->verbs->next_event(rail->verbs, rail->device, &event) == 0)
        take_event(rail, &event);
}

/* Armed, then looked once more: what completes in between is not slept over. */
static void sleep_until_something(struct rail *rail)
{
    const struct verbs *verbs = rail->verbs;
    struct pollfd fds[] = {
        {.fd = rail->wake_fd, .events = POLLIN},
        {.fd = verbs->event_fd(verbs, rail->device), .events = POLLIN},
        {.fd = verbs->completions_fd(verbs, rail->completions), .events = POLLIN}};
    bool is_dead = atomic_load(&rail->is_dead);
    if (!is_dead && verbs->arm(verbs, rail->completions) != 0)
        die(rail, "its completion queue cannot be armed");
    if (take_completions(rail) > 0)
        return;
    if (poll(fds, is_dead ? 1 : 3, -1) < 0) /* of a dead device only the end is awaited */
        return;
    if (fds[1].revents)
        take_events(rail);
    if (fds[2].revents)
        verbs->woken(verbs, rail->completions);
}

static void *run(void *context)
{
    struct rail *rail = context;
    uint64_t moved_ns = 0;
    while (!atomic_load(&rail->is_stopping)) {
        uint64_t now_ns = clock_now_ns();
        if (take_completions(rail) > 0)
            moved_ns = now_ns;
        else if (atomic_load(&rail->chains_under_way) > 0 && now_ns - moved_ns < rail->spin_ns)
            sched_yield();
        else {
            sleep_until_something(rail);
            moved_ns = clock_now_ns();
        }
    }
    return NULL;
}

int poller_start(struct rail *rail)
{
    rail->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (rail->wake_fd < 0)
        return -errno;
    int error = thread_start(&rail->thread, NULL, "pc-rdma-poll", run, rail);
    rail->has_thread = error == 0;
    return error;
}

void poller_stop(struct rail *rail)
{
    uint64_t one = 1;
    atomic_store(&rail->is_stopping, true);
    if (rail->has_thread) {
        if (write(rail->wake_fd, &one, sizeof one) < 0)
            CHECK(errno == EAGAIN);
        pthread_join(rail->thread, NULL);
        rail->has_thread = false;
    }
    if (rail->wake_fd >= 0)
        close(rail->wake_fd);
    rail->wake_fd = -1;
}
