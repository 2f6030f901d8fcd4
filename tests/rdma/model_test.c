/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_test.c - that the model adapter shows what it is for: orders of sampling, duplicates,
 * faults.
 *
 * The page of these tests is two memories of the holder, payload and header.  The holder stores
 * into both at once, header first, as a node that evicts and fills again: payload that is newer
 * than the header was overwritten while it was read.
 */
#include "model_adapter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "rig.h"

enum { PAGE = 65536, HEADER = 64, PACKET = 4096, DEPTH = 64 };

struct page {
    struct rig rig;
    struct rig_pair pair;
    struct rig_memory payload, header, landing, verdict;
    uint64_t filling; /* which the holder stored last */
    uint32_t store_permille, seed;
};

static void fill_page(struct page *page)
{
    page->filling++;
    *(uint64_t *)page->header.bytes = page->filling;
    for (uint32_t at = 0; at < PAGE; at += PACKET)
        *(uint64_t *)(page->payload.bytes + at) = page->filling;
}

/* Between two samples, now and then, from the test's own row of numbers. */
static void store_sometimes(void *context)
{
    struct page *page = context;
    page->seed = page->seed * 1664525 + 1013904223;
    if (page->seed >> 22 < page->store_permille)
        fill_page(page);
}

static void open_page(struct page *page, const struct model_settings *settings)
{
    *page = (struct page){.store_permille = 60, .seed = (uint32_t)settings->seed};
    struct model *model = model_new(settings);
    model_add_device(model, "reader", 1);
    model_add_device(model, "holder", 1);
    rig_open(&page->rig, model_verbs(model), model, "reader", "holder");
    page->pair = rig_connect(&page->rig, DEPTH, 4);
    page->payload = rig_memory_new(&page->rig, &page->rig.holder, PAGE, VERBS_REMOTE_READ, 0);
    page->header = rig_memory_new(&page->rig, &page->rig.holder, HEADER, VERBS_REMOTE_READ, 0);
    page->landing = rig_memory_new(&page->rig, &page->rig.reader, PAGE, VERBS_LOCAL_WRITE, 0);
    page->verdict = rig_memory_new(&page->rig, &page->rig.reader, HEADER, VERBS_LOCAL_WRITE, 0);
    model_on_sample(model, store_sometimes, page);
}

static void close_page(struct page *page)
{
    rig_disconnect(&page->rig, &page->pair);
    rig_memory_free(&page->rig, &page->payload);
    rig_memory_free(&page->rig, &page->header);
    rig_memory_free(&page->rig, &page->landing);
    rig_memory_free(&page->rig, &page->verdict);
    rig_close(&page->rig);
    model_free(page->rig.model);
}

static void post_page(struct page *page, uint16_t header_flags)
{
    const struct verbs_segment segments[] = {rig_segment(&page->landing, 0, PAGE),
                                             rig_segment(&page->verdict, 0, HEADER)};
    const struct verbs_read reads[] = {{.id = 1,
                                        .remote_addr = (uintptr_t)page->payload.bytes,
                                        .remote_key = page->payload.keys.remote,
                                        .segment_count = 1,
                                        .segments = &segments[0]},
                                       {.id = 2,
                                        .remote_addr = (uintptr_t)page->header.bytes,
                                        .remote_key = page->header.keys.remote,
                                        .segment_count = 1,
                                        .flags = VERBS_SIGNALLED | header_flags,
                                        .segments = &segments[1]}};
    rig_post(&page->rig, page->pair.reader, reads, 2);
}

/* Reads the page once, and says what was seen of the holder's fillings. */
struct seen {
    bool is_torn;  /* payload of several fillings */
    bool is_wrong; /* payload newer than the header: a verdict would have been wrong */
};

