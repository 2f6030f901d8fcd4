/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reading.c - a call's chains under way: post what fits, take what has ended, give up what is late.
 *
 * A page may come in several parts, over several queue pairs; it is whole when the parts whose own
 * verdict was good add up to it.  Before the call returns, each chain of it has ended: by itself,
 * or because its queue pair was destroyed.
 */
#include "io/rdma/reading.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "io/copy.h"
#include "io/patience.h"
#include "io/rdma/reading_plan.h"

/* Queue pairs are destroyed so long before the deadline, since that takes its time. */
#define DESTROY_NS UINT64_C(2000000)
/* Asleep no longer than this without a look at the peer's channel and the time. */
#define NAP_NS UINT64_C(5000000)

/* --- ends ------------------------------------------------------------------------------------- */

static void take_part(struct reading *reading, struct lane *lane, const struct chain *chain,
                      uint32_t part)
{
    uint32_t index = lane->origins[chain->parts[part].page];
    struct reading_page *page = &reading->pages[index];
    struct slot_sample sample;
    int error = chain_verdict(chain, part, lane->pages, &sample);
    if (page->error != -EINPROGRESS)
        return;
    if (error) {
        page->error = error;
        return;
    }
    page->checksum = sample.checksum;
    page->whole_bytes += chain->parts[part].len_bytes;
    if (page->whole_bytes == page->expected.length_bytes)
        page->error = 0;
}

/* A chain that failed may still be landing until its queue pair is destroyed. */
static void take_chain(struct reading *reading, struct lane *lane, uint32_t index)
{
    struct lane_chain *at = &lane->chains[index];
    if (chain_end(at->chain) == CHAIN_FAILED) {
        lane->has_failed = true;
        /* First: nobody borrows what is being destroyed. */
        link_break(lane->link, atomic_load(&lane->link->rail->port_is_down)
                                   ? "a READ failed: the device's port is down"
                                   : "a READ failed");
        queue_break(at->queue);
    }
    for (uint32_t i = 0; i < at->chain->n_parts; i++)
        take_part(reading, lane, at->chain, i);
    queue_release(at->queue, at->chain);
    *at = lane->chains[--lane->n_chains];
    lane->moved_ns = clock_now_ns();
}

static bool take_ended(struct reading *reading, struct lane *lane)
{
    bool has_moved = false;
    for (uint32_t i = lane->n_chains; i-- > 0;)
        if (chain_end(lane->chains[i].chain) != CHAIN_UNDER_WAY) {
            take_chain(reading, lane, i);
            has_moved = true;
        }
    return has_moved;
}

/* The link is not to blame where the lane only waited for others that use it, and not the peer
 * where only the call's time was up. */
static void give_up(struct reading *reading, struct lane *lane, bool is_late)
{
    lane->has_failed = true;
    if (lane->n_chains > 0 && is_late)
        link_break(lane->link, "READs were not answered in time");
    else if (lane->n_chains > 0)
        link_renew(lane->link, "a call's time was up");
    for (uint32_t i = 0; i < lane->n_chains; i++)
        queue_break(lane->chains[i].queue);
    take_ended(reading, lane);
    CHECK(lane->n_chains == 0);
}

/* --- posting ---------------------------------------------------------------------------------- */

/* On the queue pair whose turn it is, or else on the other. */
static int post_one(struct reading *reading, struct lane *lane)
{
    struct link *link = lane->link;
    uint32_t turn = atomic_fetch_add_explicit(&link->turn, 1, memory_order_relaxed);
    int error = -EAGAIN;
    for (uint32_t i = 0; i < PAIR_MAX && error == -EAGAIN; i++) {
        struct queue *queue = link->queues[(turn + i) % PAIR_MAX];
        struct chain *chain;
        error = queue_post(queue, reading->scratch, &link->source, lane->pages, lane->n,
                           &lane->cursor, reading->waiter, &chain);
        if (chain)
            lane->chains[lane->n_chains++] = (struct lane_chain){queue, chain};
    }
    return error;
}

static void post_more(struct reading *reading, struct lane *lane)
{
    while (!lane->has_failed && lane->cursor.page < lane->n) {
        int error = post_one(reading, lane);
        if (error == -EAGAIN || error == -ENODATA)
            return;
        if (error) {
            link_break(lane->link, "READs cannot be posted");
            give_up(reading, lane, true);
        }
    }
}

