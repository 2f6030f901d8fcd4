/* SPDX-License-Identifier: Apache-2.0 */
/*
 * caller.c - an application with a node, driven by test_trouble.py: a command a line on the
 * standard input, an answer in JSON a line on the standard output.
 *
 *     caller --OPTION=VALUE ...           opens a node, answers {"is_open": true}
 *     set|get|exists NAME FIRST N BYTES TIMEOUT_MS
 *                                         one call with the pages NAME-FIRST ...: how long it took,
 *                                         an outcome a page, wrong bytes
 *     repeat get ... SECONDS              calls until not every page comes, or for so long; says
 *                                         {"is_running": true} after the first call
 *     watch MS                            poisons what was last got and watches it for so long
 *     clear MS                            clears the namespace: how long it took, the error
 *     status | stop | fork                the node's status; ends its calls; what a child may do
 *     child                               forks a child that lives on; says its process id
 *     flight THREADS                      stops the node while so many threads are in calls
 *     cycles N                            opens and closes as many nodes, and what that costs
 *
 * The bytes of a page follow from its name.  At the end of the input the node is closed.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "peercache.h"

enum { NAME_BYTES = 64, PAGES_MAX = 1024, THREADS_MAX = 16, POISON = 0xee, CHILD_LIVES_S = 120 };

static struct peercache_config *config;
static struct peercache_node *node;
static struct peercache_namespace *ns;

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "caller: %s: %s\n", what, why);
    exit(2);
}

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* --- pages --- */

struct batch {
    uint32_t n, bytes;
    uint8_t *memory;
    char names[PAGES_MAX][NAME_BYTES];
    struct peercache_segment segments[PAGES_MAX];
    struct peercache_page pages[PAGES_MAX];
    struct peercache_result results[PAGES_MAX];
};

/* Two pages differ nearly everywhere. */
static uint64_t seed_of(const char *name)
{
    uint64_t x = 0;
    for (const char *c = name; *c; c++)
        x = (x ^ (uint8_t)*c) * UINT64_C(0x100000001b3);
    return x;
}

static uint8_t byte_at(uint64_t seed, uint32_t i)
{
    return (uint8_t)(((seed + i / 8) * UINT64_C(0x9e3779b97f4a7c15)) >> (i % 8 * 8));
}

static void batch_fini(struct batch *batch)
{
    free(batch->memory);
    batch->memory = NULL;
}

static void batch_init(struct batch *batch, const char *name, uint32_t first, uint32_t n,
                       uint32_t bytes)
{
    if (n < 1 || n > PAGES_MAX || bytes < 1)
        fail("pages", "1 to 1024, of at least 1 byte");
    batch_fini(batch);
    batch->n = n;
    batch->bytes = bytes;
    batch->memory = malloc((size_t)n * bytes);
    if (!batch->memory)
        fail("memory", "none left");
    for (uint32_t i = 0; i < n; i++) {
        uint32_t len = (uint32_t)snprintf(batch->names[i], NAME_BYTES, "%.40s-%u", name, first + i);
        batch->segments[i] = (struct peercache_segment){batch->memory + (size_t)i * bytes, bytes};
        batch->pages[i] = (struct peercache_page){.name = batch->names[i],
                                                  .name_len = len,
                                                  .segments = &batch->segments[i],
                                                  .segment_count = 1};
    }
}

static void batch_fill(struct batch *batch)
{
    for (uint32_t i = 0; i < batch->n; i++) {
        uint64_t seed = seed_of(batch->names[i]);
        for (uint32_t j = 0; j < batch->bytes; j++)
            batch->memory[(size_t)i * batch->bytes + j] = byte_at(seed, j);
    }
}

static void batch_poison(struct batch *batch)
{
    memset(batch->memory, POISON, (size_t)batch->n * batch->bytes);
}

static bool is_poisoned(const struct batch *batch)
{
    for (size_t i = 0; i < (size_t)batch->n * batch->bytes; i++)
        if (batch->memory[i] != POISON)
            return false;
    return true;
}

