/* SPDX-License-Identifier: Apache-2.0 */
/* node.c - open, stop, close, status, and the regions of a node. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/handle.h"
#include "base/log.h"
#include "node/inspect.h"

int peercache_node_open(const struct peercache_config *config, struct peercache_node **ret_node,
                        struct peercache_error *ret_error)
{
    struct node_config node_config;
    char text[NODE_ERROR_BYTES] = "";
    if (!config || !ret_node) {
        handle_error(ret_error, "a node needs a configuration");
        return -EINVAL;
    }
    int error = handle_node_config(&config->options, &node_config, ret_error);
    if (error)
        return error;
    struct peercache_node *handle = calloc(1, sizeof *handle);
    if (!handle) {
        handle_error(ret_error, "not enough memory");
        return -ENOMEM;
    }
    log_set_level((enum log_level)config->options.log_level);
    error = node_open(&node_config, &handle->node, text);
    if (error) {
        handle_error(ret_error, text);
        free(handle);
        return error;
    }
    handle->pid = getpid();
    memcpy(handle->tag, config->options.tag, sizeof handle->tag);
    pthread_mutex_init(&handle->lock, NULL);
    *ret_node = handle;
    return 0;
}

void peercache_node_stop(struct peercache_node *handle)
{
    if (handle && handle->pid == getpid())
        node_stop(handle->node);
}

/* A forked child has the parent's handle and none of its threads: there is nothing to close. */
void peercache_node_close(struct peercache_node *handle)
{
    if (!handle || handle->pid != getpid())
        return;
    /* A region that a call still reads into would be waited for without an end. */
    while (node_await_calls(handle->node) && handle->regions)
        peercache_region_release(handle->regions);
    if (!node_close(handle->node))
        return;
    while (handle->namespaces) {
        struct peercache_namespace *ns = handle->namespaces;
        handle->namespaces = ns->next;
        free(ns);
    }
    pthread_mutex_destroy(&handle->lock);
    free(handle);
}

int peercache_node_status(struct peercache_node *handle, char **ret_json)
{
    if (!handle || !ret_json)
        return -EINVAL;
    int error = node_enter_to_look(handle->node);
    if (error)
        return error;
    json_t *status = inspect_status(handle->node);
    char *text = status ? json_dumps(status, JSON_COMPACT) : NULL;
    json_decref(status);
    node_exit(handle->node);
    if (!text)
        return -ENOMEM;
    *ret_json = text;
    return 0;
}

int peercache_node_check(struct peercache_node *handle, struct peercache_error *ret_error)
{
    char text[NODE_ERROR_BYTES];
    if (!handle)
        return -EINVAL;
    if (handle->pid != getpid())
        return -ECHILD;
    int error = node_check(handle->node, text);
    if (error)
        handle_error(ret_error, text);
    return error;
}

/* --- regions --- */

int peercache_node_has_rdma(const struct peercache_node *handle)
{
    return handle && handle->pid == getpid() && node_has_rdma(handle->node);
}

int peercache_region_register(struct peercache_node *handle, void *base, uint64_t len_bytes,
                              struct peercache_region **ret_region,
                              struct peercache_error *ret_error)
{
    char text[NODE_ERROR_BYTES];
    if (!handle || !base || len_bytes == 0 || len_bytes > UINTPTR_MAX - (uintptr_t)base ||
        !ret_region) {
        handle_error(ret_error, "a region needs an address and a length above 0");
        return -EINVAL;
    }
    if (handle->pid != getpid())
        return -ECHILD;
    struct peercache_region *region = malloc(sizeof *region);
    if (!region) {
        handle_error(ret_error, "not enough memory");
        return -ENOMEM;
    }
    *region = (struct peercache_region){.node = handle};
    int error = node_region_add(handle->node, base, len_bytes, &region->range, text);
    if (error) {
        handle_error(ret_error, text);
        free(region);
        return error;
    }
    pthread_mutex_lock(&handle->lock);
    region->next = handle->regions;
    handle->regions = region;
    pthread_mutex_unlock(&handle->lock);
    *ret_region = region;
    return 0;
}

void peercache_region_release(struct peercache_region *region)
{
    if (!region || region->node->pid != getpid())
        return;
    pthread_mutex_lock(&region->node->lock);
    struct peercache_region **at = &region->node->regions;
    while (*at && *at != region)
        at = &(*at)->next;
    if (*at)
        *at = region->next;
    pthread_mutex_unlock(&region->node->lock);
    node_region_remove(region->node->node, region->range);
    free(region);
}
