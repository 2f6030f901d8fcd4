/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_figures_test.c - the model's wire is as fast and as far as it was set, and what a fence
 * costs on it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model_adapter.h"
#include "rig.h"

enum { PAGES = 32, PAGE = 128 << 10, HEADER = 64, DEPTH = 128, PAIRS_MAX = 2, BATCHES = 20 };

struct wire {
    struct rig rig;
    struct rig_memory pool, landing;
    struct rig_pair pairs[PAIRS_MAX];
    uint32_t pair_count;
    struct verbs_segment page_segment, header_segment;
    struct verbs_read batch[PAGES + 1]; /* pages, and a fenced header behind them */
};

static struct verbs_read read_of(const struct wire *wire, const struct verbs_segment *segment,
                                 uint16_t flags)
{
    return (struct verbs_read){.remote_addr = (uintptr_t)wire->pool.bytes,
                               .remote_key = wire->pool.keys.remote,
                               .segment_count = 1,
                               .flags = flags,
                               .segments = segment};
}

static void open_wire(struct wire *wire, uint32_t pair_count, uint32_t landing_ns)
{
    struct model_settings settings = model_settings_default(41);
    settings.landing_ns = landing_ns;
    struct model *model = model_new(&settings);
    model_add_device(model, "reader", 1);
    model_add_device(model, "holder", 1);
    *wire = (struct wire){.pair_count = pair_count};
    rig_open(&wire->rig, model_verbs(model), model, "reader", "holder");
    wire->pool = rig_memory_new(&wire->rig, &wire->rig.holder, PAGE, VERBS_REMOTE_READ, 1);
    wire->landing = rig_memory_new(&wire->rig, &wire->rig.reader, PAGE, VERBS_LOCAL_WRITE, 0);
    for (uint32_t i = 0; i < pair_count; i++)
        wire->pairs[i] = rig_connect(&wire->rig, DEPTH, 1);
    wire->page_segment = rig_segment(&wire->landing, 0, PAGE);
    wire->header_segment = rig_segment(&wire->landing, 0, HEADER);
    for (uint32_t i = 0; i < PAGES; i++)
        wire->batch[i] = read_of(wire, &wire->page_segment, 0);
    wire->batch[PAGES] = read_of(wire, &wire->header_segment, VERBS_FENCED | VERBS_SIGNALLED);
}

static void close_wire(struct wire *wire)
{
    for (uint32_t i = 0; i < wire->pair_count; i++)
        rig_disconnect(&wire->rig, &wire->pairs[i]);
    rig_memory_free(&wire->rig, &wire->pool);
    rig_memory_free(&wire->rig, &wire->landing);
    rig_close(&wire->rig);
    model_free(wire->rig.model);
}

/* The share of the wire that batches of 4 MiB payload and a fenced header fill, posted to the queue
 * pairs in turn, with two batches under way; the first has @first_pages. */
static double share_of_wire(uint32_t pair_count, uint32_t first_pages)
{
    struct verbs_completion done;
    struct wire wire;
    open_wire(&wire, pair_count, model_settings_default(0).landing_ns);
    uint64_t began_ns = model_now_ns(wire.rig.model);
    for (uint32_t i = 0; i < BATCHES; i++) {
        uint32_t skip = i == 0 ? PAGES - first_pages : 0;
        rig_post(&wire.rig, wire.pairs[i % pair_count].reader, wire.batch + skip, PAGES + 1 - skip);
        if (i > 0)
            rig_wait(&wire.rig, &done, 1);
    }
    rig_wait(&wire.rig, &done, 1);
    double ns = (double)(model_now_ns(wire.rig.model) - began_ns);
    close_wire(&wire);
    double bits = 8.0 * PAGE * (PAGES * (BATCHES - 1) + first_pages);
    return bits / ns / model_settings_default(0).gbit_per_s;
}

/* Two that begin together share the wire evenly, end together, and are silent together. */
static void the_fence_is_a_journey_of_silence(void **state)
{
    (void)state;
    double one = share_of_wire(1, PAGES / 2), in_step = share_of_wire(2, PAGES);
    double out_of_step = share_of_wire(2, PAGES / 2);
    print_message("# 128 KiB x 32 and a fenced header, share of the wire: one queue pair %.3f, two "
                  "in step %.3f, two out of step %.3f\n",
                  one, in_step, out_of_step);
    assert_true(one > 0.90 && one < 0.97); /* 84 us of payload, then 3 us of silence */
    assert_true(in_step < 0.975);
    assert_true(out_of_step > 0.98 && out_of_step <= 1.0);
}

static void latency_is_as_set(void **state)
{
    struct verbs_completion done;
    struct wire wire;
    (void)state;
    open_wire(&wire, 1, 0);
    struct verbs_read read = read_of(&wire, &wire.header_segment, VERBS_SIGNALLED);
    uint64_t began_ns = model_now_ns(wire.rig.model);
    rig_post(&wire.rig, wire.pairs[0].reader, &read, 1);
    rig_wait(&wire.rig, &done, 1);
    assert_in_range(model_now_ns(wire.rig.model) - began_ns, 3000, 3002);
    close_wire(&wire);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_fence_is_a_journey_of_silence),
        cmocka_unit_test(latency_is_as_set),
    };
    return cmocka_run_group_tests_name("model_figures", tests, NULL, NULL);
}
