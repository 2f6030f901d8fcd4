/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node.c - what a node is made of, in the order in which it is built and taken down.
 *
 * The node thread runs the loop: control connections, timers, the outbox.  It is started last and
 * ended first, so whatever it uses outlives it.
 */
#include "node/node.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "io/host_id.h"
#include "node/discovery.h"
#include "node/internal.h"
#include "node/life.h"
#include "node/links.h"
#include "node/peers.h"
#include "node/rdma.h"
#include "node/serve.h"
#include "node/step.h"

enum {
    POOL_BYTES_A_SLOT = 4096, /* headers cost 1.6 % of the pool at most */
    SLOTS_MIN = 1024,
    SLOTS_MAX = 1 << 24,
    DIRECTORY_SHARE = 4,     /* entries of the shard a slot: replicas 2, imbalance 1.3 */
    DIRECTORY_MIN = 1 << 21, /* the ring gives a small pool as large a shard as others */
};
#define CLOSE_WAIT_NS UINT64_C(10000000000)
/* A drained node that is asked nothing for the first of these has nobody left who reads by TCP; it
 * waits for that, and for those who read by RDMA, no longer than the second. */
#define LINGER_QUIET_NS UINT64_C(50000000)
#define LINGER_MOST_NS UINT64_C(1000000000)
#define LINGER_LOOK_NS UINT64_C(5000000)

/* --- who this node is --- */

static uint32_t choose_slots(uint64_t pool_bytes)
{
    uint64_t slots = pool_bytes / POOL_BYTES_A_SLOT;
    return slots < SLOTS_MIN ? SLOTS_MIN : slots > SLOTS_MAX ? SLOTS_MAX : (uint32_t)slots;
}

uint64_t node_pool_memory_bytes(uint64_t pool_bytes)
{
    return arena_bytes(pool_bytes, choose_slots(pool_bytes));
}

/* Memory is taken as entries come, so a limit that is never reached costs nothing. */
static uint32_t choose_directory_limit(uint32_t slot_count)
{
    uint32_t limit = slot_count * DIRECTORY_SHARE;
    return limit < DIRECTORY_MIN ? DIRECTORY_MIN : limit;
}

static int identify(struct node *node, char ret_error[NODE_ERROR_BYTES])
{
    struct node_config *config = &node->config;
    struct id128 seed;
    node->pid = getpid();
    int error = life_open(node, ret_error);
    if (error)
        return error;
    if (host_id_random(&seed) == 0)
        node->table_seed = seed.lo;
    discovery_choose_hosts(node);
    if (config->slot_count == 0)
        config->slot_count = choose_slots(config->pool_bytes);
    if (config->directory_limit == 0)
        config->directory_limit = choose_directory_limit(config->slot_count);
    return 0;
}

/* --- open --- */

static int open_memory(struct node *node, char ret_error[NODE_ERROR_BYTES])
{
    int error =
        arena_create(node->config.pool_bytes, node->config.slot_count, &node->arena, ret_error);
    node->has_arena = error == 0;
    return error;
}

static int open_loop(struct node *node, char ret_error[NODE_ERROR_BYTES])
{
    node->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (node->stop_fd >= 0 && loop_new(&node->loop) == 0)
        return links_open(node, ret_error);
    snprintf(ret_error, NODE_ERROR_BYTES,
             "no descriptors left for the event loop: raise ulimit -n");
    return -EMFILE;
}

static int open_core(struct node *node, char ret_error[NODE_ERROR_BYTES])
{
    const struct node_config *config = &node->config;
    struct core_config core = {
        .node_id = config->node_id,
        .boot_id = node->boot_id,
        .incarnation = node->incarnation,
        .seat = node->seat_place,
        .uid = (uint32_t)geteuid(),
        .table_seed = node->table_seed,
        .control_port = config->control.port,
        .heartbeat_interval_ns = config->heartbeat_interval_ns,
        .member_ttl_ns = config->member_ttl_ns,
        .ring_grace_ns = config->ring_grace_ns,
        .vnodes = config->vnodes,
        .directory_replicas = config->directory_replicas,
        .directory_limit = config->directory_limit,
        .headers = node->arena.headers,
        .slot_count = node->arena.slot_count,
        .pool_bytes = node->arena.payload_bytes,
        .metrics = &node->metrics,
        .hot_pages = config->hot_pages,
        .is_apart = config->protocol == NODE_PROTOCOL_TCP || config->protocol == NODE_PROTOCOL_RDMA,
    };
    memcpy(core.host, config->advertised_host, sizeof core.host);
    discovery_describe(node, &core);
    int error = core_new(&core, &node->core);
    if (error) {
        snprintf(ret_error, NODE_ERROR_BYTES,
                 "not enough memory for the tables of %u slots: lower global_segment_size",
                 config->slot_count);
        return error;
    }
    node->view = core_view(node->core);
    return 0;
}

