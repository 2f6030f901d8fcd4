/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sweeps.c - the pages of cleared namespaces are retired, a bounded piece in each step.
 */
#include "core/rooms.h"

void sweeps_begin(struct core *core, struct id128 identity)
{
    struct sweep *sweep = NULL;
    for (uint32_t i = 0; i < SWEEPS_MAX && !sweep; i++)
        if (!core->sweeps[i].used || id128_equal(core->sweeps[i].identity, identity))
            sweep = &core->sweeps[i];
    if (sweep) /* else: its pages are evicted like all that nobody asks for */
        *sweep = (struct sweep){.used = true,
                                .identity = identity,
                                .epoch = namespaces_epoch(core->namespaces, identity)};
}

/* What was reserved before a clear and sealed after it may lie behind the sweep. */
void sweeps_check_copied(struct core *core, const struct core_page *pages, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        bool is_same = i > 0 && pages[i].epoch == pages[i - 1].epoch &&
                       id128_equal(pages[i].identity, pages[i - 1].identity);
        if (!is_same && pages[i].epoch < view_epoch(&core->view, pages[i].identity))
            sweeps_begin(core, pages[i].identity);
    }
}

bool sweeps_advance(struct core *core)
{
    for (uint32_t i = 0; i < SWEEPS_MAX; i++) {
        struct sweep *sweep = &core->sweeps[i];
        if (!sweep->used)
            continue;
        sweep->used =
            pool_sweep_namespace(core->pool, sweep->identity, sweep->epoch, &sweep->cursor);
        return true;
    }
    return false;
}
