/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nic.c - reads of one page, in small pieces with time between them.
 *
 *     own         under a pin, as node/fetch.c copies own pages
 *     shared      past the holder, as io/shm_read.c: look at the word, copy, look again
 *     one-sided   past the holder, as an adapter does it: pieces in any order, then the header
 *     remote      sent by the holder piece by piece (serve.c)
 *
 * Between two pieces the owner of the memory goes on with its own work, so torn reads happen, and
 * only the checks that are tested here stand between them and a hit.
 */
#include <errno.h>
#include <string.h>

#include "base/protection.h"
#include "sim.h"

enum { SAMPLE_TORN_PERCENT = 20 };

uint32_t read_cut(uint32_t length_bytes, uint32_t *ret_chunk_bytes)
{
    uint32_t n = 1 + (uint32_t)world_below(CHUNKS_MAX);
    *ret_chunk_bytes = (length_bytes + n - 1) / n;
    return (length_bytes + *ret_chunk_bytes - 1) / *ret_chunk_bytes;
}

static void end(struct read *read, int error)
{
    narrate(NARRATED_read_end, read->machine, read->slot, read->expected.generation,
            (uint64_t)(int64_t)error);
    read->is_running = false;
    read->serial++;
    if (error == 0)
        check_hit(read);
    read->done(read, error);
}

static struct slot_header *header_of(const struct read *read)
{
    return &world.lives[read->source].headers[read->slot];
}

/* --- before, between, after --- */

static bool is_inside(const struct read *read)
{
    const struct life *life = &world.lives[read->source];
    return read->slot < life->slots && read->expected.offset_bytes <= life->pool_bytes &&
           read->expected.length_bytes <= life->pool_bytes - read->expected.offset_bytes &&
           read->expected.length_bytes <= PAGE_MAX_BYTES;
}

static enum slot_verdict verdict_now(struct read *read)
{
    slot_word_read_fence();
    read->sample.word = atomic_load_explicit(&header_of(read)->word, memory_order_acquire);
    return slot_verdict(&read->sample, &read->expected);
}

static int error_of(enum slot_verdict verdict, uint64_t *count)
{
    if (verdict == SLOT_MISMATCH)
        return -EBADMSG;
    ++*count;
    return -ESTALE;
}

static int look_before(struct read *read)
{
    enum slot_verdict verdict = slot_verdict(&read->sample, &read->expected);
    if (verdict == SLOT_MISMATCH)
        verdict = verdict_now(read);
    if (PROTECTED(word_before_copy) && verdict != SLOT_WHOLE)
        return error_of(verdict, &world.totals.stopped_before);
    return 0;
}

static int look_after(struct read *read)
{
    enum slot_verdict verdict;
    if (read->kind == READ_ONE_SIDED) {
        slot_header_sample(header_of(read), &read->sample);
        verdict = slot_verdict(&read->sample, &read->expected);
    } else {
        verdict = verdict_now(read);
    }
    if (PROTECTED(word_after_copy) && verdict != SLOT_WHOLE)
        return error_of(verdict, &world.totals.stopped_after);
    return 0;
}

static void copy_piece(struct read *read)
{
    uint32_t length = read->expected.length_bytes;
    uint32_t bytes = (length + read->n_chunks - 1) / read->n_chunks;
    uint32_t from = read->order[read->chunk++] * bytes;
    uint32_t len = from >= length ? 0 : length - from < bytes ? length - from : bytes;
    narrate(NARRATED_piece, read->machine, read->chunk, read->slot, (uint64_t)read->source);
    memcpy(read->bytes + from,
           world.lives[read->source].payload + read->expected.offset_bytes + from, len);
}

/* --- one step after another --- */

static void go_on(struct read *read, uint64_t delay_ns, event_run *run);

static void step(struct event *event)
{
    struct read *read = (struct read *)(uintptr_t)event->a;
    if (!read->is_running || read->serial != (uint32_t)event->b)
        return;
    int error = 0;
    bool is_own = read->kind == READ_OWN;
    if (read->chunk < read->n_chunks && world.now_ns >= read->deadline_ns)
        error = -ETIMEDOUT;
    else if (read->chunk < read->n_chunks)
        copy_piece(read);
    if (!error && read->chunk < read->n_chunks) {
        go_on(read, world_spread(world.plan.chunk_ns), step);
        return;
    }
    if (is_own)
        slot_word_unpin(&header_of(read)->word);
    else if (!error)
        error = look_after(read);
    end(read, error);
}

/* The fields are read behind the word, and the holder may write between. */
static void sample_fields(struct event *event)
{
    struct read *read = (struct read *)(uintptr_t)event->a;
    if (!read->is_running || read->serial != (uint32_t)event->b)
        return;
    uint64_t word = read->sample.word;
    slot_header_sample(header_of(read), &read->sample);
    read->sample.word = word;
    int error = look_before(read);
    if (error)
        end(read, error);
    else
        go_on(read, world_spread(world.plan.chunk_ns), step);
}

static void look_first(struct event *event)
{
    struct read *read = (struct read *)(uintptr_t)event->a;
    if (!read->is_running || read->serial != (uint32_t)event->b)
        return;
    int error = 0;
    if (read->source == NOBODY ||
        (read->kind == READ_ONE_SIDED && !world.lives[read->source].is_alive)) {
        end(read, -EHOSTUNREACH);
        return;
    }
    if (!is_inside(read)) {
        end(read, -EBADMSG);
        return;
    }
    slot_header_sample(header_of(read), &read->sample);
    if (read->kind == READ_OWN) {
        error = slot_word_pin(&header_of(read)->word, read->expected.generation);
    } else if (read->kind == READ_SHARED && world_chance(SAMPLE_TORN_PERCENT)) {
        go_on(read, world_spread(world.plan.chunk_ns), sample_fields);
        return;
    } else if (read->kind == READ_SHARED) {
        error = look_before(read);
    }
    if (error)
        end(read, error);
    else
        go_on(read, world_spread(world.plan.chunk_ns), step);
}

