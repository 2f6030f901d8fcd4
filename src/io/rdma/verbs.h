/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs.h - the few operations of RDMA that this project uses, as a table of functions.
 *
 * Two sides implement it: ibv_device.c and ibv_queue.c over libibverbs, in a module that is loaded
 * only where it is wanted (module.h), and tests/rdma/model_*.c over memory and a modelled wire.
 * Whoever posts reads sees this header and neither of them.
 *
 *     verbs          the table; finds devices
 *     device         opened, with one protection domain; reports its events
 *     memory         a registered range, with its keys
 *     completions    a completion queue with its channel
 *     queue          a queue pair (RC): READs only, no sends, no receives, no writes
 *
 * One device, completion queue, queue pair or memory belongs to one caller at a time, except that
 * posting to a queue pair, polling the completion queue, and reading events may run in three
 * threads at once, and that memory may be registered and deregistered, and queue pairs made,
 * connected and destroyed, and GIDs asked for, by any thread at any time.  Nothing here takes a
 * lock of ours, and nothing waits, but for what says so.
 *
 * Remote read is the only right that can be given to others: there is no word for another.
 *
 * Errors are negative errnos, outputs are written on success only.  After -EIO of any call the
 * device is gone or broken: what it made is still to be destroyed, in order, and the device closed.
 */
#ifndef IO_RDMA_VERBS_H
#define IO_RDMA_VERBS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    VERBS_NAME_BYTES = 64,     /* of a device, with the NUL */
    VERBS_FIRMWARE_BYTES = 64, /* as its driver writes it */
    VERBS_GID_BYTES = 16,
    VERBS_MTU_MAX_BYTES = 4096,
    VERBS_DEVICES_MAX = 64,   /* of one machine; more are not looked at */
    VERBS_PORTS_MAX = 4,      /* of one device */
    VERBS_GIDS_MAX = 1024,    /* of one device, all ports */
    VERBS_CHAIN_MAX = 256,    /* reads in one post */
    VERBS_SEGMENTS_MAX = 32,  /* of one read, where the device takes as many */
    VERBS_PSN_MASK = 0xffffff /* packet sequence numbers and queue pair numbers have 24 bits */
};

struct verbs_device;
struct verbs_memory;
struct verbs_completions;
struct verbs_queue;

/* --- what there is --------------------------------------------------------------------------- */

enum verbs_link { VERBS_LINK_UNKNOWN, VERBS_LINK_INFINIBAND, VERBS_LINK_ETHERNET };

enum verbs_port_state { VERBS_PORT_DOWN, VERBS_PORT_INIT, VERBS_PORT_ARMED, VERBS_PORT_ACTIVE };

enum verbs_gid_type { VERBS_GID_INFINIBAND, VERBS_GID_ROCE_V1, VERBS_GID_ROCE_V2 };

/* What the device can do at most. */
struct verbs_limits {
    uint32_t queues, completion_queues, memories;
    uint32_t depth;          /* reads waiting on one queue pair */
    uint32_t completions;    /* entries of one completion queue */
    uint32_t segments;       /* of one read */
    uint32_t reads_served;   /* that one queue pair answers at a time */
    uint32_t reads_asked;    /* that one queue pair has under way at a time */
    uint64_t memory_bytes;   /* of one registration */
    uint64_t page_size_bits; /* of registrations: bit n is 2^n bytes */
};

struct verbs_device_info {
    char firmware[VERBS_FIRMWARE_BYTES];
    uint64_t guid; /* host order */
    uint32_t vendor, part;
    uint32_t port_count; /* numbered from 1 */
    bool is_usable;      /* speaks InfiniBand or RoCE; iWARP and others are listed only */
    struct verbs_limits limits;
};

struct verbs_port_info {
    enum verbs_port_state state;
    enum verbs_link link;
    uint32_t mtu_bytes;     /* active: 256, 512, 1024, 2048 or 4096 */
    uint32_t mtu_max_bytes; /* what the port could do */
    uint32_t speed_mbps;    /* of all lanes together; 0: unknown */
    uint32_t message_bytes; /* most bytes of one read */
    uint16_t lid;           /* InfiniBand's address within a subnet; 0 on Ethernet */
};

struct verbs_gid {
    uint8_t bytes[VERBS_GID_BYTES]; /* as an IPv6 address, where it is RoCE */
    uint32_t port;
    uint32_t index; /* in the port's table */
    enum verbs_gid_type type;
    uint32_t interface; /* index of the network interface that it comes from; 0: none */
};

/* --- memory ----------------------------------------------------------------------------------- */

enum verbs_right {
    VERBS_LOCAL_WRITE = 1, /* reads may land here */
    VERBS_REMOTE_READ = 2, /* peers may read it */
};

struct verbs_keys {
    uint32_t local, remote;
};

