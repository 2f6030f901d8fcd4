/* SPDX-License-Identifier: Apache-2.0 */
/* discovery.h - where members are found, and this node's part in it; on the node thread. */
#ifndef NODE_DISCOVERY_H
#define NODE_DISCOVERY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/address.h"
#include "core/core.h"
#include "io/listener.h"
#include "io/loop.h"
#include "io/member_file.h"
#include "node/node.h"

struct discovery {
    struct address own;      /* the service of this host; port 0: it has none */
    struct address also;     /* a seed that is this host under another address; port 0: none */
    const char *host_option; /* which option has chosen the address to listen on */
    bool has_head, spreads[NODE_SEEDS_MAX];
    struct listener *listener, *also_listener;
    struct loop_timer retry, save;
    bool serves, has_told_taken;
    uint32_t n_links;              /* to masters, up */
    bool has_told[NODE_SEEDS_MAX]; /* that this seed does not answer */
    atomic_bool members_changed;   /* since they were written to the state directory */
    uint32_t n_saved;
    struct address saved[MEMBER_FILE_MAX];
};

/* Before the node thread runs, in this order; from discovery_start() on, on the node thread. */
void discovery_choose_hosts(struct node *node);
void discovery_open(struct node *node);
void discovery_describe(const struct node *node, struct core_config *core);
void discovery_start(struct node *node);
void discovery_close(struct node *node);
/* A dial to a service has ended: it is up (reason NULL), or this is why not. */
void discovery_reached(struct node *node, const char *address, const char *reason);
void discovery_probed(struct node *node, int error, const char *reason);
/* Any thread. */
void discovery_members_changed(struct node *node);

#endif
