/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chain.c - how a batch of pages is cut into READs, and when their bytes count.
 *
 * Payload goes in the caller's order.  A READ takes in what lies behind it at the peer, also over
 * the small gap between neighbours, whose bytes land where nobody looks: small pages cost messages
 * more than bytes.  Headers go in the order of their slots, so that neighbours come together; the
 * fence puts all of them behind all of the payload, so their order among themselves is free.
 */
#include "io/rdma/chain.h"

#include <errno.h>

#include "base/check.h"
#include "base/protection.h"

enum { HEADER_BYTES = sizeof(struct slot_header) };

struct builder {
    struct chain *chain;
    struct chain_reads *reads;
    const struct chain_source *source;
    const struct chain_page *pages;
    struct chain_cursor *cursor;
    struct chain_room room;
    uint64_t id;
    uint32_t landing_key;
    uint32_t payload_left_bytes, read_bytes; /* of the chain; in the last READ */
};

/* --- the peer's arena ------------------------------------------------------------------------- */

static uint64_t slice_of(const struct chain_source *source, uint64_t addr)
{
    return (addr - source->base_addr) / CHAIN_SLICE_BYTES;
}

static uint64_t slice_rest_bytes(const struct chain_source *source, uint64_t addr)
{
    return CHAIN_SLICE_BYTES - (addr - source->base_addr) % CHAIN_SLICE_BYTES;
}

static bool is_registered(const struct chain_source *source, uint64_t addr, uint64_t len_bytes)
{
    return addr >= source->base_addr && slice_of(source, addr) < source->key_count &&
           slice_of(source, addr + len_bytes - 1) < source->key_count;
}

static uint64_t header_addr(const struct chain_source *source, uint32_t slot)
{
    return source->headers_addr + (uint64_t)slot * HEADER_BYTES;
}

int chain_check_page(const struct chain_source *source, const struct chain_page *page)
{
    const struct slot_expectation *expected = &page->expected;
    if (page->slot >= source->slot_count || expected->offset_bytes > source->payload_bytes ||
        expected->length_bytes > source->payload_bytes - expected->offset_bytes ||
        page->len_bytes == 0 || page->from_bytes > expected->length_bytes ||
        page->len_bytes > expected->length_bytes - page->from_bytes)
        return -EBADMSG;
    uint64_t addr = source->payload_addr + expected->offset_bytes;
    bool is_whole = is_registered(source, addr, expected->length_bytes) &&
                    is_registered(source, header_addr(source, page->slot), HEADER_BYTES);
    return is_whole ? 0 : -EAGAIN;
}

/* --- READs ------------------------------------------------------------------------------------ */

static struct verbs_read *last_read(struct builder *b)
{
    return b->chain->n_reads > 0 ? &b->reads->reads[b->chain->n_reads - 1] : NULL;
}

static uint64_t end_addr(const struct builder *b, const struct verbs_read *read)
{
    return read->remote_addr + b->read_bytes;
}

static void open_read(struct builder *b, uint64_t remote_addr)
{
    b->read_bytes = 0;
    b->reads->reads[b->chain->n_reads++] = (struct verbs_read){
        .id = b->id,
        .remote_addr = remote_addr,
        .remote_key = b->source->keys[slice_of(b->source, remote_addr)],
        .segments = &b->reads->segments[b->reads->n_segments],
    };
}

/* Behind the last READ's bytes; what lies behind them here too is one segment. */
static void add_segment(struct builder *b, uint64_t addr, uint32_t len_bytes, uint32_t key)
{
    struct verbs_read *read = last_read(b);
    struct verbs_segment *last =
        read->segment_count > 0 ? &b->reads->segments[b->reads->n_segments - 1] : NULL;
    b->read_bytes += len_bytes;
    if (last && last->local_key == key && last->addr + last->len_bytes == addr) {
        last->len_bytes += len_bytes;
        return;
    }
    read->segment_count++;
    b->reads->segments[b->reads->n_segments++] =
        (struct verbs_segment){.addr = addr, .len_bytes = len_bytes, .local_key = key};
}

/* --- payload ---------------------------------------------------------------------------------- */

static const struct chain_page *page_now(const struct builder *b)
{
    return &b->pages[b->cursor->page];
}

static uint64_t addr_now(const struct builder *b)
{
    const struct chain_page *page = page_now(b);
    return b->source->payload_addr + page->expected.offset_bytes + page->from_bytes +
           b->cursor->page_bytes;
}

