/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_join.c - makes `peercache bench` a member, and spreads pages over the others.
 *
 * The pages of the get are put on the other members by the way that `peercache put` goes, so that
 * their bytes really travel later.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ask.h"
#include "bench.h"
#include "common/exit.h"
#include "text.h"

enum {
    PAGES_PLACED = 64,     /* enough that no batch is only one page */
    MEMBER_WAIT_MS = 3000, /* until the member list has come: a heartbeat and a half */
    MEMBER_POLL_MS = 20,
};

uint64_t bench_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void bench_fill_page(char *bytes, uint64_t len_bytes, uint64_t serial)
{
    uint64_t state = serial * 0x9e3779b97f4a7c15u + 1;
    for (uint64_t i = 0; i < len_bytes; i++) {
        if (i % 8 == 0)
            state = state * 6364136223846793005u + 1442695040888963407u;
        bytes[i] = (char)(state >> (8 * (i % 8)));
    }
}

char *bench_buffer(const struct bench *bench, uint32_t i)
{
    return bench->buffers + i * bench->invocation->page_bytes;
}

static uint64_t buffers_bytes(const struct bench *bench)
{
    return (bench->invocation->batch + UINT64_C(1)) * bench->invocation->page_bytes;
}

static int allocate(struct bench *bench)
{
    uint32_t batch = bench->invocation->batch;
    uint64_t page_bytes = bench->invocation->page_bytes;
    /* One page more than a batch: room to make the bytes to compare with. */
    bench->buffers = calloc(batch + 1, page_bytes);
    bench->names = calloc(batch, sizeof *bench->names);
    bench->segments = calloc(batch, sizeof *bench->segments);
    bench->pages = calloc(batch, sizeof *bench->pages);
    bench->results = calloc(batch, sizeof *bench->results);
    bench->serials = calloc(batch, sizeof *bench->serials);
    if (!bench->buffers || !bench->names || !bench->segments || !bench->pages || !bench->results ||
        !bench->serials)
        return text_fail(EXIT_REFUSED, "not enough memory for %u pages of %s: lower --batch", batch,
                         text_size(page_bytes).text);
    for (uint32_t i = 0; i < batch; i++) {
        bench->segments[i] = (struct peercache_segment){bench_buffer(bench, i), page_bytes};
        bench->pages[i] = (struct peercache_page){
            .name = bench->names[i], .segments = &bench->segments[i], .segment_count = 1};
    }
    return EXIT_OK;
}

static int join(struct bench *bench)
{
    const struct invocation *invocation = bench->invocation;
    struct peercache_error error = {{0}};
    if (invocation->n_fields == FIELDS_MAX)
        return text_fail(EXIT_USAGE, "bench adds a field of its own: give --namespace once less");
    snprintf(bench->run_field, sizeof bench->run_field, "bench=%d.%" PRIu64, (int)getpid(),
             bench_now_ns());
    memcpy(bench->fields, invocation->fields, sizeof bench->fields);
    bench->fields[invocation->n_fields] = bench->run_field;
    bench->n_fields = invocation->n_fields + 1;
    if (peercache_node_open(invocation->config, &bench->node, &error) < 0 ||
        peercache_namespace_open(bench->node, bench->fields, bench->n_fields, &bench->ns, &error) <
            0 ||
        peercache_region_register(bench->node, bench->buffers, buffers_bytes(bench), &bench->region,
                                  &error) < 0)
        return text_fail(EXIT_REFUSED, "%s", error.text);
    return EXIT_OK;
}

/* The own node's members as JSON, or NULL; the caller releases it. */
static json_t *read_status(const struct bench *bench)
{
    char *text = NULL;
    if (peercache_node_status(bench->node, &text) < 0)
        return NULL;
    json_t *status = json_loads(text, 0, NULL);
    free(text);
    return status;
}

/* A member list comes with the first heartbeat; a cluster of one never gets any. */
static json_t *wait_for_members(const struct bench *bench)
{
    bool is_joining = *peercache_config_get(bench->invocation->config, "discovery_addr");
    uint64_t end = bench_now_ns() + (is_joining ? MEMBER_WAIT_MS * UINT64_C(1000000) : 0);
    for (;;) {
        json_t *status = read_status(bench);
        if (json_array_size(json_object_get(status, "members")) > 1 || bench_now_ns() > end)
            return status;
        json_decref(status);
        nanosleep(&(struct timespec){.tv_nsec = MEMBER_POLL_MS * 1000000L}, NULL);
    }
}

static bool place_page(struct bench *bench, const char *address, uint64_t serial)
{
    struct invocation other = *bench->invocation;
    memcpy(other.fields, bench->fields, sizeof other.fields);
    other.n_fields = bench->n_fields;
    other.node = address;
    char name[BENCH_NAME_SIZE];
    snprintf(name, sizeof name, "placed-%" PRIu64, serial);
    bench_fill_page(bench->buffers, other.page_bytes, serial);
    json_t *request = ask_new(&other, "put", true);
    json_object_set_new(request, "key", json_string(name));
    struct reply reply;
    if (ask(&other, request, bench->buffers, other.page_bytes, &reply))
        return false;
    bool is_stored = !strncasecmp(ask_text(reply.json, "outcome"), "STORED", strlen("STORED"));
    ask_fini(&reply);
    return is_stored;
}

/* Spreads pages over the other members, in turn. */
static void place_pages(struct bench *bench)
{
    json_t *status = wait_for_members(bench);
    const json_t *members = json_object_get(status, "members");
    const char *own_id = ask_text(json_object_get(status, "node"), "node_id");
    size_t n = json_array_size(members);
    for (size_t i = 0; i < n; i++)
        bench->members += strcmp(ask_text(json_array_get(members, i), "node_id"), own_id) != 0;
    for (size_t i = 0; bench->members && bench->placed < PAGES_PLACED; i = (i + 1) % n) {
        const json_t *member = json_array_get(members, i);
        if (!strcmp(ask_text(member, "node_id"), own_id))
            continue;
        if (!place_page(bench, ask_text(member, "address"), bench->placed))
            break;
        bench->placed++;
    }
    json_decref(status);
}

/* Without others the figures would be those of this process's own memory. */
static int check_members(const struct bench *bench)
{
    if (bench->members || bench->invocation->alone)
        return EXIT_OK;
    return text_fail(EXIT_UNREACHABLE, "no other member at %s; nothing to measure",
                     peercache_config_get(bench->invocation->config, "discovery_addr"));
}

int bench_join(struct bench *bench, const struct invocation *invocation)
{
    *bench = (struct bench){.invocation = invocation};
    int status = allocate(bench);
    if (!status)
        status = join(bench);
    if (status)
        return status;
    place_pages(bench);
    return check_members(bench);
}

/* The pages that lie on other members would stay there until they are evicted. */
static void clear(struct bench *bench)
{
    int error = bench->ns ? peercache_namespace_clear(bench->ns, PEERCACHE_TIMEOUT_DEFAULT) : 0;
    if (error)
        text_fail(EXIT_OK,
                  "the pages of this run may stay on other members until they are "
                  "evicted: %s",
                  strerror(-error));
}

void bench_leave(struct bench *bench)
{
    clear(bench);
    peercache_node_close(bench->node);
    free(bench->buffers);
    free(bench->names);
    free(bench->segments);
    free(bench->pages);
    free(bench->results);
    free(bench->serials);
}
