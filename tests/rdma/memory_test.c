/* SPDX-License-Identifier: Apache-2.0 */
/* memory_test.c - io/rdma/memory.c on the model: slices, rails, refusals, and the end of a
 * range. */
#include "io/rdma/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "live.h"

enum { RAILS = 2, SLICES = 3 };
#define RANGE_BYTES (2 * CHAIN_SLICE_BYTES + 4096)

static struct model *model;
static struct live *live;
static struct verbs_device *devices[RAILS];
static struct memory *memory;
static uint8_t *bytes; /* address space; nothing touches it */
static char text[MEMORY_TEXT_BYTES];

static void open_all(void)
{
    struct model_settings settings = model_settings_default(1);
    model = model_new(&settings);
    live = live_new(model);
    const struct verbs *verbs = live_verbs(live);
    model_add_device(model, "model0", 1);
    model_add_device(model, "model1", 2);
    assert_int_equal(verbs->open(verbs, "model0", &devices[0]), 0);
    assert_int_equal(verbs->open(verbs, "model1", &devices[1]), 0);
    assert_int_equal(memory_new(verbs, devices, RAILS, &memory), 0);
    bytes = mmap(NULL, RANGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(bytes != MAP_FAILED);
}

static void close_all(void)
{
    const struct verbs *verbs = live_verbs(live);
    memory_free(memory);
    for (int i = 0; i < RAILS; i++)
        verbs->close(verbs, devices[i]);
    live_free(live);
    model_free(model);
    munmap(bytes, RANGE_BYTES);
}

static struct memory_range *add(uint32_t rights)
{
    struct memory_range *range = NULL;
    assert_int_equal(memory_add(memory, "test", bytes, RANGE_BYTES, rights, &range, text), 0);
    return range;
}

static void a_range_is_registered_in_slices_on_all_rails(void **state)
{
    uint32_t keys[RAILS][SLICES + 1];
    (void)state;
    open_all();
    struct memory_range *range = add(VERBS_REMOTE_READ);
    assert_int_equal(model_counts(model).memories, RAILS * SLICES);
    for (uint32_t rail = 0; rail < RAILS; rail++)
        assert_int_equal(memory_remote_keys(memory, bytes, rail, keys[rail], SLICES + 1), SLICES);
    assert_int_not_equal(keys[0][0], keys[1][0]);
    assert_int_not_equal(keys[0][0], keys[0][1]);
    assert_int_equal(memory_remote_keys(memory, bytes, 0, keys[0], 1), 1);
    assert_int_equal(memory_remote_keys(memory, bytes + 1, 0, keys[0], 1), 0);
    assert_null(memory_borrow(memory, bytes, 10)); /* nothing may land there */
    memory_remove(memory, range);
    assert_int_equal(model_counts(model).memories, 0);
    close_all();
}

static void bytes_over_two_slices_have_two_keys(void **state)
{
    struct verbs_segment segments[4];
    (void)state;
    open_all();
    struct memory_range *range = add(VERBS_LOCAL_WRITE);
    uint8_t *border = bytes + CHAIN_SLICE_BYTES;
    assert_ptr_equal(memory_borrow(memory, border - 100, 300), range);
    assert_null(memory_borrow(memory, bytes + RANGE_BYTES - 10, 11));
    assert_null(memory_borrow(memory, bytes - 1, 10));
    assert_int_equal(memory_cut(range, 0, border - 100, 300, segments, 4), 2);
    assert_int_equal(segments[0].len_bytes, 100);
    assert_int_equal(segments[1].len_bytes, 200);
    assert_true(segments[1].addr == (uintptr_t)border);
    assert_int_not_equal(segments[0].local_key, segments[1].local_key);
    assert_int_equal(memory_cut(range, 1, border, 300, segments + 2, 1), 1);
    assert_int_not_equal(segments[1].local_key, segments[2].local_key);
    assert_int_equal(memory_cut(range, 0, border - 100, 300, segments, 1), 0);
    memory_return(memory, range);
    memory_remove(memory, range);
    close_all();
}

static void a_refusal_half_way_is_undone(void **state)
{
    struct memory_range *range = NULL;
    (void)state;
    open_all();
    for (uint32_t after = 0; after < RAILS * SLICES; after++) {
        live_refuse_memory(live, after);
        assert_int_equal(
            memory_add(memory, "test", bytes, RANGE_BYTES, VERBS_LOCAL_WRITE, &range, text),
            -ENOMEM);
        assert_null(range);
        assert_int_equal(model_counts(model).memories, 0);
        assert_null(memory_borrow(memory, bytes, 10));
    }
    memory_remove(memory, add(VERBS_LOCAL_WRITE));
    close_all();
}

static void the_limit_is_named(void **state)
{
    struct rlimit limit, lower;
    struct memory_range *range;
    (void)state;
    open_all();
    live_refuse_memory(live, 2);
    getrlimit(RLIMIT_MEMLOCK, &limit);
    lower = limit;
    lower.rlim_cur = 8 << 20;
    setrlimit(RLIMIT_MEMLOCK, &lower);
    assert_int_equal(
        memory_add(memory, "the pool", bytes, RANGE_BYTES, VERBS_LOCAL_WRITE, &range, text),
        -ENOMEM);
    setrlimit(RLIMIT_MEMLOCK, &limit);
    assert_non_null(strstr(text, "the pool"));
    assert_non_null(strstr(text, "ulimit -l"));
    close_all();
}

static void there_is_a_most(void **state)
{
    struct memory_range *ranges[MEMORY_RANGES_MAX], *one_more;
    (void)state;
    open_all();
    for (uint32_t i = 0; i < MEMORY_RANGES_MAX; i++)
        assert_int_equal(
            memory_add(memory, "test", bytes + i, 1, VERBS_LOCAL_WRITE, &ranges[i], text), 0);
    assert_int_equal(memory_add(memory, "test", bytes, 1, VERBS_LOCAL_WRITE, &one_more, text),
                     -ENOSPC);
    for (uint32_t i = 0; i < MEMORY_RANGES_MAX; i++)
        memory_remove(memory, ranges[i]);
    close_all();
}

static void *remove_range(void *context)
{
    memory_remove(memory, context);
    return NULL;
}

static void an_end_waits_for_those_who_use_it(void **state)
{
    pthread_t thread;
    (void)state;
    open_all();
    struct memory_range *range = add(VERBS_LOCAL_WRITE), *again = range;
    assert_ptr_equal(memory_borrow(memory, bytes, 10), range);
    assert_int_equal(pthread_create(&thread, NULL, remove_range, range), 0);
    while (again) { /* until it has begun to end */
        again = memory_borrow(memory, bytes, 10);
        if (again)
            memory_return(memory, again);
    }
    assert_int_equal(model_counts(model).memories, RAILS * SLICES);
    memory_return(memory, range);
    pthread_join(thread, NULL);
    assert_int_equal(model_counts(model).memories, 0);
    close_all();
}

static void what_is_given_up_is_undone(void **state)
{
    struct memory_range *kept, *range = NULL;
    (void)state;
    open_all();
    kept = add(VERBS_LOCAL_WRITE);
    assert_true(memory_range_is_ready(kept, bytes, RANGE_BYTES));
    memory_give_up(memory);
    assert_int_equal(
        memory_add(memory, "test", bytes, RANGE_BYTES, VERBS_LOCAL_WRITE, &range, text),
        -ECANCELED);
    assert_null(range);
    assert_int_equal(model_counts(model).memories, RAILS * SLICES);
    assert_ptr_equal(memory_borrow(memory, bytes, 10), kept);
    memory_return(memory, kept);
    memory_remove(memory, kept);
    close_all();
}

struct adding {
    pthread_t thread;
    struct memory_range *range;
    int error;
};

static void *add_slowly(void *context)
{
    struct adding *adding = context;
    char why[MEMORY_TEXT_BYTES];
    adding->error =
        memory_add(memory, "test", bytes, RANGE_BYTES, VERBS_LOCAL_WRITE, &adding->range, why);
    return NULL;
}

/* While the device holds what is to be registered, it may be borrowed, and is not ready. */
static struct memory_range *begin_to_add(struct adding *adding)
{
    struct memory_range *borrowed;
    live_hold_memory(live, VERBS_LOCAL_WRITE);
    assert_int_equal(pthread_create(&adding->thread, NULL, add_slowly, adding), 0);
    while (!(borrowed = memory_borrow(memory, bytes, 10)))
        sched_yield();
    assert_false(memory_range_is_ready(borrowed, bytes, 10));
    return borrowed;
}

static void it_may_be_borrowed_before_it_is_ready(void **state)
{
    struct adding adding = {0};
    (void)state;
    open_all();
    struct memory_range *borrowed = begin_to_add(&adding);
    live_hold_memory(live, 0);
    pthread_join(adding.thread, NULL);
    assert_ptr_equal(borrowed, adding.range);
    assert_true(memory_range_is_ready(borrowed, bytes, 10));
    memory_return(memory, borrowed);
    memory_remove(memory, borrowed);
    close_all();
}

/* What is under way ends, and of the rest nothing is begun. */
static void what_is_given_up_half_way_is_undone(void **state)
{
    struct adding adding = {0};
    (void)state;
    open_all();
    memory_return(memory, begin_to_add(&adding));
    memory_give_up(memory);
    live_hold_memory(live, 0);
    pthread_join(adding.thread, NULL);
    assert_int_equal(adding.error, -ECANCELED);
    assert_int_equal(model_counts(model).memories, 0);
    close_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_range_is_registered_in_slices_on_all_rails),
        cmocka_unit_test(bytes_over_two_slices_have_two_keys),
        cmocka_unit_test(a_refusal_half_way_is_undone),
        cmocka_unit_test(the_limit_is_named),
        cmocka_unit_test(there_is_a_most),
        cmocka_unit_test(an_end_waits_for_those_who_use_it),
        cmocka_unit_test(what_is_given_up_is_undone),
        cmocka_unit_test(it_may_be_borrowed_before_it_is_ready),
        cmocka_unit_test(what_is_given_up_half_way_is_undone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
