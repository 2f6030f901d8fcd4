/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.c - ranges of memory and their registrations.
 *
 * The mutex guards the table of ranges and the counts of those who use them: regions come and go in
 * any thread, and a message would have to be waited for anyway, since the caller wants to unmap.
 * It is held for a walk over the table, never while anything is registered.  A slice's keys are
 * written by the thread that registers it, before its flag, and not changed until nobody uses the
 * range.
 */
#include "io/rdma/memory.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "io/rdma/memlock.h"

struct memory_slice {
    struct verbs_memory *registered;
    struct verbs_keys keys;
    atomic_bool is_ready;
};

struct memory_range {
    uint8_t *addr;
    uint64_t len_bytes;
    uint32_t rights, n_slices, n_rails, users;
    bool is_ending; /* nobody borrows it any more */
    /* While it is being registered. */
    struct memory *memory;
    const char *what;
    _Atomic(uint32_t) next_job;
    _Atomic(int) error;
    uint64_t tell_at_ns;
    struct memory_slice slices[]; /* slice 0 on all rails, slice 1 on all rails, ... */
};

struct memory {
    const struct verbs *verbs;
    uint32_t n_rails;
    struct verbs_device *devices[MEMORY_RAILS_MAX];
    pthread_mutex_t mutex;
    pthread_cond_t returned;
    atomic_bool is_over; /* nothing is to be registered any more */
    uint32_t n_ranges;
    struct memory_range *ranges[MEMORY_RANGES_MAX];
};

int memory_new(const struct verbs *verbs, struct verbs_device *const *devices, uint32_t n_rails,
               struct memory **ret_memory)
{
    CHECK(n_rails > 0 && n_rails <= MEMORY_RAILS_MAX);
    struct memory *memory = calloc(1, sizeof *memory);
    if (!memory)
        return -ENOMEM;
    memory->verbs = verbs;
    memory->n_rails = n_rails;
    memcpy(memory->devices, devices, n_rails * sizeof(struct verbs_device *));
    pthread_mutex_init(&memory->mutex, NULL);
    pthread_cond_init(&memory->returned, NULL);
    *ret_memory = memory;
    return 0;
}

void memory_free(struct memory *memory)
{
    if (!memory)
        return;
    CHECK(memory->n_ranges == 0);
    pthread_cond_destroy(&memory->returned);
    pthread_mutex_destroy(&memory->mutex);
    free(memory);
}

/* --- registering ------------------------------------------------------------------------------ */

static uint64_t slice_bytes(const struct memory_range *range, uint32_t slice)
{
    uint64_t rest_bytes = range->len_bytes - slice * CHAIN_SLICE_BYTES;
    return rest_bytes < CHAIN_SLICE_BYTES ? rest_bytes : CHAIN_SLICE_BYTES;
}

static void register_slice(struct memory_range *range, uint32_t job)
{
    struct memory *memory = range->memory;
    struct memory_slice *slice = &range->slices[job];
    uint32_t index = job / range->n_rails;
    int error = memory->verbs->memory_register(memory->verbs, memory->devices[job % range->n_rails],
                                               range->addr + index * CHAIN_SLICE_BYTES,
                                               slice_bytes(range, index), range->rights,
                                               &slice->registered, &slice->keys);
    if (error)
        atomic_store(&range->error, error);
    else
        atomic_store_explicit(&slice->is_ready, true, memory_order_release);
}

static uint32_t count_jobs(const struct memory_range *range)
{
    return range->n_slices * range->n_rails;
}

/* False: none is left, or all of it is given up. */
static bool take_job(struct memory_range *range, uint32_t *ret_job)
{
    *ret_job = atomic_fetch_add(&range->next_job, 1);
    if (*ret_job >= count_jobs(range))
        return false;
    if (atomic_load(&range->memory->is_over))
        atomic_store(&range->error, -ECANCELED);
    return atomic_load(&range->error) == 0;
}

static void *register_slices(void *context)
{
    struct memory_range *range = context;
    for (uint32_t job; take_job(range, &job);)
        register_slice(range, job);
    return NULL;
}

static void tell_progress(struct memory_range *range)
{
    uint64_t now_ns = clock_now_ns();
    uint32_t n_jobs = count_jobs(range), n = 0;
    if (now_ns < range->tell_at_ns)
        return;
    range->tell_at_ns = now_ns + MEMORY_TELL_NS;
    for (uint32_t job = 0; job < n_jobs; job++)
        n += atomic_load(&range->slices[job].is_ready);
    log_event(LOG_LEVEL_INFO, "rdma_registering", "what=%s done_percent=%u bytes=%llu",
              log_quoted(range->what), n * 100 / n_jobs, (unsigned long long)range->len_bytes);
}

