/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core_test_harness.h - for tests: a few cores wired to each other, without faults.
 *
 * Messages travel as frames and arrive at once and in order.  A link whose other end is no core of
 * the world is played by the test: what the core says on it is kept and taken with world_heard().
 * Time stands still unless world_pass() moves it.
 */
#ifndef CORE_CORE_TEST_HARNESS_H
#define CORE_CORE_TEST_HARNESS_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/metric.h"
#include "base/protection.h"
#include "base/splitmix.h"
#include "core/core.h"
#include "core/inspection.h"
#include "core/locate.h"
#include "core/view.h"
#include "wire/codec.h"

enum {
    WORLD_NODES_MAX = 4,
    WORLD_LINKS_MAX = 2048,
    WORLD_DONE_MAX = 4096,
    WORLD_SLOTS = 512,
    WORLD_POOL_BYTES = 1 << 20,
    WORLD_PAGE_BYTES = 1000,
    WORLD_PLAYED = -1, /* the other end of a link is played by the test */
};
#define WORLD_MS UINT64_C(1000000)

struct world_frame {
    struct world_frame *next;
    int to, from;  /* nodes; WORLD_PLAYED */
    uint32_t link; /* of the receiver, or of the sender if the test receives */
    size_t len;    /* 0: the link broke */
    uint8_t bytes[];
};

struct world_link {
    bool is_up;
    int to;
    uint32_t to_link;
    enum purpose purpose;
};

struct world_node {
    struct core_config config;
    struct core *core;
    const struct core_view *view;
    struct metrics metrics;
    struct slot_header *headers;
    struct world_link links[WORLD_LINKS_MAX];
    struct core_completion done[WORLD_DONE_MAX];
    uint8_t recorded[WORLD_DONE_MAX]; /* the first page's */
    uint32_t n_done, n_dials, n_hangups, n_changes;
    struct core_peer_change changes[WORLD_DONE_MAX];
    struct core_damage damage; /* the last that a step found */
    uint64_t wake_at_ns;
    bool serves;             /* discovery */
    bool is_hung;            /* it takes nothing and does nothing; what is sent to it waits */
    uint8_t cut_off;         /* a bit a node that it does not reach, nor the other way round */
    uint32_t discovery_dial; /* the number of its last dial of that kind */
};

struct world {
    struct world_node *nodes[WORLD_NODES_MAX];
    int n;
    bool is_cut; /* dials fail */
    uint64_t now_ns;
    struct world_frame *first, **last; /* on their way */
    struct world_frame *heard, **heard_last;
    struct world_frame *held, **held_last; /* for nodes that hang */
    struct message_scratch scratch;
    uint8_t frame[FRAME_HEAD_BYTES + FRAME_BODY_MAX_BYTES];
    struct world_frame *taken; /* that the test looks at */
    struct message message;
};

/* Page @number of no namespace in particular. */
static inline struct id128 world_digest(uint64_t number)
{
    return (struct id128){splitmix_of(2 * number), splitmix_of(2 * number + 1)};
}

static inline uint64_t world_position(uint64_t number)
{
    return splitmix_of(number ^ UINT64_C(0x5555555555555555));
}

static inline struct id128 world_id(uint32_t number)
{
    return (struct id128){.hi = 0x1000 + number, .lo = 7};
}

static inline struct core_config world_config(uint32_t id)
{
    return (struct core_config){
        .node_id = world_id(id),
        .boot_id = {5, id},
        .incarnation = 100,
        .host = "127.0.0.1",
        .control_port = (uint16_t)(2000 + id),
        .discovery_port = 1999,
        .max_masters = 3,
        .has_head = true,
        .n_seeds = 1,
        .seeds = {{"127.0.0.1", 1999}},
        .heartbeat_interval_ns = 2000 * WORLD_MS,
        .member_ttl_ns = 6000 * WORLD_MS,
        .ring_grace_ns = 30000 * WORLD_MS,
        .vnodes = 64,
        .directory_replicas = 2,
        .directory_limit = 4096,
        .slot_count = WORLD_SLOTS,
        .pool_bytes = WORLD_POOL_BYTES,
    };
}

