/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench.c - `peercache bench`: joins the cluster as a member with a small pool, and measures.
 *
 * Three phases share the time: set into the own pool, exists, and get of pages that other members
 * hold; with --alone and no other member, of pages of the own pool, which the table then says.  All
 * pages live in a namespace of this run, which is cleared at its end, and every byte of every hit
 * is compared.  `make bench` is
 * another thing: it measures the build beside memcpy, iperf3 and a ping-pong, without a cluster.
 */
#include "bench.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>

#include "command.h"
#include "common/exit.h"
#include "text.h"

static int compare_samples(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static uint64_t kept(const struct phase *phase)
{
    return phase->calls < BENCH_SAMPLES_MAX ? phase->calls : BENCH_SAMPLES_MAX;
}

/* Of the sorted samples, in microseconds. */
static double percentile_us(const struct phase *phase, unsigned percent)
{
    uint64_t n = kept(phase);
    return n ? (double)phase->samples_ns[(n - 1) * percent / 100] / 1e3 : 0;
}

static double rate(double amount, double seconds)
{
    return seconds > 0 ? amount / seconds : 0;
}

static json_t *json_of(const struct phase *phase)
{
    json_t *via = json_object();
    for (uint8_t i = PEERCACHE_VIA_LOCAL; i <= PEERCACHE_VIA_TCP; i++)
        if (phase->by_via[i])
            json_object_set_new(via, peercache_via_name(i), json_integer((long)phase->by_via[i]));
    return json_pack("{ss sI sI sI sI sf sf sf sf so}", "name", phase->name, "calls",
                     (json_int_t)phase->calls, "pages", (json_int_t)phase->pages, "good_pages",
                     (json_int_t)phase->good, "wrong_pages", (json_int_t)phase->wrong_pages,
                     "gb_per_s", rate((double)phase->bytes / 1e9, phase->seconds), "pages_per_s",
                     rate((double)phase->good, phase->seconds), "p50_us", percentile_us(phase, 50),
                     "p99_us", percentile_us(phase, 99), "via", via);
}

static void print_json(const struct bench *bench, const struct phase *phases, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_of(&phases[i]));
    json_t *all = json_pack("{sI sI sI sI so}", "other_members", (json_int_t)bench->members,
                            "placed_pages", (json_int_t)bench->placed, "page_bytes",
                            (json_int_t)bench->invocation->page_bytes, "batch",
                            (json_int_t)bench->invocation->batch, "phases", list);
    json_dumpf(all, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(all);
}

static void print_row(const struct phase *phase)
{
    printf("%-8s %9" PRIu64 " %8.3f %11.0f %10.1f %10.1f %9" PRIu64 "  ", phase->name, phase->good,
           rate((double)phase->bytes / 1e9, phase->seconds),
           rate((double)phase->good, phase->seconds), percentile_us(phase, 50),
           percentile_us(phase, 99), phase->pages - phase->good);
    for (uint8_t i = PEERCACHE_VIA_LOCAL; i <= PEERCACHE_VIA_TCP; i++)
        if (phase->by_via[i])
            printf("%s %.0f%%  ", peercache_via_name(i),
                   100.0 * (double)phase->by_via[i] / (double)phase->good);
    putchar('\n');
}

static void print_table(const struct bench *bench, const struct phase *phases, size_t n)
{
    printf("%u pages of %s a call, ", bench->invocation->batch,
           text_size(bench->invocation->page_bytes).text);
    if (bench->placed)
        printf("exists and get of %u pages on %u other members\n", bench->placed, bench->members);
    else
        printf("exists and get of the own pool: no other member took a page\n");
    printf("%-8s %9s %8s %11s %10s %10s %9s  %s\n", "", "pages", "GB/s", "pages/s", "p50 us",
           "p99 us", "not good", "via");
    for (size_t i = 0; i < n; i++)
        print_row(&phases[i]);
}

static void tell_bad(const struct phase *phase)
{
    const char *outcome = peercache_outcome_name(phase->bad_outcome);
    if (phase->good < phase->pages)
        text_fail(0, "%s: %" PRIu64 " of %" PRIu64 " pages were not good, the last with %s: %s",
                  phase->name, phase->pages - phase->good, phase->pages, outcome,
                  text_reason(outcome));
}

static int measure_all(struct bench *bench, struct phase *phases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        phases[i].samples_ns = calloc(BENCH_SAMPLES_MAX, sizeof *phases[i].samples_ns);
        if (!phases[i].samples_ns)
            return text_fail(EXIT_REFUSED, "not enough memory for the latencies");
        int status = bench_measure(bench, &phases[i]);
        if (status)
            return status;
        qsort(phases[i].samples_ns, kept(&phases[i]), sizeof *phases[i].samples_ns,
              compare_samples);
    }
    return EXIT_OK;
}

int command_bench(const struct invocation *invocation)
{
    enum { SET, EXISTS, GET };
    struct phase phases[] = {
        [SET] = {.name = "set"}, [EXISTS] = {.name = "exists"}, [GET] = {.name = "get"}};
    size_t n = sizeof phases / sizeof *phases;
    struct bench bench;
    if (invocation->node)
        return text_fail(EXIT_USAGE, "bench joins the cluster: give --discovery_addr, not --node");
    if (!invocation->alone && !*peercache_config_get(invocation->config, "discovery_addr"))
        return text_fail(EXIT_USAGE, "no cluster to join: give --discovery_addr HOST:PORT, or "
                                     "--alone to measure the own pool");
    int status = bench_join(&bench, invocation);
    if (!status)
        status = measure_all(&bench, phases, n);
    if (!status)
        (invocation->json ? print_json : print_table)(&bench, phases, n);
    for (size_t i = 0; i < n && !status; i++)
        tell_bad(&phases[i]);
    if (!status && phases[GET].good == 0)
        status = text_fail(EXIT_MISS, "no page came");
    for (size_t i = 0; i < n; i++) {
        if (phases[i].wrong_pages)
            status = text_fail(EXIT_REFUSED, "%s: %" PRIu64 " pages had wrong bytes",
                               phases[i].name, phases[i].wrong_pages);
        free(phases[i].samples_ns);
    }
    bench_leave(&bench);
    return status;
}
