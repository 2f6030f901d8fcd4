/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drain.c - the thread that empties a node before it leaves.
 *
 * It goes through the pool once for each eighth of the order of eviction, from the last used on,
 * and once more for what was stored or used meanwhile.  Owners are asked which pages have another
 * holder that stays; the others are offered (offer.h).
 */
#include "node/drain.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "core/inspection.h"
#include "core/replacement.h"
#include "node/ask.h"
#include "node/offer.h"
#include "node/step.h"

enum { HOT = (REPLACEMENT_HEAT_MAX + 1) / 2 }; /* the half of the pool that was used last */
#define LOOK_UP_TIMEOUT_NS UINT64_C(500000000)

struct draining {
    struct node *node;
    uint64_t deadline_ns;
    uint8_t *is_done; /* a bit a slot: its page is counted */
    uint8_t *body;
    size_t body_size;
    struct receivers receivers;
    struct locate locate;
    struct locate_key keys[CORE_BATCH_MAX];
    struct core_page pages[CORE_BATCH_MAX];
    struct offered offers[ADOPT_PAGES_MAX];
};

static void count(_Atomic(uint64_t) *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static uint64_t read_count(const _Atomic(uint64_t) *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static bool goes_on(const struct draining *d)
{
    return clock_now_ns() < d->deadline_ns && !atomic_load(&d->node->is_stopping) &&
           !atomic_load(&d->node->drain.is_cancelled);
}

/* --- which pages --- */

static uint32_t list_pages(struct draining *d, uint32_t heat, uint32_t *cursor)
{
    uint32_t n, kept = 0;
    struct core_event event = {.type = CORE_LIST, .u.list = {heat, cursor, &n, d->pages}};
    node_step(d->node, &event, NULL);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t slot = d->pages[i].slot;
        if (d->is_done[slot / 8] >> slot % 8 & 1)
            continue;
        d->is_done[slot / 8] |= (uint8_t)(1 << slot % 8);
        d->pages[kept++] = d->pages[i];
    }
    return kept;
}

static bool has_other_holder(const struct draining *d, const struct locate_key *key)
{
    for (uint32_t i = 0; key->state == LOCATE_FOUND && i < key->n_places; i++) {
        struct view_peer info;
        uint16_t holder = key->places[i].holder;
        if (holder != CORE_SELF && view_peer(d->node->view, holder, &info) == 0 &&
            info.state == MEMBER_ALIVE && view_peer_trusted(d->node->view, holder))
            return true;
    }
    return false;
}

/* Leaves only the pages that nobody else has, as far as their owners know. */
static uint32_t drop_elsewhere(struct draining *d, uint32_t n)
{
    uint64_t until_ns = clock_now_ns() + LOOK_UP_TIMEOUT_NS;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++)
        d->keys[i] = (struct locate_key){.digest = d->pages[i].digest,
                                         .ring_position = d->pages[i].ring_position};
    locate_begin(&d->locate, d->node->view, d->keys, n);
    for (uint32_t i = 0; i < n; i++)
        locate_again(&d->locate, i); /* the own pool does not count */
    ask_owners(d->node, &d->locate, until_ns < d->deadline_ns ? until_ns : d->deadline_ns);
    for (uint32_t i = 0; i < n; i++)
        if (!has_other_holder(d, &d->keys[i]))
            d->pages[kept++] = d->pages[i];
    count(&d->node->drain.elsewhere, n - kept);
    return kept;
}

/* --- to others --- */

static void count_offer(struct drain *drain, const struct offered *offer)
{
    switch (offer->error) {
    case 0:
        count(&drain->handed_over, 1);
        count(&drain->bytes_handed_over, offer->page.length_bytes);
        break;
    case -ESTALE: count(&drain->gone, 1); break;
    case -ENOSPC: count(&drain->left_no_room, 1); break;
    case -EHOSTUNREACH: count(&drain->left_no_peer, 1); break;
    default: count(&drain->left_no_time, 1); break;
    }
}

static bool make_body(struct draining *d, size_t size)
{
    if (size <= d->body_size)
        return true;
    uint8_t *body = realloc(d->body, size);
    if (!body)
        return false;
    d->body = body;
    d->body_size = size;
    return true;
}