static inline struct world *world_new(void)
{
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    world->now_ns = 1000000 * WORLD_MS;
    world->last = &world->first;
    world->heard_last = &world->heard;
    world->held_last = &world->held;
    return world;
}

static inline int world_add(struct world *world, const struct core_config *config)
{
    struct world_node *node = calloc(1, sizeof *node);
    assert_non_null(node);
    node->config = *config;
    node->headers = calloc(config->slot_count, sizeof *node->headers);
    node->config.headers = node->headers;
    node->config.metrics = &node->metrics;
    assert_int_equal(core_new(&node->config, &node->core), 0);
    node->view = core_view(node->core);
    node->wake_at_ns = world->now_ns;
    world->nodes[world->n] = node;
    return world->n++;
}

static inline void world_free(struct world *world)
{
    protection_enable_all();
    for (int i = 0; i < world->n; i++) {
        core_free(world->nodes[i]->core);
        free(world->nodes[i]->headers);
        free(world->nodes[i]);
    }
    *world->heard_last = world->held;
    *world->last = world->heard;
    for (struct world_frame *frame = world->first; frame;) {
        struct world_frame *next = frame->next;
        free(frame);
        frame = next;
    }
    free(world->taken);
    free(world);
}

/* --- steps --- */

static inline void world_queue(struct world *world, int from, const struct world_link *link,
                               uint32_t number, const uint8_t *bytes, size_t len)
{
    struct world_frame *frame = malloc(sizeof *frame + len);
    bool is_played = link->to == WORLD_PLAYED;
    *frame = (struct world_frame){
        .to = link->to, .from = from, .len = len, .link = is_played ? number : link->to_link};
    memcpy(frame->bytes, bytes, len);
    struct world_frame ***last = is_played ? &world->heard_last : &world->last;
    **last = frame;
    *last = &frame->next;
}

static inline uint32_t world_unused_link(const struct world_node *node)
{
    uint32_t i = 1000;
    while (node->links[i].is_up)
        i++;
    return i;
}

static inline void world_step(struct world *world, int index, struct core_event *event);

/* @dial: the number of the core's dial that it comes from; 0: of none, or not of discovery. */
static inline void world_open(struct world *world, int index, uint32_t link, enum purpose purpose,
                              struct id128 node_id, uint64_t incarnation, uint32_t dial)
{
    struct world_node *node = world->nodes[index];
    if (!node->links[link].is_up)
        node->links[link] = (struct world_link){.is_up = true, .to = WORLD_PLAYED};
    node->links[link].purpose = purpose;
    struct core_event event = {.type = CORE_LINK_UP,
                               .link = link,
                               .u.up = {purpose, node_id, incarnation, dial, WIRE_VERSION_MAX}};
    world_step(world, index, &event);
}

/* A discovery link is the one that the core dialled last, if it ever did. */
static inline void world_link_up(struct world *world, int index, uint32_t link,
                                 enum purpose purpose, struct id128 node_id, uint64_t incarnation)
{
    struct world_node *node = world->nodes[index];
    if (purpose == PURPOSE_DISCOVERY && !node->serves && node->discovery_dial == 0)
        world_step(world, index, &(struct core_event){.type = CORE_TICK});
    uint32_t dial = purpose == PURPOSE_DISCOVERY ? node->discovery_dial : 0;
    world_open(world, index, link, purpose, node_id, incarnation, dial);
}

static inline void world_connect(struct world *world, int a, int b, enum purpose purpose,
                                 uint32_t dial)
{
    struct world_node *left = world->nodes[a], *right = world->nodes[b];
    uint32_t left_link = world_unused_link(left);
    left->links[left_link].is_up = true;
    uint32_t right_link = world_unused_link(right);
    left->links[left_link] = (struct world_link){true, b, right_link, purpose};
    right->links[right_link] = (struct world_link){true, a, left_link, purpose};
    world_open(world, a, left_link, purpose, right->config.node_id, right->config.incarnation,
               dial);
    world_open(world, b, right_link, purpose, left->config.node_id, left->config.incarnation, 0);
}

