/* SPDX-License-Identifier: Apache-2.0 */
/* state_dir_test.c - seats: who gets which, what is kept, and what damage does. */
#include "io/state_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];
static char reason[STATE_DIR_REASON_BYTES];
static const struct id128 nobody, someone = {7, 8}, other = {9, 10};

static int setup(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/peercache-state-XXXXXX");
    reason[0] = 0;
    return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
    char command[192];
    (void)state;
    snprintf(command, sizeof command, "chmod -R u+w '%s'; rm -r '%s'", folder, folder);
    return system(command);
}

static struct seat *take(struct id128 wanted)
{
    struct seat *seat = NULL;
    int error = seat_take(folder, wanted, &seat, reason);
    if (error)
        fail_msg("%s", reason);
    return seat;
}

static unsigned number_of(const struct seat *seat)
{
    return (unsigned)strtoul(strrchr(seat_path(seat), '/') + 1, NULL, 10);
}

static void keep(struct seat *seat, struct id128 id, uint64_t incarnation)
{
    struct seat_identity identity = {id, incarnation};
    assert_int_equal(seat_write(seat, &identity), 0);
}

static void assert_keeps(const struct seat *seat, struct id128 id, uint64_t incarnation)
{
    struct seat_identity identity = {{0}, 0};
    const char *flaw;
    assert_true(seat_read(seat, &identity, &flaw));
    assert_null(flaw);
    assert_true(id128_equal(identity.node_id, id));
    assert_int_equal(identity.incarnation, incarnation);
}

/* Whether there was something that is not believed. */
static bool keeps_nothing(const struct seat *seat)
{
    struct seat_identity identity = {other, 77};
    const char *flaw;
    assert_false(seat_read(seat, &identity, &flaw));
    assert_true(id128_equal(identity.node_id, other));
    return flaw != NULL;
}

static void node_finds_its_own_seat_again(void **state)
{
    (void)state;
    strcat(folder, "/deep");
    struct seat *seat = take(nobody);
    assert_int_equal(number_of(seat), 0);
    assert_false(keeps_nothing(seat));
    keep(seat, someone, 5);
    keep(seat, someone, 6);
    seat_leave(seat);
    seat = take(nobody);
    assert_int_equal(number_of(seat), 0);
    assert_keeps(seat, someone, 6);
    seat_leave(seat);
    *strrchr(folder, '/') = 0;
}

static void nodes_of_one_process_keep_each_other_out(void **state)
{
    struct seat *seats[4];
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        seats[i] = take(nobody);
        assert_int_equal(number_of(seats[i]), i);
        keep(seats[i], (struct id128){1, i + 1}, 1);
    }
    seat_leave(seats[1]);
    seats[1] = take(nobody);
    assert_keeps(seats[1], (struct id128){1, 2}, 1);
    for (unsigned i = 0; i < 4; i++)
        seat_leave(seats[i]);
}

static void id_that_is_given_is_kept_in_the_seat_that_has_it(void **state)
{
    (void)state;
    struct seat *first = take(nobody), *second = take(someone);
    keep(first, other, 1);
    keep(second, someone, 2);
    assert_int_equal(number_of(second), 1);
    seat_leave(first);
    seat_leave(second);
    second = take(someone);
    assert_int_equal(number_of(second), 1);
    assert_keeps(second, someone, 2);
    /* Somebody sits in the one that has it: a new one, and not that of another. */
    struct seat *third = take(someone);
    assert_int_equal(number_of(third), 2);
    assert_false(keeps_nothing(third));
    seat_leave(second);
    seat_leave(third);
}

static void all_seats_are_taken(void **state)
{
    static struct seat *seats[STATE_DIR_SEATS_MAX];
    struct seat *seat;
    int n = 0, error;
    (void)state;
    while (n < STATE_DIR_SEATS_MAX && (error = seat_take(folder, nobody, &seats[n], reason)) == 0)
        n++;
    if (n < STATE_DIR_SEATS_MAX) { /* not so many descriptors here: that has a sentence too */
        assert_int_equal(error, -EMFILE);
    } else {
        assert_int_equal(seat_take(folder, nobody, &seat, reason), -EBUSY);
        assert_non_null(strstr(reason, "all seats are taken"));
        assert_non_null(strstr(reason, "256 at most: give another state_dir"));
    }
    while (n > 0)
        seat_leave(seats[--n]);
}

