/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fetch.c - get: locate the pages, read each from the best holder, verify, try another.
 *
 * Rounds: what has to come over the network is asked for first, then the pages of this host are
 * copied while it travels, then the answers are taken.  A page whose read failed goes on in the
 * next round, with another holder or, once, after a new look-up.  Where the bytes are verified:
 * shm_read_page() for shared memory, read_own() here under a pin, chain_verdict() for RDMA, the
 * holder's pin (serve.c) and channel.c's check of generation and length for TCP.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "core/attempt.h"
#include "io/copy.h"
#include "io/shm_read.h"
#include "node/ask.h"
#include "node/copies.h"
#include "node/find.h"
#include "node/internal.h"
#include "node/onesided.h"
#include "node/peers.h"
#include "node/step.h"
#include "node/streams.h"

struct fetch {
    struct node *node;
    const struct node_namespace *ns;
    const struct node_page *pages;
    struct peercache_result *results;
    struct finding finding;
    struct attempt *attempts; /* a key */
    struct core_touch *touches;
    struct core_stale *stales;
    uint32_t n_touches, n_stales, n_pending;
    struct stream_page *remote; /* this round's pages that come over the network */
    uint32_t n_remote;
    struct onesided onesided; /* those of them that come by RDMA */
    struct copies copies;     /* of hot pages */
    uint64_t began_ns, deadline_ns, copy_deadline_ns;
    bool *is_done;
};

/* --- outcomes --- */

static void finish(struct fetch *fetch, uint32_t key, uint16_t outcome, uint8_t via)
{
    const struct locate_key *located = &fetch->finding.keys[key];
    struct peercache_result *result = &fetch->results[fetch->finding.pages[key]];
    *result = (struct peercache_result){.outcome = outcome, .via = via};
    if (located->n_places > 0)
        result->len_bytes = located->places[0].length_bytes;
    if (outcome == PEERCACHE_HIT)
        result->tier = PEERCACHE_TIER_MEMORY;
    fetch->is_done[key] = true;
    fetch->n_pending--;
}

static void hit(struct fetch *fetch, uint32_t key, const struct location *place, uint8_t via)
{
    fetch->touches[fetch->n_touches++] = (struct core_touch){
        .peer = place->holder, .slot = place->slot, .generation = place->generation};
    finish(fetch, key, PEERCACHE_HIT, via);
}

static void count_stale(struct node *node, enum shm_stop stop)
{
    if (stop == SHM_STOP_BEFORE_COPY)
        metric_add(&node->metrics, METRIC_stale_before, 1);
    else if (stop == SHM_STOP_AFTER_COPY)
        metric_add(&node->metrics, METRIC_stale_after, 1);
    else
        metric_add(&node->metrics, METRIC_stale_at_holder, 1);
}

static void failed(struct fetch *fetch, uint32_t key, uint32_t place_index, int error)
{
    const struct locate_key *located = &fetch->finding.keys[key];
    const struct location *place = &located->places[place_index];
    attempt_failed(&fetch->attempts[key], place_index, error);
    bool is_damaged = attempt_is_damaged(error);
    if ((attempt_is_stale(error) || is_damaged) && fetch->n_stales < fetch->finding.n)
        fetch->stales[fetch->n_stales++] = (struct core_stale){
            .peer = place->holder,
            .digest = located->digest,
            .ring_position = located->ring_position,
            .generation = place->generation,
            .is_damaged = is_damaged,
        };
}

/* --- pages of this host --- */

static int read_own(struct fetch *fetch, const struct node_page *page, const struct location *place)
{
    struct node *node = fetch->node;
    struct slot_header *header = &node->arena.headers[place->slot];
    int error = slot_word_pin(&header->word, place->generation);
    if (error)
        return error;
    uint64_t checksum = header->checksum, landed = checksum;
    const uint8_t *bytes = node->arena.payload + place->offset_bytes;
    if (node->config.verify_checksum)
        error = copy_scatter_hash(bytes, page->length_bytes, page->segments, page->segment_count,
                                  fetch->copy_deadline_ns, &landed);
    else
        error = copy_scatter(bytes, page->length_bytes, page->segments, page->segment_count,
                             fetch->copy_deadline_ns);
    slot_word_unpin(&header->word);
    return error ? error : landed == checksum ? 0 : -EILSEQ;
}

static int read_shared(struct fetch *fetch, const struct node_page *page,
                       const struct arena_mapping *mapping, const struct location *place)
{
    struct shm_read read = {
        .expected = {.digest = page->digest,
                     .generation = place->generation,
                     .offset_bytes = place->offset_bytes,
                     .length_bytes = place->length_bytes},
        .slot = place->slot,
        .segment_count = page->segment_count,
        .segments = page->segments,
        .deadline_ns = fetch->copy_deadline_ns,
        .verify_checksum = fetch->node->config.verify_checksum,
    };
    enum shm_stop stop = SHM_STOP_NONE;
    int error = shm_read_page(mapping, &read, &stop);
    if (error == -ESTALE)
        count_stale(fetch->node, stop);
    return error;
}