static inline bool world_reaches(const struct world *world, int from, int to)
{
    return !world->nodes[to]->is_hung && world->nodes[to]->core &&
           !(world->nodes[from]->cut_off >> to & 1) && !(world->nodes[to]->cut_off >> from & 1);
}

/* The node that answers at the dialled service; -1. */
static inline int world_server(const struct world *world, const struct core_dial *dial)
{
    for (int i = 0; i < world->n; i++) {
        const struct world_node *node = world->nodes[i];
        if (node->serves && node->config.discovery_port == dial->port &&
            strcmp(node->config.host, dial->host) == 0)
            return i;
    }
    return -1;
}

static inline void world_dial(struct world *world, int index, const struct core_dial *dial)
{
    world->nodes[index]->n_dials++;
    if (dial->purpose == PURPOSE_DISCOVERY)
        world->nodes[index]->discovery_dial = dial->number;
    if (world->is_cut)
        return;
    int server = dial->purpose == PURPOSE_DISCOVERY ? world_server(world, dial) : -1;
    if (server >= 0 && world_reaches(world, index, server))
        world_connect(world, index, server, PURPOSE_DISCOVERY, dial->number);
    for (int i = 0; i < world->n && dial->purpose == PURPOSE_CONTROL; i++)
        if (id128_equal(world->nodes[i]->config.node_id, dial->node_id) &&
            world->nodes[i]->config.incarnation == dial->incarnation &&
            world_reaches(world, index, i))
            world_connect(world, index, i, PURPOSE_CONTROL, 0);
}

static inline void world_break(struct world *world, int index, uint32_t link)
{
    struct world_link *end = &world->nodes[index]->links[link];
    if (!end->is_up || !world->nodes[index]->core)
        return;
    struct core_event event = {.type = CORE_LINK_DOWN, .link = link};
    struct world_link other = *end;
    end->is_up = false;
    world_step(world, index, &event);
    if (other.to != WORLD_PLAYED)
        world_break(world, other.to, other.to_link);
}

/* The link of @index to another core; UINT32_MAX: none. */
static inline uint32_t world_link_to(const struct world *world, int index, int to,
                                     enum purpose purpose)
{
    for (uint32_t i = 0; i < WORLD_LINKS_MAX; i++) {
        const struct world_link *link = &world->nodes[index]->links[i];
        if (link->is_up && link->to == to && link->purpose == purpose)
            return i;
    }
    return UINT32_MAX;
}

static inline void world_collect(struct world *world, struct world_node *node,
                                 const struct core_update *update)
{
    for (size_t i = 0; i < update->n_completions && node->n_done < WORLD_DONE_MAX; i++) {
        node->recorded[node->n_done] =
            update->completions[i].n && update->completions[i].recorded[0];
        node->done[node->n_done++] = update->completions[i];
    }
    for (size_t i = 0; i < update->n_peer_changes; i++)
        node->changes[node->n_changes++ % WORLD_DONE_MAX] = update->peer_changes[i];
    if (update->damage.n > 0)
        node->damage = update->damage;
    node->n_hangups += update->n_hangups;
    node->wake_at_ns = update->wake_at_ns;
    (void)world;
}

/* The update's arrays are the core's until its next step: sends are encoded and the rest copied
 * before anything else happens. */
static inline void world_step(struct world *world, int index, struct core_event *event)
{
    struct world_node *node = world->nodes[index];
    struct core_update update;
    struct core_dial dials[64];
    uint32_t hangups[4096];
    event->now_ns = world->now_ns;
    core_step(node->core, event, &update);
    world_collect(world, node, &update);
    for (size_t i = 0; i < update.n_sends; i++) {
        const struct world_link *link = &node->links[update.sends[i].link];
        int64_t len = message_encode(update.sends[i].message, world->frame, sizeof world->frame);
        assert_true(len > 0);
        if (link->is_up)
            world_queue(world, index, link, update.sends[i].link, world->frame, (size_t)len);
    }
    memcpy(dials, update.dials, update.n_dials * sizeof *dials);
    memcpy(hangups, update.hangups, update.n_hangups * sizeof *hangups);
    for (size_t i = 0, n = update.n_hangups; i < n; i++)
        world_break(world, index, hangups[i]);
    for (size_t i = 0, n = update.n_dials; i < n; i++)
        world_dial(world, index, &dials[i]);
}