/* The caller works too; threads that cannot be started are not missed. */
static void register_all(struct memory_range *range)
{
    pthread_t threads[MEMORY_THREADS_MAX];
    uint32_t n_jobs = count_jobs(range), n = 0;
    range->tell_at_ns = clock_now_ns() + MEMORY_TELL_NS;
    while (n + 1 < n_jobs && n + 1 < MEMORY_THREADS_MAX &&
           thread_start(&threads[n], NULL, "pc-register", register_slices, range) == 0)
        n++;
    for (uint32_t job; take_job(range, &job);) {
        register_slice(range, job);
        tell_progress(range);
    }
    while (n > 0)
        pthread_join(threads[--n], NULL);
}

static void describe(const struct memory *memory, const struct memory_range *range, int error,
                     char *ret_text)
{
    char limit[MEMLOCK_TEXT_BYTES];
    uint64_t pinned_bytes = range->len_bytes * memory->n_rails; /* counted by each device */
    if (error == -ENOMEM && !memlock_allows(memlock_limit_bytes(""), pinned_bytes, limit))
        snprintf(ret_text, MEMORY_TEXT_BYTES, "%s: %s", range->what, limit);
    else
        snprintf(ret_text, MEMORY_TEXT_BYTES,
                 "%s: %llu KiB could not be registered with %u adapters: %s%s", range->what,
                 (unsigned long long)range->len_bytes >> 10, memory->n_rails, strerror(-error),
                 error == -ENOMEM ? " (see ulimit -l, and the adapter's own limit)" : "");
}

static int enter(struct memory *memory, struct memory_range *range)
{
    pthread_mutex_lock(&memory->mutex);
    int error = memory->n_ranges < MEMORY_RANGES_MAX ? 0 : -ENOSPC;
    if (!error)
        memory->ranges[memory->n_ranges++] = range;
    pthread_mutex_unlock(&memory->mutex);
    return error;
}

static struct memory_range *range_new(struct memory *memory, const char *what, void *addr,
                                      uint64_t len_bytes, uint32_t rights)
{
    CHECK(len_bytes > 0);
    uint32_t n_slices = (uint32_t)((len_bytes + CHAIN_SLICE_BYTES - 1) / CHAIN_SLICE_BYTES);
    struct memory_range *range =
        calloc(1, sizeof *range + (size_t)n_slices * memory->n_rails * sizeof *range->slices);
    if (range)
        *range = (struct memory_range){.addr = addr,
                                       .len_bytes = len_bytes,
                                       .rights = rights,
                                       .n_slices = n_slices,
                                       .n_rails = memory->n_rails,
                                       .memory = memory,
                                       .what = what};
    return range;
}

int memory_add(struct memory *memory, const char *what, void *addr, uint64_t len_bytes,
               uint32_t rights, struct memory_range **ret_range, char ret_text[MEMORY_TEXT_BYTES])
{
    struct memory_range *range = range_new(memory, what, addr, len_bytes, rights);
    int error = range ? enter(memory, range) : -ENOMEM;
    if (error) {
        snprintf(ret_text, MEMORY_TEXT_BYTES, "%s: %s", what,
                 range ? "too many regions are registered" : "out of memory");
        free(range);
        return error;
    }
    register_all(range);
    error = atomic_load(&range->error);
    if (error) {
        describe(memory, range, error, ret_text);
        memory_remove(memory, range);
        return error;
    }
    *ret_range = range;
    return 0;
}

void memory_give_up(struct memory *memory)
{
    atomic_store(&memory->is_over, true);
}

/* --- the end ---------------------------------------------------------------------------------- */

/* An adapter that does not let go keeps the caller waiting: the memory must not go before. */
static void deregister(const struct verbs *verbs, struct verbs_memory *registered)
{
    static const struct timespec pause = {.tv_nsec = 1000000};
    bool has_told = false;
    for (int error; (error = verbs->memory_deregister(verbs, registered)) != 0; has_told = true) {
        if (!has_told)
            log_event(LOG_LEVEL_WARNING, "rdma_memory_kept", "reason=%s",
                      log_quoted(strerror(-error)));
        nanosleep(&pause, NULL);
    }
}

static void leave(struct memory *memory, struct memory_range *range)
{
    pthread_mutex_lock(&memory->mutex);
    range->is_ending = true;
    while (range->users > 0)
        pthread_cond_wait(&memory->returned, &memory->mutex);
    uint32_t i = 0;
    while (memory->ranges[i] != range)
        CHECK(++i < memory->n_ranges);
    memory->ranges[i] = memory->ranges[--memory->n_ranges];
    pthread_mutex_unlock(&memory->mutex);
}

