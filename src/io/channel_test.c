/* SPDX-License-Identifier: Apache-2.0 */
/* channel_test.c - look-ups and reads over loopback against the real serving side. */
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/channel_internal.h"
#include "io/serve_fixture.h"
#include "io/socket.h"

/* A page in the caller's memory: @n segments of uneven length, some of them empty, in a buffer
 * whose bytes between the segments must not change. */
struct target {
    struct peercache_segment *segments;
    uint32_t n_segments;
    uint8_t *memory;
    size_t memory_len;
};

enum { GAP_BYTES = 3, GAP_FILL = 0xa5 };

static void target_init(struct target *target, uint32_t length_bytes, uint32_t n_segments)
{
    target->segments = calloc(n_segments, sizeof *target->segments);
    target->n_segments = n_segments;
    target->memory_len = length_bytes + (size_t)(n_segments + 1) * GAP_BYTES;
    target->memory = malloc(target->memory_len);
    memset(target->memory, GAP_FILL, target->memory_len);
    uint8_t *at = target->memory + GAP_BYTES;
    uint32_t left = length_bytes;
    for (uint32_t i = 0; i < n_segments; i++) {
        uint32_t len = i + 1 == n_segments ? left : left / (n_segments - i) + (i % 7 == 0 ? 1 : 0);
        if (i % 5 == 4 && i + 1 != n_segments)
            len = 0;
        if (len > left)
            len = left;
        target->segments[i] = (struct peercache_segment){at, len};
        at += len + GAP_BYTES;
        left -= len;
    }
}

static void target_fini(struct target *target)
{
    free(target->segments);
    free(target->memory);
}

static void target_expect(const struct target *target, const uint8_t *expected)
{
    const uint8_t *at = target->memory;
    for (uint32_t i = 0; i < target->n_segments; i++) {
        for (int j = 0; j < GAP_BYTES; j++)
            assert_int_equal(*at++, GAP_FILL);
        assert_memory_equal(at, expected, target->segments[i].len_bytes);
        at += target->segments[i].len_bytes;
        expected += target->segments[i].len_bytes;
    }
    assert_int_equal(*at, GAP_FILL);
}

static struct channel_page page_of(uint32_t slot, const struct target *target)
{
    uint32_t length = 0;
    for (uint32_t i = 0; i < target->n_segments; i++)
        length += (uint32_t)target->segments[i].len_bytes;
    return (struct channel_page){.digest = {0, slot},
                                 .place = fixture_place(slot, length),
                                 .segments = target->segments,
                                 .n_segments = target->n_segments};
}

/* Waits for the next finished ask, which must come. */
static struct channel_done next_done(struct channel *channel)
{
    struct channel_done done;
    assert_int_equal(channel_wait(&channel, 1, -1, after_ms(10000), 0), 0);
    assert_true(channel_next_done(channel, &done));
    return done;
}

/* --- the good case -------------------------------------------------------------------------- */

static void test_lookup(void **state)
{
    struct channel *channel;
    struct record_key keys[BATCH_MAX];
    struct message_lookup lookup = {.keys = keys, .n_keys = BATCH_MAX};
    assert_int_equal(fixture_channel(*state, &channel), 0);
    for (uint32_t i = 0; i < BATCH_MAX; i++)
        keys[i].digest = (struct id128){i % 2, i};
    for (uint32_t i = 0; i < 3 * CHANNEL_ASKS_MAX; i++) {
        lookup.ring_hash = 99 + i;
        assert_int_equal(channel_ask_lookup(channel, i, &lookup), 0);
        if (i % CHANNEL_ASKS_MAX != CHANNEL_ASKS_MAX - 1)
            continue;
        assert_int_equal(channel_ask_lookup(channel, 77, &lookup), -EAGAIN);
        for (uint32_t j = i - (CHANNEL_ASKS_MAX - 1); j <= i; j++) {
            struct channel_done done = next_done(channel);
            assert_int_equal(done.kind, CHANNEL_LOOKUP);
            assert_int_equal(done.request, j);
            assert_int_equal(done.locations.ring_hash, 99 + j);
            assert_int_equal(done.locations.n_found, BATCH_MAX / 2);
            assert_int_equal(done.locations.found[5].index, 10);
            assert_int_equal(done.locations.found[5].place.slot, 10);
        }
    }
    assert_int_equal(channel_asks(channel), 0);
    channel_close(channel);
}

