/* SPDX-License-Identifier: Apache-2.0 */
/*
 * contract.c - what verbs.h promises, asked of both sides that implement it.
 *
 *     contract                  the model
 *     contract READER HOLDER    libibverbs, on these devices; a port is taken down in a virtual
 *                               machine only, where d0 is READER's network interface
 *
 * So the model does as the kernel's soft-RoCE does, as far as both can be looked at.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "base/clock.h"
#include "io/rdma/module.h"
#include "rig.h"

enum { PAGE = 65536, DEPTH = 8 };

static const char *names[3] = {"model0", "model1", "model2"};
static bool is_real;

struct fixture {
    struct rig rig;
    struct rig_pair pair;
    struct rig_memory pool, landing;
};

static void open_world(const char *reader, const char *holder, struct rig *ret_rig)
{
    const struct verbs *verbs = NULL;
    char error[RDMA_MODULE_ERROR_BYTES];
    struct model *model = NULL;
    if (is_real) {
        if (rdma_module_open(&verbs, error) < 0)
            fail_msg("%s", error);
    } else {
        struct model_settings settings = model_settings_default(1);
        model = model_new(&settings);
        for (int i = 0; i < 3; i++)
            model_add_device(model, names[i], 1);
        verbs = model_verbs(model);
    }
    /* Linux 6.1 copies pinned pages for a child; an older kernel needs it before any memory. */
    assert_int_equal(verbs->prepare_fork(verbs), 0);
    rig_open(ret_rig, verbs, model, reader, holder);
}

static void close_world(struct rig *rig)
{
    rig_close(rig);
    if (rig->model)
        model_free(rig->model);
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    open_world(names[0], names[1], &fixture->rig);
    fixture->pair = rig_connect(&fixture->rig, DEPTH, 4);
    fixture->pool =
        rig_memory_new(&fixture->rig, &fixture->rig.holder, 4 * PAGE, VERBS_REMOTE_READ, 0);
    fixture->landing =
        rig_memory_new(&fixture->rig, &fixture->rig.reader, 4 * PAGE, VERBS_LOCAL_WRITE, 0xee);
    for (uint32_t i = 0; i < 4 * PAGE; i++)
        fixture->pool.bytes[i] = (uint8_t)(i * 2654435761u >> 24);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    if (fixture->pair.reader)
        rig_disconnect(&fixture->rig, &fixture->pair);
    rig_memory_free(&fixture->rig, &fixture->pool);
    rig_memory_free(&fixture->rig, &fixture->landing);
    close_world(&fixture->rig);
    free(fixture);
    return 0;
}

/* The read of the pool's page @page into the same page of the landing memory. */
static struct verbs_read read_page(const struct fixture *fixture, uint32_t page,
                                   struct verbs_segment *ret_segment, uint16_t flags)
{
    *ret_segment = rig_segment(&fixture->landing, (uint64_t)page * PAGE, PAGE);
    return (struct verbs_read){.id = 100 + page,
                               .remote_addr = (uintptr_t)fixture->pool.bytes + page * PAGE,
                               .remote_key = fixture->pool.keys.remote,
                               .segment_count = 1,
                               .flags = flags,
                               .segments = ret_segment};
}

/* --- reads that succeed ----------------------------------------------------------------------- */

static void bytes_are_scattered_over_segments(void **state)
{
    struct fixture *fixture = *state;
    const struct verbs_segment segments[] = {rig_segment(&fixture->landing, 3 * PAGE, 5000),
                                             rig_segment(&fixture->landing, 7, 1),
                                             rig_segment(&fixture->landing, PAGE, PAGE - 5001)};
    struct verbs_completion done;
    struct verbs_read read = read_page(fixture, 2, (struct verbs_segment[1]){{0}}, VERBS_SIGNALLED);
    read.segments = segments;
    read.segment_count = 3;
    rig_post(&fixture->rig, fixture->pair.reader, &read, 1);
    rig_wait(&fixture->rig, &done, 1);
    assert_int_equal(done.status, VERBS_OK);
    assert_int_equal(done.id, 102);
    assert_int_equal(done.queue_number, fixture->pair.made.number);
    const uint8_t *page = fixture->pool.bytes + 2 * PAGE, *landing = fixture->landing.bytes;
    assert_memory_equal(landing + 3 * PAGE, page, 5000);
    assert_int_equal(landing[7], page[5000]);
    assert_memory_equal(landing + PAGE, page + 5001, PAGE - 5001);
    assert_int_equal(landing[6], 0xee);
    assert_int_equal(landing[8], 0xee);
}

