/* SPDX-License-Identifier: Apache-2.0 */
/* bench_measure.c - the phases of `peercache bench`: calls in a loop, timed and counted. */
#include <inttypes.h>
#include <string.h>

#include "bench.h"
#include "common/exit.h"
#include "text.h"

enum { PHASES = 3 };

static bool page_is(const char *bytes, uint64_t len_bytes, uint64_t serial, char *scratch)
{
    bench_fill_page(scratch, len_bytes, serial);
    return !memcmp(bytes, scratch, len_bytes);
}

static void name_page(struct bench *bench, uint32_t i, const char *kind)
{
    bench->pages[i].name_len = (uint32_t)snprintf(bench->names[i], BENCH_NAME_SIZE, "%s-%" PRIu64,
                                                  kind, bench->serials[i]);
}

static void count_results(struct bench *bench, struct phase *phase, uint16_t good)
{
    const struct invocation *invocation = bench->invocation;
    for (uint32_t i = 0; i < invocation->batch; i++) {
        const struct peercache_result *result = &bench->results[i];
        if (result->outcome != good) {
            phase->bad_outcome = result->outcome;
            continue;
        }
        phase->good++;
        phase->by_via[result->via <= PEERCACHE_VIA_TCP ? result->via : 0]++;
        if (good != PEERCACHE_FOUND)
            phase->bytes += invocation->page_bytes;
        if (good == PEERCACHE_HIT &&
            !page_is(bench_buffer(bench, i), invocation->page_bytes, bench->serials[i],
                     bench_buffer(bench, invocation->batch)))
            phase->wrong_pages++;
    }
    phase->pages += invocation->batch;
}

typedef int (*batch_call)(struct peercache_namespace *ns, const struct peercache_page *pages,
                          struct peercache_result *results, size_t n, uint32_t timeout_ms);

/* One call of a phase, timed; what prepares and checks it is not. */
static int measure(struct bench *bench, struct phase *phase, batch_call call, uint16_t good)
{
    uint64_t begin = bench_now_ns();
    int error = call(bench->ns, bench->pages, bench->results, bench->invocation->batch,
                     PEERCACHE_TIMEOUT_DEFAULT);
    uint64_t taken = bench_now_ns() - begin;
    if (error < 0)
        return text_fail(EXIT_REFUSED, "%s: %s", phase->name, strerror(-error));
    if (phase->calls < BENCH_SAMPLES_MAX)
        phase->samples_ns[phase->calls] = taken;
    phase->calls++;
    phase->seconds += (double)taken / 1e9;
    count_results(bench, phase, good);
    return EXIT_OK;
}

static void prepare_set(struct bench *bench)
{
    for (uint32_t i = 0; i < bench->invocation->batch; i++) {
        bench->serials[i] = bench->serial++;
        name_page(bench, i, "page");
        bench_fill_page(bench_buffer(bench, i), bench->invocation->page_bytes, bench->serials[i]);
    }
}

/* The pages on other members in turn; without any, those that were set last. */
static void prepare_read(struct bench *bench)
{
    for (uint32_t i = 0; i < bench->invocation->batch; i++) {
        memset(bench_buffer(bench, i), 0, bench->invocation->page_bytes);
        if (!bench->placed)
            continue;
        bench->serials[i] = bench->serial++ % bench->placed;
        name_page(bench, i, "placed");
    }
}

static const struct kind {
    const char *name;
    batch_call call;
    uint16_t good;
    void (*prepare)(struct bench *bench);
} kinds[] = {
    {"set", peercache_set, PEERCACHE_STORED, prepare_set},
    {"exists", peercache_exists, PEERCACHE_FOUND, prepare_read},
    {"get", peercache_get, PEERCACHE_HIT, prepare_read},
};

int bench_measure(struct bench *bench, struct phase *phase)
{
    const struct kind *kind = kinds;
    while (strcmp(kind->name, phase->name))
        kind++;
    uint64_t end = bench_now_ns() + (uint64_t)(bench->invocation->seconds / PHASES * 1e9);
    do {
        kind->prepare(bench);
        int status = measure(bench, phase, kind->call, kind->good);
        if (status)
            return status;
    } while (bench_now_ns() < end);
    return EXIT_OK;
}