/* One group of pages of one length and number of segments, all of which must arrive. */
static void read_group(struct channel *channel, const struct fixture *fixture, uint32_t n,
                       uint32_t length_bytes, uint32_t n_segments)
{
    struct target targets[GROUP_MAX];
    struct channel_page pages[GROUP_MAX];
    for (uint32_t i = 0; i < n; i++) {
        target_init(&targets[i], length_bytes, n_segments);
        pages[i] = page_of(i, &targets[i]);
    }
    assert_int_equal(channel_group_size(pages, n), n);
    assert_int_equal(channel_ask_read(channel, 5, pages, n), 0);
    assert_int_equal(pages[0].error, -EINPROGRESS);
    struct channel_done done = next_done(channel);
    assert_int_equal(done.kind, CHANNEL_READ);
    assert_ptr_equal(done.pages, pages);
    assert_int_equal(done.error, 0);
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(pages[i].error, 0);
        assert_int_equal(pages[i].checksum, 3 * i);
        target_expect(&targets[i], fixture_page(fixture, i));
        target_fini(&targets[i]);
    }
}

static void test_read(void **state)
{
    struct channel *channel;
    assert_int_equal(fixture_channel(*state, &channel), 0);
    read_group(channel, *state, 1, 1, 1);
    read_group(channel, *state, 1, 6 << 20, 9);
    read_group(channel, *state, GROUP_MAX, 4096, 1);
    for (uint32_t n_segments = 1; n_segments <= 160; n_segments += 53)
        read_group(channel, *state, 8, 128 << 10, n_segments);
    /* More segments than one readv() takes. */
    read_group(channel, *state, 60, 1999, 160);
    read_group(channel, *state, 1, 5000, 4000);
    channel_close(channel);
}

/* Groups and look-ups in turn, as many as may be under way: heads that come with the tail of the
 * group before, and small answers between large ones. */
/* What the peer makes for a channel is there until the channel is closed, and a second time is too
 * much. */
static void test_pair(void **state)
{
    struct fixture *fixture = *state;
    struct record_queue queues[PAIR_MAX] = {{11, 12}, {21, 22}};
    struct message_pair pair = {.mtu_bytes = 1024, .queues = queues, .n_queues = PAIR_MAX};
    struct message_hello mine = fixture_hello(2);
    struct channel *channel;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(fixture_channel(fixture, &channel), 0);
        assert_int_equal(channel_ask_pair(channel, 9, &pair), 0);
        struct channel_done done = next_done(channel);
        assert_int_equal(done.kind, CHANNEL_PAIR);
        assert_int_equal(done.request, 9);
        assert_int_equal(done.paired.mtu_bytes, 1024);
        assert_int_equal(done.paired.n_queues, PAIR_MAX);
        assert_int_equal(done.paired.queues[1].first_psn, 22);
        assert_true(id128_equal(fixture->asker.node_id, mine.node_id));
        assert_int_equal(fixture->asker.incarnation, mine.incarnation);
        assert_int_equal(atomic_load(&fixture->guests_now), 1);
        assert_true(channel_is_alive(channel));
        if (i == 1) {
            assert_int_equal(channel_ask_pair(channel, 10, &pair), 0);
            assert_int_equal(next_done(channel).error, -ECONNRESET);
        }
        channel_close(channel);
        WAIT_FOR(atomic_load(&fixture->guests_now) == 0);
    }
}