/* --- processes --- */

/* Sits in a seat until it is killed; says its number when it has written its identity. */
static pid_t sit(int says)
{
    pid_t child = fork();
    if (child != 0)
        return child;
    struct seat *seat;
    struct seat_identity identity = {{1, (uint64_t)getpid()}, 1};
    if (seat_take(folder, nobody, &seat, reason) != 0 || seat_write(seat, &identity) != 0)
        _exit(1);
    uint8_t number = (uint8_t)number_of(seat);
    if (write(says, &number, 1) != 1)
        _exit(2);
    for (;;)
        pause();
}

static void end(pid_t child)
{
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

static uint8_t hear(int from)
{
    uint8_t number = 0xff;
    assert_int_equal(read(from, &number, 1), 1);
    return number;
}

static void eight_at_once_get_eight(void **state)
{
    int pipes[2];
    pid_t children[8];
    uint32_t seen = 0;
    (void)state;
    assert_int_equal(pipe(pipes), 0);
    for (int round = 0; round < 5; round++, seen = 0) {
        for (int i = 0; i < 8; i++)
            children[i] = sit(pipes[1]);
        for (int i = 0; i < 8; i++)
            seen |= 1u << hear(pipes[0]);
        assert_int_equal(seen, 0xff);
        for (int i = 0; i < 8; i++)
            end(children[i]);
    }
    close(pipes[0]);
    close(pipes[1]);
}

static void seat_of_a_killed_one_is_free_at_once(void **state)
{
    int pipes[2];
    pid_t children[3];
    (void)state;
    assert_int_equal(pipe(pipes), 0);
    for (int i = 0; i < 3; i++) {
        children[i] = sit(pipes[1]);
        assert_int_equal(hear(pipes[0]), i);
    }
    pid_t killed = children[1];
    end(killed);
    struct seat *seat = take(nobody);
    assert_int_equal(number_of(seat), 1);
    assert_keeps(seat, (struct id128){1, (uint64_t)killed}, 1);
    seat_leave(seat);
    end(children[0]);
    end(children[2]);
    close(pipes[0]);
    close(pipes[1]);
}

/* Neither does a child keep the seat of its dead parent, nor does its end free that of a living. */
static void forked_child_has_no_part_in_the_seat(void **state)
{
    int pipes[2], lives[2];
    (void)state;
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(pipe(lives), 0);
    struct seat *seat = take(nobody);
    keep(seat, someone, 1);
    pid_t child = fork();
    if (child == 0) {
        uint8_t byte = 1;
        close(pipes[1]);
        _exit(write(lives[1], &byte, 1) == 1 && read(pipes[0], &byte, 1) == 1 ? 0 : 1);
    }
    close(pipes[0]);
    assert_int_equal(hear(lives[0]), 1);
    seat_leave(seat);
    seat = take(nobody); /* while the child lives */
    assert_int_equal(number_of(seat), 0);
    assert_int_equal(write(pipes[1], "x", 1), 1);
    assert_int_equal(waitpid(child, NULL, 0), child);
    struct seat *next = take(nobody);
    assert_int_equal(number_of(next), 1);
    seat_leave(next);
    seat_leave(seat);
    close(pipes[1]);
    close(lives[0]);
    close(lives[1]);
}

/* --- damage --- */

static void path_of(const char *name, char ret_path[128])
{
    snprintf(ret_path, 128, "%s/seats/0000/%s", folder, name);
}

static size_t load(char *ret_bytes, size_t size)
{
    char path[128];
    path_of("identity", path);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t len = fread(ret_bytes, 1, size, file);
    fclose(file);
    return len;
}

static void store(const char *bytes, size_t len)
{
    char path[128];
    path_of("identity", path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, len, file), len);
    fclose(file);
}

static void assert_not_believed(const char *bytes, size_t len)
{
    store(bytes, len);
    struct seat *seat = take(nobody);
    assert_int_equal(number_of(seat), 0);
    assert_true(keeps_nothing(seat));
    seat_leave(seat);
}

