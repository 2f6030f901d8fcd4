/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve.c - questions on data channels, and the holder's answers, as node/serve.c gives them.
 *
 * A request or its answer may be lost with its channel: the asker hears at once, or waits in vain.
 * A page is sent piece by piece while its slot is pinned; the reader's buffer fills behind.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "core/invite.h"
#include "sim.h"
#include "wire/slot_pin.h"

struct request {
    int from, from_life;
    uint64_t asker, serial; /* the app or the read, and which use of it */
    uint32_t ask, round;
    uint32_t frame_len;
    uint8_t frame[];
};

/* A page on its way out of its holder. */
struct sending {
    int from, from_life; /* the reader */
    uint64_t read, serial;
    uint32_t slot, sent_bytes, length_bytes, chunk_bytes;
    uint64_t offset_bytes, last_arrival_ns;
};

struct piece {
    uint64_t read, serial;
    uint32_t len;
    uint8_t bytes[];
};

static bool is_lost(void)
{
    return world_chance(world.plan.dies_percent);
}

static struct request *new_request(const struct message *message)
{
    int64_t len = message_encode(message, world.frame, sizeof world.frame);
    if (len <= 0)
        world_violated("8", "a message of type %u that breaks its bounds", message->type);
    struct request *request = malloc(sizeof *request + (size_t)len);
    CHECK(request);
    memset(request, 0, sizeof *request);
    request->frame_len = (uint32_t)len;
    memcpy(request->frame, world.frame, (size_t)len);
    return request;
}

static void decode(const struct request *request, struct message *ret_message)
{
    struct frame_head head;
    if (frame_head_decode(request->frame, &head) != 0 ||
        message_decode(&head, request->frame + FRAME_HEAD_BYTES, &world.scratch, ret_message) != 0)
        world_violated("8", "a request or answer that cannot be decoded");
}

/* An answer to whoever asked, if that life goes on. */
static struct event *answer(const struct request *request, const struct message *message, int from,
                            event_run *run)
{
    struct request *reply = new_request(message);
    reply->asker = request->asker;
    reply->serial = request->serial;
    reply->ask = request->ask;
    reply->round = request->round;
    struct event *event = world_at(path_arrival_ns(from, request->from), run, request->from);
    event->life = request->from_life;
    event->box = reply;
    return event;
}

/* --- look-ups --- */

static struct app *find_asker(const struct event *event, const struct request *request)
{
    struct app *app = &world.machines[event->machine].apps[request->asker];
    bool is_current = app->call != CALL_NONE && app->serial == request->serial &&
                      app->asking.round == request->round;
    return is_current ? app : NULL;
}

static void lookup_answered(struct event *event)
{
    const struct request *reply = event->box;
    struct app *app = find_asker(event, reply);
    struct message message;
    decode(reply, &message);
    if (app)
        ask_answered(app, reply->ask, &message.u.locations);
}

static void lookup_failed(struct event *event)
{
    const struct request *request = event->box;
    struct app *app = find_asker(event, request);
    if (app)
        ask_failed(app, request->ask);
}

/* The place of another page of the same length that is there now, if one is found soon. */
static void name_another_page(const struct life *life, struct location *place)
{
    for (int tries = 0; tries < 32; tries++) {
        uint64_t generation = 1 + world_below(life->fillings_size);
        const struct filling *other = filling_find(life, generation);
        if (!other || other->length_bytes != place->length_bytes ||
            generation == place->generation ||
            !slot_word_is_sealed(atomic_load(&life->headers[other->slot].word), generation))
            continue;
        place->slot = other->slot;
        place->generation = generation;
        place->offset_bytes = other->offset_bytes;
        return;
    }
}

/* A liar names another place, or another length, for what it was asked. */
static void lie(const struct message_locations *answer, struct record_found *found, int asker)
{
    if (!world.plan.lies || answer->n_found == 0 || !world_chance(50))
        return;
    struct record_found *changed = &found[world_below(answer->n_found)];
    const struct record_holder *holder = &answer->holders[changed->place.holder];
    int number = machine_find_life(holder->node_id, holder->incarnation);
    const struct life *life = number == NOBODY ? NULL : &world.lives[number];
    const struct filling *filling = life ? filling_find(life, changed->place.generation) : NULL;
    if (!filling)
        return;
    if (world_chance(40))
        changed->place.length_bytes = filling_other_length(filling->key.ns, filling->key.number);
    else
        name_another_page(life, &changed->place);
    narrate(NARRATED_lie, asker, changed->index, 0, 0);
}