static uint64_t count_wrong(const struct batch *batch)
{
    uint64_t wrong = 0;
    for (uint32_t i = 0; i < batch->n; i++) {
        uint64_t seed = seed_of(batch->names[i]);
        for (uint32_t j = 0; batch->results[i].outcome == PEERCACHE_HIT && j < batch->bytes; j++)
            wrong += batch->memory[(size_t)i * batch->bytes + j] != byte_at(seed, j);
    }
    return wrong;
}

/* --- one call --- */

struct call {
    char kind[8], name[NAME_BYTES];
    uint32_t first, n, bytes, timeout_ms;
};

static int run_call(const struct call *call, struct batch *batch, double *ret_ms)
{
    double started = now_ms();
    int error =
        !strcmp(call->kind, "get")
            ? peercache_get(ns, batch->pages, batch->results, batch->n, call->timeout_ms)
        : !strcmp(call->kind, "set")
            ? peercache_set(ns, batch->pages, batch->results, batch->n, call->timeout_ms)
            : peercache_exists(ns, batch->pages, batch->results, batch->n, call->timeout_ms);
    *ret_ms = now_ms() - started;
    return error;
}

static int prepare_and_run(const struct call *call, struct batch *batch, double *ret_ms)
{
    batch_init(batch, call->name, call->first, call->n, call->bytes);
    if (!strcmp(call->kind, "set"))
        batch_fill(batch);
    else
        batch_poison(batch);
    return run_call(call, batch, ret_ms);
}

static bool are_all_hits(const struct batch *batch)
{
    for (uint32_t i = 0; i < batch->n; i++)
        if (batch->results[i].outcome != PEERCACHE_HIT)
            return false;
    return true;
}

static void print_call(const struct batch *batch, int error, double ms, uint64_t wrong)
{
    printf("{\"error\": %d, \"ms\": %.1f, \"wrong\": %" PRIu64 ", \"pages\": [", error, ms, wrong);
    for (uint32_t i = 0; error == 0 && i < batch->n; i++)
        printf("%s[\"%s\", \"%s\"]", i ? ", " : "",
               peercache_outcome_name(batch->results[i].outcome),
               peercache_via_name(batch->results[i].via));
    printf("]}\n");
}

static void call_once(const struct call *call, struct batch *batch)
{
    double ms;
    int error = prepare_and_run(call, batch, &ms);
    print_call(batch, error, ms, !strcmp(call->kind, "get") ? count_wrong(batch) : 0);
}

static void call_again_and_again(const struct call *call, struct batch *batch, double seconds)
{
    double end = now_ms() + seconds * 1e3, ms, longest_ms = 0;
    uint64_t wrong = 0;
    int error;
    for (uint64_t i = 0;; i++) {
        error = prepare_and_run(call, batch, &ms);
        longest_ms = ms > longest_ms ? ms : longest_ms;
        wrong += count_wrong(batch);
        if (i == 0) {
            printf("{\"is_running\": true}\n");
            fflush(stdout);
        }
        if (error || !are_all_hits(batch) || now_ms() > end)
            break;
    }
    print_call(batch, error, longest_ms, wrong);
}

static void watch(struct batch *batch, double ms)
{
    double end = now_ms() + ms;
    bool is_clean = true;
    batch_poison(batch);
    while (is_clean && now_ms() < end)
        is_clean = is_poisoned(batch);
    printf("{\"is_clean\": %s}\n", is_clean ? "true" : "false");
}

static void clear_all(uint32_t timeout_ms)
{
    double started = now_ms();
    int error = peercache_namespace_clear(ns, timeout_ms);
    printf("{\"error\": %d, \"ms\": %.1f}\n", error, now_ms() - started);
}

/* --- a node that is stopped while threads are in calls --- */

struct flyer {
    pthread_t thread;
    uint32_t number;
    atomic_uint calls;
    double longest_ms;
    bool has_wrong, has_ended_refused;
};

