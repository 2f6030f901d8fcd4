/* SPDX-License-Identifier: Apache-2.0 */
/*
 * page.c - get, set and exists: the caller's pages checked, named and cut into batches.
 *
 * A page that is out of range is refused alone; the rest of the batch goes on.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/handle.h"
#include "base/clock.h"
#include "base/hash.h"
#include "node/identity.h"
#include "node/outcome.h"

enum call { CALL_GET, CALL_SET, CALL_EXISTS };

/* Bytes that a default deadline grows by a second for: a quarter of a slow network. */
#define BYTES_A_SECOND UINT64_C(268435456)

const char *peercache_outcome_name(uint16_t outcome)
{
    return outcome_name(outcome);
}

const char *peercache_via_name(uint8_t via)
{
    return via_name(via);
}

static bool has_unsupported(const struct peercache_page *page)
{
    uint32_t reserved = 0;
    for (size_t i = 0; i < sizeof page->reserved / sizeof *page->reserved; i++)
        reserved |= page->reserved[i];
    return page->ttl_s || page->flags || reserved;
}

/* PEERCACHE_UNSET: in range. */
static uint16_t check_segments(const struct peercache_page *page, uint64_t *ret_len_bytes)
{
    uint64_t sum = 0;
    if (page->segment_count > PEERCACHE_SEGMENTS_MAX ||
        (page->segment_count > 0 && !page->segments))
        return PEERCACHE_REFUSED_INVALID;
    for (uint32_t i = 0; i < page->segment_count; i++) {
        uint64_t len = page->segments[i].len_bytes;
        if (len > PEERCACHE_PAGE_MAX_BYTES)
            return PEERCACHE_REFUSED_TOO_LARGE;
        if (len > 0 && !page->segments[i].addr)
            return PEERCACHE_REFUSED_INVALID;
        sum += len;
    }
    *ret_len_bytes = sum;
    if (sum == 0)
        return PEERCACHE_REFUSED_INVALID;
    return sum > PEERCACHE_PAGE_MAX_BYTES ? PEERCACHE_REFUSED_TOO_LARGE : PEERCACHE_UNSET;
}

static uint16_t take_page(const struct node_namespace *ns, const struct peercache_page *page,
                          enum call call, struct node_page *ret_page)
{
    *ret_page =
        (struct node_page){.segments = page->segments, .segment_count = page->segment_count};
    if (identity_name_page(ns, page->name, page->name_len, ret_page) != 0)
        return PEERCACHE_REFUSED_INVALID;
    if (has_unsupported(page))
        return PEERCACHE_REFUSED_UNSUPPORTED;
    if (page->parent && (page->parent_len == 0 || page->parent_len > PEERCACHE_NAME_MAX))
        return PEERCACHE_REFUSED_INVALID;
    if (page->parent)
        ret_page->parent =
            hash_page_digest(ns->identity, ns->epoch, page->parent, page->parent_len);
    if (page->group && call == CALL_SET)
        ret_page->group = hash_page_group(page->group, page->name, page->name_len);
    return call == CALL_EXISTS ? PEERCACHE_UNSET : check_segments(page, &ret_page->length_bytes);
}

static uint64_t default_timeout_ns(const struct node_config *config, enum call call, uint64_t bytes)
{
    switch (call) {
    case CALL_GET: return config->get_timeout_ns + bytes * 1000 / (BYTES_A_SECOND / 1000000);
    case CALL_SET: return config->set_timeout_ns + bytes * 1000 / (BYTES_A_SECOND / 1000000);
    default: return config->exists_timeout_ns;
    }
}

static uint64_t sum_bytes(const struct peercache_page *pages, size_t n)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        for (uint32_t j = 0;
             pages[i].segments && j < pages[i].segment_count && j < PEERCACHE_SEGMENTS_MAX; j++)
            if (pages[i].segments[j].len_bytes <= PEERCACHE_PAGE_MAX_BYTES)
                sum += pages[i].segments[j].len_bytes;
    return sum;
}

