/* SPDX-License-Identifier: Apache-2.0 */
/* sync_notes.c - what was noted for a peer is announced to it, or taken back, within its credit. */
#include "core/sync_internal.h"

#include "base/protection.h"

static uint32_t fill_announce(const struct sync *sync, const struct sync_note *notes, uint32_t n,
                              struct record_entry *entries)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct pool_page page;
        if (pool_live_page(sync->rooms.pool, notes[i].slot, &page) &&
            page.place.generation == notes[i].generation)
            entries[count++] = (struct record_entry){.digest = page.digest, .place = page.place};
    }
    return count;
}

static uint32_t send_announce(const struct sync *sync, struct update *update,
                              const struct peer *peer, const struct sync_note *notes, uint32_t n)
{
    struct record_entry *entries = update_allocate(update, n * sizeof *entries);
    uint32_t count = fill_announce(sync, notes, n, entries);
    if (count > 0)
        update_send(update, peer->link, MESSAGE_announce)->u.announce = (struct message_announce){
            .batch = SYNC_BATCH | count, .entries = entries, .n_entries = count};
    return count;
}

static uint32_t send_retract(const struct sync *sync, struct update *update,
                             const struct peer *peer, const struct sync_note *notes, uint32_t n)
{
    struct record_entry *pages = update_allocate(update, n * sizeof *pages);
    struct record_filling *entries = update_allocate(update, n * sizeof *entries);
    uint32_t count = fill_announce(sync, notes, n, pages);
    for (uint32_t i = 0; i < count; i++)
        entries[i] = (struct record_filling){pages[i].digest, pages[i].place.generation};
    if (count > 0)
        update_send(update, peer->link, MESSAGE_retract)->u.retract = (struct message_retract){
            .batch = SYNC_BATCH | count, .entries = entries, .n_entries = count};
    return count;
}

void sync_send_notes(struct sync *sync, struct update *update, uint16_t index, struct peer *peer)
{
    struct peer_sync *s = &peer->sync;
    while (s->n_notes > 0 && update_has_room(update)) {
        uint32_t full = s->credit < BATCH_MAX ? s->credit : BATCH_MAX;
        uint32_t n = s->n_notes < full ? s->n_notes : full;
        if (n < full && !s->has_been_round)
            return;
        if (s->unanswered > 0 && s->unanswered + n > s->credit && PROTECTED(sync_credit))
            return;
        s->n_notes -= n;
        const struct sync_note *notes = &sync->notes[index][s->n_notes];
        s->unanswered += s->ride == SYNC_FORGET ? send_retract(sync, update, peer, notes, n)
                                                : send_announce(sync, update, peer, notes, n);
    }
}
