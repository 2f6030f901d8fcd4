/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reading_plan.c - spreads the pages of a call over its links by bytes, in the caller's order, and
 * finds the keys of the memory in which they land.
 *
 * Regions are borrowed until reading_plan_fini(), so a region that is released meanwhile waits.
 * Memory of no region is replaced by a block of the bounce buffer, as far as that goes.
 */
#include "io/rdma/reading_plan.h"

#include <errno.h>
#include <stdlib.h>

#include "base/check.h"

enum { PART_ALIGN_BYTES = 4096 };

/* --- where bytes land ------------------------------------------------------------------------- */

static struct memory_range *find_range(struct reading *reading, const void *addr,
                                       uint64_t len_bytes)
{
    for (uint32_t i = 0; i < reading->n_ranges; i++)
        if (memory_range_holds(reading->ranges[i], addr, len_bytes))
            return reading->ranges[i];
    if (reading->n_ranges == READING_RANGES_MAX)
        return NULL;
    struct memory_range *range = memory_borrow(reading->rails->memory, addr, len_bytes);
    if (range)
        reading->ranges[reading->n_ranges++] = range;
    return range;
}

/* A region may be used as far as it is registered by now; what comes to the rest of it bounces. */
static bool is_registered(struct reading *reading, const struct reading_page *page)
{
    if (reading->rails->is_fork_unsafe)
        return false;
    for (uint32_t i = 0; i < page->segment_count; i++) {
        const struct peercache_segment *segment = &page->segments[i];
        if (segment->len_bytes == 0)
            continue;
        const struct memory_range *range = find_range(reading, segment->addr, segment->len_bytes);
        if (!range || !memory_range_is_ready(range, segment->addr, segment->len_bytes))
            return false;
    }
    return true;
}

static bool bounce_page(struct reading *reading, struct reading_page *page)
{
    uint64_t len_bytes = page->expected.length_bytes;
    if (len_bytes > BOUNCE_BLOCK_BYTES)
        return false;
    if (!reading->block)
        reading->block = bounce_borrow(&reading->rails->bounce);
    if (!reading->block || len_bytes > BOUNCE_BLOCK_BYTES - reading->block_bytes)
        return false;
    page->bounced = reading->block + reading->block_bytes;
    reading->block_bytes += (len_bytes + 63) / 64 * 64;
    return true;
}

/* Appends to the reading's segments. */
static bool cut_run(struct reading *reading, uint32_t rail, void *addr, uint64_t len_bytes)
{
    struct memory_range *range = find_range(reading, addr, len_bytes);
    uint32_t n =
        range ? memory_cut(range, rail, addr, len_bytes, reading->segments + reading->n_segments,
                           reading->most_segments - reading->n_segments)
              : 0;
    reading->n_segments += n;
    return n > 0;
}

/* The segments of some bytes of a page. */
static bool cut_part(struct reading *reading, uint32_t rail, const struct reading_page *page,
                     uint64_t from_bytes, uint64_t len_bytes)
{
    uint64_t skip = from_bytes;
    if (page->bounced)
        return cut_run(reading, rail, page->bounced + from_bytes, len_bytes);
    for (uint32_t i = 0; i < page->segment_count && len_bytes > 0; i++) {
        const struct peercache_segment *segment = &page->segments[i];
        if (skip >= segment->len_bytes) {
            skip -= segment->len_bytes;
            continue;
        }
        uint64_t len = segment->len_bytes - skip;
        len = len < len_bytes ? len : len_bytes;
        if (!cut_run(reading, rail, (uint8_t *)segment->addr + skip, len))
            return false;
        skip = 0;
        len_bytes -= len;
    }
    return len_bytes == 0;
}

/* --- which rail ------------------------------------------------------------------------------- */

static struct lane *lane_with_least(struct reading *reading, uint32_t peer)
{
    struct lane *best = NULL;
    for (uint32_t i = 0; i < reading->n_lanes; i++) {
        struct lane *lane = &reading->lanes[i];
        if (lane->peer == peer && (!best || lane->bytes < best->bytes))
            best = lane;
    }
    return best;
}

static bool add_part(struct reading *reading, struct lane *lane, uint32_t index,
                     uint64_t from_bytes, uint64_t len_bytes)
{
    const struct reading_page *page = &reading->pages[index];
    struct chain_page *part = &lane->pages[lane->n];
    uint32_t first = reading->n_segments;
    if (!cut_part(reading, lane->link->rail->index, page, from_bytes, len_bytes)) {
        reading->n_segments = first;
        return false;
    }
    *part = (struct chain_page){.expected = page->expected,
                                .slot = page->slot,
                                .from_bytes = (uint32_t)from_bytes,
                                .len_bytes = (uint32_t)len_bytes,
                                .segment_count = reading->n_segments - first,
                                .segments = &reading->segments[first]};
    if (chain_check_page(&lane->link->source, part) != 0) {
        reading->n_segments = first;
        return false;
    }
    lane->origins[lane->n++] = index;
    lane->bytes += len_bytes;
    return true;
}

