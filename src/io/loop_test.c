/* SPDX-License-Identifier: Apache-2.0 */
/* loop_test.c - events, timers, tasks, and removal in the middle of a turn. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "io/loop.h"

struct end {
    struct loop_watch *watch, *victim;
    int fds[2];
    uint32_t events, calls;
};

static void on_end(void *context, uint32_t events)
{
    struct end *end = context;
    end->events = events;
    end->calls++;
    loop_remove(end->victim);
    end->victim = NULL;
}

static void end_init(struct end *end, struct loop *loop, uint32_t events)
{
    memset(end, 0, sizeof *end);
    assert_int_equal(pipe(end->fds), 0);
    assert_int_equal(loop_add(loop, end->fds[0], events, on_end, end, &end->watch), 0);
}

static void end_fini(struct end *end)
{
    close(end->fds[0]);
    close(end->fds[1]);
}

static void test_events(void **state)
{
    struct loop *loop = *state;
    struct end end;
    end_init(&end, loop, EPOLLIN);
    assert_int_equal(loop_run_once(loop, 0), 0);
    assert_int_equal(write(end.fds[1], "x", 1), 1);
    assert_int_equal(loop_run_once(loop, LOOP_FOREVER), 1);
    assert_int_equal(end.events, EPOLLIN);
    assert_int_equal(loop_modify(end.watch, 0), 0);
    assert_int_equal(loop_run_once(loop, 0), 0);
    assert_int_equal(loop_modify(end.watch, EPOLLIN), 0);
    assert_int_equal(loop_run_once(loop, 0), 1);
    loop_remove(end.watch);
    assert_int_equal(loop_run_once(loop, 0), 0);
    assert_int_equal(end.calls, 2);
    end_fini(&end);
}

/* Of two that are ready in one turn, whichever comes first removes the other. */
static void test_removal_in_a_callback(void **state)
{
    struct loop *loop = *state;
    struct end ends[2];
    for (int i = 0; i < 2; i++) {
        end_init(&ends[i], loop, EPOLLIN);
        assert_int_equal(write(ends[i].fds[1], "x", 1), 1);
    }
    ends[0].victim = ends[1].watch;
    ends[1].victim = ends[0].watch;
    assert_int_equal(loop_run_once(loop, 0), 1);
    assert_int_equal(ends[0].calls + ends[1].calls, 1);
    struct end *left = ends[0].calls == 1 ? &ends[0] : &ends[1];
    left->victim = left->watch;
    assert_int_equal(loop_run_once(loop, 0), 1);
    assert_int_equal(left->calls, 2);
    assert_int_equal(loop_run_once(loop, 0), 0);
    end_fini(&ends[0]);
    end_fini(&ends[1]);
}

struct alarm {
    struct loop_timer timer, *stops;
    struct loop *loop;
    uint32_t calls;
    uint64_t again_ns;
};

static void on_alarm(struct loop_timer *timer)
{
    struct alarm *alarm = (struct alarm *)timer;
    alarm->calls++;
    if (alarm->again_ns > 0)
        loop_set_timer(alarm->loop, timer, alarm->again_ns);
    if (alarm->stops != NULL)
        loop_set_timer(alarm->loop, alarm->stops, 0);
}

static void test_timers(void **state)
{
    struct loop *loop = *state;
    struct alarm first = {.timer.run = on_alarm, .loop = loop};
    struct alarm second = {.timer.run = on_alarm, .loop = loop};
    uint64_t begin_ns = clock_now_ns();
    loop_set_timer(loop, &first.timer, begin_ns + 3000000);
    loop_set_timer(loop, &second.timer, begin_ns + 5000000);
    loop_set_timer(loop, &second.timer, begin_ns + 4000000);
    while (second.calls == 0)
        assert_true(loop_run_once(loop, LOOP_FOREVER) >= 0);
    assert_true(clock_now_ns() >= begin_ns + 4000000);
    assert_int_equal(first.calls, 1);
    /* Two that are due at once, of which one stops the other, and one that sets itself again. */
    first.stops = &second.timer;
    second.stops = &first.timer;
    loop_set_timer(loop, &first.timer, 1);
    loop_set_timer(loop, &second.timer, 1);
    assert_int_equal(loop_run_once(loop, LOOP_FOREVER), 1);
    assert_int_equal(first.calls + second.calls, 3);
    first = (struct alarm){.timer.run = on_alarm, .loop = loop, .again_ns = 1};
    loop_set_timer(loop, &first.timer, 1);
    assert_true(loop_run_once(loop, LOOP_FOREVER) > 1);
    loop_set_timer(loop, &first.timer, 0);
    assert_int_equal(loop_run_once(loop, 0), 0);
}

