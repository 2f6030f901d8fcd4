/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cost.c - what a cluster costs, by its size: a table of clusters of 10, 100, 1,000 cores.
 *
 *     sim-cost [--nodes N,N,...] [--pages P] [--vnodes V] [--replicas R] [--check]
 *
 * Each cluster forms at once, is filled, rests, takes one more node, and loses one.  --check fails
 * unless the floors hold: heartbeats that do not grow with the cluster, an even ring, a join that
 * moves its share and no more.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/option.h"
#include "cluster.h"
#include "core/inspection.h"

enum { SIZES_MAX = 8, QUIET_HEARTBEATS = 10, REST_HEARTBEATS = 3, SAMPLES_A_NODE = 16384 };
/* Of the busiest node over the mean; and how far a join may be from moving one share. */
#define IMBALANCE_MOST 1.12
#define MOVED_OFF_MOST 0.10

struct cost {
    uint32_t nodes;
    double forms_s, imbalance;
    double node_messages, node_bytes, head_messages, head_bytes; /* a heartbeat interval */
    double head_step_us;                                         /* of it, in steps */
    double memory_node_bytes, memory_entry_bytes;
    double join_messages, join_bytes, join_keys, join_moved; /* moved: of all (key, owner) pairs */
    double join_rings_s, join_rings, join_step_ms;           /* a node */
    double death_messages, death_bytes, death_keys, death_rings_s;
    bool agrees;
};

struct snapshot {
    struct traffic traffic;
    uint64_t now_ns, announced;
    double step_s;
    uint32_t rings;
};

static struct {
    uint32_t sizes[SIZES_MAX], n_sizes, pages;
    bool is_check;
    struct cluster_config cluster;
} options;

/* --- counting --- */

static struct snapshot snap(void)
{
    struct snapshot now = {.now_ns = cluster.now_ns, .announced = cluster.announced};
    for (int i = 0; i < MESSAGE_TYPE_END; i++) {
        now.traffic.messages += cluster.by_type[i].messages;
        now.traffic.bytes += cluster.by_type[i].bytes;
    }
    for (uint32_t i = 0; i < cluster.n_nodes; i++) {
        now.step_s += cluster.nodes[i].step_s;
        now.rings += cluster.nodes[i].rings;
    }
    return now;
}

/* The last time that any node got another ring, since then. */
static double rings_took_s(const struct snapshot *since)
{
    uint64_t last_ns = since->now_ns;
    for (uint32_t i = 0; i < cluster.n_nodes; i++)
        if (cluster.nodes[i].is_up && cluster.nodes[i].ring_at_ns > last_ns)
            last_ns = cluster.nodes[i].ring_at_ns;
    return (double)(last_ns - since->now_ns) / SECOND;
}

static uint64_t resident_bytes(void)
{
    unsigned long size = 0, resident = 0;
    malloc_trim(0);
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file && fscanf(file, "%lu %lu", &size, &resident) == 2);
    fclose(file);
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static bool rest(void)
{
    uint64_t heartbeat_ns = options.cluster.heartbeat_ns;
    return cluster_rest(REST_HEARTBEATS * heartbeat_ns, 100 * heartbeat_ns);
}

/* --- the ring --- */

/* Positions at equal distances: who owns them is as good as exact. */
static uint64_t sample_position(uint64_t sample, uint64_t samples)
{
    return sample * (UINT64_MAX / samples);
}

static int *sample_owners(uint64_t samples)
{
    uint32_t replicas = options.cluster.replicas;
    int *owners = malloc(samples * replicas * sizeof *owners);
    CHECK(owners);
    for (uint64_t i = 0; i < samples; i++) {
        int nodes[CORE_OWNERS_MAX];
        uint32_t n = cluster_owners(0, sample_position(i, samples), nodes);
        for (uint32_t j = 0; j < replicas; j++)
            owners[i * replicas + j] = j < n ? nodes[j] : NOBODY;
    }
    return owners;
}

