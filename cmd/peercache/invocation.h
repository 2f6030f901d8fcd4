/* SPDX-License-Identifier: Apache-2.0 */
/* invocation.h - one call of `peercache`: what its command line says, for the subcommands. */
#ifndef PEERCACHE_INVOCATION_H
#define PEERCACHE_INVOCATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "peercache.h"

enum { FIELDS_MAX = 64 }; /* of a namespace, as in peercache.h */

struct invocation {
    struct peercache_config *config;
    const char *node;               /* --node; an address once a command runs; NULL: discovery */
    const char *fields[FIELDS_MAX]; /* --namespace */
    size_t n_fields;
    uint32_t timeout_ms;
    bool json;
    uint64_t limit;      /* --limit of keys; 0: all */
    double seconds;      /* --seconds of bench */
    uint64_t page_bytes; /* --page_bytes of bench */
    uint32_t batch;      /* --batch of bench */
    bool cancel;         /* --cancel of drain: the node stays */
    bool alone;          /* --alone of bench: no other member is no error */
    char **args;         /* the words behind the subcommand, NULL-terminated */
    int n_args;
    /* drain_timeout was given, be it with the default's value: it counts then, not the node's. */
    bool has_drain_timeout;
};

/* Fills from the environment and the command line.  @args of the result starts with the name of the
 * subcommand; the words of @argv are reordered for it.  0, or -EINVAL with a sentence. */
int invocation_init(struct invocation *invocation, char **argv, struct peercache_error *ret_error);
void invocation_fini(struct invocation *invocation);

/* The options that are not options of a node, one line each. */
void invocation_print_options(void);

#endif
