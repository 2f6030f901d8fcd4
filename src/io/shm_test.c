/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shm_test.c - two processes, and strangers at the socket.
 *
 * The holder is a forked child with a pool of one page; what it does wrong, if anything, is told by
 * a struct.  It ends when the parent closes its end of a pipe.
 */
#include "io/shm.h"

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
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "io/copy.h"
#include "io/host_id.h"
#include "io/shm_read.h"
#include "io/test_fds.h"

enum { SLOTS = 4, PAYLOAD_BYTES = 1 << 20, PAGE_BYTES = 100001, NOBODY = 65534, PATIENCE_S = 30 };

static struct shm_identity self;
static char reason[SHM_REASON_BYTES];

static uint64_t deadline(void)
{
    return clock_now_ns() + PATIENCE_S * UINT64_C(1000000000);
}

/* --- the holder ----------------------------------------------------------------------------- */

/* What the child offers instead of the truth. */
struct lie {
    uint64_t payload_bytes;
    bool is_unsealed;
};

struct holder {
    pid_t pid;
    int stop_fd;
};

static void fill_page(struct arena *arena)
{
    struct slot_header *header = &arena->headers[1];
    slot_word_fill(&header->word, 5);
    slot_word_copy_begin();
    for (int i = 0; i < PAGE_BYTES; i++)
        arena->payload[64 + i] = (uint8_t)(i * 7);
    header->digest = self.node_id;
    header->offset_bytes = 64;
    header->length_bytes = PAGE_BYTES;
    header->checksum = copy_checksum(arena->payload + 64, PAGE_BYTES);
    slot_word_copy_end();
    slot_word_seal(&header->word, 5);
}