static struct seen read_once(struct page *page, uint16_t header_flags)
{
    struct verbs_completion done;
    struct seen seen = {false, false};
    post_page(page, header_flags);
    rig_wait(&page->rig, &done, 1);
    assert_int_equal(done.status, VERBS_OK);
    const uint64_t *first = (const uint64_t *)page->landing.bytes;
    uint64_t header = *(const uint64_t *)page->verdict.bytes;
    for (uint32_t at = 0; at < PAGE; at += PACKET) {
        uint64_t filling = *(const uint64_t *)(page->landing.bytes + at);
        seen.is_torn |= filling != *first;
        seen.is_wrong |= filling > header;
    }
    return seen;
}

static void count_reads(const struct model_settings *settings, uint16_t flags, uint32_t *ret_torn,
                        uint32_t *ret_wrong)
{
    struct page page;
    open_page(&page, settings);
    *ret_torn = *ret_wrong = 0;
    for (int i = 0; i < 1000; i++) {
        struct seen seen = read_once(&page, flags);
        *ret_torn += seen.is_torn;
        *ret_wrong += seen.is_wrong;
    }
    close_page(&page);
}

/* --- orders ----------------------------------------------------------------------------------- */

static void a_fenced_header_is_sampled_after_all_payload(void **state)
{
    uint32_t torn, wrong;
    struct model_settings settings = model_settings_default(11);
    (void)state;
    count_reads(&settings, VERBS_FENCED, &torn, &wrong);
    assert_true(torn > 100); /* the holder did store while it was read */
    assert_int_equal(wrong, 0);
    settings.lost_permille = 20;
    settings.again_permille = 20;
    count_reads(&settings, VERBS_FENCED, &torn, &wrong);
    assert_true(torn > 100);
    assert_int_equal(wrong, 0);
}

static void without_the_fence_it_may_be_sampled_before(void **state)
{
    uint32_t torn, wrong;
    const struct model_settings settings = model_settings_default(12);
    (void)state;
    count_reads(&settings, 0, &torn, &wrong);
    assert_true(wrong > 100);
}

/* Even an adapter that samples each packet only when it is sent may have sampled before: nothing is
 * promised of the order at the holder, and the reader must not rely on it. */
static void without_early_samples_the_order_is_that_of_posting(void **state)
{
    uint32_t torn, wrong;
    struct model_settings settings = model_settings_default(13);
    (void)state;
    settings.early_permille = 0;
    count_reads(&settings, 0, &torn, &wrong);
    assert_true(torn > 100);
    assert_int_equal(wrong, 0);
}

static void what_is_asked_again_is_sampled_again(void **state)
{
    struct model_settings settings = model_settings_default(14);
    struct page page;
    (void)state;
    settings.lost_permille = 300;
    settings.early_permille = 0;
    open_page(&page, &settings);
    page.store_permille = 0;
    uint64_t packets = PAGE / PACKET + 1;
    for (int i = 0; i < 50; i++)
        read_once(&page, VERBS_FENCED);
    struct model_counts counts = model_counts(page.rig.model);
    assert_true(counts.lost > 100 && counts.asked_again > 100);
    assert_true(counts.packets_sampled > 50 * packets + counts.lost / 2);
    assert_int_equal(counts.bytes_landed, 50 * (PAGE + HEADER));
    close_page(&page);
}

static void landing_is_not_in_order(void **state)
{
    struct model_settings settings = model_settings_default(15);
    struct page page;
    bool is_last_before_first = false;
    (void)state;
    open_page(&page, &settings);
    for (int i = 0; i < 20; i++) {
        fill_page(&page);
        page.store_permille = 0;
        post_page(&page, VERBS_FENCED);
        const uint64_t *first = (const uint64_t *)page.landing.bytes;
        const uint64_t *second = (const uint64_t *)(page.landing.bytes + PACKET);
        while (*first != page.filling && model_step(page.rig.model))
            is_last_before_first |= *second == page.filling && *first != page.filling;
        struct verbs_completion done;
        rig_wait(&page.rig, &done, 1);
        assert_int_equal(*second, page.filling);
    }
    assert_true(is_last_before_first);
    close_page(&page);
}

