/* SPDX-License-Identifier: Apache-2.0 */
/*
 * discovery.c - the seeds, the discovery port of this host, and the members of a former life.
 *
 * Every host serves discovery on the port that the seeds name: that of the seed which is one of its
 * own addresses, else that of the first.  Of several nodes on a host the one that got the port
 * serves; the others try again so often that one of them has it well within a second of its death.
 * A seed that is this host under another address than it listens on is served as well, by the same
 * node.
 *
 * Set up before the node thread runs, and that thread's from then on; what other threads may do is
 * to set `members_changed`.
 */
#include "node/discovery.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "core/inspection.h"
#include "io/resolve.h"
#include "node/internal.h"
#include "node/links.h"
#include "node/step.h"

#define RETRY_NS UINT64_C(250000000)
#define SAVE_NS UINT64_C(1000000000)
/* All names of discovery_addr together, at the start. */
#define RESOLVE_NS UINT64_C(1000000000)

/* --- the seeds --- */

/* A seed that was looked up; n 0: it could not be. */
struct seed {
    uint32_t n;
    struct socket_name names[RESOLVE_NAMES_MAX];
};

static void look_up(const struct address *address, uint64_t deadline_ns, struct seed *ret_seed)
{
    if (resolve_wait_all(address, deadline_ns, ret_seed->names, &ret_seed->n) != 0)
        ret_seed->n = 0;
}

/* Several hosts have the name: it has two addresses of one family.  What cannot be looked up now
 * may turn out to be one of those. */
static bool spreads(const struct seed *seed)
{
    uint32_t four = 0, six = 0;
    for (uint32_t i = 0; i < seed->n; i++)
        if (seed->names[i].storage.ss_family == AF_INET6)
            six++;
        else
            four++;
    return seed->n == 0 || four > 1 || six > 1;
}

static const struct socket_name *own_name(const struct seed *seed)
{
    for (uint32_t i = 0; i < seed->n; i++)
        if (socket_name_is_own(&seed->names[i]))
            return &seed->names[i];
    return NULL;
}

static bool host_text(const struct socket_name *name, char ret_host[ADDRESS_HOST_BYTES])
{
    const void *bytes =
        name->storage.ss_family == AF_INET6
            ? (const void *)&((const struct sockaddr_in6 *)&name->storage)->sin6_addr
            : (const void *)&((const struct sockaddr_in *)&name->storage)->sin_addr;
    return inet_ntop(name->storage.ss_family, bytes, ret_host, ADDRESS_HOST_BYTES) != NULL;
}

