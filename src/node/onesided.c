/* SPDX-License-Identifier: Apache-2.0 */
/* onesided.c - borrows the links of each holder, and hands its pages to a reading. */
#include "node/onesided.h"

#include <errno.h>
#include <stdlib.h>

#include "node/peers.h"
#include "node/rdma.h"

/* The number of a holder's links in peers[]; READING_PEERS_MAX: it has none that work. */
static uint32_t find_peer(struct onesided *o, uint8_t *known, uint16_t peer, uint64_t open_until_ns)
{
    if (known[peer] == 0) {
        bool works = o->n_peers < READING_PEERS_MAX && peers_may_ask(o->node, peer) &&
                     rdma_borrow_links(o->node, peer, open_until_ns, &o->peers[o->n_peers]);
        known[peer] = (uint8_t)(works ? 1 + o->n_peers++ : 1 + READING_PEERS_MAX);
    }
    return known[peer] - 1u;
}

static void want(struct onesided *o, uint32_t index, uint32_t peer)
{
    const struct channel_page *page = &o->pages[index].wanted;
    o->origins[o->n] = index;
    o->wanted[o->n++] = (struct reading_page){
        .peer = peer,
        .slot = page->place.slot,
        .expected = {.digest = page->digest,
                     .generation = page->place.generation,
                     .offset_bytes = page->place.offset_bytes,
                     .length_bytes = page->place.length_bytes},
        .segments = page->segments,
        .segment_count = page->n_segments,
    };
}

/* Also those that are decided already: a queue pair of theirs was broken meanwhile. */
static void mark(struct onesided *o)
{
    for (uint32_t i = 0; i < o->n; i++)
        if (o->wanted[i].error != -EOPNOTSUPP)
            o->pages[o->origins[i]].via = PEERCACHE_VIA_RDMA;
}

/* Named, and it does not work: no silent way out. */
static void refuse_rest(struct onesided *o, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (o->pages[i].via != PEERCACHE_VIA_RDMA) {
            o->pages[i].via = PEERCACHE_VIA_NONE;
            o->pages[i].wanted.error = -EHOSTUNREACH;
        }
}

void onesided_begin(struct onesided *o, struct node *node, struct stream_page *pages, uint32_t n,
                    uint64_t deadline_ns)
{
    uint8_t known[CORE_PEERS_MAX] = {0};
    uint64_t open_until_ns = rdma_open_until(deadline_ns);
    o->node = node;
    o->pages = pages;
    o->n = o->n_peers = 0;
    o->wanted = NULL;
    o->origins = NULL;
    if (n == 0 || !node->rails)
        return;
    o->wanted = malloc(n * sizeof *o->wanted);
    o->origins = malloc(n * sizeof *o->origins);
    for (uint32_t i = 0; i < n && o->wanted && o->origins; i++) {
        uint32_t peer = find_peer(o, known, pages[i].peer, open_until_ns);
        if (peer < READING_PEERS_MAX)
            want(o, i, peer);
    }
    if (o->n > 0) {
        reading_begin(&o->reading, node->rails, o->peers, o->n_peers, o->wanted, o->n);
        mark(o);
    }
    if (node->config.protocol == NODE_PROTOCOL_RDMA)
        refuse_rest(o, n);
}

static bool is_final(int error)
{
    return error == 0 || error == -ESTALE || error == -EBADMSG;
}

void onesided_finish(struct onesided *o, uint64_t deadline_ns)
{
    if (o->n > 0)
        reading_finish(&o->reading, deadline_ns, &o->node->is_stopping);
    for (uint32_t i = 0; i < o->n; i++) {
        struct stream_page *page = &o->pages[o->origins[i]];
        if (page->via != PEERCACHE_VIA_RDMA)
            continue;
        page->wanted.error = is_final(o->wanted[i].error) ? o->wanted[i].error : -EINPROGRESS;
        page->wanted.checksum = o->wanted[i].checksum;
    }
    for (uint32_t i = 0; i < o->n_peers; i++)
        rdma_return_links(&o->peers[i]);
    free(o->wanted);
    free(o->origins);
}