static inline void world_tick(struct world *world, int index)
{
    world_step(world, index, &(struct core_event){.type = CORE_TICK});
}

static inline void world_say(struct world *world, int index, uint32_t link,
                             const struct message *message)
{
    struct core_event event = {.type = CORE_MESSAGE, .link = link, .u.message = message};
    world_step(world, index, &event);
}

static inline struct message world_decode(struct world *world, const struct world_frame *frame)
{
    struct frame_head head;
    struct message message;
    assert_int_equal(frame_head_decode(frame->bytes, &head), 0);
    assert_int_equal(
        message_decode(&head, frame->bytes + FRAME_HEAD_BYTES, &world->scratch, &message), 0);
    return message;
}

static inline bool world_deliver(struct world *world)
{
    struct world_frame *frame = world->first;
    if (!frame)
        return false;
    world->first = frame->next;
    if (!world->first)
        world->last = &world->first;
    if (world->nodes[frame->to]->is_hung) {
        frame->next = NULL;
        *world->held_last = frame;
        world->held_last = &frame->next;
        return true;
    }
    if (world->nodes[frame->to]->links[frame->link].is_up) {
        struct message message = world_decode(world, frame);
        world_say(world, frame->to, frame->link, &message);
    }
    free(frame);
    return true;
}

static inline bool world_is_awake(const struct world_node *node)
{
    return node->core && !node->is_hung;
}

static inline bool world_wake(struct world *world)
{
    bool any = false;
    for (int i = 0; i < world->n; i++)
        if (world_is_awake(world->nodes[i]) && world->nodes[i]->wake_at_ns <= world->now_ns) {
            world_tick(world, i);
            any = true;
        }
    return any;
}

/* Until nobody has anything more to do now. */
static inline void world_run(struct world *world)
{
    for (int rounds = 0; world_deliver(world) || world_wake(world); rounds++)
        assert_true(rounds < 100000);
}

static inline void world_pass(struct world *world, uint64_t ms)
{
    uint64_t until_ns = world->now_ns + ms * WORLD_MS;
    world_run(world);
    while (world->now_ns < until_ns) {
        uint64_t next_ns = until_ns;
        for (int i = 0; i < world->n; i++)
            if (world_is_awake(world->nodes[i]) && world->nodes[i]->wake_at_ns < next_ns)
                next_ns = world->nodes[i]->wake_at_ns;
        world->now_ns = next_ns;
        world_run(world);
    }
}

/* It goes on, with what was sent to it meanwhile. */
static inline void world_go_on(struct world *world, int index)
{
    world->nodes[index]->is_hung = false;
    *world->last = world->held;
    if (world->held)
        world->last = world->held_last;
    world->held = NULL;
    world->held_last = &world->held;
}

static inline void world_kill(struct world *world, int index)
{
    struct world_node *node = world->nodes[index];
    core_free(node->core);
    node->core = NULL;
    node->serves = false;
    for (uint32_t i = 0; i < WORLD_LINKS_MAX; i++) {
        struct world_link link = node->links[i];
        node->links[i].is_up = false;
        if (link.is_up && link.to != WORLD_PLAYED)
            world_break(world, link.to, link.to_link);
    }
}

/* In its next life it knows nothing. */
static inline void world_restart(struct world *world, int index)
{
    struct world_node *node = world->nodes[index];
    world_kill(world, index);
    node->config.incarnation++;
    memset(node->headers, 0, node->config.slot_count * sizeof *node->headers);
    assert_int_equal(core_new(&node->config, &node->core), 0);
    node->view = core_view(node->core);
    node->wake_at_ns = world->now_ns;
}

/* What a core said next on a link that the test plays; NULL: nothing.  Valid until the next call,
 * and while no message is delivered. */
