/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copies.c - a reader keeps a hot page that it read over the network, as node/copies.c does.
 *
 * All at once: what may happen between the steps of a filling is seen by sets (set.c).
 */
#include <string.h>

#include "base/hash.h"
#include "sim.h"

static struct core_page page_of(const struct read *read)
{
    return (struct core_page){
        .digest = read->expected.digest,
        .identity = world.identities[read->key.ns],
        .epoch = read->key.epoch,
        .ring_position = filling_ring_position(&read->key),
        .length_bytes = read->expected.length_bytes,
        .name_len = NAME_BYTES,
        .claim = CORE_CLAIM_RETIRED,
    };
}

static void fill(struct life *life, const struct read *read, struct core_page *page)
{
    struct filling *filling = filling_begin(life, page, &read->key);
    uint8_t *payload = life->payload + page->offset_bytes;
    slot_word_copy_begin();
    memcpy(payload, read->bytes, page->length_bytes);
    filling_name(read->key.number, payload + page->length_bytes);
    life->headers[page->slot].checksum = hash_bytes64(payload, page->length_bytes, 0);
    slot_word_copy_end();
    slot_word_seal(&life->headers[page->slot].word, page->generation);
    filling_copy(filling, read->source, read->expected.generation);
    filling->state = FILLING_WHOLE;
}

void copies_keep(const struct read *read)
{
    struct machine *machine = &world.machines[read->machine];
    struct core_page page = page_of(read);
    uint32_t op = 0;
    struct core_event reserve = {.type = CORE_RESERVE,
                                 .u.set = {.pages = &page, .n = 1, .ret_op = &op}};
    machine_step(machine, &reserve, NULL);
    if (op == 0)
        return;
    fill(machine_life(machine), read, &page);
    world.totals.copies++;
    struct core_event copied = {
        .type = CORE_COPIED,
        .u.set = {.pages = &page, .n = 1, .op = op, .is_unawaited = true},
    };
    machine_step(machine, &copied, NULL);
}
