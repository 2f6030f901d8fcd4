/* SPDX-License-Identifier: Apache-2.0 */
/*
 * queue.c - posting on a queue pair, and its end.
 *
 * A queue's mutex is there because several callers post on one queue pair: a message to a thread
 * that posts would cost two wake-ups a batch.  It is held while READs are written and posted, about
 * a microsecond, and while the queue pair is destroyed, which whoever waits for it must await
 * anyway.
 *
 * The name of a READ says whose it is, and of which use of that chain:
 *     sequence 38 | place of the queue 16 | chain 8
 */
#include "io/rdma/queue.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/check.h"
#include "base/log.h"
#include "base/protection.h"

enum { CHAIN_BITS = 8, PLACE_BITS = 16, SEQUENCE_BITS = 38 };

/* It begins again after weeks; what had a name then is long over. */
#define SEQUENCE_MASK ((UINT64_C(1) << SEQUENCE_BITS) - 1)

static const struct timespec destroy_pause = {.tv_nsec = 1000000};

static uint64_t landing_bytes(void)
{
    return (QUEUE_CHAINS * sizeof(struct chain_landing) + 4095) / 4096 * 4096;
}

/* --- beginning and end ------------------------------------------------------------------------ */

static struct queue *take_place(struct rail *rail)
{
    struct queue *queue = NULL;
    pthread_mutex_lock(&rail->mutex);
    for (uint32_t i = 0; i < rail->queue_limit && !queue; i++)
        if (!rail->queues[i].is_taken)
            queue = &rail->queues[i];
    if (queue)
        queue->is_taken = true;
    pthread_mutex_unlock(&rail->mutex);
    return queue;
}

