/* SPDX-License-Identifier: Apache-2.0 */
/* fill.c - copy, hash, seal. */
#include "node/fill.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/protection.h"
#include "io/copy.h"
#include "node/internal.h"
#include "wire/slot_header.h"

struct core_page fill_page(const struct node_namespace *ns, const struct node_page *page)
{
    return (struct core_page){
        .digest = page->digest,
        .identity = ns->identity,
        .epoch = ns->epoch,
        .parent = page->parent,
        .group = page->group,
        .ring_position = page->ring_position,
        .length_bytes = (uint32_t)page->length_bytes,
        .name_len = page->name_len,
    };
}

int fill_slot(struct node *node, const struct core_page *page, const struct node_page *source,
              uint64_t deadline_ns)
{
    struct slot_header *header = &node->arena.headers[page->slot];
    uint8_t *payload = node->arena.payload + page->offset_bytes;
    uint64_t checksum;
    if (clock_now_ns() >= deadline_ns)
        return -ETIMEDOUT;
    slot_word_copy_begin();
    int error = copy_gather_hash(source->segments, source->segment_count, payload,
                                 page->length_bytes, &checksum);
    if (!error) {
        memcpy(payload + page->length_bytes, source->name, source->name_len);
        header->checksum = checksum;
    }
    slot_word_copy_end(); /* also when giving up: no store of ours may come out later */
    return error;
}

int fill_seal(struct node *node, const struct core_page *page)
{
    struct slot_header *header = &node->arena.headers[page->slot];
    return slot_word_seal(&header->word, page->generation) ? 0 : -ESTALE;
}

int fill_copy(struct node *node, const struct core_page *page, const struct node_page *source,
              uint64_t checksum, uint64_t deadline_ns)
{
    int error = fill_slot(node, page, source, deadline_ns);
    if (error)
        return error;
    if (node->arena.headers[page->slot].checksum != checksum && PROTECTED(copy_keeps_checksum))
        return -EILSEQ;
    return fill_seal(node, page);
}
