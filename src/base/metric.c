/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metric.c - counting, and the walk over all that was counted.
 *
 * The walk sees one row of cells: the table's values, pages by operation and outcome, pages read
 * and bytes read by way.
 */
#include "base/metric.h"

#include "base/check.h"

enum kind { GAUGE, COUNTER };

static const struct {
    const char *name, *help;
    enum kind kind;
} table[] = {
#define NAME_GAUGE(name) "peercache_" #name
#define NAME_COUNTER(name) "peercache_" #name "_total"
#define M(kind, name, help) {NAME_##kind(name), help, kind},
    METRICS(M)
#undef M
};

static const char *const op_names[] = {
    [METRIC_OP_GET] = "get",
    [METRIC_OP_SET] = "set",
    [METRIC_OP_EXISTS] = "exists",
};

static void add(_Atomic uint64_t *cell, uint64_t amount)
{
    atomic_fetch_add_explicit(cell, amount, memory_order_relaxed);
}

static uint64_t load(const _Atomic uint64_t *cell)
{
    return atomic_load_explicit(cell, memory_order_relaxed);
}

void metric_add(struct metrics *metrics, enum metric metric, uint64_t amount)
{
    CHECK(metric < METRIC_COUNT && table[metric].kind == COUNTER);
    if (metrics)
        add(&metrics->values[metric], amount);
}

void metric_set(struct metrics *metrics, enum metric metric, uint64_t value)
{
    CHECK(metric < METRIC_COUNT && table[metric].kind == GAUGE);
    if (metrics)
        atomic_store_explicit(&metrics->values[metric], value, memory_order_relaxed);
}

void metric_move(struct metrics *metrics, enum metric metric, int64_t by)
{
    CHECK(metric < METRIC_COUNT && table[metric].kind == GAUGE);
    if (metrics)
        add(&metrics->values[metric], (uint64_t)by);
}

uint64_t metric_get(const struct metrics *metrics, enum metric metric)
{
    return metrics ? load(&metrics->values[metric]) : 0;
}

void metric_add_pages(struct metrics *metrics, enum metric_op op, uint16_t outcome, uint64_t pages)
{
    CHECK(op < METRIC_OP_COUNT && outcome < METRIC_OUTCOMES);
    if (metrics)
        add(&metrics->pages[op][outcome], pages);
}

void metric_add_read(struct metrics *metrics, uint8_t via, uint64_t pages, uint64_t bytes)
{
    CHECK(via < METRIC_VIAS);
    if (!metrics)
        return;
    add(&metrics->read_pages[via], pages);
    add(&metrics->read_bytes[via], bytes);
}

uint64_t metric_pages(const struct metrics *metrics, enum metric_op op, uint16_t outcome)
{
    CHECK(op < METRIC_OP_COUNT && outcome < METRIC_OUTCOMES);
    return metrics ? load(&metrics->pages[op][outcome]) : 0;
}

static struct metric_sample value_sample(const struct metrics *metrics, size_t i)
{
    return (struct metric_sample){.name = table[i].name,
                                  .help = table[i].help,
                                  .is_counter = table[i].kind == COUNTER,
                                  .outcome = -1,
                                  .via = -1,
                                  .value = load(&metrics->values[i])};
}

static struct metric_sample pages_sample(const struct metrics *metrics, size_t i)
{
    size_t op = i / METRIC_OUTCOMES, outcome = i % METRIC_OUTCOMES;
    return (struct metric_sample){.name = "peercache_pages_total",
                                  .help = "pages of calls that ended, by operation and outcome",
                                  .is_counter = true,
                                  .op = op_names[op],
                                  .outcome = (int)outcome,
                                  .via = -1,
                                  .value = load(&metrics->pages[op][outcome])};
}

static struct metric_sample read_sample(const struct metrics *metrics, size_t i)
{
    bool is_bytes = i >= METRIC_VIAS;
    size_t via = i % METRIC_VIAS;
    return (struct metric_sample){
        .name = is_bytes ? "peercache_read_bytes_total" : "peercache_read_pages_total",
        .help = is_bytes ? "bytes that gets brought, by the way they came"
                         : "pages that gets brought, by the way they came",
        .is_counter = true,
        .outcome = -1,
        .via = (int)via,
        .value = load(is_bytes ? &metrics->read_bytes[via] : &metrics->read_pages[via])};
}

bool metric_next(const struct metrics *metrics, size_t *cursor, struct metric_sample *ret_sample)
{
    enum {
        PAGES_START = METRIC_COUNT,
        READ_START = PAGES_START + METRIC_OP_COUNT * METRIC_OUTCOMES,
        END = READ_START + 2 * METRIC_VIAS,
    };
    while (metrics && *cursor < END) {
        size_t i = (*cursor)++;
        struct metric_sample sample = i < PAGES_START  ? value_sample(metrics, i)
                                      : i < READ_START ? pages_sample(metrics, i - PAGES_START)
                                                       : read_sample(metrics, i - READ_START);
        if (i >= PAGES_START && sample.value == 0)
            continue;
        *ret_sample = sample;
        return true;
    }
    return false;
}
