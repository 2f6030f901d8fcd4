/* SPDX-License-Identifier: Apache-2.0 */
/*
 * step.c - the one place where the core is stepped.
 *
 * Any thread may do it, one at a time.  What the step wants done on sockets is written to the
 * outbox, in order, and done by the node thread; waiters are woken at once.
 */
#include "node/step.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "node/internal.h"
#include "node/life.h"
#include "node/links.h"
#include "node/peers.h"
#include "node/probe.h"
#include "wire/codec.h"

enum {
    YIELDS_MAX = 64, /* of the node thread before a step that others want too */
    OUTBOX_MAX_BYTES = 64 << 20,
    OUTBOX_HINTS_BYTES = 16 << 10, /* of touches that wait for company: about 40 gets */
};

enum out_kind { OUT_SEND, OUT_DIAL, OUT_HANGUP };

struct out {
    enum out_kind kind;
    uint32_t link;
    uint32_t len; /* of what follows: a frame, or a struct out_dial */
};

struct out_dial {
    struct core_dial dial;
    char host[ADDRESS_HOST_BYTES];
};

/* --- the outbox --- */

static uint8_t *outbox_add(struct outbox *box, const struct out *head)
{
    size_t need = sizeof *head + head->len;
    if (box->used + need > box->size) {
        size_t size = box->size ? box->size * 2 : 1 << 16;
        while (size < box->used + need)
            size *= 2;
        if (size > OUTBOX_MAX_BYTES)
            return NULL; /* the node thread hangs: its peers will sync again */
        uint8_t *bytes = realloc(box->bytes, size);
        if (!bytes)
            return NULL;
        box->bytes = bytes;
        box->size = size;
    }
    uint8_t *at = box->bytes + box->used;
    memcpy(at, head, sizeof *head);
    box->used += need;
    return at + sizeof *head;
}

static void out_send(struct node *node, const struct core_send *send)
{
    int64_t len = message_encode(send->message, node->frame, sizeof node->frame);
    CHECK(len > 0);
    struct out head = {.kind = OUT_SEND, .link = send->link, .len = (uint32_t)len};
    uint8_t *at = outbox_add(&node->outbox, &head);
    if (at)
        memcpy(at, node->frame, (size_t)len);
}

static void out_dial(struct node *node, const struct core_dial *dial)
{
    struct out_dial body = {.dial = *dial};
    strncpy(body.host, dial->host, sizeof body.host - 1);
    struct out head = {.kind = OUT_DIAL, .len = sizeof body};
    uint8_t *at = outbox_add(&node->outbox, &head);
    if (at)
        memcpy(at, &body, sizeof body);
}

static void out_hangup(struct node *node, uint32_t link)
{
    struct out head = {.kind = OUT_HANGUP, .link = link};
    outbox_add(&node->outbox, &head);
}

static void carry_out(struct node *node, const struct out *head, const uint8_t *body)
{
    struct out_dial dial;
    switch (head->kind) {
    case OUT_SEND: links_send(node, head->link, body, head->len); break;
    case OUT_HANGUP: links_hangup(node, head->link); break;
    case OUT_DIAL:
        memcpy(&dial, body, sizeof dial);
        dial.dial.host = dial.host;
        links_dial(node, &dial.dial);
        break;
    }
}

/* A step that is done meanwhile fills the other of the two boxes; its turn comes next. */
void node_drain_outbox(struct node *node)
{
    life_go_on(node);
    for (;;) {
        pthread_mutex_lock(&node->core_lock);
        struct outbox box = node->outbox;
        node->outbox = node->draining;
        node->draining = box;
        pthread_mutex_unlock(&node->core_lock);
        if (box.used == 0)
            return;
        for (size_t at = 0; at < box.used;) {
            struct out head;
            memcpy(&head, box.bytes + at, sizeof head);
            carry_out(node, &head, box.bytes + at + sizeof head);
            at += sizeof head + head.len;
        }
        node->draining.used = 0;
    }
}

/* --- waiters --- */

static void futex_wake(_Atomic(uint32_t) *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

static void futex_wait(_Atomic(uint32_t) *word, uint32_t value, uint64_t timeout_ns)
{
    struct timespec timeout = {(time_t)(timeout_ns / 1000000000), (long)(timeout_ns % 1000000000)};
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, &timeout, NULL, 0);
}

void node_wake_waiter(struct waiter *waiter)
{
    futex_wake(&waiter->done);
}

static void unlink_waiter(struct node *node, const struct waiter *waiter)
{
    for (struct waiter **at = &node->waiters; *at; at = &(*at)->next)
        if (*at == waiter) {
            *at = waiter->next;
            return;
        }
}

static void complete(struct node *node, const struct core_completion *completion)
{
    for (struct waiter *waiter = node->waiters; waiter; waiter = waiter->next) {
        if (waiter->op != completion->op)
            continue;
        waiter->error = completion->error;
        if (completion->n)
            memcpy(waiter->recorded, completion->recorded, completion->n);
        unlink_waiter(node, waiter);
        atomic_store_explicit(&waiter->done, 1, memory_order_release);
        futex_wake(&waiter->done);
        return;
    }
}

void node_unlink_waiter(struct node *node, struct waiter *waiter)
{
    pthread_mutex_lock(&node->core_lock);
    unlink_waiter(node, waiter);
    pthread_mutex_unlock(&node->core_lock);
}

static bool is_done(const struct waiter *waiter)
{
    return atomic_load_explicit(&waiter->done, memory_order_acquire) != 0;
}