static void read_local(struct fetch *fetch, uint32_t key, uint32_t place_index,
                       const struct arena_mapping *mapping)
{
    const struct node_page *page = &fetch->pages[fetch->finding.pages[key]];
    const struct location *place = &fetch->finding.keys[key].places[place_index];
    int error = clock_now_ns() >= fetch->copy_deadline_ns ? -ETIMEDOUT
                : mapping                                 ? read_shared(fetch, page, mapping, place)
                                                          : read_own(fetch, page, place);
    if (error)
        failed(fetch, key, place_index, error);
    else
        hit(fetch, key, place, mapping ? PEERCACHE_VIA_SHM : PEERCACHE_VIA_LOCAL);
}

/* --- a round --- */

struct local_read {
    uint32_t key, place;
    uint16_t peer;
};

static void queue_remote(struct fetch *fetch, uint32_t key, uint32_t place_index)
{
    if (fetch->node->config.protocol == NODE_PROTOCOL_SHM) {
        failed(fetch, key, place_index, -EHOSTUNREACH); /* named, and it does not work */
        return;
    }
    const struct node_page *page = &fetch->pages[fetch->finding.pages[key]];
    const struct location *place = &fetch->finding.keys[key].places[place_index];
    fetch->remote[fetch->n_remote++] = (struct stream_page){
        .key = key,
        .place = place_index,
        .peer = place->holder,
        .via = PEERCACHE_VIA_TCP,
        .wanted = {.digest = page->digest,
                   .place = *place,
                   .segments = page->segments,
                   .n_segments = page->segment_count,
                   .error = -EINPROGRESS},
    };
}

/* Decides for every pending key what this round does; local reads are listed, in order. */
static uint32_t plan_round(struct fetch *fetch, struct local_read *locals)
{
    uint32_t n_locals = 0;
    fetch->n_remote = 0;
    for (uint32_t key = 0; key < fetch->finding.n; key++) {
        if (fetch->is_done[key])
            continue;
        const struct node_page *page = &fetch->pages[fetch->finding.pages[key]];
        uint32_t place = 0;
        switch (attempt_next(&fetch->attempts[key], fetch->node->view, &fetch->finding.keys[key],
                             (uint32_t)page->length_bytes, &place)) {
        case ATTEMPT_READ:
            locals[n_locals++] =
                (struct local_read){key, place, fetch->finding.keys[key].places[place].holder};
            break;
        case ATTEMPT_LOCATE_AGAIN: locate_again(&fetch->finding.locate, key); break;
        case ATTEMPT_GIVE_UP: finish(fetch, key, fetch->attempts[key].outcome, 0); break;
        }
    }
    return n_locals;
}

static bool same_host(const struct fetch *fetch, uint16_t peer)
{
    struct view_peer info;
    return view_peer(fetch->node->view, peer, &info) == 0 && info.same_host;
}

/* Peers that hang cost this together, not each; who comes too late for it is read over the network,
 * this once. */
#define ATTACH_TIMEOUT_NS UINT64_C(100000000)

/* Shared memory where it works; what it does not reach is left to the network. */
static uint32_t split_remote(struct fetch *fetch, struct local_read *reads, uint32_t n,
                             const struct arena_mapping **mappings)
{
    uint32_t kept = 0;
    uint64_t until_ns = clock_now_ns() + ATTACH_TIMEOUT_NS;
    if (until_ns > fetch->deadline_ns)
        until_ns = fetch->deadline_ns;
    for (uint32_t i = 0; i < n; i++) {
        uint16_t peer = reads[i].peer;
        if (peer != CORE_SELF && !mappings[peer] && same_host(fetch, peer))
            mappings[peer] = peers_borrow_mapping(fetch->node, peer, until_ns);
        if (peer == CORE_SELF || mappings[peer])
            reads[kept++] = reads[i];
        else
            queue_remote(fetch, reads[i].key, reads[i].place);
    }
    return kept;
}

static void hit_remote(struct fetch *fetch, const struct stream_page *page)
{
    const struct locate_key *located = &fetch->finding.keys[page->key];
    struct copy copy = {.key = page->key,
                        .place = page->place,
                        .page = &fetch->pages[fetch->finding.pages[page->key]],
                        .checksum = page->wanted.checksum};
    hit(fetch, page->key, &located->places[page->place], page->via);
    if (located->is_hot)
        copies_note(&fetch->copies, fetch->node, &copy);
}

/* A hit that turns out to be damaged while it is copied is none. */
static void keep_hot(struct fetch *fetch)
{
    copies_publish(&fetch->copies, fetch->node, fetch->ns, fetch->began_ns, fetch->deadline_ns);
    for (uint32_t i = 0; i < fetch->copies.n; i++) {
        const struct copy *copy = &fetch->copies.list[i];
        if (!copy->is_damaged)
            continue;
        failed(fetch, copy->key, copy->place, -EILSEQ);
        fetch->results[fetch->finding.pages[copy->key]].outcome = PEERCACHE_MISS_CHECKSUM;
    }
}

