/* SPDX-License-Identifier: Apache-2.0 */
/* update.c - the arrays that a step of the core fills. */
#include "core/update.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

struct update {
    uint64_t now_ns, wake_at_ns;
    size_t n_sends, n_dials, n_hangups, n_completions, n_peer_changes, scratch_used;
    struct core_send sends[UPDATE_SENDS_MAX];
    struct core_dial dials[UPDATE_DIALS_MAX];
    uint32_t hangups[UPDATE_HANGUPS_MAX];
    struct core_completion completions[UPDATE_COMPLETIONS_MAX];
    struct core_peer_change peer_changes[UPDATE_PEER_CHANGES_MAX];
    struct core_damage damage;
    struct core_yield yield;
    bool has_failures;
    _Alignas(16) uint8_t scratch[UPDATE_SCRATCH_BYTES];
};

struct update *update_new(void)
{
    return calloc(1, sizeof(struct update));
}

void update_free(struct update *update)
{
    free(update);
}

void update_begin(struct update *update, uint64_t now_ns)
{
    update->now_ns = now_ns;
    update->wake_at_ns = UINT64_MAX;
    update->n_sends = update->n_dials = update->n_hangups = 0;
    update->n_completions = update->n_peer_changes = update->scratch_used = 0;
    update->damage.n = 0;
    update->yield.kind = CORE_YIELD_NOT;
    update->has_failures = false;
}

void update_end(struct update *update, struct core_update *ret_update)
{
    *ret_update = (struct core_update){
        .sends = update->sends,
        .n_sends = update->n_sends,
        .dials = update->dials,
        .n_dials = update->n_dials,
        .hangups = update->hangups,
        .n_hangups = update->n_hangups,
        .completions = update->completions,
        .n_completions = update->n_completions,
        .peer_changes = update->peer_changes,
        .n_peer_changes = update->n_peer_changes,
        .damage = update->damage,
        .yield = update->yield,
        .has_failures = update->has_failures,
        .wake_at_ns = update->wake_at_ns,
    };
}

uint64_t update_now_ns(const struct update *update)
{
    return update->now_ns;
}

void update_wake_at(struct update *update, uint64_t at_ns)
{
    if (at_ns < update->wake_at_ns)
        update->wake_at_ns = at_ns > update->now_ns ? at_ns : update->now_ns;
}

bool update_has_room(struct update *update)
{
    if (update->scratch_used + UPDATE_RESERVE_BYTES <= UPDATE_SCRATCH_BYTES / 2 &&
        update->n_sends < UPDATE_SENDS_MAX / 4)
        return true;
    update_wake_at(update, update->now_ns);
    return false;
}

void *update_allocate(struct update *update, size_t bytes)
{
    bytes = (bytes + 15) & ~(size_t)15;
    CHECK(update->scratch_used + bytes <= UPDATE_SCRATCH_BYTES);
    void *memory = update->scratch + update->scratch_used;
    update->scratch_used += bytes;
    return memory;
}

struct message *update_send(struct update *update, uint32_t link, enum message_type type)
{
    CHECK(update->n_sends < UPDATE_SENDS_MAX);
    struct message *message = update_allocate(update, sizeof *message);
    memset(message, 0, sizeof *message);
    message->type = type;
    update->sends[update->n_sends++] = (struct core_send){.link = link, .message = message};
    return message;
}

bool update_dial(struct update *update, const struct core_dial *dial)
{
    if (update->n_dials == UPDATE_DIALS_MAX)
        return false;
    update->dials[update->n_dials++] = *dial;
    return true;
}

void update_hangup(struct update *update, uint32_t link)
{
    CHECK(update->n_hangups < UPDATE_HANGUPS_MAX);
    update->hangups[update->n_hangups++] = link;
}

void update_complete(struct update *update, const struct core_completion *completion)
{
    CHECK(update->n_completions < UPDATE_COMPLETIONS_MAX);
    update->completions[update->n_completions++] = *completion;
}

void update_peer_change(struct update *update, const struct core_peer_change *change)
{
    CHECK(update->n_peer_changes < UPDATE_PEER_CHANGES_MAX);
    update->peer_changes[update->n_peer_changes++] = *change;
}

void update_damage(struct update *update, struct id128 reader, struct id128 digest,
                   const struct location *place)
{
    update->damage = (struct core_damage){
        .n = update->damage.n + 1, .reader = reader, .digest = digest, .place = *place};
}

void update_peer_failed(struct update *update, struct breaker *breaker)
{
    breaker_failed(breaker, update->now_ns);
    update->has_failures = true;
}

void update_peer_suspected(struct update *update, struct breaker *breaker)
{
    breaker_suspect(breaker, update->now_ns);
    update->has_failures = true;
}

void update_yield(struct update *update, enum core_yield_kind kind,
                  const struct record_member *other)
{
    update->yield = (struct core_yield){
        .kind = kind, .incarnation = other->incarnation, .control_port = other->control_port};
    memcpy(update->yield.host, other->host.bytes, other->host.len);
}