int node_wait(struct node *node, struct waiter *waiter, uint64_t deadline_ns)
{
    uint64_t start_ns = clock_now_ns(), now_ns = start_ns;
    while (!is_done(waiter) && now_ns < deadline_ns && !atomic_load(&node->is_stopping)) {
        if (now_ns - start_ns <= node->config.spin_ns)
            sched_yield();
        else
            futex_wait(&waiter->done, 0,
                       deadline_ns - now_ns < 100000000 ? deadline_ns - now_ns : 100000000);
        now_ns = clock_now_ns();
    }
    if (is_done(waiter))
        return waiter->error;
    node_unlink_waiter(node, waiter);
    if (is_done(waiter))
        return waiter->error;
    struct core_event cancel = {.type = CORE_CANCEL, .u.set.op = waiter->op};
    node_step(node, &cancel, NULL);
    return -ETIMEDOUT;
}

/* --- the step --- */

static uint32_t event_op(const struct core_event *event)
{
    return event->type == CORE_CLEAR ? *event->u.clear.ret_op : event->u.set.op;
}

static void link_waiter(struct node *node, struct waiter *waiter, uint32_t op)
{
    waiter->op = op;
    waiter->next = node->waiters;
    node->waiters = waiter;
}

static void log_damage(const struct core_damage *damage)
{
    char reader[ID128_TEXT_LEN + 1], digest[ID128_TEXT_LEN + 1];
    id128_format(damage->reader, reader);
    id128_format(damage->digest, digest);
    log_event(LOG_LEVEL_WARNING, "page_damaged",
              "pages=%" PRIu32 " reader=%s digest=%s slot=%" PRIu32 " generation=%" PRIu64
              " offset_bytes=%" PRIu64 " length_bytes=%" PRIu32,
              damage->n, reader, digest, damage->place.slot, damage->place.generation,
              damage->place.offset_bytes, damage->place.length_bytes);
}

static void apply(struct node *node, const struct core_update *update)
{
    if (update->damage.n > 0)
        log_damage(&update->damage);
    if (update->has_failures)
        probe_look(node);
    if (update->yield.kind != CORE_YIELD_NOT)
        node->yield = update->yield;
    for (size_t i = 0; i < update->n_peer_changes; i++)
        peers_apply(node, &update->peer_changes[i]);
    for (size_t i = 0; i < update->n_sends; i++)
        out_send(node, &update->sends[i]);
    for (size_t i = 0; i < update->n_dials; i++)
        out_dial(node, &update->dials[i]);
    for (size_t i = 0; i < update->n_hangups; i++)
        out_hangup(node, update->hangups[i]);
    for (size_t i = 0; i < update->n_completions; i++)
        complete(node, &update->completions[i]);
}

/* Whether what this step sends can wait for the next other message, or for the next heartbeat.
 * Touches may be late (docs/replacement.md), and should not wake the node threads of both sides at
 * every get.  The retracts of a reserve go out with the announce that follows the copying. */
static bool may_wait(const struct node *node, const struct core_event *event,
                     const struct core_update *update)
{
    for (size_t i = 0; i < update->n_sends; i++) {
        uint16_t type = update->sends[i].message->type;
        if (type != MESSAGE_touch && !(type == MESSAGE_retract && event->type == CORE_RESERVE))
            return false;
    }
    return update->n_dials + update->n_hangups == 0 && node->outbox.used < OUTBOX_HINTS_BYTES;
}

static bool is_node_thread(const struct node *node)
{
    return node->has_thread && pthread_equal(pthread_self(), node->thread);
}

/* The lock is not fair: a node thread with a flood of messages would take it again and again, and a
 * call would wait beyond its deadline.  So it lets callers go first. */
static void lock_core(struct node *node)
{
    if (is_node_thread(node)) {
        for (int i = 0; i < YIELDS_MAX && atomic_load(&node->stepping_callers) > 0; i++)
            sched_yield();
        pthread_mutex_lock(&node->core_lock);
    } else {
        atomic_fetch_add(&node->stepping_callers, 1);
        pthread_mutex_lock(&node->core_lock);
        atomic_fetch_sub(&node->stepping_callers, 1);
    }
}

/* True: something is to be done on the node thread soon. */
static bool step(struct node *node, struct core_event *event, struct waiter *waiter)
{
    struct core_update update;
    event->now_ns = clock_now_ns();
    core_step(node->core, event, &update);
    if (waiter)
        link_waiter(node, waiter, event_op(event));
    apply(node, &update);
    bool has_output = node->outbox.used > 0 && !may_wait(node, event, &update);
    atomic_store(&node->wake_at_ns, update.wake_at_ns);
    return has_output;
}

void node_step_locked(struct node *node, struct core_event *event)
{
    step(node, event, NULL);
}

void node_step(struct node *node, struct core_event *event, struct waiter *waiter)
{
    lock_core(node);
    bool had_ended = atomic_load(&node->has_ended);
    uint64_t before_ns = atomic_load(&node->wake_at_ns), life = atomic_load(&node->life);
    life_check(node);
    bool has_output = step(node, event, waiter);
    life_obey(node);
    bool has_ended = atomic_load(&node->has_ended) && !had_ended;
    has_output |= atomic_load(&node->life) != life;
    bool is_earlier = atomic_load(&node->wake_at_ns) < before_ns;
    pthread_mutex_unlock(&node->core_lock);
    if (has_ended)
        node_stop_calls(node);
    if (is_node_thread(node))
        return;
    if (has_output)
        loop_post(node->loop, &node->drain_task);
    else if (is_earlier)
        loop_wake(node->loop);
}