/* A part for each rail; a part that cannot be had takes the others back. */
static bool split_page(struct reading *reading, uint32_t index, uint32_t n_rails)
{
    const struct reading_page *page = &reading->pages[index];
    uint32_t first_segment = reading->n_segments;
    uint64_t whole = page->expected.length_bytes, from = 0;
    uint64_t each = (whole / n_rails + PART_ALIGN_BYTES) / PART_ALIGN_BYTES * PART_ALIGN_BYTES;
    for (uint32_t i = 0; i < reading->n_lanes && from < whole; i++) {
        struct lane *lane = &reading->lanes[i];
        if (lane->peer != page->peer)
            continue;
        uint64_t len = each < whole - from ? each : whole - from;
        if (!add_part(reading, lane, index, from, len))
            break;
        from += len;
    }
    if (from == whole)
        return true;
    for (uint32_t i = 0; i < reading->n_lanes; i++) {
        struct lane *lane = &reading->lanes[i];
        if (lane->n > 0 && lane->origins[lane->n - 1] == index)
            lane->bytes -= lane->pages[--lane->n].len_bytes;
    }
    reading->n_segments = first_segment;
    return false;
}

static void place_page(struct reading *reading, const struct reading_peer *peers, uint32_t index)
{
    struct reading_page *page = &reading->pages[index];
    uint32_t n_rails = peers[page->peer].n;
    bool can_land = is_registered(reading, page) || bounce_page(reading, page);
    bool is_placed = false;
    if (can_land && n_rails > 1 && page->expected.length_bytes >= READING_SPLIT_BYTES)
        is_placed = split_page(reading, index, n_rails);
    struct lane *lane = lane_with_least(reading, page->peer);
    if (can_land && !is_placed && lane)
        is_placed = add_part(reading, lane, index, 0, page->expected.length_bytes);
    page->error = is_placed ? -EINPROGRESS : -EOPNOTSUPP;
}

/* --- memory ----------------------------------------------------------------------------------- */

/* A segment, no longer than a page, crosses one end of a slice at most, and each rail but the first
 * cuts one more. */
static uint32_t count_segments(const struct reading_page *pages, uint32_t n)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < n; i++)
        count += 2u * pages[i].segment_count + RAILS_MAX;
    return count < UINT32_MAX / 2 ? (uint32_t)count : UINT32_MAX / 2;
}

static uint32_t count_of_peer(const struct reading *reading, uint32_t peer)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < reading->n; i++)
        n += reading->pages[i].peer == peer;
    return n;
}

static void add_lane(struct reading *reading, uint32_t peer, struct link *link)
{
    uint32_t most = count_of_peer(reading, peer);
    struct lane *lane = &reading->lanes[reading->n_lanes];
    if (reading->n_lanes == READING_LANES_MAX || most == 0)
        return;
    *lane = (struct lane){.link = link,
                          .peer = peer,
                          .pages = malloc(most * sizeof *lane->pages),
                          .origins = malloc(most * sizeof *lane->origins)};
    if (lane->pages && lane->origins) {
        reading->n_lanes++;
        return;
    }
    free(lane->pages);
    free(lane->origins);
}

void reading_plan(struct reading *reading, struct rails *rails, const struct reading_peer *peers,
                  uint32_t n_peers, struct reading_page *pages, uint32_t n)
{
    reading->rails = rails;
    reading->pages = pages;
    reading->n = n;
    reading->n_lanes = reading->n_ranges = reading->n_segments = 0;
    reading->most_segments = count_segments(pages, n);
    reading->block = NULL;
    reading->block_bytes = 0;
    reading->segments = malloc(reading->most_segments * sizeof *reading->segments);
    reading->scratch = malloc(sizeof *reading->scratch);
    bool has_memory = reading->segments && reading->scratch;
    for (uint32_t i = 0; i < n_peers && has_memory; i++)
        for (uint32_t j = 0; j < peers[i].n; j++)
            add_lane(reading, i, peers[i].links[j]);
    for (uint32_t i = 0; i < n; i++) {
        pages[i].whole_bytes = 0;
        pages[i].bounced = NULL;
        pages[i].error = -EOPNOTSUPP;
        if (has_memory)
            place_page(reading, peers, i);
    }
}

void reading_plan_fini(struct reading *reading)
{
    for (uint32_t i = 0; i < reading->n_ranges; i++)
        memory_return(reading->rails->memory, reading->ranges[i]);
    bounce_return(&reading->rails->bounce, reading->block);
    for (uint32_t i = 0; i < reading->n_lanes; i++) {
        CHECK(reading->lanes[i].n_chains == 0);
        free(reading->lanes[i].pages);
        free(reading->lanes[i].origins);
    }
    free(reading->segments);
    free(reading->scratch);
}
