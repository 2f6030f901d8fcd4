/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.c - set: ask whether an alive holder has the page, take room, copy, seal, announce, wait.
 *
 * The calling thread copies, between the fences of base/slot_word.h.  A page's name is stored behind
 * its payload, so that the pool can be listed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/clock.h"
#include "io/copy.h"
#include "node/find.h"
#include "node/internal.h"
#include "wire/slot_header.h"

enum { FULL_TRIES = 3 };
#define FULL_PAUSE_NS 2000000

/* One batch of pages that want room. */
struct batch {
    struct core_page pages[CORE_BATCH_MAX];
    uint16_t origin[CORE_BATCH_MAX];    /* the caller's page */
    uint32_t n, op;
};

struct store {
    struct node *node;
    const struct node_namespace *ns;
    const struct node_page *pages;
    struct peercache_result *results;
    uint32_t n;
    uint64_t deadline_ns;
};

static void set_result(struct store *store, uint32_t page, uint16_t outcome)
{
    store->results[page] = (struct peercache_result){
        .outcome = outcome,
        .len_bytes = store->pages[page].length_bytes,
        .tier = outcome < PEERCACHE_MISS_UNKNOWN ? PEERCACHE_TIER_MEMORY : PEERCACHE_TIER_NONE,
        .via = outcome == PEERCACHE_STORED || outcome == PEERCACHE_STORED_LOCAL ? PEERCACHE_VIA_LOCAL
                                                                                : PEERCACHE_VIA_NONE,
    };
}

/* What is there already, here or at an alive holder, is not stored again. */
static void skip_stored(struct store *store)
{
    struct finding finding;
    if (finding_init(&finding, store->node->view, store->pages, store->results, store->n) == 0) {
        uint64_t now_ns = clock_now_ns();
        uint64_t until_ns = now_ns + store->node->config.exists_timeout_ns;
        ask_owners(store->node, &finding.locate,
                   until_ns < store->deadline_ns ? until_ns : store->deadline_ns);
        for (uint32_t i = 0; i < finding.n; i++)
            if (locate_is_there(&finding.locate, &finding.keys[i]))
                set_result(store, finding.pages[i], PEERCACHE_ALREADY_STORED);
    }
    finding_fini(&finding);
}

static void collect(const struct store *store, uint32_t *from, struct batch *batch)
{
    batch->n = 0;
    for (; *from < store->n && batch->n < CORE_BATCH_MAX; ++*from) {
        const struct node_page *page = &store->pages[*from];
        if (store->results[*from].outcome != PEERCACHE_UNSET)
            continue;
        batch->origin[batch->n] = (uint16_t)*from;
        batch->pages[batch->n++] = (struct core_page){
            .digest = page->digest,
            .identity = store->ns->identity,
            .epoch = store->ns->epoch,
            .parent = page->parent,
            .ring_position = page->ring_position,
            .length_bytes = (uint32_t)page->length_bytes,
            .name_len = page->name_len,
        };
    }
}

static uint16_t outcome_of_refusal(int error)
{
    switch (error) {
    case -EEXIST: return PEERCACHE_ALREADY_STORED;
    case -EFBIG: return PEERCACHE_REFUSED_TOO_LARGE;
    case -ETIMEDOUT: return PEERCACHE_MISS_DEADLINE;
    default: return PEERCACHE_REFUSED_FULL;
    }
}

static int copy_page(struct store *store, const struct core_page *page, const struct node_page *source)
{
    struct slot_header *header = &store->node->arena.headers[page->slot];
    uint8_t *payload = store->node->arena.payload + page->offset_bytes;
    uint64_t checksum;
    if (clock_now_ns() >= store->deadline_ns)
        return -ETIMEDOUT;
    slot_word_copy_begin();
    int error = copy_gather_hash(source->segments, source->segment_count, payload,
                                 page->length_bytes, &checksum);
    if (!error) {
        memcpy(payload + page->length_bytes, source->name, source->name_len);
        header->checksum = checksum;
    }
    slot_word_copy_end();   /* also when giving up: no store of ours may come out later */
    if (error)
        return error;
    return slot_word_seal(&header->word, page->generation) ? 0 : -ESTALE;
}

static void copy_batch(struct store *store, struct batch *batch)
{
    for (uint32_t i = 0; i < batch->n; i++) {
        struct core_page *page = &batch->pages[i];
        if (page->error == 0)
            page->error = copy_page(store, page, &store->pages[batch->origin[i]]);
    }
}

static void announce_batch(struct store *store, struct batch *batch)
{
    struct waiter waiter = {0};
    struct core_event event = {
        .type = CORE_COPIED, .u.set = {.pages = batch->pages, .n = batch->n, .op = batch->op}};
    node_step(store->node, &event, &waiter);
    int error = node_wait(store->node, &waiter, store->deadline_ns);
    for (uint32_t i = 0; i < batch->n; i++)
        if (batch->pages[i].error == 0)
            set_result(store, batch->origin[i],
                       error != -ETIMEDOUT && waiter.recorded[i] ? PEERCACHE_STORED
                                                                 : PEERCACHE_STORED_LOCAL);
}

static bool reserve_batch(struct store *store, struct batch *batch)
{
    struct core_event event = {
        .type = CORE_RESERVE,
        .u.set = {.pages = batch->pages, .n = batch->n, .ret_op = &batch->op}};
    node_step(store->node, &event, NULL);
    return batch->op != 0;
}

/* Refusals for lack of room are tried again, when what is pinned or being filled has moved on. */
static bool has_full(const struct batch *batch)
{
    for (uint32_t i = 0; i < batch->n; i++)
        if (batch->pages[i].error == -EBUSY)
            return true;
    return false;
}

static void store_batch(struct store *store, struct batch *batch, bool is_last_try)
{
    bool any = reserve_batch(store, batch);
    if (any) {
        copy_batch(store, batch);
        announce_batch(store, batch);
    }
    for (uint32_t i = 0; i < batch->n; i++) {
        int error = batch->pages[i].error;
        if (error != 0 && (error != -EBUSY || is_last_try))
            set_result(store, batch->origin[i], outcome_of_refusal(error));
    }
}

static void store_all(struct store *store, struct batch *batch)
{
    static const struct timespec pause = {.tv_nsec = FULL_PAUSE_NS};
    for (int attempt = 1; attempt <= FULL_TRIES; attempt++) {
        bool is_full = false;
        bool is_last = attempt == FULL_TRIES || clock_now_ns() + FULL_PAUSE_NS >= store->deadline_ns;
        for (uint32_t from = 0; from < store->n;) {
            collect(store, &from, batch);
            if (batch->n > 0)
                store_batch(store, batch, is_last);
            is_full |= has_full(batch);
        }
        if (!is_full || is_last)
            return;
        nanosleep(&pause, NULL);
    }
}

void node_store(struct node *node, const struct node_namespace *ns, const struct node_page *pages,
                struct peercache_result *results, uint32_t n, uint64_t deadline_ns)
{
    struct store store = {node, ns, pages, results, n, deadline_ns};
    struct batch *batch = malloc(sizeof *batch);
    skip_stored(&store);
    if (batch)
        store_all(&store, batch);
    free(batch);
    for (uint32_t i = 0; i < n; i++)
        if (results[i].outcome == PEERCACHE_UNSET)
            set_result(&store, i, PEERCACHE_REFUSED_FULL);
}