static void drain(struct loop_task *task)
{
    node_drain_outbox((struct node *)((char *)task - offsetof(struct node, drain_task)));
}

static void tick(struct node *node)
{
    struct core_event event = {.type = CORE_TICK};
    node_step(node, &event, NULL);
    peers_tell_held_back(node);
}

/* Others have been told that this node leaves, and what they are still reading is finished, within
 * bounds.  Reads by RDMA are not seen here, but a reader that was told gives its queue pairs back
 * when the last read has ended.  Only after a drain: who just closes is quick. */
static void finish_serving(struct node *node)
{
    uint64_t now_ns = clock_now_ns(), end_ns = now_ns + LINGER_MOST_NS;
    uint64_t quiet_ns = now_ns + LINGER_QUIET_NS, served = 0;
    while (now_ns < end_ns && (now_ns < quiet_ns || rdma_has_guests(node))) {
        struct server_counts counts;
        loop_run_once(node->loop, LINGER_LOOK_NS);
        node_drain_outbox(node);
        now_ns = clock_now_ns();
        server_counts(node->server, &counts);
        if (counts.pages + counts.lookups != served)
            quiet_ns = now_ns + LINGER_QUIET_NS;
        served = counts.pages + counts.lookups;
    }
}

static void *run(void *context)
{
    struct node *node = context;
    while (!atomic_load(&node->is_closing)) {
        node_drain_outbox(node);
        uint64_t now_ns = clock_now_ns(), wake_at_ns = atomic_load(&node->wake_at_ns);
        if (wake_at_ns > now_ns + lease_sleep_ns(&node->lease))
            wake_at_ns = now_ns + lease_sleep_ns(&node->lease);
        if (now_ns >= wake_at_ns) {
            tick(node);
            loop_run_once(node->loop, 0);
        } else {
            loop_run_once(node->loop, wake_at_ns - now_ns);
        }
    }
    struct core_event event = {.type = CORE_LEAVE};
    node_step(node, &event, NULL);
    node_drain_outbox(node);
    loop_run_once(node->loop, 0);
    if (atomic_load(&node->drain.state) != DRAIN_NONE)
        finish_serving(node);
    return NULL;
}

static int start_thread(struct node *node, char ret_error[NODE_ERROR_BYTES])
{
    node->drain_task.run = drain;
    /* The thread compares itself with node->thread, which is set before it can take this lock. */
    pthread_mutex_lock(&node->core_lock);
    int error = thread_start(&node->thread, NULL, "pc-node", run, node);
    node->has_thread = error == 0;
    pthread_mutex_unlock(&node->core_lock);
    if (error)
        snprintf(ret_error, NODE_ERROR_BYTES, "the node thread could not be started: %s",
                 strerror(-error));
    return error;
}

int node_open(const struct node_config *config, struct node **ret_node,
              char ret_error[NODE_ERROR_BYTES])
{
    struct node *node = calloc(1, sizeof *node);
    if (!node) {
        snprintf(ret_error, NODE_ERROR_BYTES, "not enough memory");
        return -ENOMEM;
    }
    node->config = *config;
    node->stop_fd = -1;
    pthread_mutex_init(&node->core_lock, NULL);
    drain_init(&node->drain);
    for (uint32_t i = 0; i < CORE_PEERS_MAX; i++)
        pthread_mutex_init(&node->peers[i].lock, NULL);
    int error = identify(node, ret_error);
    if (!error)
        error = open_memory(node, ret_error);
    if (!error)
        error = rdma_start(node, ret_error);
    if (!error)
        error = open_loop(node, ret_error);
    if (!error)
        error = open_core(node, ret_error);
    if (!error)
        error = serve_start(node, ret_error);
    if (!error) {
        life_start(node);
        /* The first step builds the ring: calls find it when this returns. */
        discovery_start(node);
        tick(node);
        error = start_thread(node, ret_error);
    }
    if (error) {
        node_close(node);
        return error;
    }
    *ret_node = node;
    return 0;
}

/* --- stop, close --- */

static void wake_waiters(struct node *node)
{
    pthread_mutex_lock(&node->core_lock);
    for (struct waiter *waiter = node->waiters; waiter; waiter = waiter->next)
        node_wake_waiter(waiter);
    pthread_mutex_unlock(&node->core_lock);
}

void node_stop_calls(struct node *node)
{
    uint64_t one = 1;
    if (atomic_exchange(&node->is_stopping, true))
        return;
    if (write(node->stop_fd, &one, sizeof one) < 0)
        CHECK(errno == EAGAIN);
    rdma_give_up(node);
    peers_stop(node);
    wake_waiters(node);
    loop_wake(node->loop);
}

void node_stop(struct node *node)
{
    node_stop_calls(node);
    atomic_store(&node->is_closing, true);
    loop_wake(node->loop);
}

