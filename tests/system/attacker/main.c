/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - attacker: somebody who speaks the protocol and means harm: attacker CLUSTER SECONDS SEED
 * PORT...
 *
 * It calls the ports for all purposes, joins as several members, and is called by the nodes that
 * believe it: on both sides it sends messages of every type, made from the schema, with numbers
 * that it has heard put in their places, and damaged.  What it answers to what it is asked would
 * mostly do, so that what comes of it is dealt with rather than refused at once.
 *
 * In the environment SPARED has ids of nodes, in hexadecimal, that it does not use: the newer of
 * two nodes with one id ends the older, as it should.
 */
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "forger.h"
#include "io/dial.h"
#include "io/socket.h"
#include "question.h"

enum { CALLERS = 4 };

/* --- one who calls -------------------------------------------------------------------------- */

static void drain(struct forger *forger, int fd)
{
    uint8_t bytes[16384];
    for (ssize_t n; (n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0;)
        forger_hear(forger, bytes, (size_t)n);
}

/* A tool's question, whose body is as long as it says, or not. */
static void ask(struct forger *forger, int fd)
{
    static _Thread_local char text[QUESTION_BYTES], body[65536];
    static const uint64_t wrong[] = {0, 1, 100, 1 << 27, UINT64_C(1) << 40, UINT64_MAX};
    uint64_t len = forger_draw(forger, 2) ? 0 : forger_draw(forger, sizeof body);
    struct message message = {.type = MESSAGE_request,
                              .request = (uint32_t)forger_draw(forger, 100)};
    struct message_request *request = &message.u.request;
    request->json = (struct wire_text){text, (uint32_t)question_make(&forger->random, text)};
    request->body_len_bytes = forger_draw(forger, 8) ? len : wrong[forger_draw(forger, 6)];
    size_t frame_len = forger_encode(forger, &message);
    if (forger_send(fd, forger->frame, frame_len) && len > 0)
        (void)forger_send(fd, (const uint8_t *)body, len);
    if (forger_draw(forger, 4)) /* else it does not wait for the answer */
        (void)socket_wait(fd, POLLIN, clock_now_ns() + CLOCK_NS_PER_S / 10);
    drain(forger, fd);
}

static void say(struct forger *forger, int fd)
{
    bool is_open = true;
    for (uint64_t n = forger_draw(forger, 64); n > 0 && is_open && clock_now_ns() < attack.until_ns;
         n--) {
        size_t len = forger_damage(forger, forger_make_any(forger));
        is_open = len == 0 || forger_send(fd, forger->frame, len);
        drain(forger, fd);
    }
}

static void end_call(struct forger *forger, int fd)
{
    struct linger at_once = {.l_onoff = 1};
    switch (forger_draw(forger, 3)) {
    case 0: setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once); break;
    case 1: shutdown(fd, SHUT_WR); break;
    default: break;
    }
    close(fd);
}

static void call(struct forger *forger)
{
    const struct address *port = &attack.ports[forger_draw(forger, attack.n_ports)];
    uint64_t number = forger_draw(forger, MEMBERS);
    enum purpose purpose = PURPOSE_CONTROL + (enum purpose)forger_draw(forger, 4);
    struct message_hello mine = forger_hello(forger, number);
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
        is_open = forger_send(fd, forger->frame, forger_make_join(forger, number));
    if (purpose == PURPOSE_TOOL && forger_draw(forger, 4))
        ask(forger, fd);
    else if (is_open)
        say(forger, fd);
    end_call(forger, fd);
}

static void *call_often(void *context)
{
    struct forger *forger = context;
    while (clock_now_ns() < attack.until_ns)
        call(forger);
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
