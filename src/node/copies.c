/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copies.c - room, the copy, the announcement.
 *
 * What goes on is only what the holder sealed: its checksum came with the bytes, and the copy is
 * hashed anyway.  A page that fails this has been damaged on its way, whatever `verify` says, and
 * the caller of the get is told.
 */
#include "node/copies.h"

#include <errno.h>

#include "base/clock.h"
#include "node/fill.h"
#include "node/step.h"

/* A copy into memory that was never touched is not slower than this. */
#define BYTES_A_US UINT64_C(1000)

void copies_note(struct copies *copies, struct node *node, const struct copy *copy)
{
    if (copies->n < COPIES_MAX && copies->bytes + copy->page->length_bytes <= COPIES_MAX_BYTES) {
        copies->bytes += copy->page->length_bytes;
        copies->list[copies->n++] = *copy;
    } else {
        metric_add(&node->metrics, METRIC_hot_pages_declined, 1);
    }
}

static uint64_t copy_time_ns(const struct copy *copy)
{
    return copy->page->length_bytes / BYTES_A_US * 1000;
}

/* So many of the first pages can be copied until then; a single one only has to be ready in time
 * for the call. */
static uint32_t fit(const struct copies *copies, uint64_t now_ns, uint64_t until_ns,
                    uint64_t deadline_ns)
{
    uint32_t n = 0;
    for (uint64_t at_ns = now_ns; n < copies->n; n++) {
        at_ns += copy_time_ns(&copies->list[n]);
        if (at_ns >= (n == 0 ? deadline_ns : until_ns))
            break;
    }
    return n;
}

static uint32_t reserve(struct copies *copies, struct node *node, const struct node_namespace *ns,
                        struct core_page *pages, uint32_t n)
{
    uint32_t op;
    struct core_event event = {.type = CORE_RESERVE,
                               .u.set = {.pages = pages, .n = n, .ret_op = &op}};
    for (uint32_t i = 0; i < n; i++) {
        pages[i] = fill_page(ns, copies->list[i].page);
        pages[i].claim = CORE_CLAIM_RETIRED;
    }
    node_step(node, &event, NULL);
    return op;
}

static void copy_one(struct copy *copy, struct node *node, struct core_page *page,
                     uint64_t until_ns)
{
    page->error = fill_copy(node, page, copy->page, copy->checksum, until_ns);
    copy->is_damaged = page->error == -EILSEQ;
}

static void announce(struct node *node, struct core_page *pages, uint32_t n, uint32_t op)
{
    struct core_event event = {
        .type = CORE_COPIED,
        .u.set = {.pages = pages, .n = n, .op = op, .is_unawaited = true},
    };
    node_step(node, &event, NULL);
}

static uint64_t copy_until(uint64_t now_ns, uint64_t began_ns, uint64_t deadline_ns)
{
    uint64_t time_ns = (now_ns - began_ns) / COPIES_TIME_SHARE;
    uint64_t until_ns = now_ns + (time_ns > COPIES_TIME_LEAST_NS ? time_ns : COPIES_TIME_LEAST_NS);
    return until_ns < deadline_ns ? until_ns : deadline_ns;
}

void copies_publish(struct copies *copies, struct node *node, const struct node_namespace *ns,
                    uint64_t began_ns, uint64_t deadline_ns)
{
    struct core_page pages[COPIES_MAX];
    uint64_t now_ns = clock_now_ns(), until_ns = copy_until(now_ns, began_ns, deadline_ns);
    uint64_t n_published = 0;
    if (copies->n == 0)
        return;
    uint32_t n = fit(copies, now_ns, until_ns, deadline_ns);
    uint32_t op = n > 0 ? reserve(copies, node, ns, pages, n) : 0;
    for (uint32_t i = 0; op != 0 && i < n; i++) {
        if (pages[i].error == 0)
            copy_one(&copies->list[i], node, &pages[i], until_ns);
        n_published += pages[i].error == 0;
    }
    if (op != 0)
        announce(node, pages, n, op);
    metric_add(&node->metrics, METRIC_hot_pages_published, n_published);
    metric_add(&node->metrics, METRIC_hot_pages_declined, copies->n - n_published);
}
