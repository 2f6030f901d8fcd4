/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forger.h - what the threads of the attacker share, and how each makes its messages.
 */
#ifndef ATTACKER_FORGER_H
#define ATTACKER_FORGER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/address.h"
#include "base/splitmix.h"
#include "wire/codec.h"

enum {
    MEMBERS = 8, /* that it pretends to be; those of odd numbers have high ids, and are dialled */
    PORTS_MAX = 16,
    SPARED_MAX = 32,
    HEARD_MAX = 256,
    FRAME_SIZE = FRAME_HEAD_BYTES + FRAME_BODY_MAX_BYTES,
};

/* Set up before the threads start; then only what is atomic changes. */
struct attack {
    char *cluster;
    uint64_t until_ns;
    struct address ports[PORTS_MAX];
    uint32_t n_ports, n_spared;
    uint64_t spared[SPARED_MAX]; /* words that are never used */
    _Atomic uint64_t heard[HEARD_MAX];
    struct address own[MEMBERS]; /* where each of the members listens */
    int listeners[MEMBERS];
    _Atomic uint64_t calls, refused, sent, answered, called;
};
extern struct attack attack;

/* One thread's means. */
struct forger {
    uint64_t random;
    struct message_scratch lists, asked;
    uint8_t frame[FRAME_SIZE];
};

static inline uint64_t forger_draw(struct forger *forger, uint64_t below)
{
    return splitmix_next(&forger->random) % below;
}

/* Keeps some of the words in there. */
void forger_hear(struct forger *forger, const uint8_t *bytes, size_t len);
/* A bound of something, of one of the members, or one that was heard. */
uint64_t forger_word(struct forger *forger);
struct id128 forger_member_id(uint64_t number);

/* These make forger->frame and return its length. */
size_t forger_encode(struct forger *forger, const struct message *message);
size_t forger_make_any(struct forger *forger);
size_t forger_make_join(struct forger *forger, uint64_t number);
/* Of one of @len; the new length. */
size_t forger_damage(struct forger *forger, size_t len);

struct message_hello forger_hello(struct forger *forger, uint64_t number);

/* As far as the socket takes it at once; false: not all. */
bool forger_send(int fd, const uint8_t *bytes, size_t len);

/* called.c: a thread that is called by those who believe the members. */
void *be_called(void *forger);

#endif