static struct arena distort(struct arena arena, const struct lie *lie)
{
    if (lie->payload_bytes)
        arena.payload_bytes = lie->payload_bytes;
    if (lie->is_unsealed) {
        arena.fd = memfd_create("shm_test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (ftruncate(arena.fd, 4 << 20) < 0)
            _exit(3);
    }
    return arena;
}

static void hold(int ready_fd, int stop_fd, const struct lie *lie)
{
    struct arena arena;
    struct shm_listener *listener;
    char error[ARENA_ERROR_BYTES];
    if (arena_create(PAYLOAD_BYTES, SLOTS, &arena, error) || shm_listener_open(&self, &listener))
        _exit(2);
    fill_page(&arena);
    struct arena offered = distort(arena, lie);
    if (write(ready_fd, "r", 1) != 1)
        _exit(2);
    struct pollfd fds[] = {{shm_listener_fd(listener), POLLIN, 0}, {stop_fd, POLLIN, 0}};
    while (poll(fds, 2, PATIENCE_S * 1000) > 0 && !fds[1].revents)
        shm_listener_accept(listener, &offered);
    shm_listener_close(listener);
    arena_destroy(&arena);
    _exit(0);
}

static struct holder start_holder(struct lie lie)
{
    int ready[2], stop[2];
    char byte;
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    assert_int_equal(pipe2(stop, O_CLOEXEC), 0);
    struct holder holder = {.pid = fork(), .stop_fd = stop[1]};
    if (holder.pid == 0) {
        close(stop[1]);
        close(ready[0]);
        hold(ready[1], stop[0], &lie);
    }
    close(ready[1]);
    close(stop[0]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return holder;
}

static int wait_child(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void stop_holder(struct holder holder)
{
    close(holder.stop_fd);
    assert_int_equal(wait_child(holder.pid), 0);
}

/* --- the reader ----------------------------------------------------------------------------- */

static int attach(struct shm_identity peer, struct arena_mapping *ret_arena)
{
    reason[0] = 0;
    return shm_attach(&peer, self.boot_id, deadline(), ret_arena, reason);
}

static void assert_page_reads(const struct arena_mapping *arena)
{
    static uint8_t page[PAGE_BYTES];
    const struct peercache_segment segments[] = {{page, 1}, {page + 1, PAGE_BYTES - 1}};
    struct shm_read read = {
        .expected = {self.node_id, 5, 64, PAGE_BYTES},
        .slot = 1,
        .segments = segments,
        .segment_count = 2,
        .deadline_ns = deadline(),
        .verify_checksum = true,
    };
    enum shm_stop stop;
    memset(page, 0, sizeof page);
    assert_int_equal(shm_read_page(arena, &read, &stop), 0);
    for (int i = 0; i < PAGE_BYTES; i++)
        assert_int_equal(page[i], (uint8_t)(i * 7));
}

/* Every test has a node of its own, and ends with as many descriptors as it began with. */
static int set_up(void **state)
{
    static uint32_t fds;
    fds = count_fds();
    *state = &fds;
    self.incarnation++;
    self.cluster = 99;
    return host_id_random(&self.node_id) || host_id_boot(HOST_ID_BOOT_PATH, &self.boot_id);
}

static int tear_down(void **state)
{
    return count_fds() == *(uint32_t *)*state ? 0 : -1;
}

/* --- two processes -------------------------------------------------------------------------- */

static void page_of_another_process_is_read(void **state)
{
    (void)state;
    struct holder holder = start_holder((struct lie){0});
    struct arena_mapping arena;
    assert_int_equal(attach(self, &arena), 0);
    assert_int_equal(arena.slot_count, SLOTS);
    assert_int_equal(arena.payload_bytes, PAYLOAD_BYTES);
    assert_page_reads(&arena);
    arena_detach(&arena);
    stop_holder(holder);
}

static void pool_of_a_killed_process_stays_readable(void **state)
{
    (void)state;
    struct holder holder = start_holder((struct lie){0});
    struct arena_mapping arena, again;
    assert_int_equal(attach(self, &arena), 0);
    kill(holder.pid, SIGKILL);
    assert_int_equal(wait_child(holder.pid), 128 + SIGKILL);
    close(holder.stop_fd);
    assert_page_reads(&arena);
    arena_detach(&arena);
    assert_int_equal(attach(self, &again), -ECONNREFUSED);
}

static void a_hundred_readers_leave_nothing(void **state)
{
    (void)state;
    struct holder holder = start_holder((struct lie){0});
    for (int i = 0; i < 100; i++) {
        struct arena_mapping arena;
        assert_int_equal(attach(self, &arena), 0);
        arena_detach(&arena);
    }
    stop_holder(holder);
}

/* --- who is not let in, and who is not believed --------------------------------------------- */

static void expect_refusal(struct shm_identity peer, int error, const char *why)
{
    struct arena_mapping arena;
    assert_int_equal(attach(peer, &arena), error);
    if (!strstr(reason, why))
        fail_msg("the reason is: %s", reason);
}

static void unknown_peers_are_refused_with_a_reason(void **state)
{
    (void)state;
    struct holder holder = start_holder((struct lie){0});
    struct shm_identity peer = self;
    peer.incarnation++;
    expect_refusal(peer, -ECONNREFUSED, "no such socket");
    peer = self;
    peer.node_id.lo ^= 1;
    expect_refusal(peer, -ECONNREFUSED, "no such socket");
    peer = self;
    peer.boot_id.lo ^= 1;
    expect_refusal(peer, -EHOSTUNREACH, "another host");
    peer = self;
    peer.cluster++;
    expect_refusal(peer, -EPROTO, "another cluster");
    stop_holder(holder);
}

static void boot_id_of_the_offer_counts(void **state)
{
    (void)state;
    struct holder holder = start_holder((struct lie){0});
    self.boot_id.lo ^= 1;
    expect_refusal(self, -EHOSTUNREACH, "another host");
    stop_holder(holder);
}

/* A node of another host is not looked for here. */
static void another_host_is_seen_without_a_socket(void **state)
{
    (void)state;
    struct shm_identity peer = self;
    peer.boot_id.lo ^= 1;
    expect_refusal(peer, -EHOSTUNREACH, "another host");
}

static void wrong_memory_is_refused(void **state)
{
    (void)state;
    struct holder holder = start_holder((struct lie){.payload_bytes = PAYLOAD_BYTES + (8 << 20)});
    expect_refusal(self, -EPROTO, "another size");
    stop_holder(holder);
    self.incarnation++;
    holder = start_holder((struct lie){.payload_bytes = UINT64_MAX});
    expect_refusal(self, -EPROTO, "another size");
    stop_holder(holder);
    self.incarnation++;
    holder = start_holder((struct lie){.is_unsealed = true});
    expect_refusal(self, -EPERM, "not sealed");
    stop_holder(holder);
}

static struct sockaddr_un address_of_self(socklen_t *ret_len)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int len = sprintf(address.sun_path + 1, "peercache/%016" PRIx64 "%016" PRIx64 "/%" PRIu64,
                      self.node_id.hi, self.node_id.lo, self.incarnation);
    *ret_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len);
    return address;
}

static int listen_by_hand(void)
{
    socklen_t len;
    struct sockaddr_un address = address_of_self(&len);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(fd, 8), 0);
    return fd;
}

