/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench.h - the parts of `peercache bench`: how it joins, what it measures, what it prints.
 *
 * One thread does everything.  The functions that return int return an enum exit_status, and print
 * the reason themselves where it is not 0.
 */
#ifndef PEERCACHE_BENCH_H
#define PEERCACHE_BENCH_H

#include "invocation.h"

enum {
    BENCH_NAME_SIZE = 32,
    BENCH_SAMPLES_MAX = 1 << 20, /* latencies kept of a phase; 8 MiB */
};

struct bench {
    const struct invocation *invocation;
    struct peercache_node *node;
    struct peercache_namespace *ns;
    const char *fields[FIELDS_MAX];
    size_t n_fields;
    char run_field[48];
    char *buffers;                   /* batch x page_bytes */
    struct peercache_region *region; /* the buffers; freed with the node */
    char (*names)[BENCH_NAME_SIZE];
    struct peercache_segment *segments;
    struct peercache_page *pages;
    struct peercache_result *results;
    uint64_t *serials; /* of the pages of the batch; their bytes follow from them */
    uint64_t serial;   /* the next one */
    uint32_t members;  /* others that hold pages of this run */
    uint32_t placed;
};

struct phase {
    const char *name;
    uint64_t *samples_ns;
    uint64_t calls, pages, good, bytes, wrong_pages;
    uint64_t by_via[PEERCACHE_VIA_TCP + 1];
    uint16_t bad_outcome; /* of the last page that was not good */
    double seconds;
};

uint64_t bench_now_ns(void);
char *bench_buffer(const struct bench *bench, uint32_t i);
/* Any byte of a page follows from its serial, so that a get needs no copy to compare with. */
void bench_fill_page(char *bytes, uint64_t len_bytes, uint64_t serial);

/* bench_join.c: opens the node and the namespace, and puts pages on the other members. */
int bench_join(struct bench *bench, const struct invocation *invocation);
/* Clears the namespace of the run and leaves the cluster.  Accepts what a failed bench_join() has
 * left. */
void bench_leave(struct bench *bench);

/* bench_measure.c: runs one of "set", "exists" and "get" for its share of the time. */
int bench_measure(struct bench *bench, struct phase *phase);

#endif