static void take_remote(struct fetch *fetch)
{
    for (uint32_t i = 0; i < fetch->n_remote; i++) {
        const struct stream_page *page = &fetch->remote[i];
        int error = page->wanted.error;
        if (error == -EINPROGRESS && clock_now_ns() < fetch->deadline_ns)
            continue; /* it was not asked for yet: in the next round */
        if (error == 0 && fetch->node->config.verify_checksum)
            error = stream_page_checksum(page) == page->wanted.checksum ? 0 : -EILSEQ;
        if (error == -ESTALE && page->via == PEERCACHE_VIA_TCP)
            count_stale(fetch->node, SHM_STOP_NONE);
        if (error == 0)
            hit_remote(fetch, page);
        else
            failed(fetch, page->key, page->place, error == -EINPROGRESS ? -ETIMEDOUT : error);
    }
}

/* A first attempt leaves time for a second one with another holder. */
static uint64_t round_deadline(const struct fetch *fetch, bool is_first)
{
    uint64_t now_ns = clock_now_ns();
    if (!is_first || now_ns >= fetch->deadline_ns)
        return fetch->deadline_ns;
    return now_ns + (fetch->deadline_ns - now_ns) / 4 * 3;
}

static void run_round(struct fetch *fetch, struct local_read *reads, bool is_first)
{
    const struct arena_mapping *mappings[CORE_PEERS_MAX] = {NULL};
    struct streams streams;
    uint32_t n = plan_round(fetch, reads);
    n = split_remote(fetch, reads, n, mappings);
    uint64_t until_ns = round_deadline(fetch, is_first);
    onesided_begin(&fetch->onesided, fetch->node, fetch->remote, fetch->n_remote, until_ns);
    streams_begin(&streams, fetch->node, fetch->remote, fetch->n_remote, until_ns);
    for (uint32_t i = 0; i < n; i++)
        read_local(fetch, reads[i].key, reads[i].place, mappings[reads[i].peer]);
    onesided_finish(&fetch->onesided, until_ns);
    streams_finish(&streams, until_ns);
    take_remote(fetch);
    for (uint32_t i = 0; i < n; i++)
        if (mappings[reads[i].peer]) {
            peers_return_mapping(fetch->node, reads[i].peer);
            mappings[reads[i].peer] = NULL;
        }
}

static void report(struct fetch *fetch)
{
    struct core_event event = {
        .type = CORE_READ_OUTCOMES,
        .u.outcomes = {fetch->touches, fetch->n_touches, fetch->stales, fetch->n_stales},
    };
    if (fetch->n_touches + fetch->n_stales > 0)
        node_step(fetch->node, &event, NULL);
}

static bool fetch_init(struct fetch *fetch)
{
    uint32_t n = fetch->finding.n;
    fetch->attempts = malloc(n * sizeof *fetch->attempts);
    fetch->touches = malloc(n * sizeof *fetch->touches);
    fetch->stales = malloc(n * sizeof *fetch->stales);
    fetch->remote = malloc(n * sizeof *fetch->remote);
    fetch->is_done = calloc(n, sizeof *fetch->is_done);
    fetch->n_pending = n;
    for (uint32_t i = 0; fetch->attempts && i < n; i++)
        attempt_begin(&fetch->attempts[i]);
    return fetch->attempts && fetch->touches && fetch->stales && fetch->remote && fetch->is_done;
}

static void fetch_fini(struct fetch *fetch)
{
    free(fetch->attempts);
    free(fetch->touches);
    free(fetch->stales);
    free(fetch->remote);
    free(fetch->is_done);
    finding_fini(&fetch->finding);
}

static void run(struct fetch *fetch, struct local_read *reads)
{
    for (bool is_first = true; fetch->n_pending > 0; is_first = false) {
        ask_owners(fetch->node, &fetch->finding.locate, fetch->deadline_ns);
        run_round(fetch, reads, is_first);
        if (atomic_load(&fetch->node->is_stopping))
            break;
    }
    for (uint32_t key = 0; key < fetch->finding.n; key++)
        if (!fetch->is_done[key])
            finish(fetch, key, PEERCACHE_REFUSED_CLOSED, 0);
}

void node_fetch(struct node *node, const struct node_namespace *ns, const struct node_page *pages,
                struct peercache_result *results, uint32_t n, uint64_t deadline_ns)
{
    struct fetch fetch = {.node = node,
                          .ns = ns,
                          .pages = pages,
                          .results = results,
                          .began_ns = clock_now_ns(),
                          .deadline_ns = deadline_ns};
    /* A call that must not wait still copies what is here. */
    fetch.copy_deadline_ns = fetch.began_ns < deadline_ns ? deadline_ns : UINT64_MAX;
    struct local_read *reads = malloc(n * sizeof *reads + 1);
    if (finding_init(&fetch.finding, node->view, pages, results, n) == 0 && fetch.finding.n > 0 &&
        reads && fetch_init(&fetch)) {
        fetch.finding.locate.is_read = true;
        run(&fetch, reads);
        keep_hot(&fetch);
        report(&fetch);
    }
    free(reads);
    fetch_fini(&fetch);
}
