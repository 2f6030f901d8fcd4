/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve_fixture.h - for unit tests: a node's network side over loopback (listener, hellos, server)
 * with a made-up pool, on a thread of its own.
 *
 * Page i of the pool has bytes that depend on i and the offset; slot i, generation 100 + i.  Tests
 * mark pages as stale, and look at the pins.
 */
#ifndef IO_SERVE_FIXTURE_H
#define IO_SERVE_FIXTURE_H

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "io/buffer.h"
#include "io/channel.h"
#include "io/conn.h"
#include "io/dial.h"
#include "io/listener.h"
#include "io/loop.h"
#include "io/server.h"
#include "io/socket.h"

enum { FIXTURE_PAGES = 256, FIXTURE_PAGE_MAX_BYTES = 8 << 20 };

struct fixture {
    struct loop *loop;
    struct conn_set *set;
    struct listener *listener;
    struct server *server;
    struct address address;
    struct message_hello hello;
    struct server_asker asker; /* of the last pair */
    pthread_t thread;
    atomic_bool is_stopping;
    _Atomic uint32_t n_handed_over, n_control, n_ended;
    uint8_t *bytes;                        /* all pages start somewhere in here */
    _Atomic int32_t errors[FIXTURE_PAGES]; /* what pin() answers */
    _Atomic int32_t pins[FIXTURE_PAGES];
    _Atomic int32_t pins_now, guests_now, pins_most;
    atomic_bool pair_hangs, pair_refuses; /* as long as it is set */
    _Atomic uint32_t pairs_begun;
    _Atomic uint32_t requests;
};

static inline uint64_t after_ms(uint64_t ms)
{
    return clock_now_ns() + ms * 1000000;
}

static inline struct message_hello fixture_hello(uint64_t id)
{
    return (struct message_hello){
        .version_min = 1,
        .version_max = 1,
        .cluster = {"test", 4},
        .node_id = {7, id},
        .incarnation = 3,
        .purpose = PURPOSE_CONTROL,
    };
}

/* Pages start at odd places, so that a byte of a neighbour shows. */
static inline const uint8_t *fixture_page(const struct fixture *fixture, uint32_t slot)
{
    return fixture->bytes + (size_t)slot * 61;
}

static inline struct location fixture_place(uint32_t slot, uint32_t length_bytes)
{
    return (struct location){.slot = slot,
                             .generation = 100 + slot,
                             .length_bytes = length_bytes,
                             .tier = PEERCACHE_TIER_MEMORY,
                             .offset_bytes = (uint64_t)slot * 64};
}

/* --- the made-up pool ----------------------------------------------------------------------- */

static inline void fixture_lookup(void *context, const struct message_lookup *lookup,
                                  struct server_scratch *scratch, struct message_locations *ret)
{
    (void)context;
    ret->complete = 1;
    ret->ring_hash = lookup->ring_hash;
    scratch->holders[0] = (struct record_holder){.node_id = {7, 1}, .incarnation = 3};
    ret->holders = scratch->holders;
    ret->n_holders = 1;
    for (uint32_t i = 0; i < lookup->n_keys; i++)
        if (lookup->keys[i].digest.hi == 0)
            scratch->found[ret->n_found++] = (struct record_found){
                .index = (uint16_t)i,
                .place = fixture_place((uint32_t)lookup->keys[i].digest.lo, 1)};
    ret->found = scratch->found;
}

static inline void fixture_pin(void *context, const struct record_wanted *wanted,
                               struct record_status *ret_status, const uint8_t **ret_bytes)
{
    struct fixture *fixture = context;
    const struct location *place = &wanted->place;
    ret_status->error = -ESTALE;
    if (place->slot >= FIXTURE_PAGES || place->generation != 100 + place->slot)
        return;
    ret_status->error = atomic_load(&fixture->errors[place->slot]);
    if (ret_status->error != 0)
        return;
    ret_status->generation = place->generation;
    ret_status->length_bytes = place->length_bytes;
    ret_status->checksum = place->slot * 3;
    *ret_bytes = fixture_page(fixture, place->slot);
    atomic_fetch_add(&fixture->pins[place->slot], 1);
    int32_t now = atomic_fetch_add(&fixture->pins_now, 1) + 1;
    if (now > atomic_load(&fixture->pins_most))
        atomic_store(&fixture->pins_most, now);
}

