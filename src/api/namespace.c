/* SPDX-License-Identifier: Apache-2.0 */
/* namespace.c - a namespace is its identity; its epoch is looked up at every call. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "api/handle.h"
#include "base/clock.h"
#include "node/identity.h"

int peercache_namespace_open(struct peercache_node *handle, const char *const *fields, size_t n,
                             struct peercache_namespace **ret_namespace,
                             struct peercache_error *ret_error)
{
    char text[NODE_ERROR_BYTES];
    struct id128 identity;
    if (!handle || !ret_namespace || (n > 0 && !fields)) {
        handle_error(ret_error, "a namespace needs a node and its fields");
        return -EINVAL;
    }
    if (handle->pid != getpid())
        return -ECHILD;
    int error = identity_of_fields(fields, n, &identity, text);
    if (error) {
        handle_error(ret_error, text);
        return error;
    }
    struct peercache_namespace *ns = malloc(sizeof *ns);
    if (!ns) {
        handle_error(ret_error, "not enough memory");
        return -ENOMEM;
    }
    *ns = (struct peercache_namespace){.node = handle,
                                       .identity = identity_with_tag(identity, handle->tag)};
    pthread_mutex_lock(&handle->lock);
    ns->next = handle->namespaces;
    handle->namespaces = ns;
    pthread_mutex_unlock(&handle->lock);
    *ret_namespace = ns;
    return 0;
}

void peercache_namespace_close(struct peercache_namespace *ns)
{
    if (!ns || ns->node->pid != getpid())
        return;
    pthread_mutex_lock(&ns->node->lock);
    struct peercache_namespace **at = &ns->node->namespaces;
    while (*at && *at != ns)
        at = &(*at)->next;
    if (*at)
        *at = ns->next;
    pthread_mutex_unlock(&ns->node->lock);
    free(ns);
}

int peercache_namespace_clear(struct peercache_namespace *ns, uint32_t timeout_ms)
{
    if (!ns)
        return -EINVAL;
    struct node *node = ns->node->node;
    int error = node_enter(node);
    if (error)
        return error;
    uint64_t timeout_ns = timeout_ms == PEERCACHE_TIMEOUT_DEFAULT
                              ? node_config(node)->set_timeout_ns
                              : timeout_ms * UINT64_C(1000000);
    error = node_clear(node, ns->identity, clock_now_ns() + timeout_ns);
    node_exit(node);
    return error;
}
