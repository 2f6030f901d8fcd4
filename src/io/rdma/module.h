/* SPDX-License-Identifier: Apache-2.0 */
/*
 * module.h - finds and opens the module that speaks to libibverbs.
 *
 * peercache_rdma.so lies beside the library, or in a folder named peercache beside it or beside its
 * folder; it is opened only where RDMA is wanted, so one build runs with and without libibverbs.
 */
#ifndef IO_RDMA_MODULE_H
#define IO_RDMA_MODULE_H

#include "io/rdma/verbs.h"

enum { RDMA_MODULE_ERROR_BYTES = 256 };

/* The one symbol of the module. */
#define RDMA_MODULE_SYMBOL "peercache_rdma_verbs"
extern const struct verbs peercache_rdma_verbs;

/* Any thread.  The table is valid until the process ends: the module stays loaded.  -ENOENT: this
 * build has none; -ELIBACC: it does not load; -ELIBBAD: it is of another build.  Then @ret_error is
 * a sentence that says what to change. */
int rdma_module_open(const struct verbs **ret_verbs, char ret_error[RDMA_MODULE_ERROR_BYTES]);

#ifdef PEERCACHE_PROTECTIONS_SWITCHABLE
/* For tests, while no node is opened: this table is opened instead; NULL: the module again. */
void rdma_module_stand_in(const struct verbs *verbs);
#endif

#endif