static void test_pipeline(void **state)
{
    struct fixture *fixture = *state;
    struct channel *channel;
    struct target targets[CHANNEL_ASKS_MAX][3];
    struct channel_page pages[CHANNEL_ASKS_MAX][3];
    struct record_key key = {{0, 4}};
    struct message_lookup lookup = {.keys = &key, .n_keys = 1};
    assert_int_equal(fixture_channel(fixture, &channel), 0);
    for (uint32_t i = 0; i < CHANNEL_ASKS_MAX; i++)
        for (uint32_t j = 0; j < 3; j++)
            target_init(&targets[i][j], 40000 * j + 1 + i, 1 + 11 * i);
    for (uint32_t pattern = 0; pattern < 256; pattern += 5) {
        for (uint32_t i = 0; i < CHANNEL_ASKS_MAX; i++) {
            for (uint32_t j = 0; j < 3; j++) {
                memset(targets[i][j].memory, GAP_FILL, targets[i][j].memory_len);
                pages[i][j] = page_of(i * 3 + j, &targets[i][j]);
            }
            if ((pattern >> i & 1) != 0)
                assert_int_equal(channel_ask_lookup(channel, i, &lookup), 0);
            else
                assert_int_equal(channel_ask_read(channel, i, pages[i], 3), 0);
        }
        for (uint32_t i = 0; i < CHANNEL_ASKS_MAX; i++) {
            struct channel_done done = next_done(channel);
            assert_int_equal(done.request, i);
            assert_int_equal(done.error, 0);
            for (uint32_t j = 0; j < 3 && done.kind == CHANNEL_READ; j++)
                target_expect(&targets[i][j], fixture_page(fixture, i * 3 + j));
            if (done.kind == CHANNEL_LOOKUP)
                assert_int_equal(done.locations.found[0].place.slot, 4);
        }
    }
    for (uint32_t i = 0; i < CHANNEL_ASKS_MAX; i++)
        for (uint32_t j = 0; j < 3; j++)
            target_fini(&targets[i][j]);
    channel_close(channel);
}

static void test_stale_in_the_middle(void **state)
{
    struct fixture *fixture = *state;
    struct channel *channel;
    struct target targets[7];
    struct channel_page pages[7];
    assert_int_equal(fixture_channel(fixture, &channel), 0);
    atomic_store(&fixture->errors[3], -ESTALE);
    atomic_store(&fixture->errors[4], -EBUSY);
    for (uint32_t first = 0; first < 5; first++) {
        for (uint32_t i = 0; i < 7; i++) {
            target_init(&targets[i], 70000 + i, 5);
            pages[i] = page_of(first + i, &targets[i]);
        }
        assert_int_equal(channel_ask_read(channel, 5, pages, 7), 0);
        (void)next_done(channel);
        for (uint32_t i = 0; i < 7; i++) {
            assert_int_equal(pages[i].error, atomic_load(&fixture->errors[first + i]));
            if (pages[i].error == 0)
                target_expect(&targets[i], fixture_page(fixture, first + i));
            target_fini(&targets[i]);
        }
    }
    atomic_store(&fixture->errors[3], 0);
    atomic_store(&fixture->errors[4], 0);
    channel_close(channel);
}

static void test_group_size(void **state)
{
    (void)state;
    struct channel_page pages[GROUP_MAX + 1] = {0};
    for (uint32_t i = 0; i <= GROUP_MAX; i++)
        pages[i].place.length_bytes = 4096;
    assert_int_equal(channel_group_size(pages, GROUP_MAX + 1), GROUP_MAX);
    assert_int_equal(channel_group_size(pages, 5), 5);
    pages[2].place.length_bytes = CHANNEL_GROUP_MAX_BYTES;
    assert_int_equal(channel_group_size(pages, GROUP_MAX), 2);
    assert_int_equal(channel_group_size(pages + 2, 9), 1);
    pages[0].place.length_bytes = CHANNEL_GROUP_MAX_BYTES / 2;
    pages[1].place.length_bytes = CHANNEL_GROUP_MAX_BYTES / 2;
    assert_int_equal(channel_group_size(pages, GROUP_MAX), 2);
}

