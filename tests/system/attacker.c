/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attacker.c - somebody who speaks the protocol and means harm: attacker CLUSTER SECONDS SEED PORT...
 *
 * It calls the ports for all purposes, joins as several members, and is called by the nodes that
 * believe it: on both sides it sends messages of every type, made from the schema, with numbers that it
 * has heard put in their places, and damaged.  What it answers to what it is asked would mostly do, so
 * that what comes of it is dealt with rather than refused at once.
 *
 * In the environment SPARED has ids of nodes, in hexadecimal, that it does not use: the newer of two
 * nodes with one id ends the older, as it should.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/splitmix.h"
#include "io/buffer.h"
#include "io/dial.h"
#include "io/socket.h"
#include "wire/shapes.h"

enum {
    CALLERS = 4,
    MEMBERS = 8, /* that it pretends to be; those of odd numbers have high ids, and are dialled */
    CALLED_MAX = 64,
    PORTS_MAX = 16,
    SPARED_MAX = 32,
    HEARD_MAX = 256,
    FRAME_SIZE = FRAME_HEAD_BYTES + FRAME_BODY_MAX_BYTES,
    BODY_MAX_BYTES = 1 << 20, /* of an answer with pages */
};

static struct {
    char *cluster;
    uint64_t until_ns;
    struct address ports[PORTS_MAX];
    uint32_t n_ports, n_spared;
    uint64_t spared[SPARED_MAX];
    _Atomic uint64_t heard[HEARD_MAX];
    struct address own[MEMBERS]; /* where each of the members listens */
    int listeners[MEMBERS];
    _Atomic uint64_t calls, refused, sent, answered, called;
} attack;

/* One thread's means. */
struct forger {
    uint64_t random;
    struct message_scratch lists, asked;
    uint8_t frame[FRAME_SIZE];
};

static uint64_t draw(struct forger *forger, uint64_t below)
{
    return splitmix_next(&forger->random) % below;
}

/* --- what was heard ------------------------------------------------------------------------- */

static bool is_spared(uint64_t word)
{
    for (uint32_t i = 0; i < attack.n_spared; i++)
        if (attack.spared[i] == word)
            return true;
    return false;
}

/* Ids, digests, generations, hashes of rings: they stand at any offset. */
static void hear(struct forger *forger, const uint8_t *bytes, size_t len)
{
    for (int i = 0; i < 8 && len >= sizeof(uint64_t); i++) {
        uint64_t word;
        memcpy(&word, bytes + draw(forger, len - sizeof word + 1), sizeof word);
        if (!is_spared(word))
            atomic_store(&attack.heard[draw(forger, HEARD_MAX)], word);
    }
}

static struct id128 member_id(uint64_t number)
{
    return (struct id128){number % 2 ? UINT64_MAX : 1, number};
}

static uint64_t hurtful_word(struct forger *forger)
{
    static const uint64_t bounds[] = {
        0,     1,       2,       63,        64,        255,        256,        1023,        1024,
        65535, 1 << 20, 1 << 27, INT32_MAX, INT64_MAX, UINT64_MAX, UINT32_MAX, 0xffff << 16};
    struct id128 id = member_id(draw(forger, MEMBERS));
    switch (draw(forger, 4)) {
    case 0: return bounds[draw(forger, sizeof bounds / sizeof *bounds)];
    case 1: return draw(forger, 2) ? id.hi : id.lo;
    default: return atomic_load(&attack.heard[draw(forger, HEARD_MAX)]);
    }
}

/* --- messages ------------------------------------------------------------------------------- */

/* Puts words in the places of others; the frame stays one. */
static void forge(struct forger *forger, size_t len)
{
    for (uint64_t i = draw(forger, 5); i > 0 && len > FRAME_HEAD_BYTES; i--) {
        uint64_t word = hurtful_word(forger);
        size_t width = (size_t)1 << draw(forger, 4);
        size_t at = FRAME_HEAD_BYTES + draw(forger, len - FRAME_HEAD_BYTES);
        memcpy(forger->frame + at, &word, width < len - at ? width : len - at);
    }
}

/* Most of what is sent is a frame with a body that can be decoded, or nearly. */
static size_t damage(struct forger *forger, size_t len)
{
    uint64_t kind = draw(forger, 16);
    if (kind == 0)
        return shapes_mutate(forger->frame, len, FRAME_SIZE, &forger->random);
    if (kind == 1)
        return draw(forger, len + 1);
    if (kind < 12)
        forge(forger, len);
    return len;
}

