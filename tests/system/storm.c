/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storm.c - one side of an eviction storm, driven by test_storm.py.
 *
 *     storm hold    sets pages without end from several threads, into a pool that is smaller than
 *                   the load, until its standard input ends
 *     storm read    gets pages of the holder in large batches and compares every byte
 *
 * Words of the command line are --name=value; what is no option of the storm is one of the node.
 * Both print JSON: `read` what came of its reads and then the node's status, `hold` what it set.
 *
 * What makes a mix of two pages visible: the first word of a page is its version, used once, and
 * all other words follow from key and version.  A page is whole when they agree from end to end.
 * What makes locations stale: a batch is located at once, and by the time the last of its pages is
 * read, the holder has gone on evicting.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "peercache.h"

enum { NAME_BYTES = 24, THREADS_MAX = 8, OUTCOMES = 256 };

struct storm {
    uint64_t keys, page_bytes, batch, threads, reads, seconds, stop_at_wrong;
    struct peercache_config *config;
    struct peercache_node *node;
    struct peercache_namespace *ns;
};

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "storm: %s: %s\n", what, why);
    exit(2);
}

/* --- what a page holds --- */

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 31) * UINT64_C(0x9fb21c651e98df25);
    return x ^ x >> 28;
}

static uint64_t base_of(uint64_t key, uint64_t version)
{
    return mix(key * UINT64_C(0xd1342543de82ef95) ^ mix(version + 1));
}

static uint64_t word_at(uint64_t base, uint64_t i)
{
    return (base + i * UINT64_C(0x9e3779b97f4a7c15)) * UINT64_C(0xd6e8feb86659fd93);
}

static void fill_page(uint64_t *words, uint64_t n, uint64_t key, uint64_t version)
{
    uint64_t base = base_of(key, version);
    words[0] = version;
    for (uint64_t i = 1; i < n; i++)
        words[i] = word_at(base, i);
}

/* Words that do not belong to the version that the page bears. */
static uint64_t wrong_words(const uint64_t *words, uint64_t n, uint64_t key)
{
    uint64_t base = base_of(key, words[0]), wrong = 0;
    for (uint64_t i = 1; i < n; i++)
        wrong += words[i] != word_at(base, i);
    return wrong;
}

/* --- a batch of pages in memory --- */

struct batch {
    uint64_t n, words;
    uint64_t *memory, *keys;
    char (*names)[NAME_BYTES];
    struct peercache_segment *segments;
    struct peercache_page *pages;
    struct peercache_result *results;
};

static void *allocate(size_t bytes)
{
    void *memory = calloc(1, bytes);
    if (!memory)
        fail("memory", "none left");
    return memory;
}

static uint64_t *page_words(const struct batch *batch, uint64_t i)
{
    return batch->memory + i * batch->words;
}

static void batch_init(struct batch *batch, const struct storm *storm)
{
    *batch = (struct batch){.n = storm->batch, .words = storm->page_bytes / 8};
    batch->memory = allocate(batch->n * storm->page_bytes);
    batch->keys = allocate(batch->n * sizeof *batch->keys);
    batch->names = allocate(batch->n * sizeof *batch->names);
    batch->segments = allocate(batch->n * sizeof *batch->segments);
    batch->pages = allocate(batch->n * sizeof *batch->pages);
    batch->results = allocate(batch->n * sizeof *batch->results);
    for (uint64_t i = 0; i < batch->n; i++) {
        batch->segments[i] = (struct peercache_segment){page_words(batch, i), storm->page_bytes};
        batch->pages[i] = (struct peercache_page){
            .name = batch->names[i], .segments = &batch->segments[i], .segment_count = 1};
    }
}

static void batch_fini(struct batch *batch)
{
    free(batch->memory);
    free(batch->keys);
    free(batch->names);
    free(batch->segments);
    free(batch->pages);
    free(batch->results);
}

