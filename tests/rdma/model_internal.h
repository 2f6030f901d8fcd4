/* SPDX-License-Identifier: Apache-2.0 */
/* model_internal.h - the objects of the model, for its three files. */
#ifndef TESTS_RDMA_MODEL_INTERNAL_H
#define TESTS_RDMA_MODEL_INTERNAL_H

#include <sys/queue.h>

#include "base/check.h"
#include "model_adapter.h"

enum {
    PORT_MTU_BYTES = 4096,
    SEGMENTS_MAX = 16,
    EVENTS_WAITING_MAX = 64,       /* asynchronous ones, of one device */
    MESSAGE_MAX_BYTES = 1 << 30,   /* of one read */
    COMPLETIONS_DEPTH_MAX = 65536, /* of one completion queue */
};

/* Times are in picoseconds: a packet of 4 KiB takes 81.92 ns. */
#define PS_PER_NS UINT64_C(1000)

/* The hardware; verbs_device is one opening of it. */
struct adapter {
    struct model *model;
    char name[VERBS_NAME_BYTES];
    uint8_t gid[VERBS_GID_BYTES];
    uint32_t gid_index;
    bool is_up, is_removed, is_sending;
    uint64_t may_ask_ps;    /* when it may ask for the next read */
    uint64_t arrives_at_ps; /* the last byte of what is on its way to it */
    uint32_t turn;          /* the queue pair that sends next, of all of the model */
    uint32_t held_queues, refused_memories;
    LIST_HEAD(, verbs_device) openings; /* each hears of all events */
};

struct verbs_device {
    struct adapter *adapter;
    LIST_ENTRY(verbs_device) link;
    struct verbs_event events[EVENTS_WAITING_MAX];
    uint32_t event_first, event_count;
    int event_fd;
};

struct verbs_memory {
    struct verbs_device *device; /* NULL: free */
    uint64_t addr, len_bytes;
    uint32_t rights, key;
};

struct verbs_completions {
    struct verbs_device *device;
    struct verbs_completion *ring;
    uint64_t *released; /* beside each completion: reads of its queue pair that it makes room for */
    uint32_t depth, first, count;
    int fd;
    bool is_armed, has_overrun;
};

enum queue_state { QUEUE_INIT, QUEUE_READY, QUEUE_FAILED, QUEUE_DESTROYED };

/* One read from post to completion. */
struct pending {
    struct verbs_read read;
    struct verbs_segment segments[SEGMENTS_MAX];
    uint64_t len_bytes;
    uint32_t packets;
    uint32_t accepted; /* packets, in order */
    uint32_t landed;
    uint32_t sent;       /* of this asking; starts at what was accepted when it was asked for */
    uint32_t asking;     /* how often it was asked for */
    uint8_t *bytes;      /* as they were sampled */
    uint8_t *is_sampled; /* a byte a packet, of this asking */
    enum verbs_status status; /* of the refusal, or VERBS_OK */
};

struct verbs_queue {
    struct verbs_device *device; /* which may be closed once it is destroyed */
    struct adapter *adapter;
    struct verbs_completions *completions;
    enum queue_state state;
    uint32_t number, depth, segments;
    struct verbs_path path;
    struct pending *ring; /* of @depth; read number n is at n % depth */
    /* Numbers of reads: done <= asked <= posted, released <= done. */
    uint64_t posted, asked, done, released;
    uint64_t accepting; /* the read whose packets are taken next */
    uint32_t retries;
    uint64_t progress; /* counts what gets through; a timer looks whether it moved */
    bool has_timer;
    /* The other direction: the peer's reads that wait to be sent. */
    uint64_t *serving; /* reads of the peer, as number and asking */
    uint32_t serving_first, serving_count;
    uint64_t expected; /* the peer's read that comes next */
};

enum event_kind { EVENT_ASKED, EVENT_SEND, EVENT_ARRIVED, EVENT_LAND, EVENT_TURN, EVENT_TIMER };

struct event {
    uint64_t time_ps, order;
    enum event_kind kind;
    struct adapter *adapter;   /* EVENT_SEND */
    struct verbs_queue *queue; /* the reader's */
    uint64_t number;           /* of the read; EVENT_TIMER: progress */
    uint32_t asking, packet;
};

struct model {
    struct verbs verbs; /* first: a table is its model */
    struct model_settings settings;
    uint64_t random, now_ps, order;
    struct event *heap;
    size_t heap_count, heap_size;
    struct adapter adapters[MODEL_DEVICES_MAX];
    uint32_t adapter_count;
    struct verbs_queue *queues[MODEL_QUEUES_MAX];
    uint32_t queue_count;
    struct verbs_memory memories[MODEL_MEMORIES_MAX];
    uint32_t next_key;
    void (*on_sample)(void *context);
    void *on_sample_context;
    struct model_counts counts;
};

/* model_events.c */
uint64_t model_random(struct model *model);
/* Whether what happens @permille times of 1,000 happens now. */
bool model_chance(struct model *model, uint32_t permille);
void model_schedule(struct model *model, uint64_t time_ps, struct event event);
bool model_take_event(struct model *model, struct event *ret_event);

/* model_queue.c */
void model_complete(struct verbs_queue *queue, uint64_t id, uint64_t released,
                    enum verbs_status status);

/* model_wire.c */
/* Asks for what may be asked for now. */
void model_ask(struct verbs_queue *queue);
/* The oldest read gets @status, the others are flushed. */
void model_fail_queue(struct verbs_queue *queue, enum verbs_status status);
/* Completes what is posted to a queue pair that has failed. */
void model_flush(struct verbs_queue *queue);
void model_do(struct model *model, const struct event *event);

/* model_verbs.c */
void model_report(struct adapter *adapter, struct verbs_event event);
struct adapter *model_adapter(struct model *model, const char *name);
/* The registration with this key that allows this, or NULL. */
const struct verbs_memory *model_find_memory(const struct verbs_device *device, uint32_t key,
                                             uint64_t addr, uint64_t len_bytes,
                                             enum verbs_right right);

#endif