static void test_unsound_pages_are_not_asked_for(void **state)
{
    struct channel *channel;
    struct target target;
    assert_int_equal(fixture_channel(*state, &channel), 0);
    target_init(&target, 100, 3);
    struct channel_page page = page_of(1, &target);
    page.place.length_bytes = 101;
    assert_int_equal(channel_ask_read(channel, 1, &page, 1), -EINVAL);
    page.place.length_bytes = 100;
    assert_int_equal(channel_ask_read(channel, 1, &page, 0), -EINVAL);
    page.n_segments = 0;
    page.place.length_bytes = 0;
    assert_int_equal(channel_ask_read(channel, 1, &page, 1), -EINVAL);
    assert_int_equal(channel_asks(channel), 0);
    target_fini(&target);
    channel_close(channel);
}

/* --- peers that are not what they should be ------------------------------------------------- */

/* What becomes of the first ask on a channel. */
static int first_error(struct channel *channel)
{
    struct message_lookup lookup = {0};
    assert_int_equal(channel_ask_lookup(channel, 1, &lookup), 0);
    return next_done(channel).error;
}

static int open_with(const struct fixture *fixture, struct message_hello mine,
                     struct channel_peer peer)
{
    char reason[HELLO_REASON_BYTES];
    struct channel *channel = NULL;
    peer.address = fixture->address;
    assert_int_equal(channel_open(&peer, &mine, after_ms(5000), &channel, reason), 0);
    int error = first_error(channel);
    channel_close(channel);
    return error;
}

static void test_refusals(void **state)
{
    struct message_hello mine = fixture_hello(2);
    struct channel_peer peer = {0};
    assert_int_equal(open_with(*state, mine, peer), 0);
    mine.cluster = (struct wire_text){"other", 5};
    assert_int_equal(open_with(*state, mine, peer), -EPERM);
    mine = fixture_hello(2);
    mine.auth = 9;
    assert_int_equal(open_with(*state, mine, peer), -EOPNOTSUPP);
    mine = fixture_hello(2);
    mine.version_min = mine.version_max = 9;
    assert_int_equal(open_with(*state, mine, peer), -EPROTONOSUPPORT);
    mine = fixture_hello(2);
    peer.incarnation = 4;
    assert_int_equal(open_with(*state, mine, peer), -ESTALE);
    peer.incarnation = 3;
    peer.node_id = (struct id128){7, 5};
    assert_int_equal(open_with(*state, mine, peer), -ESTALE);
}

/* A channel whose other end the test plays. */
static struct channel *half_channel(int *ret_peer_fd)
{
    int fds[2];
    struct channel *channel = calloc(1, sizeof *channel);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    channel->version = WIRE_VERSION_MIN;
    channel->fd = fds[0];
    *ret_peer_fd = fds[1];
    return channel;
}

static size_t encode_payload(uint8_t *ret_bytes, size_t size, uint32_t request,
                             const struct record_status *statuses, uint32_t n)
{
    struct message message = {.type = MESSAGE_payload, .request = request};
    message.u.payload.pages = statuses;
    message.u.payload.n_pages = n;
    int64_t len = message_encode(&message, ret_bytes, size);
    assert_true(len > 0);
    return (size_t)len;
}

