/* SPDX-License-Identifier: Apache-2.0 */
/*
 * far.c - two nodes on two machines: the link is cut in the middle of a read and heals, and at last
 * the holder is killed in the middle of one.
 *
 *     far hold DEVICE OWN HEAD       sets the pages; cuts its link for a while, or kills itself,
 *                                    when it is told to
 *     far read DEVICE OWN HEAD       reads them by RDMA, has that done under a call, and watches the
 *                                    call's time and, after it, its memory
 *
 * DEVICE stands on the interface eth0, OWN and HEAD are the addresses of this node and of the
 * holder, who is told what to do by datagrams.
 */
#include <net/if.h>
#include <signal.h>
#include <sys/ioctl.h>

#include "nodes.h"

enum {
    PAGES = 16,
    BYTES = 512 << 10,
    TELL_PORT = 7099,
    CUT_MS = 2500,
    WATCH_MS = CUT_MS + 1000, /* from the call's end: beyond the heal */
    LATE_MS = 500,            /* allowed on an emulated machine that others load */
    AGAIN_S = 120,
};

static uint8_t bytes[PAGES * BYTES];
static char **words;

static struct peercache_node *open_far(void)
{
    char device[64], own[64], head[64];
    snprintf(device, sizeof device, "device_names=%s", words[2]);
    snprintf(own, sizeof own, "local_hostname=%s", words[3]);
    snprintf(head, sizeof head, "discovery_addr=%s", words[4]);
    return test_open((const char *const[]){device, own, head, "bind_host=0.0.0.0",
                                           "global_segment_size=64mb", "heartbeat_interval=500ms",
                                           "member_ttl=10", "ring_grace=30", "hot_pages=false",
                                           "log_level=info", NULL});
}

static void await_both(struct peercache_node *node)
{
    uint64_t until_ns = clock_now_ns() + AGAIN_S * CLOCK_NS_PER_S;
    while (test_status(node, "directory", "ring_nodes") != 2 ||
           test_status(node, "directory", "is_complete") != 1) {
        assert_true(clock_now_ns() < until_ns);
        poll(NULL, 0, 100);
    }
}

/* --- the holder ------------------------------------------------------------------------------- */

static int tell_socket(bool is_holder)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(TELL_PORT)};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(inet_pton(AF_INET, words[4], &name.sin_addr), 1);
    int error = is_holder ? bind(fd, (struct sockaddr *)&name, sizeof name)
                          : connect(fd, (struct sockaddr *)&name, sizeof name);
    assert_int_equal(error, 0);
    return fd;
}

/* Not by a program, whose start would take longer than the read. */
static void set_link(bool is_up)
{
    struct ifreq request = {.ifr_name = "eth0"};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(ioctl(fd, SIOCGIFFLAGS, &request), 0);
    request.ifr_flags = (short)((request.ifr_flags & ~IFF_UP) | (is_up ? IFF_UP : 0));
    assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &request), 0);
    close(fd);
}

static void cut_own_link(void)
{
    set_link(false);
    poll(NULL, 0, CUT_MS);
    set_link(true);
}

static void obey(int fd)
{
    char order[8] = "";
    for (;;) {
        struct pollfd at = {fd, POLLIN, 0};
        assert_int_equal(poll(&at, 1, 4 * AGAIN_S * 1000), 1);
        assert_int_equal(recv(fd, order, 3, 0), 3);
        if (strcmp(order, "cut") == 0)
            cut_own_link();
        if (strcmp(order, "die") == 0)
            raise(SIGKILL);
    }
}

static void hold(void **state)
{
    (void)state;
    nodes[0] = open_far();
    spaces[0] = test_namespace(nodes[0], "a=1");
    await_both(nodes[0]);
    int fd = tell_socket(true);
    for (uint64_t i = 0; i < PAGES; i++)
        set(i, BYTES);
    obey(fd);
}

/* --- the reader ------------------------------------------------------------------------------- */

struct outcome {
    uint32_t hits, wrong, by_rdma;
    uint64_t took_ms;
};

static uint64_t past_ms(uint64_t from_ns)
{
    return (clock_now_ns() - from_ns) / CLOCK_NS_PER_MS;
}

static struct outcome read_pages(uint32_t n, uint32_t timeout_ms)
{
    struct peercache_result results[PAGES];
    struct outcome outcome = {0};
    uint64_t from_ns = clock_now_ns();
    get_batch(0, 1, n, bytes, BYTES, timeout_ms, results);
    outcome.took_ms = past_ms(from_ns);
    for (uint32_t i = 0; i < n; i++) {
        bool is_hit = results[i].outcome == PEERCACHE_HIT;
        outcome.hits += is_hit;
        outcome.by_rdma += is_hit && results[i].via == PEERCACHE_VIA_RDMA;
        outcome.wrong += is_hit && !is_page(bytes + (size_t)i * BYTES, i, BYTES);
    }
    assert_int_equal(outcome.wrong, 0);
    return outcome;
}

