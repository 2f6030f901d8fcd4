/* SPDX-License-Identifier: Apache-2.0 */
/*
 * namespaces.c - a list of (identity, epoch) and the clears that wait for members to hear.
 *
 * A clear's operation number is its place in the table of clears, a serial number and CLEAR_OP; its
 * batch number says in which round of telling it is as well, so that an answer names the clear and
 * the epoch that it is for.
 *
 * Epochs of two clears differ, also when they begin at the same time on two nodes: above stands a
 * count, below the node's life.  Without that, pages set after the one clear would survive the
 * other.  Who is told of a clear and has a higher epoch says so before it answers; then the clear
 * goes on, in another round, beyond that epoch.  Only what a member has when it is first told
 * counts: what it hears of later has no pages there that are older than the clear.  So two clears
 * do not chase each other.
 */
#include "core/namespaces.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/seqtable.h"
#include "core/member.h"
#include "core/view.h"

/* Who has not answered by then hangs, or cannot be reached. */
#define HEAR_TIMEOUT_NS UINT64_C(1000000000)
#define CLEAR_OP UINT32_C(0x80000000)
/* After so many rounds of a clear the next one does not begin sooner. */
#define ROUND_PAUSE_NS UINT64_C(100000000)
enum { QUICK_ROUNDS = 8 };
enum { SERIALS = 0x7fff, ROUNDS = 256, SEED_EPOCH = 6, COUNT_AHEAD_MAX = 1 << 20 };

struct clear {
    bool used, has_caller, is_judged; /* by judge(), in this round */
    uint32_t serial;                  /* tells this use of the place from the one before */
    uint8_t round;
    uint32_t n_rounds, n_waiting;
    struct record_epoch epoch;
    uint64_t begun_ns; /* this round */
    bool waiting[CORE_PEERS_MAX];
    bool hung[CORE_PEERS_MAX];     /* of those: the caller does not wait for them */
    bool answered[CORE_PEERS_MAX]; /* in any round */
};

struct namespaces {
    struct seqtable *epochs;
    uint32_t n;
    struct record_epoch list[NAMESPACES_MAX];
    struct clear clears[CLEARS_MAX];
    uint64_t look_at_ns; /* no caller's waiting can end before */
};

int namespaces_new(struct namespaces **ret_namespaces)
{
    struct namespaces *namespaces = calloc(1, sizeof *namespaces);
    if (!namespaces)
        return -ENOMEM;
    int error = seqtable_new(2 * NAMESPACES_MAX, &namespaces->epochs);
    if (error) {
        free(namespaces);
        return error;
    }
    *ret_namespaces = namespaces;
    return 0;
}

void namespaces_free(struct namespaces *namespaces)
{
    if (!namespaces)
        return;
    seqtable_free(namespaces->epochs);
    free(namespaces);
}

struct seqtable *namespaces_epochs(const struct namespaces *namespaces)
{
    return namespaces->epochs;
}

static struct record_epoch *find(const struct namespaces *namespaces, struct id128 identity)
{
    for (uint32_t i = 0; i < namespaces->n; i++)
        if (id128_equal(namespaces->list[i].identity, identity))
            return (struct record_epoch *)&namespaces->list[i];
    return NULL;
}

uint64_t namespaces_epoch(const struct namespaces *namespaces, struct id128 identity)
{
    const struct record_epoch *entry = find(namespaces, identity);
    return entry ? entry->epoch : 0;
}

/* Counts rise by one a clear: what is this far ahead of all that is known was not cleared, but
 * would leave no room for the clears to come. */
static bool is_plausible(const struct namespaces *namespaces, const struct record_epoch *epoch)
{
    uint64_t known = namespaces_epoch_count(namespaces_epoch(namespaces, epoch->identity));
    return namespaces_epoch_count(epoch->epoch) <= known + COUNT_AHEAD_MAX;
}