static double imbalance_of(const int *owners, uint64_t samples)
{
    uint64_t n = samples * options.cluster.replicas, most = 0;
    uint64_t *owned = calloc(cluster.n_nodes, sizeof *owned);
    CHECK(owned);
    for (uint64_t i = 0; i < n; i++)
        if (owners[i] != NOBODY && ++owned[owners[i]] > most)
            most = owned[owners[i]];
    free(owned);
    return (double)most * cluster.n_nodes / (double)n;
}

static bool is_among(const int *owners, int node)
{
    for (uint32_t i = 0; i < options.cluster.replicas; i++)
        if (owners[i] == node)
            return true;
    return false;
}

/* The share of (key, owner) pairs that are not what they were. */
static double moved_share(const int *before, const int *after, uint64_t samples)
{
    uint32_t replicas = options.cluster.replicas;
    uint64_t moved = 0;
    for (uint64_t i = 0; i < samples * replicas; i++)
        moved += !is_among(after + i / replicas * replicas, before[i]);
    return (double)moved / (double)(samples * replicas);
}

/* --- one cluster --- */

static void form(struct cost *cost)
{
    struct snapshot before = snap();
    for (uint32_t i = 0; i < cost->nodes; i++)
        cluster_start();
    cost->agrees = rest();
    cost->forms_s = rings_took_s(&before);
    for (uint32_t i = 0; i < cost->nodes; i++)
        cluster_fill(i, options.pages);
    cost->agrees &= rest() && cluster_agrees();
}

static void measure_memory(struct cost *cost, uint64_t before_bytes)
{
    static struct core_inspection inspection;
    uint64_t entries = 0, bytes = 0;
    for (uint32_t i = 0; i < cost->nodes; i++) {
        core_inspect(cluster.nodes[i].core, &inspection);
        entries += inspection.directory_entries;
        bytes += inspection.directory_bytes;
    }
    cost->memory_node_bytes = (double)(resident_bytes() - before_bytes) / cost->nodes;
    cost->memory_entry_bytes = entries ? (double)bytes / (double)entries : 0;
}

/* Nothing changes: what a node sends and takes, and what the first one does, which is a master. */
static void measure_quiet(struct cost *cost)
{
    struct traffic others = {0}, before[CLUSTER_NODES_MAX];
    struct cluster_node *head = &cluster.nodes[0];
    for (uint32_t i = 0; i < cost->nodes; i++)
        before[i] = cluster.nodes[i].traffic;
    double step_s = head->step_s;
    cluster_run(QUIET_HEARTBEATS * options.cluster.heartbeat_ns);
    const struct cluster_node *last = &cluster.nodes[cost->nodes - 1];
    others.messages = last->traffic.messages - before[cost->nodes - 1].messages;
    others.bytes = last->traffic.bytes - before[cost->nodes - 1].bytes;
    for (uint32_t i = 1; i < cost->nodes; i++) {
        /* The one that is no master has the least to do. */
        uint64_t bytes = cluster.nodes[i].traffic.bytes - before[i].bytes;
        if (bytes < others.bytes)
            others =
                (struct traffic){cluster.nodes[i].traffic.messages - before[i].messages, bytes};
    }
    cost->node_messages = (double)others.messages / QUIET_HEARTBEATS;
    cost->node_bytes = (double)others.bytes / QUIET_HEARTBEATS;
    cost->head_messages = (double)(head->traffic.messages - before[0].messages) / QUIET_HEARTBEATS;
    cost->head_bytes = (double)(head->traffic.bytes - before[0].bytes) / QUIET_HEARTBEATS;
    cost->head_step_us = (head->step_s - step_s) * 1e6 / QUIET_HEARTBEATS;
}

