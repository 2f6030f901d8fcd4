/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster.c - the shell of many cores: events in order of time, links, and what is counted.
 *
 * Node 0 is the first seed.  A node's host text names its number, so a dial needs no other table.
 */
#include "cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/hash.h"
#include "core/inspection.h"
#include "core/ring.h"
#include "wire/codec.h"

#define DELAY_NS (100 * US)
enum { FILL_BATCH = 256, PAGE_BYTES = 64, PAGE_ROOM_BYTES = 128, NAME_LEN = 8 };

enum what { TAKE, WAKE, MEET, UP, DOWN };

struct event {
    uint64_t at_ns, order;
    enum what what;
    int node;
    uint32_t link;      /* of the node */
    int from;           /* MEET, UP: who is at the other end, */
    uint32_t from_link; /* and its number of the link */
    enum purpose purpose;
    uint8_t *frame;
};

struct cluster cluster;
static struct event *events;
static uint32_t n_events, events_size;
static uint64_t n_orders;
static uint8_t frame_bytes[FRAME_HEAD_BYTES + FRAME_BODY_MAX_BYTES];
static struct message_scratch scratch;

/* --- events: a heap by time and order --- */

static bool is_before(const struct event *a, const struct event *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

static void later(uint64_t at_ns, struct event event)
{
    if (n_events == events_size) {
        events_size = events_size ? 2 * events_size : 4096;
        events = realloc(events, events_size * sizeof *events);
        CHECK(events);
    }
    event.at_ns = at_ns;
    event.order = n_orders++;
    uint32_t at = n_events++;
    for (; at > 0 && is_before(&event, &events[(at - 1) / 2]); at = (at - 1) / 2)
        events[at] = events[(at - 1) / 2];
    events[at] = event;
}

static struct event take_next(void)
{
    struct event next = events[0], moving = events[--n_events];
    uint32_t at = 0, child;
    for (; (child = 2 * at + 1) < n_events; at = child) {
        if (child + 1 < n_events && is_before(&events[child + 1], &events[child]))
            child++;
        if (!is_before(&events[child], &moving))
            break;
        events[at] = events[child];
    }
    events[at] = moving;
    return next;
}

/* --- links: both ends know each other's number --- */

static uint32_t new_link(struct cluster_node *node, int to)
{
    uint32_t number = 0;
    while (number < node->n_links && node->links[number].node != NOBODY)
        number++;
    CHECK(number < CORE_LINKS_MAX);
    if (number == node->n_links) {
        node->links = realloc(node->links, ++node->n_links * sizeof *node->links);
        CHECK(node->links);
    }
    node->links[number] = (struct cluster_link){.node = to};
    return number;
}

static void join_links(int a, uint32_t a_link, int b, uint32_t b_link)
{
    cluster.nodes[a].links[a_link].number = b_link;
    cluster.nodes[b].links[b_link].number = a_link;
}

/* --- a step --- */

static bool is_sign_of_life(const struct message *message)
{
    return message->type == MESSAGE_heartbeat ||
           (message->type == MESSAGE_members && message->u.members.n_members == 0);
}

static void count(struct cluster_node *node, const struct message *message, uint64_t bytes)
{
    node->traffic.messages++;
    node->traffic.bytes += bytes;
    cluster.by_type[message->type].messages++;
    cluster.by_type[message->type].bytes += bytes;
    if (message->type == MESSAGE_announce)
        cluster.announced += message->u.announce.n_entries;
    if (!is_sign_of_life(message))
        cluster.busy_ns = cluster.now_ns;
}

static void send(int from, const struct core_send *what)
{
    struct cluster_node *node = &cluster.nodes[from];
    if (what->link >= node->n_links || node->links[what->link].node == NOBODY)
        return;
    struct cluster_link link = node->links[what->link];
    int64_t len = message_encode(what->message, frame_bytes, sizeof frame_bytes);
    CHECK(len > 0);
    count(node, what->message, (uint64_t)len);
    uint8_t *frame = malloc((size_t)len);
    CHECK(frame);
    memcpy(frame, frame_bytes, (size_t)len);
    later(cluster.now_ns + DELAY_NS,
          (struct event){.what = TAKE, .node = link.node, .link = link.number, .frame = frame});
}

static void dial(int from, const struct core_dial *what)
{
    int to = atoi(what->host + 1);
    if (to == from || !cluster.nodes[to].is_up)
        return;
    uint32_t number = new_link(&cluster.nodes[from], to);
    later(
        cluster.now_ns + DELAY_NS,
        (struct event){
            .what = MEET, .node = to, .from = from, .from_link = number, .purpose = what->purpose});
}

static void hang_up(int from, uint32_t number)
{
    struct cluster_node *node = &cluster.nodes[from];
    struct cluster_link link = node->links[number];
    if (link.node == NOBODY)
        return;
    later(cluster.now_ns, (struct event){.what = DOWN, .node = from, .link = number});
    later(cluster.now_ns + DELAY_NS,
          (struct event){.what = DOWN, .node = link.node, .link = link.number});
}

static void note_peer(struct cluster_node *node, const struct core_peer_change *change)
{
    node->routes[change->peer] = change->state == MEMBER_LEFT ? NOBODY : atoi(change->host + 1);
}

static void note_ring(struct cluster_node *node)
{
    uint64_t hash = view_ring_hash(node->view);
    if (hash == node->ring_hash)
        return;
    node->ring_hash = hash;
    node->ring_at_ns = cluster.now_ns;
    node->rings++;
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void step(int number, struct core_event *event)
{
    struct cluster_node *node = &cluster.nodes[number];
    struct core_update update;
    event->now_ns = cluster.now_ns;
    double began_s = seconds();
    core_step(node->core, event, &update);
    node->step_s += seconds() - began_s;
    for (size_t i = 0; i < update.n_peer_changes; i++)
        note_peer(node, &update.peer_changes[i]);
    for (size_t i = 0; i < update.n_sends; i++)
        send(number, &update.sends[i]);
    for (size_t i = 0; i < update.n_dials; i++)
        dial(number, &update.dials[i]);
    for (size_t i = 0; i < update.n_hangups; i++)
        hang_up(number, update.hangups[i]);
    note_ring(node);
    if (update.wake_at_ns != node->wake_at_ns && update.wake_at_ns != UINT64_MAX)
        later(update.wake_at_ns, (struct event){.what = WAKE, .node = number});
    node->wake_at_ns = update.wake_at_ns;
}

/* --- what happens --- */

static void take(const struct event *event)
{
    struct frame_head head;
    struct message message;
    CHECK(frame_head_decode(event->frame, &head) == 0);
    CHECK(message_decode(&head, event->frame + FRAME_HEAD_BYTES, &scratch, &message) == 0);
    struct cluster_node *node = &cluster.nodes[event->node];
    int64_t len = FRAME_HEAD_BYTES + (int64_t)head.body_len_bytes;
    node->traffic.messages++;
    node->traffic.bytes += (uint64_t)len;
    step(event->node,
         &(struct core_event){.type = CORE_MESSAGE, .link = event->link, .u.message = &message});
}

static void say_up(int number, uint32_t link, int other, enum purpose purpose)
{
    step(number, &(struct core_event){.type = CORE_LINK_UP,
                                      .link = link,
                                      .u.up = {.purpose = purpose,
                                               .node_id = cluster.nodes[other].node_id,
                                               .incarnation = 1}});
}

static void meet(const struct event *event)
{
    uint32_t number = new_link(&cluster.nodes[event->node], event->from);
    join_links(event->node, number, event->from, event->from_link);
    later(cluster.now_ns + DELAY_NS, (struct event){.what = UP,
                                                    .node = event->from,
                                                    .link = event->from_link,
                                                    .from = event->node,
                                                    .purpose = event->purpose});
    say_up(event->node, number, event->from, event->purpose);
}

static void go_down(const struct event *event)
{
    struct cluster_link *link = &cluster.nodes[event->node].links[event->link];
    if (link->node == NOBODY)
        return;
    link->node = NOBODY;
    step(event->node, &(struct core_event){.type = CORE_LINK_DOWN, .link = event->link});
}

static bool is_link_there(const struct event *event)
{
    const struct cluster_node *node = &cluster.nodes[event->node];
    return event->link < node->n_links && node->links[event->link].node != NOBODY;
}

static void run(const struct event *event)
{
    struct cluster_node *node = &cluster.nodes[event->node];
    if (!node->is_up)
        return;
    switch (event->what) {
    case TAKE:
        if (is_link_there(event))
            take(event);
        break;
    case WAKE:
        if (node->wake_at_ns != event->at_ns)
            break;
        node->wake_at_ns = UINT64_MAX;
        step(event->node, &(struct core_event){.type = CORE_TICK});
        break;
    case MEET: meet(event); break;
    case UP:
        if (is_link_there(event))
            say_up(event->node, event->link, event->from, event->purpose);
        break;
    case DOWN: go_down(event); break;
    }
}

void cluster_run(uint64_t for_ns)
{
    uint64_t until_ns = cluster.now_ns + for_ns;
    while (n_events > 0 && events[0].at_ns <= until_ns) {
        struct event event = take_next();
        if (event.at_ns > cluster.now_ns)
            cluster.now_ns = event.at_ns;
        run(&event);
        free(event.frame);
    }
    cluster.now_ns = until_ns;
}

bool cluster_rest(uint64_t quiet_ns, uint64_t most_ns)
{
    uint64_t until_ns = cluster.now_ns + most_ns;
    while (cluster.now_ns < until_ns) {
        cluster_run(cluster.config.heartbeat_ns);
        if (cluster.now_ns >= cluster.busy_ns + quiet_ns)
            return true;
    }
    return false;
}

/* --- nodes --- */

static struct core_config config_of(uint32_t number)
{
    const struct cluster_config *config = &cluster.config;
    struct cluster_node *node = &cluster.nodes[number];
    struct core_config core = {
        .node_id = node->node_id,
        .boot_id = {1, number + 1},
        .incarnation = 1,
        .uid = 1000,
        .control_port = 1000,
        .discovery_host = "n0",
        .discovery_port = 31998,
        .heartbeat_interval_ns = config->heartbeat_ns,
        .member_ttl_ns = config->member_ttl_ns,
        .ring_grace_ns = config->ring_grace_ns,
        .vnodes = config->vnodes,
        .directory_replicas = config->replicas,
        .directory_limit = 1 << 20,
        .headers = node->headers,
        .slot_count = config->pages,
        .pool_bytes = (uint64_t)config->pages * PAGE_ROOM_BYTES,
    };
    snprintf(core.host, sizeof core.host, "n%u", number);
    return core;
}

uint32_t cluster_start(void)
{
    uint32_t number = cluster.n_nodes++;
    struct cluster_node *node = &cluster.nodes[number];
    uint64_t seed[2] = {number, 11};
    node->node_id = hash_bytes128(seed, sizeof seed, 12);
    node->headers = aligned_alloc(64, cluster.config.pages * sizeof *node->headers);
    CHECK(node->headers);
    memset(node->headers, 0, cluster.config.pages * sizeof *node->headers);
    memset(node->routes, 0xff, sizeof node->routes);
    node->routes[CORE_SELF] = (int)number;
    struct core_config config = config_of(number);
    CHECK(core_new(&config, &node->core) == 0);
    node->view = core_view(node->core);
    node->wake_at_ns = UINT64_MAX;
    node->is_up = true;
    if (number == 0)
        step(0, &(struct core_event){.type = CORE_HEAD, .u.is_head = true});
    step((int)number, &(struct core_event){.type = CORE_TICK});
    return number;
}

void cluster_kill(uint32_t number)
{
    struct cluster_node *node = &cluster.nodes[number];
    node->is_up = false;
    for (uint32_t i = 0; i < node->n_links; i++)
        if (node->links[i].node != NOBODY)
            hang_up((int)number, i);
    core_free(node->core);
    node->core = NULL;
}

void cluster_begin(const struct cluster_config *config)
{
    memset(&cluster, 0, sizeof cluster);
    cluster.config = *config;
    cluster.now_ns = SECOND;
}

void cluster_end(void)
{
    for (uint32_t i = 0; i < n_events; i++)
        free(events[i].frame);
    n_events = 0;
    for (uint32_t i = 0; i < cluster.n_nodes; i++) {
        core_free(cluster.nodes[i].core);
        free(cluster.nodes[i].headers);
        free(cluster.nodes[i].links);
    }
    cluster.n_nodes = 0;
}

/* --- pages --- */

static uint32_t fill_batch(uint32_t number, uint32_t first, uint32_t n)
{
    struct core_page pages[FILL_BATCH];
    uint32_t op = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t name[2] = {number, first + i};
        pages[i] = (struct core_page){.digest = hash_bytes128(name, sizeof name, 13),
                                      .identity = {5, 5},
                                      .ring_position = hash_ring_position(name, sizeof name),
                                      .length_bytes = PAGE_BYTES,
                                      .name_len = NAME_LEN};
    }
    step((int)number, &(struct core_event){.type = CORE_RESERVE,
                                           .u.set = {.pages = pages, .n = n, .ret_op = &op}});
    for (uint32_t i = 0; i < n; i++)
        if (pages[i].error == 0)
            CHECK(slot_word_seal(&cluster.nodes[number].headers[pages[i].slot].word,
                                 pages[i].generation));
    step((int)number,
         &(struct core_event){.type = CORE_COPIED, .u.set = {.pages = pages, .n = n, .op = op}});
    return n;
}

void cluster_fill(uint32_t number, uint32_t pages)
{
    for (uint32_t first = 0; first < pages;)
        first += fill_batch(number, first, pages - first < FILL_BATCH ? pages - first : FILL_BATCH);
}

/* --- questions --- */

bool cluster_agrees(void)
{
    static struct core_inspection inspection;
    uint32_t n_up = 0;
    uint64_t hash = 0;
    for (uint32_t i = 0; i < cluster.n_nodes; i++)
        n_up += cluster.nodes[i].is_up;
    for (uint32_t i = 0; i < cluster.n_nodes; i++) {
        if (!cluster.nodes[i].is_up)
            continue;
        core_inspect(cluster.nodes[i].core, &inspection);
        hash = hash ? hash : cluster.nodes[i].ring_hash;
        if (inspection.ring_nodes == n_up && cluster.nodes[i].ring_hash == hash &&
            inspection.is_complete)
            continue;
        fprintf(stderr, "sim-cost: at %.3f s node %u has a ring of %u nodes of %u, shard %s\n",
                (double)cluster.now_ns / 1e9, i, inspection.ring_nodes, n_up,
                inspection.is_complete ? "whole" : "not whole");
        return false;
    }
    return true;
}

uint32_t cluster_owners(uint32_t number, uint64_t position, int ret_nodes[CORE_OWNERS_MAX])
{
    uint16_t peers[CORE_OWNERS_MAX];
    const struct cluster_node *node = &cluster.nodes[number];
    const struct ring *ring = ring_borrow(node->view->rings);
    uint32_t n = ring_owners(ring, position, cluster.config.replicas, peers);
    ring_return(node->view->rings, ring);
    for (uint32_t i = 0; i < n; i++)
        ret_nodes[i] = node->routes[peers[i]];
    return n;
}
