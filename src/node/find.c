/* SPDX-License-Identifier: Apache-2.0 */
/* find.c - exists: own pool, own shard, then the owners. */
#include "node/find.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "node/ask.h"
#include "node/internal.h"

int finding_init(struct finding *finding, const struct core_view *view,
                 const struct node_page *pages, const struct peercache_result *results, uint32_t n)
{
    finding->n = 0;
    finding->keys = malloc(n * sizeof *finding->keys + 1);
    finding->pages = malloc(n * sizeof *finding->pages + 1);
    if (!finding->keys || !finding->pages)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        if (results[i].outcome != PEERCACHE_UNSET)
            continue;
        finding->keys[finding->n].digest = pages[i].digest;
        finding->keys[finding->n].ring_position = pages[i].ring_position;
        finding->pages[finding->n++] = (uint16_t)i;
    }
    locate_begin(&finding->locate, view, finding->keys, finding->n);
    return 0;
}

void finding_fini(struct finding *finding)
{
    free(finding->keys);
    free(finding->pages);
}

static void conclude(const struct finding *finding, const struct locate_key *key, bool is_late,
                     struct peercache_result *ret_result)
{
    *ret_result = (struct peercache_result){.outcome = PEERCACHE_MISS_UNKNOWN};
    if (locate_is_there(&finding->locate, key)) {
        ret_result->outcome = PEERCACHE_FOUND;
        ret_result->len_bytes = key->places[0].length_bytes;
        ret_result->tier = PEERCACHE_TIER_MEMORY;
    } else if (key->state == LOCATE_FAILED) {
        ret_result->outcome = is_late ? PEERCACHE_MISS_DEADLINE : PEERCACHE_MISS_PEER;
    }
}

void node_find(struct node *node, const struct node_page *pages, struct peercache_result *results,
               uint32_t n, uint64_t deadline_ns)
{
    struct finding finding;
    if (finding_init(&finding, node->view, pages, results, n) == 0) {
        ask_owners(node, &finding.locate, deadline_ns);
        bool is_late = clock_now_ns() >= deadline_ns;
        for (uint32_t i = 0; i < finding.n; i++)
            conclude(&finding, &finding.keys[i], is_late, &results[finding.pages[i]]);
    }
    finding_fini(&finding);
}
