/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_adapter.h - verbs.h over memory, a modelled wire and a clock of its own.
 *
 * For what the virtual machine cannot show: the price of a fence on a fast wire, the bytes that an
 * adapter may sample in which order, and failures at a chosen moment.  Devices, queue pairs and
 * registered memory are of one process; a read samples the holder's memory packet by packet and
 * lands in the reader's packet by packet; model_on_sample() lets the holder store in between.
 *
 * What it takes from the specification of InfiniBand, and nothing more:
 *   - the reads of a queue pair are asked for in order, at most reads_asked at a time, and complete
 *     in order; a fenced read is asked for when all before it have completed;
 *   - the holder's adapter may sample any packet of a read as soon as it was asked for it, also
 *     before packets of earlier reads; what is asked again is sampled again;
 *   - packets are taken in order; a lost one has the reads from it on asked for again;
 *   - accepted packets land in any order, all of them before the completion;
 *   - a queue pair that fails completes that read with its error and flushes the others; one that
 *     was destroyed does nothing any more.
 *
 * One thread.  Everything follows from the seed.  Time passes only in model_step() and its kind.
 */
#ifndef TESTS_RDMA_MODEL_ADAPTER_H
#define TESTS_RDMA_MODEL_ADAPTER_H

#include "io/rdma/verbs.h"

enum {
    MODEL_DEVICES_MAX = 16,
    MODEL_QUEUES_MAX = 256, /* over the life of a model, the destroyed ones too */
    MODEL_MEMORIES_MAX = 256,
    MODEL_DEPTH_MAX = 1024,
};

struct model_settings {
    uint64_t seed;
    double gbit_per_s;    /* of payload, each way of each device */
    uint32_t latency_ns;  /* from the asking to the first byte of the answer */
    uint32_t asking_ns;   /* least time between two reads that a device asks for */
    uint32_t landing_ns;  /* within which an accepted packet lands */
    uint32_t reads_asked; /* limit of a queue pair, and of what it serves */
    /* Of 1,000 packets: sampled as soon as they are asked for; lost; asked for twice. */
    uint32_t early_permille, lost_permille, again_permille;
};

/* 400 Gbit/s, 3 us, 16 reads a queue pair, half of the packets sampled early, no loss. */
struct model_settings model_settings_default(uint64_t seed);

struct model;
struct model *model_new(const struct model_settings *settings);
/* Also what was not destroyed. */
void model_free(struct model *model);

/* Valid until model_free(). */
const struct verbs *model_verbs(struct model *model);

/* One active port on Ethernet with a RoCE v2 address, 10.@subnet.0.(1 + number of the device). */
void model_add_device(struct model *model, const char *name, uint8_t subnet);

/* --- time ------------------------------------------------------------------------------------- */

uint64_t model_now_ns(const struct model *model);
/* Does what is next and moves the clock to it; false: nothing is left to happen. */
bool model_step(struct model *model);
/* All that happens until then. */
void model_run_until(struct model *model, uint64_t time_ns);

/* Called before each packet is sampled: here the holder stores, evicts, fills. */
void model_on_sample(struct model *model, void (*callback)(void *context), void *context);

/* --- faults ----------------------------------------------------------------------------------- */

/* Nothing gets through, either way; reported as an event. */
/* Its address is taken away and given back, at another index. */
void model_move_gid(struct model *model, const char *device, uint32_t index);
void model_set_port(struct model *model, const char *device, bool is_up);
/* As if it were pulled out: calls fail with -EIO, and its queue pairs flush or, as the seed will
 * have it, say nothing any more. */
void model_remove_device(struct model *model, const char *device);
/* The next @times that a queue pair of the device is to be destroyed it is not, and goes on. */
void model_hold_queues(struct model *model, const char *device, uint32_t times);
/* The oldest read under way of this queue pair fails, as soon as it is its turn. */
void model_fail_read(struct model *model, uint32_t queue_number, enum verbs_status status);
/* The next @times that memory is to be registered there is no room for it: -ENOMEM. */
void model_refuse_memory(struct model *model, const char *device, uint32_t times);

/* --- what happened ---------------------------------------------------------------------------- */

struct model_counts {
    uint64_t reads_done, bytes_landed;
    uint64_t packets_sampled, sampled_early, lost, asked_again;
    uint64_t doorbells;                                         /* calls of post */
    uint64_t memories, queues, completion_queues, devices_open; /* that exist now */
};

struct model_counts model_counts(const struct model *model);

#endif