static void only_the_last_of_a_chain_is_reported(void **state)
{
    struct fixture *fixture = *state;
    struct verbs_segment segments[4];
    struct verbs_read reads[4];
    struct verbs_completion done[2];
    uint32_t n = 0;
    for (uint32_t i = 0; i < 4; i++)
        reads[i] = read_page(fixture, i, &segments[i], i == 3 ? VERBS_SIGNALLED | VERBS_FENCED : 0);
    for (int round = 0; round < 20; round++) {
        rig_post(&fixture->rig, fixture->pair.reader, reads, 4);
        rig_wait(&fixture->rig, done, 1);
        assert_int_equal(done->id, 103);
        assert_int_equal(done->status, VERBS_OK);
        assert_memory_equal(fixture->landing.bytes, fixture->pool.bytes, 4 * PAGE);
        memset(fixture->landing.bytes, round, 4 * PAGE);
    }
    const struct verbs *verbs = fixture->rig.verbs;
    assert_int_equal(verbs->poll(verbs, fixture->rig.reader.completions, done, 2, &n), 0);
    assert_int_equal(n, 0);
}

static void a_sleeper_is_woken(void **state)
{
    struct fixture *fixture = *state;
    const struct verbs *verbs = fixture->rig.verbs;
    struct verbs_completions *completions = fixture->rig.reader.completions;
    struct pollfd wait = {.fd = verbs->completions_fd(verbs, completions), .events = POLLIN};
    struct verbs_segment segment;
    struct verbs_completion done;
    struct verbs_read read = read_page(fixture, 0, &segment, VERBS_SIGNALLED);
    for (int round = 0; round < 3; round++) {
        assert_int_equal(verbs->arm(verbs, completions), 0);
        assert_int_equal(poll(&wait, 1, 0), 0);
        rig_post(&fixture->rig, fixture->pair.reader, &read, 1);
        while (poll(&wait, 1, 0) == 0)
            assert_true(rig_idle(&fixture->rig));
        verbs->woken(verbs, completions);
        rig_wait(&fixture->rig, &done, 1);
        assert_int_equal(poll(&wait, 1, 0), 0);
    }
}

/* --- reads that fail -------------------------------------------------------------------------- */

/* The read at place 1 of 3 fails with @status: the first may have succeeded silently, the last is
 * flushed, and so is what is posted afterwards. */
static void expect_failure(struct fixture *fixture, struct verbs_read reads[3],
                           enum verbs_status status)
{
    struct verbs_completion done[2];
    rig_post(&fixture->rig, fixture->pair.reader, reads, 3);
    rig_wait(&fixture->rig, done, 2);
    assert_int_equal(done[0].id, reads[1].id);
    assert_int_equal(done[0].status, status);
    assert_int_equal(done[1].id, reads[2].id);
    assert_int_equal(done[1].status, VERBS_FLUSHED);
    rig_post(&fixture->rig, fixture->pair.reader, &reads[2], 1);
    rig_wait(&fixture->rig, done, 1);
    assert_int_equal(done[0].status, VERBS_FLUSHED);
}

static void prepare(const struct fixture *fixture, struct verbs_read reads[3],
                    struct verbs_segment segments[3])
{
    for (uint32_t i = 0; i < 3; i++)
        reads[i] = read_page(fixture, i, &segments[i], i == 2 ? VERBS_SIGNALLED : 0);
}

static void a_wrong_key_is_refused(void **state)
{
    struct verbs_read reads[3];
    struct verbs_segment segments[3];
    prepare(*state, reads, segments);
    reads[1].remote_key ^= 0x5a00;
    expect_failure(*state, reads, VERBS_REMOTE_ACCESS);
}

static void a_place_behind_the_end_is_refused(void **state)
{
    struct verbs_read reads[3];
    struct verbs_segment segments[3];
    prepare(*state, reads, segments);
    reads[1].remote_addr += 4 * PAGE - 1;
    expect_failure(*state, reads, VERBS_REMOTE_ACCESS);
}

static void memory_without_the_right_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct verbs_read reads[3];
    struct verbs_segment segments[3];
    struct rig_memory secret =
        rig_memory_new(&fixture->rig, &fixture->rig.holder, PAGE, VERBS_LOCAL_WRITE, 1);
    prepare(fixture, reads, segments);
    reads[1].remote_addr = (uintptr_t)secret.bytes;
    reads[1].remote_key = secret.keys.remote;
    expect_failure(fixture, reads, VERBS_REMOTE_ACCESS);
    rig_memory_free(&fixture->rig, &secret);
}

