/* SPDX-License-Identifier: Apache-2.0 */
/* drain.c - drain: a node gives away what it has before it is closed. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "api/handle.h"
#include "base/clock.h"
#include "node/drain.h"

static int give_report(const struct node *node, char **ret_json)
{
    if (!ret_json)
        return 0;
    json_t *json = drain_json(node);
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    if (!text)
        return -ENOMEM;
    *ret_json = text;
    return 0;
}

int peercache_node_drain(struct peercache_node *handle, uint32_t timeout_ms, char **ret_json)
{
    if (!handle)
        return -EINVAL;
    int error = node_enter(handle->node);
    if (error)
        return error;
    uint64_t timeout_ns = timeout_ms == PEERCACHE_TIMEOUT_DEFAULT
                              ? node_config(handle->node)->drain_timeout_ns
                              : timeout_ms * UINT64_C(1000000);
    error = drain_start(handle->node, timeout_ns);
    if (!error)
        error = drain_await(handle->node, UINT64_MAX);
    if (!error)
        error = give_report(handle->node, ret_json);
    node_exit(handle->node);
    return error;
}

int peercache_node_is_drained(const struct peercache_node *handle)
{
    return handle && handle->pid == getpid() && drain_is_over(handle->node);
}