static void silent_socket_costs_no_more_than_the_deadline(void **state)
{
    (void)state;
    struct arena_mapping arena;
    int fd = listen_by_hand();
    assert_int_equal(shm_attach(&self, self.boot_id, 0, &arena, reason), -ETIMEDOUT);
    assert_non_null(strstr(reason, "does not answer"));
    close(fd);
}

struct forgery {
    size_t len;
    uint8_t version;
    int n_fds;
    struct shm_identity from;
    int error;
    const char *why;
};

/* Sends the start of an offer, and as many descriptors as it is told to. */
static void forge(int listen_fd, const struct forgery *forgery)
{
    size_t n_fds = (size_t)forgery->n_fds;
    uint8_t bytes[256] = {'P', 'C', 'S', 'H', 'M', '0', forgery->version};
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(2 * sizeof(int))];
    } control = {0};
    struct iovec iov = {bytes, forgery->len};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    int fds[2] = {listen_fd, listen_fd}, fd = accept(listen_fd, NULL, NULL);
    memcpy(bytes + 8, &forgery->from, sizeof forgery->from);
    if (n_fds) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        control.head.cmsg_level = SOL_SOCKET;
        control.head.cmsg_type = SCM_RIGHTS;
        control.head.cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(&control.head), fds, n_fds * sizeof(int));
    }
    if (forgery->len && sendmsg(fd, &message, MSG_NOSIGNAL) != (ssize_t)forgery->len)
        _exit(1);
    _exit(0);
}

static void forged_offers_are_refused(void **state)
{
    (void)state;
    struct shm_identity other = self;
    other.incarnation++;
    const struct forgery forgeries[] = {
        {0, 1, 0, self, -ECONNREFUSED, "hung up"}, {1, 1, 1, self, -EPROTO, "version"},
        {71, 1, 1, self, -EPROTO, "version"},      {73, 1, 1, self, -EPROTO, "version"},
        {256, 1, 1, self, -EPROTO, "version"},     {72, 1, 0, self, -EPROTO, "version"},
        {72, 1, 2, self, -EPROTO, "version"},      {72, 2, 1, self, -EPROTO, "version"},
        {72, 1, 1, other, -EPROTO, "incarnation"}, {72, 1, 1, self, -EPERM, "not sealed"},
    };
    int fd = listen_by_hand();
    for (size_t i = 0; i < sizeof forgeries / sizeof *forgeries; i++) {
        pid_t child = fork();
        if (child == 0)
            forge(fd, &forgeries[i]);
        expect_refusal(self, forgeries[i].error, forgeries[i].why);
        assert_int_equal(wait_child(child), 0);
    }
    close(fd);
}

/* --- another user --------------------------------------------------------------------------- */

static int attach_as_nobody(void)
{
    struct arena_mapping arena;
    return setuid(NOBODY) == 0 && attach(self, &arena) == -EPERM && strstr(reason, "another user");
}

