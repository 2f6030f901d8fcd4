/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rate_test.c - how much of the modelled wire (400 Gbit/s, 3 us) verified pages use, as queue.c
 * cuts and turns chains, with one queue pair and with two, and on two devices; and what the chains
 * cost.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "instructions.h"
#include "io/rdma/rail.h"
#include "rig.h"

enum {
    ARENA_BYTES = 8 << 20,
    SLOTS_MOST = ARENA_BYTES / 4096,
    NAME_BYTES = 64, /* lie between two pages */
    PAGES_MOST = 8192,
    LANES = 2,
    RAILS = 2,
    COUNTED_PAGES = 2 * CHAIN_PARTS_MAX,
    /* Of building and judging a small page.  It is far more than it takes, for compilers differ; a
     * search through all pages would be more still. */
    INSTRUCTIONS_MOST = 2000,
};

struct lane {
    struct rig_pair pair;
    uint32_t reads_under_way;
    struct rig_memory landing;
    struct chain chains[QUEUE_CHAINS];
    bool is_busy[QUEUE_CHAINS];
};

/* One device on each side, and the pages that come by it. */
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

static void open_rig(struct bench *bench, struct model *model, uint32_t rail)
{
    char reader[16], holder[16];
    snprintf(reader, sizeof reader, "reader%u", rail);
    snprintf(holder, sizeof holder, "holder%u", rail);
    bench->model = model;
    model_add_device(model, reader, (uint8_t)(7 + rail));
    model_add_device(model, holder, (uint8_t)(7 + rail));
    rig_open(&bench->rig, model_verbs(model), model, reader, holder);
}

