/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rate_test.c - how much of the modelled wire (400 Gbit/s, 3 us) verified pages use, as queue.c cuts
 * and turns chains, with one queue pair and with two; and what building the chains costs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "io/rdma/rail.h"
#include "rig.h"

enum {
    ARENA_BYTES = 8 << 20,
    SLOTS_MOST = ARENA_BYTES / 4096,
    NAME_BYTES = 64, /* lie between two pages */
    PAGES_MOST = 8192,
    LANES = 2,
};

struct lane {
    struct rig_pair pair;
    uint32_t reads_under_way;
    struct rig_memory landing;
    struct chain chains[QUEUE_CHAINS];
    bool is_busy[QUEUE_CHAINS];
};

struct bench {
    struct model *model;
    struct rig rig;
    struct rig_memory arena, target;
    struct chain_source source;
    struct lane lanes[LANES];
    uint32_t n_lanes, turn, n, whole_bytes;
    uint64_t last_id, chains, reads, build_ns;
    struct chain_page pages[PAGES_MOST];
    struct verbs_segment segments[PAGES_MOST];
    struct chain_cursor cursor;
    uint64_t verified_bytes;
};

static void make_pages(struct bench *bench, uint32_t page_bytes)
{
    struct slot_header *headers = (struct slot_header *)bench->arena.bytes;
    uint32_t stride = page_bytes + NAME_BYTES, slots = ARENA_BYTES / stride;
    for (uint32_t i = 0; i < slots; i++) {
        atomic_store(&headers[i].word, slot_word_make(1, SLOT_SEALED, 0));
        headers[i].digest = (struct id128){1, i};
        headers[i].offset_bytes = (uint64_t)i * stride;
        headers[i].length_bytes = page_bytes;
    }
    for (uint32_t i = 0; i < bench->n; i++) {
        uint32_t slot = i % slots;
        bench->segments[i] = rig_segment(&bench->target, i * page_bytes % ARENA_BYTES, page_bytes);
        bench->pages[i] = (struct chain_page){.expected = {.digest = {1, slot},
                                                           .generation = 1,
                                                           .offset_bytes = (uint64_t)slot * stride,
                                                           .length_bytes = page_bytes},
                                              .slot = slot,
                                              .len_bytes = page_bytes,
                                              .segment_count = 1,
                                              .segments = &bench->segments[i]};
    }
}

static void bench_open(struct bench *bench, uint32_t n_lanes, uint32_t page_bytes, uint32_t n)
{
    struct model_settings settings = model_settings_default(1);
    memset(bench, 0, sizeof *bench);
    bench->n_lanes = n_lanes;
    bench->n = n;
    bench->model = model_new(&settings);
    model_add_device(bench->model, "reader", 7);
    model_add_device(bench->model, "holder", 7);
    rig_open(&bench->rig, model_verbs(bench->model), bench->model, "reader", "holder");
    uint64_t headers_bytes = SLOTS_MOST * sizeof(struct slot_header);
    bench->arena = rig_memory_new(&bench->rig, &bench->rig.holder, headers_bytes + ARENA_BYTES,
                                  VERBS_REMOTE_READ, 0);
    bench->target =
        rig_memory_new(&bench->rig, &bench->rig.reader, ARENA_BYTES, VERBS_LOCAL_WRITE, 0);
    for (uint32_t i = 0; i < n_lanes; i++) {
        bench->lanes[i].pair = rig_connect(&bench->rig, QUEUE_DEPTH, 16);
        bench->lanes[i].landing =
            rig_memory_new(&bench->rig, &bench->rig.reader,
                           QUEUE_CHAINS * sizeof(struct chain_landing), VERBS_LOCAL_WRITE, 0);
    }
    bench->source =
        (struct chain_source){.headers_addr = (uintptr_t)bench->arena.bytes,
                              .payload_addr = (uintptr_t)bench->arena.bytes + headers_bytes,
                              .payload_bytes = ARENA_BYTES,
                              .slot_count = SLOTS_MOST,
                              .key_count = 1,
                              .base_addr = (uintptr_t)bench->arena.bytes,
                              .keys = &bench->arena.keys.remote};
    make_pages(bench, page_bytes);
}

static void bench_close(struct bench *bench)
{
    for (uint32_t i = 0; i < bench->n_lanes; i++)
        rig_end_lane(&bench->rig, &bench->lanes[i].pair, &bench->lanes[i].landing);
    rig_end(&bench->rig, &bench->arena, &bench->target);
}

/* --- as queue.c and reading.c do it, without their threads -------------------------------------- */