/* Whether the last READ can go on at @addr, and after how many bytes that nobody wants. */
static bool continues(struct builder *b, uint64_t addr, uint32_t *ret_passed_bytes)
{
    const struct verbs_read *read = last_read(b);
    if (!read || addr < end_addr(b, read) || addr - end_addr(b, read) > CHAIN_PASSED_BYTES)
        return false;
    *ret_passed_bytes = (uint32_t)(addr - end_addr(b, read));
    return read->segment_count + (*ret_passed_bytes > 0 ? 2u : 1u) <= b->room.segments &&
           b->read_bytes + *ret_passed_bytes < b->room.message_bytes &&
           slice_of(b->source, addr) == slice_of(b->source, read->remote_addr);
}

static uint32_t least(uint64_t a, uint64_t b)
{
    return (uint32_t)(a < b ? a : b);
}

static void advance(struct builder *b, uint32_t len_bytes)
{
    struct chain_cursor *cursor = b->cursor;
    const struct chain_page *page = page_now(b);
    b->payload_left_bytes -= len_bytes;
    cursor->page_bytes += len_bytes;
    cursor->segment_bytes += len_bytes;
    if (cursor->segment_bytes == page->segments[cursor->segment].len_bytes) {
        cursor->segment++;
        cursor->segment_bytes = 0;
    }
    if (cursor->page_bytes == page->len_bytes) {
        CHECK(cursor->segment == page->segment_count);
        *cursor = (struct chain_cursor){.page = cursor->page + 1};
    }
}

/* Every part may need a header READ of its own. */
static bool has_room(const struct builder *b)
{
    return b->chain->n_reads + 1 + b->chain->n_parts <= b->room.reads &&
           b->reads->n_segments + 2 + b->chain->n_parts <= CHAIN_SEGMENTS_MAX &&
           b->payload_left_bytes > 0;
}

/* The next bytes that lie together on both sides.  False: the chain is full. */
static bool add_piece(struct builder *b)
{
    const struct chain_page *page = page_now(b);
    const struct verbs_segment *segment = &page->segments[b->cursor->segment];
    uint64_t addr = addr_now(b);
    uint32_t passed_bytes = 0;
    if (!has_room(b))
        return false;
    if (!continues(b, addr, &passed_bytes))
        open_read(b, addr);
    else if (passed_bytes > 0)
        add_segment(b, (uintptr_t)b->chain->landing->passed, passed_bytes, b->landing_key);
    uint32_t len_bytes = least(segment->len_bytes - b->cursor->segment_bytes,
                               least(b->room.message_bytes - b->read_bytes, b->payload_left_bytes));
    len_bytes = least(len_bytes, slice_rest_bytes(b->source, addr));
    CHECK(len_bytes > 0);
    add_segment(b, segment->addr + b->cursor->segment_bytes, len_bytes, segment->local_key);
    advance(b, len_bytes);
    return true;
}

/* Small pages are not cut.  Large ones fill a chain up: a short one would bring two queue pairs,
 * which take turns, back into step. */
static bool begins_here(const struct builder *b)
{
    const struct chain *chain = b->chain;
    uint32_t rest_bytes = page_now(b)->len_bytes - b->cursor->page_bytes;
    if (chain->n_parts == CHAIN_PARTS_MAX || chain->n_reads + 2 + chain->n_parts > b->room.reads)
        return false;
    return chain->n_parts == 0 || rest_bytes <= b->payload_left_bytes ||
           rest_bytes > CHAIN_PAYLOAD_BYTES / 2;
}

/* All headers that a page needs stand behind its own bytes: each part has its verdict. */
static bool needs_verdict(const struct builder *b)
{
    return PROTECTED(rdma_own_verdict) || (page_now(b)->from_bytes | b->cursor->page_bytes) == 0;
}

static void add_payload(struct builder *b, uint32_t n)
{
    while (b->cursor->page < n && begins_here(b)) {
        uint32_t page = b->cursor->page;
        struct chain_part part = {.page = page, .has_verdict = needs_verdict(b)};
        b->chain->n_parts++; /* its header counts from its first READ on */
        uint32_t left_bytes = b->payload_left_bytes;
        while (b->cursor->page == page && add_piece(b))
            ;
        part.len_bytes = left_bytes - b->payload_left_bytes;
        if (part.len_bytes == 0) {
            b->chain->n_parts--;
            return;
        }
        b->chain->parts[b->chain->n_parts - 1] = part;
        if (b->cursor->page == page)
            return;
    }
}

/* --- headers ---------------------------------------------------------------------------------- */