/* Calls, and links that are still being opened for them. */
static bool has_work(struct node *node)
{
    return atomic_load(&node->calls) > 0 || rdma_openings(node) > 0;
}

bool node_await_calls(struct node *node)
{
    static const struct timespec pause = {.tv_nsec = 200000};
    node_stop(node);
    if (node->await_calls_until_ns == 0)
        node->await_calls_until_ns = clock_now_ns() + CLOSE_WAIT_NS;
    while (has_work(node) && clock_now_ns() < node->await_calls_until_ns)
        nanosleep(&pause, NULL);
    return !has_work(node);
}

/* The node thread has ended: nobody finds the node any more, and a call that goes on begins no new
 * life of it. */
static void retire(struct node *node)
{
    pthread_mutex_lock(&node->core_lock);
    atomic_store(&node->has_ended, true);
    pthread_mutex_unlock(&node->core_lock);
    if (node->loop)
        links_close(node);
}

static void ignore(struct loop_task *task)
{
    (void)task;
}

/* Calls have ended, and no other thread has work of this node. */
static void release(struct node *node)
{
    server_stop(node->server); /* nobody hands connections to it any more */
    retire(node);
    /* What calls have left for the node thread is nobody's now. */
    node->drain_task.run = node->probe_task.run = ignore;
    rdma_stop_closing(node);
    peers_close(node);
    rdma_stop(node);
    loop_free(node->loop);
    core_free(node->core);
    if (node->has_arena)
        arena_destroy(&node->arena);
    if (node->stop_fd >= 0)
        close(node->stop_fd);
    life_close(node);
    free(node->outbox.bytes);
    free(node->draining.bytes);
    pthread_mutex_destroy(&node->core_lock);
    drain_fini(&node->drain);
    free(node);
}

/* Not even threads are waited for that may hang likewise. */
static void leave_behind(struct node *node)
{
    server_hang_up(node->server);
    retire(node);
    log_event(LOG_LEVEL_ERROR, "node_not_freed",
              "calls=%u openings=%u reason=\"an RDMA device does not let go of them: what they use "
              "stays until this process ends\"",
              atomic_load(&node->calls), rdma_openings(node));
}

bool node_close(struct node *node)
{
    if (!node)
        return true;
    bool have_ended = true;
    if (node->has_thread) {
        node_stop(node);
        drain_join(&node->drain);
        have_ended = node_await_calls(node);
        pthread_join(node->thread, NULL);
    }
    if (have_ended)
        release(node);
    else
        leave_behind(node);
    return have_ended;
}

/* --- calls --- */

static int enter(struct node *node, const atomic_bool *is_refused)
{
    if (getpid() != node->pid)
        return -ECHILD;
    atomic_fetch_add(&node->calls, 1);
    if (!atomic_load(is_refused))
        return 0;
    atomic_fetch_sub(&node->calls, 1);
    return -ESHUTDOWN;
}

int node_enter(struct node *node)
{
    int error = enter(node, &node->is_stopping);
    if (error || !atomic_load(&node->has_ended))
        return error;
    node_exit(node); /* it has ended by itself, and will be stopped in a moment */
    return -ESHUTDOWN;
}

int node_enter_to_look(struct node *node)
{
    return enter(node, &node->is_closing);
}

void node_exit(struct node *node)
{
    atomic_fetch_sub(&node->calls, 1);
}

int node_clear(struct node *node, struct id128 identity, uint64_t deadline_ns)
{
    uint64_t epoch;
    uint32_t op;
    struct waiter waiter = {0};
    struct core_event event = {
        .type = CORE_CLEAR, .u.clear = {.identity = identity, .ret_epoch = &epoch, .ret_op = &op}};
    node_step(node, &event, &waiter);
    if (op != 0)
        return node_wait(node, &waiter, deadline_ns);
    node_unlink_waiter(node, &waiter);
    return -ENOSPC;
}

uint64_t node_epoch(const struct node *node, struct id128 identity)
{
    return view_epoch(node->view, identity);
}

const struct node_config *node_config(const struct node *node)
{
    return &node->config;
}

/* Runs of equal outcomes are added at once: nearly always the whole batch. */
void node_count_results(struct node *node, enum metric_op op,
                        const struct peercache_result *results, uint32_t n)
{
    for (uint32_t from = 0, end; from < n; from = end) {
        uint64_t bytes = 0;
        for (end = from; end < n && results[end].outcome == results[from].outcome &&
                         results[end].via == results[from].via;
             end++)
            bytes += results[end].len_bytes;
        metric_add_pages(&node->metrics, op, results[from].outcome, end - from);
        if (op == METRIC_OP_GET && results[from].outcome == PEERCACHE_HIT)
            metric_add_read(&node->metrics, results[from].via, end - from, bytes);
    }
}
