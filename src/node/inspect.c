/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inspect.c - what a node knows, read without stopping it.
 *
 * Counts come from the core under its lock; pages are listed by pinning them one at a time, so a
 * name that is printed belonged to a whole page.
 */
#include "node/inspect.h"

#include <string.h>

#include "base/protection.h"
#include "core/inspection.h"
#include "node/internal.h"
#include "node/outcome.h"
#include "node/rdma.h"
#include "wire/version.h"

static const char *state_name(uint8_t state)
{
    switch (state) {
    case MEMBER_ALIVE: return "alive";
    case MEMBER_DRAINING: return "draining";
    case MEMBER_SUSPECT: return "suspect";
    default: return "left";
    }
}

static json_t *id_json(struct id128 id)
{
    char text[ID128_TEXT_LEN + 1];
    id128_format(id, text);
    return json_string(text);
}

struct seeds_text {
    char text[NODE_SEEDS_MAX * (ADDRESS_TEXT_BYTES + 1)];
};

static struct seeds_text seeds_text(const struct node_config *config)
{
    struct seeds_text seeds = {""};
    for (uint32_t i = 0; i < config->n_seeds; i++) {
        char one[ADDRESS_TEXT_BYTES];
        address_format(&config->seeds[i], one);
        strcat(strcat(seeds.text, i > 0 ? "," : ""), one);
    }
    return seeds;
}

/* As a person writes it and --node takes it. */
static json_t *address_json(const char *host, uint16_t port)
{
    struct address address = address_of(host, port);
    char text[ADDRESS_TEXT_BYTES];
    address_format(&address, text);
    return json_string(text);
}

/* A member's host is its own word, and may be no text. */
static json_t *host_json(const char *host)
{
    json_t *text = json_string(host);
    return text ? text : json_string("?");
}

static const char *own_state(struct node *node)
{
    if (atomic_load(&node->has_ended))
        return node->end_text;
    return atomic_load(&node->drain.state) == DRAIN_NONE ? "serving" : "draining";
}

static json_t *node_json(struct node *node, const struct core_inspection *inspection)
{
    const struct node_config *config = &node->config;
    return json_pack("{s:o, s:I, s:s, s:i, s:i, s:s, s:s, s:o, s:s, s:i, s:s, s:b, s:b, s:o}",
                     "node_id", id_json(inspection->members[0].node_id), "incarnation",
                     (json_int_t)inspection->members[0].incarnation, "version", PEERCACHE_VERSION,
                     "protocol_version_min", wire_versions.min, "protocol_version_max",
                     wire_versions.max, "state", own_state(node), "cluster", config->cluster,
                     "address", address_json(config->advertised_host, config->control.port), "host",
                     config->advertised_host, "control_port", config->control.port,
                     "discovery_addr", seeds_text(config).text, "serves_discovery",
                     inspection->serves, "is_connected", inspection->is_connected, "boot_id",
                     id_json(node->boot_id));
}

static json_t *masters_json(const struct core_inspection *inspection)
{
    json_t *masters = json_array();
    for (uint32_t i = 0; i < inspection->n_masters; i++) {
        const struct core_master *master = &inspection->masters[i];
        json_array_append_new(masters,
                              json_pack("{s:o, s:o, s:i, s:b, s:b, s:b, s:b, s:b}", "address",
                                        address_json(master->at.host, master->at.port), "host",
                                        host_json(master->at.host), "discovery_port",
                                        master->at.port, "is_head", master->is_head, "is_self",
                                        master->is_self, "is_connected", master->is_connected,
                                        "answers", master->answers, "is_fresh", master->is_fresh));
    }
    return masters;
}

static json_t *members_json(const struct core_inspection *inspection)
{
    json_t *members = json_array();
    for (uint32_t i = 0; i < inspection->n_members; i++) {
        const struct core_member *member = &inspection->members[i];
        json_array_append_new(
            members,
            json_pack("{s:o, s:I, s:o, s:o, s:i, s:i, s:s, s:i, s:I, s:b, s:b, s:b}", "node_id",
                      id_json(member->node_id), "incarnation", (json_int_t)member->incarnation,
                      "address", address_json(member->host, member->control_port), "host",
                      host_json(member->host), "control_port", member->control_port,
                      "discovery_port", member->discovery_port, "state", state_name(member->state),
                      "protocol_version", i == 0 ? wire_versions.max : member->protocol_version,
                      "pool_bytes", (json_int_t)member->pool_bytes, "is_connected",
                      member->is_connected, "is_trusted", member->is_trusted, "is_self", i == 0));
    }
    return members;
}

