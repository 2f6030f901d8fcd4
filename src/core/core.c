/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core.c - one step: an event in, an update out.
 *
 * core_step() says which file an event goes to (rooms.h), and advance() goes on with what takes
 * several steps.  Every step ends in advance(), so nothing waits for a tick.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/metric.h"
#include "core/demand.h"
#include "core/rooms.h"

static void set_gauges(struct core *core)
{
    struct metrics *metrics = core->config.metrics;
    struct pool_usage pool;
    pool_measure(core->pool, &pool);
    metric_set(metrics, METRIC_pool_bytes_used, pool.live_bytes);
    metric_set(metrics, METRIC_pool_bytes_retired, pool.retired_bytes);
    metric_set(metrics, METRIC_pool_bytes_free, pool.free_bytes);
    metric_set(metrics, METRIC_directory_entries, directory_count(core->directory));
    metric_set(metrics, METRIC_directory_bytes, directory_bytes(core->directory));
}

static void advance(struct core *core)
{
    members_renew_ring(core);
    peer_links_dial(core);
    bool more = pool_retire_ahead(core->pool);
    more |= sweeps_advance(core);
    publish_retract_gone(core->publish, core->update);
    publish_tick(core->publish, core->update);
    namespaces_tick(core->namespaces, core->peers, &core->view, core->update);
    more |= sync_advance(core->sync, core->update);
    more |= directory_sweep(core->directory);
    peer_links_renew(core, directory_muddled(core->directory));
    members_forget_dropped(core);
    members_judge_completeness(core);
    set_gauges(core);
    if (more)
        update_wake_at(core->update, update_now_ns(core->update));
}

void core_step(struct core *core, const struct core_event *event, struct core_update *ret_update)
{
    update_begin(core->update, event->now_ns);
    switch (event->type) {
    case CORE_TICK: break;
    case CORE_SERVING: membership_serve(core->membership, core->update); break;
    case CORE_LINK_UP: peer_links_up(core, event); break;
    case CORE_LINK_DOWN: peer_links_down(core, event->link); break;
    case CORE_MESSAGE: inbox_take(core, event->link, event->u.message); break;
    case CORE_RESERVE:
        publish_reserve(core->publish, core->update, event->u.set.pages, event->u.set.n,
                        event->u.set.ret_op);
        break;
    case CORE_COPIED:
        publish_copied(core->publish, core->update, event->u.set.op, event->u.set.pages,
                       event->u.set.n, event->u.set.is_unawaited);
        sweeps_check_copied(core, event->u.set.pages, event->u.set.n);
        break;
    case CORE_CANCEL: requests_cancel(core, event->u.set.op); break;
    case CORE_CLEAR: requests_clear(core, event); break;
    case CORE_READ_OUTCOMES: requests_take_outcomes(core, event); break;
    case CORE_DRAIN: handover_begin(core); break;
    case CORE_STAY: handover_cancel(core); break;
    case CORE_LIST: handover_list(core, &event->u.list); break;
    case CORE_LEAVE: requests_leave(core); break;
    case CORE_REBORN: reborn_begin(core, event); break;
    }
    membership_tick(core->membership, core->update);
    advance(core);
    update_end(core->update, ret_update);
}

/* --- building --- */

static void fill_view(struct core *core)
{
    core->view.table_seed = core->config.table_seed;
    core->view.directory_replicas = core->config.directory_replicas;
    core->view.headers = core->config.headers;
    core->view.slot_count = core->config.slot_count;
    core->view.pool_index = pool_index(core->pool);
    core->view.directory = directory_table(core->directory);
    core->view.directory_overflow = directory_overflow(core->directory);
    core->view.peers = peers_by_index(core->peers);
    core->view.peer_ids = peers_by_id(core->peers);
    core->view.epochs = namespaces_epochs(core->namespaces);
    core->view.rings = core->rings.set;
    if (core->config.hot_pages)
        core->view.reader =
            demand_host(core->config.is_apart ? core->config.node_id : core->config.boot_id);
}

static int build_rooms(struct core *core)
{
    const struct core_config *config = &core->config;
    struct membership_sink sink = members_sink(core);
    core->update = update_new();
    core->view.breakers = calloc(CORE_PEERS_MAX, sizeof *core->view.breakers);
    if (!core->update || !core->view.breakers)
        return -ENOMEM;
    int error = peers_new(config, &core->peers);
    if (!error)
        error = rings_init(&core->rings, config->vnodes, config->directory_replicas);
    if (!error)
        error = directory_new(config->directory_limit, &core->directory);
    if (!error)
        error = pool_new(config, &core->pool);
    if (!error)
        error = demand_new(&core->view.demand);
    if (!error)
        error = namespaces_new(&core->namespaces);
    if (!error)
        error = membership_new(config, &sink, &core->membership);
    if (error)
        return error;
    struct sync_rooms sync = {core->pool, core->directory, core->peers, &core->rings,
                              config->member_ttl_ns};
    error = sync_new(&sync, &core->sync);
    if (error)
        return error;
    struct publish_rooms rooms = {.pool = core->pool,
                                  .directory = core->directory,
                                  .peers = core->peers,
                                  .rings = &core->rings,
                                  .metrics = config->metrics,
                                  .headers = config->headers,
                                  .view = &core->view};
    return publish_new(&rooms, &core->publish);
}

static bool config_is_sane(const struct core_config *config)
{
    return config->headers && config->slot_count > 0 && config->pool_bytes >= 64 &&
           config->vnodes > 0 && config->directory_replicas > 0 &&
           config->directory_replicas <= CORE_OWNERS_MAX && config->directory_limit > 0 &&
           !id128_is_zero(config->node_id) && config->heartbeat_interval_ns > 0 &&
           config->n_seeds <= CORE_SEEDS_MAX && config->n_remembered <= CORE_SEEDS_MAX &&
           (config->n_seeds == 0 || config->max_masters > 0);
}

int core_new(const struct core_config *config, struct core **ret_core)
{
    if (!config_is_sane(config))
        return -EINVAL;
    struct core *core = calloc(1, sizeof *core);
    if (!core)
        return -ENOMEM;
    core->config = *config;
    for (uint32_t i = 0; i < CORE_LINKS_MAX; i++)
        core->links[i].peer = CORE_PEER_NONE;
    int error = build_rooms(core);
    if (error) {
        core_free(core);
        return error;
    }
    fill_view(core);
    core->ring_is_old = true;
    core->forget_at_ns = UINT64_MAX;
    *ret_core = core;
    return 0;
}

void core_free(struct core *core)
{
    if (!core)
        return;
    publish_free(core->publish);
    sync_free(core->sync);
    membership_free(core->membership);
    namespaces_free(core->namespaces);
    pool_free(core->pool);
    directory_free(core->directory);
    rings_fini(&core->rings);
    peers_free(core->peers);
    update_free(core->update);
    demand_free(core->view.demand);
    free(core->view.breakers);
    free(core);
}

const struct core_view *core_view(const struct core *core)
{
    return &core->view;
}
