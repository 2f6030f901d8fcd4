/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rails.c - chooses devices and opens them.
 *
 * Eight processes of a host with eight devices would have 64 times the queue pairs if each used all
 * of them, so without names a process takes one: of those on the NUMA node on which it runs, or of
 * all where none is, the one that its number falls on.
 */
#include "io/rdma/rails.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"

/* How late an idle link may be closed. */
enum { CLOSE_INTERVAL_S = 10 };

/* The devices that work, by their number in the survey. */
struct candidates {
    uint32_t n;
    uint32_t numbers[VERBS_DEVICES_MAX];
    struct choice choices[VERBS_DEVICES_MAX];
};

static void find_candidates(const struct survey *survey, const struct choice_wishes *wishes,
                            struct candidates *ret_candidates)
{
    ret_candidates->n = 0;
    for (uint32_t i = 0; i < survey->count && i < VERBS_DEVICES_MAX; i++) {
        struct choice *choice = &ret_candidates->choices[ret_candidates->n];
        choice_make(&survey->devices[i], wishes, choice);
        if (choice->is_used)
            ret_candidates->numbers[ret_candidates->n++] = i;
    }
}

static void exchange(struct candidates *candidates, uint32_t a, uint32_t b)
{
    uint32_t number = candidates->numbers[a];
    struct choice choice = candidates->choices[a];
    candidates->numbers[a] = candidates->numbers[b];
    candidates->choices[a] = candidates->choices[b];
    candidates->numbers[b] = number;
    candidates->choices[b] = choice;
}

/* Those on this NUMA node come first; their number. */
static uint32_t put_near_first(const struct survey *survey, struct candidates *candidates)
{
    unsigned cpu, node = 0;
    uint32_t near = 0;
    if (getcpu(&cpu, &node) != 0)
        return 0;
    for (uint32_t i = 0; i < candidates->n; i++)
        if (survey->devices[candidates->numbers[i]].numa_node == (int32_t)node)
            exchange(candidates, near++, i);
    return near;
}

/* The one that is taken, unless it cannot be opened. */
static void put_own_first(const struct survey *survey, struct candidates *candidates,
                          uint64_t spread)
{
    uint32_t near = put_near_first(survey, candidates);
    exchange(candidates, 0, (uint32_t)(spread % (near ? near : candidates->n)));
}

static int open_rail(struct rails *rails, const struct rails_setup *setup,
                     const struct survey_device *device, const struct choice *choice)
{
    char address[GID_TEXT_BYTES];
    struct rail_setup rail = {.name = device->name,
                              .index = rails->n,
                              .port = setup->wishes.port,
                              .gid = *choice->gid,
                              .service_level = setup->service_level,
                              .traffic_class = setup->traffic_class,
                              .spin_ns = setup->spin_ns,
                              .waiters = &rails->waiters,
                              .metrics = rails->metrics};
    int error = rail_open(&rails->list[rails->n], rails->verbs, &rail);
    gid_format(choice->gid, address);
    if (error) {
        log_event(LOG_LEVEL_WARNING, "rdma_device_refused", "device=%s reason=%s", device->name,
                  log_quoted(strerror(-error)));
        return error;
    }
    log_event(LOG_LEVEL_INFO, "rdma_device", "device=%s port=%u gid_index=%u address=%s why=%s",
              device->name, rail.port, choice->gid->entry.index, address, log_quoted(choice->why));
    rails->n++;
    return 0;
}

static bool is_open(const struct rails *rails, const char *name)
{
    for (uint32_t i = 0; i < rails->n; i++)
        if (strcmp(rails->list[i].name, name) == 0)
            return true;
    return false;
}