/* Until a call brings all pages, by whatever way, and then until a page comes by RDMA. */
static void await_pages(const char *when)
{
    uint64_t from_ns = clock_now_ns();
    while (read_pages(PAGES, 20000).hits < PAGES)
        assert_true(past_ms(from_ns) < AGAIN_S * 1000);
    uint64_t whole_ms = past_ms(from_ns);
    while (read_pages(1, 20000).by_rdma == 0) {
        assert_true(past_ms(from_ns) < AGAIN_S * 1000);
        poll(NULL, 0, 50);
    }
    print_message("%s: all pages after %llu ms, by RDMA after %llu ms; so far %lld links opened, "
                  "%lld refused, %lld queue pairs broken\n",
                  when, (unsigned long long)whole_ms, (unsigned long long)past_ms(from_ns),
                  counter(1, "peercache_rdma_links_opened_total"),
                  counter(1, "peercache_rdma_links_failed_total"),
                  counter(1, "peercache_rdma_queue_pairs_broken_total"));
}

/* What is done in the middle of a read: an order for the holder, or NULL: the own link is cut. */
struct blow {
    pthread_t thread;
    const char *order;
    int fd;
};

/* As soon as a byte has landed. */
static void *strike(void *context)
{
    const struct blow *blow = context;
    const volatile uint8_t *first = bytes;
    while (*first == 0xab)
        poll(NULL, 0, 1);
    if (blow->order)
        assert_int_equal(send(blow->fd, blow->order, 3, 0), 3);
    else
        cut_own_link();
    return NULL;
}

static void watch(uint64_t for_ms)
{
    uint64_t until_ns = clock_now_ns() + for_ms * CLOCK_NS_PER_MS;
    while (clock_now_ns() < until_ns) {
        assert_true(is_poison(bytes, sizeof bytes));
        poll(NULL, 0, 50);
    }
    assert_true(is_poison(bytes, sizeof bytes));
}

static void strike_under_a_call(const char *what, const char *order, int fd, uint32_t timeout_ms)
{
    struct blow blow = {.order = order, .fd = fd};
    struct outcome outcome;
    memset(bytes, 0xab, sizeof bytes);
    assert_int_equal(pthread_create(&blow.thread, NULL, strike, &blow), 0);
    do /* one more, where a call was whole before it came to that */
        outcome = read_pages(PAGES, timeout_ms);
    while (outcome.hits == PAGES);
    memset(bytes, 0xab, sizeof bytes);
    watch(WATCH_MS);
    pthread_join(blow.thread, NULL);
    print_message("%s, %u ms for the call: %llu ms, %u of %u pages, %u wrong; memory untouched for "
                  "%u ms\n",
                  what, timeout_ms, (unsigned long long)outcome.took_ms, outcome.hits, PAGES,
                  outcome.wrong, WATCH_MS);
    assert_true(outcome.took_ms < timeout_ms + LATE_MS);
}

static void pages_come_or_are_misses_in_time(void **state)
{
    struct peercache_region *region;
    struct peercache_error error;
    (void)state;
    nodes[1] = open_far();
    spaces[1] = test_namespace(nodes[1], "a=1");
    assert_int_equal(peercache_region_register(nodes[1], bytes, sizeof bytes, &region, &error), 0);
    await_both(nodes[1]);
    int fd = tell_socket(false);
    await_pages("at first");
    strike_under_a_call("cut at the holder", "cut", fd, 2000); /* the queue pairs are given up */
    await_pages("after the heal");
    strike_under_a_call("cut at the holder", "cut", fd, 400); /* the deadline takes them */
    await_pages("after the heal");
    strike_under_a_call("cut at the reader", NULL, fd, 2000);
    await_pages("after the heal");
    assert_true(counter(1, "peercache_rdma_queue_pairs_broken_total") > 0);
    strike_under_a_call("holder killed", "die", fd, 2000);
    close(fd);
    peercache_node_close(nodes[1]);
}

int main(int argc, char **argv)
{
    words = argv;
    if (argc != 5)
        return 2;
    const struct CMUnitTest holder[] = {cmocka_unit_test(hold)};
    const struct CMUnitTest reader[] = {cmocka_unit_test(pages_come_or_are_misses_in_time)};
    return strcmp(argv[1], "hold") == 0 ? cmocka_run_group_tests(holder, setup, NULL)
                                        : cmocka_run_group_tests(reader, setup, NULL);
}