static json_t *pool_json(const struct pool_usage *usage)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:i, s:i, s:i}", "bytes", (json_int_t)usage->total_bytes,
                     "free_bytes", (json_int_t)usage->free_bytes, "live_bytes",
                     (json_int_t)usage->live_bytes, "retired_bytes",
                     (json_int_t)usage->retired_bytes, "live_pages", usage->live_pages,
                     "filling_pages", usage->filling_pages, "retired_pages", usage->retired_pages);
}

static json_t *directory_json(const struct core_inspection *inspection)
{
    return json_pack("{s:I, s:I, s:i, s:b}", "entries", (json_int_t)inspection->directory_entries,
                     "resident_bytes", (json_int_t)inspection->directory_bytes, "ring_nodes",
                     inspection->ring_nodes, "is_complete", inspection->is_complete);
}

/* "peercache_pages_total_get_HIT" and the like. */
static void sample_key(const struct metric_sample *sample, char ret_key[128])
{
    int len = snprintf(ret_key, 128, "%s", sample->name);
    if (sample->op)
        len += snprintf(ret_key + len, 128 - (size_t)len, "_%s", sample->op);
    if (sample->outcome >= 0)
        len += snprintf(ret_key + len, 128 - (size_t)len, "_%s",
                        outcome_name((uint16_t)sample->outcome));
    if (sample->via >= 0)
        snprintf(ret_key + len, 128 - (size_t)len, "_%s", via_name((uint8_t)sample->via));
}

static json_t *counters_json(struct node *node)
{
    json_t *counters = json_object();
    struct metric_sample sample;
    char key[128];
    for (size_t cursor = 0; metric_next(&node->metrics, &cursor, &sample);) {
        sample_key(&sample, key);
        json_object_set_new(counters, key, json_integer((json_int_t)sample.value));
    }
    return counters;
}

json_t *inspect_status(struct node *node)
{
    struct core_inspection *inspection = malloc(sizeof *inspection);
    if (!inspection)
        return NULL;
    pthread_mutex_lock(&node->core_lock);
    core_inspect(node->core, inspection);
    pthread_mutex_unlock(&node->core_lock);
    json_t *status =
        json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "node", node_json(node, inspection),
                  "masters", masters_json(inspection), "members", members_json(inspection), "pool",
                  pool_json(&inspection->pool), "directory", directory_json(inspection), "drain",
                  drain_json(node), "rdma", rdma_json(node), "counters", counters_json(node));
    free(inspection);
    return status;
}

/* A name is any bytes; those that are no text are shown as hexadecimal digits. */
static json_t *name_json(const uint8_t *name, uint32_t len)
{
    json_t *text = json_stringn((const char *)name, len);
    if (text)
        return text;
    char hex[2 * PEERCACHE_NAME_MAX + 1];
    for (uint32_t i = 0; i < len; i++)
        snprintf(hex + 2 * i, 3, "%02x", name[i]);
    return json_string(hex);
}

static json_t *page_json(struct node *node, uint32_t slot)
{
    struct slot_header *header = &node->arena.headers[slot];
    uint64_t word = atomic_load_explicit(&header->word, memory_order_acquire);
    if (slot_word_state(word) != SLOT_SEALED ||
        slot_word_pin(&header->word, slot_word_generation(word)) != 0)
        return NULL;
    json_t *page = NULL;
    struct location place;
    if (view_own_page(node->view, header->digest, &place) == 0 && place.slot == slot)
        page =
            json_pack("{s:o, s:I, s:o}", "key",
                      name_json(node->arena.payload + header->offset_bytes + header->length_bytes,
                                header->name_len),
                      "bytes", (json_int_t)header->length_bytes, "digest", id_json(header->digest));
    slot_word_unpin(&header->word);
    return page;
}

json_t *inspect_keys(struct node *node, uint32_t cursor, uint32_t limit)
{
    json_t *keys = json_array();
    uint32_t slot = cursor;
    for (; slot < node->arena.slot_count && json_array_size(keys) < limit; slot++) {
        json_t *page = page_json(node, slot);
        if (page)
            json_array_append_new(keys, page);
    }
    json_t *next = slot < node->arena.slot_count ? json_integer(slot) : json_null();
    return json_pack("{s:o, s:o}", "keys", keys, "next", next);
}
