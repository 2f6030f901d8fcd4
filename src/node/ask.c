/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ask.c - carries out look-ups: all owners in parallel, each with its own time.
 *
 * The calling thread borrows one channel a peer, sends the asks, and waits for the answers itself.
 * Channels that have yet to connect do so all at once; an owner that does not answer costs only its
 * own keys, and one that has failed before costs nothing.
 */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "io/patience.h"
#include "node/ask.h"
#include "node/internal.h"
#include "node/peers.h"
#include "node/probe.h"

#define ANSWER_TIMEOUT_NS UINT64_C(250000000)

static bool send_ask(struct asking *asking, struct channel *channel, uint32_t index)
{
    struct record_key keys[BATCH_MAX];
    struct message_lookup lookup;
    locate_fill_lookup(asking->locate, &asking->asks[index], keys, &lookup);
    metric_add(&asking->node->metrics, METRIC_lookups_sent, lookup.n_keys);
    return channel_ask_lookup(channel, index, &lookup) == 0;
}

/* Sends the asks from @first on that go to the same peer; false: there is no channel by then. */
static bool send_to_peer(struct asking *asking, uint32_t first, uint64_t deadline_ns)
{
    uint16_t peer = asking->asks[first].peer;
    struct channel_pool *pool = asking->node->peers[peer].channels;
    char reason[HELLO_REASON_BYTES];
    struct channel *channel;
    if (asking->n_channels == ASK_PEERS_MAX || !pool ||
        channel_pool_borrow(pool, deadline_ns, &channel, reason) != 0)
        return false;
    asking->peers[asking->n_channels] = peer;
    asking->channels[asking->n_channels++] = channel;
    for (uint32_t i = first; i < asking->n_asks && asking->asks[i].peer == peer; i++)
        if (!send_ask(asking, channel, i))
            break;
    channel_progress(channel); /* on their way before another peer is turned to */
    return true;
}

static uint32_t next_peer(const struct asking *asking, uint32_t first)
{
    uint32_t i = first + 1;
    while (i < asking->n_asks && asking->asks[i].peer == asking->asks[first].peer)
        i++;
    return i;
}

static void set_tried(struct asking *asking, uint32_t first)
{
    for (uint32_t i = first; i < next_peer(asking, first); i++)
        asking->tried[i] = true;
}

static void send_asks(struct asking *asking, uint64_t deadline_ns)
{
    uint32_t unsent[LOCATE_ASKS_MAX], n_unsent = 0;
    for (uint32_t i = 0; i < asking->n_asks; i = next_peer(asking, i))
        if (send_to_peer(asking, i, 0))
            set_tried(asking, i);
        else
            unsent[n_unsent++] = i;
    for (uint32_t i = 0; i < n_unsent && asking->n_channels < ASK_PEERS_MAX; i++) {
        uint64_t now_ns = clock_now_ns();
        if (now_ns >= deadline_ns)
            break;
        set_tried(asking, unsent[i]);
        send_to_peer(asking, unsent[i], peers_channel_until(now_ns, deadline_ns));
    }
}

static void take_answers(struct asking *asking, uint32_t at)
{
    struct channel_done done;
    channel_progress(asking->channels[at]);
    while (channel_next_done(asking->channels[at], &done)) {
        if (done.error || done.kind != CHANNEL_LOOKUP || done.request >= asking->n_asks)
            continue;
        locate_answer(asking->locate, &asking->asks[done.request], &done.locations);
        asking->answered[done.request] = true;
        breaker_succeeded(&asking->node->view->breakers[asking->peers[at]]);
        channel_progress(asking->channels[at]);
    }
}

static bool is_waiting(const struct asking *asking)
{
    for (uint32_t i = 0; i < asking->n_channels; i++)
        if (channel_asks(asking->channels[i]) > 0 && channel_error(asking->channels[i]) == 0)
            return true;
    return false;
}

static void await_answers(struct asking *asking, uint64_t deadline_ns)
{
    while (is_waiting(asking)) {
        if (channel_wait(asking->channels, asking->n_channels, asking->node->stop_fd, deadline_ns,
                         asking->node->config.spin_ns) != 0)
            return;
        for (uint32_t i = 0; i < asking->n_channels; i++)
            take_answers(asking, i);
    }
}

static void end_round(struct asking *asking)
{
    for (uint32_t i = 0; i < asking->n_channels; i++)
        channel_pool_return(asking->node->peers[asking->peers[i]].channels, asking->channels[i]);
    bool is_stopping = atomic_load(&asking->node->is_stopping);
    for (uint32_t i = 0; i < asking->n_asks; i++) {
        if (asking->answered[i] || !asking->tried[i])
            continue; /* the next round asks whom this one had no time for */
        locate_fail(asking->locate, &asking->asks[i]);
        if (!is_stopping && !asking->is_hasty)
            probe_silent(asking->node, asking->asks[i].peer);
    }
}

static void fail_all(struct asking *asking)
{
    for (uint32_t i = 0; i < asking->n_asks; i++)
        locate_fail(asking->locate, &asking->asks[i]);
}

/* A peer whose breaker is half open is in the plan, since it is time to look whether it is back:
 * not on this call's time.  True: there were such peers, and their keys go to other owners. */
static bool pass_over(struct asking *asking)
{
    bool any = false;
    for (uint32_t i = 0; i < asking->n_asks; i++) {
        if (breaker_is_closed(&asking->node->view->breakers[asking->asks[i].peer]))
            continue;
        probe_request(asking->node, asking->asks[i].peer);
        locate_fail(asking->locate, &asking->asks[i]);
        any = true;
    }
    return any;
}

/* False: all keys are decided. */
static bool plan(struct asking *asking, uint64_t now_ns)
{
    for (;;) {
        asking->n_asks = locate_plan(asking->locate, now_ns, asking->asks);
        if (asking->n_asks == 0)
            return false;
        if (now_ns >= asking->deadline_ns || atomic_load(&asking->node->is_stopping))
            fail_all(asking);
        else if (!pass_over(asking))
            return true;
    }
}

/* False: all keys are decided. */
static bool begin_round(struct asking *asking)
{
    uint64_t now_ns = clock_now_ns();
    if (!plan(asking, now_ns))
        return false;
    asking->until_ns = now_ns + (asking->deadline_ns - now_ns) / 2;
    if (asking->until_ns > now_ns + ANSWER_TIMEOUT_NS)
        asking->until_ns = now_ns + ANSWER_TIMEOUT_NS;
    asking->n_channels = 0;
    asking->is_hasty = asking->until_ns - now_ns < PATIENCE_BUSY_NS;
    memset(asking->answered, 0, sizeof asking->answered);
    memset(asking->tried, 0, sizeof asking->tried);
    send_asks(asking, asking->until_ns);
    return true;
}

void ask_begin(struct asking *asking, struct node *node, struct locate *locate,
               uint64_t deadline_ns)
{
    asking->node = node;
    asking->locate = locate;
    asking->deadline_ns = deadline_ns;
    asking->is_under_way = begin_round(asking);
}

void ask_finish(struct asking *asking)
{
    while (asking->is_under_way) {
        await_answers(asking, asking->until_ns);
        end_round(asking);
        asking->is_under_way = begin_round(asking);
    }
}

void ask_owners(struct node *node, struct locate *locate, uint64_t deadline_ns)
{
    struct asking asking;
    ask_begin(&asking, node, locate, deadline_ns);
    ask_finish(&asking);
}