/* 1: raised; 0: not newer; -ENOSPC. */
static int raise_to(struct namespaces *namespaces, struct id128 identity, uint64_t epoch)
{
    struct record_epoch *entry = find(namespaces, identity);
    if (entry && epoch <= entry->epoch)
        return 0;
    if (!entry && namespaces->n == NAMESPACES_MAX)
        return -ENOSPC;
    struct seqtable_value value = {0};
    memcpy(value.bytes, &epoch, sizeof epoch);
    if (seqtable_put(namespaces->epochs, identity, &value) != 0)
        return -ENOSPC;
    if (!entry)
        entry = &namespaces->list[namespaces->n++];
    *entry = (struct record_epoch){identity, epoch};
    return 1;
}

static uint32_t own_life(struct peers *peers)
{
    const struct peer *self = peers_get(peers, CORE_SELF);
    struct {
        struct id128 node_id;
        uint64_t incarnation; /* a new life does not know what the former one cleared */
    } seed = {self->node_id, self->incarnation};
    return (uint32_t)(hash_bytes64(&seed, sizeof seed, SEED_EPOCH) >> 32);
}

/* The first one beyond all that are known here. */
static uint64_t next_epoch(const struct namespaces *namespaces, struct peers *peers,
                           struct id128 identity)
{
    uint64_t count = namespaces_epoch_count(namespaces_epoch(namespaces, identity)) + 1;
    return count << 32 | own_life(peers);
}

static uint32_t op_of(const struct namespaces *namespaces, const struct clear *clear)
{
    return CLEAR_OP | clear->serial << 16 | (uint32_t)(clear - namespaces->clears);
}

static uint32_t batch_of(const struct namespaces *namespaces, const struct clear *clear)
{
    return op_of(namespaces, clear) | (uint32_t)clear->round << 8;
}

static struct clear *clear_of(struct namespaces *namespaces, uint32_t op)
{
    uint32_t index = op & 255;
    if (!(op & CLEAR_OP) || index >= CLEARS_MAX || !namespaces->clears[index].used)
        return NULL;
    struct clear *clear = &namespaces->clears[index];
    return op_of(namespaces, clear) == op ? clear : NULL;
}

/* A free place; else one of a clear whose caller has gone. */
static struct clear *begin_clear(struct namespaces *namespaces)
{
    struct clear *clear = NULL;
    for (uint32_t i = 0; i < CLEARS_MAX; i++)
        if (!namespaces->clears[i].used || (!clear && !namespaces->clears[i].has_caller))
            clear = &namespaces->clears[i];
    if (clear)
        *clear = (struct clear){
            .used = true, .has_caller = true, .serial = (clear->serial + 1) & SERIALS};
    return clear;
}

static void end_if_heard(struct namespaces *namespaces, struct update *update, struct clear *clear)
{
    if (clear->n_waiting > 0)
        return;
    if (clear->has_caller)
        update_complete(update, &(struct core_completion){.op = op_of(namespaces, clear)});
    clear->used = false;
}

static void tell(const struct namespaces *namespaces, struct update *update, uint32_t link,
                 const struct clear *clear)
{
    struct message *message = update_send(update, link, MESSAGE_epochs);
    struct record_epoch *entry = update_allocate(update, sizeof *entry);
    *entry = clear->epoch;
    message->u.epochs = (struct message_epochs){
        .batch = batch_of(namespaces, clear), .entries = entry, .n_entries = 1};
}

static void begin_round(struct namespaces *namespaces, struct peers *peers, struct update *update,
                        struct clear *clear)
{
    memset(clear->hung, 0, sizeof clear->hung);
    clear->n_waiting = 0;
    clear->begun_ns = namespaces->look_at_ns = update_now_ns(update);
    clear->n_rounds++;
    clear->is_judged = false;
    for (uint16_t i = 1; peers_next(peers, &i); i++) {
        const struct peer *peer = peers_get(peers, i);
        /* A suspect member is not waited for, unless it was there when the clear began, but told:
         * it may be back without a new connection. */
        clear->waiting[i] |= member_is_there(peer->state);
        clear->n_waiting += clear->waiting[i];
        if (peer->link != LINK_NONE)
            tell(namespaces, update, peer->link, clear);
    }
    end_if_heard(namespaces, update, clear);
}

