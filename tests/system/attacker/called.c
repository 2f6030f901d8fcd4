/* SPDX-License-Identifier: Apache-2.0 */
/*
 * called.c - the other end of what the nodes dial: it answers as would do, mostly.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "forger.h"
#include "io/buffer.h"
#include "wire/shapes.h"

enum {
    CALLED_MAX = 64,
    BODY_MAX_BYTES = 1 << 20, /* of an answer with pages */
};

static void answer_lookup(struct forger *forger, const struct message_lookup *lookup,
                          struct message *answer)
{
    static _Thread_local struct record_found found[BATCH_MAX];
    static _Thread_local struct record_holder holder;
    struct message_locations *locations = &answer->u.locations;
    answer->type = MESSAGE_locations;
    holder = (struct record_holder){forger_member_id(forger_draw(forger, MEMBERS)), 1000};
    locations->complete = 1;
    locations->ring_hash = lookup->ring_hash;
    locations->holders = &holder;
    locations->n_holders = 1;
    for (uint32_t i = 0; i < lookup->n_keys; i++)
        found[i] = (struct record_found){
            .index = (uint16_t)i,
            .place = {.slot = (uint32_t)forger_draw(forger, 64),
                      .offset_bytes = 64 * forger_draw(forger, 4096),
                      .length_bytes = forger_draw(forger, 2)
                                          ? 4096
                                          : 1 + (uint32_t)forger_draw(forger, 1 << 20),
                      .generation = forger_draw(forger, 1000)}};
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
        answer->u.announced.credit = (uint32_t)forger_word(forger);
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
    forger_hear(forger, body, head->body_len_bytes);
    if (message_decode(head, body, &forger->asked, &asked) != 0)
        return;
    if (asked.type == MESSAGE_hello) {
        answer = (struct message){.type = MESSAGE_hello, .u.hello = forger_hello(forger, number)};
        answer.u.hello.incarnation = 1000;
        answer.u.hello.purpose = asked.u.hello.purpose;
    } else if (!make_answer(forger, &asked, &answer, &behind)) {
        (void)forger_send(fd, forger->frame, forger_damage(forger, forger_make_any(forger)));
        return;
    }
    size_t len = forger_encode(forger, &answer);
    if (asked.type != MESSAGE_hello || forger_draw(forger, 16) == 0)
        len = forger_damage(forger, len);
    (void)forger_send(fd, forger->frame, len);
    if (behind > 0)
        (void)forger_send(fd, filler,
                          forger_draw(forger, 4) ? behind : forger_draw(forger, behind));
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
    return forger_draw(forger, 64) != 0;
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

void *be_called(void *context)
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