static void bench_open(struct bench *bench, struct model *model, uint32_t rail, uint32_t n_lanes,
                       uint32_t page_bytes, uint32_t n)
{
    memset(bench, 0, sizeof *bench);
    bench->n_lanes = n_lanes;
    bench->n = n;
    open_rig(bench, model, rail);
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

/* --- as queue.c and reading.c do it, without their threads
 * -------------------------------------- */

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

/* Whether one has completed. */
static bool take_one(struct bench *bench)
{
    struct verbs_completion completion;
    uint32_t got = 0;
    assert_int_equal(bench->rig.verbs->poll(bench->rig.verbs, bench->rig.reader.completions,
                                            &completion, 1, &got),
                     0);
    if (got > 0)
        take(bench, &completion);
    return got > 0;
}

static bool is_done(const struct bench *bench, uint32_t page_bytes)
{
    return bench->verified_bytes == (uint64_t)bench->n * page_bytes;
}

/* All pages of all rails.  Returns how long it took. */
static uint64_t read_all(struct bench *benches, uint32_t n_rails, uint32_t page_bytes)
{
    struct model *model = benches[0].model;
    uint64_t from_ns = model_now_ns(model);
    for (uint32_t n_done = 0; n_done < n_rails;) {
        bool has_taken = false;
        n_done = 0;
        for (uint32_t i = 0; i < n_rails; i++) {
            post_all(&benches[i]);
            has_taken |= take_one(&benches[i]);
            n_done += is_done(&benches[i], page_bytes);
        }
        if (!has_taken && n_done < n_rails)
            assert_true(model_step(model));
    }
    return model_now_ns(model) - from_ns;
}

/* The payload as a part of one device's wire. */
static double run(uint32_t n_rails, uint32_t n_lanes, uint32_t page_bytes, uint32_t n)
{
    static struct bench benches[RAILS];
    struct model_settings settings = model_settings_default(1);
    struct model *model = model_new(&settings);
    uint64_t reads = 0, build_ns = 0;
    for (uint32_t i = 0; i < n_rails; i++)
        bench_open(&benches[i], model, i, n_lanes, page_bytes, n / n_rails);
    uint64_t took_ns = read_all(benches, n_rails, page_bytes);
    for (uint32_t i = 0; i < n_rails; i++) {
        reads += benches[i].reads;
        build_ns += benches[i].build_ns;
        bench_close(&benches[i]);
    }
    model_free(model);
    double wire = (double)n * page_bytes * 8 / settings.gbit_per_s / (double)took_ns;
    print_message("%7u bytes, %u x %u queue pairs: %.3f of the wire, %.2f reads a page, "
                  "%.0f ns a page to build\n",
                  page_bytes, n_rails, n_lanes, wire, (double)reads / n, (double)build_ns / n);
    return wire;
}

static void two_queue_pairs_hide_the_fence(void **state)
{
    (void)state;
    double one = run(1, 1, 128 << 10, 512), two = run(1, 2, 128 << 10, 512);
    assert_true(two >= 0.98);
    assert_true(two > one);
}

static void large_pages_are_as_fast(void **state)
{
    (void)state;
    run(1, 1, 1 << 20, 64);
    assert_true(run(1, 2, 1 << 20, 64) >= 0.98);
}

static void small_pages_share_reads(void **state)
{
    (void)state;
    run(1, 1, 4096, PAGES_MOST);
    assert_true(run(1, 2, 4096, PAGES_MOST) >= 0.8);
}

static void two_devices_are_twice_as_fast(void **state)
{
    (void)state;
    assert_true(run(2, 2, 128 << 10, 1024) >= 1.9 * run(1, 2, 128 << 10, 512));
    assert_true(run(2, 2, 4096, PAGES_MOST) >= 1.9 * run(1, 2, 4096, PAGES_MOST / 2));
}

/* --- instructions ----------------------------------------------------------------------------- */

/* Chains of all pages, one after the other in one place. */
static void build_chains(void *context)
{
    static struct chain_reads reads;
    struct bench *bench = context;
    struct lane *lane = &bench->lanes[0];
    struct chain_room room = {.reads = QUEUE_DEPTH,
                              .segments = 16,
                              .message_bytes = 1 << 30,
                              .payload_bytes = CHAIN_PAYLOAD_BYTES};
    bench->cursor = (struct chain_cursor){0};
    while (bench->cursor.page < bench->n)
        chain_build(&lane->chains[0], &reads, &bench->source, bench->pages, bench->n,
                    &bench->cursor, &room, ++bench->last_id,
                    (struct chain_landing *)lane->landing.bytes, lane->landing.keys.local);
}

/* The last of them, once its headers are there. */
static void judge_chain(void *context)
{
    struct bench *bench = context;
    struct chain *chain = &bench->lanes[0].chains[0];
    struct slot_sample sample;
    CHECK(chain_finish(chain, bench->last_id, VERBS_OK));
    for (uint32_t i = 0; i < chain->n_parts; i++)
        CHECK(chain_verdict(chain, i, bench->pages, &sample) == 0);
}

static void land_headers(struct bench *bench)
{
    const struct chain *chain = &bench->lanes[0].chains[0];
    struct chain_landing *landing = (struct chain_landing *)bench->lanes[0].landing.bytes;
    const struct slot_header *headers = (const struct slot_header *)bench->arena.bytes;
    for (uint32_t i = 0; i < chain->n_parts; i++)
        memcpy(&landing->headers[chain->parts[i].landed],
               &headers[bench->pages[chain->parts[i].page].slot], sizeof *headers);
}

static void a_small_page_costs_few_instructions(void **state)
{
    static struct bench bench;
    struct model_settings settings = model_settings_default(1);
    (void)state;
    if (INSTRUCTIONS_ARE_MORE) {
        print_message("SKIP: most instructions here are the sanitizer's\n");
        skip();
    }
    struct model *model = model_new(&settings);
    bench_open(&bench, model, 0, 1, 4096, COUNTED_PAGES);
    int64_t build = instructions_count(build_chains, &bench);
    build_chains(&bench);
    land_headers(&bench);
    int64_t judge = instructions_count(judge_chain, &bench);
    double parts = bench.lanes[0].chains[0].n_parts;
    bench_close(&bench);
    model_free(model);
    if (build == -EPERM || judge == -EPERM) {
        print_message("SKIP: a process may not trace its child here\n");
        skip();
    }
    assert_true(build > 0 && judge > 0);
    double each = (double)build / COUNTED_PAGES, verdict = (double)judge / parts;
    print_message("4096 bytes: %.0f instructions a page to build, %.0f to judge\n", each, verdict);
    assert_true(each + verdict <= INSTRUCTIONS_MOST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_queue_pairs_hide_the_fence),
        cmocka_unit_test(large_pages_are_as_fast),
        cmocka_unit_test(small_pages_share_reads),
        cmocka_unit_test(two_devices_are_twice_as_fast),
        cmocka_unit_test(a_small_page_costs_few_instructions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