static void measure_join(struct cost *cost)
{
    uint64_t samples = (uint64_t)SAMPLES_A_NODE * cost->nodes;
    int *owners = sample_owners(samples);
    cost->imbalance = imbalance_of(owners, samples);
    struct snapshot before = snap();
    cluster_start();
    cost->agrees &= rest() && cluster_agrees();
    struct snapshot after = snap();
    cost->join_messages = (double)(after.traffic.messages - before.traffic.messages);
    cost->join_bytes = (double)(after.traffic.bytes - before.traffic.bytes);
    cost->join_keys = (double)(after.announced - before.announced);
    cost->join_rings_s = rings_took_s(&before);
    cost->join_rings = (double)(after.rings - before.rings) / cluster.n_nodes;
    cost->join_step_ms = (after.step_s - before.step_s) * 1e3 / cluster.n_nodes;
    int *moved = sample_owners(samples);
    cost->join_moved = moved_share(owners, moved, samples);
    free(owners);
    free(moved);
}

static void measure_death(struct cost *cost)
{
    struct snapshot before = snap();
    cluster_kill(cost->nodes / 2);
    cluster_run(options.cluster.ring_grace_ns + REST_HEARTBEATS * options.cluster.heartbeat_ns);
    cost->agrees &= rest() && cluster_agrees();
    struct snapshot after = snap();
    cost->death_messages = (double)(after.traffic.messages - before.traffic.messages);
    cost->death_bytes = (double)(after.traffic.bytes - before.traffic.bytes);
    cost->death_keys = (double)(after.announced - before.announced);
    cost->death_rings_s = rings_took_s(&before);
}

static struct cost measure(uint32_t nodes)
{
    struct cost cost = {.nodes = nodes};
    uint64_t before_bytes = resident_bytes();
    cluster_begin(&options.cluster);
    form(&cost);
    measure_memory(&cost, before_bytes);
    measure_quiet(&cost);
    measure_join(&cost);
    measure_death(&cost);
    cluster_end();
    return cost;
}

/* --- the table --- */

static void print_row(const char *what, const struct cost *costs, size_t offset, double unit,
                      const char *format)
{
    printf("| %s |", what);
    for (uint32_t i = 0; i < options.n_sizes; i++) {
        double value = *(const double *)(const void *)((const char *)&costs[i] + offset);
        printf(" ");
        printf(format, value / unit);
        printf(" |");
    }
    printf("\n");
}

static void print_table(const struct cost *costs)
{
#define ROW(what, field, unit, format)                                                             \
    print_row(what, costs, offsetof(struct cost, field), unit, format)
    printf("| nodes |");
    for (uint32_t i = 0; i < options.n_sizes; i++)
        printf(" %u |", costs[i].nodes);
    printf("\n|---|");
    for (uint32_t i = 0; i < options.n_sizes; i++)
        printf("---:|");
    printf("\n");
    ROW("all started at once: rings equal after, s", forms_s, 1, "%.1f");
    ROW("ring: busiest node over the mean", imbalance, 1, "%.3f");
    ROW("nothing changes: messages of a node and heartbeat interval", node_messages, 1, "%.1f");
    ROW("nothing changes: bytes of a node and heartbeat interval", node_bytes, 1, "%.0f");
    ROW("nothing changes: messages of the head", head_messages, 1, "%.0f");
    ROW("nothing changes: bytes of the head", head_bytes, 1, "%.0f");
    ROW("nothing changes: time in steps of the head, us", head_step_us, 1, "%.0f");
    ROW("memory of a node, MiB", memory_node_bytes, 1 << 20, "%.2f");
    ROW("memory of an entry, bytes", memory_entry_bytes, 1, "%.0f");
    ROW("a join: messages in all", join_messages, 1, "%.0f");
    ROW("a join: KiB in all", join_bytes, 1024, "%.0f");
    ROW("a join: entries named to owners", join_keys, 1, "%.0f");
    ROW("a join: of all keys' owners changed, percent", join_moved, 0.01, "%.3f");
    ROW("a join: rings equal after, s", join_rings_s, 1, "%.2f");
    ROW("a join: rings built by a node", join_rings, 1, "%.1f");
    ROW("a join: time in steps of a node, ms", join_step_ms, 1, "%.1f");
    ROW("a death: messages in all", death_messages, 1, "%.0f");
    ROW("a death: KiB in all", death_bytes, 1024, "%.0f");
    ROW("a death: entries named to owners", death_keys, 1, "%.0f");
    ROW("a death: rings equal after, s", death_rings_s, 1, "%.1f");
#undef ROW
}

