/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.c - set: ask whether an alive holder has the page, take room, copy, seal, announce, wait.
 *
 * Pages go in batches of about two megabytes, so that little is waited for: the first one is copied
 * while the owners are asked, and given up where they know the page; the next ones are copied while
 * the owners record those before.
 *
 * The calling thread copies (fill.h).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/clock.h"
#include "node/ask.h"
#include "node/fill.h"
#include "node/find.h"
#include "node/internal.h"
#include "node/step.h"

enum {
    FULL_TRIES = 3,
    BATCH_BYTES = 2 << 20, /* 200 us of copying: longer than a look-up or announce */
    BATCHES_UNDER_WAY = 4,
};
#define FULL_PAUSE_NS 2000000

/* One batch of pages that want room. */
struct batch {
    struct core_page pages[CORE_BATCH_MAX];
    uint16_t origin[CORE_BATCH_MAX]; /* the caller's page */
    uint32_t n, op;
    bool is_announced; /* the waiter is linked */
    struct waiter waiter;
};

struct store {
    struct node *node;
    const struct node_namespace *ns;
    const struct node_page *pages;
    struct peercache_result *results;
    uint32_t n;
    uint64_t deadline_ns, copy_deadline_ns;
    struct finding finding;
    struct asking asking; /* under way until the first batch is copied */
};

static void set_result(struct store *store, uint32_t page, uint16_t outcome)
{
    store->results[page] = (struct peercache_result){
        .outcome = outcome,
        .len_bytes = store->pages[page].length_bytes,
        .tier = outcome < PEERCACHE_MISS_UNKNOWN ? PEERCACHE_TIER_MEMORY : PEERCACHE_TIER_NONE,
        .via = outcome == PEERCACHE_STORED || outcome == PEERCACHE_STORED_LOCAL
                   ? PEERCACHE_VIA_LOCAL
                   : PEERCACHE_VIA_NONE,
    };
}

/* What is there already, here or at an alive holder, is not stored again. */
static void skip_found(struct store *store)
{
    struct finding *finding = &store->finding;
    for (uint32_t i = 0; i < finding->n; i++)
        if (locate_is_there(&finding->locate, &finding->keys[i]))
            set_result(store, finding->pages[i], PEERCACHE_ALREADY_STORED);
}

static void begin_look_up(struct store *store)
{
    struct node *node = store->node;
    if (finding_init(&store->finding, node->view, store->pages, store->results, store->n) != 0) {
        store->finding.n = 0;
        return;
    }
    uint64_t until_ns = clock_now_ns() + node->config.exists_timeout_ns;
    ask_begin(&store->asking, node, &store->finding.locate,
              until_ns < store->deadline_ns ? until_ns : store->deadline_ns);
    skip_found(store);
}

static void finish_look_up(struct store *store)
{
    if (!store->asking.is_under_way)
        return;
    ask_finish(&store->asking);
    skip_found(store);
}

static void collect(const struct store *store, uint32_t *from, struct batch *batch)
{
    uint64_t bytes = 0;
    batch->n = 0;
    for (; *from < store->n && batch->n < CORE_BATCH_MAX && bytes < BATCH_BYTES; ++*from) {
        const struct node_page *page = &store->pages[*from];
        if (store->results[*from].outcome != PEERCACHE_UNSET)
            continue;
        bytes += page->length_bytes;
        batch->origin[batch->n] = (uint16_t)*from;
        batch->pages[batch->n++] = fill_page(store->ns, page);
    }
}

static uint16_t outcome_of_refusal(int error)
{
    switch (error) {
    case -EEXIST: return PEERCACHE_ALREADY_STORED;
    case -EFBIG: return PEERCACHE_REFUSED_TOO_LARGE;
    case -ETIMEDOUT: return PEERCACHE_MISS_DEADLINE;
    case -ESHUTDOWN: return PEERCACHE_REFUSED_DRAINING;
    default: return PEERCACHE_REFUSED_FULL;
    }
}

static void copy_batch(struct store *store, struct batch *batch)
{
    for (uint32_t i = 0; i < batch->n; i++) {
        struct core_page *page = &batch->pages[i];
        if (page->error == 0)
            page->error = fill_slot(store->node, page, &store->pages[batch->origin[i]],
                                    store->copy_deadline_ns);
    }
}

