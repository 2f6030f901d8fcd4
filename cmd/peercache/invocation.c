/* SPDX-License-Identifier: Apache-2.0 */
/*
 * invocation.c - the command line of `peercache`.
 *
 * Options may stand before and behind the subcommand; "--" ends them, so that a key may begin with
 * a dash.  What is not found in the table here is an option of the library's table.
 */
#include "invocation.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/options.h"
#include "node_name.h"

enum {
    TIMEOUT_DEFAULT_MS = 5000,
    TIMEOUT_MAX_S = 3600,
    SECONDS_MAX = 3600,
    BATCH_MAX = 256,
    NAME_COLUMN = 24,
};
/* Of the member that `bench` starts; `devices` goes by the pool that a node would have. */
#define POOL_DEFAULT "256mb"

static int bad_value(const char *name, const char *value, const char *wanted,
                     struct peercache_error *ret_error)
{
    snprintf(ret_error->text, sizeof ret_error->text, "--%s %.80s: must be %s", name, value,
             wanted);
    return -EINVAL;
}

/* Parses a decimal number above 0. */
static int parse_number(const char *value, double most, double *ret_number)
{
    char *end;
    errno = 0;
    double number = strtod(value, &end);
    if (errno || *end || end == value || !(number > 0) || number > most)
        return -EINVAL;
    *ret_number = number;
    return 0;
}

static int parse_count(const char *value, uint64_t most, uint64_t *ret_count)
{
    char *end;
    errno = 0;
    uint64_t count = strtoull(value, &end, 10);
    if (errno || *end || *value < '0' || *value > '9' || !count || count > most)
        return -EINVAL;
    *ret_count = count;
    return 0;
}

static int take_node(struct invocation *invocation, const char *value,
                     struct peercache_error *ret_error)
{
    if (!node_name_is_address(value) && !node_name_is_id(value))
        return bad_value("node", value, NODE_NAME_FORM, ret_error);
    invocation->node = value;
    return 0;
}

static int take_namespace(struct invocation *invocation, const char *value,
                          struct peercache_error *ret_error)
{
    const char *sign = strchr(value, '=');
    if (!sign || sign == value)
        return bad_value("namespace", value, "LABEL=VALUE, e.g. model=llama", ret_error);
    if (invocation->n_fields == FIELDS_MAX)
        return bad_value("namespace", value, "given at most 64 times", ret_error);
    invocation->fields[invocation->n_fields++] = value;
    return 0;
}

static int take_timeout(struct invocation *invocation, const char *value,
                        struct peercache_error *ret_error)
{
    double seconds;
    if (parse_number(value, TIMEOUT_MAX_S, &seconds) < 0 || seconds < 0.001)
        return bad_value("timeout", value, "seconds from 0.001 to 3600", ret_error);
    invocation->timeout_ms = (uint32_t)(seconds * 1000);
    return 0;
}

static int take_limit(struct invocation *invocation, const char *value,
                      struct peercache_error *ret_error)
{
    if (parse_count(value, UINT32_MAX, &invocation->limit) < 0)
        return bad_value("limit", value, "a number of keys, 1 or more", ret_error);
    return 0;
}

static int take_seconds(struct invocation *invocation, const char *value,
                        struct peercache_error *ret_error)
{
    if (parse_number(value, SECONDS_MAX, &invocation->seconds) < 0)
        return bad_value("seconds", value, "above 0 and at most 3600", ret_error);
    return 0;
}

static int take_page_bytes(struct invocation *invocation, const char *value,
                           struct peercache_error *ret_error)
{
    if (parse_count(value, PEERCACHE_PAGE_MAX_BYTES, &invocation->page_bytes) < 0)
        return bad_value("page_bytes", value, "a number of bytes from 1 to 133169152", ret_error);
    return 0;
}

static int take_batch(struct invocation *invocation, const char *value,
                      struct peercache_error *ret_error)
{
    uint64_t batch;
    if (parse_count(value, BATCH_MAX, &batch) < 0)
        return bad_value("batch", value, "a number of pages from 1 to 256", ret_error);
    invocation->batch = (uint32_t)batch;
    return 0;
}

static int take_json(struct invocation *invocation, const char *value,
                     struct peercache_error *ret_error)
{
    (void)value, (void)ret_error;
    invocation->json = true;
    return 0;
}

static int take_alone(struct invocation *invocation, const char *value,
                      struct peercache_error *ret_error)
{
    (void)value, (void)ret_error;
    invocation->alone = true;
    return 0;
}

