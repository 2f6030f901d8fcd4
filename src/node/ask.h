/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ask.h - carries out the look-ups of a locate, until all keys are decided or the deadline.
 *
 * Between ask_begin() and ask_finish() the first asks are on their way and the caller may do
 * something else; then keys that need no answer are decided already.
 */
#ifndef NODE_ASK_H
#define NODE_ASK_H

#include "core/locate.h"
#include "io/channel.h"

/* Asked at once; the keys of others wait for the next round. */
enum { ASK_PEERS_MAX = 128 };

struct node;

struct asking {
    struct node *node;
    struct locate *locate;
    uint64_t deadline_ns, until_ns; /* of all, and of this round */
    bool is_under_way;
    struct locate_ask asks[LOCATE_ASKS_MAX];
    bool answered[LOCATE_ASKS_MAX], tried[LOCATE_ASKS_MAX];
    uint32_t n_asks;
    bool is_hasty; /* a silence of this round says nothing about a peer */
    struct channel *channels[ASK_PEERS_MAX];
    uint16_t peers[ASK_PEERS_MAX];
    uint32_t n_channels;
};

void ask_begin(struct asking *asking, struct node *node, struct locate *locate,
               uint64_t deadline_ns);
void ask_finish(struct asking *asking);
/* Both. */
void ask_owners(struct node *node, struct locate *locate, uint64_t deadline_ns);

#endif