static uint64_t deadline_of(const struct node_config *config, enum call call,
                            const struct peercache_page *pages, size_t n, uint32_t timeout_ms)
{
    if (timeout_ms == PEERCACHE_TIMEOUT_NOW)
        return 0;
    if (timeout_ms != PEERCACHE_TIMEOUT_DEFAULT)
        return clock_now_ns() + timeout_ms * UINT64_C(1000000);
    uint64_t bytes = call == CALL_EXISTS ? 0 : sum_bytes(pages, n);
    return clock_now_ns() + default_timeout_ns(config, call, bytes);
}

static void run_batch(struct node *node, const struct node_namespace *ns, enum call call,
                      const struct node_page *pages, struct peercache_result *results, uint32_t n,
                      uint64_t deadline_ns)
{
    switch (call) {
    case CALL_GET: node_fetch(node, ns, pages, results, n, deadline_ns); break;
    case CALL_SET: node_store(node, ns, pages, results, n, deadline_ns); break;
    case CALL_EXISTS: node_find(node, pages, results, n, deadline_ns); break;
    }
}

static enum metric_op metric_op_of(enum call call)
{
    return call == CALL_GET ? METRIC_OP_GET : call == CALL_SET ? METRIC_OP_SET : METRIC_OP_EXISTS;
}

static void run_call(struct peercache_namespace *ns, enum call call,
                     const struct peercache_page *pages, struct peercache_result *results, size_t n,
                     struct node_page *batch, uint64_t deadline_ns)
{
    struct node *node = ns->node->node;
    struct node_namespace now = {ns->identity, node_epoch(node, ns->identity)};
    for (size_t from = 0; from < n; from += NODE_BATCH_MAX) {
        uint32_t count = n - from < NODE_BATCH_MAX ? (uint32_t)(n - from) : NODE_BATCH_MAX;
        for (uint32_t i = 0; i < count; i++)
            results[from + i] = (struct peercache_result){
                .outcome = take_page(&now, &pages[from + i], call, &batch[i])};
        run_batch(node, &now, call, batch, results + from, count, deadline_ns);
        node_count_results(node, metric_op_of(call), results + from, count);
    }
}

static int call_pages(struct peercache_namespace *ns, enum call call,
                      const struct peercache_page *pages, struct peercache_result *results,
                      size_t n, uint32_t timeout_ms)
{
    if (!ns || (n > 0 && (!pages || !results)))
        return -EINVAL;
    struct node *node = ns->node->node;
    int error = node_enter(node);
    if (error == -ESHUTDOWN) {
        for (size_t i = 0; i < n; i++)
            results[i] = (struct peercache_result){.outcome = PEERCACHE_REFUSED_CLOSED};
        return 0;
    }
    if (error)
        return error;
    size_t batch_len = n < NODE_BATCH_MAX ? n : NODE_BATCH_MAX;
    struct node_page *batch = malloc(batch_len * sizeof *batch + 1);
    if (batch)
        run_call(ns, call, pages, results, n, batch,
                 deadline_of(node_config(node), call, pages, n, timeout_ms));
    else
        error = -ENOMEM;
    free(batch);
    node_exit(node);
    return error;
}

int peercache_get(struct peercache_namespace *ns, const struct peercache_page *pages,
                  struct peercache_result *results, size_t n, uint32_t timeout_ms)
{
    return call_pages(ns, CALL_GET, pages, results, n, timeout_ms);
}

int peercache_set(struct peercache_namespace *ns, const struct peercache_page *pages,
                  struct peercache_result *results, size_t n, uint32_t timeout_ms)
{
    return call_pages(ns, CALL_SET, pages, results, n, timeout_ms);
}

int peercache_exists(struct peercache_namespace *ns, const struct peercache_page *pages,
                     struct peercache_result *results, size_t n, uint32_t timeout_ms)
{
    return call_pages(ns, CALL_EXISTS, pages, results, n, timeout_ms);
}
