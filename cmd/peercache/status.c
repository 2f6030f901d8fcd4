/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status.c - `peercache status`: the node, its pool, the members and the counters.
 *
 * The node decides what a section has; here is only how it looks, so that a newer node's numbers
 * show up in an older program too.
 */
#include <string.h>

#include "ask.h"
#include "command.h"
#include "common/exit.h"
#include "text.h"

enum { NAME_COLUMN = 28 };

static bool is_size(const char *name)
{
    size_t len = strlen(name), end = strlen("bytes");
    return len >= end && !strcmp(name + len - end, "bytes");
}

static void print_value(const char *name, const json_t *value)
{
    if (json_is_string(value)) {
        text_print_name(stdout, json_string_value(value));
    } else if (json_is_integer(value)) {
        json_int_t number = json_integer_value(value);
        printf("%" JSON_INTEGER_FORMAT, number);
        if (is_size(name) && number >= 1024)
            printf("  (%s)", text_size((uint64_t)number).text);
    } else {
        json_dumpf(value, stdout, JSON_ENCODE_ANY | JSON_COMPACT);
    }
}

static void print_section(const char *title, json_t *section)
{
    const char *name;
    json_t *value;
    if (!json_object_size(section))
        return;
    printf("%s\n", title);
    json_object_foreach(section, name, value)
    {
        printf("  %-*s ", NAME_COLUMN, name);
        print_value(name, value);
        putchar('\n');
    }
}

static void print_member(const json_t *member)
{
    const char *address = ask_text(member, "address");
    printf("  %-32s  ", ask_text(member, "node_id"));
    text_print_name(stdout, address);
    printf("%*s  %-8s  %s\n", strlen(address) < 24 ? (int)(24 - strlen(address)) : 0, "",
           ask_text(member, "state"), text_size(ask_number(member, "pool_bytes")).text);
}

static void print_master(const json_t *master)
{
    const char *address = ask_text(master, "address");
    const char *says = !ask_flag(master, "is_connected") ? "not connected"
                       : !ask_flag(master, "answers")    ? "does not answer"
                       : !ask_flag(master, "is_fresh")   ? "answers, not fresh yet"
                                                         : "answers";
    printf("  ");
    text_print_name(stdout, address);
    printf("%*s  %-4s  %s%s\n", strlen(address) < 24 ? (int)(24 - strlen(address)) : 0, "",
           ask_flag(master, "is_head") ? "head" : "", says,
           ask_flag(master, "is_self") ? " (this node)" : "");
}

/* A node of an older build has none. */
static void print_masters(const json_t *masters)
{
    size_t i;
    json_t *master;
    if (!masters)
        return;
    printf("masters: %zu\n", json_array_size(masters));
    json_array_foreach(masters, i, master) print_master(master);
}

static void print_members(const json_t *members)
{
    size_t i;
    json_t *member;
    printf("members: %zu\n", json_array_size(members));
    json_array_foreach(members, i, member) print_member(member);
}

static void print_device(const json_t *device)
{
    printf("  %-16s  port %llu  ", ask_text(device, "device"),
           (unsigned long long)ask_number(device, "port"));
    text_print_name(stdout, ask_text(device, "address"));
    printf("  %llu of %llu queue pairs, %llu for others%s\n",
           (unsigned long long)ask_number(device, "queue_pairs"),
           (unsigned long long)ask_number(device, "queue_pairs_max"),
           (unsigned long long)ask_number(device, "guest_queue_pairs"),
           ask_flag(device, "has_failed")     ? ", has failed"
           : ask_flag(device, "port_is_down") ? ", port down"
                                              : "");
}

static void print_link(const json_t *link)
{
    const char *why = ask_text(link, "why");
    printf("  %-32s  ", ask_text(link, "node_id"));
    text_print_name(stdout, ask_text(link, "address"));
    printf("  %s  %s  %llu queue pairs%s", ask_text(link, "device"), ask_text(link, "state"),
           (unsigned long long)ask_number(link, "queue_pairs"), why[0] ? ": " : "");
    text_print_name(stdout, why);
    putchar('\n');
}

/* A node of an older build says nothing of it. */
static void print_rdma(const json_t *rdma)
{
    const json_t *devices = json_object_get(rdma, "devices");
    const json_t *links = json_object_get(rdma, "links");
    size_t n_devices = json_array_size(devices), n_links = json_array_size(links), i;
    json_t *entry;
    if (!rdma)
        return;
    printf("rdma: %zu device%s, %zu link%s", n_devices, n_devices == 1 ? "" : "s", n_links,
           n_links == 1 ? "" : "s");
    if (ask_text(rdma, "why_not")[0])
        printf(" (%s)", ask_text(rdma, "why_not"));
    putchar('\n');
    json_array_foreach(json_object_get(rdma, "troubles"), i, entry)
        printf("  %s\n", json_string_value(entry));
    json_array_foreach(devices, i, entry) print_device(entry);
    json_array_foreach(links, i, entry) print_link(entry);
}

int command_status(const struct invocation *invocation)
{
    struct reply reply;
    int status = ask(invocation, ask_new(invocation, "status", false), NULL, 0, &reply);
    if (status)
        return status;
    if (invocation->json) {
        ask_print_json(stdout, &reply);
    } else {
        print_section("node", json_object_get(reply.json, "node"));
        print_section("pool", json_object_get(reply.json, "pool"));
        print_section("directory", json_object_get(reply.json, "directory"));
        print_masters(json_object_get(reply.json, "masters"));
        print_members(json_object_get(reply.json, "members"));
        print_rdma(json_object_get(reply.json, "rdma"));
        print_section("counters", json_object_get(reply.json, "counters"));
    }
    ask_fini(&reply);
    return EXIT_OK;
}