static void lookup_arrives(struct event *event)
{
    static struct record_holder holders[BATCH_MAX];
    static struct record_found found[FOUND_MAX];
    static struct record_index hot[BATCH_MAX];
    const struct request *request = event->box;
    const struct machine *machine = &world.machines[event->machine];
    struct message lookup, reply = {.type = MESSAGE_locations};
    decode(request, &lookup);
    if (identity_may_speak(machine))
        view_answer_lookup(machine->view, &lookup.u.lookup, holders, found, &reply.u.locations);
    invite_reader(machine->view, &lookup.u.lookup, world.now_ns, hot, &reply.u.locations);
    check_found(machine, &reply.u.locations, &lookup.u.lookup);
    lie(&reply.u.locations, found, request->from);
    if (!is_lost())
        answer(request, &reply, event->machine, lookup_answered);
}

void serve_ask_lookup(struct app *app, uint32_t index)
{
    struct record_key keys[BATCH_PAGES];
    const struct locate_ask *ask = &app->asking.asks[index];
    struct message message = {.type = MESSAGE_lookup};
    struct machine *machine = &world.machines[app->machine];
    locate_fill_lookup(&app->asking.locate, ask, keys, &message.u.lookup);
    int target = machine_route(machine, ask->peer);
    struct request *request = new_request(&message);
    request->from = app->machine;
    request->from_life = machine->life;
    request->asker = app->number;
    request->serial = app->serial;
    request->ask = index;
    request->round = app->asking.round;
    narrate(NARRATED_ask, app->machine, app->number,
            target == NOBODY ? UINT64_MAX : (uint64_t)world.lives[target].machine, ask->n);
    note_asked(app, target);
    bool is_refused = target == NOBODY || !world.lives[target].is_alive;
    struct event *event;
    if (is_refused || is_lost()) {
        /* Refused at once, or nobody answers: then the round's end is what the asker hears. */
        uint64_t delay_ns = world_chance(70) ? world_spread(world.plan.delay_ns) : 10 * SECOND;
        event = world_after(delay_ns, lookup_failed, app->machine);
    } else {
        int to = world.lives[target].machine;
        event = world_at(path_arrival_ns(app->machine, to), lookup_arrives, to);
    }
    event->box = request;
}

/* --- pages --- */

static struct read *find_read(uint64_t read, uint64_t serial)
{
    struct read *found = (struct read *)(uintptr_t)read;
    return found->is_running && found->serial == serial ? found : NULL;
}

static void payload_arrives(struct event *event)
{
    const struct request *reply = event->box;
    struct read *read = find_read(reply->asker, reply->serial);
    struct message message;
    decode(reply, &message);
    if (read && message.u.payload.n_pages == 1)
        read_take_payload(read, &message.u.payload.pages[0]);
}

static void piece_arrives(struct event *event)
{
    const struct piece *piece = event->box;
    struct read *read = find_read(piece->read, piece->serial);
    if (read)
        read_take_bytes(read, piece->bytes, piece->len);
}

static void send_piece(struct event *event)
{
    struct sending *sending = event->box;
    struct machine *machine = &world.machines[event->machine];
    struct life *life = machine_life(machine);
    uint32_t left = sending->length_bytes - sending->sent_bytes;
    uint32_t len = left < sending->chunk_bytes ? left : sending->chunk_bytes;
    struct piece *piece = malloc(sizeof *piece + len);
    CHECK(piece);
    *piece = (struct piece){.read = sending->read, .serial = sending->serial, .len = len};
    memcpy(piece->bytes, life->payload + sending->offset_bytes + sending->sent_bytes, len);
    sending->sent_bytes += len;
    uint64_t at_ns = path_arrival_ns(event->machine, sending->from);
    if (at_ns <= sending->last_arrival_ns)
        at_ns = sending->last_arrival_ns + 1;
    sending->last_arrival_ns = at_ns;
    struct event *arrival = world_at(at_ns, piece_arrives, sending->from);
    arrival->life = sending->from_life;
    arrival->box = piece;
    if (sending->sent_bytes < sending->length_bytes && !is_lost()) {
        world_after(world_spread(world.plan.chunk_ns), send_piece, event->machine)->box = sending;
        event->box = NULL;
        return;
    }
    narrate(NARRATED_sent, event->machine, sending->slot, 0, 0);
    slot_word_unpin(&life->headers[sending->slot].word);
    machine->n_serving--;
}

