/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state_writer_test.c - what is kept gets written, and a directory that hangs holds nobody up.
 *
 * A file that hangs is played by a pipe with a name, that nobody reads: where the list of members
 * is written, since the seat's file is made anew and nothing that lies there is opened.
 */
#include "io/state_writer.h"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"

#define LONG_NS UINT64_C(10000000000)

static const struct id128 nobody;
static char folder[64], hanging[128];
static _Atomic uint32_t hangs_told, answers_told;
static struct state_writer *writer;

static void count_lines(void *context, enum log_level level, const char *line)
{
    (void)context, (void)level;
    atomic_fetch_add(&hangs_told, strstr(line, "event=state_dir_hangs") != NULL);
    atomic_fetch_add(&answers_told, strstr(line, "event=state_dir_answers") != NULL);
}

static int setup(void **state)
{
    static const struct log_sink sink = {.write = count_lines};
    char reason[STATE_DIR_REASON_BYTES];
    struct seat *seat;
    (void)state;
    log_set_sink(&sink);
    atomic_store(&hangs_told, 0);
    atomic_store(&answers_told, 0);
    strcpy(folder, "/tmp/peercache-state-XXXXXX");
    assert_non_null(mkdtemp(folder));
    assert_int_equal(seat_take(folder, nobody, &seat, reason), 0);
    snprintf(hanging, sizeof hanging, "%s/members.%d", folder, getpid());
    assert_int_equal(state_writer_new(folder, seat, &writer), 0);
    return 0;
}

static int teardown(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static void keep(uint64_t incarnation)
{
    struct seat_identity identity = {{1, 2}, incarnation};
    state_writer_keep_identity(writer, &identity);
}

static void keep_members_where_it_hangs(void)
{
    struct address service = {.host = "10.0.0.1", .port = 31998};
    assert_int_equal(mkfifo(hanging, 0600), 0);
    state_writer_keep_members(writer, &service, 1);
}

/* The seat that the writer had, once it has let go of it. */
static struct seat_identity await_seat(void)
{
    uint64_t until_ns = clock_now_ns() + LONG_NS;
    struct seat_identity identity = {nobody, 0};
    char reason[STATE_DIR_REASON_BYTES];
    const char *flaw = NULL;
    for (;; sched_yield()) {
        struct seat *seat;
        assert_true(clock_now_ns() < until_ns);
        assert_int_equal(seat_take(folder, nobody, &seat, reason), 0);
        bool is_it = strstr(seat_path(seat), "/0000") != NULL;
        if (is_it)
            (void)seat_read(seat, &identity, &flaw);
        seat_leave(seat);
        if (is_it)
            break;
    }
    assert_null(flaw);
    return identity;
}

static void what_is_kept_is_written_before_the_end(void **state)
{
    struct address service = {.host = "10.0.0.1", .port = 31998}, read[MEMBER_FILE_MAX];
    (void)state;
    keep(7);
    state_writer_keep_members(writer, &service, 1);
    keep(8);
    state_writer_stop(writer, LONG_NS);
    assert_int_equal(await_seat().incarnation, 8);
    assert_int_equal(member_file_read(folder, read), 1);
    assert_string_equal(read[0].host, "10.0.0.1");
}

static void nothing_to_keep_is_nothing_written(void **state)
{
    (void)state;
    state_writer_check(writer, clock_now_ns() + LONG_NS);
    state_writer_stop(writer, 0);
    assert_int_equal(await_seat().incarnation, 0);
    assert_int_equal(atomic_load(&hangs_told), 0);
}

/* A reader of the pipe: the call that hangs on it goes on, and fails. */
static void let_go_on(void)
{
    int fd = open(hanging, O_RDONLY | O_NONBLOCK);
    assert_true(fd >= 0);
    uint64_t until_ns = clock_now_ns() + LONG_NS;
    while (access(hanging, F_OK) == 0) {
        assert_true(clock_now_ns() < until_ns);
        sched_yield();
    }
    close(fd);
}

/* Asks until it is told: the thread may not have come to the file yet. */
static void await_hang(void)
{
    uint64_t until_ns = clock_now_ns() + LONG_NS;
    while (atomic_load(&hangs_told) == 0) {
        assert_true(clock_now_ns() < until_ns);
        state_writer_check(writer, clock_now_ns() + 2 * STATE_WRITER_PATIENCE_NS);
        sched_yield();
    }
}

static void hang_is_told_once_and_the_last_word_is_written_afterwards(void **state)
{
    (void)state;
    keep_members_where_it_hangs();
    state_writer_check(writer, clock_now_ns());
    assert_int_equal(atomic_load(&hangs_told), 0);
    await_hang();
    keep(8);
    keep(9);
    state_writer_check(writer, clock_now_ns() + 2 * STATE_WRITER_PATIENCE_NS);
    assert_int_equal(atomic_load(&hangs_told), 1);
    let_go_on();
    state_writer_stop(writer, LONG_NS);
    assert_int_equal(atomic_load(&answers_told), 1);
    assert_int_equal(await_seat().incarnation, 9);
}

/* It keeps the seat until then, so that nobody else sits in it. */
static void thread_that_hangs_is_left_behind(void **state)
{
    char reason[STATE_DIR_REASON_BYTES];
    struct seat *other;
    (void)state;
    keep_members_where_it_hangs();
    await_hang();
    state_writer_stop(writer, 0);
    assert_int_equal(seat_take(folder, nobody, &other, reason), 0);
    assert_null(strstr(seat_path(other), "/0000"));
    seat_leave(other);
    let_go_on();
    (void)await_seat();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_kept_is_written_before_the_end),
        TEST(nothing_to_keep_is_nothing_written),
        TEST(hang_is_told_once_and_the_last_word_is_written_afterwards),
        TEST(thread_that_hangs_is_left_behind),
    };
    return cmocka_run_group_tests_name("io/state_writer", tests, NULL, NULL);
}