/* Cut short anywhere, one bit changed anywhere, something behind it, or nothing at all. */
static void damaged_file_is_never_an_identity(void **state)
{
    char good[512], bad[512];
    (void)state;
    struct seat *seat = take(nobody);
    keep(seat, someone, UINT64_C(1700000000000000));
    seat_leave(seat);
    size_t len = load(good, sizeof good);
    assert_in_range(len, 60, 256);
    for (size_t cut = 0; cut < len; cut++)
        assert_not_believed(good, cut);
    for (size_t at = 0; at < len; at++)
        for (int bit = 0; bit < 8; bit += 3) {
            memcpy(bad, good, len);
            bad[at] ^= (char)(1 << bit);
            assert_not_believed(bad, len);
        }
    memcpy(bad, good, len);
    bad[len] = '\n';
    assert_not_believed(bad, len + 1);
    memset(bad, 0, sizeof bad);
    assert_not_believed(bad, sizeof bad);
    store(good, len);
    seat = take(nobody);
    assert_keeps(seat, someone, UINT64_C(1700000000000000));
    seat_leave(seat);
    /* What was damaged is replaced. */
    assert_not_believed(bad, 3);
    seat = take(nobody);
    keep(seat, other, 3);
    seat_leave(seat);
    seat = take(nobody);
    assert_keeps(seat, other, 3);
    seat_leave(seat);
}

/* After a step back to an older build: the node is told apart from one with a broken disk. */
static void file_of_a_newer_version_is_called_so(void **state)
{
    static const char newer[] = "peercache seat, version 2\nnode 0001\nlife 77\n";
    struct seat_identity identity;
    const char *flaw = NULL;
    (void)state;
    seat_leave(take(nobody));
    store(newer, strlen(newer));
    struct seat *seat = take(nobody);
    assert_false(seat_read(seat, &identity, &flaw));
    assert_string_equal(flaw, "its file is of another version of peercache");
    seat_leave(seat);
    store("peercache", 9);
    seat = take(nobody);
    assert_false(seat_read(seat, &identity, &flaw));
    assert_string_equal(flaw, "its file is damaged");
    seat_leave(seat);
}