static int pin_page(const struct machine *machine, const struct record_wanted *wanted)
{
    const struct slot_table slots = {machine_life(machine)->headers, machine->slots,
                                     machine->pool_bytes};
    return machine->n_serving == SERVES_MAX ? -EBUSY : slot_pin(&slots, wanted);
}

/* What is sent is as long as was asked for, which the pinned header was held against. */
static void begin_sending(struct machine *machine, const struct request *request,
                          const struct record_wanted *wanted, uint64_t status_arrival_ns)
{
    struct sending *sending = malloc(sizeof *sending);
    CHECK(sending);
    *sending = (struct sending){
        .from = request->from,
        .from_life = request->from_life,
        .read = request->asker,
        .serial = request->serial,
        .slot = wanted->place.slot,
        .length_bytes = wanted->place.length_bytes,
        .offset_bytes = machine_life(machine)->headers[wanted->place.slot].offset_bytes,
        .last_arrival_ns = status_arrival_ns,
    };
    read_cut(sending->length_bytes, &sending->chunk_bytes);
    machine->n_serving++;
    world_after(world_spread(world.plan.chunk_ns), send_piece, machine->number)->box = sending;
}

static void read_arrives(struct event *event)
{
    const struct request *request = event->box;
    struct machine *machine = &world.machines[event->machine];
    struct message message, reply = {.type = MESSAGE_payload};
    decode(request, &message);
    struct record_wanted wanted = message.u.read.pages[0];
    struct record_status status = {.error = identity_may_speak(machine) ? pin_page(machine, &wanted)
                                                                        : -EBUSY};
    if (status.error == 0) {
        status.generation = wanted.place.generation;
        status.length_bytes = wanted.place.length_bytes;
        status.checksum = machine_life(machine)->headers[wanted.place.slot].checksum;
    }
    narrate(NARRATED_serve, machine->number, wanted.place.slot, wanted.place.generation,
            (uint64_t)(int64_t)status.error);
    reply.u.payload = (struct message_payload){.pages = &status, .n_pages = 1};
    uint64_t arrival_ns = answer(request, &reply, machine->number, payload_arrives)->at_ns;
    if (status.error == 0)
        begin_sending(machine, request, &wanted, arrival_ns);
}

static void read_failed(struct event *event)
{
    const struct request *request = event->box;
    struct read *read = find_read(request->asker, request->serial);
    struct record_status status = {.error = -EHOSTUNREACH};
    if (read)
        read_take_payload(read, &status);
}

void serve_ask_read(struct read *read)
{
    struct record_wanted wanted = {
        .digest = read->expected.digest,
        .place = {.tier = 1,
                  .slot = read->slot,
                  .offset_bytes = read->expected.offset_bytes,
                  .length_bytes = read->expected.length_bytes,
                  .generation = read->expected.generation},
    };
    struct message message = {.type = MESSAGE_read, .u.read = {.pages = &wanted, .n_pages = 1}};
    struct request *request = new_request(&message);
    request->from = read->machine;
    request->from_life = read->life;
    request->asker = (uintptr_t)read;
    request->serial = read->serial;
    struct event *event;
    if (read->source == NOBODY || !world.lives[read->source].is_alive || is_lost()) {
        uint64_t delay_ns = world_chance(70) ? world_spread(world.plan.delay_ns) : 10 * SECOND;
        event = world_after(delay_ns, read_failed, read->machine);
    } else {
        int to = world.lives[read->source].machine;
        event = world_at(path_arrival_ns(read->machine, to), read_arrives, to);
    }
    event->box = request;
}
