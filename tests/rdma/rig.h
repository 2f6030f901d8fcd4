/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rig.h - two devices and connected queue pairs between them, over any table of verbs.h.
 *
 * With the model, waiting makes its time pass; with libibverbs it polls until the time is up.
 */
#ifndef TESTS_RDMA_RIG_H
#define TESTS_RDMA_RIG_H

#include "io/rdma/verbs.h"
#include "model_adapter.h"

enum { RIG_COMPLETIONS = 1024 };

struct rig_end {
    struct verbs_device *device;
    struct verbs_completions *completions;
    struct verbs_port_info port;
    struct verbs_limits limits;
    struct verbs_gid gid; /* the last that the device lists: the routable one, if there is one */
};

struct rig {
    const struct verbs *verbs;
    struct model *model; /* NULL: real devices */
    struct rig_end reader, holder;
    uint64_t posted_ns;
};

/* A queue pair at each end, connected. */
struct rig_pair {
    struct verbs_queue *reader, *holder;
    struct verbs_queue_made made; /* the reader's */
    uint32_t holder_number;
};

/* Memory registered at one end. */
struct rig_memory {
    uint8_t *bytes;
    uint64_t len_bytes;
    struct verbs_memory *memory;
    struct verbs_keys keys;
};

/* All assert that the world does as it should. */
void rig_open(struct rig *rig, const struct verbs *verbs, struct model *model, const char *reader,
              const char *holder);
void rig_close(struct rig *rig);
struct rig_pair rig_connect(struct rig *rig, uint32_t depth, uint32_t segments);
void rig_disconnect(struct rig *rig, struct rig_pair *pair);
/* Filled with @fill. */
struct rig_memory rig_memory_new(struct rig *rig, struct rig_end *end, uint64_t len_bytes,
                                 uint32_t rights, uint8_t fill);
void rig_memory_free(struct rig *rig, struct rig_memory *memory);

/* The end of a bench over the model: of each of its queue pairs with the memory in which headers
 * land, and then of what it reads from and into, and of the rig. */
void rig_end_lane(struct rig *rig, struct rig_pair *pair, struct rig_memory *landing);
void rig_end(struct rig *rig, struct rig_memory *arena, struct rig_memory *target);

/* The segment [offset, offset + len) of a registered memory. */
struct verbs_segment rig_segment(const struct rig_memory *memory, uint64_t offset, uint32_t len);
/* Posts all, and expects that. */
void rig_post(struct rig *rig, struct verbs_queue *queue, const struct verbs_read *reads,
              uint32_t n);
/* Waits for @n completions of the reader and no more. */
void rig_wait(struct rig *rig, struct verbs_completion *ret_completions, uint32_t n);
/* Lets something happen; false: nothing will, or the last post is too long ago. */
bool rig_idle(struct rig *rig);

#endif