/* --- the end of a queue pair ------------------------------------------------------------------ */

static void destroying_ends_all_writes(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        const struct model_settings settings = model_settings_default(seed);
        struct page page;
        open_page(&page, &settings);
        post_page(&page, VERBS_FENCED);
        for (uint64_t i = 0; i < 10 + seed / 2; i++)
            assert_true(model_step(page.rig.model));
        assert_int_equal(page.rig.verbs->queue_destroy(page.rig.verbs, page.pair.reader), 0);
        memset(page.landing.bytes, 0xee, PAGE);
        while (model_step(page.rig.model))
            ;
        for (uint32_t i = 0; i < PAGE; i++)
            assert_int_equal(page.landing.bytes[i], 0xee);
        page.pair.reader = NULL;
        close_page(&page);
    }
}

static void a_device_that_does_not_let_go_goes_on_writing(void **state)
{
    const struct model_settings settings = model_settings_default(21);
    const struct verbs *verbs;
    struct page page;
    (void)state;
    open_page(&page, &settings);
    verbs = page.rig.verbs;
    fill_page(&page);
    model_hold_queues(page.rig.model, "reader", 1);
    post_page(&page, VERBS_FENCED);
    assert_int_equal(verbs->queue_destroy(verbs, page.pair.reader), -EBUSY);
    while (model_step(page.rig.model))
        ;
    assert_true(*(uint64_t *)page.landing.bytes >= 1);
    close_page(&page);
}

static void a_named_failure_flushes_what_is_behind(void **state)
{
    const struct model_settings settings = model_settings_default(22);
    struct verbs_completion done[4];
    struct page page;
    (void)state;
    open_page(&page, &settings);
    post_page(&page, VERBS_FENCED);
    post_page(&page, VERBS_FENCED);
    model_fail_read(page.rig.model, page.pair.made.number, VERBS_REMOTE_FAILED);
    rig_wait(&page.rig, done, 4);
    assert_int_equal(done[0].status, VERBS_REMOTE_FAILED);
    for (int i = 1; i < 4; i++)
        assert_int_equal(done[i].status, VERBS_FLUSHED);
    close_page(&page);
}

/* --- faults ----------------------------------------------------------------------------------- */

static void a_port_that_stays_down_is_unreachable_and_no_longer(void **state)
{
    const struct model_settings settings = model_settings_default(31);
    struct verbs_completion done[2];
    struct page page;
    (void)state;
    open_page(&page, &settings);
    model_set_port(page.rig.model, "holder", false);
    post_page(&page, VERBS_FENCED);
    model_run_until(page.rig.model, 20 * 1000 * 1000);
    model_set_port(page.rig.model, "holder", true);
    rig_wait(&page.rig, done, 1);
    assert_int_equal(done[0].status, VERBS_OK);
    model_set_port(page.rig.model, "holder", false);
    post_page(&page, VERBS_FENCED);
    rig_wait(&page.rig, done, 2);
    assert_int_equal(done[0].status, VERBS_UNREACHABLE);
    assert_int_equal(done[1].status, VERBS_FLUSHED);
    close_page(&page);
}

/* Either it flushes or it says nothing more; which of them the seed decides. */
static void a_removed_device_flushes_or_is_silent(void **state)
{
    uint32_t flushed = 0;
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        const struct model_settings settings = model_settings_default(seed);
        struct verbs_completion done[2];
        struct page page;
        uint32_t n = 0;
        open_page(&page, &settings);
        post_page(&page, VERBS_FENCED);
        model_remove_device(page.rig.model, "reader");
        while (model_step(page.rig.model))
            ;
        page.rig.verbs->poll(page.rig.verbs, page.rig.reader.completions, done, 2, &n);
        assert_true(n == 0 || n == 2);
        flushed += n == 2;
        for (uint32_t i = 0; i < n; i++)
            assert_int_equal(done[i].status, VERBS_FLUSHED);
        close_page(&page);
    }
    assert_in_range(flushed, 1, 19);
}