int namespaces_clear(struct namespaces *namespaces, struct peers *peers, struct update *update,
                     struct id128 identity, uint64_t *ret_epoch, uint32_t *ret_op)
{
    struct record_epoch epoch = {identity, next_epoch(namespaces, peers, identity)};
    struct clear *clear = begin_clear(namespaces);
    if (!clear)
        return -ENOSPC;
    if (raise_to(namespaces, identity, epoch.epoch) != 1) {
        clear->used = false;
        return -ENOSPC;
    }
    clear->epoch = epoch;
    *ret_epoch = epoch.epoch;
    *ret_op = op_of(namespaces, clear);
    begin_round(namespaces, peers, update, clear);
    return 0;
}

static bool is_overtaken(const struct clear *clear, const struct record_epoch *epoch, uint16_t from)
{
    return clear->used && !clear->answered[from] && epoch->epoch > clear->epoch.epoch &&
           id128_equal(clear->epoch.identity, epoch->identity);
}

/* Two clears, of two nodes, chase each other through a member that hears neither and is heard. */
static bool goes_too_fast(const struct clear *clear, uint64_t now_ns)
{
    return clear->n_rounds > QUICK_ROUNDS && now_ns < clear->begun_ns + ROUND_PAUSE_NS;
}

/* Of several of one namespace the newest goes on for all; the callers of the others see a timeout.
 * An epoch of this life is no other's: what was set under it was set after the clear that it is
 * of. */
bool namespaces_overtaken(struct namespaces *namespaces, struct peers *peers, struct update *update,
                          const struct record_epoch *epoch, uint16_t from)
{
    struct clear *newest = NULL;
    if ((uint32_t)epoch->epoch == own_life(peers))
        return false;
    for (uint32_t i = 0; i < CLEARS_MAX; i++) {
        struct clear *clear = &namespaces->clears[i];
        bool is_newer = !newest || clear->epoch.epoch > newest->epoch.epoch;
        if (is_newer && is_overtaken(clear, epoch, from))
            newest = clear;
    }
    for (uint32_t i = 0; newest && i < CLEARS_MAX; i++)
        if (&namespaces->clears[i] != newest && is_overtaken(&namespaces->clears[i], epoch, from))
            namespaces->clears[i].has_caller = false;
    if (!newest || !is_plausible(namespaces, epoch))
        return false;
    if (!update_has_room(update) || goes_too_fast(newest, update_now_ns(update))) {
        newest->has_caller = false; /* it sees a timeout rather than a clear that is not whole */
        return false;
    }
    newest->epoch.epoch = next_epoch(namespaces, peers, epoch->identity);
    newest->round = (uint8_t)((newest->round + 1) % ROUNDS);
    raise_to(namespaces, epoch->identity, newest->epoch.epoch);
    begin_round(namespaces, peers, update, newest);
    return true;
}

bool namespaces_hear(struct namespaces *namespaces, const struct record_epoch *epoch)
{
    return is_plausible(namespaces, epoch) &&
           raise_to(namespaces, epoch->identity, epoch->epoch) > 0;
}

static void stop_waiting(struct namespaces *namespaces, struct update *update, struct clear *clear,
                         uint16_t peer)
{
    if (!clear->waiting[peer])
        return;
    clear->waiting[peer] = false;
    clear->n_waiting--;
    namespaces->look_at_ns = update_now_ns(update);
    end_if_heard(namespaces, update, clear);
}

void namespaces_heard(struct namespaces *namespaces, struct update *update, uint16_t peer,
                      uint32_t batch)
{
    struct clear *clear = clear_of(namespaces, batch & ~UINT32_C(0xff00));
    if (!clear)
        return;
    clear->answered[peer] = true;
    if (batch_of(namespaces, clear) == batch)
        stop_waiting(namespaces, update, clear, peer);
}

void namespaces_peer_gone(struct namespaces *namespaces, struct update *update, uint16_t peer)
{
    for (uint32_t i = 0; i < CLEARS_MAX; i++)
        if (namespaces->clears[i].used)
            stop_waiting(namespaces, update, &namespaces->clears[i], peer);
}

void namespaces_peer_replaced(struct namespaces *namespaces, uint16_t former, uint16_t present)
{
    for (uint32_t i = 0; i < CLEARS_MAX; i++) {
        struct clear *clear = &namespaces->clears[i];
        if (!clear->used || !clear->waiting[former] || clear->waiting[present])
            continue;
        clear->waiting[present] = true;
        clear->n_waiting++;
    }
}