static inline const struct message *world_heard(struct world *world, uint32_t *ret_link)
{
    free(world->taken);
    world->taken = world->heard;
    if (!world->taken)
        return NULL;
    world->heard = world->taken->next;
    if (!world->heard)
        world->heard_last = &world->heard;
    world->message = world_decode(world, world->taken);
    if (ret_link)
        *ret_link = world->taken->link;
    return &world->message;
}

/* The next message of this type, whatever came before it is dropped; NULL: none. */
static inline const struct message *world_heard_type(struct world *world, enum message_type type,
                                                     uint32_t *ret_link)
{
    const struct message *message;
    while ((message = world_heard(world, ret_link)) && message->type != type)
        ;
    return message;
}

static inline void world_forget_heard(struct world *world)
{
    while (world_heard(world, NULL))
        ;
}

/* --- members --- */

static inline void world_make_head(struct world *world, int index)
{
    struct core_event event = {.type = CORE_SERVING};
    world->nodes[index]->serves = true;
    world_step(world, index, &event);
}

static inline struct record_member world_member(uint32_t id, uint64_t incarnation)
{
    return (struct record_member){.node_id = world_id(id),
                                  .incarnation = incarnation,
                                  .version = 1,
                                  .state = MEMBER_ALIVE,
                                  .boot_id = {5, id},
                                  .host = {"127.0.0.1", 9},
                                  .control_port = (uint16_t)(2000 + id),
                                  .discovery_port = 1999,
                                  .pool_bytes = 1 << 20};
}

static inline bool world_lists(const struct record_member *members, uint32_t n, struct id128 id)
{
    for (uint32_t i = 0; i < n; i++)
        if (id128_equal(members[i].node_id, id))
            return true;
    return false;
}

/* A member list, as a master would send it on link @link: the node itself first, then @members, and
 * whoever else the node knows of as dead. */
static inline void world_tell_members(struct world *world, int index, uint32_t link,
                                      uint64_t version, const struct record_member *members,
                                      uint32_t n)
{
    static struct record_member all[2 * MEMBERS_MAX];
    static struct core_inspection known;
    all[0] = world_member(0, world->nodes[index]->config.incarnation);
    all[0].node_id = world->nodes[index]->config.node_id;
    if (n)
        memcpy(all + 1, members, n * sizeof *members);
    core_inspect(world->nodes[index]->core, &known);
    for (uint32_t i = 0, listed = n + 1; i < known.n_members; i++) {
        if (world_lists(all, listed, known.members[i].node_id))
            continue;
        all[++n] = world_member(0, known.members[i].incarnation);
        all[n].node_id = known.members[i].node_id;
        all[n].state = MEMBER_DEAD;
    }
    struct message list = {.type = MESSAGE_members,
                           .u.members = {.table = 1,
                                         .version = version,
                                         .fresh = 1,
                                         .whole = 1,
                                         .listed = 1,
                                         .members = all,
                                         .n_members = n + 1}};
    world_say(world, index, link, &list);
}

/* A core with @n members beside it, all played by the test: their ids are above its own, their
 * control links are 10 + i, the discovery link is 1. */
enum { WORLD_DISCOVERY = 1, WORLD_CONTROL = 10 };
static inline void world_add_played(struct world *world, int index, uint32_t n)
{
    static struct record_member members[MEMBERS_MAX];
    for (uint32_t i = 0; i < n; i++)
        members[i] = world_member(100 + i, 1);
    world_link_up(world, index, WORLD_DISCOVERY, PURPOSE_DISCOVERY, world_id(99), 1);
    world_tell_members(world, index, WORLD_DISCOVERY, 1, members, n);
    for (uint32_t i = 0; i < n; i++)
        world_link_up(world, index, WORLD_CONTROL + i, PURPOSE_CONTROL, world_id(100 + i), 1);
    world_run(world);
}

static inline uint16_t world_peer(const struct world *world, int index, struct id128 id,
                                  uint64_t incarnation)
{
    uint16_t peer = CORE_PEER_NONE;
    view_peer_index(world->nodes[index]->view, id, incarnation, &peer);
    return peer;
}