/* By slot.  They mostly are in order: pages that were set together have neighbouring slots. */
static void sort_parts(struct builder *b)
{
    struct chain_part *parts = b->chain->parts;
    for (uint32_t i = 1; i < b->chain->n_parts; i++) {
        struct chain_part part = parts[i];
        uint32_t j = i;
        for (; j > 0 && b->pages[parts[j - 1].page].slot > b->pages[part.page].slot; j--)
            parts[j] = parts[j - 1];
        parts[j] = part;
    }
}

static bool header_continues(struct builder *b, uint32_t slot, uint32_t last_slot)
{
    const struct verbs_read *read = last_read(b);
    uint64_t addr = header_addr(b->source, slot);
    return slot - last_slot <= 1 + CHAIN_SLOTS_PASSED &&
           addr + HEADER_BYTES - read->remote_addr <= b->room.message_bytes &&
           slice_of(b->source, addr) == slice_of(b->source, read->remote_addr);
}

static void add_headers(struct builder *b)
{
    struct chain *chain = b->chain;
    uint32_t n_landed = 0, last_slot = 0, first_read = chain->n_reads;
    sort_parts(b);
    for (uint32_t i = 0; i < chain->n_parts; i++) {
        struct chain_part *part = &chain->parts[i];
        uint32_t slot = b->pages[part->page].slot, n_more = 1;
        if (chain->n_reads > first_read && header_continues(b, slot, last_slot))
            n_more = slot - last_slot; /* 0: the same slot once more */
        else
            open_read(b, header_addr(b->source, slot));
        if (n_more > 0)
            add_segment(b, (uintptr_t)&chain->landing->headers[n_landed], n_more * HEADER_BYTES,
                        b->landing_key);
        n_landed += n_more;
        part->landed = n_landed - 1;
        last_slot = slot;
    }
    CHECK(n_landed <= CHAIN_HEADERS_MAX && chain->n_reads <= b->room.reads);
    if (PROTECTED(rdma_fence))
        b->reads->reads[first_read].flags |= VERBS_FENCED;
    last_read(b)->flags |= VERBS_SIGNALLED;
}

uint32_t chain_build(struct chain *chain, struct chain_reads *reads,
                     const struct chain_source *source, const struct chain_page *pages, uint32_t n,
                     struct chain_cursor *cursor, const struct chain_room *room, uint64_t id,
                     const struct chain_landing *landing, uint32_t landing_key)
{
    struct builder b = {.chain = chain,
                        .reads = reads,
                        .source = source,
                        .pages = pages,
                        .cursor = cursor,
                        .room = *room,
                        .id = id,
                        .landing_key = landing_key,
                        .payload_left_bytes = room->payload_bytes};
    b.room.reads = least(room->reads, VERBS_CHAIN_MAX);
    b.room.segments = least(room->segments, VERBS_SEGMENTS_MAX);
    CHECK(b.room.segments > 0 && b.room.message_bytes >= HEADER_BYTES);
    chain->n_reads = chain->n_parts = 0;
    chain->landing = landing;
    reads->n_segments = 0;
    atomic_store_explicit(&chain->end, id << 2 | CHAIN_UNDER_WAY, memory_order_relaxed);
    add_payload(&b, n);
    if (chain->n_parts > 0)
        add_headers(&b);
    return chain->n_reads;
}

/* --- the end, and the verdict ----------------------------------------------------------------- */

bool chain_finish(struct chain *chain, uint64_t id, enum verbs_status status)
{
    uint64_t expected = id << 2 | CHAIN_UNDER_WAY;
    uint64_t end = id << 2 | (status == VERBS_OK ? CHAIN_DONE : CHAIN_FAILED);
    return atomic_compare_exchange_strong_explicit(&chain->end, &expected, end,
                                                   memory_order_acq_rel, memory_order_acquire);
}

int chain_verdict(const struct chain *chain, uint32_t part, const struct chain_page *pages,
                  struct slot_sample *ret_sample)
{
    const struct chain_part *asked = &chain->parts[part];
    struct slot_sample sample;
    CHECK(part < chain->n_parts);
    if (PROTECTED(rdma_completion) && chain_end(chain) != CHAIN_DONE)
        return -EIO;
    slot_header_sample(&chain->landing->headers[asked->landed], &sample);
    enum slot_verdict verdict = slot_verdict(&sample, &pages[asked->page].expected);
    if (PROTECTED(rdma_header) && asked->has_verdict && verdict != SLOT_WHOLE)
        return verdict == SLOT_MISMATCH ? -EBADMSG : -ESTALE;
    *ret_sample = sample;
    return 0;
}
