/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hang_test.c - a node is closed while a call hangs, since the device does not let go of the call's
 * memory: close ends all the same, and what the call uses is still there when it goes on (it may
 * then end with the page, late).
 *
 * In a child, because what is not freed stays until the process ends.
 */
#include "apart.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CLOSE_MS = 10000, LATE_MS = 5000, CHILD_LIVES_S = 60 };

/* What is left behind has threads that have ended and are joined by nobody. */
__attribute__((visibility("default"))) const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "report_thread_leaks=0";
}

static atomic_bool has_returned;

static void *call_once(void *context)
{
    struct peercache_result *result = context;
    *result = call(1, 1, bytes, BYTES, 4, 200);
    atomic_store(&has_returned, true);
    return NULL;
}

static void hold(bool holds)
{
    live_lock(live);
    model_hold_queues(model, the_link(0)->rail->name, holds ? UINT32_MAX : 0);
    live_unlock(live);
    live_freeze(live, holds);
}

static bool closes_in_time(void)
{
    uint64_t from_ns = clock_now_ns();
    peercache_node_close(nodes[1]);
    uint64_t took_ms = elapsed_ms(from_ns);
    return took_ms > CLOSE_MS - 1000 && took_ms < CLOSE_MS + LATE_MS;
}

/* NULL, or what went wrong. */
static const char *close_under_a_call(void)
{
    static struct peercache_result result;
    pthread_t thread;
    open_apart("protocol=rdma");
    get_by_rdma(1, bytes, BYTES, 4);
    hold(true);
    if (pthread_create(&thread, NULL, call_once, &result) != 0)
        return "no thread";
    poll(NULL, 0, 1000);
    if (atomic_load(&has_returned))
        return "the call did not wait for its device";
    if (!closes_in_time())
        return "close did not end in its time";
    if (atomic_load(&has_returned))
        return "the call returned while the device had its memory";
    hold(false);
    pthread_join(thread, NULL);
    return result.outcome == PEERCACHE_HIT && !is_page(bytes, 1, BYTES) ? "wrong bytes" : NULL;
}

/* The call has ended, and the driver still makes its link. */
static const char *close_under_an_opening(void)
{
    open_apart("protocol=rdma");
    live_slow_connects(live, PAIR_MAX, 2 * CHILD_LIVES_S * 1000); /* the holder's are not */
    if (call(1, 1, bytes, BYTES, 4, 300).outcome == PEERCACHE_HIT)
        return "there is another way";
    return closes_in_time() ? NULL : "close did not end in its time";
}

static void run_in_child(const char *(*run)(void))
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        alarm(CHILD_LIVES_S);
        const char *wrong = run();
        if (wrong)
            fprintf(stderr, "%s\n", wrong);
        _exit(wrong ? 1 : 0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void close_ends_though_a_call_does_not(void **state)
{
    (void)state;
    run_in_child(close_under_a_call);
}

static void close_ends_though_a_link_is_in_the_making(void **state)
{
    (void)state;
    run_in_child(close_under_an_opening);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(close_ends_though_a_call_does_not),
        cmocka_unit_test(close_ends_though_a_link_is_in_the_making),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
