/* SPDX-License-Identifier: Apache-2.0 */
/* rig.c - opens, connects, posts and waits for the tests of verbs.h. */
#include "rig.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"

enum { DEADLINE_S = 60, TIMEOUT_EXPONENT = 12, RETRIES = 6, HOPS = 64 };

static void open_end(struct rig *rig, const char *name, struct rig_end *end)
{
    struct verbs_gid *gids = calloc(VERBS_GIDS_MAX, sizeof *gids);
    struct verbs_device_info info;
    uint32_t n = 0;
    CHECK(gids && rig->verbs->open(rig->verbs, name, &end->device) == 0);
    CHECK(rig->verbs->query_device(rig->verbs, end->device, &info) == 0);
    CHECK(rig->verbs->query_port(rig->verbs, end->device, 1, &end->port) == 0);
    CHECK(rig->verbs->query_gids(rig->verbs, end->device, gids, &n) == 0 && n > 0);
    CHECK(rig->verbs->completions_create(rig->verbs, end->device, RIG_COMPLETIONS,
                                         &end->completions) == 0);
    end->gid = gids[n - 1];
    end->limits = info.limits;
    free(gids);
}

void rig_open(struct rig *rig, const struct verbs *verbs, struct model *model, const char *reader,
              const char *holder)
{
    *rig = (struct rig){.verbs = verbs, .model = model};
    open_end(rig, reader, &rig->reader);
    open_end(rig, holder, &rig->holder);
}

void rig_close(struct rig *rig)
{
    rig->verbs->completions_destroy(rig->verbs, rig->reader.completions);
    rig->verbs->completions_destroy(rig->verbs, rig->holder.completions);
    rig->verbs->close(rig->verbs, rig->reader.device);
    rig->verbs->close(rig->verbs, rig->holder.device);
}

static struct verbs_queue *make(struct rig *rig, struct rig_end *end, uint32_t depth,
                                uint32_t segments, struct verbs_queue_made *ret_made)
{
    struct verbs_queue *queue = NULL;
    const struct verbs_queue_request request = {
        .completions = end->completions, .port = 1, .depth = depth, .segments = segments};
    CHECK(rig->verbs->queue_create(rig->verbs, end->device, &request, &queue, ret_made) == 0);
    return queue;
}

static uint8_t reads_of(const struct rig_end *end)
{
    uint32_t least = end->limits.reads_asked < end->limits.reads_served ? end->limits.reads_asked
                                                                        : end->limits.reads_served;
    return least > 16 ? 16 : (uint8_t)least;
}

static void join(struct rig *rig, struct verbs_queue *queue, const struct rig_end *own,
                 const struct rig_end *peer, uint32_t peer_number)
{
    struct verbs_path path = {.peer_number = peer_number,
                              .peer_psn = 77,
                              .own_psn = 77,
                              .is_global = true,
                              .gid_index = own->gid.index,
                              .mtu_bytes = own->port.mtu_bytes,
                              .hop_limit = HOPS,
                              .reads_served = reads_of(own),
                              .reads_asked = reads_of(own),
                              .timeout_exponent = TIMEOUT_EXPONENT,
                              .retry_count = RETRIES};
    memcpy(path.peer_gid, peer->gid.bytes, VERBS_GID_BYTES);
    CHECK(rig->verbs->queue_connect(rig->verbs, queue, &path) == 0);
}

struct rig_pair rig_connect(struct rig *rig, uint32_t depth, uint32_t segments)
{
    struct rig_pair pair;
    struct verbs_queue_made holder;
    pair.reader = make(rig, &rig->reader, depth, segments, &pair.made);
    pair.holder = make(rig, &rig->holder, 1, 1, &holder);
    pair.holder_number = holder.number;
    join(rig, pair.holder, &rig->holder, &rig->reader, pair.made.number);
    join(rig, pair.reader, &rig->reader, &rig->holder, holder.number);
    return pair;
}

void rig_disconnect(struct rig *rig, struct rig_pair *pair)
{
    CHECK(rig->verbs->queue_destroy(rig->verbs, pair->reader) == 0);
    CHECK(rig->verbs->queue_destroy(rig->verbs, pair->holder) == 0);
}

struct rig_memory rig_memory_new(struct rig *rig, struct rig_end *end, uint64_t len_bytes,
                                 uint32_t rights, uint8_t fill)
{
    struct rig_memory memory = {.bytes = malloc(len_bytes), .len_bytes = len_bytes};
    CHECK(memory.bytes);
    memset(memory.bytes, fill, len_bytes);
    CHECK(rig->verbs->memory_register(rig->verbs, end->device, memory.bytes, len_bytes, rights,
                                      &memory.memory, &memory.keys) == 0);
    return memory;
}

void rig_memory_free(struct rig *rig, struct rig_memory *memory)
{
    CHECK(rig->verbs->memory_deregister(rig->verbs, memory->memory) == 0);
    free(memory->bytes);
}

void rig_end_lane(struct rig *rig, struct rig_pair *pair, struct rig_memory *landing)
{
    rig_disconnect(rig, pair);
    rig_memory_free(rig, landing);
}

void rig_end(struct rig *rig, struct rig_memory *arena, struct rig_memory *target)
{
    rig_memory_free(rig, arena);
    rig_memory_free(rig, target);
    rig_close(rig);
}

struct verbs_segment rig_segment(const struct rig_memory *memory, uint64_t offset, uint32_t len)
{
    return (struct verbs_segment){.addr = (uintptr_t)memory->bytes + offset,
                                  .len_bytes = len,
                                  .local_key = memory->keys.local};
}

void rig_post(struct rig *rig, struct verbs_queue *queue, const struct verbs_read *reads,
              uint32_t n)
{
    uint32_t posted = 0;
    rig->posted_ns = clock_now_ns();
    CHECK(rig->verbs->post(rig->verbs, queue, reads, n, &posted) == 0);
    CHECK(posted == n);
}

bool rig_idle(struct rig *rig)
{
    if (rig->model)
        return model_step(rig->model);
    sched_yield();
    return clock_now_ns() - rig->posted_ns < (uint64_t)DEADLINE_S * 1000000000;
}

void rig_wait(struct rig *rig, struct verbs_completion *ret_completions, uint32_t n)
{
    for (uint32_t got = 0; got < n;) {
        uint32_t more = 0;
        CHECK(rig->verbs->poll(rig->verbs, rig->reader.completions, ret_completions + got, n - got,
                               &more) == 0);
        got += more;
        if (more == 0)
            CHECK(rig_idle(rig));
    }
}