/* Different keys from a random place on. */
static void batch_choose(struct batch *batch, uint64_t keys, uint64_t *random)
{
    *random = mix(*random + UINT64_C(0x9e3779b97f4a7c15));
    for (uint64_t i = 0; i < batch->n; i++) {
        batch->keys[i] = (*random + i) % keys;
        batch->pages[i].name_len =
            (uint32_t)snprintf(batch->names[i], NAME_BYTES, "page-%" PRIu64, batch->keys[i]);
    }
}

/* --- hold --- */

struct writer {
    const struct storm *storm;
    pthread_t thread;
    uint64_t number, calls, outcomes[OUTCOMES];
};

static atomic_bool is_over;

static void *write_pages(void *context)
{
    struct writer *writer = context;
    struct batch batch;
    uint64_t random = writer->number, version = writer->number << 56;
    batch_init(&batch, writer->storm);
    while (!atomic_load(&is_over)) {
        batch_choose(&batch, writer->storm->keys, &random);
        for (uint64_t i = 0; i < batch.n; i++)
            fill_page(page_words(&batch, i), batch.words, batch.keys[i], ++version);
        if (peercache_set(writer->storm->ns, batch.pages, batch.results, batch.n, 2000) != 0)
            break;
        writer->calls++;
        for (uint64_t i = 0; i < batch.n; i++)
            writer->outcomes[batch.results[i].outcome % OUTCOMES]++;
    }
    batch_fini(&batch);
    return NULL;
}

static void print_outcomes(const uint64_t outcomes[OUTCOMES])
{
    const char *comma = "";
    for (uint16_t i = 0; i < OUTCOMES; i++) {
        if (outcomes[i] == 0)
            continue;
        printf("%s\"%s\": %" PRIu64, comma, peercache_outcome_name(i), outcomes[i]);
        comma = ", ";
    }
}

static void await_end_of_input(void)
{
    char bytes[64];
    while (read(STDIN_FILENO, bytes, sizeof bytes) > 0)
        ;
}

static int hold(const struct storm *storm)
{
    struct writer writers[THREADS_MAX] = {0};
    uint64_t outcomes[OUTCOMES] = {0};
    for (uint64_t i = 0; i < storm->threads; i++) {
        writers[i].storm = storm;
        writers[i].number = i + 1;
        if (pthread_create(&writers[i].thread, NULL, write_pages, &writers[i]) != 0)
            fail("thread", "could not be started");
    }
    printf("{\"is_ready\": true}\n");
    fflush(stdout);
    await_end_of_input();
    atomic_store(&is_over, true);
    for (uint64_t i = 0; i < storm->threads; i++) {
        pthread_join(writers[i].thread, NULL);
        for (uint32_t j = 0; j < OUTCOMES; j++)
            outcomes[j] += writers[i].outcomes[j];
    }
    printf("{");
    print_outcomes(outcomes);
    printf("}\n");
    return 0;
}

/* --- read --- */

struct tally {
    uint64_t asked, outcomes[OUTCOMES], ways[8], wrong_pages, wrong_words;
};

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void compare(const struct batch *batch, struct tally *tally)
{
    tally->asked += batch->n;
    for (uint64_t i = 0; i < batch->n; i++) {
        const struct peercache_result *result = &batch->results[i];
        tally->outcomes[result->outcome % OUTCOMES]++;
        if (result->outcome != PEERCACHE_HIT)
            continue;
        uint64_t wrong = wrong_words(page_words(batch, i), batch->words, batch->keys[i]);
        tally->ways[result->via % 8]++;
        tally->wrong_pages += wrong > 0;
        tally->wrong_words += wrong;
    }
}