/* Whoever skips the check on his side is not served either. */
static int get_nothing_as_nobody(void)
{
    socklen_t len;
    struct sockaddr_un address = address_of_self(&len);
    char byte;
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    return setuid(NOBODY) == 0 && connect(fd, (struct sockaddr *)&address, len) == 0 &&
           recv(fd, &byte, 1, 0) == 0;
}

static void another_user_is_not_served(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        print_message("# SKIP: only root can become another user\n");
        skip();
    }
    int (*const attempts[])(void) = {attach_as_nobody, get_nothing_as_nobody};
    struct holder holder = start_holder((struct lie){0});
    for (size_t i = 0; i < 2; i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(attempts[i]());
        assert_int_equal(wait_child(child), 1);
    }
    struct arena_mapping arena;
    assert_int_equal(attach(self, &arena), 0);
    arena_detach(&arena);
    stop_holder(holder);
}

/* --- the holder's side ---------------------------------------------------------------------- */

static void a_name_is_taken_once(void **state)
{
    (void)state;
    struct shm_listener *listener, *second;
    assert_int_equal(shm_listener_open(&self, &listener), 0);
    assert_int_equal(shm_listener_open(&self, &second), -EADDRINUSE);
    shm_listener_close(listener);
    assert_int_equal(shm_listener_open(&self, &listener), 0);
    shm_listener_close(listener);
    shm_listener_close(NULL);
}

static int connect_by_hand(void)
{
    socklen_t len;
    struct sockaddr_un address = address_of_self(&len);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, len), 0);
    return fd;
}

/* Callers who have gone, or never read, neither block the loop nor cost it anything. */
static void accept_is_bounded_and_keeps_nothing(void **state)
{
    (void)state;
    enum { CALLERS = 20 };
    struct arena arena;
    struct shm_listener *listener;
    char error[ARENA_ERROR_BYTES];
    int callers[CALLERS];
    assert_int_equal(arena_create(PAYLOAD_BYTES, SLOTS, &arena, error), 0);
    assert_int_equal(shm_listener_open(&self, &listener), 0);
    assert_int_equal(shm_listener_accept(listener, &arena), 0);
    for (int i = 0; i < CALLERS; i++)
        callers[i] = connect_by_hand();
    uint32_t before = count_fds();
    int first = shm_listener_accept(listener, &arena);
    assert_in_range(first, 1, CALLERS - 1);
    assert_int_equal(shm_listener_accept(listener, &arena), CALLERS - first);
    assert_int_equal(count_fds(), before);
    for (int i = 0; i < CALLERS; i++)
        close(callers[i]);
    close(connect_by_hand());
    assert_int_equal(shm_listener_accept(listener, &arena), 0);
    shm_listener_close(listener);
    arena_destroy(&arena);
}

static void accept_without_descriptors_says_so(void **state)
{
    (void)state;
    struct shm_listener *listener;
    struct arena arena = {.fd = 0};
    struct rlimit before, none;
    assert_int_equal(shm_listener_open(&self, &listener), 0);
    int caller = connect_by_hand();
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){3, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_int_equal(shm_listener_accept(listener, &arena), -EMFILE);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    close(caller);
    shm_listener_close(listener);
}

int main(void)
{
#define COUNTED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        COUNTED(page_of_another_process_is_read),
        COUNTED(pool_of_a_killed_process_stays_readable),
        COUNTED(a_hundred_readers_leave_nothing),
        COUNTED(unknown_peers_are_refused_with_a_reason),
        COUNTED(boot_id_of_the_offer_counts),
        COUNTED(another_host_is_seen_without_a_socket),
        COUNTED(wrong_memory_is_refused),
        COUNTED(silent_socket_costs_no_more_than_the_deadline),
        COUNTED(forged_offers_are_refused),
        COUNTED(another_user_is_not_served),
        COUNTED(a_name_is_taken_once),
        COUNTED(accept_is_bounded_and_keeps_nothing),
        COUNTED(accept_without_descriptors_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
