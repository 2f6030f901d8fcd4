/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node_driver.c - one member of a cluster that does what its stdin says, and how long it took.
 *
 *     bench-node-driver SPIN_US NAME=VALUE...     options of the node; "-": the library's own spin
 *
 *     shape PAGES BYTES SEGMENTS      the pages that the following commands are about; their memory
 *                                     is a region of the node
 *     name all|own|remote PREFIX      their names: all, or those whose first owner is this node, or
 *                                     is another one
 *     set|get|exists BATCH CALLS      calls of the library, BATCH pages each, the pages in turn
 *     memcpy|fused BATCH CALLS        the other side: the same pages copied from plain memory, or
 *                                     copied to it and hashed, by the simplest code that does it
 *     stamp, clear, wrong             writes, forgets, compares what tells the pages apart
 *     status, sleeps, usage
 *
 * The calls are those of the public API.  The node is opened below it, because the time for which a
 * waiting thread polls is no option.  One thread; the node has its own.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

#include "api/handle.h"
#include "base/hash.h"
#include "node/internal.h"
#include "rig.h"

enum { BATCH_MOST = 1024, FUSED_STEP_BYTES = 4096 };

struct driver {
    struct peercache_node handle;
    struct peercache_namespace *ns;
    struct rig_pages rig;
    struct peercache_region *region; /* of the rig's memory */
    uint8_t *shadow;                 /* plain memory of the pages' size */
    uint64_t shadow_bytes, hash;
    struct peercache_result results[BATCH_MOST];
};

/* --- the node --- */

static void set_option(struct peercache_config *config, char *argument)
{
    struct peercache_error error;
    char *equals = strchr(argument, '=');
    if (!equals)
        rig_fail("'%s' is no NAME=VALUE", argument);
    *equals = 0;
    if (peercache_config_set(config, argument, equals + 1, &error) != 0)
        rig_fail("%s", error.text);
}

static void open_node(struct driver *driver, int argc, char **argv)
{
    static const char *const fields[] = {"model=bench"};
    struct peercache_config *config;
    struct peercache_error error;
    struct node_config node_config;
    char text[NODE_ERROR_BYTES];
    if (peercache_config_new(&config) != 0)
        rig_fail("not enough memory");
    for (int i = 2; i < argc; i++)
        set_option(config, argv[i]);
    if (handle_node_config(&config->options, &node_config, &error) != 0)
        rig_fail("%s", error.text);
    if (strcmp(argv[1], "-") != 0)
        node_config.spin_ns = rig_number(argv[1]) * 1000;
    log_set_level((enum log_level)config->options.log_level);
    if (node_open(&node_config, &driver->handle.node, text) != 0)
        rig_fail("%s", text);
    driver->handle.pid = getpid();
    pthread_mutex_init(&driver->handle.lock, NULL);
    if (peercache_namespace_open(&driver->handle, fields, 1, &driver->ns, &error) != 0)
        rig_fail("%s", error.text);
    peercache_config_free(config);
}

/* --- pages --- */

static void drop_pages(struct driver *driver)
{
    peercache_region_release(driver->region);
    driver->region = NULL;
    rig_pages_fini(&driver->rig);
}

static void shape(struct driver *driver, char **words)
{
    struct peercache_error error;
    drop_pages(driver);
    rig_pages_init(&driver->rig, (uint32_t)rig_number(words[1]), rig_number(words[2]),
                   (uint32_t)rig_number(words[3]));
    uint64_t bytes = driver->rig.n * driver->rig.page_bytes;
    if (peercache_region_register(&driver->handle, driver->rig.memory, bytes, &driver->region,
                                  &error) != 0)
        rig_fail("%s", error.text);
    if (bytes != driver->shadow_bytes) {
        if (driver->shadow)
            munmap(driver->shadow, driver->shadow_bytes);
        driver->shadow = rig_memory(bytes);
        driver->shadow_bytes = bytes;
    }
    printf("{}\n");
}