static int make_landing(struct queue *queue)
{
    const struct rail *rail = queue->rail;
    struct verbs_keys keys;
    void *memory =
        mmap(NULL, landing_bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return -ENOMEM;
    queue->landings = memory;
    if (madvise(memory, landing_bytes(), MADV_DONTFORK) < 0)
        return -errno;
    int error = rail->verbs->memory_register(rail->verbs, rail->device, memory, landing_bytes(),
                                             VERBS_LOCAL_WRITE, &queue->landing_memory, &keys);
    if (!error)
        queue->landing_key = keys.local;
    return error;
}

static int make_pair(struct queue *queue)
{
    const struct rail *rail = queue->rail;
    struct verbs_queue_request request = {
        .completions = rail->completions,
        .port = rail->port,
        .depth = QUEUE_DEPTH,
        .segments =
            rail->limits.segments < VERBS_SEGMENTS_MAX ? rail->limits.segments : VERBS_SEGMENTS_MAX,
    };
    struct verbs_queue *pair;
    int error = rail->verbs->queue_create(rail->verbs, rail->device, &request, &pair, &queue->made);
    if (!error)
        queue->pair = pair;
    return error;
}

int queue_open(struct rail *rail, struct queue **ret_queue)
{
    if (atomic_load(&rail->is_dead))
        return -EIO;
    struct queue *queue = take_place(rail);
    if (!queue)
        return -ENOSPC;
    queue->has_failed = false;
    queue->reads_under_way = queue->chains_taken = 0;
    int error = make_landing(queue);
    if (!error)
        error = make_pair(queue);
    if (error) {
        queue_close(queue);
        return error;
    }
    metric_add(rail->metrics, METRIC_rdma_queue_pairs_made, 1);
    *ret_queue = queue;
    return 0;
}

int queue_connect(struct queue *queue, const struct verbs_path *path)
{
    return queue->rail->verbs->queue_connect(queue->rail->verbs, queue->pair, path);
}

/* An adapter that does not let go makes whoever waits late, and is counted. */
static void destroy_pair(struct queue *queue)
{
    const struct rail *rail = queue->rail;
    bool was_refused = false;
    while (queue->pair) {
        int error = rail->verbs->queue_destroy(rail->verbs, queue->pair);
        if (!error) {
            queue->pair = NULL;
            return;
        }
        if (!was_refused) {
            metric_add(rail->metrics, METRIC_rdma_destroys_refused, 1);
            log_event(LOG_LEVEL_WARNING, "rdma_queue_pair_kept", "device=%s reason=%s", rail->name,
                      log_quoted(strerror(-error)));
        }
        was_refused = true;
        nanosleep(&destroy_pause, NULL);
    }
}

void queue_break(struct queue *queue)
{
    struct rail *rail = queue->rail;
    atomic_store(&queue->has_failed, true); /* who comes now does not wait for the end of it */
    pthread_mutex_lock(&queue->mutex);
    bool was_whole = queue->pair != NULL;
    if (PROTECTED(rdma_break))
        destroy_pair(queue);
    for (uint32_t i = 0; i < QUEUE_CHAINS; i++) {
        struct chain *chain = &queue->chains[i];
        if ((queue->chains_taken >> i & 1) && chain_finish(chain, chain_id(chain), VERBS_FLUSHED)) {
            atomic_fetch_sub(&rail->chains_under_way, 1);
            waiters_tick(rail->waiters, atomic_load(&queue->waiters[i]));
        }
    }
    pthread_mutex_unlock(&queue->mutex);
    if (was_whole)
        metric_add(rail->metrics, METRIC_rdma_queue_pairs_broken, 1);
}

bool queue_is_broken(struct queue *queue)
{
    pthread_mutex_lock(&queue->mutex);
    bool is_broken = !queue->pair || queue->has_failed;
    pthread_mutex_unlock(&queue->mutex);
    return is_broken;
}

void queue_close(struct queue *queue)
{
    if (!queue)
        return;
    struct rail *rail = queue->rail;
    pthread_mutex_lock(&queue->mutex);
    CHECK(queue->chains_taken == 0);
    destroy_pair(queue);
    pthread_mutex_unlock(&queue->mutex);
    while (queue->landing_memory &&
           rail->verbs->memory_deregister(rail->verbs, queue->landing_memory) != 0)
        nanosleep(&destroy_pause, NULL);
    queue->landing_memory = NULL;
    if (queue->landings)
        munmap(queue->landings, landing_bytes());
    queue->landings = NULL;
    pthread_mutex_lock(&rail->mutex);
    queue->is_taken = false;
    pthread_mutex_unlock(&rail->mutex);
}

/* --- posting, with the mutex ------------------------------------------------------------------ */

static struct chain *take_chain(struct queue *queue, uint32_t waiter, uint64_t *ret_id)
{
    for (uint32_t i = 0; i < QUEUE_CHAINS; i++) {
        if (queue->chains_taken >> i & 1)
            continue;
        queue->chains_taken |= 1u << i;
        atomic_store(&queue->waiters[i], waiter);
        queue->last_sequence = (queue->last_sequence + 1) & SEQUENCE_MASK;
        *ret_id = queue->last_sequence << (PLACE_BITS + CHAIN_BITS) |
                  (uint64_t)queue->index << CHAIN_BITS | i;
        return &queue->chains[i];
    }
    return NULL;
}

static void give_up_chain(struct queue *queue, const struct chain *chain)
{
    queue->chains_taken &= ~(1u << (chain - queue->chains));
}

/* A chain of which only some READs were taken has no end of its own: the queue pair is. */
static int post(struct queue *queue, struct chain *chain, const struct chain_reads *reads)
{
    struct rail *rail = queue->rail;
    uint32_t posted = 0;
    atomic_fetch_add(&rail->chains_under_way, 1);
    queue->reads_under_way += chain->n_reads;
    int error = rail->verbs->post(rail->verbs, queue->pair, reads->reads, chain->n_reads, &posted);
    metric_add(rail->metrics, METRIC_rdma_reads_posted, posted);
    metric_add(rail->metrics, METRIC_rdma_chains_posted, 1);
    if (error)
        queue->has_failed = true;
    return error ? -EIO : 0;
}

static const struct chain_landing *landing_of(const struct queue *queue, const struct chain *chain)
{
    return &queue->landings[chain - queue->chains];
}

/* Two queue pairs that begin together share the wire evenly, end together, and are silent together
 * behind their fences; so the first chain of a batch is half as long, and they are out of step. */
static uint32_t payload_bytes(const struct chain_cursor *cursor)
{
    bool is_first = cursor->page == 0 && cursor->page_bytes == 0;
    return is_first ? CHAIN_PAYLOAD_BYTES / 2 : CHAIN_PAYLOAD_BYTES;
}

static int post_next(struct queue *queue, struct chain_reads *scratch,
                     const struct chain_source *source, const struct chain_page *pages, uint32_t n,
                     struct chain_cursor *cursor, uint32_t waiter, struct chain **ret_chain)
{
    struct chain_room room = {.reads = QUEUE_DEPTH - queue->reads_under_way,
                              .segments = queue->made.segments,
                              .message_bytes = queue->rail->port_info.message_bytes,
                              .payload_bytes = payload_bytes(cursor)};
    uint64_t id;
    if (!queue->pair || queue->has_failed)
        return -EIO;
    struct chain *chain = take_chain(queue, waiter, &id);
    if (!chain)
        return -EAGAIN;
    if (chain_build(chain, scratch, source, pages, n, cursor, &room, id, landing_of(queue, chain),
                    queue->landing_key) == 0) {
        give_up_chain(queue, chain);
        return cursor->page == n ? -ENODATA : -EAGAIN;
    }
    *ret_chain = chain;
    return post(queue, chain, scratch);
}

int queue_post(struct queue *queue, struct chain_reads *scratch, const struct chain_source *source,
               const struct chain_page *pages, uint32_t n, struct chain_cursor *cursor,
               uint32_t waiter, struct chain **ret_chain)
{
    *ret_chain = NULL;
    if (cursor->page == n)
        return -ENODATA;
    if (atomic_load(&queue->has_failed))
        return -EIO;
    pthread_mutex_lock(&queue->mutex);
    int error = post_next(queue, scratch, source, pages, n, cursor, waiter, ret_chain);
    pthread_mutex_unlock(&queue->mutex);
    return error;
}

/* As much as fills the largest packet, where the peer has so many headers: a switch that carries
 * only smaller ones would swallow all payload. */
static uint32_t probe_bytes(const struct chain_source *source)
{
    enum { HEADERS = VERBS_MTU_MAX_BYTES / sizeof(struct slot_header) };
    _Static_assert((int)HEADERS <= (int)CHAIN_HEADERS_MAX, "it fits the landing");
    uint32_t n = source->slot_count < HEADERS ? source->slot_count : HEADERS;
    return (n ? n : 1) * (uint32_t)sizeof(struct slot_header);
}

int queue_post_probe(struct queue *queue, const struct chain_source *source, uint32_t waiter,
                     struct chain **ret_chain)
{
    uint64_t id;
    pthread_mutex_lock(&queue->mutex);
    struct chain *chain = take_chain(queue, waiter, &id);
    CHECK(chain);
    struct verbs_segment segment = {(uintptr_t)landing_of(queue, chain), probe_bytes(source),
                                    queue->landing_key};
    struct chain_reads reads = {.n_segments = 1};
    reads.reads[0] = (struct verbs_read){
        .id = id,
        .remote_addr = source->headers_addr,
        .remote_key = source->keys[(source->headers_addr - source->base_addr) / CHAIN_SLICE_BYTES],
        .segment_count = 1,
        .flags = VERBS_SIGNALLED,
        .segments = &segment,
    };
    chain->n_reads = 1;
    chain->n_parts = 0;
    atomic_store(&chain->end, id << 2 | CHAIN_UNDER_WAY);
    int error = post(queue, chain, &reads);
    pthread_mutex_unlock(&queue->mutex);
    *ret_chain = chain;
    return error;
}

void queue_release(struct queue *queue, struct chain *chain)
{
    pthread_mutex_lock(&queue->mutex);
    CHECK(chain_end(chain) != CHAIN_UNDER_WAY);
    bool was_full =
        queue->chains_taken == (1u << QUEUE_CHAINS) - 1 || queue->reads_under_way > QUEUE_DEPTH / 2;
    queue->reads_under_way -= chain->n_reads;
    give_up_chain(queue, chain);
    pthread_mutex_unlock(&queue->mutex);
    if (was_full) /* somebody may wait for room */
        waiters_tick_all(queue->rail->waiters);
}

/* --- completions ------------------------------------------------------------------------------ */

void queue_completed(struct rail *rail, const struct verbs_completion *completion)
{
    uint32_t place = completion->id >> CHAIN_BITS & ((1u << PLACE_BITS) - 1);
    uint32_t index = completion->id & ((1u << CHAIN_BITS) - 1);
    if (place >= rail->queue_limit || index >= QUEUE_CHAINS)
        return;
    struct queue *queue = &rail->queues[place];
    if (!chain_finish(&queue->chains[index], completion->id, completion->status))
        return; /* of a chain that has ended */
    atomic_fetch_sub(&rail->chains_under_way, 1);
    waiters_tick(rail->waiters, atomic_load(&queue->waiters[index]));
    if (completion->status == VERBS_OK || completion->status == VERBS_FLUSHED)
        return;
    metric_add(rail->metrics, METRIC_rdma_completions_failed, 1);
    const char *reason = verbs_status_text(completion->status);
    if (atomic_load(&rail->port_is_down))
        reason = "the own port is down";
    log_event(LOG_LEVEL_WARNING, "rdma_read_failed", "device=%s reason=%s vendor_error=%u",
              rail->name, log_quoted(reason), completion->vendor_error);
}
