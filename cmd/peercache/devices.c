/* SPDX-License-Identifier: Apache-2.0 */
/* devices.c - `peercache devices`: the RDMA devices of this machine, and which would do. */
#include <stdlib.h>
#include <string.h>

#include "ask.h"
#include "command.h"
#include "common/exit.h"
#include "text.h"

static void print_port(const json_t *port)
{
    size_t i;
    json_t *gid, *gids = json_object_get(port, "gids");
    printf("  port %llu: %s, %s, %g Gbit/s, MTU %llu of %llu\n",
           (unsigned long long)ask_number(port, "port"), ask_text(port, "state"),
           ask_text(port, "link"), (double)ask_number(port, "speed_mbps") / 1000,
           (unsigned long long)ask_number(port, "mtu_bytes"),
           (unsigned long long)ask_number(port, "mtu_max_bytes"));
    json_array_foreach(gids, i, gid)
    {
        printf("    %c GID %-3llu %-10s  %-10s  %s", ask_flag(gid, "is_used") ? '*' : ' ',
               (unsigned long long)ask_number(gid, "index"), ask_text(gid, "type"),
               ask_text(gid, "scope"), ask_text(gid, "address"));
        printf(*ask_text(gid, "interface") ? "  %s\n" : "\n", ask_text(gid, "interface"));
    }
}

static void print_device(const json_t *device)
{
    size_t i;
    json_t *port, *ports = json_object_get(device, "ports");
    json_int_t numa_node = json_integer_value(json_object_get(device, "numa_node"));
    printf("%s: %s (%s)\n", ask_text(device, "name"),
           ask_flag(device, "is_used") ? "would do" : "would not be used", ask_text(device, "why"));
    printf("  firmware %s, bus %s, NUMA node ",
           *ask_text(device, "firmware") ? ask_text(device, "firmware") : "unknown",
           *ask_text(device, "pci") ? ask_text(device, "pci") : "none");
    if (numa_node < 0)
        printf("unknown\n");
    else
        printf("%" JSON_INTEGER_FORMAT "\n", numa_node);
    json_array_foreach(ports, i, port) print_port(port);
}

static void print_locked_memory(const json_t *found)
{
    printf("locked memory: %s needed for the pool (an engine's host pool comes beside it), ",
           text_size(ask_number(found, "locked_memory_needed_bytes")).text);
    if (json_is_null(json_object_get(found, "locked_memory_limit_bytes")))
        printf("no limit\n");
    else
        printf("limit %s\n", text_size(ask_number(found, "locked_memory_limit_bytes")).text);
}

static void print_found(const json_t *found)
{
    size_t i, n_works = 0;
    json_t *device;
    json_array_foreach(json_object_get(found, "devices"), i, device)
    {
        print_device(device);
        n_works += ask_flag(device, "is_used");
    }
    json_t *name;
    json_array_foreach(json_object_get(found, "missing_names"), i, name)
    {
        text_print_name(stdout, json_string_value(name));
        puts(": device_names has it, but this machine has no device of that name");
    }
    if (ask_number(found, "devices_at_once") < n_works)
        printf(
            "a node without device_names takes one of these %zu: on the NUMA node where it starts, "
            "by its id\n",
            n_works);
    print_locked_memory(found);
}

/* JSON is whole whatever was found; the sentence and the status say that nothing works. */
int command_devices(const struct invocation *invocation)
{
    struct reply reply = {0};
    struct peercache_error why = {{0}};
    if (peercache_devices(invocation->config, &reply.answer, &why) < 0)
        return text_fail(EXIT_REFUSED, "%s", why.text);
    reply.json = json_loads(reply.answer.json, 0, NULL);
    if (!reply.json) {
        ask_fini(&reply);
        return text_fail(EXIT_REFUSED, "the listing of devices is not JSON");
    }
    if (invocation->json)
        ask_print_json(stdout, &reply);
    else
        print_found(reply.json);
    int status = EXIT_OK;
    if (!ask_flag(reply.json, "works"))
        status = text_fail(EXIT_REFUSED, "%s", ask_text(reply.json, "reason"));
    ask_fini(&reply);
    return status;
}
