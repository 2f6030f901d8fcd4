/* SPDX-License-Identifier: Apache-2.0 */
/* config.c - options by name, and what they mean to a node. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/handle.h"

extern char **environ;

enum { SPIN_NS = 50000 }; /* what waking up an idle (virtual) processor costs */

const char *peercache_version(void)
{
    return PEERCACHE_VERSION;
}

void handle_error(struct peercache_error *ret_error, const char *text)
{
    if (ret_error)
        snprintf(ret_error->text, sizeof ret_error->text, "%.255s", text);
}

int peercache_config_new(struct peercache_config **ret_config)
{
    struct peercache_config *config = calloc(1, sizeof *config);
    if (!config)
        return -ENOMEM;
    options_init_defaults(&config->options);
    *ret_config = config;
    return 0;
}

void peercache_config_free(struct peercache_config *config)
{
    free(config);
}

int peercache_config_set(struct peercache_config *config, const char *name, const char *value,
                         struct peercache_error *ret_error)
{
    char text[OPTION_ERROR_BYTES];
    if (!config || !name || !value) {
        handle_error(ret_error, "an option needs a name and a value");
        return -EINVAL;
    }
    int error = option_set(&config->options, name, value, text);
    if (error)
        handle_error(ret_error, text);
    return error;
}

/* Others' variables may begin like ours (Kubernetes makes PEERCACHE_PORT of a service), so what
 * names no option is no error; but it may be meant for one. */
static void tell_ignored(const char *variable, int len, const char *name)
{
    const char *nearest = option_nearest(name);
    if (nearest)
        log_event(LOG_LEVEL_WARNING, "environment_ignored",
                  "variable=%.*s reason=\"it names no option; the nearest is %s\"", len, variable,
                  nearest);
}

static int take_variable(struct peercache_config *config, const char *variable, int len,
                         const char *name, struct peercache_error *ret_error)
{
    char text[OPTION_ERROR_BYTES], sentence[OPTION_ERROR_BYTES + 80];
    int error = option_set(&config->options, name, variable + len + 1, text);
    if (error) {
        snprintf(sentence, sizeof sentence, "%.*s: %s", len, variable, text);
        handle_error(ret_error, sentence);
    }
    return error;
}

/* "PEERCACHE_GET_TIMEOUT=3" names the option get_timeout. */
static int load_variable(struct peercache_config *config, const char *variable,
                         struct peercache_error *ret_error)
{
    static const char prefix[] = "PEERCACHE_";
    const char *equals = strchr(variable, '=');
    char name[64];
    if (!equals || strncmp(variable, prefix, sizeof prefix - 1) != 0)
        return 0;
    size_t len = (size_t)(equals - variable) - (sizeof prefix - 1);
    if (len == 0 || len >= sizeof name)
        return 0;
    for (size_t i = 0; i < len; i++)
        name[i] = (char)tolower((unsigned char)variable[sizeof prefix - 1 + i]);
    name[len] = 0;
    if (option_find(name))
        return take_variable(config, variable, (int)(equals - variable), name, ret_error);
    tell_ignored(variable, (int)(equals - variable), name);
    return 0;
}

int peercache_config_load_environment(struct peercache_config *config,
                                      struct peercache_error *ret_error)
{
    for (char **variable = environ; variable && *variable; variable++) {
        int error = load_variable(config, *variable, ret_error);
        if (error)
            return error;
    }
    return 0;
}

const char *peercache_config_get(const struct peercache_config *config, const char *name)
{
    struct peercache_config *own = (struct peercache_config *)config; /* its text is a cache */
    return option_get_text(&config->options, name, own->text) == 0 ? own->text : NULL;
}

const char *peercache_config_nearest(const char *name)
{
    return option_nearest(name);
}

const char *peercache_config_option(size_t index, const char **ret_default, const char **ret_help)
{
    const struct option *option = option_at(index);
    if (!option)
        return NULL;
    if (ret_default)
        *ret_default = option->default_text;
    if (ret_help)
        *ret_help = option->help;
    return option->name;
}

/* --- what the options mean --- */

static int parse_id(const char *text, struct id128 *ret_id, struct peercache_error *ret_error)
{
    unsigned long long hi, lo;
    int end = 0;
    *ret_id = (struct id128){0};
    if (text[0] == 0)
        return 0;
    if (strlen(text) == ID128_TEXT_LEN &&
        strspn(text, "0123456789abcdefABCDEF") == ID128_TEXT_LEN &&
        sscanf(text, "%16llx%16llx%n", &hi, &lo, &end) == 2) {
        *ret_id = (struct id128){hi, lo};
        if (!id128_is_zero(*ret_id))
            return 0;
    }
    handle_error(ret_error, "node_id must be 32 hexadecimal digits, not all zero, or empty");
    return -EINVAL;
}

