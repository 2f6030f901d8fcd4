/* SPDX-License-Identifier: Apache-2.0 */
/*
 * live.c - one lock, and who moves the clock.
 *
 * Polling an empty completion queue lets a few things happen.  Who arms one goes to sleep, and then
 * nobody polls: so the clock runs on, there or in the next call that posts, until a completion has
 * made the descriptor of an armed queue readable, or nothing is left to happen.
 */
#include "live.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"

enum { STEPS_A_POLL = 64, STEPS_A_LOOK = 16, ARMED_MAX = 64 };

struct live {
    struct verbs verbs; /* first: a call finds it behind its table */
    const struct verbs *inner;
    struct model *model;
    pthread_mutex_t mutex;
    bool is_frozen;
    _Atomic(uint32_t) held_rights;
    uint32_t memories_until_refusal;          /* 0: none is refused */
    _Atomic(uint32_t) fast_connects, slow_ms; /* so many more are fast; 0 ms: all are */
    void (*on_post)(struct verbs_read *reads, uint32_t n);
    uint32_t n_armed;
    const struct verbs_completions *armed[ARMED_MAX];
};

static struct live *enter(const struct verbs *verbs)
{
    struct live *live = (struct live *)(uintptr_t)verbs;
    pthread_mutex_lock(&live->mutex);
    return live;
}

static void leave(struct live *live)
{
    pthread_mutex_unlock(&live->mutex);
}

/* --- the clock -------------------------------------------------------------------------------- */

static void disarm(struct live *live, const struct verbs_completions *completions)
{
    for (uint32_t i = live->n_armed; i-- > 0;)
        if (live->armed[i] == completions)
            live->armed[i] = live->armed[--live->n_armed];
}

static void drop_woken(struct live *live)
{
    for (uint32_t i = live->n_armed; i-- > 0;) {
        struct pollfd fd = {.fd = live->inner->completions_fd(live->inner, live->armed[i]),
                            .events = POLLIN};
        if (poll(&fd, 1, 0) > 0)
            live->armed[i] = live->armed[--live->n_armed];
    }
}

static bool run(struct live *live, int steps)
{
    bool has_moved = !live->is_frozen;
    while (has_moved && steps-- > 0)
        has_moved = model_step(live->model);
    return has_moved;
}

static void wake(struct live *live)
{
    drop_woken(live);
    while (live->n_armed > 0 && run(live, STEPS_A_LOOK))
        drop_woken(live);
    drop_woken(live);
}

/* --- calls that move it ----------------------------------------------------------------------- */

static int live_poll(const struct verbs *verbs, struct verbs_completions *completions,
                     struct verbs_completion *ret_completions, uint32_t most, uint32_t *ret_n)
{
    struct live *live = enter(verbs);
    int error = live->inner->poll(live->inner, completions, ret_completions, most, ret_n);
    if (!error && *ret_n == 0) {
        run(live, STEPS_A_POLL);
        error = live->inner->poll(live->inner, completions, ret_completions, most, ret_n);
    }
    leave(live);
    return error;
}

static int live_arm(const struct verbs *verbs, struct verbs_completions *completions)
{
    struct live *live = enter(verbs);
    int error = live->inner->arm(live->inner, completions);
    CHECK(live->n_armed < ARMED_MAX);
    disarm(live, completions);
    live->armed[live->n_armed++] = completions;
    wake(live);
    leave(live);
    return error;
}

static int live_post(const struct verbs *verbs, struct verbs_queue *queue,
                     const struct verbs_read *reads, uint32_t n, uint32_t *ret_posted)
{
    struct live *live = enter(verbs);
    struct verbs_read own[MODEL_DEPTH_MAX];
    CHECK(n <= MODEL_DEPTH_MAX);
    memcpy(own, reads, n * sizeof *own);
    if (live->on_post)
        live->on_post(own, n);
    int error = live->inner->post(live->inner, queue, own, n, ret_posted);
    wake(live);
    leave(live);
    return error;
}

static void live_completions_destroy(const struct verbs *verbs,
                                     struct verbs_completions *completions)
{
    struct live *live = enter(verbs);
    disarm(live, completions);
    live->inner->completions_destroy(live->inner, completions);
    leave(live);
}

static int live_memory_register(const struct verbs *verbs, struct verbs_device *device, void *addr,
                                uint64_t len_bytes, uint32_t rights,
                                struct verbs_memory **ret_memory, struct verbs_keys *ret_keys)
{
    static const struct timespec pause = {.tv_nsec = 1000000};
    while (atomic_load(&((struct live *)(uintptr_t)verbs)->held_rights) & rights)
        nanosleep(&pause, NULL);
    struct live *live = enter(verbs);
    int error = -ENOMEM;
    if (live->memories_until_refusal != 1)
        error = live->inner->memory_register(live->inner, device, addr, len_bytes, rights,
                                             ret_memory, ret_keys);
    if (live->memories_until_refusal > 0)
        live->memories_until_refusal--;
    leave(live);
    return error;
}

/* --- calls that only need the lock ------------------------------------------------------------ */

/* declaration's names, arguments' names */
#define LOCKED(type, name, parameters, arguments)                                                  \
    static type live_##name parameters                                                             \
    {                                                                                              \
        struct live *live = enter(verbs);                                                          \
        verbs = live->inner;                                                                       \
        type result = verbs->name arguments;                                                       \
        leave(live);                                                                               \
        return result;                                                                             \
    }