/* Pages that the look-up has found meanwhile are given up. */
static void seal_batch(struct store *store, struct batch *batch)
{
    for (uint32_t i = 0; i < batch->n; i++) {
        struct core_page *page = &batch->pages[i];
        if (page->error == 0 && store->results[batch->origin[i]].outcome != PEERCACHE_UNSET)
            page->error = -EEXIST;
        if (page->error == 0)
            page->error = fill_seal(store->node, page);
    }
}

static void announce_batch(struct store *store, struct batch *batch)
{
    struct core_event event = {.type = CORE_COPIED,
                               .u.set = {.pages = batch->pages, .n = batch->n, .op = batch->op}};
    batch->waiter = (struct waiter){0};
    batch->is_announced = true;
    node_step(store->node, &event, &batch->waiter);
}

/* Waits for the owners of what was announced. */
static void await_batch(struct store *store, struct batch *batch)
{
    if (!batch->is_announced)
        return;
    batch->is_announced = false;
    int error = node_wait(store->node, &batch->waiter, store->deadline_ns);
    for (uint32_t i = 0; i < batch->n; i++)
        if (batch->pages[i].error == 0)
            set_result(store, batch->origin[i],
                       error != -ETIMEDOUT && batch->waiter.recorded[i] ? PEERCACHE_STORED
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
    if (any)
        copy_batch(store, batch);
    finish_look_up(store);
    if (any) {
        seal_batch(store, batch);
        announce_batch(store, batch);
    }
    for (uint32_t i = 0; i < batch->n; i++) {
        int error = batch->pages[i].error;
        if (error != 0 && store->results[batch->origin[i]].outcome == PEERCACHE_UNSET &&
            (error != -EBUSY || is_last_try))
            set_result(store, batch->origin[i], outcome_of_refusal(error));
    }
}

/* Every page that has no result yet, once; whether some of them found no room. */
static bool store_round(struct store *store, struct batch *batches, bool is_last_try)
{
    bool is_full = false;
    uint32_t at = 0;
    for (uint32_t from = 0; from < store->n; at = (at + 1) % BATCHES_UNDER_WAY) {
        await_batch(store, &batches[at]);
        collect(store, &from, &batches[at]);
        if (batches[at].n > 0)
            store_batch(store, &batches[at], is_last_try);
        is_full |= has_full(&batches[at]);
    }
    for (uint32_t i = 0; i < BATCHES_UNDER_WAY; i++, at = (at + 1) % BATCHES_UNDER_WAY)
        await_batch(store, &batches[at]);
    return is_full;
}

static void store_all(struct store *store, struct batch *batches)
{
    static const struct timespec pause = {.tv_nsec = FULL_PAUSE_NS};
    for (int attempt = 1; attempt <= FULL_TRIES; attempt++) {
        bool is_last =
            attempt == FULL_TRIES || clock_now_ns() + FULL_PAUSE_NS >= store->deadline_ns;
        if (!store_round(store, batches, is_last) || is_last)
            return;
        nanosleep(&pause, NULL);
    }
}

void node_store(struct node *node, const struct node_namespace *ns, const struct node_page *pages,
                struct peercache_result *results, uint32_t n, uint64_t deadline_ns)
{
    struct store store = {.node = node,
                          .ns = ns,
                          .pages = pages,
                          .results = results,
                          .n = n,
                          .deadline_ns = deadline_ns};
    /* A call that must not wait still stores, at this node. */
    store.copy_deadline_ns = clock_now_ns() < deadline_ns ? deadline_ns : UINT64_MAX;
    struct batch *batches = malloc(BATCHES_UNDER_WAY * sizeof *batches);
    for (uint32_t i = 0; batches && i < BATCHES_UNDER_WAY; i++)
        batches[i].is_announced = false;
    begin_look_up(&store);
    if (n > 0 && pages[0].length_bytes > BATCH_BYTES)
        finish_look_up(&store); /* too much to be copied in vain */
    if (batches)
        store_all(&store, batches);
    finish_look_up(&store);
    finding_fini(&store.finding);
    free(batches);
    for (uint32_t i = 0; i < n; i++)
        if (results[i].outcome == PEERCACHE_UNSET)
            set_result(&store, i, PEERCACHE_REFUSED_FULL);
}
