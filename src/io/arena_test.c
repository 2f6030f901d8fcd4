/* SPDX-License-Identifier: Apache-2.0 */
/* arena_test.c - the shape of the file, what its seals forbid, and files that are refused. */
#include "io/arena.h"
#include "io/test_fds.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SLOTS = 1000, MIB = 1 << 20 };
static const uint64_t payload_bytes = 3 * MIB + 64;
static const uint64_t all_bytes = 6 * MIB; /* 2 for the table, 4 for the payload */

/* Each test ends with as many descriptors as it began with. */
static int remember_fds(void **state)
{
    static uint32_t n;
    n = count_fds();
    *state = &n;
    return 0;
}

static int compare_fds(void **state)
{
    return count_fds() == *(uint32_t *)*state ? 0 : -1;
}

static struct arena make_arena(void)
{
    struct arena arena;
    char error[ARENA_ERROR_BYTES];
    assert_int_equal(arena_create(payload_bytes, SLOTS, &arena, error), 0);
    return arena;
}

static int exit_status(pid_t child)
{
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* Of a process of its own, whose limits it may change. */
static void assert_in_child(int (*holds)(void))
{
    pid_t child = fork();
    if (child == 0)
        _exit(holds());
    assert_int_equal(exit_status(child), 1);
}

static void headers_come_first_and_are_void(void **state)
{
    (void)state;
    struct arena arena = make_arena();
    assert_ptr_equal(arena.payload, (uint8_t *)arena.headers + 2 * MIB);
    assert_int_equal((uintptr_t)arena.headers % (2 * MIB), 0);
    assert_int_equal(arena.slot_count, SLOTS);
    assert_int_equal(arena.payload_bytes, payload_bytes);
    for (int i = 0; i < SLOTS; i++)
        assert_int_equal(arena.headers[i].word, 0);
    memset(arena.payload, 1, payload_bytes);
    assert_int_equal(arena.headers[SLOTS - 1].word, 0);
    assert_int_equal(lseek(arena.fd, 0, SEEK_END), all_bytes);
    arena_destroy(&arena);
    arena_destroy(&arena);
}

static void peer_sees_what_the_holder_writes(void **state)
{
    (void)state;
    struct arena arena = make_arena();
    struct arena_mapping mapping;
    assert_int_equal(arena_attach(arena.fd, payload_bytes, SLOTS, &mapping), 0);
    arena.payload[payload_bytes - 1] = 0x5a;
    arena.headers[SLOTS - 1].length_bytes = 77;
    assert_int_equal(mapping.payload[payload_bytes - 1], 0x5a);
    assert_int_equal(mapping.headers[SLOTS - 1].length_bytes, 77);
    arena_destroy(&arena);
    assert_int_equal(mapping.payload[payload_bytes - 1], 0x5a);
    arena_detach(&mapping);
    arena_detach(&mapping);
}

static int make_file(unsigned flags, uint64_t bytes, int seals)
{
    int fd = memfd_create("arena_test", flags | MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
    if (seals)
        assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

static bool kernel_knows(int seal)
{
    int fd = make_file(MFD_ALLOW_SEALING, MIB, 0);
    bool knows = fcntl(fd, F_ADD_SEALS, seal) == 0;
    close(fd);
    return knows;
}

static void seals_hold_against_a_peer(void **state)
{
    (void)state;
    struct arena arena = make_arena();
    struct arena_mapping mapping;
    assert_int_equal(ftruncate(arena.fd, MIB), -1);
    assert_int_equal(ftruncate(arena.fd, 16 * MIB), -1);
    assert_int_equal(fcntl(arena.fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
    assert_int_equal(fcntl(arena.fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    bool is_write_sealed = kernel_knows(F_SEAL_FUTURE_WRITE);
    if (is_write_sealed) {
        assert_ptr_equal(mmap(NULL, MIB, PROT_WRITE, MAP_SHARED, arena.fd, 0), MAP_FAILED);
        assert_int_equal(pwrite(arena.fd, "x", 1, 0), -1);
        const int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
        assert_int_equal(fallocate(arena.fd, punch, 0, MIB), -1);
    }
    assert_int_equal(arena_attach(arena.fd, payload_bytes, SLOTS, &mapping), 0);
    assert_int_equal(mprotect((void *)mapping.headers, 2 * MIB, PROT_READ | PROT_WRITE),
                     is_write_sealed ? -1 : 0);
    arena_detach(&mapping);
    arena_destroy(&arena);
}

static void sizes_that_are_not_the_file_are_refused(void **state)
{
    (void)state;
    const struct {
        uint64_t payload_bytes;
        uint32_t slot_count;
    } lies[] = {
        {payload_bytes + 2 * MIB, SLOTS},
        {payload_bytes - 2 * MIB, SLOTS},
        {payload_bytes, 40000},
        {0, SLOTS},
        {payload_bytes, 0},
        {UINT64_MAX, SLOTS},
        {UINT64_MAX - 2 * MIB + 1, SLOTS},
        {payload_bytes, UINT32_MAX},
        {ARENA_PAYLOAD_MAX_BYTES + 1, SLOTS},
    };
    struct arena arena = make_arena();
    struct arena_mapping mapping;
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++)
        assert_int_equal(
            arena_attach(arena.fd, lies[i].payload_bytes, lies[i].slot_count, &mapping), -EPROTO);
    arena_destroy(&arena);
}

static void file_that_could_shrink_is_refused(void **state)
{
    (void)state;
    struct arena_mapping mapping;
    const struct {
        unsigned flags;
        uint64_t bytes;
        int seals, error;
    } files[] = {
        {MFD_ALLOW_SEALING, all_bytes, 0, -EPERM},
        {0, all_bytes, 0, -EPERM},
        {MFD_ALLOW_SEALING, all_bytes, F_SEAL_GROW | F_SEAL_SEAL, -EPERM},
        {MFD_ALLOW_SEALING, 4 * MIB, F_SEAL_SHRINK | F_SEAL_SEAL, -EPROTO},
        {MFD_ALLOW_SEALING, 0, F_SEAL_SHRINK, -EPROTO},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        int fd = make_file(files[i].flags, files[i].bytes, files[i].seals);
        assert_int_equal(arena_attach(fd, payload_bytes, SLOTS, &mapping), files[i].error);
        close(fd);
    }
    int empty = make_file(MFD_ALLOW_SEALING, 0, F_SEAL_SHRINK);
    assert_int_equal(arena_attach(empty, 0, 0, &mapping), -EPROTO);
    close(empty);
    int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    assert_int_equal(arena_attach(fd, payload_bytes, SLOTS, &mapping), -EPERM);
    close(fd);
    assert_int_equal(arena_attach(-1, payload_bytes, SLOTS, &mapping), -EPERM);
}

static void absurd_sizes_are_refused_in_words(void **state)
{
    (void)state;
    struct arena arena;
    char error[ARENA_ERROR_BYTES];
    assert_int_equal(arena_create(0, SLOTS, &arena, error), -EINVAL);
    assert_non_null(strstr(error, "global_segment_size"));
    assert_int_equal(arena_create(payload_bytes, 0, &arena, error), -EINVAL);
    assert_int_equal(arena_create(ARENA_PAYLOAD_MAX_BYTES + 1, SLOTS, &arena, error), -EINVAL);
}

static void too_much_memory_says_how_much(void **state)
{
    (void)state;
    struct arena arena;
    char error[ARENA_ERROR_BYTES];
    assert_int_equal(arena_create(ARENA_PAYLOAD_MAX_BYTES, SLOTS, &arena, error), -ENOMEM);
    print_message("# %s\n", error);
    assert_non_null(strstr(error, "4096.00 GiB"));
    assert_non_null(strstr(error, "only"));
    assert_non_null(strstr(error, "global_segment_size"));
}

static int create_under_file_limit(void)
{
    struct arena arena;
    char error[ARENA_ERROR_BYTES];
    struct rlimit limit = {MIB, MIB};
    setrlimit(RLIMIT_FSIZE, &limit);
    return arena_create(payload_bytes, SLOTS, &arena, error) == -EFBIG && strstr(error, "ulimit");
}

static void file_limit_is_an_error_and_no_signal(void **state)
{
    (void)state;
    assert_in_child(create_under_file_limit);
}

static int create_without_fds(void)
{
    struct arena arena;
    char error[ARENA_ERROR_BYTES];
    struct rlimit limit = {3, 3};
    setrlimit(RLIMIT_NOFILE, &limit);
    return arena_create(payload_bytes, SLOTS, &arena, error) == -EMFILE &&
           strstr(error, "ulimit -n");
}

static void no_descriptor_is_an_error_in_words(void **state)
{
    (void)state;
    assert_in_child(create_without_fds);
}

/* Less than the pool may be mapped beyond what there is. */
static int create_without_addresses(void)
{
    struct arena arena;
    char error[ARENA_ERROR_BYTES];
    unsigned long pages = 0;
    FILE *sizes = fopen("/proc/self/statm", "r");
    if (!sizes || fscanf(sizes, "%lu", &pages) != 1)
        return 0;
    fclose(sizes);
    struct rlimit limit = {pages * 4096 + MIB, pages * 4096 + MIB};
    setrlimit(RLIMIT_AS, &limit);
    return arena_create(payload_bytes, SLOTS, &arena, error) == -ENOMEM &&
           strstr(error, "cannot make a pool") && strstr(error, "global_segment_size");
}

static void no_addresses_are_an_error_that_says_what_to_change(void **state)
{
    (void)state;
    assert_in_child(create_without_addresses);
}

static int maps_a_pool(void)
{
    char line[512];
    int found = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps && fgets(line, sizeof line, maps))
        found |= strstr(line, "memfd:peercache-pool") != NULL;
    fclose(maps);
    return found;
}

static void child_does_not_inherit_the_pool(void **state)
{
    (void)state;
    struct arena arena = make_arena();
    assert_int_equal(maps_a_pool(), 1);
    pid_t child = fork();
    if (child == 0)
        _exit(maps_a_pool());
    assert_int_equal(exit_status(child), 0);
    arena_destroy(&arena);
}

static void prefault_takes_the_memory(void **state)
{
    (void)state;
    struct arena arena = make_arena();
    unsigned char resident[2];
    int error = arena_prefault(&arena, UINT64_MAX);
    if (error == -EINVAL)
        skip(); /* A kernel before 5.14. */
    assert_int_equal(error, 0);
    assert_int_equal(mincore(arena.payload + 2 * MIB, 8192, resident), 0);
    assert_int_equal(resident[0] & resident[1] & 1, 1);
    arena_destroy(&arena);
}

static void a_hundred_times_leaves_nothing(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) {
        struct arena arena = make_arena();
        struct arena_mapping mapping;
        assert_int_equal(arena_attach(arena.fd, payload_bytes, SLOTS, &mapping), 0);
        arena_detach(&mapping);
        arena_destroy(&arena);
    }
}

int main(void)
{
#define COUNTED(test) cmocka_unit_test_setup_teardown(test, remember_fds, compare_fds)
    const struct CMUnitTest tests[] = {
        COUNTED(headers_come_first_and_are_void),
        COUNTED(peer_sees_what_the_holder_writes),
        COUNTED(seals_hold_against_a_peer),
        COUNTED(sizes_that_are_not_the_file_are_refused),
        COUNTED(file_that_could_shrink_is_refused),
        COUNTED(absurd_sizes_are_refused_in_words),
        COUNTED(too_much_memory_says_how_much),
        COUNTED(file_limit_is_an_error_and_no_signal),
        COUNTED(no_descriptor_is_an_error_in_words),
        COUNTED(no_addresses_are_an_error_that_says_what_to_change),
        COUNTED(child_does_not_inherit_the_pool),
        COUNTED(prefault_takes_the_memory),
        COUNTED(a_hundred_times_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