static size_t encode(struct forger *forger, const struct message *message)
{
    int64_t len = message_encode(message, forger->frame, FRAME_SIZE);
    return len > 0 ? (size_t)len : 0;
}

static size_t make_any(struct forger *forger)
{
    static const enum shape shapes[] = {SHAPE_EMPTY, SHAPE_FEW, SHAPE_FEW, SHAPE_FEW,
                                        SHAPE_FEW,   SHAPE_FEW, SHAPE_MOST};
    enum message_type type = 1 + (enum message_type)draw(forger, MESSAGE_TYPE_END - 1);
    enum shape shape = shapes[draw(forger, sizeof shapes / sizeof *shapes)];
    struct message message =
        shapes_make(type, shape, splitmix_next(&forger->random), &forger->lists);
    return encode(forger, &message);
}

static struct message_hello hello_of(struct forger *forger, uint64_t number)
{
    return (struct message_hello){
        .version_min = 1,
        .version_max = 1,
        .cluster = {attack.cluster, (uint32_t)strlen(attack.cluster)},
        .node_id = member_id(number),
        .incarnation = 1000 + draw(forger, 2),
        .boot_id = {7, number},
        .ring_hash = hurtful_word(forger),
        .vnodes = 160,
        .directory_replicas = 2,
    };
}

static size_t make_join(struct forger *forger, uint64_t number)
{
    const struct address *own = &attack.own[number];
    struct record_member member = {
        .node_id = member_id(number),
        .incarnation = 1000 + draw(forger, 2),
        .version = draw(forger, 100),
        .state = (uint8_t)(1 + draw(forger, 6)),
        .boot_id = {7, number},
        .uid = 1,
        .host = {own->host, (uint32_t)strlen(own->host)},
        .control_port = own->port,
        .discovery_port = draw(forger, 2) ? own->port : 0,
        .pool_bytes = 1 << 20,
        .seat = draw(forger, 3),
    };
    struct message message = {.type = MESSAGE_join};
    message.u.join.members = &member;
    message.u.join.n_members = 1;
    return encode(forger, &message);
}