/* Each answer differs from the right one in one thing. */
static void test_wrong_answers_break_the_channel(void **state)
{
    (void)state;
    for (int wrong = 0; wrong < 7; wrong++) {
        int peer_fd;
        uint8_t frame[1024];
        struct channel *channel = half_channel(&peer_fd);
        struct target targets[2];
        struct channel_page pages[2];
        struct record_status statuses[3] = {{0, 101, 50, 0}, {0, 102, 50, 0}, {0, 103, 50, 0}};
        for (uint32_t i = 0; i < 2; i++) {
            target_init(&targets[i], 50, 2);
            pages[i] = page_of(1 + i, &targets[i]);
        }
        statuses[1].generation += wrong == 1;
        statuses[1].length_bytes -= wrong == 2;
        statuses[1].error = wrong == 3 ? 5 : 0;
        size_t len =
            encode_payload(frame, sizeof frame, wrong == 4 ? 8 : 7, statuses, wrong == 5 ? 3 : 2);
        frame[0] ^= wrong == 6;
        assert_int_equal(channel_ask_read(channel, 7, pages, 2), 0);
        assert_int_equal(channel_progress(channel), 0);
        socket_send_all(peer_fd, frame, len, after_ms(1000));
        socket_send_all(peer_fd, "0123456789", 10, after_ms(1000));
        assert_int_equal(channel_progress(channel), wrong == 0 ? 0 : 1);
        assert_int_equal(channel_error(channel), wrong == 0 ? 0 : -EPROTO);
        assert_int_equal(pages[0].error, wrong == 0 ? -EINPROGRESS : -EPROTO);
        if (wrong > 0)
            assert_true(targets[0].memory[GAP_BYTES] == GAP_FILL);
        close(peer_fd);
        channel_close(channel);
        target_fini(&targets[0]);
        target_fini(&targets[1]);
    }
}

/* The connection breaks at every possible byte: pages that were whole by then stay hits. */
static void test_broken_in_the_middle(void **state)
{
    (void)state;
    enum { LENGTH = 10, PAGES = 3 };
    for (size_t cut = 0; cut <= FRAME_HEAD_BYTES + 2 + PAGES * 24 + (PAGES - 1) * LENGTH; cut++) {
        int peer_fd;
        uint8_t frame[256];
        struct channel *channel = half_channel(&peer_fd);
        struct target targets[PAGES];
        struct channel_page pages[PAGES];
        struct channel_done done;
        struct record_status statuses[PAGES] = {
            {0, 101, LENGTH, 0}, {-ESTALE, 0, 0, 0}, {0, 103, LENGTH, 0}};
        for (uint32_t i = 0; i < PAGES; i++) {
            target_init(&targets[i], LENGTH, 2);
            pages[i] = page_of(1 + i, &targets[i]);
        }
        size_t head_len = encode_payload(frame, sizeof frame, 7, statuses, PAGES);
        memset(frame + head_len, 'x', 2 * LENGTH);
        assert_int_equal(channel_ask_read(channel, 7, pages, PAGES), 0);
        assert_int_equal(channel_progress(channel), 0);
        socket_send_all(peer_fd, frame, cut, after_ms(1000));
        shutdown(peer_fd, SHUT_WR);
        assert_int_equal(channel_wait(&channel, 1, -1, after_ms(5000), 0), 0);
        assert_true(channel_next_done(channel, &done));
        bool is_complete = cut == head_len + 2 * LENGTH;
        assert_int_equal(done.error, is_complete ? 0 : -ECONNRESET);
        assert_int_equal(pages[0].error, cut >= head_len + LENGTH ? 0 : -ECONNRESET);
        assert_int_equal(pages[1].error, cut >= head_len ? -ESTALE : -ECONNRESET);
        assert_int_equal(pages[2].error, is_complete ? 0 : -ECONNRESET);
        if (!is_complete)
            assert_int_equal(channel_progress(channel), -ECONNRESET);
        close(peer_fd);
        channel_close(channel);
        for (uint32_t i = 0; i < PAGES; i++)
            target_fini(&targets[i]);
    }
}

enum { DEADLINE_NS = 30000000, LATE_NS = 50000000, DEADLINE_TRIES = 20 };

/* Whether the call took its deadline and not much more.  A machine that is busy with something else
 * may be late: one good try of several shows that the code is not. */
