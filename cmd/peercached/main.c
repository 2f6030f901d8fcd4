/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - peercached: a node of the cluster without an engine.
 *
 * The main thread opens the node, waits for SIGTERM or SIGINT (or for the end of a drain that
 * `peercache drain` asked for, or for the end of the node itself), drains and closes the node.
 * Both signals are blocked before the node starts its threads, so that sigtimedwait() is the one
 * place that sees the first of them; while the node leaves the cluster, a second one ends the
 * process at once. While it opens, which may take its time (a state directory that hangs, a large
 * pool), a thread waits for the signals: nobody knows the node yet, and there is nothing to be
 * left.
 */
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "common/exit.h"
#include "common/options.h"
#include "peercache.h"

static void print_help(void)
{
    printf("usage: peercached [--config FILE] [--OPTION VALUE ...]\n"
           "\n"
           "Runs a node of the cluster: it stores pages, answers for its share of the directory,\n"
           "and leaves the cluster on SIGTERM or SIGINT, after it has handed its pages to others\n"
           "(drain_timeout).  A second signal ends it at once.\n"
           "\n"
           "  --config FILE   takes options from a JSON object, e.g. {\"control_port\": 7000}\n"
           "  --help          shows this text\n"
           "  --version       shows the version\n"
           "\n"
           "Options and their defaults.  Each is also read from the environment\n"
           "(PEERCACHE_<OPTION>, in capitals); a file overrides the environment, and the\n"
           "command line overrides both.\n");
    options_print();
    printf("\n"
           "Exit status: %d after it has left; %d when the node cannot start; %d when an option\n"
           "is wrong; %d when another process has taken its node_id over.\n",
           EXIT_OK, EXIT_OPEN_FAILED, EXIT_USAGE, EXIT_SUPERSEDED);
}

static int fail(enum exit_status status, const char *text)
{
    fprintf(stderr, "peercached: %s\n", text);
    return status;
}

/* The options that are no options of the node.  Returns whether @word was one of them. */
static bool is_own_option(const struct option_word *word)
{
    return !strcmp(word->name, "config");
}

static int load_config_files(struct peercache_config *config, char **argv,
                             struct peercache_error *ret_error)
{
    for (int i = 1; argv[i]; i++) {
        struct option_word word;
        const char *value;
        if (!options_split(argv[i], &word))
            continue;
        if (!is_own_option(&word)) {
            i += !word.value && argv[i + 1];
            continue;
        }
        if (options_value(&word, argv, &i, &value, ret_error) < 0 ||
            options_load_file(config, value, ret_error) < 0)
            return -EINVAL;
    }
    return 0;
}

static int load_command_line(struct peercache_config *config, char **argv,
                             struct peercache_error *ret_error)
{
    for (int i = 1; argv[i]; i++) {
        struct option_word word;
        if (!options_split(argv[i], &word)) {
            snprintf(ret_error->text, sizeof ret_error->text,
                     "'%.80s' is no option; see peercached --help", argv[i]);
            return -EINVAL;
        }
        if (is_own_option(&word))
            i += !word.value;
        else if (options_take(config, &word, argv, &i, ret_error) < 0)
            return -EINVAL;
    }
    return 0;
}

/* The later of two sources counts: environment, file, command line. */
static int load_options(struct peercache_config *config, char **argv,
                        struct peercache_error *ret_error)
{
    if (peercache_config_load_environment(config, ret_error) < 0)
        return -EINVAL;
    if (load_config_files(config, argv, ret_error) < 0)
        return -EINVAL;
    return load_command_line(config, argv, ret_error);
}

static const char *text_at(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text && *text ? text : "none";
}

/* The first signal, or 0: a drain that was asked for over the network is over, or the node has
 * ended by itself. */
static int wait_for_end(struct peercache_node *node, const sigset_t *signals)
{
    static const struct timespec look = {.tv_nsec = 100000000};
    int received = 0;
    while (received <= 0 && !peercache_node_is_drained(node) &&
           peercache_node_check(node, NULL) == 0)
        received = sigtimedwait(signals, NULL, &look);
    return received > 0 ? received : 0;
}

static bool drains(const struct peercache_config *config)
{
    const char *timeout = peercache_config_get(config, "drain_timeout");
    return timeout && strtod(timeout, NULL) > 0;
}