static bool is_owned(const struct driver *driver, const char *name)
{
    const struct core_view *view = driver->handle.node->view;
    uint16_t owners[CORE_OWNERS_MAX];
    const struct ring *ring = ring_borrow(view->rings);
    uint32_t n = ring_owners(ring, hash_ring_position(name, RIG_NAME_BYTES),
                             view->directory_replicas, owners);
    ring_return(view->rings, ring);
    return n > 0 && owners[0] == CORE_SELF;
}

static void name(struct driver *driver, char **words)
{
    bool all = strcmp(words[1], "all") == 0, own = strcmp(words[1], "own") == 0;
    uint64_t serial = 0;
    for (uint32_t i = 0; i < driver->rig.n; i++)
        do
            rig_pages_name(&driver->rig, i, words[2], serial++);
        while (!all && is_owned(driver, driver->rig.names[i]) != own);
    printf("{}\n");
}

static void stamp(struct driver *driver, char **words)
{
    if (strcmp(words[0], "stamp") == 0)
        rig_pages_stamp(&driver->rig);
    else
        rig_pages_clear(&driver->rig);
    printf("{}\n");
}

static void count_wrong(struct driver *driver, char **words)
{
    (void)words;
    printf("{\"wrong\": %u}\n", rig_pages_wrong(&driver->rig));
}

/* --- the other side --- */

static void copy_pages(struct driver *driver, uint32_t first, uint32_t n)
{
    for (uint32_t i = first; i < first + n; i++) {
        const struct peercache_page *page = &driver->rig.pages[i];
        const uint8_t *from = driver->shadow + i * driver->rig.page_bytes;
        for (uint32_t j = 0; j < page->segment_count; j++) {
            memcpy(page->segments[j].addr, from, page->segments[j].len_bytes);
            from += page->segments[j].len_bytes;
        }
    }
}

extern XXH_errorcode XXH3_64bits_update_dispatch(XXH3_state_t *state, const void *input, size_t len)
    __attribute__((weak));

static void hash_step(XXH3_state_t *state, const void *bytes, size_t len)
{
    if (XXH3_64bits_update_dispatch)
        XXH3_64bits_update_dispatch(state, bytes, len);
    else
        XXH3_64bits_update(state, bytes, len);
}

/* Hashed whenever so much has been copied that a step is full, while it is in the first cache. */
static uint64_t fuse_page(const struct peercache_page *page, uint8_t *to)
{
    XXH3_state_t state;
    uint8_t *hashed = to;
    XXH3_64bits_reset(&state);
    for (uint32_t j = 0; j < page->segment_count; j++) {
        const uint8_t *from = page->segments[j].addr;
        for (uint64_t left = page->segments[j].len_bytes, len; left > 0; left -= len) {
            uint64_t room = (uint64_t)(hashed + FUSED_STEP_BYTES - to);
            len = left < room ? left : room;
            memcpy(to, from, len);
            to += len;
            from += len;
            if (len == room) {
                hash_step(&state, hashed, FUSED_STEP_BYTES);
                hashed = to;
            }
        }
    }
    hash_step(&state, hashed, (size_t)(to - hashed));
    return XXH3_64bits_digest(&state);
}

static void fuse_pages(struct driver *driver, uint32_t first, uint32_t n)
{
    for (uint32_t i = first; i < first + n; i++)
        driver->hash ^=
            fuse_page(&driver->rig.pages[i], driver->shadow + i * driver->rig.page_bytes);
}

/* --- calls --- */

typedef int (*library_call)(struct peercache_namespace *ns, const struct peercache_page *pages,
                            struct peercache_result *results, size_t n, uint32_t timeout_ms);
typedef void (*plain_call)(struct driver *driver, uint32_t first, uint32_t n);

static const struct kind {
    const char *name;
    library_call library; /* one of the two */
    plain_call plain;
    uint16_t good;
} kinds[] = {
    {"set", peercache_set, NULL, PEERCACHE_STORED},
    {"get", peercache_get, NULL, PEERCACHE_HIT},
    {"exists", peercache_exists, NULL, PEERCACHE_FOUND},
    {"memcpy", NULL, copy_pages, 0},
    {"fused", NULL, fuse_pages, 0},
};

