/* SPDX-License-Identifier: Apache-2.0 */
/*
 * delay.c - a link between two network namespaces that takes its time.
 *
 *     delay NAMESPACE INTERFACE NAMESPACE INTERFACE MS
 *
 * Makes both interfaces (tap devices), prints "ready", and hands each Ethernet frame from the one
 * to the other MS milliseconds after it came, in order, until it is killed; the interfaces go with
 * it. A frame for which a queue has no place is lost, as on any link.  One thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { FRAME_BYTES = 1600, QUEUE_FRAMES = 1 << 14, READS_AT_ONCE = 64 };

struct frame {
    uint64_t due_ns;
    ssize_t len;
    uint8_t bytes[FRAME_BYTES];
};

/* One direction. */
struct queue {
    int from, to;
    uint64_t first, end; /* counts; a frame's place is its count modulo QUEUE_FRAMES */
    struct frame *frames;
};

static void fail(const char *what)
{
    fprintf(stderr, "delay: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* The calling thread moves into the namespace, in which a device stays that is made there. */
static int open_tap(const char *name_space, const char *interface)
{
    char path[128];
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    snprintf(path, sizeof path, "/run/netns/%s", name_space);
    int place = open(path, O_RDONLY | O_CLOEXEC);
    if (place < 0 || setns(place, CLONE_NEWNET) < 0)
        fail(path);
    close(place);
    snprintf(request.ifr_name, IFNAMSIZ, "%s", interface);
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0)
        fail("/dev/net/tun");
    return fd;
}

static void take_in(struct queue *queue, uint64_t delay_ns)
{
    for (int i = 0; i < READS_AT_ONCE; i++) {
        struct frame *frame = &queue->frames[queue->end % QUEUE_FRAMES];
        frame->len = read(queue->from, frame->bytes, FRAME_BYTES);
        if (frame->len <= 0)
            return;
        frame->due_ns = now_ns() + delay_ns;
        queue->end += queue->end - queue->first < QUEUE_FRAMES - 1;
    }
}

/* Sends what is due, and returns when the next one is. */
static uint64_t send_due(struct queue *queue)
{
    for (; queue->first < queue->end; queue->first++) {
        const struct frame *frame = &queue->frames[queue->first % QUEUE_FRAMES];
        if (frame->due_ns > now_ns())
            return frame->due_ns;
        if (write(queue->to, frame->bytes, (size_t)frame->len) < 0 && errno != EAGAIN &&
            errno != EIO)
            fail("write"); /* EIO: the interface is not up yet */
    }
    return UINT64_MAX;
}

static void relay(struct queue queues[2], uint64_t delay_ns)
{
    struct pollfd fds[2] = {{queues[0].from, POLLIN, 0}, {queues[1].from, POLLIN, 0}};
    for (;;) {
        uint64_t first_ns = send_due(&queues[0]), other_ns = send_due(&queues[1]), now = now_ns();
        uint64_t due_ns = first_ns < other_ns ? first_ns : other_ns;
        uint64_t left_ns = due_ns > now ? due_ns - now : 0;
        struct timespec timeout = {.tv_nsec = (long)(left_ns < 500000000 ? left_ns : 500000000)};
        if (ppoll(fds, 2, &timeout, NULL) < 0 && errno != EINTR)
            fail("ppoll");
        take_in(&queues[0], delay_ns);
        take_in(&queues[1], delay_ns);
    }
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fprintf(stderr, "usage: delay NAMESPACE INTERFACE NAMESPACE INTERFACE MS\n");
        return 2;
    }
    int near = open_tap(argv[1], argv[2]), far = open_tap(argv[3], argv[4]);
    struct queue queues[2] = {{.from = near, .to = far}, {.from = far, .to = near}};
    for (int i = 0; i < 2; i++) {
        queues[i].frames = calloc(QUEUE_FRAMES, sizeof *queues[i].frames);
        if (!queues[i].frames)
            fail("memory");
    }
    printf("ready\n");
    fflush(stdout);
    relay(queues, strtoull(argv[5], NULL, 10) * 1000000);
}