static void memory_that_was_deregistered_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct verbs_read reads[3];
    struct verbs_segment segments[3];
    struct rig_memory gone =
        rig_memory_new(&fixture->rig, &fixture->rig.holder, PAGE, VERBS_REMOTE_READ, 1);
    prepare(fixture, reads, segments);
    reads[1].remote_addr = (uintptr_t)gone.bytes;
    reads[1].remote_key = gone.keys.remote;
    rig_memory_free(&fixture->rig, &gone);
    expect_failure(fixture, reads, VERBS_REMOTE_ACCESS);
}

static void memory_to_land_in_must_be_registered(void **state)
{
    struct verbs_read reads[3];
    struct verbs_segment segments[3];
    prepare(*state, reads, segments);
    segments[1].local_key ^= 0x5a00;
    expect_failure(*state, reads, VERBS_LOCAL_ACCESS);
}

static void a_peer_that_is_gone_is_unreachable(void **state)
{
    struct fixture *fixture = *state;
    const struct verbs *verbs = fixture->rig.verbs;
    struct verbs_segment segment;
    struct verbs_completion done;
    struct verbs_read read = read_page(fixture, 0, &segment, VERBS_SIGNALLED);
    assert_int_equal(verbs->queue_destroy(verbs, fixture->pair.holder), 0);
    fixture->pair.holder = NULL;
    rig_post(&fixture->rig, fixture->pair.reader, &read, 1);
    rig_wait(&fixture->rig, &done, 1);
    assert_int_equal(done.status, VERBS_UNREACHABLE);
    assert_int_equal(fixture->landing.bytes[0], 0xee);
}

/* --- bounds ----------------------------------------------------------------------------------- */

static void more_than_the_queue_holds_is_not_posted(void **state)
{
    struct fixture *fixture = *state;
    const struct verbs *verbs = fixture->rig.verbs;
    uint32_t depth = fixture->pair.made.depth, posted = 0;
    struct verbs_segment segment;
    struct verbs_read *reads = calloc(depth + 1, sizeof *reads);
    struct verbs_completion *done = calloc(depth + 1, sizeof *done);
    for (uint32_t i = 0; i <= depth; i++)
        reads[i] = read_page(fixture, 0, &segment, VERBS_SIGNALLED);
    fixture->rig.posted_ns = clock_now_ns();
    assert_int_equal(verbs->post(verbs, fixture->pair.reader, reads, depth + 1, &posted), -ENOMEM);
    assert_in_range(posted, 0, depth);
    rig_wait(&fixture->rig, done, posted);
    rig_post(&fixture->rig, fixture->pair.reader, reads, depth);
    rig_wait(&fixture->rig, done, depth);
    for (uint32_t i = 0; i < depth; i++)
        assert_int_equal(done[i].status, VERBS_OK);
    free(reads);
    free(done);
}

static void what_is_destroyed_writes_no_more(void **state)
{
    struct fixture *fixture = *state;
    struct verbs_segment segments[4];
    struct verbs_read reads[4];
    for (int round = 0; round < 20; round++) {
        for (uint32_t i = 0; i < 4; i++)
            reads[i] = read_page(fixture, i, &segments[i], 0);
        rig_post(&fixture->rig, fixture->pair.reader, reads, 4);
        for (int i = 0; i < 40 + round; i++)
            rig_idle(&fixture->rig);
        rig_disconnect(&fixture->rig, &fixture->pair);
        memset(fixture->landing.bytes, 0xee, 4 * PAGE);
        for (int i = 0; i < 1000; i++)
            rig_idle(&fixture->rig);
        for (uint32_t i = 0; i < 4 * PAGE; i++)
            if (fixture->landing.bytes[i] != 0xee)
                fail_msg("round %d: byte %u was written", round, i);
        fixture->pair = rig_connect(&fixture->rig, DEPTH, 4);
    }
}

static void paths_that_cannot_be_are_refused(void **state)
{
    struct fixture *fixture = *state;
    const struct verbs *verbs = fixture->rig.verbs;
    const struct verbs_queue_request request = {
        .completions = fixture->rig.reader.completions, .port = 1, .depth = 1, .segments = 1};
    struct verbs_queue *queue = NULL;
    struct verbs_queue_made made;
    struct verbs_path path = {.peer_number = fixture->pair.holder_number,
                              .is_global = true,
                              .gid_index = 99,
                              .mtu_bytes = 1024,
                              .reads_served = 1,
                              .reads_asked = 1,
                              .timeout_exponent = 12};
    memcpy(path.peer_gid, fixture->rig.holder.gid.bytes, VERBS_GID_BYTES);
    int error = verbs->queue_create(verbs, fixture->rig.reader.device, &request, &queue, &made);
    assert_int_equal(error, 0);
    assert_true(verbs->queue_connect(verbs, queue, &path) < 0);
    assert_int_equal(verbs->queue_destroy(verbs, queue), 0);
}