static inline void fixture_unpin(void *context, uint32_t slot)
{
    struct fixture *fixture = context;
    CHECK(atomic_fetch_sub(&fixture->pins[slot], 1) > 0);
    atomic_fetch_sub(&fixture->pins_now, 1);
}

/* Answers with the question's json and body, turned around. */
static inline void fixture_request(void *context, const struct server_request *request,
                                   struct server_answer *ret_answer)
{
    struct fixture *fixture = context;
    atomic_fetch_add(&fixture->requests, 1);
    ret_answer->error = -EDOM;
    ret_answer->json_len = request->json_len;
    ret_answer->json = malloc(request->json_len + 1);
    ret_answer->body_len = request->body_len;
    ret_answer->body = malloc(request->body_len + 1);
    memcpy(ret_answer->json, request->json, request->json_len);
    for (size_t i = 0; i < request->body_len; i++)
        ret_answer->body[i] = request->body[request->body_len - 1 - i];
}

/* --- the loop's side ------------------------------------------------------------------------ */

/* Queue pairs with the numbers that were sent, and a guest that is counted. */
static inline void fixture_pair(void *context, const struct server_asker *asker,
                                const struct message_pair *pair, struct server_scratch *scratch,
                                struct message_paired *ret_paired, void **ret_guest)
{
    struct fixture *fixture = context;
    fixture->asker = *asker;
    atomic_fetch_add(&fixture->pairs_begun, 1);
    while (atomic_load(&fixture->pair_hangs))
        sched_yield();
    if (atomic_load(&fixture->pair_refuses)) {
        *ret_paired = (struct message_paired){.error = -EACCES};
        return;
    }
    for (uint32_t i = 0; i < pair->n_queues; i++)
        scratch->queues[i] = pair->queues[i];
    *ret_paired = (struct message_paired){
        .mtu_bytes = pair->mtu_bytes, .queues = scratch->queues, .n_queues = pair->n_queues};
    atomic_fetch_add(&fixture->guests_now, 1);
    *ret_guest = &fixture->guests_now;
}

static inline void fixture_unpair(void *context, void *guest)
{
    struct fixture *fixture = context;
    assert_ptr_equal(guest, &fixture->guests_now);
    atomic_fetch_sub(&fixture->guests_now, 1);
}

static inline void fixture_open(void *context, struct conn *conn,
                                const struct message_hello *theirs)
{
    struct fixture *fixture = context;
    const uint8_t *rest;
    size_t rest_len;
    if (theirs->purpose == PURPOSE_CONTROL || theirs->purpose == PURPOSE_DISCOVERY) {
        atomic_fetch_add(&fixture->n_control, 1);
        return;
    }
    struct server_arrival arrival = {
        (enum purpose)theirs->purpose, conn_version(conn), {theirs->node_id, theirs->incarnation}};
    int fd = conn_detach(conn, &rest, &rest_len);
    (void)server_add(fixture->server, fd, &arrival, rest, rest_len);
    atomic_fetch_add(&fixture->n_handed_over, 1);
}

/* Sends every message back. */
static inline void fixture_message(void *context, struct conn *conn, const struct message *message)
{
    (void)context;
    (void)conn_send(conn, message);
}

static inline void fixture_close(void *context, struct conn *conn, int error, const char *reason)
{
    struct fixture *fixture = context;
    (void)conn;
    (void)error;
    (void)reason;
    atomic_fetch_add(&fixture->n_ended, 1);
}

static inline void *fixture_main(void *argument)
{
    struct fixture *fixture = argument;
    while (!atomic_load(&fixture->is_stopping))
        (void)loop_run_once(fixture->loop, LOOP_FOREVER);
    return NULL;
}