/* clang-format off */
LOCKED(int, prepare_fork, (const struct verbs *verbs), (verbs))
LOCKED(int, list, (const struct verbs *verbs, char (*ret_names)[VERBS_NAME_BYTES], uint32_t *ret_n),
       (verbs, ret_names, ret_n))
LOCKED(int, open, (const struct verbs *verbs, const char *name, struct verbs_device **ret_device),
       (verbs, name, ret_device))
LOCKED(int, query_device, (const struct verbs *verbs, struct verbs_device *device,
       struct verbs_device_info *ret_info), (verbs, device, ret_info))
LOCKED(int, query_port, (const struct verbs *verbs, struct verbs_device *device, uint32_t port,
       struct verbs_port_info *ret_info), (verbs, device, port, ret_info))
LOCKED(int, query_gids, (const struct verbs *verbs, struct verbs_device *device,
       struct verbs_gid *ret_gids, uint32_t *ret_n), (verbs, device, ret_gids, ret_n))
LOCKED(int, event_fd, (const struct verbs *verbs, const struct verbs_device *device),
       (verbs, device))
LOCKED(int, next_event, (const struct verbs *verbs, struct verbs_device *device,
       struct verbs_event *ret_event), (verbs, device, ret_event))
LOCKED(int, memory_deregister, (const struct verbs *verbs, struct verbs_memory *memory),
       (verbs, memory))
LOCKED(int, completions_create, (const struct verbs *verbs, struct verbs_device *device,
       uint32_t depth, struct verbs_completions **ret_completions),
       (verbs, device, depth, ret_completions))
LOCKED(int, completions_fd, (const struct verbs *verbs, const struct verbs_completions *completions),
       (verbs, completions))
LOCKED(int, queue_create, (const struct verbs *verbs, struct verbs_device *device,
       const struct verbs_queue_request *request, struct verbs_queue **ret_queue,
       struct verbs_queue_made *ret_made), (verbs, device, request, ret_queue, ret_made))
LOCKED(int, queue_destroy, (const struct verbs *verbs, struct verbs_queue *queue), (verbs, queue))
/* clang-format on */

static int live_queue_connect(const struct verbs *verbs, struct verbs_queue *queue,
                              const struct verbs_path *path)
{
    struct live *live = enter(verbs);
    uint32_t slow_ms = live->fast_connects > 0 ? 0 : live->slow_ms;
    live->fast_connects -= live->fast_connects > 0;
    int error = slow_ms ? -ETIMEDOUT : live->inner->queue_connect(live->inner, queue, path);
    leave(live);
    poll(NULL, 0, (int)slow_ms);
    return error;
}

static void live_close(const struct verbs *verbs, struct verbs_device *device)
{
    struct live *live = enter(verbs);
    live->inner->close(live->inner, device);
    leave(live);
}

static void live_woken(const struct verbs *verbs, struct verbs_completions *completions)
{
    struct live *live = enter(verbs);
    live->inner->woken(live->inner, completions);
    leave(live);
}

/* --- making it -------------------------------------------------------------------------------- */

static const struct verbs calls = {
    .prepare_fork = live_prepare_fork,
    .list = live_list,
    .open = live_open,
    .close = live_close,
    .query_device = live_query_device,
    .query_port = live_query_port,
    .query_gids = live_query_gids,
    .event_fd = live_event_fd,
    .next_event = live_next_event,
    .memory_register = live_memory_register,
    .memory_deregister = live_memory_deregister,
    .completions_create = live_completions_create,
    .completions_destroy = live_completions_destroy,
    .poll = live_poll,
    .arm = live_arm,
    .completions_fd = live_completions_fd,
    .woken = live_woken,
    .queue_create = live_queue_create,
    .queue_connect = live_queue_connect,
    .queue_destroy = live_queue_destroy,
    .post = live_post,
};

struct live *live_new(struct model *model)
{
    struct live *live = calloc(1, sizeof *live);
    CHECK(live);
    live->model = model;
    live->inner = model_verbs(model);
    live->verbs = calls;
    live->verbs.version = live->inner->version;
    pthread_mutex_init(&live->mutex, NULL);
    return live;
}

void live_free(struct live *live)
{
    pthread_mutex_destroy(&live->mutex);
    free(live);
}

const struct verbs *live_verbs(struct live *live)
{
    return &live->verbs;
}

void live_lock(struct live *live)
{
    enter(&live->verbs);
}

void live_unlock(struct live *live)
{
    wake(live);
    leave(live);
}

void live_freeze(struct live *live, bool is_frozen)
{
    live_lock(live);
    live->is_frozen = is_frozen;
    live_unlock(live);
}

void live_hold_memory(struct live *live, uint32_t rights)
{
    atomic_store(&live->held_rights, rights);
}

void live_refuse_memory(struct live *live, uint32_t after)
{
    live_lock(live);
    live->memories_until_refusal = after + 1;
    live_unlock(live);
}

void live_slow_connects(struct live *live, uint32_t after, uint32_t ms)
{
    live_lock(live);
    live->fast_connects = after;
    live->slow_ms = ms;
    live_unlock(live);
}

void live_on_post(struct live *live, void (*callback)(struct verbs_read *reads, uint32_t n))
{
    live_lock(live);
    live->on_post = callback;
    live_unlock(live);
}