/* The pages from @from on that make one offer; their number. */
static uint32_t fill_offer(struct draining *d, uint32_t from, uint32_t n)
{
    uint32_t count_of = 0;
    size_t bytes = 0;
    while (from + count_of < n && count_of < ADOPT_PAGES_MAX) {
        const struct core_page *page = &d->pages[from + count_of];
        if (count_of > 0 && bytes + page->length_bytes > ADOPT_BODY_BYTES)
            break;
        bytes += page->length_bytes;
        d->offers[count_of++] = (struct offered){.page = *page};
    }
    return make_body(d, bytes) ? count_of : 0;
}

static void hand_over(struct draining *d, uint32_t n, bool is_hot)
{
    for (uint32_t from = 0, in_offer; from < n && goes_on(d); from += in_offer) {
        in_offer = fill_offer(d, from, n);
        if (in_offer == 0) { /* no memory: the rest stays */
            count(&d->node->drain.left_no_room, n - from);
            return;
        }
        offer_pages(d->node, &d->receivers, d->offers, in_offer, is_hot, d->body, d->deadline_ns);
        for (uint32_t i = 0; i < in_offer; i++)
            count_offer(&d->node->drain, &d->offers[i]);
    }
}

static void go_through(struct draining *d, uint32_t heat)
{
    for (uint32_t cursor = 0; cursor != CORE_SLOT_NONE && goes_on(d);) {
        uint32_t n = list_pages(d, heat, &cursor);
        n = n > 0 ? drop_elsewhere(d, n) : 0;
        hand_over(d, n, heat != CORE_HEAT_ANY && heat >= HOT);
    }
}

/* --- the thread --- */

static uint64_t live_pages(struct node *node)
{
    struct pool_usage usage;
    pthread_mutex_lock(&node->core_lock);
    core_usage(node->core, &usage);
    pthread_mutex_unlock(&node->core_lock);
    return usage.live_pages;
}

/* What was not come to: those that were stored meanwhile are counted as if they had been there. */
static void settle_counts(struct drain *drain)
{
    uint64_t pages = read_count(&drain->pages), seen = 0;
#define C(name, what) seen += read_count(&drain->name);
    DRAIN_COUNTS(C)
#undef C
    seen -= pages;
    if (seen < pages)
        count(&drain->left_no_time, pages - seen);
    else
        count(&drain->pages, seen - pages);
}

static void empty(struct draining *d)
{
    struct core_event event = {.type = CORE_DRAIN};
    node_step(d->node, &event, NULL);
    count(&d->node->drain.pages, live_pages(d->node));
    offer_find_receivers(d->node, &d->receivers);
    for (int heat = REPLACEMENT_HEAT_MAX; heat >= 0; heat--)
        go_through(d, (uint32_t)heat);
    go_through(d, CORE_HEAT_ANY);
}

static void log_end(const struct drain *drain)
{
    log_event(LOG_LEVEL_INFO, "drained",
              "pages=%" PRIu64 " handed_over=%" PRIu64 " elsewhere=%" PRIu64
              " left_no_room=%" PRIu64 " left_no_peer=%" PRIu64 " left_no_time=%" PRIu64,
              read_count(&drain->pages), read_count(&drain->handed_over),
              read_count(&drain->elsewhere), read_count(&drain->left_no_room),
              read_count(&drain->left_no_peer), read_count(&drain->left_no_time));
}

/* With the lock, when no thread goes through the pool any more. */
static void go_back(struct node *node)
{
    struct core_event event = {.type = CORE_STAY};
    struct drain *drain = &node->drain;
    node_step(node, &event, NULL);
    log_event(LOG_LEVEL_INFO, "drain_cancelled",
              "handed_over=%" PRIu64 " effect=\"this node stays\"",
              read_count(&drain->handed_over));
#define C(name, what) atomic_store(&drain->name, 0);
    DRAIN_COUNTS(C)
#undef C
    atomic_store(&drain->bytes_handed_over, 0);
    drain->cancels++;
    atomic_store(&drain->is_cancelled, false);
    atomic_store(&drain->state, DRAIN_NONE);
}