void memory_remove(struct memory *memory, struct memory_range *range)
{
    if (!range)
        return;
    leave(memory, range);
    for (uint32_t i = 0; i < count_jobs(range); i++)
        if (atomic_load(&range->slices[i].is_ready))
            deregister(memory->verbs, range->slices[i].registered);
    free(range);
}

/* --- using ------------------------------------------------------------------------------------ */

bool memory_range_holds(const struct memory_range *range, const void *addr, uint64_t len_bytes)
{
    const uint8_t *first = addr;
    return first >= range->addr && len_bytes <= range->len_bytes &&
           (uint64_t)(first - range->addr) <= range->len_bytes - len_bytes;
}

uint64_t memory_range_bytes(const struct memory_range *range)
{
    return range->len_bytes;
}

bool memory_range_is_ready(const struct memory_range *range, const void *addr, uint64_t len_bytes)
{
    uint64_t from = (uint64_t)((const uint8_t *)addr - range->addr);
    uint64_t first = from / CHAIN_SLICE_BYTES, last = (from + len_bytes - 1) / CHAIN_SLICE_BYTES;
    CHECK(len_bytes > 0 && memory_range_holds(range, addr, len_bytes));
    for (uint64_t i = first * range->n_rails; i < (last + 1) * range->n_rails; i++)
        if (!atomic_load_explicit(&range->slices[i].is_ready, memory_order_acquire))
            return false;
    return true;
}

struct memory_range *memory_borrow(struct memory *memory, const void *addr, uint64_t len_bytes)
{
    struct memory_range *found = NULL;
    pthread_mutex_lock(&memory->mutex);
    for (uint32_t i = 0; i < memory->n_ranges && !found; i++)
        if ((memory->ranges[i]->rights & VERBS_LOCAL_WRITE) && !memory->ranges[i]->is_ending &&
            memory_range_holds(memory->ranges[i], addr, len_bytes))
            found = memory->ranges[i];
    if (found)
        found->users++;
    pthread_mutex_unlock(&memory->mutex);
    return found;
}

void memory_return(struct memory *memory, struct memory_range *range)
{
    pthread_mutex_lock(&memory->mutex);
    CHECK(range->users > 0);
    if (--range->users == 0)
        pthread_cond_broadcast(&memory->returned);
    pthread_mutex_unlock(&memory->mutex);
}

uint32_t memory_cut(const struct memory_range *range, uint32_t rail, const void *addr,
                    uint64_t len_bytes, struct verbs_segment *ret_segments, uint32_t most)
{
    uint64_t at = (uint64_t)((const uint8_t *)addr - range->addr);
    uint32_t n = 0;
    CHECK(memory_range_holds(range, addr, len_bytes));
    while (len_bytes > 0) {
        const struct memory_slice *slice =
            &range->slices[at / CHAIN_SLICE_BYTES * range->n_rails + rail];
        uint64_t rest_bytes = CHAIN_SLICE_BYTES - at % CHAIN_SLICE_BYTES;
        uint64_t len = len_bytes < rest_bytes ? len_bytes : rest_bytes;
        if (n == most || !atomic_load_explicit(&slice->is_ready, memory_order_acquire))
            return 0;
        ret_segments[n++] =
            (struct verbs_segment){(uintptr_t)range->addr + at, (uint32_t)len, slice->keys.local};
        at += len;
        len_bytes -= len;
    }
    return n;
}

static uint32_t keys_of(const struct memory_range *range, uint32_t rail, uint32_t *ret_keys,
                        uint32_t most)
{
    uint32_t n = 0;
    for (; n < range->n_slices && n < most; n++) {
        const struct memory_slice *slice = &range->slices[n * range->n_rails + rail];
        if (!atomic_load_explicit(&slice->is_ready, memory_order_acquire))
            break;
        ret_keys[n] = slice->keys.remote;
    }
    return n;
}

uint32_t memory_remote_keys(struct memory *memory, const void *addr, uint32_t rail,
                            uint32_t *ret_keys, uint32_t most)
{
    uint32_t n = 0;
    pthread_mutex_lock(&memory->mutex);
    for (uint32_t i = 0; i < memory->n_ranges && n == 0; i++)
        if ((memory->ranges[i]->rights & VERBS_REMOTE_READ) && memory->ranges[i]->addr == addr)
            n = keys_of(memory->ranges[i], rail, ret_keys, most);
    pthread_mutex_unlock(&memory->mutex);
    return n;
}
