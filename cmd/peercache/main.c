/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - peercache: asks a running cluster.  One table of subcommands; usage comes from it. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "common/exit.h"
#include "common/options.h"
#include "invocation.h"
#include "node_name.h"
#include "text.h"

static int command_help(const struct invocation *invocation);

static const struct command {
    const char *name, *arguments;
    int least, most; /* words behind the name; most -1: any number */
    int (*run)(const struct invocation *invocation);
    const char *description;
} commands[] = {
    {"status", "", 0, 0, command_status, "shows the node, its pool, the members and the counters"},
    {"put", "KEY FILE", 2, 2, command_put, "stores a file as one page ('-': standard input)"},
    {"get", "KEY FILE", 2, 2, command_get, "writes a page to a file ('-': standard output)"},
    {"exists", "KEY...", 1, -1, command_exists, "tells which pages the cluster has"},
    {"keys", "", 0, 0, command_keys, "lists the pages that the node holds"},
    {"drain", "NODE", 1, 1, command_drain,
     "tells a node (as of --node) to hand its pages to others and leave; waits for it"},
    {"devices", "", 0, 0, command_devices,
     "lists the RDMA devices of this machine, which a node would use, and why"},
    {"bench", "", 0, 0, command_bench, "joins the cluster for some seconds and measures it"},
    {"help", "", 0, 0, command_help, "shows this text"},
};

static void print_help(void)
{
    printf("usage: peercache COMMAND [ARGUMENT...] [--OPTION VALUE...]\n\nCommands:\n");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        printf("  %-8s %-10s %s\n", commands[i].name, commands[i].arguments,
               commands[i].description);
    printf("\nOptions (--version, --help, and):\n");
    invocation_print_options();
    printf(
        "\nOptions of a node, which decide where to ask and how `bench` joins.  Each is also read\n"
        "from the environment (PEERCACHE_<OPTION>, in capitals):\n");
    options_print();
    printf("\nExit status:\n"
           "  %d  done; exists: every page was found; drain: none was left behind\n"
           "  %d  a page was not found, or was left behind\n"
           "  %d  the command line, an option or a file names what cannot be\n"
           "  %d  no answer from the node\n"
           "  %d  the node, or this machine, refused or failed\n",
           EXIT_OK, EXIT_MISS, EXIT_USAGE, EXIT_UNREACHABLE, EXIT_REFUSED);
}

static int command_help(const struct invocation *invocation)
{
    (void)invocation;
    print_help();
    return EXIT_OK;
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (!strcmp(commands[i].name, name))
            return &commands[i];
    return NULL;
}

/* A node that is named by its id is asked for where discovery says that it is. */
static int run_at_node(struct invocation *invocation, const struct command *command)
{
    char address[NODE_ADDRESS_BYTES];
    const char *node = invocation->node;
    invocation->node = NULL;
    int status = node ? node_name_resolve(invocation, node, address) : EXIT_OK;
    if (status)
        return status;
    invocation->node = node ? address : NULL;
    return command->run(invocation);
}

static int run_command(struct invocation *invocation)
{
    if (!invocation->n_args)
        return text_fail(EXIT_USAGE, "no command; see peercache --help");
    const struct command *command = find_command(invocation->args[0]);
    if (!command)
        return text_fail(EXIT_USAGE, "'%.60s' is no command; see peercache --help",
                         invocation->args[0]);
    invocation->args++;
    invocation->n_args--;
    if (invocation->n_args < command->least ||
        (command->most >= 0 && invocation->n_args > command->most))
        return text_fail(EXIT_USAGE, "usage: peercache %s %s", command->name, command->arguments);
    return run_at_node(invocation, command);
}

/* Output that could not be written, say on a full disk, must not look like success. */
static int flush_output(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    return text_fail(EXIT_REFUSED, "cannot write to the standard output");
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--"); i++) {
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
            return print_help(), EXIT_OK;
        if (!strcmp(argv[i], "--version"))
            return printf("peercache %s\n", peercache_version()), EXIT_OK;
    }
    struct invocation invocation;
    struct peercache_error error = {{0}};
    int status = invocation_init(&invocation, argv, &error) < 0
                     ? text_fail(EXIT_USAGE, "%s", error.text)
                     : run_command(&invocation);
    invocation_fini(&invocation);
    return flush_output(status);
}