static void end(struct node *node)
{
    struct drain *drain = &node->drain;
    pthread_mutex_lock(&drain->lock);
    if (atomic_load(&drain->is_cancelled)) {
        go_back(node);
    } else {
        settle_counts(drain);
        log_end(drain);
        atomic_store(&drain->state, DRAIN_DONE);
    }
    pthread_cond_broadcast(&drain->ended);
    pthread_mutex_unlock(&drain->lock);
}

static void *run(void *context)
{
    struct node *node = context;
    struct drain *drain = &node->drain;
    struct draining *d = calloc(1, sizeof *d);
    uint8_t *is_done = calloc(node->arena.slot_count / 8 + 1, 1);
    if (d && is_done) {
        d->node = node;
        d->deadline_ns = drain->deadline_ns;
        d->is_done = is_done;
        empty(d);
        free(d->body);
    }
    free(is_done);
    free(d);
    end(node);
    return NULL;
}

void drain_init(struct drain *drain)
{
    thread_cond_init(&drain->ended);
    pthread_mutex_init(&drain->lock, NULL);
}

void drain_join(struct drain *drain)
{
    if (drain->has_thread)
        pthread_join(drain->thread, NULL);
    drain->has_thread = false;
}

void drain_fini(struct drain *drain)
{
    pthread_mutex_destroy(&drain->lock);
    pthread_cond_destroy(&drain->ended);
}

int drain_start(struct node *node, uint64_t timeout_ns)
{
    struct drain *drain = &node->drain;
    int error = 0;
    pthread_mutex_lock(&drain->lock);
    if (atomic_load(&drain->is_cancelled)) {
        error = -EBUSY;
    } else if (atomic_load(&drain->state) == DRAIN_NONE) {
        drain_join(drain); /* of one that was cancelled: it has let go of the lock for good */
        drain->deadline_ns = clock_now_ns() + timeout_ns;
        error = thread_start(&drain->thread, NULL, "pc-drain", run, node);
        drain->has_thread = error == 0;
        if (!error)
            atomic_store(&drain->state, DRAIN_RUNNING);
    }
    pthread_mutex_unlock(&drain->lock);
    return error;
}

void drain_cancel(struct node *node)
{
    struct drain *drain = &node->drain;
    pthread_mutex_lock(&drain->lock);
    if (atomic_load(&drain->state) == DRAIN_RUNNING)
        atomic_store(&drain->is_cancelled, true);
    else if (atomic_load(&drain->state) == DRAIN_DONE)
        go_back(node);
    pthread_mutex_unlock(&drain->lock);
}

int drain_await(struct node *node, uint64_t deadline_ns)
{
    struct drain *drain = &node->drain;
    struct timespec until = {(time_t)(deadline_ns / CLOCK_NS_PER_S),
                             (long)(deadline_ns % CLOCK_NS_PER_S)};
    int error = 0;
    pthread_mutex_lock(&drain->lock);
    uint32_t cancels = drain->cancels;
    while (atomic_load(&drain->state) != DRAIN_DONE && drain->cancels == cancels && !error)
        error = pthread_cond_timedwait(&drain->ended, &drain->lock, &until);
    if (!error && drain->cancels != cancels)
        error = ECANCELED;
    else if (!error)
        drain_join(drain); /* it has let go of the lock for good */
    pthread_mutex_unlock(&drain->lock);
    return -error;
}

bool drain_is_over(const struct node *node)
{
    return atomic_load(&node->drain.state) == DRAIN_DONE;
}

json_t *drain_json(const struct node *node)
{
    static const char *const states[] = {"serving", "draining", "drained"};
    const struct drain *drain = &node->drain;
    json_t *json =
        json_pack("{s:s, s:I}", "state", states[atomic_load(&drain->state)], "bytes_handed_over",
                  (json_int_t)read_count(&drain->bytes_handed_over));
#define C(name, what)                                                                              \
    json_object_set_new(json, #name, json_integer((json_int_t)read_count(&drain->name)));
    DRAIN_COUNTS(C)
#undef C
    return json;
}
