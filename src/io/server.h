/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server.h - the serving side of channels and tools: a few threads that answer look-ups and reads
 * inline, and one that runs the requests of tools.
 */
#ifndef IO_SERVER_H
#define IO_SERVER_H

#include <stddef.h>
#include <stdint.h>

#include "peercache.h"
#include "wire/schema.h"

enum {
    SERVER_THREADS_MAX = 16,
    /* Connections a thread; for one more the one that has asked nothing for the longest time is
     * hung up on, and if none may be, the one more. */
    SERVER_CONNECTIONS_MAX = 512,
    /* Beyond these, on their way to a thread that is full. */
    SERVER_ARRIVALS_MAX = 32,
    /* Requests of one channel that wait, in bytes: the size of its input buffer.  A channel whose
     * buffer is full is not read until an answer is out. */
    SERVER_INPUT_BYTES = 64 << 10,
    /* Payload of one group, and so pinned for one connection, unless it is a single larger page. */
    SERVER_GROUP_MAX_BYTES = 1 << 20,
    SERVER_BODY_MAX_BYTES = PEERCACHE_PAGE_MAX_BYTES + (1 << 20),
    /* Tools' requests that are being received, run, or answered. */
    SERVER_TOOLS_MAX = 8,
    SERVER_TOOL_PIECE_BYTES = 64 << 10,
};
/* A reader that takes no byte for so long while pages are pinned for it is hung up on. */
#define SERVER_STALL_TIMEOUT_NS UINT64_C(2000000000)
/* A group may be pinned for the stall time-out and as long as it takes at this pace, no longer. */
#define SERVER_PACE_MIN_BYTES_PER_S UINT64_C(4194304)
/* No connection that has asked something so lately is hung up on for want of room: a call that is
 * under way asks more often, and to a reader between two calls it costs a new channel. */
#define SERVER_SPARE_NS UINT64_C(250000000)
/* A tool sends its request, and takes its answer, within this; and a piece of the answer within the
 * stall time-out. */
#define SERVER_TOOL_TIMEOUT_NS UINT64_C(20000000000)

/* Room for an answer to a look-up. */
struct server_scratch {
    struct record_holder holders[BATCH_MAX];
    struct record_found found[FOUND_MAX];
    struct record_index hot[BATCH_MAX];
    struct record_queue queues[PAIR_MAX];
    struct record_slice slices[SLICES_MAX];
};

/* All pointers are valid during the call. */
struct server_request {
    const char *json; /* not NUL-terminated */
    size_t json_len;
    const uint8_t *body;
    size_t body_len;
};

/* json and body are malloc()ed by the callee and freed by the server; both may be NULL. */
struct server_answer {
    int error;
    char *json;
    size_t json_len;
    uint8_t *body;
    size_t body_len;
};

/* Who is at the other end of a channel, by its own word: what its hello said. */
struct server_asker {
    struct id128 node_id;
    uint64_t incarnation;
};

struct server_ops {
    /* Any serving thread, several at once; must not wait.  @ret_locations is zeroed; the lists of
     * the answer lie in @scratch.  All that comes from the wire is bounded, and nothing more:
     * what it says is a claim. */
    void (*lookup)(void *context, const struct message_lookup *lookup,
                   struct server_scratch *scratch, struct message_locations *ret_locations);
    /* Likewise.  Fills the status (zeroed).  With error 0 the page is pinned, has the length that
     * was wanted, lies at *ret_bytes, and unpin() follows when the kernel has taken it or the
     * connection ends.  @wanted, its slot, length and offset included, is a claim to be checked
     * first. */
    void (*pin)(void *context, const struct record_wanted *wanted, struct record_status *ret_status,
                const uint8_t **ret_bytes);
    void (*unpin)(void *context, uint32_t slot);
    /* One thread, which is not a serving one; may wait for the adapter.  Makes queue pairs for the
     * reader; what they are known by goes to *ret_guest, which is passed to unpair() when the
     * channel ends. Both may be NULL: then who asks is hung up on. */
    void (*pair)(void *context, const struct server_asker *asker, const struct message_pair *pair,
                 struct server_scratch *scratch, struct message_paired *ret_paired,
                 void **ret_guest);
    void (*unpair)(void *context, void *guest);
    /* The tool thread, one at a time; may wait. */
    void (*request)(void *context, const struct server_request *request,
                    struct server_answer *ret_answer);
};

struct server_setup {
    struct server_ops ops;
    void *context;
    uint32_t threads;           /* 1 .. SERVER_THREADS_MAX */
    uint64_t spin_ns;           /* a thread polls for so long after its last request; 0: sleeps */
    uint64_t stall_timeout_ns;  /* 0: SERVER_STALL_TIMEOUT_NS */
    uint32_t send_buffer_bytes; /* SO_SNDBUF; 0: the kernel's own choice, which grows */
    uint32_t connections_max;   /* a thread; 0: SERVER_CONNECTIONS_MAX */
    uint64_t spare_ns;          /* 0: SERVER_SPARE_NS */
};

struct server_counts {
    uint64_t connections; /* now */
    uint64_t accepted, lookups, lookup_keys, groups, pages, page_bytes, refused_pages;
    uint64_t stalled, garbage, tool_requests, tools_refused, connections_refused;
    uint64_t spared; /* hung up on, since room was wanted */
};

struct server;

int server_start(const struct server_setup *setup, struct server **ret_server);
/* Hangs up on everybody, unpins, ends the threads.  Waits for a tool's request that runs.  NULL is
 * allowed. */
void server_stop(struct server *server);

/* Any thread.  Takes over a connection whose hello is done (conn_detach()) and what was read behind
 * it.  Takes @fd whatever it returns; -EBUSY: too many. */
struct server_arrival {
    enum purpose purpose; /* PURPOSE_CHANNEL or PURPOSE_TOOL */
    uint16_t version;     /* of the protocol, agreed on */
    struct server_asker asker;
};
int server_add(struct server *server, int fd, const struct server_arrival *arrival,
               const uint8_t *rest, size_t rest_len);

/* Any thread: hangs up on all channels, soon.  Tools stay. */
void server_hang_up(struct server *server);

/* Any thread: the process is out of descriptors.  Each thread hangs up, soon, on the connection
 * that has asked nothing for the longest time, if it may be spared. */
void server_make_room(struct server *server);

/* Any thread; a sum over the threads, each of them exact. */
void server_counts(const struct server *server, struct server_counts *ret_counts);

#endif