static void *fly(void *context)
{
    static const char *const kinds[] = {"set", "get", "exists"};
    struct flyer *flyer = context;
    struct batch *batch = calloc(1, sizeof *batch);
    if (!batch)
        return NULL;
    for (uint32_t i = 0; !flyer->has_ended_refused; i++) {
        struct call call = {.first = i % 4 * 16, .n = 16, .bytes = 4096, .timeout_ms = 5000};
        double ms;
        strcpy(call.kind, kinds[i % 3]);
        strcpy(call.name, "flight");
        int error = prepare_and_run(&call, batch, &ms);
        flyer->longest_ms = ms > flyer->longest_ms ? ms : flyer->longest_ms;
        flyer->has_wrong |= error != 0 || (i % 3 == 1 && count_wrong(batch) > 0);
        flyer->has_ended_refused =
            error != 0 || batch->results[0].outcome == PEERCACHE_REFUSED_CLOSED;
        atomic_fetch_add(&flyer->calls, 1);
    }
    batch_fini(batch);
    free(batch);
    return NULL;
}

static void flight(uint32_t n)
{
    static struct flyer flyers[THREADS_MAX];
    double longest_ms = 0;
    bool has_wrong = n > THREADS_MAX;
    for (uint32_t i = 0; i < n && !has_wrong; i++)
        if (pthread_create(&flyers[i].thread, NULL, fly, &flyers[i]) != 0)
            fail("thread", "could not be started");
    for (uint32_t i = 0; i < n && !has_wrong; i++)
        while (atomic_load(&flyers[i].calls) < 10)
            usleep(1000);
    peercache_node_stop(node);
    for (uint32_t i = 0; i < n && !has_wrong; i++) {
        pthread_join(flyers[i].thread, NULL);
        longest_ms = flyers[i].longest_ms > longest_ms ? flyers[i].longest_ms : longest_ms;
        has_wrong |= flyers[i].has_wrong;
    }
    printf("{\"ms\": %.1f, \"has_wrong\": %s}\n", longest_ms, has_wrong ? "true" : "false");
}

/* --- open, close, fork --- */

static void open_node(void)
{
    static const char *const fields[] = {"test=trouble"};
    struct peercache_error error = {{0}};
    if (peercache_node_open(config, &node, &error) != 0 ||
        peercache_namespace_open(node, fields, 1, &ns, &error) != 0)
        fail("node", error.text);
}

static uint32_t count_entries(const char *path)
{
    uint32_t n = 0;
    DIR *folder = opendir(path);
    while (folder && readdir(folder))
        n++;
    if (folder)
        closedir(folder);
    return n;
}

static long resident_kib(void)
{
    char line[128];
    long kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "VmRSS: %ld", &kib) == 1)
            break;
    if (file)
        fclose(file);
    return kib;
}

static void print_costs(void)
{
    printf("{\"descriptors\": %u, \"threads\": %u, \"resident_kib\": %ld}\n",
           count_entries("/proc/self/fd"), count_entries("/proc/self/task"), resident_kib());
}

/* The node that is open stays so; every one of the others stores a page and finds it. */
static void cycles(uint32_t n)
{
    struct peercache_node *kept_node = node;
    struct peercache_namespace *kept_ns = ns;
    struct batch *batch = calloc(1, sizeof *batch);
    struct call set = {"set", "cycle", 0, 4, 4096, 5000}, get = {"get", "cycle", 0, 4, 4096, 5000};
    double ms;
    for (uint32_t i = 0; batch && i < n; i++) {
        open_node();
        if (prepare_and_run(&set, batch, &ms) != 0 || prepare_and_run(&get, batch, &ms) != 0 ||
            !are_all_hits(batch) || count_wrong(batch) > 0)
            fail("cycle", "a page did not come back");
        peercache_node_close(node);
    }
    if (batch)
        batch_fini(batch);
    free(batch);
    node = kept_node;
    ns = kept_ns;
    print_costs();
}

