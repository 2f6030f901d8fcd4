/* SPDX-License-Identifier: Apache-2.0 */
/* memory_room_test.c - /proc and /sys of machines and containers, made of small files. */
#include "io/memory_room.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <ftw.h>
#include <limits.h>
#include <sys/stat.h>

static char root[PATH_MAX / 2];

static int make_root(void **state)
{
    (void)state;
    strcpy(root, "/tmp/peercache-room-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status;
    (void)kind;
    (void)walk;
    return remove(path);
}

static int remove_root(void **state)
{
    (void)state;
    return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void put(const char *name, const char *text)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s%s", root, name);
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(path, 0700);
        *slash = '/';
    }
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void expect_room(uint64_t bytes, const char *limit)
{
    const char *ret_limit;
    assert_int_equal(memory_room_bytes(root, &ret_limit), bytes);
    assert_non_null(strstr(ret_limit, limit));
}

static void put_machine(void)
{
    put("/proc/meminfo", "MemTotal: 9000 kB\nMemFree: 10 kB\nMemAvailable:    8000 kB\n");
}

static void nothing_to_read_is_no_limit(void **state)
{
    (void)state;
    expect_room(UINT64_MAX, "machine");
    put("/proc/meminfo", "MemTotal: 9000 kB\n");
    expect_room(UINT64_MAX, "machine");
}

static void machine_counts_what_is_available(void **state)
{
    (void)state;
    put_machine();
    expect_room(8000 * 1024, "machine");
    put("/proc/self/cgroup", "0::/\n");
    expect_room(8000 * 1024, "machine");
    put("/proc/self/cgroup", "garbage\n\n:\n::\n1:cpu:/x\n0::nonsense\n");
    expect_room(8000 * 1024, "machine");
}

static void version2_counts_page_cache_as_free(void **state)
{
    (void)state;
    put_machine();
    put("/proc/self/cgroup", "0::/a.slice/b.scope\n");
    put("/sys/fs/cgroup/a.slice/b.scope/memory.max", "1000000\n");
    put("/sys/fs/cgroup/a.slice/b.scope/memory.current", "900000\n");
    expect_room(100000, "limit");
    put("/sys/fs/cgroup/a.slice/b.scope/memory.stat",
        "anon 1\ninactive_file 30000\nworkingset_active_file 7\nactive_file 20000\n");
    expect_room(150000, "limit");
    put("/sys/fs/cgroup/a.slice/b.scope/memory.current", "1200000\n");
    expect_room(0, "limit");
}

static void groups_above_count_too(void **state)
{
    (void)state;
    put_machine();
    put("/proc/self/cgroup", "0::/a.slice/b.scope\n");
    put("/sys/fs/cgroup/a.slice/b.scope/memory.max", "max\n");
    put("/sys/fs/cgroup/a.slice/b.scope/memory.current", "10\n");
    put("/sys/fs/cgroup/a.slice/memory.max", "70000\n");
    put("/sys/fs/cgroup/a.slice/memory.current", "20000\n");
    expect_room(50000, "limit");
}

/* The container's own group is the root of the mount, and the path is the host's. */
static void container_sees_its_group_at_the_mount(void **state)
{
    (void)state;
    put_machine();
    put("/proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/docker/0123\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "500000\n");
    put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "200000\n");
    put("/sys/fs/cgroup/memory/memory.stat", "inactive_file 9\ntotal_inactive_file 1000\n");
    expect_room(301000, "limit");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    expect_room(8000 * 1024, "machine");
}

static void this_machine_has_some(void **state)
{
    (void)state;
    const char *limit;
    assert_true(memory_room_bytes("", &limit) > 0);
}

int main(void)
{
#define IN_ROOT(test) cmocka_unit_test_setup_teardown(test, make_root, remove_root)
    const struct CMUnitTest tests[] = {
        IN_ROOT(nothing_to_read_is_no_limit),           IN_ROOT(machine_counts_what_is_available),
        IN_ROOT(version2_counts_page_cache_as_free),    IN_ROOT(groups_above_count_too),
        IN_ROOT(container_sees_its_group_at_the_mount), cmocka_unit_test(this_machine_has_some),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