/* Whoever names devices counts on all of them. */
static void tell_left_out(const struct rails *rails, const struct choice_wishes *wishes,
                          const struct survey *survey)
{
    char name[VERBS_NAME_BYTES];
    for (const char *cursor = wishes->device_names; choice_next_name(&cursor, name);) {
        struct choice choice = {.why = "this machine has no device of that name"};
        if (is_open(rails, name))
            continue;
        for (uint32_t i = 0; i < survey->count; i++)
            if (strcmp(survey->devices[i].name, name) == 0)
                choice_make(&survey->devices[i], wishes, &choice);
        if (choice.is_used)
            snprintf(choice.why, sizeof choice.why, "it cannot be opened, or is one too many of %d",
                     RAILS_MAX);
        log_event(LOG_LEVEL_WARNING, "rdma_device_left_out", "device=%s reason=%s",
                  log_quoted(name), log_quoted(choice.why));
    }
}

/* 0 when one at least is open. */
static int open_some(struct rails *rails, const struct rails_setup *setup,
                     const struct survey *survey, struct candidates *candidates,
                     char ret_reason[RAILS_REASON_BYTES])
{
    bool has_names = setup->wishes.device_names[0] != 0;
    int error = -ENODEV;
    if (!choice_works(survey, &setup->wishes, ret_reason))
        return error;
    find_candidates(survey, &setup->wishes, candidates);
    if (!has_names)
        put_own_first(survey, candidates, setup->spread);
    for (uint32_t i = 0; i < candidates->n && rails->n < (has_names ? RAILS_MAX : 1); i++) {
        const struct survey_device *device = &survey->devices[candidates->numbers[i]];
        int failed = open_rail(rails, setup, device, &candidates->choices[i]);
        if (!failed)
            continue;
        error = failed;
        snprintf(ret_reason, RAILS_REASON_BYTES, "%s cannot be opened: %s", device->name,
                 strerror(-failed));
    }
    return rails->n > 0 ? 0 : error;
}

static int open_chosen(struct rails *rails, const struct rails_setup *setup,
                       const struct survey *survey, char ret_reason[RAILS_REASON_BYTES])
{
    struct candidates *candidates = malloc(sizeof *candidates);
    snprintf(ret_reason, RAILS_REASON_BYTES, "out of memory");
    int error = candidates ? open_some(rails, setup, survey, candidates, ret_reason) : -ENOMEM;
    free(candidates);
    if (!error)
        tell_left_out(rails, &setup->wishes, survey);
    return error;
}

static int open_memory(struct rails *rails)
{
    struct verbs_device *devices[RAILS_MAX];
    for (uint32_t i = 0; i < rails->n; i++)
        devices[i] = rails->list[i].device;
    int error = memory_new(rails->verbs, devices, rails->n, &rails->memory);
    if (!error)
        bounce_init(&rails->bounce, rails->memory);
    return error;
}

static void prepare_fork(struct rails *rails)
{
    int error = rails->verbs->prepare_fork(rails->verbs);
    rails->is_fork_unsafe = error != 0;
    if (error)
        log_event(LOG_LEVEL_WARNING, "rdma_fork",
                  "reason=\"this process registered memory before, and its kernel does not keep "
                  "that from children: pages go through a bounce buffer\"");
}

/* --- idle links ------------------------------------------------------------------------------- */

void rails_close_idle(struct rails *rails, uint64_t now_ns)
{
    for (uint32_t i = 0; i < rails->n; i++)
        link_table_close_idle(&rails->tables[i], now_ns);
}

static void *close_now_and_then(void *context)
{
    struct rails *rails = context;
    pthread_mutex_lock(&rails->closer_mutex);
    while (!rails->closer_ends) {
        struct timespec next;
        clock_gettime(CLOCK_MONOTONIC, &next);
        next.tv_sec += CLOSE_INTERVAL_S;
        int late = 0;
        while (!rails->closer_is_wanted && !rails->closer_ends && !late)
            late = pthread_cond_timedwait(&rails->closer_wakes, &rails->closer_mutex, &next);
        rails->closer_is_wanted = false;
        pthread_mutex_unlock(&rails->closer_mutex);
        rails_close_idle(rails, clock_now_ns());
        pthread_mutex_lock(&rails->closer_mutex);
    }
    pthread_mutex_unlock(&rails->closer_mutex);
    return NULL;
}

