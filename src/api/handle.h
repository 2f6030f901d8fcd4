/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handle.h - what stands behind the public handles.
 *
 * A node's namespaces and regions are in lists that its lock guards, because they are opened and
 * closed by any thread and all freed with the node.
 */
#ifndef API_HANDLE_H
#define API_HANDLE_H

#include <pthread.h>
#include <sys/types.h>

#include "base/option.h"
#include "node/node.h"
#include "peercache.h"

struct peercache_config {
    struct options options;
    char text[OPTION_TEXT_BYTES]; /* of the last peercache_config_get() */
};

struct peercache_namespace {
    struct peercache_node *node;
    struct peercache_namespace *next;
    struct id128 identity;
};

struct peercache_region {
    struct peercache_node *node;
    struct peercache_region *next;
    struct memory_range *range; /* known to adapters; NULL: it is not */
};

struct peercache_node {
    struct node *node;
    pid_t pid;
    char tag[OPTION_TEXT_BYTES]; /* part of every namespace's identity */
    pthread_mutex_t lock;
    struct peercache_namespace *namespaces;
    struct peercache_region *regions;
};

/* The options as the node floor wants them.  0 or -EINVAL and a sentence. */
int handle_node_config(const struct options *options, struct node_config *ret_config,
                       struct peercache_error *ret_error);
/* 0 where RDMA works on this machine as the options want it; else -EINVAL and a sentence. */
int handle_check_rdma(const struct options *options, struct peercache_error *ret_error);
/* Copies a sentence to a caller's error, which may be NULL. */
void handle_error(struct peercache_error *ret_error, const char *text);

#endif