/* --- queue pairs ------------------------------------------------------------------------------ */

struct verbs_queue_request {
    struct verbs_completions *completions; /* where its reads complete; of the same device */
    uint32_t port;
    uint32_t depth;    /* reads that may wait at once */
    uint32_t segments; /* of one read */
};

/* What was made: at least what was asked for. */
struct verbs_queue_made {
    uint32_t number; /* 24 bits; the peer needs it */
    uint32_t depth, segments;
};

/* How a queue pair reaches its peer.  Both sides fill one, each from what the other told it, and
 * neither may post before the peer has connected too. */
struct verbs_path {
    uint32_t peer_number;              /* of the peer's queue pair */
    uint32_t peer_psn, own_psn;        /* first packet sequence numbers; random, 24 bits */
    uint8_t peer_gid[VERBS_GID_BYTES]; /* used where @is_global */
    bool is_global;                    /* Ethernet: always */
    uint16_t peer_lid;                 /* InfiniBand */
    uint32_t gid_index;                /* of the own port; used where @is_global */
    uint32_t mtu_bytes;                /* the smaller of both */
    uint8_t service_level;             /* 0 .. 15 */
    uint8_t traffic_class;             /* used where @is_global */
    uint8_t hop_limit;                 /* used where @is_global */
    uint8_t reads_served;              /* at most the own limit: what the peer has under way */
    uint8_t reads_asked;               /* at most the peer's limit: what we have under way */
    uint8_t timeout_exponent;          /* waits 4.096 us * 2^n for an answer; 1 .. 31 */
    uint8_t retry_count;               /* 0 .. 6; with 7 soft-RoCE never gives up */
};

/* --- reads ------------------------------------------------------------------------------------ */

/* Where bytes land.  Laid out as libibverbs wants it. */
struct verbs_segment {
    uint64_t addr;
    uint32_t len_bytes;
    uint32_t local_key;
};

enum verbs_read_flag {
    /* Holds this read, and all behind it, back until every earlier read of the queue pair has
     * completed here: then its bytes were sampled at the peer after all of theirs. */
    VERBS_FENCED = 1,
    /* Its success is reported.  Failures always are. */
    VERBS_SIGNALLED = 2,
};

struct verbs_read {
    uint64_t id; /* comes back with the completion; must tell lives of a queue pair apart */
    uint64_t remote_addr;
    uint32_t remote_key;
    uint16_t segment_count;               /* at least 1 */
    uint16_t flags;                       /* enum verbs_read_flag */
    const struct verbs_segment *segments; /* until verbs->post returns */
};

/* value, text */
#define VERBS_STATUSES(S)                                                                          \
    S(VERBS_OK, "done")                                                                            \
    S(VERBS_FLUSHED, "ended because an earlier read of its queue pair failed")                     \
    S(VERBS_LENGTH, "the segments or the length are more than the device takes")                   \
    S(VERBS_LOCAL_ACCESS, "the memory to read into is not registered for that")                    \
    S(VERBS_REMOTE_ACCESS, "the peer refused: the key, the place or the right is not valid there") \
    S(VERBS_REMOTE_INVALID, "the peer refused: it takes no such read")                             \
    S(VERBS_REMOTE_FAILED, "the peer's adapter failed")                                            \
    S(VERBS_UNREACHABLE, "the peer's adapter does not answer")                                     \
    S(VERBS_DEVICE_FAILED, "the own adapter failed or was removed")                                \
    S(VERBS_OTHER, "failed for another reason")

enum verbs_status {
#define S(value, text) value,
    VERBS_STATUSES(S)
#undef S
};

struct verbs_completion {
    uint64_t id;
    uint32_t queue_number;
    enum verbs_status status;
    uint32_t vendor_error; /* the driver's own number; 0: none */
};

/* --- events ----------------------------------------------------------------------------------- */

enum verbs_event_kind {
    VERBS_EVENT_OTHER,
    VERBS_EVENT_DEVICE_FAILED,      /* removed, or fatal: nothing of it works any more */
    VERBS_EVENT_PORT_DOWN,          /* @port */
    VERBS_EVENT_PORT_UP,            /* @port */
    VERBS_EVENT_ADDRESSES_CHANGED,  /* @port: its GIDs, its LID or its keys */
    VERBS_EVENT_QUEUE_FAILED,       /* @queue_number */
    VERBS_EVENT_COMPLETIONS_FAILED, /* overrun: every queue pair of that completion queue is lost */
};

struct verbs_event {
    enum verbs_event_kind kind;
    uint32_t port, queue_number;
};

/* --- the table -------------------------------------------------------------------------------- */

struct verbs {
    /* Of the build that made the table; the loader takes no other than its own. */
    const char *version;