/* What every call on an inherited handle must return is -ECHILD; close must do nothing. */
static int child_status(void)
{
    struct batch *batch = calloc(1, sizeof *batch);
    struct call calls[] = {{"set", "child", 0, 2, 64, 1000},
                           {"get", "child", 0, 2, 64, 1000},
                           {"exists", "child", 0, 2, 64, 1000}};
    struct peercache_namespace *other;
    char *json;
    double ms;
    for (int i = 0; batch && i < 3; i++)
        if (prepare_and_run(&calls[i], batch, &ms) != -ECHILD)
            return 1 + i;
    if (peercache_node_status(node, &json) != -ECHILD)
        return 4;
    if (peercache_namespace_open(node, NULL, 0, &other, NULL) != -ECHILD)
        return 5;
    if (peercache_namespace_clear(ns, 1000) != -ECHILD)
        return 6;
    peercache_node_stop(node);
    peercache_namespace_close(ns);
    peercache_node_close(node);
    /* A node of the child's own. */
    open_node();
    bool is_good = prepare_and_run(&calls[0], batch, &ms) == 0 &&
                   prepare_and_run(&calls[1], batch, &ms) == 0 && are_all_hits(batch);
    peercache_node_close(node);
    return is_good ? 0 : 7;
}

static void fork_now(void)
{
    int status = 0;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0)
        _exit(child_status());
    if (child < 0 || waitpid(child, &status, 0) != child)
        fail("fork", "no child");
    printf("{\"status\": %d, \"signal\": %d}\n", WIFEXITED(status) ? WEXITSTATUS(status) : -1,
           WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

/* It does nothing, and not for ever. */
static void fork_child(void)
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        sleep(CHILD_LIVES_S);
        _exit(0);
    }
    if (child < 0)
        fail("child", "no child");
    printf("{\"pid\": %d}\n", (int)child);
}

static void print_status(void)
{
    char *json = NULL;
    if (peercache_node_status(node, &json) != 0)
        printf("null\n");
    else
        printf("%s\n", json);
    free(json);
}

/* --- commands --- */

static bool parse_call(const char *line, struct call *ret_call)
{
    return sscanf(line, "%7s %63s %u %u %u %u", ret_call->kind, ret_call->name, &ret_call->first,
                  &ret_call->n, &ret_call->bytes, &ret_call->timeout_ms) == 6;
}

static void run_command(const char *line, struct batch *batch)
{
    struct call call;
    double number = 0;
    char word[16] = "";
    sscanf(line, "%15s %lf", word, &number);
    if (!strcmp(word, "repeat") && parse_call(line + strlen("repeat "), &call))
        call_again_and_again(&call, batch, strtod(strrchr(line, ' '), NULL));
    else if (!strcmp(word, "watch"))
        watch(batch, number);
    else if (!strcmp(word, "clear"))
        clear_all((uint32_t)number);
    else if (!strcmp(word, "flight"))
        flight((uint32_t)number);
    else if (!strcmp(word, "cycles"))
        cycles((uint32_t)number);
    else if (!strcmp(word, "fork"))
        fork_now();
    else if (!strcmp(word, "child"))
        fork_child();
    else if (!strcmp(word, "status"))
        print_status();
    else if (!strcmp(word, "stop"))
        peercache_node_stop(node), printf("{}\n");
    else if (parse_call(line, &call))
        call_once(&call, batch);
    else
        fail(line, "is no command");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static struct batch batch;
    struct peercache_error error = {{0}};
    char line[256];
    if (peercache_config_new(&config) != 0)
        fail("memory", "none left");
    for (int i = 1; i < argc; i++) {
        char *equals = strchr(argv[i], '=');
        if (strncmp(argv[i], "--", 2) != 0 || !equals)
            fail(argv[i], "is not --name=value");
        *equals = 0;
        if (peercache_config_set(config, argv[i] + 2, equals + 1, &error) != 0)
            fail(argv[i], error.text);
    }
    open_node();
    printf("{\"is_open\": true}\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin))
        run_command(line, &batch);
    peercache_node_close(node);
    peercache_config_free(config);
    batch_fini(&batch);
    return 0;
}
