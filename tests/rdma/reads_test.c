/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reads_test.c - chains of READs on the modelled wire while the holder overwrites its slots: a page
 * that counts as whole has the bytes of its filling, and without any one protection there is one
 * that has not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/protection.h"
#include "holder.h"
#include "io/rdma/chain.h"
#include "rig.h"

enum { BATCH = 8, PAIRS = 2, DEPTH = 256, SEGMENTS = 16, STORM_BATCHES = 200 };

struct lane {
    struct rig_pair pair;
    struct rig_memory landing;
    struct chain chain;
    bool is_busy;
};

struct bench {
    struct model *model;
    struct rig rig;
    struct rig_memory arena, target; /* target: where pages land */
    struct holder holder;
    struct chain_source source;
    struct lane lanes[PAIRS];
    struct chain_page pages[BATCH * 2];
    struct verbs_segment segments[BATCH * 2];
    bool is_split; /* a page's halves go by different queue pairs */
    bool is_hasty; /* the verdict is asked for before the end */
    bool fails;    /* the first READ of each queue pair */
    uint32_t n_pages;
    bool is_whole[BATCH * 2];
    uint64_t hits, stale, failed, wrong;
};

/* --- setting up ------------------------------------------------------------------------------- */

static void bench_open(struct bench *bench, const struct model_settings *settings)
{
    memset(bench, 0, sizeof *bench);
    bench->model = model_new(settings);
    model_add_device(bench->model, "reader", 7);
    model_add_device(bench->model, "holder", 7);
    rig_open(&bench->rig, model_verbs(bench->model), bench->model, "reader", "holder");
    bench->arena =
        rig_memory_new(&bench->rig, &bench->rig.holder, HOLDER_BYTES, VERBS_REMOTE_READ, 0);
    bench->target = rig_memory_new(&bench->rig, &bench->rig.reader, BATCH * HOLDER_SLOT_BYTES,
                                   VERBS_LOCAL_WRITE, 0);
    holder_init(&bench->holder, bench->arena.bytes, settings->seed);
    for (int i = 0; i < PAIRS; i++) {
        bench->lanes[i].pair = rig_connect(&bench->rig, DEPTH, SEGMENTS);
        bench->lanes[i].landing = rig_memory_new(
            &bench->rig, &bench->rig.reader, sizeof(struct chain_landing), VERBS_LOCAL_WRITE, 0);
    }
    bench->source = (struct chain_source){.headers_addr = (uintptr_t)bench->holder.headers,
                                          .payload_addr = (uintptr_t)bench->holder.payload,
                                          .payload_bytes = HOLDER_SLOTS * HOLDER_SLOT_BYTES,
                                          .slot_count = HOLDER_SLOTS,
                                          .key_count = 1,
                                          .base_addr = (uintptr_t)bench->holder.headers,
                                          .keys = &bench->arena.keys.remote};
    model_on_sample(bench->model, holder_storm, &bench->holder);
}

static void bench_close(struct bench *bench)
{
    protection_enable_all();
    for (int i = 0; i < PAIRS; i++)
        rig_end_lane(&bench->rig, &bench->lanes[i].pair, &bench->lanes[i].landing);
    rig_end(&bench->rig, &bench->arena, &bench->target);
    model_free(bench->rig.model);
}

/* --- a batch ---------------------------------------------------------------------------------- */

static void add_part(struct bench *bench, uint32_t index, uint32_t slot, uint32_t from_bytes,
                     uint32_t len_bytes)
{
    uint32_t at = bench->n_pages++;
    bench->segments[at] =
        rig_segment(&bench->target, index * HOLDER_SLOT_BYTES + from_bytes, len_bytes);
    bench->pages[at] = (struct chain_page){.expected = holder_expectation(&bench->holder, slot),
                                           .slot = slot,
                                           .from_bytes = from_bytes,
                                           .len_bytes = len_bytes,
                                           .segment_count = 1,
                                           .segments = &bench->segments[at]};
    bench->is_whole[at] = true;
    assert_int_equal(chain_check_page(&bench->source, &bench->pages[at]), 0);
}