static inline void fixture_start(struct fixture *fixture, const struct server_setup *setup)
{
    static const struct conn_callbacks callbacks = {
        .on_open = fixture_open, .on_message = fixture_message, .on_close = fixture_close};
    struct server_setup own = *setup;
    char reason[SOCKET_REASON_BYTES];
    memset(fixture, 0, sizeof *fixture);
    log_set_level(LOG_LEVEL_ERROR);
    fixture->bytes = malloc(FIXTURE_PAGE_MAX_BYTES + FIXTURE_PAGES * 61);
    for (size_t i = 0; i < FIXTURE_PAGE_MAX_BYTES + FIXTURE_PAGES * 61; i++)
        fixture->bytes[i] = (uint8_t)(i * 2654435761u >> 13);
    fixture->hello = fixture_hello(1);
    own.ops = (struct server_ops){.lookup = fixture_lookup,
                                  .pin = fixture_pin,
                                  .unpin = fixture_unpin,
                                  .pair = fixture_pair,
                                  .unpair = fixture_unpair,
                                  .request = fixture_request};
    own.context = fixture;
    if (own.threads == 0)
        own.threads = 2;
    snprintf(fixture->address.host, sizeof fixture->address.host, "127.0.0.1");
    assert_int_equal(loop_new(&fixture->loop), 0);
    assert_int_equal(
        conn_set_new(fixture->loop, &fixture->hello, &callbacks, fixture, &fixture->set), 0);
    assert_int_equal(
        listener_open(fixture->loop, fixture->set, &fixture->address, &fixture->listener, reason),
        0);
    fixture->address.port = listener_port(fixture->listener);
    assert_int_equal(server_start(&own, &fixture->server), 0);
    assert_int_equal(pthread_create(&fixture->thread, NULL, fixture_main, fixture), 0);
}

static inline void fixture_stop(struct fixture *fixture)
{
    atomic_store(&fixture->is_stopping, true);
    loop_wake(fixture->loop);
    pthread_join(fixture->thread, NULL);
    listener_close(fixture->listener);
    server_stop(fixture->server);
    conn_set_free(fixture->set);
    loop_free(fixture->loop);
    assert_int_equal(atomic_load(&fixture->pins_now), 0);
    assert_int_equal(atomic_load(&fixture->guests_now), 0);
    free(fixture->bytes);
}

/* For a test's setup and teardown. */
static inline int fixture_setup(void **state, const struct server_setup *setup)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    fixture_start(fixture, setup);
    *state = fixture;
    return 0;
}

static inline int fixture_teardown(void **state)
{
    fixture_stop(*state);
    free(*state);
    return 0;
}

/* Waits for another thread to get somewhere; the bound is for a test that has failed. */
#define WAIT_FOR(condition)                                                                        \
    do {                                                                                           \
        uint64_t until_ns_ = after_ms(10000);                                                      \
        while (!(condition)) {                                                                     \
            assert_true(clock_now_ns() < until_ns_);                                               \
            sched_yield();                                                                         \
        }                                                                                          \
    } while (0)

/* A connection with its hello done, whose bytes the test writes itself. */
static inline int fixture_dial(const struct fixture *fixture, enum purpose purpose)
{
    struct message_hello mine = fixture_hello(2);
    struct dial_hello theirs;
    char reason[HELLO_REASON_BYTES];
    int fd;
    assert_int_equal(dial(&fixture->address, &mine, purpose, after_ms(5000), &fd, &theirs, reason),
                     0);
    assert_true(id128_equal(theirs.hello.node_id, (struct id128){7, 1}));
    return fd;
}

static inline void fixture_send(int fd, const struct message *message)
{
    struct buffer out = {0};
    assert_int_equal(buffer_put_message(&out, message, 1 << 20), 0);
    assert_int_equal(socket_send_all(fd, out.bytes, buffer_len(&out), after_ms(5000)), 0);
    buffer_fini(&out);
}

static inline int fixture_channel(const struct fixture *fixture, struct channel **ret_channel)
{
    struct message_hello mine = fixture_hello(2);
    struct channel_peer peer = {.address = fixture->address, .node_id = {7, 1}, .incarnation = 3};
    char reason[HELLO_REASON_BYTES];
    return channel_open(&peer, &mine, after_ms(5000), ret_channel, reason);
}

#endif