/* --- the call --------------------------------------------------------------------------------- */

void reading_begin(struct reading *reading, struct rails *rails, const struct reading_peer *peers,
                   uint32_t n_peers, struct reading_page *pages, uint32_t n)
{
    reading_plan(reading, rails, peers, n_peers, pages, n);
    reading->waiter = waiters_take(&rails->waiters);
    uint64_t now_ns = clock_now_ns();
    for (uint32_t i = 0; i < reading->n_lanes; i++) {
        reading->lanes[i].moved_ns = now_ns;
        post_more(reading, &reading->lanes[i]);
    }
}

static bool is_over(const struct lane *lane)
{
    return lane->n_chains == 0 && (lane->has_failed || lane->cursor.page == lane->n);
}

/* A round over all lanes.  Whether something moved; *ret_is_over: nothing is left to wait for. */
static bool advance(struct reading *reading, bool *ret_is_over)
{
    bool has_moved = false;
    *ret_is_over = true;
    for (uint32_t i = 0; i < reading->n_lanes; i++) {
        struct lane *lane = &reading->lanes[i];
        has_moved |= take_ended(reading, lane);
        post_more(reading, lane);
        *ret_is_over &= is_over(lane);
    }
    return has_moved;
}

static bool is_late(const struct lane *lane, uint64_t now_ns)
{
    return now_ns >= lane->moved_ns + PATIENCE_STALL_NS ||
           atomic_load(&lane->link->rail->is_dead) || !link_is_alive(lane->link);
}

static void give_up_late(struct reading *reading, uint64_t now_ns, bool all)
{
    for (uint32_t i = 0; i < reading->n_lanes; i++) {
        struct lane *lane = &reading->lanes[i];
        bool late = is_late(lane, now_ns);
        if (!is_over(lane) && (all || late))
            give_up(reading, lane, late);
    }
}

/* Polls for a while after something moved, then sleeps. */
static void await(struct reading *reading, uint64_t now_ns, uint64_t spin_until_ns,
                  uint64_t deadline_ns, uint32_t seen)
{
    if (now_ns < spin_until_ns) {
        sched_yield();
        return;
    }
    uint64_t left_ns = deadline_ns - now_ns;
    waiters_sleep(&reading->rails->waiters, reading->waiter, seen,
                  left_ns < NAP_NS ? left_ns : NAP_NS);
    give_up_late(reading, clock_now_ns(), false);
}

static void wait_for_all(struct reading *reading, uint64_t deadline_ns,
                         const atomic_bool *is_stopped)
{
    uint64_t spin_until_ns = clock_now_ns() + reading->rails->spin_ns;
    for (;;) {
        bool over;
        uint32_t seen = waiters_ticks(&reading->rails->waiters, reading->waiter);
        bool has_moved = advance(reading, &over);
        if (over)
            return;
        uint64_t now_ns = clock_now_ns();
        if (now_ns >= deadline_ns ||
            atomic_load(is_stopped)) /* though something moves all the time */
            give_up_late(reading, now_ns, true);
        else if (has_moved)
            spin_until_ns = now_ns + reading->rails->spin_ns;
        else
            await(reading, now_ns, spin_until_ns, deadline_ns, seen);
    }
}

/* What landed beside the caller's memory goes there now: nothing is under way any more. */
static void copy_bounced(struct reading *reading, uint64_t deadline_ns)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < reading->n; i++) {
        struct reading_page *page = &reading->pages[i];
        if (page->error != 0 || !page->bounced)
            continue;
        page->error = copy_scatter(page->bounced, page->expected.length_bytes, page->segments,
                                   page->segment_count, deadline_ns);
        n++;
    }
    metric_add(reading->rails->metrics, METRIC_rdma_pages_bounced, n);
}

static void count_stale(struct reading *reading)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < reading->n; i++)
        n += reading->pages[i].error == -ESTALE;
    metric_add(reading->rails->metrics, METRIC_rdma_stale, n);
}

void reading_finish(struct reading *reading, uint64_t deadline_ns, const atomic_bool *is_stopped)
{
    wait_for_all(reading, deadline_ns > DESTROY_NS ? deadline_ns - DESTROY_NS : 0, is_stopped);
    copy_bounced(reading, deadline_ns);
    count_stale(reading);
    reading_plan_fini(reading);
}