static void choose_pages(struct bench *bench)
{
    bench->n_pages = 0;
    memset(bench->target.bytes, 0xee, BATCH * HOLDER_SLOT_BYTES);
    for (uint32_t i = 0; i < BATCH; i++) {
        uint32_t slot = holder_any_page(&bench->holder);
        if (bench->is_split) {
            add_part(bench, i, slot, 0, HOLDER_SLOT_BYTES / 2);
            add_part(bench, i, slot, HOLDER_SLOT_BYTES / 2, HOLDER_SLOT_BYTES / 2);
        } else {
            add_part(bench, i, slot, 0, HOLDER_SLOT_BYTES);
        }
    }
}

/* Two pages a chain; the halves of a split page go to both queue pairs. */
static void post(struct bench *bench, uint32_t index, uint32_t first, uint32_t n)
{
    struct lane *lane = &bench->lanes[index];
    static struct chain_reads reads;
    struct chain_cursor cursor = {0};
    struct chain_room room = {.reads = DEPTH,
                              .segments = SEGMENTS,
                              .message_bytes = UINT32_C(1) << 31,
                              .payload_bytes = CHAIN_PAYLOAD_BYTES};
    uint32_t made =
        chain_build(&lane->chain, &reads, &bench->source, bench->pages + first, n, &cursor, &room,
                    index, (struct chain_landing *)lane->landing.bytes, lane->landing.keys.local);
    assert_int_equal(cursor.page, n);
    rig_post(&bench->rig, lane->pair.reader, reads.reads, made);
    lane->is_busy = true;
}

static void take_verdicts(struct bench *bench, uint32_t index, uint32_t first)
{
    struct lane *lane = &bench->lanes[index];
    struct slot_sample sample;
    for (uint32_t i = 0; i < lane->chain.n_parts; i++) {
        int error = chain_verdict(&lane->chain, i, bench->pages + first, &sample);
        bench->stale += error == -ESTALE;
        bench->failed += error == -EIO;
        if (error)
            bench->is_whole[first + lane->chain.parts[i].page] = false;
    }
}

static void take_completions(struct bench *bench)
{
    struct verbs_completion completions[8];
    uint32_t n;
    const struct verbs *verbs = bench->rig.verbs;
    assert_int_equal(verbs->poll(verbs, bench->rig.reader.completions, completions, 8, &n), 0);
    for (uint32_t i = 0; i < n; i++)
        if (chain_finish(&bench->lanes[completions[i].id].chain, completions[i].id,
                         completions[i].status))
            bench->lanes[completions[i].id].is_busy = false;
}

static void await(struct bench *bench)
{
    while (bench->lanes[0].is_busy || bench->lanes[1].is_busy) {
        assert_true(model_step(bench->model));
        take_completions(bench);
    }
}

static void compare(struct bench *bench)
{
    uint32_t parts = bench->is_split ? 2 : 1;
    for (uint32_t i = 0; i < BATCH; i++) {
        const struct chain_page *page = &bench->pages[i * parts];
        const uint8_t *bytes = bench->target.bytes + i * HOLDER_SLOT_BYTES;
        if (!bench->is_whole[i * parts] || !bench->is_whole[i * parts + parts - 1])
            continue;
        bench->hits++;
        bench->wrong += !holder_is_page(page->expected.generation, bytes);
    }
}

/* The second queue pair brings its half late: in between the slot may have been filled again. */
static void read_split(struct bench *bench)
{
    for (uint32_t i = 0; i < BATCH; i++) {
        post(bench, 0, 2 * i, 1);
        await(bench);
        if (!bench->holder.is_filling && holder_below(&bench->holder, 2) == 0)
            holder_fill(&bench->holder, bench->pages[2 * i].slot);
        post(bench, 1, 2 * i + 1, 1);
        await(bench);
        take_verdicts(bench, 0, 2 * i);
        take_verdicts(bench, 1, 2 * i + 1);
    }
}