/* As after a crash between writing the new file and renaming it. */
static void half_written_new_file_changes_nothing(void **state)
{
    char path[128];
    (void)state;
    struct seat *seat = take(nobody);
    keep(seat, someone, 4);
    seat_leave(seat);
    path_of("identity.new", path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("peercache seat, ver", file);
    fclose(file);
    seat = take(nobody);
    assert_keeps(seat, someone, 4);
    keep(seat, someone, 5);
    assert_int_equal(access(path, F_OK), -1);
    seat_leave(seat);
}

/* Opening one waits for its other end. */
static void pipes_in_the_place_of_files_hang_nobody(void **state)
{
    char path[128];
    (void)state;
    seat_leave(take(nobody));
    path_of("identity", path);
    assert_int_equal(mkfifo(path, 0600), 0);
    path_of("identity.new", path);
    assert_int_equal(mkfifo(path, 0600), 0);
    struct seat *seat = take(nobody);
    assert_true(keeps_nothing(seat));
    keep(seat, someone, 4);
    seat_leave(seat);
    seat = take(nobody);
    assert_keeps(seat, someone, 4);
    seat_leave(seat);
}

/* Somebody removed the directory under a node that runs, and another one made it anew. */
static void seat_of_another_is_not_written(void **state)
{
    char command[192];
    struct seat_identity late = {someone, 5};
    (void)state;
    struct seat *first = take(nobody);
    keep(first, someone, 4);
    snprintf(command, sizeof command, "rm -r '%s/seats'", folder);
    assert_int_equal(system(command), 0);
    assert_int_equal(seat_write(first, &late), -ESTALE);
    struct seat *second = take(nobody);
    assert_int_equal(number_of(second), 0);
    keep(second, other, 1);
    assert_int_equal(seat_write(first, &late), -ESTALE);
    seat_leave(first);
    seat_leave(second);
    second = take(nobody);
    assert_keeps(second, other, 1);
    seat_leave(second);
}

static void number_that_no_clock_says_is_damage(void **state)
{
    (void)state;
    struct seat *seat = take(nobody);
    keep(seat, someone, STATE_DIR_INCARNATION_MAX + 1);
    seat_leave(seat);
    seat = take(nobody);
    assert_true(keeps_nothing(seat));
    seat_leave(seat);
}

/* --- directories that cannot be used --- */

static void assert_refused(const char *path, int error)
{
    struct seat *seat;
    assert_int_equal(seat_take(path, nobody, &seat, reason), error);
    assert_non_null(strstr(reason, "state_dir"));
    assert_non_null(strstr(reason, strerror(-error)));
}

static void what_cannot_be_a_directory_is_refused_with_a_sentence(void **state)
{
    char path[128];
    (void)state;
    snprintf(path, sizeof path, "%s/file", folder);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    assert_refused(path, -ENOTDIR);
    assert_refused("/proc/peercache", -ENOENT);
    static char too_long[5000];
    memset(too_long, 'x', sizeof too_long - 1);
    assert_refused(too_long, -ENAMETOOLONG);
    assert_non_null(strstr(reason, "use a shorter path"));
    too_long[300] = 0; /* that is the name of one folder */
    assert_refused(too_long, -ENAMETOOLONG);
    assert_non_null(strstr(reason, "use a shorter path"));
}

static void directory_that_is_read_only_is_refused(void **state)
{
    (void)state;
    if (geteuid() == 0)
        skip(); /* permissions mean nothing to root: tests/system has a read-only mount */
    assert_int_equal(chmod(folder, 0500), 0);
    assert_refused(folder, -EACCES);
}

static void disk_that_is_full_leaves_what_was_there(void **state)
{
    (void)state;
    struct seat *seat = take(nobody);
    keep(seat, someone, 4);
    /* What cannot be written: the new file's name is a folder. */
    char path[128];
    path_of("identity.new", path);
    assert_int_equal(mkdir(path, 0700), 0);
    struct seat_identity next = {someone, 5};
    assert_int_equal(seat_write(seat, &next), -EISDIR);
    seat_leave(seat);
    seat = take(nobody);
    assert_keeps(seat, someone, 4);
    seat_leave(seat);
}

/* --- copies --- */

static void copy_of_the_directory_is_another_place(void **state)
{
    char command[512], original[64];
    struct id128 boot = {3, 4}, later = {3, 5};
    (void)state;
    struct seat *seat = take(nobody);
    keep(seat, someone, 4);
    uint64_t place = seat_place(seat, boot);
    assert_int_not_equal(place, 0);
    assert_int_not_equal(place, seat_place(seat, later));
    seat_leave(seat);
    seat = take(nobody);
    assert_true(place == seat_place(seat, boot));
    snprintf(command, sizeof command,
             "cp -a '%s/seats' '%s/copy' && mkdir '%s/b' && "
             "mv '%s/copy' '%s/b/seats'",
             folder, folder, folder, folder, folder);
    assert_int_equal(system(command), 0);
    strcpy(original, folder);
    strcat(folder, "/b");
    struct seat *copy = take(nobody);
    strcpy(folder, original);
    assert_keeps(copy, someone, 4);
    assert_true(place != seat_place(copy, boot));
    seat_leave(copy);
    seat_leave(seat);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(node_finds_its_own_seat_again),
        TEST(nodes_of_one_process_keep_each_other_out),
        TEST(id_that_is_given_is_kept_in_the_seat_that_has_it),
        TEST(all_seats_are_taken),
        TEST(eight_at_once_get_eight),
        TEST(seat_of_a_killed_one_is_free_at_once),
        TEST(forked_child_has_no_part_in_the_seat),
        TEST(damaged_file_is_never_an_identity),
        TEST(file_of_a_newer_version_is_called_so),
        TEST(half_written_new_file_changes_nothing),
        TEST(pipes_in_the_place_of_files_hang_nobody),
        TEST(seat_of_another_is_not_written),
        TEST(number_that_no_clock_says_is_damage),
        TEST(what_cannot_be_a_directory_is_refused_with_a_sentence),
        TEST(directory_that_is_read_only_is_refused),
        TEST(disk_that_is_full_leaves_what_was_there),
        TEST(copy_of_the_directory_is_another_place),
    };
    return cmocka_run_group_tests_name("io/state_dir", tests, NULL, NULL);
}
