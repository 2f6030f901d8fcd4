/* SPDX-License-Identifier: Apache-2.0 */
/* invite.c - a reader is invited where no holder is on its own host. */
#include "core/invite.h"

#include "core/demand.h"

/* 0: it is no member any more. */
static uint32_t host_of(const struct core_view *view, uint16_t peer)
{
    struct view_peer info;
    return view_peer(view, peer, &info) == 0 ? info.host : 0;
}

bool invite_self(const struct core_view *view, struct id128 digest, const struct location *places,
                 uint32_t n, uint64_t now_ns)
{
    if (!view->reader || n == 0)
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (host_of(view, places[i].holder) == view->reader)
            return false;
    return demand_asked(view->demand, digest, view->reader, n, now_ns);
}

/* The hosts of an answer's holders: each is looked up once. */
static void find_hosts(const struct core_view *view, const struct message_locations *answer,
                       uint32_t ret_hosts[BATCH_MAX])
{
    for (uint32_t i = 0; i < answer->n_holders; i++) {
        const struct record_holder *holder = &answer->holders[i];
        uint16_t peer;
        ret_hosts[i] = view_peer_index(view, holder->node_id, holder->incarnation, &peer) == 0
                           ? host_of(view, peer)
                           : 0;
    }
}

void invite_reader(const struct core_view *view, const struct message_lookup *lookup,
                   uint64_t now_ns, struct record_index *hot, struct message_locations *answer)
{
    uint32_t hosts[BATCH_MAX];
    answer->hot = hot;
    answer->n_hot = 0;
    if (!view->reader || !lookup->reader)
        return;
    find_hosts(view, answer, hosts);
    for (uint32_t from = 0, end; from < answer->n_found; from = end) {
        uint16_t index = answer->found[from].index;
        bool is_near = false;
        for (end = from; end < answer->n_found && answer->found[end].index == index; end++)
            is_near |= hosts[answer->found[end].place.holder] == lookup->reader;
        if (!is_near && demand_asked(view->demand, lookup->keys[index].digest, lookup->reader,
                                     end - from, now_ns))
            hot[answer->n_hot++].index = index;
    }
}