static int take_cancel(struct invocation *invocation, const char *value,
                       struct peercache_error *ret_error)
{
    (void)value, (void)ret_error;
    invocation->cancel = true;
    return 0;
}

static const struct own_option {
    const char *name, *argument; /* argument NULL: it has none */
    int (*take)(struct invocation *invocation, const char *value,
                struct peercache_error *ret_error);
    const char *help;
} own_options[] = {
    {"node", "NODE", take_node,
     "the node to ask: its address, id, or how its id begins (the one at discovery_addr)"},
    {"namespace", "LABEL=VALUE", take_namespace, "a field of the keys' namespace; repeatable"},
    {"timeout", "SECONDS", take_timeout, "how long to wait for an answer (5)"},
    {"json", NULL, take_json, "prints JSON"},
    {"limit", "N", take_limit, "keys: at most so many (all)"},
    {"cancel", NULL, take_cancel, "drain: the node stays after all, and stores again"},
    {"seconds", "N", take_seconds, "bench: how long to measure (6)"},
    {"page_bytes", "N", take_page_bytes, "bench: bytes of a page (131072)"},
    {"batch", "N", take_batch, "bench: pages of one call (32)"},
    {"alone", NULL, take_alone, "bench: measures the own pool where there is no other member"},
};

static const struct own_option *find_own(const char *name)
{
    for (size_t i = 0; i < sizeof own_options / sizeof *own_options; i++)
        if (!strcmp(own_options[i].name, name))
            return &own_options[i];
    return NULL;
}

static int take_option(struct invocation *invocation, const struct option_word *word, char **argv,
                       int *index, struct peercache_error *ret_error)
{
    const struct own_option *own = find_own(word->name);
    const char *value = "";
    if (!own) {
        invocation->has_drain_timeout |= !strcasecmp(word->name, "drain_timeout");
        return options_take(invocation->config, word, argv, index, ret_error);
    }
    if (!own->argument && word->value)
        return bad_value(word->name, word->value, "given without a value", ret_error);
    if (own->argument && options_value(word, argv, index, &value, ret_error) < 0)
        return -EINVAL;
    return own->take(invocation, value, ret_error);
}

/* Moves the words that are no options to the front of @argv and cuts it behind them. */
static int take_words(struct invocation *invocation, char **argv, struct peercache_error *ret_error)
{
    bool only_words = false;
    for (int i = 1; argv[i]; i++) {
        struct option_word word;
        if (only_words || !options_split(argv[i], &word))
            invocation->args[invocation->n_args++] = argv[i];
        else if (!strcmp(argv[i], "--"))
            only_words = true;
        else if (take_option(invocation, &word, argv, &i, ret_error) < 0)
            return -EINVAL;
    }
    invocation->args[invocation->n_args] = NULL;
    return 0;
}

/* Before the options are taken, so that they win.  A key of that name does no harm: whoever asks
 * for it needs no pool. */
static int set_bench_pool(char **argv, struct peercache_config *config,
                          struct peercache_error *ret_error)
{
    for (char **word = argv; *word; word++)
        if (!strcmp(*word, "bench"))
            return peercache_config_set(config, "global_segment_size", POOL_DEFAULT, ret_error);
    return 0;
}

int invocation_init(struct invocation *invocation, char **argv, struct peercache_error *ret_error)
{
    *invocation = (struct invocation){
        .args = argv,
        .timeout_ms = TIMEOUT_DEFAULT_MS,
        .seconds = 6,
        .page_bytes = 128 << 10,
        .batch = 32,
        .has_drain_timeout = getenv("PEERCACHE_DRAIN_TIMEOUT") != NULL,
    };
    if (peercache_config_new(&invocation->config) < 0) {
        snprintf(ret_error->text, sizeof ret_error->text, "not enough memory");
        return -EINVAL;
    }
    struct peercache_config *config = invocation->config;
    if (set_bench_pool(argv, config, ret_error) < 0 ||
        peercache_config_load_environment(config, ret_error) < 0)
        return -EINVAL;
    return take_words(invocation, argv, ret_error);
}

void invocation_fini(struct invocation *invocation)
{
    peercache_config_free(invocation->config);
}

void invocation_print_options(void)
{
    for (size_t i = 0; i < sizeof own_options / sizeof *own_options; i++) {
        char word[64];
        snprintf(word, sizeof word, "%s %s", own_options[i].name,
                 own_options[i].argument ? own_options[i].argument : "");
        printf("  --%-*s %s\n", NAME_COLUMN, word, own_options[i].help);
    }
}