void namespaces_tell_all(struct namespaces *namespaces, struct peers *peers, struct update *update,
                         uint16_t peer)
{
    uint32_t link = peers_get(peers, peer)->link;
    for (uint32_t from = 0; from < namespaces->n; from += BATCH_MAX) {
        uint32_t n = namespaces->n - from < BATCH_MAX ? namespaces->n - from : BATCH_MAX;
        struct message *message = update_send(update, link, MESSAGE_epochs);
        struct record_epoch *entries = update_allocate(update, n * sizeof *entries);
        memcpy(entries, &namespaces->list[from], n * sizeof *entries);
        message->u.epochs = (struct message_epochs){.entries = entries, .n_entries = n};
    }
    for (uint32_t i = 0; i < CLEARS_MAX; i++)
        if (namespaces->clears[i].used && namespaces->clears[i].waiting[peer])
            tell(namespaces, update, link, &namespaces->clears[i]);
}

void namespaces_pass_on(struct peers *peers, struct update *update,
                        const struct record_epoch *entries, uint32_t n, uint16_t from)
{
    for (uint16_t i = 1; peers_next(peers, &i); i++) {
        const struct peer *peer = peers_get(peers, i);
        if (i != from && peer->link != LINK_NONE)
            update_send(update, peer->link, MESSAGE_epochs)->u.epochs =
                (struct message_epochs){.entries = entries, .n_entries = n};
    }
}

/* Members that had failed before the round hang, and at its time limit those that have not
 * answered. A connection that breaks meanwhile is no such thing: the next one is asked again. */
static void judge(struct clear *clear, struct peers *peers, const struct core_view *view,
                  struct update *update)
{
    bool is_late = update_now_ns(update) >= clear->begun_ns + HEAR_TIMEOUT_NS;
    for (uint16_t i = 1; peers_next(peers, &i); i++) {
        if (!clear->waiting[i])
            continue;
        if (is_late && peers_get(peers, i)->link != LINK_NONE)
            update_peer_failed(update, &view->breakers[i]);
        clear->hung[i] |= is_late || (!clear->is_judged && !view_peer_trusted(view, i));
    }
    clear->is_judged = true;
}

static bool waits_for_hung_ones_only(const struct clear *clear, struct peers *peers)
{
    for (uint16_t i = 1; peers_next(peers, &i); i++)
        if (clear->waiting[i] && !clear->hung[i])
            return false;
    return true;
}

/* True: its caller goes on waiting. */
static bool look(struct namespaces *namespaces, struct peers *peers, const struct core_view *view,
                 struct update *update, struct clear *clear)
{
    if (!clear->is_judged || update_now_ns(update) >= clear->begun_ns + HEAR_TIMEOUT_NS)
        judge(clear, peers, view, update);
    if (!waits_for_hung_ones_only(clear, peers))
        return true;
    update_complete(update,
                    &(struct core_completion){.op = op_of(namespaces, clear), .error = -ETIMEDOUT});
    clear->has_caller = false;
    return false;
}

void namespaces_tick(struct namespaces *namespaces, struct peers *peers,
                     const struct core_view *view, struct update *update)
{
    if (update_now_ns(update) >= namespaces->look_at_ns) {
        namespaces->look_at_ns = UINT64_MAX;
        for (uint32_t i = 0; i < CLEARS_MAX; i++) {
            struct clear *clear = &namespaces->clears[i];
            if (clear->used && clear->has_caller && look(namespaces, peers, view, update, clear) &&
                namespaces->look_at_ns > clear->begun_ns + HEAR_TIMEOUT_NS)
                namespaces->look_at_ns = clear->begun_ns + HEAR_TIMEOUT_NS;
        }
    }
    update_wake_at(update, namespaces->look_at_ns);
}

/* The caller no longer waits; the epoch has risen all the same, and goes on to be told. */
void namespaces_cancel(struct namespaces *namespaces, uint32_t op)
{
    struct clear *clear = clear_of(namespaces, op);
    if (clear)
        clear->has_caller = false;
}