/* A piece that has begun is finished, whatever the deadline says. */
static void go_on(struct read *read, uint64_t delay_ns, event_run *run)
{
    if (read->asker)
        call_is_held(read->asker, world.now_ns + delay_ns);
    struct event *event = world_after(delay_ns, run, read->machine);
    event->a = (uintptr_t)read;
    event->b = read->serial;
}

static void shuffle(struct read *read, bool in_any_order)
{
    for (uint32_t i = 0; i < read->n_chunks; i++)
        read->order[i] = (uint8_t)i;
    for (uint32_t i = read->n_chunks; in_any_order && i > 1; i--) {
        uint32_t j = (uint32_t)world_below(i);
        uint8_t order = read->order[i - 1];
        read->order[i - 1] = read->order[j];
        read->order[j] = order;
    }
}

void read_begin(struct read *read)
{
    uint32_t chunk_bytes;
    read->is_running = true;
    read->serial++;
    read->life = world.machines[read->machine].life;
    read->chunk = 0;
    read->received_bytes = 0;
    read->n_chunks = read_cut(read->expected.length_bytes, &chunk_bytes);
    shuffle(read, read->kind == READ_ONE_SIDED);
    narrate(NARRATED_read, read->machine, read->slot, read->expected.generation,
            (uint64_t)(int64_t)read->source);
    if (read->kind == READ_REMOTE)
        serve_ask_read(read);
    else
        go_on(read, world_spread(10 * US), look_first);
}

/* --- what comes over the network --- */

void read_take_payload(struct read *read, const struct record_status *status)
{
    bool agrees = status->error == 0 && status->generation == read->expected.generation &&
                  status->length_bytes == read->expected.length_bytes;
    if (status->error < 0) {
        if (status->error == -ESTALE)
            world.totals.stopped_at_holder++;
        end(read, status->error);
    } else if (!agrees) {
        end(read, -EPROTO);
    }
}

void read_take_bytes(struct read *read, const uint8_t *bytes, uint32_t len)
{
    if (len > read->expected.length_bytes - read->received_bytes) {
        end(read, -EPROTO);
        return;
    }
    memcpy(read->bytes + read->received_bytes, bytes, len);
    read->received_bytes += len;
    if (read->received_bytes == read->expected.length_bytes)
        end(read, 0);
}

void read_cancel(struct read *read)
{
    if (read->is_running)
        end(read, -ETIMEDOUT);
}

/* --- old locations, read again and again --- */

/* The owners are told of a location that failed, however old it was. */
static void report_stale(const struct read *read)
{
    const struct life *source = &world.lives[read->source];
    struct machine *machine = &world.machines[read->machine];
    struct core_stale stale = {.digest = read->expected.digest,
                               .ring_position = filling_ring_position(&read->key),
                               .generation = read->expected.generation};
    struct core_event event = {.type = CORE_READ_OUTCOMES,
                               .u.outcomes = {.stales = &stale, .n_stales = 1}};
    if (view_peer_index(machine->view, source->node_id, source->incarnation, &stale.peer) == 0)
        machine_step(machine, &event, NULL);
}

static void probe_done(struct read *read, int error)
{
    if (attempt_is_stale(error))
        report_stale(read);
    probe_schedule(&world.machines[read->machine], world_spread(world.plan.think_ns));
}

static enum read_kind choose_kind(const struct machine *machine, int source)
{
    bool same_host = world.machines[world.lives[source].machine].host == machine->host;
    uint64_t choice = world_below(3);
    if (machine->life == source)
        return READ_OWN;
    return choice == 0 ? READ_ONE_SIDED : choice == 1 && same_host ? READ_SHARED : READ_REMOTE;
}

/* Nobody waits for ever for what a holder sends. */
static void probe_is_late(struct event *event)
{
    struct read *read = &world.machines[event->machine].prober.read;
    if (read->serial == (uint32_t)event->a && read->kind == READ_REMOTE)
        read_cancel(read);
}

static void probe(struct event *event)
{
    struct machine *machine = &world.machines[event->machine];
    struct read *read = &machine->prober.read;
    if (world.is_settling)
        return;
    const struct seen *seen = &machine->seen[world_below(SEEN_MAX)];
    if (!seen->used) {
        probe_schedule(machine, world_spread(world.plan.think_ns));
        return;
    }
    narrate(NARRATED_probe, machine->number, seen->place.slot, seen->place.generation,
            (uint64_t)seen->life);
    world.totals.probes++;
    read->kind = choose_kind(machine, seen->life);
    read->machine = machine->number;
    read->source = seen->life;
    read->key = seen->key;
    read->slot = seen->place.slot;
    read->expected = (struct slot_expectation){.digest = filling_digest(&seen->key),
                                               .generation = seen->place.generation,
                                               .offset_bytes = seen->place.offset_bytes,
                                               .length_bytes = seen->place.length_bytes};
    read->deadline_ns = world.now_ns + SECOND;
    read->done = probe_done;
    read_begin(read);
    if (read->is_running)
        world_at(read->deadline_ns, probe_is_late, machine->number)->a = read->serial;
}

void probe_schedule(struct machine *machine, uint64_t delay_ns)
{
    world_after(delay_ns, probe, machine->number);
}