static bool send_frame(int fd, const uint8_t *bytes, size_t len)
{
    ssize_t sent = send(fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    atomic_fetch_add(&attack.sent, 1);
    return sent == (ssize_t)len;
}

/* --- one who calls -------------------------------------------------------------------------- */

static void drain(struct forger *forger, int fd)
{
    uint8_t bytes[16384];
    for (ssize_t n; (n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0;)
        hear(forger, bytes, (size_t)n);
}

static void end_call(struct forger *forger, int fd)
{
    struct linger at_once = {.l_onoff = 1};
    switch (draw(forger, 3)) {
    case 0: setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once); break;
    case 1: shutdown(fd, SHUT_WR); break;
    default: break;
    }
    close(fd);
}

static void call(struct forger *forger)
{
    const struct address *port = &attack.ports[draw(forger, attack.n_ports)];
    uint64_t number = draw(forger, MEMBERS);
    enum purpose purpose = PURPOSE_CONTROL + (enum purpose)draw(forger, 4);
    struct message_hello mine = hello_of(forger, number);
    struct dial_hello theirs;
    char reason[HELLO_REASON_BYTES];
    int fd;
    atomic_fetch_add(&attack.calls, 1);
    if (dial(port, &mine, purpose, clock_now_ns() + CLOCK_NS_PER_S, &fd, &theirs, reason) != 0) {
        atomic_fetch_add(&attack.refused, 1);
        return;
    }
    bool is_open = true;
    if (purpose == PURPOSE_DISCOVERY)
        is_open = send_frame(fd, forger->frame, make_join(forger, number));
    for (uint64_t n = draw(forger, 64); n > 0 && is_open && clock_now_ns() < attack.until_ns; n--) {
        size_t len = damage(forger, make_any(forger));
        is_open = len == 0 || send_frame(fd, forger->frame, len);
        drain(forger, fd);
    }
    end_call(forger, fd);
}

static void *call_often(void *context)
{
    struct forger *forger = context;
    while (clock_now_ns() < attack.until_ns)
        call(forger);
    return NULL;
}

/* --- one who is called ---------------------------------------------------------------------- */

static void answer_lookup(struct forger *forger, const struct message_lookup *lookup,
                          struct message *answer)
{
    static _Thread_local struct record_found found[BATCH_MAX];
    static _Thread_local struct record_holder holder;
    struct message_locations *locations = &answer->u.locations;
    answer->type = MESSAGE_locations;
    holder = (struct record_holder){member_id(draw(forger, MEMBERS)), 1000};
    locations->complete = 1;
    locations->ring_hash = lookup->ring_hash;
    locations->holders = &holder;
    locations->n_holders = 1;
    for (uint32_t i = 0; i < lookup->n_keys; i++)
        found[i] = (struct record_found){
            .index = (uint16_t)i,
            .place = {.slot = (uint32_t)draw(forger, 64),
                      .offset_bytes = 64 * draw(forger, 4096),
                      .length_bytes = draw(forger, 2) ? 4096 : 1 + (uint32_t)draw(forger, 1 << 20),
                      .generation = draw(forger, 1000)}};
    locations->found = found;
    locations->n_found = lookup->n_keys;
}

static size_t answer_read(const struct message_read *read, struct message *answer)
{
    static _Thread_local struct record_status statuses[GROUP_MAX];
    size_t len = 0;
    answer->type = MESSAGE_payload;
    for (uint32_t i = 0; i < read->n_pages; i++) {
        const struct location *place = &read->pages[i].place;
        statuses[i] = (struct record_status){0, place->generation, place->length_bytes, i};
        len += place->length_bytes;
    }
    answer->u.payload.pages = statuses;
    answer->u.payload.n_pages = read->n_pages;
    return len < BODY_MAX_BYTES ? len : BODY_MAX_BYTES;
}

/* What would do, as far as it is known here; the length of what stands behind it goes to @ret_len.
 * False: there is no answer to it. */
static bool make_answer(struct forger *forger, const struct message *asked, struct message *answer,
                        size_t *ret_len)
{
    *answer = (struct message){.request = asked->request};
    *ret_len = 0;
    switch (asked->type) {
    case MESSAGE_lookup: answer_lookup(forger, &asked->u.lookup, answer); return true;
    case MESSAGE_read: *ret_len = answer_read(&asked->u.read, answer); return true;
    case MESSAGE_announce:
        answer->type = MESSAGE_announced;
        answer->u.announced.batch = asked->u.announce.batch;
        answer->u.announced.credit = (uint32_t)hurtful_word(forger);
        return true;
    case MESSAGE_epochs:
        answer->type = MESSAGE_heard;
        answer->u.heard.batch = asked->u.epochs.batch;
        return true;
    case MESSAGE_join:
    case MESSAGE_heartbeat:
        *answer =
            shapes_make(MESSAGE_members, SHAPE_FEW, splitmix_next(&forger->random), &forger->lists);
        return true;
    default: return false;
    }
}

static void answer_frame(struct forger *forger, int fd, uint64_t number,
                         const struct frame_head *head, const uint8_t *body)
{
    static _Thread_local uint8_t filler[BODY_MAX_BYTES];
    struct message asked, answer;
    size_t behind = 0;
    hear(forger, body, head->body_len_bytes);
    if (message_decode(head, body, &forger->asked, &asked) != 0)
        return;
    if (asked.type == MESSAGE_hello) {
        answer = (struct message){.type = MESSAGE_hello, .u.hello = hello_of(forger, number)};
        answer.u.hello.incarnation = 1000;
        answer.u.hello.purpose = asked.u.hello.purpose;
    } else if (!make_answer(forger, &asked, &answer, &behind)) {
        (void)send_frame(fd, forger->frame, damage(forger, make_any(forger)));
        return;
    }
    size_t len = encode(forger, &answer);
    if (asked.type != MESSAGE_hello || draw(forger, 16) == 0)
        len = damage(forger, len);
    (void)send_frame(fd, forger->frame, len);
    if (behind > 0)
        (void)send_frame(fd, filler, draw(forger, 4) ? behind : draw(forger, behind));
    atomic_fetch_add(&attack.answered, 1);
}

struct called {
    int fd;
    uint64_t number;
    struct buffer in;
};

static void hang_up(struct called *called, struct pollfd *watch)
{
    close(called->fd);
    buffer_fini(&called->in);
    *called = (struct called){.fd = -1};
    watch->fd = -1;
}

/* False: it is over with this one. */
static bool listen_to(struct forger *forger, struct called *called)
{
    struct frame_head head;
    size_t len;
    if (buffer_reserve(&called->in, 65536, 2 * FRAME_SIZE) != 0)
        return false;
    ssize_t n =
        recv(called->fd, called->in.bytes + called->in.end, buffer_room(&called->in), MSG_DONTWAIT);
    if (n <= 0)
        return n < 0 && errno == EAGAIN;
    called->in.end += (size_t)n;
    while (buffer_peek_frame(&called->in, &head, &len) == 1) {
        answer_frame(forger, called->fd, called->number, &head,
                     called->in.bytes + called->in.begin + FRAME_HEAD_BYTES);
        buffer_consume(&called->in, len);
    }
    return draw(forger, 64) != 0;
}

static void take_call(int listener, uint64_t number, struct called *all, struct pollfd *watches)
{
    int fd = accept(listener, NULL, NULL);
    uint32_t i = 0;
    while (i < CALLED_MAX && all[i].fd >= 0)
        i++;
    atomic_fetch_add(&attack.called, 1);
    if (fd < 0 || i == CALLED_MAX) {
        close(fd);
        return;
    }
    all[i] = (struct called){.fd = fd, .number = number};
    watches[i] = (struct pollfd){.fd = fd, .events = POLLIN};
}

static void *be_called(void *context)
{
    static struct called all[CALLED_MAX];
    struct pollfd watches[CALLED_MAX + MEMBERS];
    struct forger *forger = context;
    for (uint32_t i = 0; i < CALLED_MAX + MEMBERS; i++)
        watches[i] =
            (struct pollfd){i < CALLED_MAX ? -1 : attack.listeners[i - CALLED_MAX], POLLIN, 0};
    for (uint32_t i = 0; i < CALLED_MAX; i++)
        all[i].fd = -1;
    while (clock_now_ns() < attack.until_ns) {
        (void)poll(watches, CALLED_MAX + MEMBERS, 100);
        for (uint32_t i = 0; i < CALLED_MAX; i++)
            if (all[i].fd >= 0 && watches[i].revents && !listen_to(forger, &all[i]))
                hang_up(&all[i], &watches[i]);
        for (uint32_t i = 0; i < MEMBERS; i++)
            if (watches[CALLED_MAX + i].revents)
                take_call(attack.listeners[i], i, all, watches);
    }
    for (uint32_t i = 0; i < CALLED_MAX; i++)
        if (all[i].fd >= 0)
            hang_up(&all[i], &watches[i]);
    return NULL;
}

/* --- all of it ------------------------------------------------------------------------------ */

static void take_spared(void)
{
    const char *text = getenv("SPARED");
    uint64_t hi, lo;
    for (int len; text && sscanf(text, " %16lx%16lx%n", &hi, &lo, &len) == 2; text += len) {
        CHECK(attack.n_spared + 2 <= SPARED_MAX);
        attack.spared[attack.n_spared++] = hi;
        attack.spared[attack.n_spared++] = lo;
    }
}

static void take_arguments(char **argv)
{
    attack.cluster = argv[1];
    attack.until_ns = clock_now_ns() + strtoull(argv[2], NULL, 10) * CLOCK_NS_PER_S;
    for (char **port = argv + 4; *port && attack.n_ports < PORTS_MAX; port++)
        attack.ports[attack.n_ports++] =
            (struct address){.host = "127.0.0.1", .port = (uint16_t)strtoul(*port, NULL, 10)};
}

static void listen_as_members(void)
{
    char reason[SOCKET_REASON_BYTES];
    for (uint32_t i = 0; i < MEMBERS; i++) {
        strcpy(attack.own[i].host, "127.0.0.1");
        CHECK(socket_listen(&attack.own[i], &attack.listeners[i], &attack.own[i].port, reason) ==
              0);
    }
}

int main(int argc, char **argv)
{
    static struct forger forgers[CALLERS + 1];
    pthread_t threads[CALLERS + 1];
    if (argc < 5) {
        fprintf(stderr, "usage: attacker CLUSTER SECONDS SEED PORT...\n");
        return 2;
    }
    take_arguments(argv);
    take_spared();
    listen_as_members();
    uint64_t seed = strtoull(argv[3], NULL, 10);
    for (uint64_t i = 0; i <= CALLERS; i++) {
        forgers[i].random = splitmix_of(seed + i);
        CHECK(pthread_create(&threads[i], NULL, i == CALLERS ? be_called : call_often,
                             &forgers[i]) == 0);
    }
    for (uint32_t i = 0; i <= CALLERS; i++)
        pthread_join(threads[i], NULL);
    printf("seed=%lu calls=%lu refused=%lu sent=%lu called=%lu answered=%lu\n", seed,
           atomic_load(&attack.calls), atomic_load(&attack.refused), atomic_load(&attack.sent),
           atomic_load(&attack.called), atomic_load(&attack.answered));
    return 0;
}
