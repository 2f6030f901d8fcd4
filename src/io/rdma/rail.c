/* SPDX-License-Identifier: Apache-2.0 */
/* rail.c - opens a device, and makes what all its queue pairs share. */
#include "io/rdma/rail.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static int ask_device(struct rail *rail)
{
    struct verbs_device_info info;
    int error = rail->verbs->query_device(rail->verbs, rail->device, &info);
    if (!error)
        error = rail->verbs->query_port(rail->verbs, rail->device, rail->port, &rail->port_info);
    if (!error)
        rail->limits = info.limits;
    return error;
}

static int make_completions(struct rail *rail)
{
    const struct verbs *verbs = rail->verbs;
    rail->queue_limit = least(
        RAIL_QUEUES_MAX, least(rail->limits.completions / QUEUE_DEPTH, rail->limits.queues / 2));
    if (rail->queue_limit < PAIR_MAX || rail->limits.depth < QUEUE_DEPTH)
        return -EOPNOTSUPP;
    int error = verbs->completions_create(verbs, rail->device, rail->queue_limit * QUEUE_DEPTH,
                                          &rail->completions);
    if (!error) /* guests post nothing, but a queue pair needs one */
        error = verbs->completions_create(verbs, rail->device, 1, &rail->guest_completions);
    return error;
}

static int make_places(struct rail *rail)
{
    rail->queues = calloc(rail->queue_limit, sizeof *rail->queues);
    for (uint32_t i = 0; rail->queues && i < rail->queue_limit; i++) {
        rail->queues[i].rail = rail;
        rail->queues[i].index = i;
        pthread_mutex_init(&rail->queues[i].mutex, NULL);
    }
    return rail->queues ? 0 : -ENOMEM;
}

int rail_open(struct rail *rail, const struct verbs *verbs, const struct rail_setup *setup)
{
    *rail = (struct rail){.verbs = verbs,
                          .index = setup->index,
                          .port = setup->port,
                          .gid = setup->gid,
                          .service_level = setup->service_level,
                          .traffic_class = setup->traffic_class,
                          .spin_ns = setup->spin_ns,
                          .waiters = setup->waiters,
                          .metrics = setup->metrics,
                          .wake_fd = -1};
    snprintf(rail->name, sizeof rail->name, "%s", setup->name);
    pthread_mutex_init(&rail->mutex, NULL);
    int error = verbs->open(verbs, setup->name, &rail->device);
    if (!error)
        error = ask_device(rail);
    if (!error)
        error = make_completions(rail);
    if (!error)
        error = make_places(rail);
    if (!error)
        error = poller_start(rail);
    if (error)
        rail_close(rail);
    return error;
}

static bool is_same_address(const struct verbs_gid *a, const struct verbs_gid *b)
{
    return a->port == b->port && a->type == b->type &&
           memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

static int closeness(const struct verbs_gid *gid, const struct verbs_gid *own)
{
    return gid->index == own->index ? 2 : gid->interface == own->interface ? 1 : 0;
}

/* Interfaces of one device may have the same address, so the place that was chosen goes
 * first, then its interface. */
int rail_gid_index(const struct rail *rail, uint32_t *ret_index)
{
    const struct verbs_gid *own = &rail->gid.entry;
    struct verbs_gid gids[VERBS_GIDS_MAX];
    uint32_t n = 0;
    int error = rail->verbs->query_gids(rail->verbs, rail->device, gids, &n);
    if (error)
        return error;
    const struct verbs_gid *found = NULL;
    for (uint32_t i = 0; i < n; i++)
        if (is_same_address(&gids[i], own) &&
            (!found || closeness(&gids[i], own) > closeness(found, own)))
            found = &gids[i];
    if (!found)
        return -EADDRNOTAVAIL;
    *ret_index = found->index;
    return 0;
}

const char *rail_connect_error(int error)
{
    switch (error) {
    case -EADDRNOTAVAIL: return "the device has lost its address: give it back";
    case -ENODATA: return "the device's addresses changed meanwhile";
    case -ETIMEDOUT: return "the other side's address does not resolve (is there a route to it?)";
    default: return strerror(-error);
    }
}

void rail_close(struct rail *rail)
{
    const struct verbs *verbs = rail->verbs;
    if (!verbs)
        return;
    poller_stop(rail);
    for (uint32_t i = 0; rail->queues && i < rail->queue_limit; i++) {
        CHECK(!rail->queues[i].pair && !rail->queues[i].is_taken);
        pthread_mutex_destroy(&rail->queues[i].mutex);
    }
    free(rail->queues);
    verbs->completions_destroy(verbs, rail->guest_completions);
    verbs->completions_destroy(verbs, rail->completions);
    verbs->close(verbs, rail->device);
    pthread_mutex_destroy(&rail->mutex);
    *rail = (struct rail){.wake_fd = -1};
}