#define EXPECT_IN_TIME(call)                                                                       \
    do {                                                                                           \
        uint64_t took_ns_ = UINT64_MAX, begin_ns;                                                  \
        for (int try_ = 0; try_ < DEADLINE_TRIES && took_ns_ > DEADLINE_NS + LATE_NS; try_++) {    \
            begin_ns = clock_now_ns();                                                             \
            assert_int_equal(call, -ETIMEDOUT);                                                    \
            took_ns_ = clock_now_ns() - begin_ns;                                                  \
            assert_true(took_ns_ >= DEADLINE_NS);                                                  \
        }                                                                                          \
        assert_true(took_ns_ <= DEADLINE_NS + LATE_NS);                                            \
    } while (0)

/* A server that never answers costs the deadline, asleep or polling. */
static void test_deadline(void **state)
{
    (void)state;
    for (uint64_t spin_ns = 0; spin_ns <= 2 * LATE_NS; spin_ns += 2 * LATE_NS) {
        int peer_fd, wake[2];
        struct channel *channel = half_channel(&peer_fd);
        struct message_lookup lookup = {0};
        assert_int_equal(channel_ask_lookup(channel, 1, &lookup), 0);
        EXPECT_IN_TIME(channel_wait(&channel, 1, -1, begin_ns + DEADLINE_NS, spin_ns));
        assert_int_equal(pipe(wake), 0);
        assert_int_equal(write(wake[1], "", 1), 1);
        assert_int_equal(channel_wait(&channel, 1, wake[0], after_ms(5000), 0), -ECANCELED);
        close(wake[0]);
        close(wake[1]);
        close(peer_fd);
        channel_close(channel);
    }
}

enum { HUNG_PEERS = 8 };

/* Ports that accept and stay silent: all of them together cost one deadline, and the one that
 * answers is not held up. */
static void test_hung_peers_are_connected_to_together(void **state)
{
    struct fixture *fixture = *state;
    struct message_hello mine = fixture_hello(2);
    struct message_lookup lookup = {0};
    struct channel *channels[HUNG_PEERS + 1];
    struct channel_done done;
    char reason[HELLO_REASON_BYTES];
    int listener_fds[HUNG_PEERS];
    for (int i = 0; i <= HUNG_PEERS; i++) {
        struct channel_peer peer = {.address = {.host = "127.0.0.1"}};
        if (i == HUNG_PEERS)
            peer.address = fixture->address;
        else
            assert_int_equal(
                socket_listen(&peer.address, &listener_fds[i], &peer.address.port, reason), 0);
        assert_int_equal(channel_open(&peer, &mine, 0, &channels[i], reason), 0);
        assert_int_equal(channel_ask_lookup(channels[i], 1, &lookup), 0);
    }
    assert_int_equal(channel_wait(channels, HUNG_PEERS + 1, -1, after_ms(10000), 0), 0);
    assert_true(channel_next_done(channels[HUNG_PEERS], &done));
    assert_int_equal(done.error, 0);
    EXPECT_IN_TIME(channel_wait(channels, HUNG_PEERS + 1, -1, begin_ns + DEADLINE_NS, 0));
    for (int i = 0; i <= HUNG_PEERS; i++)
        channel_close(channels[i]);
    for (int i = 0; i < HUNG_PEERS; i++)
        close(listener_fds[i]);
}

static void test_nobody_listens(void **state)
{
    (void)state;
    struct message_hello mine = fixture_hello(2);
    struct channel_peer peer = {.address = {.host = "127.0.0.1"}};
    struct channel *channel;
    char reason[HELLO_REASON_BYTES];
    int listener_fd;
    assert_int_equal(socket_listen(&peer.address, &listener_fd, &peer.address.port, reason), 0);
    close(listener_fd);
    assert_int_equal(channel_open(&peer, &mine, 0, &channel, reason), 0);
    assert_int_equal(first_error(channel), -ECONNREFUSED);
    channel_close(channel);
}

/* A channel that is being opened, whose other end the test plays. */
static struct channel *opening_channel(int *ret_peer_fd)
{
    struct channel *channel = half_channel(ret_peer_fd);
    channel->is_opening = true;
    channel->peer.incarnation = 3;
    channel->mine = fixture_hello(2);
    return channel;
}