static int start_closer(struct rails *rails)
{
    pthread_mutex_init(&rails->closer_mutex, NULL);
    thread_cond_init(&rails->closer_wakes);
    int error = thread_start(&rails->closer, NULL, "pc-rdma-idle", close_now_and_then, rails);
    rails->has_closer = error == 0;
    return error;
}

void rails_stop_closing(struct rails *rails)
{
    if (!rails->has_closer)
        return;
    rails->has_closer = false;
    pthread_mutex_lock(&rails->closer_mutex);
    rails->closer_ends = true;
    pthread_cond_signal(&rails->closer_wakes);
    pthread_mutex_unlock(&rails->closer_mutex);
    pthread_join(rails->closer, NULL);
    pthread_cond_destroy(&rails->closer_wakes);
    pthread_mutex_destroy(&rails->closer_mutex);
}

/* --- the beginning ---------------------------------------------------------------------------- */

int rails_open(const struct rails_setup *setup, struct rails **ret_rails,
               char ret_reason[RAILS_REASON_BYTES])
{
    struct survey survey = {0};
    struct rails *rails = calloc(1, sizeof *rails);
    snprintf(ret_reason, RAILS_REASON_BYTES, "out of memory");
    int error = rails ? 0 : -ENOMEM;
    if (!error) {
        rails->verbs = setup->verbs;
        rails->metrics = setup->metrics;
        rails->spin_ns = setup->spin_ns;
        for (uint32_t i = 0; i < RAILS_MAX; i++)
            link_table_init(&rails->tables[i]);
        prepare_fork(rails);
        error = survey_take(setup->verbs, "", &survey);
        if (error)
            survey_explain(error, ret_reason, RAILS_REASON_BYTES);
    }
    if (!error)
        error = open_chosen(rails, setup, &survey, ret_reason);
    survey_fini(&survey);
    if (!error)
        error = open_memory(rails);
    if (!error)
        error = start_closer(rails);
    if (error) {
        rails_close(rails);
        return error;
    }
    *ret_rails = rails;
    return 0;
}

/* --- the end ---------------------------------------------------------------------------------- */

void rails_close(struct rails *rails)
{
    if (!rails)
        return;
    rails_stop_closing(rails);
    if (rails->memory) {
        bounce_fini(&rails->bounce);
        memory_free(rails->memory);
    }
    for (uint32_t i = 0; i < rails->n; i++)
        rail_close(&rails->list[i]);
    for (uint32_t i = 0; i < RAILS_MAX; i++)
        link_table_fini(&rails->tables[i]);
    free(rails);
}

struct rails_peer *rails_peer_new(struct rails *rails)
{
    struct rails_peer *peer = calloc(1, sizeof *peer + rails->n * sizeof *peer->links);
    if (!peer)
        return NULL;
    peer->rails = rails;
    peer->n = rails->n;
    for (uint32_t i = 0; i < rails->n; i++)
        link_init(&peer->links[i], &rails->list[i], &rails->tables[i]);
    return peer;
}

void rails_peer_free(struct rails_peer *peer)
{
    for (uint32_t i = 0; peer && i < peer->n; i++)
        link_fini(&peer->links[i]);
    free(peer);
}

/* The peer waits for its queue pairs, so what nobody uses is closed now. */
void rails_peer_break(struct rails_peer *peer)
{
    struct rails *rails = peer->rails;
    for (uint32_t i = 0; i < peer->n; i++)
        link_break(&peer->links[i], "the peer is gone, or has another life");
    pthread_mutex_lock(&rails->closer_mutex);
    rails->closer_is_wanted = true;
    pthread_cond_signal(&rails->closer_wakes);
    pthread_mutex_unlock(&rails->closer_mutex);
}

uint32_t rails_openings(const struct rails *rails)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < RAILS_MAX; i++)
        n += atomic_load(&rails->tables[i].openings);
    return n;
}
