/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sync_cost.c - what a reconnect and a join cost a holder of many pages: `bench-sync-cost [PAGES]`.
 *
 * Real cores in one process, one of them with PAGES pages (default 1,000,000), ten members, then an
 * eleventh that joins.  Messages are encoded, decoded and delivered at once, so that the figures
 * are the work and the bytes, without a network.  Prints the Markdown table of docs/directory.md:
 * CPU time of the holder's steps, of all owners' steps, the longest step of each, messages and
 * bytes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/hash.h"
#include "base/slot_word.h"
#include "core/core.h"
#include "core/inspection.h"
#include "rig.h"
#include "wire/codec.h"

enum { NODES = 11, HOLDER = 0, PAGE_BYTES = 64, DISCOVERY = 100 };
#define MEMBER_TTL_NS UINT64_C(6000000000)

struct node {
    struct core *core;
    struct slot_header *headers;
    uint64_t cpu_ns, longest_ns, wake_at_ns;
    uint32_t dial; /* the last one to discovery, which is played here */
};

struct frame {
    struct frame *next;
    int from, to;
    size_t len;
    uint8_t bytes[];
};

static struct node nodes[NODES];
static struct frame *first, **last = &first;
static uint64_t now_ns = 1000000000, messages, sent_bytes;
static struct message_scratch scratch;
static uint8_t encoded[FRAME_HEAD_BYTES + FRAME_BODY_MAX_BYTES];

static uint64_t cpu_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Link numbers are the node at the other end. */
static void queue(int from, const struct core_send *send)
{
    if (send->link >= NODES)
        return; /* to discovery, which is played here */
    int64_t len = message_encode(send->message, encoded, sizeof encoded);
    struct frame *frame = len > 0 ? malloc(sizeof *frame + (size_t)len) : NULL;
    if (!frame)
        rig_fail("a message that cannot be encoded");
    *frame = (struct frame){.from = from, .to = (int)send->link, .len = (size_t)len};
    memcpy(frame->bytes, encoded, (size_t)len);
    *last = frame;
    last = &frame->next;
    messages++;
    sent_bytes += (uint64_t)len;
}

static void step(int index, struct core_event *event)
{
    struct node *node = &nodes[index];
    struct core_update update;
    event->now_ns = now_ns;
    uint64_t start_ns = cpu_now_ns();
    core_step(node->core, event, &update);
    uint64_t took_ns = cpu_now_ns() - start_ns;
    node->cpu_ns += took_ns;
    node->longest_ns = took_ns > node->longest_ns ? took_ns : node->longest_ns;
    node->wake_at_ns = update.wake_at_ns;
    for (size_t i = 0; i < update.n_sends; i++)
        queue(index, &update.sends[i]);
    for (size_t i = 0; i < update.n_dials; i++)
        if (update.dials[i].purpose == PURPOSE_DISCOVERY)
            node->dial = update.dials[i].number;
}

static bool deliver(void)
{
    struct frame *frame = first;
    struct frame_head head;
    struct message message;
    if (!frame)
        return false;
    first = frame->next;
    if (!first)
        last = &first;
    if (frame_head_decode(frame->bytes, &head) != 0 ||
        message_decode(&head, frame->bytes + FRAME_HEAD_BYTES, &scratch, &message) != 0)
        rig_fail("a message that cannot be decoded");
    step(frame->to, &(struct core_event){.type = CORE_MESSAGE,
                                         .link = (uint32_t)frame->from,
                                         .u.message = &message});
    free(frame);
    return true;
}

static bool wake(void)
{
    bool any = false;
    for (int i = 0; i < NODES; i++)
        if (nodes[i].core && nodes[i].wake_at_ns <= now_ns) {
            step(i, &(struct core_event){.type = CORE_TICK});
            any = true;
        }
    return any;
}

static void run(void)
{
    while (deliver() || wake())
        ;
}

/* --- the cluster --- */

static struct id128 id_of(int node)
{
    return (struct id128){hash_bytes64(&node, sizeof node, 9), 1};
}

static void start(int index, uint32_t slots, uint32_t entries)
{
    struct node *node = &nodes[index];
    node->headers = calloc(slots, sizeof *node->headers);
    struct core_config config = {.node_id = id_of(index),
                                 .incarnation = 1,
                                 .host = "127.0.0.1",
                                 .control_port = (uint16_t)(1000 + index),
                                 .discovery_port = 999,
                                 .max_masters = 3,
                                 .has_head = true,
                                 .n_seeds = 1,
                                 .seeds = {{"127.0.0.1", 999}},
                                 .heartbeat_interval_ns = MEMBER_TTL_NS * 100,
                                 .member_ttl_ns = MEMBER_TTL_NS,
                                 .ring_grace_ns = 5 * MEMBER_TTL_NS,
                                 .vnodes = 160,
                                 .directory_replicas = 2,
                                 .directory_limit = entries,
                                 .headers = node->headers,
                                 .slot_count = slots,
                                 .pool_bytes = (uint64_t)slots * 2 * PAGE_BYTES};
    if (!node->headers || core_new(&config, &node->core) != 0)
        rig_fail("not enough memory");
    step(index, &(struct core_event){.type = CORE_TICK});
    step(index, &(struct core_event){
                    .type = CORE_LINK_UP,
                    .link = DISCOVERY,
                    .u.up = {PURPOSE_DISCOVERY, {1, 1}, 1, node->dial, WIRE_VERSION_MAX}});
}