/* Until enough pages came; with protections off, until enough of them were wrong. */
static void read_pages(const struct storm *storm, struct tally *tally)
{
    struct batch batch;
    uint64_t random = 99;
    double end_s = now_s() + (double)storm->seconds;
    batch_init(&batch, storm);
    while (tally->outcomes[PEERCACHE_HIT] < storm->reads && now_s() < end_s &&
           (storm->stop_at_wrong == 0 || tally->wrong_pages < storm->stop_at_wrong)) {
        batch_choose(&batch, storm->keys, &random);
        memset(batch.memory, 0xee, batch.n * storm->page_bytes);
        if (peercache_get(storm->ns, batch.pages, batch.results, batch.n, 10000) != 0)
            fail("get", "refused");
        compare(&batch, tally);
    }
    batch_fini(&batch);
}

static int read_and_report(const struct storm *storm)
{
    struct tally tally = {0};
    double started_s = now_s();
    char *status = NULL;
    read_pages(storm, &tally);
    printf("{\"asked\": %" PRIu64 ", \"seconds\": %.1f, \"wrong_pages\": %" PRIu64
           ", \"wrong_words\": %" PRIu64 ", \"ways\": {\"local\": %" PRIu64 ", \"shm\": %" PRIu64
           ", \"tcp\": %" PRIu64 "}, \"outcomes\": {",
           tally.asked, now_s() - started_s, tally.wrong_pages, tally.wrong_words,
           tally.ways[PEERCACHE_VIA_LOCAL], tally.ways[PEERCACHE_VIA_SHM],
           tally.ways[PEERCACHE_VIA_TCP]);
    print_outcomes(tally.outcomes);
    if (peercache_node_status(storm->node, &status) != 0)
        fail("status", "refused");
    printf("}}\n%s\n", status);
    free(status);
    return 0;
}

/* --- the command line --- */

static uint64_t *own_option(struct storm *storm, const char *name)
{
    const struct {
        const char *name;
        uint64_t *value;
    } options[] = {{"keys", &storm->keys},
                   {"page_bytes", &storm->page_bytes},
                   {"batch", &storm->batch},
                   {"threads", &storm->threads},
                   {"reads", &storm->reads},
                   {"seconds", &storm->seconds},
                   {"stop_at_wrong", &storm->stop_at_wrong}};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (strcmp(options[i].name, name) == 0)
            return options[i].value;
    return NULL;
}

static void take_word(struct storm *storm, char *word)
{
    struct peercache_error error = {{0}};
    char *equals = strchr(word, '=');
    if (strncmp(word, "--", 2) != 0 || !equals)
        fail(word, "is not --name=value");
    *equals = 0;
    uint64_t *own = own_option(storm, word + 2);
    if (own)
        *own = strtoull(equals + 1, NULL, 10);
    else if (peercache_config_set(storm->config, word + 2, equals + 1, &error) != 0)
        fail(word, error.text);
}

static void check(const struct storm *storm)
{
    if (storm->page_bytes < 16 || storm->page_bytes % 8 != 0)
        fail("page_bytes", "must be a multiple of 8, at least 16");
    if (storm->batch < 1 || storm->batch > storm->keys)
        fail("batch", "must be 1 to keys");
    if (storm->threads < 1 || storm->threads > THREADS_MAX)
        fail("threads", "must be 1 to 8");
}

int main(int argc, char **argv)
{
    static const char *const fields[] = {"test=storm"};
    struct peercache_error error = {{0}};
    struct storm storm = {.keys = 4096,
                          .page_bytes = 4096,
                          .batch = 32,
                          .threads = 2,
                          .reads = 100000,
                          .seconds = 600};
    if (argc < 2 || peercache_config_new(&storm.config) != 0)
        fail("usage", "storm hold|read [--name=value ...]");
    for (int i = 2; i < argc; i++)
        take_word(&storm, argv[i]);
    check(&storm);
    if (peercache_node_open(storm.config, &storm.node, &error) != 0 ||
        peercache_namespace_open(storm.node, fields, 1, &storm.ns, &error) != 0)
        fail("node", error.text);
    int status = strcmp(argv[1], "hold") == 0 ? hold(&storm) : read_and_report(&storm);
    peercache_node_close(storm.node);
    peercache_config_free(storm.config);
    return status;
}