/* The address by which a seed is reached is the one by which others reach this node. */
static bool address_towards(const struct seed *seed, char ret_host[ADDRESS_HOST_BYTES])
{
    struct socket_name own = {.len = sizeof own.storage};
    if (seed->n == 0)
        return false;
    int fd = socket(seed->names[0].storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    bool ok =
        connect(fd, (const struct sockaddr *)&seed->names[0].storage, seed->names[0].len) == 0 &&
        getsockname(fd, (struct sockaddr *)&own.storage, &own.len) == 0 &&
        host_text(&own, ret_host);
    close(fd);
    return ok;
}

static bool is_any(const char *host)
{
    return strcmp(host, "*") == 0 || strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
}

static bool is_loopback_text(const char *host)
{
    struct in_addr four;
    struct in6_addr six;
    if (inet_pton(AF_INET, host, &four) == 1)
        return ntohl(four.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, host, &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six);
}

/* Many a host knows its own name as a loopback address: it works there, and nobody else comes.  Who
 * writes such an address, or localhost, means it. */
static void warn_of_loopback(const char *option, const char *host, const struct seed *found)
{
    char text[ADDRESS_HOST_BYTES] = "";
    if (is_loopback_text(host) || strcasecmp(host, "localhost") == 0 || found->n == 0)
        return;
    for (uint32_t i = 0; i < found->n; i++)
        if (!host_text(&found->names[i], text) || !is_loopback_text(text))
            return;
    log_event(LOG_LEVEL_WARNING, "loopback_only",
              "option=%s host=%s address=%s effect=\"nodes on other hosts do not reach this one\" "
              "remedy=\"set %s to an address by which they do\"",
              option, log_quoted(host), text,
              strcmp(option, "bind_host") == 0 ? option : "local_hostname");
}

/* Where to listen was said by name. */
static void check_host(const char *option, const char *host)
{
    struct address address = address_of(host, 1);
    struct seed found;
    if (is_any(host) || is_loopback_text(host))
        return;
    look_up(&address, clock_now_ns() + RESOLVE_NS, &found);
    warn_of_loopback(option, host, &found);
}

/* What others are told, if the options do not say. */
static void find_host(struct node_config *config, const struct seed *seeds)
{
    for (uint32_t i = 0; i < config->n_seeds; i++)
        if (address_towards(&seeds[i], config->advertised_host)) {
            if (is_loopback_text(config->advertised_host))
                warn_of_loopback("discovery_addr", config->seeds[i].host, &seeds[i]);
            return;
        }
    strcpy(config->advertised_host, "127.0.0.1");
}

/* Where to listen, and what others are told. */
static void choose_hosts(struct node *node, const struct seed *seeds)
{
    struct node_config *config = &node->config;
    bool has_hostname = config->advertised_host[0] != 0;
    if (!has_hostname)
        find_host(config, seeds);
    if (config->n_seeds > 0 && config->control.host[0])
        check_host("bind_host", config->control.host);
    else if (config->n_seeds > 0 && has_hostname)
        check_host("local_hostname", config->advertised_host);
    node->discovery.host_option = config->control.host[0] ? "bind_host"
                                  : has_hostname          ? "local_hostname"
                                                 : "the way to discovery_addr: set local_hostname";
    if (config->control.host[0] == 0)
        memcpy(config->control.host, config->advertised_host, sizeof config->control.host);
}

static bool is_loopback(const struct socket_name *name)
{
    return name->storage.ss_family == AF_INET &&
           ntohl(((const struct sockaddr_in *)&name->storage)->sin_addr.s_addr) >> 24 == 127;
}

/* A seed of this host that is another address than the one it listens on, for instance on another
 * network.  Loopback addresses are as many hosts, if nodes are told to listen on several of
 * them. */
static void choose_also(struct node *node, const struct address *seed,
                        const struct socket_name *name)
{
    struct discovery *discovery = &node->discovery;
    struct address control = address_of(node->config.control.host, seed->port);
    struct seed own = {0};
    if (is_any(control.host))
        return;
    look_up(&control, clock_now_ns() + RESOLVE_NS, &own);
    for (uint32_t i = 0; i < own.n; i++)
        if ((own.names[i].len == name->len &&
             memcmp(&own.names[i].storage, &name->storage, name->len) == 0) ||
            (is_loopback(&own.names[i]) && is_loopback(name)))
            return;
    discovery->also.port = seed->port;
    if (!host_text(name, discovery->also.host))
        discovery->also.port = 0;
}

static void choose_service(struct node *node, const struct seed *seeds)
{
    struct discovery *discovery = &node->discovery;
    const struct node_config *config = &node->config;
    if (config->n_seeds == 0)
        return;
    memcpy(discovery->own.host, config->control.host, sizeof discovery->own.host);
    discovery->own.port = config->seeds[0].port;
    for (uint32_t i = 0; i < config->n_seeds; i++) {
        const struct socket_name *name = own_name(&seeds[i]);
        if (!name)
            continue;
        discovery->own.port = config->seeds[i].port;
        choose_also(node, &config->seeds[i], name);
        return;
    }
}

void discovery_choose_hosts(struct node *node)
{
    struct node_config *config = &node->config;
    struct seed *seeds = calloc(config->n_seeds + 1, sizeof *seeds);
    uint64_t deadline_ns = clock_now_ns() + RESOLVE_NS;
    for (uint32_t i = 0; seeds && i < config->n_seeds; i++) {
        look_up(&config->seeds[i], deadline_ns, &seeds[i]);
        node->discovery.spreads[i] = spreads(&seeds[i]);
    }
    node->discovery.has_head = config->n_seeds > 0 && !node->discovery.spreads[0];
    static const struct seed none[NODE_SEEDS_MAX];
    choose_hosts(node, seeds ? seeds : none);
    choose_service(node, seeds ? seeds : none);
    free(seeds);
}

/* --- the port --- */

static void begin_to_serve(struct node *node)
{
    struct discovery *discovery = &node->discovery;
    char text[ADDRESS_TEXT_BYTES], reason[SOCKET_REASON_BYTES];
    struct core_event event = {.type = CORE_SERVING};
    if (discovery->also.port)
        (void)listener_open(node->loop, node->conns, &discovery->also, &discovery->also_listener,
                            reason);
    discovery->serves = true;
    address_format(&discovery->own, text);
    log_event(LOG_LEVEL_INFO, "discovery_serving", "address=%s", text);
    node_step(node, &event, NULL);
}

static int try_port(struct node *node, char ret_reason[SOCKET_REASON_BYTES])
{
    struct discovery *discovery = &node->discovery;
    return listener_open(node->loop, node->conns, &discovery->own, &discovery->listener,
                         ret_reason);
}

static void tell_not_served(const char *reason)
{
    log_event(LOG_LEVEL_WARNING, "discovery_not_served",
              "reason=\"%s\" effect=\"other nodes do not find the cluster through this host\"",
              reason);
}

/* A port that is in use is so by another node of this host, or should be.  Any other error
 * stays. */
void discovery_open(struct node *node)
{
    char reason[SOCKET_REASON_BYTES];
    struct discovery *discovery = &node->discovery;
    if (discovery->own.port == 0)
        return;
    int error = try_port(node, reason);
    if (error == 0 || error == -EADDRINUSE)
        return;
    tell_not_served(reason);
    discovery->own.port = 0;
}

/* Another node of this host may be on its way to the port as well: who has it is looked at
 * later. */
static void look_at_holder(struct node *node)
{
    struct address to = address_of(node->config.advertised_host, node->discovery.own.port);
    links_probe(node, &to);
}

void discovery_probed(struct node *node, int error, const char *reason)
{
    struct discovery *discovery = &node->discovery;
    if (discovery->has_told_taken || (error != -EPERM && error != -EPROTO))
        return;
    discovery->has_told_taken = true;
    char text[ADDRESS_TEXT_BYTES], sentence[HELLO_REASON_BYTES + 128];
    address_format(&discovery->own, text);
    snprintf(sentence, sizeof sentence,
             "%s belongs to others (%.200s); name another port in discovery_addr", text, reason);
    tell_not_served(sentence);
}

static struct node *node_of_retry(struct loop_timer *timer)
{
    return (struct node *)((char *)timer - offsetof(struct node, discovery.retry));
}

static void retry(struct loop_timer *timer)
{
    struct node *node = node_of_retry(timer);
    char reason[SOCKET_REASON_BYTES];
    if (try_port(node, reason) == 0)
        begin_to_serve(node);
    else
        loop_set_timer(node->loop, timer, clock_now_ns() + RETRY_NS);
}

/* --- what was known before, and is to be known after --- */

static bool is_same(const struct address *a, const struct address *b)
{
    return a->port == b->port && strcmp(a->host, b->host) == 0;
}

static uint32_t list_services(struct node *node, struct address ret_services[MEMBER_FILE_MAX])
{
    uint32_t n = 0;
    struct core_inspection *inspection = malloc(sizeof *inspection);
    if (!inspection)
        return 0;
    pthread_mutex_lock(&node->core_lock);
    core_inspect(node->core, inspection);
    pthread_mutex_unlock(&node->core_lock);
    for (uint32_t i = 1; i < inspection->n_members && n < MEMBER_FILE_MAX; i++) {
        const struct core_member *member = &inspection->members[i];
        struct address service = address_of(member->host, member->discovery_port);
        bool is_known = service.port == 0;
        for (uint32_t j = 0; j < n && !is_known; j++)
            is_known = is_same(&ret_services[j], &service);
        if (!is_known)
            ret_services[n++] = service;
    }
    free(inspection);
    return n;
}

/* An empty list tells nothing that is of use at the next start: the last members stay written. */
static void save(struct loop_timer *timer)
{
    struct node *node = (struct node *)((char *)timer - offsetof(struct node, discovery.save));
    struct discovery *discovery = &node->discovery;
    struct address services[MEMBER_FILE_MAX] = {0};
    uint64_t now_ns = clock_now_ns();
    loop_set_timer(node->loop, timer, now_ns + SAVE_NS);
    state_writer_check(node->state, now_ns);
    if (!atomic_exchange(&discovery->members_changed, false))
        return;
    uint32_t n = list_services(node, services);
    bool is_old =
        n == discovery->n_saved && memcmp(services, discovery->saved, n * sizeof *services) == 0;
    if (n == 0 || is_old)
        return;
    state_writer_keep_members(node->state, services, n);
    discovery->n_saved = n;
    memcpy(discovery->saved, services, sizeof services);
}

void discovery_members_changed(struct node *node)
{
    atomic_store(&node->discovery.members_changed, true);
}

/* --- start, close --- */

static void copy_service(struct core_service *to, const struct address *from)
{
    memcpy(to->host, from->host, sizeof to->host);
    to->port = from->port;
}

void discovery_describe(const struct node *node, struct core_config *core)
{
    const struct node_config *config = &node->config;
    struct address remembered[MEMBER_FILE_MAX];
    _Static_assert((int)MEMBER_FILE_MAX <= (int)CORE_SEEDS_MAX, "all that is remembered is tried");
    _Static_assert((int)NODE_SEEDS_MAX <= (int)CORE_SEEDS_MAX, "all seeds are tried");
    core->discovery_port = node->discovery.own.port;
    core->max_masters = config->max_masters;
    core->has_head = node->discovery.has_head;
    core->n_seeds = config->n_seeds;
    memcpy(core->seed_spreads, node->discovery.spreads, sizeof node->discovery.spreads);
    for (uint32_t i = 0; i < config->n_seeds; i++)
        copy_service(&core->seeds[i], &config->seeds[i]);
    if (config->n_seeds > 0 && config->state_dir[0])
        core->n_remembered = member_file_read(config->state_dir, remembered);
    for (uint32_t i = 0; i < core->n_remembered; i++)
        copy_service(&core->remembered[i], &remembered[i]);
}

void discovery_start(struct node *node)
{
    struct discovery *discovery = &node->discovery;
    discovery->retry.run = retry;
    discovery->save.run = save;
    if (discovery->listener) {
        begin_to_serve(node);
    } else if (discovery->own.port) {
        look_at_holder(node);
        loop_set_timer(node->loop, &discovery->retry, clock_now_ns() + RETRY_NS);
    }
    if (node->config.n_seeds > 0 && node->config.state_dir[0])
        loop_set_timer(node->loop, &discovery->save, clock_now_ns() + SAVE_NS);
}

void discovery_close(struct node *node)
{
    loop_set_timer(node->loop, &node->discovery.retry, 0);
    loop_set_timer(node->loop, &node->discovery.save, 0);
    listener_close(node->discovery.listener);
    listener_close(node->discovery.also_listener);
    node->discovery.listener = node->discovery.also_listener = NULL;
}

/* --- what is told of masters --- */

/* Of seeds only, once until they answer: while no other master does, or if it is the head. */
void discovery_reached(struct node *node, const char *address, const char *reason)
{
    struct discovery *discovery = &node->discovery;
    for (uint32_t i = 0; i < node->config.n_seeds; i++) {
        char seed[ADDRESS_TEXT_BYTES];
        address_format(&node->config.seeds[i], seed);
        bool matters = discovery->n_links == 0 || (i == 0 && discovery->has_head);
        if (strcmp(seed, address) != 0 || discovery->has_told[i] == (reason != NULL) ||
            (reason && !matters))
            continue;
        discovery->has_told[i] = reason != NULL;
        if (!reason)
            log_event(LOG_LEVEL_INFO, "discovery_reached", "address=%s", address);
        else
            log_event(LOG_LEVEL_WARNING, "discovery_unreachable",
                      "address=%s reason=\"%s\" effect=\"%s\"", address, reason,
                      discovery->n_links > 0 ? "other masters answer; this node keeps trying"
                                             : "this node and the members that it knows serve "
                                               "on; it keeps trying");
    }
}