/* Whoever asked for the drain takes the report before the node is gone. */
static void wait_for_asker(void)
{
    static const struct timespec pause = {.tv_nsec = 500000000};
    nanosleep(&pause, NULL);
}

/* Scripts wait for this line and read the addresses from it. */
static int print_ready(struct peercache_node *node)
{
    char *text = NULL;
    if (peercache_node_status(node, &text) < 0)
        return -EIO;
    json_t *status = json_loads(text, 0, NULL);
    free(text);
    if (!status)
        return -EIO;
    const json_t *own = json_object_get(status, "node");
    const json_t *pool = json_object_get(status, "pool");
    printf("ready node_id=%s control=%s discovery=%s pool=%lld\n", text_at(own, "node_id"),
           text_at(own, "address"), text_at(own, "discovery_addr"),
           (long long)json_integer_value(json_object_get(pool, "bytes")));
    json_decref(status);
    return fflush(stdout) == 0 ? 0 : -EIO;
}

static void exit_at_once(int signal_number)
{
    _exit(128 + signal_number);
}

static void let_signals_end_us(const sigset_t *signals)
{
    struct sigaction action = {.sa_handler = exit_at_once};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    pthread_sigmask(SIG_UNBLOCK, signals, NULL);
}

/* A connection of each member, and of each thread that reads, is one; the limit that a shell gives
 * is made for programs that use select(). */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

/* To the thread that waits for the signals meanwhile: the node is open. */
enum { OPENED = SIGUSR1 };

/* It says nothing: what the opening waits for may be the place where it would be said. */
static void *end_at_signal(void *signals)
{
    int signal_number;
    if (sigwait(signals, &signal_number) == 0 && signal_number != OPENED)
        _exit(EXIT_OK);
    return NULL;
}

/* With the signals blocked, before and afterwards. */
static int open_node(const struct peercache_config *config, sigset_t *signals,
                     struct peercache_node **ret_node, struct peercache_error *ret_error)
{
    pthread_t watcher;
    sigset_t watched = *signals, opened;
    sigemptyset(&opened);
    sigaddset(&opened, OPENED);
    sigaddset(&watched, OPENED);
    pthread_sigmask(SIG_BLOCK, &opened, NULL);
    bool is_watched = pthread_create(&watcher, NULL, end_at_signal, &watched) == 0;
    int error = peercache_node_open(config, ret_node, ret_error);
    if (is_watched) { /* not by pthread_cancel(), which aborts where there are no descriptors left */
        pthread_kill(watcher, OPENED);
        pthread_join(watcher, NULL);
    }
    return error;
}

static int run(const struct peercache_config *config)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit();

    struct peercache_error error = {{0}};
    struct peercache_node *node;
    int opened = open_node(config, &signals, &node, &error);
    if (opened < 0)
        return fail(opened == -EINVAL ? EXIT_USAGE : EXIT_OPEN_FAILED, error.text);
    if (print_ready(node) < 0)
        fail(EXIT_OK, "cannot write the ready line to the standard output");
    int received = wait_for_end(node, &signals);
    bool is_superseded = peercache_node_check(node, &error) < 0;
    let_signals_end_us(&signals);
    fprintf(stderr, "peercached: leaving signal=%s\n",
            received        ? sigabbrev_np(received)
            : is_superseded ? "none reason=superseded"
                            : "none reason=drained");
    if (received && drains(config))
        (void)peercache_node_drain(node, PEERCACHE_TIMEOUT_DEFAULT,
                                   NULL); /* the log has the figures */
    else if (!received && !is_superseded)
        wait_for_asker();
    peercache_node_close(node);
    return is_superseded ? fail(EXIT_SUPERSEDED, error.text) : EXIT_OK;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
            return print_help(), EXIT_OK;
        if (!strcmp(argv[i], "--version"))
            return printf("peercached %s\n", peercache_version()), EXIT_OK;
    }
    struct peercache_config *config;
    if (peercache_config_new(&config) < 0)
        return fail(EXIT_OPEN_FAILED, "not enough memory");
    struct peercache_error error = {{0}};
    int status =
        load_options(config, argv, &error) < 0 ? fail(EXIT_USAGE, error.text) : run(config);
    peercache_config_free(config);
    return status;
}
