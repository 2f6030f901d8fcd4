/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peercache.h - share KV-cache pages between processes and hosts.
 *
 * Four nouns:
 *
 *   node       one member of the cluster, living in this process;
 *   region     memory that pages are gathered from and scattered to;
 *   namespace  what makes the bytes of two pages comparable;
 *   page       a name and the list of segments that hold its bytes.
 *
 * Every call returns 0 or a negative errno.  0 means that every result is
 * filled; an error means that nothing was attempted.  A miss is a result, not
 * an error.  All calls are thread-safe.  No call lasts longer than its
 * timeout, and once a call has returned nothing reads or writes the buffers
 * that it was given.  In a forked child every call on an inherited handle
 * returns -ECHILD.
 */
#ifndef PEERCACHE_H
#define PEERCACHE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct peercache_config;
struct peercache_node;
struct peercache_region;
struct peercache_namespace;

/* Filled by calls that can fail for a reason a person must read: one sentence, NUL-terminated. */
struct peercache_error {
    char text[256];
};

/* "0.1.0" */
const char *peercache_version(void);

/* --- configuration: options by name, one table for C, Python, command lines, environment --- */

int peercache_config_new(struct peercache_config **ret_config);
/* -ENOENT: no such option (the text names the nearest one).  -EINVAL: the value does not parse. */
int peercache_config_set(struct peercache_config *config, const char *name, const char *value,
                         struct peercache_error *ret_error);
/* Takes every PEERCACHE_<OPTION> of the environment that names an option.  One that names none, but
 * nearly does, is logged. */
int peercache_config_load_environment(struct peercache_config *config,
                                      struct peercache_error *ret_error);
/* The option's value as text, or NULL; valid until the next call on @config. */
const char *peercache_config_get(const struct peercache_config *config, const char *name);
/* The nearest option to a name that is none, or NULL when nothing is near. */
const char *peercache_config_nearest(const char *name);
/* Lists the options: index 0, 1, ... until NULL.  Outputs may be NULL. */
const char *peercache_config_option(size_t index, const char **ret_default, const char **ret_help);
void peercache_config_free(struct peercache_config *config);

/* --- node ----------------------------------------------------------------------------------- */

/* Copies what it needs of @config.  A discovery address that nobody serves is no error. */
int peercache_node_open(const struct peercache_config *config, struct peercache_node **ret_node,
                        struct peercache_error *ret_error);
/* Idempotent, from any thread: calls in flight end as REFUSED_CLOSED. */
void peercache_node_stop(struct peercache_node *node);
/* Stops, waits for calls in flight (10 s at most), leaves the cluster, and frees the node's
 * namespaces and regions too.  NULL is allowed.  Where a call does not end, since an RDMA device
 * does not let go of its memory, the log says so and what it uses is not freed. */
void peercache_node_close(struct peercache_node *node);
/* Before a close that is no hurry: tells the others that the node will leave, refuses to store
 * anything new (REFUSED_DRAINING), and hands the pages that only this node has to others, the
 * hottest first, as far as they have room, for @timeout_ms at most (PEERCACHE_TIMEOUT_DEFAULT: the
 * option drain_timeout).  get and exists go on as before, and others find its pages until it is
 * closed. A second call waits for the first.  -ECANCELED: `peercache drain --cancel` said meanwhile
 * that the node is to stay, and it stores again.  *@ret_json, unless NULL, says how many pages went
 * and why others did not; the caller frees it with free(). */
int peercache_node_drain(struct peercache_node *node, uint32_t timeout_ms, char **ret_json);
/* 1 once a drain is over, also one that `peercache drain` asked for: the process may close the
 * node. */
int peercache_node_is_drained(const struct peercache_node *node);
/* 0: it serves, or was stopped.  -ESTALE: it has ended by itself, for good, because another process
 * has its node id; @ret_error says which. */