/* --- events, and the end ---------------------------------------------------------------------- */

static void set_port(struct fixture *fixture, bool is_up)
{
    if (fixture->rig.model)
        model_set_port(fixture->rig.model, names[0], is_up);
    else
        assert_int_equal(system(is_up ? "ip link set d0 up" : "ip link set d0 down"), 0);
}

static void expect_event(struct rig *rig, enum verbs_event_kind kind)
{
    struct verbs_device *device = rig->reader.device;
    struct pollfd wait = {.fd = rig->verbs->event_fd(rig->verbs, device), .events = POLLIN};
    struct verbs_event event = {.kind = VERBS_EVENT_OTHER};
    while (event.kind != kind) {
        assert_true(poll(&wait, 1, 10000) == 1);
        assert_int_equal(rig->verbs->next_event(rig->verbs, device, &event), 0);
    }
}

static void a_port_goes_down_and_comes_up(void **state)
{
    struct fixture *fixture = *state;
    struct verbs_port_info port;
    const struct verbs *verbs = fixture->rig.verbs;
    if (is_real && access("/sys/class/net/d0", F_OK) != 0) {
        print_message("SKIP: this machine may need the adapter's network\n");
        skip();
    }
    set_port(fixture, false);
    expect_event(&fixture->rig, VERBS_EVENT_PORT_DOWN);
    verbs->query_port(verbs, fixture->rig.reader.device, 1, &port);
    assert_int_not_equal(port.state, VERBS_PORT_ACTIVE);
    set_port(fixture, true);
    expect_event(&fixture->rig, VERBS_EVENT_PORT_UP);
    verbs->query_port(verbs, fixture->rig.reader.device, 1, &port);
    assert_int_equal(port.state, VERBS_PORT_ACTIVE);
    struct verbs_event event;
    while (verbs->next_event(verbs, fixture->rig.reader.device, &event) == 0)
        ;
}

/* Soft-RoCE of Linux 6.1 cannot be removed while somebody has it open: the removal waits. */
static void a_device_is_removed(void **state)
{
    struct rig rig;
    struct verbs_memory *memory;
    struct verbs_keys keys;
    uint8_t bytes[64];
    (void)state;
    if (is_real) {
        print_message("SKIP: soft-RoCE waits until nobody has the device open\n");
        skip();
    }
    open_world(names[2], names[2], &rig);
    model_remove_device(rig.model, names[2]);
    expect_event(&rig, VERBS_EVENT_DEVICE_FAILED);
    assert_int_equal(rig.verbs->memory_register(rig.verbs, rig.reader.device, bytes, sizeof bytes,
                                                VERBS_REMOTE_READ, &memory, &keys),
                     -EIO);
    close_world(&rig);
}

static uint32_t open_descriptors(void)
{
    uint32_t n = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (readdir(folder))
        n++;
    closedir(folder);
    return n;
}

static void a_hundred_lives_leave_nothing_open(void **state)
{
    uint32_t before = 0;
    (void)state;
    for (int i = 0; i < 101; i++) {
        void *one = NULL;
        setup(&one);
        teardown(&one);
        if (i == 0)
            before = open_descriptors();
    }
    assert_int_equal(open_descriptors(), before);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(bytes_are_scattered_over_segments),
        TEST(only_the_last_of_a_chain_is_reported),
        TEST(a_sleeper_is_woken),
        TEST(a_wrong_key_is_refused),
        TEST(a_place_behind_the_end_is_refused),
        TEST(memory_without_the_right_is_refused),
        TEST(memory_that_was_deregistered_is_refused),
        TEST(memory_to_land_in_must_be_registered),
        TEST(a_peer_that_is_gone_is_unreachable),
        TEST(more_than_the_queue_holds_is_not_posted),
        TEST(what_is_destroyed_writes_no_more),
        TEST(paths_that_cannot_be_are_refused),
        TEST(a_port_goes_down_and_comes_up),
        cmocka_unit_test(a_hundred_lives_leave_nothing_open),
        cmocka_unit_test(a_device_is_removed),
    };
    is_real = argc == 3;
    for (int i = 1; i < argc && is_real; i++)
        names[i - 1] = argv[i];
    return cmocka_run_group_tests_name(is_real ? "module" : "model", tests, NULL, NULL);
}