/* Returns how many pages did not end as they should. */
static uint32_t run_call(struct driver *driver, const struct kind *kind, uint32_t first, uint32_t n,
                         double *seconds)
{
    double begin = rig_now_s();
    if (kind->library)
        kind->library(driver->ns, driver->rig.pages + first, driver->results, n, 10000);
    else
        kind->plain(driver, first, n);
    *seconds += rig_now_s() - begin;
    uint32_t bad = 0;
    for (uint32_t i = 0; kind->library && i < n; i++)
        bad += driver->results[i].outcome != kind->good;
    return bad;
}

static void measure(struct driver *driver, char **words)
{
    const struct kind *kind = kinds;
    while (strcmp(kind->name, words[0]) != 0)
        kind++;
    uint64_t batch = rig_number(words[1]), calls = rig_number(words[2]);
    if (batch == 0 || batch > BATCH_MOST || driver->rig.n % batch != 0)
        rig_fail("a batch is a part of the pages, and at most %d", BATCH_MOST);
    double seconds = 0;
    uint64_t bad = 0;
    long sleeps = rig_sleeps();
    for (uint64_t i = 0; i < calls; i++)
        bad += run_call(driver, kind, (uint32_t)(i * batch % driver->rig.n), (uint32_t)batch,
                        &seconds);
    printf("{\"seconds\": %.9f, \"pages\": %llu, \"bytes\": %llu, \"bad\": %llu, \"sleeps\": %ld, "
           "\"via\": \"%s\"}\n",
           seconds, (unsigned long long)(batch * calls),
           (unsigned long long)(batch * calls * driver->rig.page_bytes), (unsigned long long)bad,
           rig_sleeps() - sleeps, kind->library ? peercache_via_name(driver->results[0].via) : "");
}

static void status(struct driver *driver, char **words)
{
    char *json;
    (void)words;
    if (peercache_node_status(&driver->handle, &json) != 0)
        rig_fail("no status");
    printf("%s\n", json);
    free(json);
}

static void sleeps(struct driver *driver, char **words)
{
    (void)driver;
    (void)words;
    printf("{\"sleeps\": %ld}\n", rig_sleeps());
}

static double seconds_of(const struct timeval *time)
{
    return (double)time->tv_sec + (double)time->tv_usec / 1e6;
}

/* What all threads of this process have used of processors. */
static void usage(struct driver *driver, char **words)
{
    struct rusage usage;
    (void)driver;
    (void)words;
    getrusage(RUSAGE_SELF, &usage);
    printf("{\"user\": %.6f, \"system\": %.6f}\n", seconds_of(&usage.ru_utime),
           seconds_of(&usage.ru_stime));
}

static const struct command {
    const char *name;
    uint32_t n_words;
    void (*run)(struct driver *driver, char **words);
} commands[] = {
    {"shape", 4, shape},    {"name", 3, name},         {"set", 3, measure},   {"get", 3, measure},
    {"exists", 3, measure}, {"memcpy", 3, measure},    {"fused", 3, measure}, {"stamp", 1, stamp},
    {"clear", 1, stamp},    {"wrong", 1, count_wrong}, {"status", 1, status}, {"sleeps", 1, sleeps},
    {"usage", 1, usage},
};

static void obey(struct driver *driver, char **words, uint32_t n_words)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(commands[i].name, words[0]) == 0 && commands[i].n_words == n_words) {
            commands[i].run(driver, words);
            return;
        }
    rig_fail("'%s' is no command, or has other words behind it", words[0]);
}

int main(int argc, char **argv)
{
    static struct driver driver;
    char line[256], *words[RIG_WORDS_MAX];
    if (argc < 2)
        rig_fail("bench-node-driver SPIN_US NAME=VALUE...; see the head of its source");
    open_node(&driver, argc, argv);
    for (uint32_t n; (n = rig_read_command(line, words)) > 0;)
        obey(&driver, words, n);
    drop_pages(&driver);
    peercache_namespace_close(driver.ns);
    node_close(driver.handle.node);
    return 0;
}
