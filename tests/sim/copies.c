/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copies.c - a page of one machine becomes one of another: a hot page that was read
 * (node/copies.c), or what a machine that leaves hands over (drain.c, node/adopt.c).
 *
 * All at once: what may happen between the steps of a filling is seen by sets (set.c).
 */
#include <string.h>

#include "base/hash.h"
#include "sim.h"

static struct core_page page_of(const struct original *original, enum core_claim claim)
{
    return (struct core_page){
        .digest = filling_digest(&original->key),
        .identity = world.identities[original->key.ns],
        .epoch = original->key.epoch,
        .group = original->group,
        .ring_position = filling_ring_position(&original->key),
        .length_bytes = original->length_bytes,
        .name_len = NAME_BYTES,
        .claim = (uint8_t)claim,
    };
}

static void fill(struct life *life, const struct original *original, struct core_page *page)
{
    struct filling *filling = filling_begin(life, page, &original->key);
    uint8_t *payload = life->payload + page->offset_bytes;
    slot_word_copy_begin();
    memcpy(payload, original->bytes, page->length_bytes);
    filling_name(original->key.number, payload + page->length_bytes);
    life->headers[page->slot].checksum = hash_bytes64(payload, page->length_bytes, 0);
    slot_word_copy_end();
    slot_word_seal(&life->headers[page->slot].word, page->generation);
    filling_copy(filling, original->life, original->generation);
    filling->is_alone = original->group == 0;
    filling->state = FILLING_WHOLE;
}

bool copies_keep(struct machine *machine, const struct original *original, enum core_claim claim)
{
    struct core_page page = page_of(original, claim);
    uint32_t op = 0;
    struct core_event reserve = {.type = CORE_RESERVE,
                                 .u.set = {.pages = &page, .n = 1, .ret_op = &op}};
    machine_step(machine, &reserve, NULL);
    if (op == 0)
        return false;
    fill(machine_life(machine), original, &page);
    struct core_event copied = {
        .type = CORE_COPIED,
        .u.set = {.pages = &page, .n = 1, .op = op, .is_unawaited = true},
    };
    machine_step(machine, &copied, NULL);
    return true;
}

void copies_keep_read(const struct read *read)
{
    struct original original = {
        .life = read->source,
        .generation = read->expected.generation,
        .key = read->key,
        .length_bytes = read->expected.length_bytes,
    };
    memcpy(original.bytes, read->bytes, original.length_bytes);
    world.totals.copies +=
        copies_keep(&world.machines[read->machine], &original, CORE_CLAIM_RETIRED);
}