static bool post_on(struct bench *bench, struct lane *lane)
{
    static struct chain_reads reads;
    uint32_t k = 0;
    while (k < QUEUE_CHAINS && lane->is_busy[k])
        k++;
    if (k == QUEUE_CHAINS || bench->cursor.page == bench->n)
        return false;
    struct chain_landing *landing = (struct chain_landing *)lane->landing.bytes + k;
    bool is_first = bench->cursor.page == 0 && bench->cursor.page_bytes == 0;
    struct chain_room room = {.reads = QUEUE_DEPTH - lane->reads_under_way,
                              .segments = 16,
                              .message_bytes = 1 << 30,
                              .payload_bytes =
                                  is_first ? CHAIN_PAYLOAD_BYTES / 2 : CHAIN_PAYLOAD_BYTES};
    uint64_t id = ++bench->last_id << 16 | (uint64_t)(lane - bench->lanes) << 8 | k;
    uint64_t from_ns = clock_now_ns();
    uint32_t n = chain_build(&lane->chains[k], &reads, &bench->source, bench->pages, bench->n,
                             &bench->cursor, &room, id, landing, lane->landing.keys.local);
    bench->build_ns += clock_now_ns() - from_ns;
    if (n == 0)
        return false;
    rig_post(&bench->rig, lane->pair.reader, reads.reads, n);
    lane->is_busy[k] = true;
    lane->reads_under_way += n;
    bench->chains++;
    bench->reads += n;
    return true;
}

static void post_all(struct bench *bench)
{
    bool has_posted = true;
    while (has_posted) {
        uint32_t turn = bench->turn++;
        has_posted = false;
        for (uint32_t i = 0; i < bench->n_lanes && !has_posted; i++)
            has_posted = post_on(bench, &bench->lanes[(turn + i) % bench->n_lanes]);
    }
}

static void take(struct bench *bench, const struct verbs_completion *completion)
{
    struct lane *lane = &bench->lanes[completion->id >> 8 & 0xff];
    struct chain *chain = &lane->chains[completion->id & 0xff];
    struct slot_sample sample;
    assert_int_equal(completion->status, VERBS_OK);
    assert_true(chain_finish(chain, completion->id, completion->status));
    for (uint32_t i = 0; i < chain->n_parts; i++) {
        assert_int_equal(chain_verdict(chain, i, bench->pages, &sample), 0);
        bench->verified_bytes += chain->parts[i].len_bytes;
    }
    lane->is_busy[chain - lane->chains] = false;
    lane->reads_under_way -= chain->n_reads;
}

/* The part of the wire that was payload. */
static double run(uint32_t n_lanes, uint32_t page_bytes, uint32_t n)
{
    static struct bench bench;
    bench_open(&bench, n_lanes, page_bytes, n);
    uint64_t bytes = (uint64_t)n * page_bytes, from_ns = model_now_ns(bench.model);
    while (bench.verified_bytes < bytes) {
        struct verbs_completion completion;
        uint32_t got = 0;
        post_all(&bench);
        while (got == 0) {
            assert_int_equal(bench.rig.verbs->poll(bench.rig.verbs, bench.rig.reader.completions,
                                                   &completion, 1, &got),
                             0);
            if (got == 0)
                assert_true(model_step(bench.model));
        }
        take(&bench, &completion);
    }
    double wire = (double)bytes * 8 / 400 / (double)(model_now_ns(bench.model) - from_ns);
    print_message("%7u bytes, %u queue pairs: %.3f of the wire, %.2f reads a page, "
                  "%.0f ns a page to build\n",
                  page_bytes, n_lanes, wire, (double)bench.reads / n, (double)bench.build_ns / n);
    bench_close(&bench);
    return wire;
}

static void two_queue_pairs_hide_the_fence(void **state)
{
    (void)state;
    double one = run(1, 128 << 10, 512), two = run(2, 128 << 10, 512);
    assert_true(two >= 0.98);
    assert_true(two > one);
}

static void large_pages_are_as_fast(void **state)
{
    (void)state;
    run(1, 1 << 20, 64);
    assert_true(run(2, 1 << 20, 64) >= 0.98);
}

static void small_pages_share_reads(void **state)
{
    (void)state;
    run(1, 4096, PAGES_MOST);
    assert_true(run(2, 4096, PAGES_MOST) >= 0.8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_queue_pairs_hide_the_fence),
        cmocka_unit_test(large_pages_are_as_fast),
        cmocka_unit_test(small_pages_share_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