    /* Before the first registration of the process: makes a later fork() of it safe for registered
     * memory, where the kernel does not do so by itself.  -EINVAL: somebody has registered memory
     * already, so a child that writes would take the landing pages away from the parent. */
    int (*prepare_fork)(const struct verbs *verbs);

    /* The names of all devices; *ret_n is at most VERBS_DEVICES_MAX. */
    int (*list)(const struct verbs *verbs, char (*ret_names)[VERBS_NAME_BYTES], uint32_t *ret_n);
    /* -ENODEV: none of this name; -EACCES: its device node may not be opened. */
    int (*open)(const struct verbs *verbs, const char *name, struct verbs_device **ret_device);
    /* All that it made is destroyed before.  NULL is allowed, here and in what destroys. */
    void (*close)(const struct verbs *verbs, struct verbs_device *device);

    int (*query_device)(const struct verbs *verbs, struct verbs_device *device,
                        struct verbs_device_info *ret_info);
    int (*query_port)(const struct verbs *verbs, struct verbs_device *device, uint32_t port,
                      struct verbs_port_info *ret_info);
    /* All valid GIDs of all ports.  @ret_gids has room for VERBS_GIDS_MAX. */
    int (*query_gids)(const struct verbs *verbs, struct verbs_device *device,
                      struct verbs_gid *ret_gids, uint32_t *ret_n);

    /* Readable when an event waits. */
    int (*event_fd)(const struct verbs *verbs, const struct verbs_device *device);
    /* -EAGAIN: none waits. */
    int (*next_event)(const struct verbs *verbs, struct verbs_device *device,
                      struct verbs_event *ret_event);

    /* Pins the pages, which takes its time (about 0.1 to 1 s a GiB when they are not there yet).
     * @rights are of enum verbs_right.  -ENOMEM: the limit of locked memory, as a rule. */
    int (*memory_register)(const struct verbs *verbs, struct verbs_device *device, void *addr,
                           uint64_t len_bytes, uint32_t rights, struct verbs_memory **ret_memory,
                           struct verbs_keys *ret_keys);
    /* 0: no adapter reads or writes there any more.  Otherwise it is still registered, and is to be
     * tried again.  Queue pairs that may still write there are destroyed first. */
    int (*memory_deregister)(const struct verbs *verbs, struct verbs_memory *memory);

    /* Has room for at least @depth completions.  It must be the sum of the depths of its queue
     * pairs, because a queue pair that fails completes each of its reads. */
    int (*completions_create)(const struct verbs *verbs, struct verbs_device *device,
                              uint32_t depth, struct verbs_completions **ret_completions);
    void (*completions_destroy)(const struct verbs *verbs, struct verbs_completions *completions);
    /* Takes at most @most; *ret_n may be 0.  Those of a destroyed queue pair may still come. */
    int (*poll)(const struct verbs *verbs, struct verbs_completions *completions,
                struct verbs_completion *ret_completions, uint32_t most, uint32_t *ret_n);
    /* To sleep: arm, poll once more, then wait until the descriptor is readable, then woken. */
    int (*arm)(const struct verbs *verbs, struct verbs_completions *completions);
    int (*completions_fd)(const struct verbs *verbs, const struct verbs_completions *completions);
    void (*woken)(const struct verbs *verbs, struct verbs_completions *completions);

    /* In state INIT: serves nothing and reaches nobody yet. */
    int (*queue_create)(const struct verbs *verbs, struct verbs_device *device,
                        const struct verbs_queue_request *request, struct verbs_queue **ret_queue,
                        struct verbs_queue_made *ret_made);
    /* To RTR and RTS: serves the peer's reads, and may be posted to.  -EINVAL: the path cannot be
     * (no such GID, MTU, limit); -ETIMEDOUT or -EHOSTUNREACH: the peer's address is not found. */
    int (*queue_connect)(const struct verbs *verbs, struct verbs_queue *queue,
                         const struct verbs_path *path);
    /* Waits for the adapter.  0: it has let go, and nothing writes for this queue pair any more.
     * Otherwise it is still there, may write, and is to be tried again. */
    int (*queue_destroy)(const struct verbs *verbs, struct verbs_queue *queue);

    /* Posts the chain, at most VERBS_CHAIN_MAX reads, with one doorbell.  They execute in order as
     * far as VERBS_FENCED says, and complete in order.  The caller counts: an unsignalled read
     * holds its place in the queue until a later signalled one has completed.  On an error
     * *ret_posted reads, the first ones, are under way all the same; -ENOMEM: more than the queue
     * has room for. */
    int (*post)(const struct verbs *verbs, struct verbs_queue *queue,
                const struct verbs_read *reads, uint32_t n, uint32_t *ret_posted);
};

/* What a status means, as part of a sentence. */
const char *verbs_status_text(enum verbs_status status);

#endif
