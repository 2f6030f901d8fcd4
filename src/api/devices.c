/* SPDX-License-Identifier: Apache-2.0 */
/*
 * devices.c - what RDMA this machine has, which of it a node would use, and why none where none
 * works.  Opens devices for a moment; a node need not run.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/handle.h"
#include "io/rdma/choice.h"
#include "io/rdma/memlock.h"
#include "io/rdma/module.h"

/* What was found, and the sentence that says why RDMA does not work here; "" where it does. */
struct findings {
    struct survey survey;
    struct choice_wishes wishes;
    uint32_t n_works; /* devices that would do */
    bool takes_one;   /* and a node takes one of them */
    uint64_t memlock_bytes, needed_bytes;
    char reason[CHOICE_WHY_BYTES];
};

_Static_assert((int)RDMA_MODULE_ERROR_BYTES <= CHOICE_WHY_BYTES &&
                   (int)MEMLOCK_TEXT_BYTES <= CHOICE_WHY_BYTES,
               "each reason has room in the findings");

/* Each device that a node uses pins its pool once more. */
static void count_devices(const struct options *options, struct findings *found)
{
    for (uint32_t i = 0; i < found->survey.count; i++) {
        struct choice choice;
        choice_make(&found->survey.devices[i], &found->wishes, &choice);
        found->n_works += choice.is_used;
    }
    found->takes_one = found->n_works > 1 && !options->device_names[0];
    if (found->n_works > 1 && !found->takes_one)
        found->needed_bytes *= found->n_works;
}

/* 0 also where nothing works: then there is a reason. */
static int find(const struct options *options, struct findings *ret_findings)
{
    const struct verbs *verbs;
    *ret_findings = (struct findings){
        .wishes = {options->device_names, options->ib_port, options->gid_index},
        .memlock_bytes = memlock_limit_bytes(""),
        .needed_bytes = node_pool_memory_bytes(options->global_segment_size_bytes),
    };
    struct findings *found = ret_findings;
    if (rdma_module_open(&verbs, found->reason) < 0)
        return 0;
    int error = survey_take(verbs, "", &found->survey);
    if (error == -ENOMEM)
        return error;
    count_devices(options, found);
    if (error)
        survey_explain(error, found->reason, sizeof found->reason);
    else if (choice_works(&found->survey, &found->wishes, found->reason))
        memlock_allows(found->memlock_bytes, found->needed_bytes, found->reason);
    return 0;
}

int handle_check_rdma(const struct options *options, struct peercache_error *ret_error)
{
    struct findings found;
    char text[CHOICE_WHY_BYTES + 32];
    int error = find(options, &found);
    if (error)
        return error;
    snprintf(text, sizeof text, "protocol=rdma: %s", found.reason);
    handle_error(ret_error, text);
    survey_fini(&found.survey);
    return found.reason[0] ? -EINVAL : 0;
}

/* --- as JSON ---------------------------------------------------------------------------------- */

static json_t *gid_json(const struct gid *gid, const struct choice *choice)
{
    char text[GID_TEXT_BYTES];
    gid_format(gid, text);
    /* Of an IPv4 address as people count it. */
    int bits =
        gid->prefix_bits > 96 && !strchr(text, ':') ? gid->prefix_bits - 96 : gid->prefix_bits;
    return json_pack("{s:i, s:s, s:s, s:s, s:s, s:i, s:b}", "index", gid->entry.index, "address",
                     text, "type", gid_type_text(gid->entry.type), "scope",
                     gid_scope_text(gid_scope(gid)), "interface", gid->interface, "prefix_bits",
                     bits, "is_used", choice->gid == gid);
}