/* --- the floors --- */

static bool floor_holds(bool holds, const struct cost *cost, const char *what, double value)
{
    if (!holds)
        printf("not ok: %u nodes: %s: %.4f\n", cost->nodes, what, value);
    return holds;
}

static bool check(const struct cost *costs)
{
    bool ok = true;
    for (uint32_t i = 0; i < options.n_sizes; i++) {
        const struct cost *cost = &costs[i];
        double off = cost->join_moved * (cost->nodes + 1) - 1;
        ok &=
            floor_holds(cost->agrees, cost, "the rings are not equal, or a shard is not whole", 0);
        ok &= floor_holds(cost->imbalance <= IMBALANCE_MOST, cost, "imbalance", cost->imbalance);
        ok &= floor_holds(off <= MOVED_OFF_MOST && -off <= MOVED_OFF_MOST, cost,
                          "a join moves another share than its own, by", off);
        ok &= floor_holds(cost->node_bytes == costs[0].node_bytes, cost,
                          "heartbeat bytes of a node grow with the cluster", cost->node_bytes);
    }
    return ok;
}

/* --- the program --- */

static void take_sizes(char *list)
{
    options.n_sizes = 0;
    for (char *size = strtok(list, ","); size && options.n_sizes < SIZES_MAX;
         size = strtok(NULL, ",")) {
        unsigned long nodes = strtoul(size, NULL, 0);
        if (nodes >= 2 && nodes < CLUSTER_NODES_MAX)
            options.sizes[options.n_sizes++] = (uint32_t)nodes;
    }
}

static void take_defaults(void)
{
    struct options defaults;
    char sizes[] = "10,100";
    options_init_defaults(&defaults);
    options.pages = 2000;
    options.cluster = (struct cluster_config){.vnodes = defaults.vnodes,
                                              .replicas = defaults.directory_replicas,
                                              .heartbeat_ns = defaults.heartbeat_interval_ns,
                                              .member_ttl_ns = defaults.member_ttl_ns,
                                              .ring_grace_ns = defaults.ring_grace_ns};
    take_sizes(sizes);
}

static bool take_options(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--check")) {
            options.is_check = true;
            continue;
        }
        if (i + 1 == argc)
            return false;
        if (!strcmp(argv[i], "--nodes"))
            take_sizes(argv[++i]);
        else if (!strcmp(argv[i], "--pages"))
            options.pages = (uint32_t)strtoul(argv[++i], NULL, 0);
        else if (!strcmp(argv[i], "--vnodes"))
            options.cluster.vnodes = (uint32_t)strtoul(argv[++i], NULL, 0);
        else if (!strcmp(argv[i], "--replicas"))
            options.cluster.replicas = (uint32_t)strtoul(argv[++i], NULL, 0);
        else
            return false;
    }
    options.cluster.pages = options.pages;
    return options.n_sizes > 0 && options.pages > 0 && options.cluster.vnodes > 0 &&
           options.cluster.replicas > 0 && options.cluster.replicas <= CORE_OWNERS_MAX;
}

int main(int argc, char **argv)
{
    struct cost costs[SIZES_MAX];
    /* A core reserves more memory than it touches: fresh pages are not counted before that. */
    mallopt(M_MMAP_THRESHOLD, 128 << 10);
    take_defaults();
    if (!take_options(argc, argv)) {
        fprintf(stderr, "usage: sim-cost [--nodes N,N,...] [--pages P] [--vnodes V]"
                        " [--replicas R] [--check]\n");
        return 2;
    }
    for (uint32_t i = 0; i < options.n_sizes; i++)
        costs[i] = measure(options.sizes[i]);
    print_table(costs);
    return options.is_check && !check(costs) ? 1 : 0;
}