static void read_batch(struct bench *bench)
{
    uint32_t half = BATCH / 2;
    choose_pages(bench);
    if (bench->is_split) {
        read_split(bench);
    } else {
        post(bench, 0, 0, half);
        post(bench, 1, half, half);
        for (int i = 0; i < PAIRS && bench->fails; i++)
            model_fail_read(bench->model, bench->lanes[i].pair.made.number, VERBS_REMOTE_FAILED);
        if (!bench->is_hasty)
            await(bench);
        take_verdicts(bench, 0, 0);
        take_verdicts(bench, 1, half);
    }
    compare(bench);
    await(bench);
}

static void storm(struct bench *bench, const struct model_settings *settings, bool is_split,
                  bool is_hasty, const char *without)
{
    bench_open(bench, settings);
    bench->is_split = is_split;
    bench->is_hasty = is_hasty;
    bench->holder.storm_percent = 30;
    if (without)
        assert_true(protection_disable(without));
    for (int i = 0; i < STORM_BATCHES; i++)
        read_batch(bench);
    bench_close(bench);
}

static struct model_settings calm, lossy;

static int setup(void **state)
{
    (void)state;
    calm = model_settings_default(1);
    lossy = model_settings_default(2);
    lossy.lost_permille = lossy.again_permille = 20;
    return 0;
}

/* --- the tests -------------------------------------------------------------------------------- */

static void no_byte_is_wrong_in_a_storm(void **state)
{
    static struct bench bench;
    (void)state;
    for (int i = 0; i < 4; i++) {
        storm(&bench, i & 1 ? &lossy : &calm, i & 2, false, NULL);
        assert_int_equal(bench.wrong, 0);
        assert_true(bench.hits > 100);
        assert_true(bench.stale > 100);
        assert_int_equal(bench.failed, 0);
    }
}

static void without_the_fence_bytes_are_wrong(void **state)
{
    static struct bench bench;
    (void)state;
    storm(&bench, &calm, false, false, "rdma_fence");
    assert_true(bench.wrong > 0);
    storm(&bench, &lossy, false, false, "rdma_fence");
    assert_true(bench.wrong > 0);
}

static void without_the_header_bytes_are_wrong(void **state)
{
    static struct bench bench;
    (void)state;
    storm(&bench, &calm, false, false, "rdma_header");
    assert_true(bench.wrong > 0);
}

static void with_the_verdict_of_another_queue_pair_bytes_are_wrong(void **state)
{
    static struct bench bench;
    (void)state;
    storm(&bench, &calm, true, false, "rdma_own_verdict");
    assert_true(bench.wrong > 0);
}

static void before_the_completion_nothing_counts(void **state)
{
    static struct bench bench;
    (void)state;
    storm(&bench, &calm, false, true, NULL);
    assert_int_equal(bench.hits, 0);
    storm(&bench, &calm, false, true, "rdma_completion");
    assert_true(bench.wrong > 0);
}

static void failed_reads_are_no_hits(void **state)
{
    static struct bench bench;
    (void)state;
    bench_open(&bench, &calm);
    bench.fails = true;
    read_batch(&bench);
    assert_int_equal(bench.hits, 0);
    assert_int_equal(bench.failed, BATCH);
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_byte_is_wrong_in_a_storm),
        cmocka_unit_test(without_the_fence_bytes_are_wrong),
        cmocka_unit_test(without_the_header_bytes_are_wrong),
        cmocka_unit_test(with_the_verdict_of_another_queue_pair_bytes_are_wrong),
        cmocka_unit_test(before_the_completion_nothing_counts),
        cmocka_unit_test(failed_reads_are_no_hits),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