/* The first @n nodes are alive, and those behind them that were started are dead. */
static void tell_members(uint64_t version, int n)
{
    struct record_member members[NODES];
    uint32_t n_members = 0;
    for (int i = 0; i < NODES && nodes[i].core; i++)
        members[n_members++] = (struct record_member){.node_id = id_of(i),
                                                      .incarnation = 1,
                                                      .state = i < n ? MEMBER_ALIVE : MEMBER_DEAD,
                                                      .host = {"127.0.0.1", 9},
                                                      .control_port = (uint16_t)(1000 + i),
                                                      .discovery_port = 999};
    struct message list = {.type = MESSAGE_members,
                           .u.members = {.table = 1,
                                         .version = version,
                                         .fresh = 1,
                                         .whole = 1,
                                         .listed = 1,
                                         .members = members,
                                         .n_members = n_members}};
    for (int i = 0; i < n; i++)
        step(i, &(struct core_event){.type = CORE_MESSAGE, .link = DISCOVERY, .u.message = &list});
}

static void connect(int a, int b)
{
    for (int i = 0; i < 2; i++) {
        step(a, &(struct core_event){.type = CORE_LINK_UP,
                                     .link = (uint32_t)b,
                                     .u.up = {PURPOSE_CONTROL, id_of(b), 1, 0, WIRE_VERSION_MAX}});
        int other = a;
        a = b;
        b = other;
    }
}

static void disconnect(int a, int b)
{
    step(a, &(struct core_event){.type = CORE_LINK_DOWN, .link = (uint32_t)b});
    step(b, &(struct core_event){.type = CORE_LINK_DOWN, .link = (uint32_t)a});
}

static void set_pages(uint64_t from, uint32_t n)
{
    struct core_page pages[CORE_BATCH_MAX];
    uint32_t op;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t number = from + i;
        pages[i] = (struct core_page){.digest = hash_bytes128(&number, sizeof number, 1),
                                      .identity = {1, 2},
                                      .ring_position = hash_bytes64(&number, sizeof number, 2),
                                      .length_bytes = PAGE_BYTES,
                                      .name_len = 8};
    }
    step(HOLDER, &(struct core_event){.type = CORE_RESERVE,
                                      .u.set = {.pages = pages, .n = n, .ret_op = &op}});
    for (uint32_t i = 0; i < n; i++) {
        if (pages[i].error)
            rig_fail("no room for page %u", (unsigned)(from + i));
        slot_word_seal(&nodes[HOLDER].headers[pages[i].slot].word, pages[i].generation);
    }
    step(HOLDER,
         &(struct core_event){.type = CORE_COPIED, .u.set = {.pages = pages, .n = n, .op = op}});
    run();
}

/* --- figures --- */

static void report(const char *what)
{
    uint64_t owners_ns = 0, longest_ns = 0;
    for (int i = 0; i < NODES; i++) {
        if (i != HOLDER) {
            owners_ns += nodes[i].cpu_ns;
            longest_ns = nodes[i].longest_ns > longest_ns ? nodes[i].longest_ns : longest_ns;
        }
    }
    if (what)
        printf("| %s | %.3f | %.2f | %.3f | %.2f | %llu | %.1f |\n", what,
               (double)nodes[HOLDER].cpu_ns / 1e9, (double)nodes[HOLDER].longest_ns / 1e6,
               (double)owners_ns / 1e9, (double)longest_ns / 1e6, (unsigned long long)messages,
               (double)sent_bytes / 1e6);
    for (int i = 0; i < NODES; i++)
        nodes[i].cpu_ns = nodes[i].longest_ns = 0;
    messages = sent_bytes = 0;
}

int main(int argc, char **argv)
{
    uint64_t pages = argc == 2 ? rig_number(argv[1]) : 1000000;
    if (pages < 1000 || pages > 10000000)
        rig_fail("bench-sync-cost PAGES, 1,000 to 10,000,000");
    for (int i = 0; i < NODES - 1; i++)
        start(i, i == HOLDER ? (uint32_t)(pages + pages / 4) : 64, (uint32_t)(2 * pages));
    tell_members(1, NODES - 1);
    for (int i = 0; i < NODES - 1; i++)
        for (int j = i + 1; j < NODES - 1; j++)
            connect(i, j);
    run();
    for (uint64_t from = 0; from < pages; from += CORE_BATCH_MAX)
        set_pages(from, pages - from < CORE_BATCH_MAX ? (uint32_t)(pages - from) : CORE_BATCH_MAX);
    now_ns += MEMBER_TTL_NS;
    run();
    report(NULL);
    printf(
        "| %llu pages, ten nodes | holder s | longest step ms | all owners s | longest step ms | "
        "messages | MB |\n|---|---|---|---|---|---|---|\n",
        (unsigned long long)pages);
    disconnect(HOLDER, 1);
    connect(HOLDER, 1);
    run();
    report("one owner reconnects");
    start(NODES - 1, 64, (uint32_t)(2 * pages));
    tell_members(2, NODES);
    for (int i = 0; i < NODES - 1; i++)
        connect(i, NODES - 1);
    run();
    report("an eleventh joins: it is told what it gained");
    now_ns += MEMBER_TTL_NS;
    run();
    report("and the others forget what they lost");
    disconnect(HOLDER, NODES - 1);
    tell_members(3, NODES - 1);
    run();
    report("it leaves: the others are told what they gained");
    for (int i = 0; i < NODES; i++) {
        core_free(nodes[i].core);
        free(nodes[i].headers);
    }
    return 0;
}