int peercache_node_check(struct peercache_node *node, struct peercache_error *ret_error);
/* What `peercache status` prints, as JSON.  The caller frees it with free(). */
int peercache_node_status(struct peercache_node *node, char **ret_json);

/* --- memory --------------------------------------------------------------------------------- */

/* 1: the node reads by RDMA, and regions are of use to it; 0: peercache_region_register() does
 * nothing. */
int peercache_node_has_rdma(const struct peercache_node *node);
/* Tells the transports about memory that pages will use: RDMA reads straight into it, and into
 * other memory through a bounce buffer.  Not needed for shared memory and TCP.  Takes up to a
 * second a GiB; calls may read into it meanwhile, and peercache_node_stop() cuts it short.  The
 * caller keeps ownership, and unmaps only after peercache_region_release(), which waits for calls
 * that read into it.  Memory that cannot be registered with the devices is an error with
 * protocol=rdma only. */
int peercache_region_register(struct peercache_node *node, void *base, uint64_t len_bytes,
                              struct peercache_region **ret_region,
                              struct peercache_error *ret_error);
void peercache_region_release(struct peercache_region *region);

/* --- namespaces ----------------------------------------------------------------------------- */

/* @fields: "model=...", "dtype=bf16", ...: whatever decides what the bytes mean; the node's option
 * tag counts as one more.  Order does not matter; a field is label=value, at most 64 fields of at
 * most 1024 bytes, labels are distinct. */
int peercache_namespace_open(struct peercache_node *node, const char *const *fields, size_t n,
                             struct peercache_namespace **ret_namespace,
                             struct peercache_error *ret_error);
void peercache_namespace_close(struct peercache_namespace *ns);
/* 0: gone on all alive members.  -ETIMEDOUT: goes on by itself; also before the time is up, when
 * only members that hang have not answered. */
int peercache_namespace_clear(struct peercache_namespace *ns, uint32_t timeout_ms);

/* --- pages ---------------------------------------------------------------------------------- */

enum {
    PEERCACHE_NAME_MAX = 255,             /* bytes of a page's name, at least 1 */
    PEERCACHE_SEGMENTS_MAX = 65536,       /* segments of one page */
    PEERCACHE_PAGE_MAX_BYTES = 127 << 20, /* of one page, at least 1; a location has 27 bits */
    PEERCACHE_GROUP_MAX = 16,             /* pages of one group that leave a pool together */
};

struct peercache_segment {
    void *addr;
    uint64_t len_bytes; /* 0 is allowed and skipped */
};

struct peercache_page { /* in; 72 bytes, fixed for a soname */
    const void *name;   /* opaque, 1 .. 255 bytes: SGLang's page hash */
    const struct peercache_segment *segments;
    uint32_t name_len, segment_count;
    const void *parent; /* name of the page before this one, or NULL: a hint */
    uint32_t parent_len;
    uint32_t ttl_s; /* must be 0 (no limit) in this release */
    /* 0: none.  Pages of this node that share a name and a group number are parts of one hybrid
     * page (the components KV, indexer, Mamba ... live in different namespaces), up to
     * PEERCACHE_GROUP_MAX: when one of them leaves the pool, the others are withdrawn with it.
     * Only set looks at it. */
    uint64_t group;
    uint32_t flags, reserved[5]; /* must be 0 */
};