/* --- pages --- */

static inline struct core_page world_page(uint64_t number)
{
    return (struct core_page){.digest = world_digest(number),
                              .identity = {1, 2},
                              .ring_position = world_position(number),
                              .length_bytes = WORLD_PAGE_BYTES,
                              .name_len = 8};
}

static inline uint32_t world_reserve(struct world *world, int index, struct core_page *pages,
                                     uint32_t n)
{
    uint32_t op = UINT32_MAX;
    struct core_event event = {.type = CORE_RESERVE,
                               .u.set = {.pages = pages, .n = n, .ret_op = &op}};
    world_step(world, index, &event);
    return op;
}

static inline void world_copied(struct world *world, int index, uint32_t op,
                                struct core_page *pages, uint32_t n)
{
    struct core_event event = {.type = CORE_COPIED, .u.set = {.pages = pages, .n = n, .op = op}};
    for (uint32_t i = 0; i < n; i++)
        if (pages[i].error == 0)
            slot_word_seal(&world->nodes[index]->headers[pages[i].slot].word, pages[i].generation);
    world_step(world, index, &event);
}

/* Stores pages @from .. @from + n - 1; the operation's number. */
static inline uint32_t world_set(struct world *world, int index, uint64_t from, uint32_t n)
{
    struct core_page pages[CORE_BATCH_MAX];
    assert_true(n <= CORE_BATCH_MAX);
    for (uint32_t i = 0; i < n; i++)
        pages[i] = world_page(from + i);
    uint32_t op = world_reserve(world, index, pages, n);
    assert_int_not_equal(op, 0);
    world_copied(world, index, op, pages, n);
    return op;
}

/* The completion of an operation, or NULL while it goes on. */
static inline const struct core_completion *world_done(const struct world *world, int index,
                                                       uint32_t op)
{
    const struct world_node *node = world->nodes[index];
    for (uint32_t i = 0; i < node->n_done; i++)
        if (node->done[i].op == op)
            return &node->done[i];
    return NULL;
}

/* Holders of page @number in a node's own shard. */
static inline int world_holders(const struct world *world, int index, uint64_t number,
                                struct location ret_places[CORE_HOLDERS_MAX])
{
    return view_holders(world->nodes[index]->view, world_digest(number), ret_places);
}

/* Looks a page up as a reader on node @index does, asking the other cores of the world.  The state
 * of the key; @ret_holder: where its first place is. */
static inline enum locate_state world_find(struct world *world, int index, uint64_t number,
                                           struct id128 *ret_holder)
{
    static struct locate locate;
    static struct locate_ask asks[LOCATE_ASKS_MAX];
    struct locate_key key = {.digest = world_digest(number),
                             .ring_position = world_position(number)};
    const struct core_view *view = world->nodes[index]->view;
    locate_begin(&locate, view, &key, 1);
    for (uint32_t n; (n = locate_plan(&locate, world->now_ns, asks)) > 0;) {
        struct view_peer peer;
        bool answered = false;
        assert_int_equal(n, 1);
        assert_int_equal(view_peer(view, asks[0].peer, &peer), 0);
        for (int i = 0; i < world->n; i++) {
            struct record_key keys[1];
            struct record_holder holders[BATCH_MAX];
            struct record_found found[FOUND_MAX];
            struct message_lookup lookup;
            struct message_locations answer;
            if (!id128_equal(world->nodes[i]->config.node_id, peer.node_id))
                continue;
            locate_fill_lookup(&locate, &asks[0], keys, &lookup);
            view_answer_lookup(world->nodes[i]->view, &lookup, holders, found, &answer);
            locate_answer(&locate, &asks[0], &answer);
            answered = true;
        }
        if (!answered)
            locate_fail(&locate, &asks[0]);
    }
    struct view_peer holder;
    if (key.state == LOCATE_FOUND && view_peer(view, key.places[0].holder, &holder) == 0 &&
        ret_holder)
        *ret_holder = holder.node_id;
    return key.state;
}

#endif
