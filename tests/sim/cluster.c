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
#include "events.h"
#include "wire/codec.h"

#define DELAY_NS (100 * US)

struct cluster cluster;
static struct events events;
static uint64_t n_orders;
static uint8_t frame_bytes[FRAME_HEAD_BYTES + FRAME_BODY_MAX_BYTES];
static struct message_scratch scratch;

static struct event at(uint64_t at_ns, event_run *run, int node)
{
    return (struct event){.at_ns = at_ns, .order = n_orders++, .run = run, .machine = node};
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

/* Who is at the other end, and its number of the link. */
struct meeting {
    int other;
    uint32_t link;
    enum purpose purpose;
    uint32_t dial; /* of the end that dialled; 0 at the other */
};

static struct meeting *new_meeting(int other, uint32_t link, enum purpose purpose, uint32_t dial)
{
    struct meeting *meeting = malloc(sizeof *meeting);
    CHECK(meeting);
    *meeting = (struct meeting){other, link, purpose, dial};
    return meeting;
}

/* --- a step --- */

static event_run take, wake, meet, come_up, go_down;

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
    struct event event = at(cluster.now_ns + DELAY_NS, take, link.node);
    event.a = link.number;
    event.box = frame;
    events_put(&events, &event);
}

static void dial(int from, const struct core_dial *what)
{
    int to = atoi(what->host + 1);
    if (to == from || !cluster.nodes[to].is_up)
        return;
    uint32_t number = new_link(&cluster.nodes[from], to);
    struct event event = at(cluster.now_ns + DELAY_NS, meet, to);
    event.box = new_meeting(from, number, what->purpose, what->number);
    events_put(&events, &event);
}

static void hang_up(int from, uint32_t number)
{
    struct cluster_node *node = &cluster.nodes[from];
    struct cluster_link link = node->links[number];
    if (link.node == NOBODY)
        return;
    struct event here = at(cluster.now_ns, go_down, from);
    struct event there = at(cluster.now_ns + DELAY_NS, go_down, link.node);
    here.a = number;
    there.a = link.number;
    events_put(&events, &here);
    events_put(&events, &there);
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

void cluster_step(int number, struct core_event *event)
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
    if (update.wake_at_ns != node->wake_at_ns && update.wake_at_ns != UINT64_MAX) {
        struct event later = at(update.wake_at_ns, wake, number);
        events_put(&events, &later);
    }
    node->wake_at_ns = update.wake_at_ns;
}

/* --- what happens --- */

static bool is_link_there(const struct event *event)
{
    const struct cluster_node *node = &cluster.nodes[event->machine];
    return event->a < node->n_links && node->links[event->a].node != NOBODY;
}

static void take(struct event *event)
{
    struct frame_head head;
    struct message message;
    const uint8_t *frame = event->box;
    if (!is_link_there(event))
        return;
    CHECK(frame_head_decode(frame, &head) == 0);
    CHECK(message_decode(&head, frame + FRAME_HEAD_BYTES, &scratch, &message) == 0);
    struct cluster_node *node = &cluster.nodes[event->machine];
    int64_t len = FRAME_HEAD_BYTES + (int64_t)head.body_len_bytes;
    node->traffic.messages++;
    node->traffic.bytes += (uint64_t)len;
    cluster_step(event->machine, &(struct core_event){.type = CORE_MESSAGE,
                                                      .link = (uint32_t)event->a,
                                                      .u.message = &message});
}

static void wake(struct event *event)
{
    struct cluster_node *node = &cluster.nodes[event->machine];
    if (node->wake_at_ns != event->at_ns)
        return;
    node->wake_at_ns = UINT64_MAX;
    cluster_step(event->machine, &(struct core_event){.type = CORE_TICK});
}

static void say_up(int number, uint32_t link, const struct meeting *with)
{
    cluster_step(number,
                 &(struct core_event){.type = CORE_LINK_UP,
                                      .link = link,
                                      .u.up = {.purpose = with->purpose,
                                               .node_id = cluster.nodes[with->other].node_id,
                                               .incarnation = 1,
                                               .dial = with->dial}});
}

static void meet(struct event *event)
{
    struct meeting *meeting = event->box;
    int here = event->machine;
    uint32_t number = new_link(&cluster.nodes[here], meeting->other);
    join_links(here, number, meeting->other, meeting->link);
    struct event up = at(cluster.now_ns + DELAY_NS, come_up, meeting->other);
    up.a = meeting->link;
    up.box = new_meeting(here, number, meeting->purpose, meeting->dial);
    events_put(&events, &up);
    meeting->dial = 0;
    say_up(here, number, meeting);
}

static void come_up(struct event *event)
{
    if (is_link_there(event))
        say_up(event->machine, (uint32_t)event->a, event->box);
}

static void go_down(struct event *event)
{
    if (!is_link_there(event))
        return;
    cluster.nodes[event->machine].links[event->a].node = NOBODY;
    cluster_step(event->machine,
                 &(struct core_event){.type = CORE_LINK_DOWN, .link = (uint32_t)event->a});
}

void cluster_run(uint64_t for_ns)
{
    uint64_t until_ns = cluster.now_ns + for_ns;
    for (struct event event; events_take(&events, until_ns, &event); free(event.box)) {
        if (event.at_ns > cluster.now_ns)
            cluster.now_ns = event.at_ns;
        if (cluster.nodes[event.machine].is_up)
            event.run(&event);
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
        .discovery_port = 31998,
        .max_masters = 3,
        .has_head = true,
        .n_seeds = 1,
        .seeds = {{"n0", 31998}},
        .heartbeat_interval_ns = config->heartbeat_ns,
        .member_ttl_ns = config->member_ttl_ns,
        .ring_grace_ns = config->ring_grace_ns,
        .vnodes = config->vnodes,
        .directory_replicas = config->replicas,
        .directory_limit = 1 << 20,
        .headers = node->headers,
        .slot_count = config->pages,
        .pool_bytes = (uint64_t)config->pages * CLUSTER_PAGE_BYTES,
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
    cluster_step((int)number, &(struct core_event){.type = CORE_SERVING});
    cluster_step((int)number, &(struct core_event){.type = CORE_TICK});
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
    events_clear(&events);
    for (uint32_t i = 0; i < cluster.n_nodes; i++) {
        core_free(cluster.nodes[i].core);
        free(cluster.nodes[i].headers);
        free(cluster.nodes[i].links);
    }
    cluster.n_nodes = 0;
}