static void test_timeout(void **state)
{
    struct loop *loop = *state;
    uint64_t begin_ns = clock_now_ns();
    assert_int_equal(loop_run_once(loop, 2500000), 0);
    assert_true(clock_now_ns() >= begin_ns + 2500000);
}

struct note {
    struct loop_task task;
    struct loop *loop;
    struct note *then;
    char *at, letter;
};

static char written[16];
static size_t written_len;

static void on_note(struct loop_task *task)
{
    struct note *note = (struct note *)task;
    written[written_len++] = note->letter;
    if (note->then != NULL)
        loop_defer(note->loop, &note->then->task);
}

static void test_tasks(void **state)
{
    struct loop *loop = *state;
    struct note c = {.task.run = on_note, .letter = 'c'};
    struct note b = {.task.run = on_note, .letter = 'b'};
    struct note a = {.task.run = on_note, .letter = 'a', .loop = loop, .then = &c};
    written_len = 0;
    loop_defer(loop, &a.task);
    loop_defer(loop, &b.task);
    loop_defer(loop, &a.task);
    assert_int_equal(loop_run_once(loop, 0), 0);
    assert_memory_equal(written, "abc", 3);
    loop_post(loop, &c.task);
    loop_post(loop, &b.task);
    loop_post(loop, &b.task);
    assert_int_equal(loop_run_once(loop, LOOP_FOREVER), 0);
    assert_memory_equal(written, "abccb", 5);
    assert_int_equal(written_len, 5);
}

enum { POSTERS = 4, POSTS = 500 };

struct poster {
    struct loop *loop;
    pthread_t thread;
};

static uint32_t posts_run;

static void on_post(struct loop_task *task)
{
    posts_run++;
    free(task);
}

static void *post_many(void *argument)
{
    struct poster *poster = argument;
    for (int i = 0; i < POSTS; i++) {
        struct loop_task *task = calloc(1, sizeof *task);
        task->run = on_post;
        loop_post(poster->loop, task);
    }
    return NULL;
}

/* Each posted task wakes the loop up and runs once; those of the end run when the loop is freed. */
static void test_posts_from_threads(void **state)
{
    struct loop *loop = *state, *other;
    struct poster posters[POSTERS];
    posts_run = 0;
    for (int i = 0; i < POSTERS; i++) {
        posters[i].loop = loop;
        assert_int_equal(pthread_create(&posters[i].thread, NULL, post_many, &posters[i]), 0);
    }
    while (posts_run < POSTERS * POSTS)
        assert_int_equal(loop_run_once(loop, LOOP_FOREVER), 0);
    for (int i = 0; i < POSTERS; i++)
        pthread_join(posters[i].thread, NULL);
    assert_int_equal(loop_new(&other), 0);
    posters[0].loop = other;
    post_many(&posters[0]);
    loop_free(other);
    assert_int_equal(posts_run, (POSTERS + 1) * POSTS);
}

static int setup(void **state)
{
    return loop_new((struct loop **)state);
}

static int teardown(void **state)
{
    loop_free(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_events, setup, teardown),
        cmocka_unit_test_setup_teardown(test_removal_in_a_callback, setup, teardown),
        cmocka_unit_test_setup_teardown(test_timers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_timeout, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tasks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_posts_from_threads, setup, teardown),
    };
    return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