static size_t encode_hello(uint8_t *ret_bytes, size_t size, uint64_t incarnation)
{
    struct message message = {.type = MESSAGE_hello, .u.hello = fixture_hello(1)};
    message.u.hello.incarnation = incarnation;
    int64_t len = message_encode(&message, ret_bytes, size);
    assert_true(len > 0);
    return (size_t)len;
}

/* Hello, answer and page in one piece, and byte by byte: nothing of the page goes astray. */
static void test_read_behind_the_hello(void **state)
{
    (void)state;
    for (size_t piece = 1; piece <= 1024; piece += 1023) {
        int peer_fd;
        uint8_t bytes[1024];
        struct channel *channel = opening_channel(&peer_fd);
        struct record_status status = {0, 101, 50, 0};
        struct target target;
        target_init(&target, 50, 2);
        struct channel_page page = page_of(1, &target);
        assert_int_equal(channel_ask_read(channel, 1, &page, 1), 0);
        channel_progress(channel);
        size_t len = encode_hello(bytes, sizeof bytes, 3);
        len += encode_payload(bytes + len, sizeof bytes - len, 1, &status, 1);
        memset(bytes + len, 7, 50);
        for (size_t at = 0; at < len + 50; at += piece) {
            size_t n = len + 50 - at < piece ? len + 50 - at : piece;
            assert_int_equal(write(peer_fd, bytes + at, n), n);
            assert_true(channel_progress(channel) >= 0);
        }
        assert_int_equal(next_done(channel).error, 0);
        assert_int_equal(page.error, 0);
        target_expect(&target, bytes + len);
        target_fini(&target);
        close(peer_fd);
        channel_close(channel);
    }
}

/* Another life, no hello, half a hello and the end. */
static void test_wrong_hellos_break_the_channel(void **state)
{
    static const int errors[] = {-ESTALE, -EPROTO, -ECONNRESET};
    (void)state;
    for (int wrong = 0; wrong < 3; wrong++) {
        int peer_fd;
        uint8_t bytes[1024];
        struct channel *channel = opening_channel(&peer_fd);
        struct message_lookup lookup = {0};
        size_t len = encode_hello(bytes, sizeof bytes, wrong == 0 ? 4 : 3);
        assert_int_equal(channel_ask_lookup(channel, 1, &lookup), 0);
        channel_progress(channel);
        if (wrong == 1)
            len = encode_payload(bytes, sizeof bytes, 1, NULL, 0);
        assert_true(write(peer_fd, bytes, wrong == 2 ? len / 2 : len) > 0);
        close(peer_fd);
        assert_int_equal(next_done(channel).error, errors[wrong]);
        channel_close(channel);
    }
}

static int setup(void **state)
{
    struct server_setup server = {0};
    return fixture_setup(state, &server);
}

/* Answers that leave in many small pieces. */
static int setup_small_buffer(void **state)
{
    struct server_setup server = {.send_buffer_bytes = 40000};
    return fixture_setup(state, &server);
}

int main(void)
{
    const struct CMUnitTest alone[] = {
        cmocka_unit_test(test_group_size),
        cmocka_unit_test(test_wrong_answers_break_the_channel),
        cmocka_unit_test(test_broken_in_the_middle),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_nobody_listens),
        cmocka_unit_test(test_read_behind_the_hello),
        cmocka_unit_test(test_wrong_hellos_break_the_channel),
    };
    const struct CMUnitTest with_server[] = {
        cmocka_unit_test(test_lookup),
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_pair),
        cmocka_unit_test(test_pipeline),
        cmocka_unit_test(test_stale_in_the_middle),
        cmocka_unit_test(test_unsound_pages_are_not_asked_for),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_hung_peers_are_connected_to_together),
    };
    return cmocka_run_group_tests_name("channel", alone, NULL, NULL) +
           cmocka_run_group_tests_name("channel, over TCP", with_server, setup, fixture_teardown) +
           cmocka_run_group_tests_name("channel, small pieces", with_server, setup_small_buffer,
                                       fixture_teardown);
}