static void registration_is_refused_as_often_as_asked(void **state)
{
    const struct model_settings settings = model_settings_default(33);
    const struct verbs *verbs;
    struct verbs_memory *memory;
    struct verbs_keys keys;
    struct page page;
    (void)state;
    open_page(&page, &settings);
    verbs = page.rig.verbs;
    model_refuse_memory(page.rig.model, "reader", 2);
    for (int i = 0; i < 2; i++)
        assert_int_equal(verbs->memory_register(verbs, page.rig.reader.device, &page, 64,
                                                VERBS_LOCAL_WRITE, &memory, &keys),
                         -ENOMEM);
    assert_int_equal(verbs->memory_register(verbs, page.rig.reader.device, &page, 64,
                                            VERBS_LOCAL_WRITE, &memory, &keys),
                     0);
    assert_int_equal(verbs->memory_deregister(verbs, memory), 0);
    close_page(&page);
}

static void a_completion_queue_that_is_too_small_is_lost(void **state)
{
    const struct model_settings settings = model_settings_default(34);
    struct page page;
    struct verbs_event event;
    (void)state;
    open_page(&page, &settings);
    page.store_permille = 0;
    for (int i = 0; i <= RIG_COMPLETIONS / DEPTH; i++) {
        struct rig_pair pair = rig_connect(&page.rig, DEPTH, 1);
        struct verbs_segment segment = rig_segment(&page.verdict, 0, HEADER);
        const struct verbs_read read = {.remote_addr = (uintptr_t)page.header.bytes,
                                        .remote_key = page.header.keys.remote,
                                        .segment_count = 1,
                                        .flags = VERBS_SIGNALLED,
                                        .segments = &segment};
        for (int j = 0; j < DEPTH; j++)
            rig_post(&page.rig, pair.reader, &read, 1);
        while (model_step(page.rig.model))
            ;
        rig_disconnect(&page.rig, &pair);
    }
    assert_int_equal(page.rig.verbs->next_event(page.rig.verbs, page.rig.reader.device, &event), 0);
    assert_int_equal(event.kind, VERBS_EVENT_COMPLETIONS_FAILED);
    close_page(&page);
}

/* --- seeds ------------------------------------------------------------------------------------ */

static uint64_t story(uint64_t seed)
{
    struct model_settings settings = model_settings_default(seed);
    struct page page;
    settings.lost_permille = 50;
    settings.again_permille = 50;
    open_page(&page, &settings);
    for (int i = 0; i < 20; i++)
        read_once(&page, VERBS_FENCED);
    struct model_counts counts = model_counts(page.rig.model);
    uint64_t end_ns = model_now_ns(page.rig.model);
    close_page(&page);
    return end_ns * 31 + counts.lost * 7 + counts.packets_sampled;
}

static void a_seed_has_one_story(void **state)
{
    (void)state;
    assert_true(story(51) == story(51));
    assert_true(story(51) != story(52));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fenced_header_is_sampled_after_all_payload),
        cmocka_unit_test(without_the_fence_it_may_be_sampled_before),
        cmocka_unit_test(without_early_samples_the_order_is_that_of_posting),
        cmocka_unit_test(what_is_asked_again_is_sampled_again),
        cmocka_unit_test(landing_is_not_in_order),
        cmocka_unit_test(destroying_ends_all_writes),
        cmocka_unit_test(a_device_that_does_not_let_go_goes_on_writing),
        cmocka_unit_test(a_named_failure_flushes_what_is_behind),
        cmocka_unit_test(a_port_that_stays_down_is_unreachable_and_no_longer),
        cmocka_unit_test(a_removed_device_flushes_or_is_silent),
        cmocka_unit_test(registration_is_refused_as_often_as_asked),
        cmocka_unit_test(a_completion_queue_that_is_too_small_is_lost),
        cmocka_unit_test(a_seed_has_one_story),
    };
    return cmocka_run_group_tests_name("model", tests, NULL, NULL);
}
