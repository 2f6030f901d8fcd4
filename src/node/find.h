/* SPDX-License-Identifier: Apache-2.0 */
/* find.h - the look-up that get, set and exists begin with. */
#ifndef NODE_FIND_H
#define NODE_FIND_H

#include "core/locate.h"
#include "node/node.h"

/* The pages of a call that still need a result, and where they are. */
struct finding {
    struct locate locate;
    struct locate_key *keys; /* n of them */
    uint16_t *pages;         /* the page that keys[i] is for */
    uint32_t n;
};

/* For the pages whose result is PEERCACHE_UNSET.  -ENOMEM.  finding_fini() in any case. */
int finding_init(struct finding *finding, const struct core_view *view,
                 const struct node_page *pages, const struct peercache_result *results, uint32_t n);
void finding_fini(struct finding *finding);

#endif