/* Also the labels of the metrics: peercache_outcome_name(). */
enum peercache_outcome {
    PEERCACHE_UNSET = 0,
    PEERCACHE_HIT,               /* get: the page's bytes are in the segments */
    PEERCACHE_FOUND,             /* exists: an alive holder has it */
    PEERCACHE_STORED,            /* set: stored, and an owner has recorded it */
    PEERCACHE_STORED_LOCAL,      /* set: stored, no owner has confirmed it yet */
    PEERCACHE_ALREADY_STORED,    /* set: an alive holder had it */
    PEERCACHE_MISS_UNKNOWN = 64, /* no alive holder is known */
    PEERCACHE_MISS_EVICTED,      /* the holder let it go while we read */
    PEERCACHE_MISS_LENGTH,       /* stored length differs from the segments' sum */
    PEERCACHE_MISS_CHECKSUM,
    PEERCACHE_MISS_PEER, /* the holder or every owner failed to answer */
    PEERCACHE_MISS_DEADLINE,
    PEERCACHE_MISS_DISK,
    PEERCACHE_REFUSED_FULL = 128, /* everything is pinned or in flight */
    PEERCACHE_REFUSED_INVALID,    /* name, segments or reserved fields out of range */
    PEERCACHE_REFUSED_TOO_LARGE,  /* larger than PEERCACHE_PAGE_MAX_BYTES or the pool */
    PEERCACHE_REFUSED_UNSUPPORTED,
    PEERCACHE_REFUSED_CLOSED,
    PEERCACHE_REFUSED_DRAINING, /* set: this node is about to leave, and stores nothing new */
};

enum peercache_tier { PEERCACHE_TIER_NONE, PEERCACHE_TIER_MEMORY, PEERCACHE_TIER_DISK };
enum peercache_via {
    PEERCACHE_VIA_NONE,
    PEERCACHE_VIA_LOCAL,
    PEERCACHE_VIA_SHM,
    PEERCACHE_VIA_RDMA,
    PEERCACHE_VIA_TCP
};

struct peercache_result { /* out, one a page */
    uint64_t len_bytes;   /* of the stored page, where it is known; else 0 */
    uint16_t outcome;     /* enum peercache_outcome */
    uint8_t tier;         /* enum peercache_tier, at the holder */
    uint8_t via;          /* enum peercache_via */
    uint32_t reserved;
};

const char *peercache_outcome_name(uint16_t outcome);
const char *peercache_via_name(uint8_t via);

/* 0: what the own node knows, without waiting. */
#define PEERCACHE_TIMEOUT_NOW 0u
/* The option get_timeout, set_timeout or exists_timeout. */
#define PEERCACHE_TIMEOUT_DEFAULT UINT32_MAX

/* @results has @n entries; each is filled when the call returns 0.  A page that is not a HIT may
 * have left any bytes in its segments.  exists looks at names only. */
int peercache_get(struct peercache_namespace *ns, const struct peercache_page *pages,
                  struct peercache_result *results, size_t n, uint32_t timeout_ms);
int peercache_set(struct peercache_namespace *ns, const struct peercache_page *pages,
                  struct peercache_result *results, size_t n, uint32_t timeout_ms);
int peercache_exists(struct peercache_namespace *ns, const struct peercache_page *pages,
                     struct peercache_result *results, size_t n, uint32_t timeout_ms);

/* --- asking a running node, without becoming a member --------------------------------------- */

struct peercache_request {
    const char *node; /* "host:port" of a node; NULL: the discovery address */
    /* {"ask": "status" | "keys" | "exists" | "put" | "get" | "drain" | "stay", ...} */
    const char *json;
    const void *body; /* the bytes of a put */
    uint64_t body_len_bytes;
};

struct peercache_answer {
    char *json;
    void *body; /* the bytes of a get, or NULL */
    uint64_t body_len_bytes;
};

int peercache_query(const struct peercache_config *config, const struct peercache_request *request,
                    uint32_t timeout_ms, struct peercache_answer *ret_answer,
                    struct peercache_error *ret_error);
void peercache_answer_fini(struct peercache_answer *answer);

/* The RDMA devices of this machine in JSON, and which of them a node with this configuration would
 * use; needs no running node.  0 also where there is none: "works" is false then, and "reason" says
 * why. */
int peercache_devices(const struct peercache_config *config, struct peercache_answer *ret_answer,
                      struct peercache_error *ret_error);

#ifdef __cplusplus
}
#endif
#endif
