/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ask.c - carries out look-ups: all owners in parallel, each with its own time.
 *
 * The calling thread borrows one channel a peer, sends the asks, and waits for the answers itself.
 * First go the peers to which a channel is open; an owner that has to be connected to first, or does
 * not answer, costs only its own keys.
 */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "core/locate.h"
#include "node/internal.h"

enum { PEERS_A_ROUND = 128 };
#define CONNECT_TIMEOUT_NS UINT64_C(200000000)
#define ANSWER_TIMEOUT_NS UINT64_C(250000000)
/* A busy machine is silent for less. */
#define PATIENCE_NS UINT64_C(20000000)

struct round {
    struct node *node;
    struct locate *locate;
    struct locate_ask asks[LOCATE_ASKS_MAX];
    bool answered[LOCATE_ASKS_MAX], tried[LOCATE_ASKS_MAX];
    uint32_t n_asks;
    bool is_hasty;                      /* a silence of this round says nothing about a peer */
    struct channel *channels[PEERS_A_ROUND];
    uint16_t peers[PEERS_A_ROUND];
    uint32_t n_channels;
};

static bool send_ask(struct round *round, struct channel *channel, uint32_t index)
{
    struct record_key keys[BATCH_MAX];
    struct message_lookup lookup;
    locate_fill_lookup(round->locate, &round->asks[index], keys, &lookup);
    metric_add(&round->node->metrics, METRIC_lookups_sent, lookup.n_keys);
    return channel_ask_lookup(channel, index, &lookup) == 0;
}

/* Sends the asks from @first on that go to the same peer; false: the peer has no channel by then. */
static bool send_to_peer(struct round *round, uint32_t first, uint64_t deadline_ns)
{
    uint16_t peer = round->asks[first].peer;
    struct channel_pool *pool = round->node->peers[peer].channels;
    char reason[HELLO_REASON_BYTES];
    struct channel *channel;
    if (round->n_channels == PEERS_A_ROUND || !pool ||
        channel_pool_borrow(pool, deadline_ns, &channel, reason) != 0)
        return false;
    round->peers[round->n_channels] = peer;
    round->channels[round->n_channels++] = channel;
    for (uint32_t i = first; i < round->n_asks && round->asks[i].peer == peer; i++)
        if (!send_ask(round, channel, i))
            break;
    channel_progress(channel);          /* on their way before another peer is connected to */
    return true;
}

static uint32_t next_peer(const struct round *round, uint32_t first)
{
    uint32_t i = first + 1;
    while (i < round->n_asks && round->asks[i].peer == round->asks[first].peer)
        i++;
    return i;
}

static void set_tried(struct round *round, uint32_t first)
{
    for (uint32_t i = first; i < next_peer(round, first); i++)
        round->tried[i] = true;
}

static void send_asks(struct round *round, uint64_t deadline_ns)
{
    uint32_t unsent[LOCATE_ASKS_MAX], n_unsent = 0;
    for (uint32_t i = 0; i < round->n_asks; i = next_peer(round, i))
        if (send_to_peer(round, i, 0))
            set_tried(round, i);
        else
            unsent[n_unsent++] = i;
    for (uint32_t i = 0; i < n_unsent && round->n_channels < PEERS_A_ROUND; i++) {
        uint64_t now_ns = clock_now_ns();
        uint64_t until_ns = now_ns + CONNECT_TIMEOUT_NS < deadline_ns ? now_ns + CONNECT_TIMEOUT_NS
                                                                      : deadline_ns;
        if (now_ns >= deadline_ns)
            break;
        set_tried(round, unsent[i]);
        send_to_peer(round, unsent[i], until_ns);
    }
}

static void take_answers(struct round *round, uint32_t at)
{
    struct channel_done done;
    channel_progress(round->channels[at]);
    while (channel_next_done(round->channels[at], &done)) {
        if (done.error || done.kind != CHANNEL_LOOKUP || done.request >= round->n_asks)
            continue;
        locate_answer(round->locate, &round->asks[done.request], &done.locations);
        round->answered[done.request] = true;
        breaker_succeeded(&round->node->view->breakers[round->peers[at]]);
        channel_progress(round->channels[at]);
    }
}

static bool is_waiting(const struct round *round)
{
    for (uint32_t i = 0; i < round->n_channels; i++)
        if (channel_asks(round->channels[i]) > 0 && channel_error(round->channels[i]) == 0)
            return true;
    return false;
}

static void await_answers(struct round *round, uint64_t deadline_ns)
{
    while (is_waiting(round)) {
        if (channel_wait(round->channels, round->n_channels, round->node->stop_fd, deadline_ns,
                         round->node->config.spin_ns) != 0)
            return;
        for (uint32_t i = 0; i < round->n_channels; i++)
            take_answers(round, i);
    }
}

static void end_round(struct round *round)
{
    for (uint32_t i = 0; i < round->n_channels; i++)
        channel_pool_return(round->node->peers[round->peers[i]].channels, round->channels[i]);
    bool is_stopping = atomic_load(&round->node->is_stopping);
    for (uint32_t i = 0; i < round->n_asks; i++) {
        if (round->answered[i] || !round->tried[i])
            continue;                   /* the next round asks whom this one had no time for */
        locate_fail(round->locate, &round->asks[i]);
        if (!is_stopping && !round->is_hasty)
            breaker_failed(&round->node->view->breakers[round->asks[i].peer], clock_now_ns());
    }
}

static void fail_all(struct round *round)
{
    for (uint32_t i = 0; i < round->n_asks; i++)
        locate_fail(round->locate, &round->asks[i]);
}

void ask_owners(struct node *node, struct locate *locate, uint64_t deadline_ns)
{
    struct round round = {.node = node, .locate = locate};
    for (;;) {
        uint64_t now_ns = clock_now_ns();
        round.n_asks = locate_plan(locate, now_ns, round.asks);
        if (round.n_asks == 0)
            return;
        if (now_ns >= deadline_ns || atomic_load(&node->is_stopping)) {
            fail_all(&round);
            continue;
        }
        uint64_t until_ns = now_ns + (deadline_ns - now_ns) / 2;
        if (until_ns > now_ns + ANSWER_TIMEOUT_NS)
            until_ns = now_ns + ANSWER_TIMEOUT_NS;
        round.n_channels = 0;
        round.is_hasty = until_ns - now_ns < PATIENCE_NS;
        memset(round.answered, 0, sizeof round.answered);
        memset(round.tried, 0, sizeof round.tried);
        send_asks(&round, until_ns);
        await_answers(&round, until_ns);
        end_round(&round);
    }
}
