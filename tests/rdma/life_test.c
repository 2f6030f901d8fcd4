/* SPDX-License-Identifier: Apache-2.0 */
/*
 * life_test.c - nodes with RDMA that come and go, and processes with RDMA that fork.
 *
 *     life_test [DEVICE [CYCLES]]
 *
 * Over the model, or over the device that is named.  A model knows no pages of an operating system,
 * so what a child may take away from an adapter shows on a device only.
 */
#include "nodes.h"

#include <malloc.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/sanitizer.h"

enum {
    PAGE_BYTES = 100000,
    PAGES = 20,
    WARM_CYCLES = 3, /* what is made once in a process is there then */
    CYCLES = 100,
    HEAP_SLACK_BYTES = 64 << 10,
    CHILDREN = 20,
    READS_LEAST = 40,
};

enum { HEAP_IS_COUNTED = !UNDER_ADDRESS_SANITIZER }; /* there the leak checker has the word */

static int cycles = CYCLES;

/* --- open and close --------------------------------------------------------------------------- */

/* What a process has from the system. */
struct holdings {
    long descriptors, threads, heap_bytes, pinned_kib;
};

/* Memory that devices hold in place. */
static long read_pinned_kib(void)
{
    FILE *file = fopen("/proc/self/status", "re");
    char line[256];
    long kib = -1;
    assert_non_null(file);
    while (kib < 0 && fgets(line, sizeof line, file))
        if (sscanf(line, "VmPin: %ld", &kib) != 1)
            kib = -1;
    fclose(file);
    return kib;
}

static struct holdings take_stock(void)
{
    return (struct holdings){test_count_entries("/proc/self/fd"),
                             test_count_entries("/proc/self/task"), (long)mallinfo2().uordblks,
                             read_pinned_kib()};
}

static void cycle(uint8_t *bytes)
{
    struct peercache_region *region;
    struct peercache_error error;
    nodes_open(&calm, "protocol=rdma");
    assert_int_equal(peercache_region_register(nodes[1], bytes, PAGE_BYTES, &region, &error), 0);
    set(1, PAGE_BYTES);
    get_by_rdma(1, bytes, PAGE_BYTES, 5);
    if (nodes_device)
        assert_true(read_pinned_kib() > 0);
    nodes_close();
}

static void nodes_come_and_go_without_a_trace(void **state)
{
    static uint8_t bytes[PAGE_BYTES];
    (void)state;
    for (int i = 0; i < WARM_CYCLES; i++)
        cycle(bytes);
    struct holdings before = take_stock();
    for (int i = 0; i < cycles; i++)
        cycle(bytes);
    struct holdings after = take_stock();
    print_message(
        "after %d cycles: descriptors %+ld, threads %+ld, heap %+ld bytes, pinned %ld KiB\n",
        cycles, after.descriptors - before.descriptors, after.threads - before.threads,
        after.heap_bytes - before.heap_bytes, after.pinned_kib);
    assert_int_equal(after.descriptors, before.descriptors);
    assert_int_equal(after.threads, before.threads);
    assert_int_equal(after.pinned_kib, 0);
    if (HEAP_IS_COUNTED)
        assert_true(after.heap_bytes - before.heap_bytes < HEAP_SLACK_BYTES);
}

/* --- fork ------------------------------------------------------------------------------------- */

/* Pages of its own that a child shares until one of both writes. */
static uint8_t *private_memory(struct peercache_region **ret_region)
{
    struct peercache_error error;
    uint8_t *bytes =
        mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(bytes != MAP_FAILED);
    assert_int_equal(peercache_region_register(nodes[1], bytes, PAGE_BYTES, ret_region, &error), 0);
    return bytes;
}

static void await_child(pid_t child)
{
    int status;
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void a_child_that_exits_takes_nothing_along(void **state)
{
    struct peercache_region *region;
    (void)state;
    nodes_open(&calm, "protocol=rdma");
    uint8_t *bytes = private_memory(&region);
    set(1, PAGE_BYTES);
    get_by_rdma(1, bytes, PAGE_BYTES, 5);
    for (int i = 0; i < CHILDREN; i++) {
        pid_t child = fork();
        if (child == 0) {
            peercache_node_close(nodes[i % 2]); /* the parent's: not touched */
            _exit(0);
        }
        await_child(child);
        get_by_rdma(1, bytes, PAGE_BYTES, 5);
    }
    assert_int_equal(counter(1, "peercache_rdma_completions_failed_total"), 0);
    assert_int_equal(counter(1, "peercache_rdma_pages_bounced_total"), 0);
    peercache_region_release(region);
    munmap(bytes, PAGE_BYTES);
    nodes_close();
}

struct reader {
    uint8_t *bytes;
    atomic_bool is_over;
    uint32_t hits, wrong;
};

static void *read_on(void *context)
{
    struct reader *reader = context;
    for (uint64_t i = 0; !atomic_load(&reader->is_over) || reader->hits < READS_LEAST; i++) {
        memset(reader->bytes, 0xee, PAGE_BYTES);
        if (call(1, i % PAGES, reader->bytes, PAGE_BYTES, 5, 10000).outcome != PEERCACHE_HIT)
            continue;
        reader->hits++;
        reader->wrong += !is_page(reader->bytes, i % PAGES, PAGE_BYTES);
    }
    return NULL;
}

/* Each child writes to all of the memory, and so does the parent, while a device writes there
 * too. */
static void a_child_that_writes_takes_no_bytes_away(void **state)
{
    struct peercache_region *region;
    struct reader reader = {0};
    pthread_t thread;
    (void)state;
    nodes_open(&calm, "protocol=rdma");
    reader.bytes = private_memory(&region);
    for (uint64_t i = 0; i < PAGES; i++)
        set(i, PAGE_BYTES);
    get_by_rdma(1, reader.bytes, PAGE_BYTES, 5);
    assert_int_equal(pthread_create(&thread, NULL, read_on, &reader), 0);
    for (int i = 0; i < CHILDREN; i++) {
        pid_t child = fork();
        if (child == 0) {
            for (int round = 0; round < 50; round++)
                memset(reader.bytes, round, PAGE_BYTES);
            _exit(0);
        }
        await_child(child);
    }
    atomic_store(&reader.is_over, true);
    pthread_join(thread, NULL);
    print_message("reads beside %d children: %u, wrong %u\n", CHILDREN, reader.hits, reader.wrong);
    assert_int_equal(reader.wrong, 0);
    assert_int_equal(counter(1, "peercache_rdma_pages_bounced_total"), 0);
    peercache_region_release(region);
    munmap(reader.bytes, PAGE_BYTES);
    nodes_close();
}

int main(int argc, char **argv)
{
    nodes_device = argc > 1 ? argv[1] : NULL;
    cycles = argc > 2 ? atoi(argv[2]) : CYCLES;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_child_that_exits_takes_nothing_along),
        cmocka_unit_test(a_child_that_writes_takes_no_bytes_away),
        cmocka_unit_test(nodes_come_and_go_without_a_trace),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