static json_t *port_json(const struct survey_device *device, uint32_t number,
                         const struct choice *choice)
{
    const struct verbs_port_info *port = &device->ports[number - 1];
    json_t *gids = json_array();
    for (uint32_t i = 0; i < device->gid_count; i++)
        if (device->gids[i].entry.port == number)
            json_array_append_new(gids, gid_json(&device->gids[i], choice));
    return json_pack("{s:i, s:s, s:s, s:i, s:i, s:I, s:i, s:o}", "port", number, "state",
                     choice_state_text(port->state), "link", choice_link_text(port->link),
                     "mtu_bytes", port->mtu_bytes, "mtu_max_bytes", port->mtu_max_bytes,
                     "speed_mbps", (json_int_t)port->speed_mbps, "lid", port->lid, "gids", gids);
}

static json_t *limits_json(const struct verbs_limits *limits)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "queue_pairs",
                     (json_int_t)limits->queues, "depth", (json_int_t)limits->depth, "completions",
                     (json_int_t)limits->completions, "segments", (json_int_t)limits->segments,
                     "reads_asked", (json_int_t)limits->reads_asked, "reads_served",
                     (json_int_t)limits->reads_served, "memories", (json_int_t)limits->memories);
}

static json_t *device_json(const struct survey_device *device, const struct choice_wishes *wishes)
{
    struct choice choice;
    char guid[ID128_TEXT_LEN + 1];
    choice_make(device, wishes, &choice);
    snprintf(guid, sizeof guid, "%016" PRIx64, device->info.guid);
    json_t *ports = json_array();
    for (uint32_t i = 0; i < device->port_count; i++)
        json_array_append_new(ports, port_json(device, i + 1, &choice));
    return json_pack("{s:s, s:b, s:s, s:s, s:s, s:i, s:i, s:i, s:s, s:o, s:o}", "name",
                     device->name, "is_used", choice.is_used, "why", choice.why, "firmware",
                     device->info.firmware, "guid", guid, "vendor", device->info.vendor, "part",
                     device->info.part, "numa_node", device->numa_node, "pci", device->pci,
                     "limits", limits_json(&device->info.limits), "ports", ports);
}

static json_t *missing_json(const struct findings *found)
{
    json_t *missing = json_array();
    char name[VERBS_NAME_BYTES];
    for (const char *cursor = found->wishes.device_names; choice_next_name(&cursor, name);) {
        bool is_there = found->survey.count == 0; /* nobody knows, as the reason says */
        for (uint32_t i = 0; i < found->survey.count; i++)
            is_there |= strcmp(found->survey.devices[i].name, name) == 0;
        if (!is_there)
            json_array_append_new(missing, json_string(name));
    }
    return missing;
}

static json_t *findings_json(const struct findings *found)
{
    json_t *devices = json_array();
    bool is_limited = found->memlock_bytes != MEMLOCK_UNLIMITED;
    for (uint32_t i = 0; i < found->survey.count; i++)
        json_array_append_new(devices, device_json(&found->survey.devices[i], &found->wishes));
    return json_pack("{s:b, s:s, s:o, s:i, s:o, s:I, s:o}", "works", !found->reason[0], "reason",
                     found->reason, "missing_names", missing_json(found), "devices_at_once",
                     found->takes_one ? 1 : (int)found->n_works, "locked_memory_limit_bytes",
                     is_limited ? json_integer((json_int_t)found->memlock_bytes) : json_null(),
                     "locked_memory_needed_bytes", (json_int_t)found->needed_bytes, "devices",
                     devices);
}

int peercache_devices(const struct peercache_config *config, struct peercache_answer *ret_answer,
                      struct peercache_error *ret_error)
{
    struct findings found;
    if (!config || !ret_answer) {
        handle_error(ret_error, "a listing of devices needs a configuration");
        return -EINVAL;
    }
    int error = find(&config->options, &found);
    if (error) {
        handle_error(ret_error, "not enough memory to list the devices");
        return error;
    }
    json_t *json = findings_json(&found);
    survey_fini(&found.survey);
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    if (!text) {
        handle_error(ret_error, "not enough memory to list the devices");
        return -ENOMEM;
    }
    *ret_answer = (struct peercache_answer){.json = text};
    return 0;
}