static int refuse_unbuilt(const struct options *options, struct peercache_error *ret_error)
{
    const char *text = NULL;
    if (options->protocol == OPTION_PROTOCOL_RDMA) {
        /* Who asks for it hears first of what is wrong with this machine. */
        int error = handle_check_rdma(options, ret_error);
        if (error)
            return error;
    }
    if (options->disk_enabled)
        text = "disk_enabled=true is not supported in this release: pages are kept in memory only";
    else if (options->metrics_enabled)
        text = "metrics_enabled=true is not supported in this release: see peercache status --json";
    else if (options->rdma_port != 0 && options->rdma_port != options->control_port)
        text = "rdma_port: RDMA is set up over control_port, and nothing would listen on another "
               "port: leave rdma_port at 0, and open control_port between the hosts";
    if (!text)
        return 0;
    handle_error(ret_error, text);
    return -EINVAL;
}

static int parse_discovery(const struct options *options, struct node_config *config,
                           struct peercache_error *ret_error)
{
    char text[ADDRESS_ERROR_BYTES];
    if (options->discovery_addr[0] == 0)
        return 0;
    int error = address_parse_list(options->discovery_addr, OPTION_DISCOVERY_PORT, NODE_SEEDS_MAX,
                                   config->seeds, &config->n_seeds, text);
    if (error) {
        char sentence[sizeof text + 32];
        snprintf(sentence, sizeof sentence, "discovery_addr: %s", text);
        handle_error(ret_error, sentence);
    }
    return error;
}

static enum node_protocol protocol_of(const struct options *options)
{
    switch (options->protocol) {
    case OPTION_PROTOCOL_TCP: return NODE_PROTOCOL_TCP;
    case OPTION_PROTOCOL_SHM: return NODE_PROTOCOL_SHM;
    case OPTION_PROTOCOL_RDMA: return NODE_PROTOCOL_RDMA;
    default: return NODE_PROTOCOL_AUTO;
    }
}

static void fill_times(const struct options *options, struct node_config *config)
{
    config->heartbeat_interval_ns = options->heartbeat_interval_ns;
    config->member_ttl_ns = options->member_ttl_ns;
    config->ring_grace_ns = options->ring_grace_ns;
    config->get_timeout_ns = options->get_timeout_ns;
    config->set_timeout_ns = options->set_timeout_ns;
    config->exists_timeout_ns = options->exists_timeout_ns;
    config->drain_timeout_ns = options->drain_timeout_ns;
    config->spin_ns = SPIN_NS;
}

static void fill_texts(const struct options *options, struct node_config *config)
{
    snprintf(config->device_names, sizeof config->device_names, "%s", options->device_names);
    snprintf(config->state_dir, sizeof config->state_dir, "%s", options->state_dir);
    snprintf(config->cluster, sizeof config->cluster, "%.63s", options->cluster_name);
    snprintf(config->control.host, sizeof config->control.host, "%.63s", options->bind_host);
    snprintf(config->advertised_host, sizeof config->advertised_host, "%.63s",
             options->local_hostname);
}

int handle_node_config(const struct options *options, struct node_config *ret_config,
                       struct peercache_error *ret_error)
{
    char text[OPTION_ERROR_BYTES];
    *ret_config = (struct node_config){
        .control.port = options->control_port,
        .pool_bytes = options->global_segment_size_bytes & ~UINT64_C(63),
        .directory_limit = options->directory_limit,
        .max_masters = options->max_masters,
        .vnodes = options->vnodes,
        .directory_replicas = options->directory_replicas,
        .serve_threads = options->serve_threads,
        .max_channels_per_peer = options->max_channels_per_peer,
        .protocol = protocol_of(options),
        .ib_port = options->ib_port,
        .gid_index = options->gid_index,
        .service_level = options->service_level,
        .traffic_class = options->traffic_class,
        .verify_checksum = options->verify == OPTION_VERIFY_CHECKSUM,
        .hot_pages = options->hot_pages,
    };
    int error = options_check(options, text);
    if (error) {
        handle_error(ret_error, text);
        return error;
    }
    error = refuse_unbuilt(options, ret_error);
    if (!error)
        error = parse_id(options->node_id, &ret_config->node_id, ret_error);
    if (!error)
        error = parse_discovery(options, ret_config, ret_error);
    if (error)
        return error;
    fill_texts(options, ret_config);
    fill_times(options, ret_config);
    return 0;
}
