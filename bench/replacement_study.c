/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replacement_study.c - hit rates of LRU, S3-FIFO and SIEVE on a trace, beside Belady's optimum.
 *
 * `bench-replacement-study [--trace FILE] [--seed N]` prints Markdown tables.  FILE is a trace in
 * Mooncake's format, a JSON object a line: timestamp (ms), hash_ids (one id a block of the prompt;
 * equal ids mean equal blocks behind equal prefixes).  Without it a load of the same shape is made.
 *
 * The model.  One cache of a number of blocks; all blocks count the same.  A request uses its
 * blocks head first; one that is there is a hit and is touched, one that is not is inserted and
 * its parent is the block before it.  "Blocks" counts every hit, "prefix" only those before the
 * request's first miss, which are the only ones that save a prompt's computation.
 * What the holder sees: a request is served by one of NODES nodes, picked at random, and a block
 * belongs to the node that computed it.  A holder sees its own reads at once.  Reads by others it
 * sees at once, or never, or by hints that come HINT_DELAY_MS late or get lost.  Where nodes
 * differ, a parent is known only if it lies at the same node.
 *
 * LRU is the real thing, src/core/replacement.c; the other policies live only here.
 */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/splitmix.h"
#include "core/replacement.h"

#define NONE UINT32_MAX

enum {
    NODES = 4,
    HINT_DELAY_MS = 1000,
    HINT_LOSS_PERCENT = 10,
    MAX_REQUESTS = 1 << 20,
    MAX_LINE_BYTES = 1 << 20,
    MAX_BLOCKS = 1 << 24,  /* accesses of a trace */
    S3_SMALL_PERCENT = 10, /* as its authors have it */
    S3_USES_MAX = 3,
};

/* --- the trace --- */

struct request {
    uint64_t time_ms;
    uint32_t first, n; /* in blocks[] */
};

struct trace {
    struct request *requests;
    uint32_t *blocks; /* numbered from 0 in the order of their first use */
    uint32_t *parent; /* by number; NONE: first of a prompt */
    uint32_t n_requests, n_blocks, n_distinct;
};

static void trace_init(struct trace *trace)
{
    *trace = (struct trace){.requests = calloc(MAX_REQUESTS, sizeof *trace->requests),
                            .blocks = calloc(MAX_BLOCKS, sizeof *trace->blocks),
                            .parent = calloc(MAX_BLOCKS, sizeof *trace->parent)};
    CHECK(trace->requests && trace->blocks && trace->parent);
}

static void trace_fini(struct trace *trace)
{
    free(trace->requests);
    free(trace->blocks);
    free(trace->parent);
}

static void trace_add_request(struct trace *trace, uint64_t time_ms)
{
    CHECK(trace->n_requests < MAX_REQUESTS);
    trace->requests[trace->n_requests++] = (struct request){time_ms, trace->n_blocks, 0};
}

/* Adds a block to the last request; @block is one seen before or the next number. */
static void trace_add_block(struct trace *trace, uint32_t block)
{
    CHECK(trace->n_blocks < MAX_BLOCKS && block <= trace->n_distinct);
    struct request *request = &trace->requests[trace->n_requests - 1];
    if (block == trace->n_distinct)
        trace->parent[trace->n_distinct++] = request->n ? trace->blocks[trace->n_blocks - 1] : NONE;
    trace->blocks[trace->n_blocks++] = block;
    request->n++;
}

/* @number_of: by the id in the file, the block's number + 1. */
static bool read_line(struct trace *trace, const char *line, uint32_t *number_of)
{
    json_t *object = json_loads(line, 0, NULL);
    json_t *ids = json_object_get(object, "hash_ids"), *id;
    json_t *time = json_object_get(object, "timestamp");
    size_t i;
    bool good = json_is_array(ids) && json_is_number(time) && json_number_value(time) >= 0;
    if (good)
        trace_add_request(trace, (uint64_t)json_number_value(time));
    if (good)
        json_array_foreach(ids, i, id)
        {
            json_int_t value = json_integer_value(id);
            good = good && json_is_integer(id) && value >= 0 && value < MAX_BLOCKS;
            if (!good)
                break;
            if (!number_of[value])
                number_of[value] = trace->n_distinct + 1;
            trace_add_block(trace, number_of[value] - 1);
        }
    json_decref(object);
    return good;
}

static int trace_read(struct trace *trace, const char *path)
{
    FILE *file = fopen(path, "r");
    if (!file)
        return -errno;
    char *line = malloc(MAX_LINE_BYTES);
    uint32_t *number_of = calloc(MAX_BLOCKS, sizeof *number_of);
    CHECK(line && number_of);
    int rc = 0;
    while (!rc && fgets(line, MAX_LINE_BYTES, file))
        rc = read_line(trace, line, number_of) ? 0 : -EBADMSG;
    free(number_of);
    free(line);
    fclose(file);
    return rc ? rc : trace->n_requests ? 0 : -ENODATA;
}

/* --- a made-up trace --- */

/* Deciles of conversation_trace.jsonl (Mooncake, FAST 2025; kvcache-ai/Mooncake): blocks of a
 * conversation's first prompt, blocks that a later turn adds, and ms between two turns. */
static const uint32_t first_deciles[] = {2, 2, 3, 4, 8, 11, 15, 22, 31, 50, 247};
static const uint32_t added_deciles[] = {0, 1, 1, 2, 2, 2, 2, 4, 10, 20, 186};
static const uint32_t gap_deciles_ms[] = {0,      42000,  60000,  75000,  96000,  123000,
                                          162000, 222000, 318000, 483000, 3030000};
/* Of a hundred conversations with so many turns, how many have another one. */
static const uint32_t goes_on_percent[] = {0, 31, 42, 51, 59, 59, 67, 73};
enum { MADE_CONVERSATIONS = 7372, MADE_MS = 3537000, MADE_BLOCKS_MAX = 256 };

/* Between two deciles all are as likely, but in the last tenth small ones are much more so. */
static uint32_t draw(const uint32_t deciles[11], uint64_t *random)
{
    uint32_t tenth = splitmix_next(random) % 10;
    double part = (double)(splitmix_next(random) >> 11) / (double)(UINT64_C(1) << 53);
    if (tenth == 9)
        part = part * part * part * part;
    return deciles[tenth] + (uint32_t)(part * (deciles[tenth + 1] - deciles[tenth]) + 0.5);
}

struct turn {
    uint64_t time_ms;
    uint32_t conversation, n_blocks;
};

static int turn_compare(const void *a, const void *b)
{
    const struct turn *x = a, *y = b;
    if (x->time_ms != y->time_ms)
        return x->time_ms < y->time_ms ? -1 : 1;
    return x->n_blocks < y->n_blocks ? -1 : x->n_blocks > y->n_blocks;
}

static uint32_t make_turns(struct turn *ret_turns, uint64_t *random)
{
    uint32_t n = 0;
    for (uint32_t conversation = 0; conversation < MADE_CONVERSATIONS; conversation++) {
        uint64_t time_ms = splitmix_next(random) % MADE_MS;
        uint32_t n_blocks = draw(first_deciles, random), turns = 1;
        while (time_ms < MADE_MS && n_blocks <= MADE_BLOCKS_MAX && n < MAX_REQUESTS) {
            ret_turns[n++] = (struct turn){time_ms, conversation, n_blocks};
            if (splitmix_next(random) % 100 >= goes_on_percent[turns < 7 ? turns : 7])
                break;
            turns++;
            time_ms += draw(gap_deciles_ms, random);
            n_blocks += draw(added_deciles, random);
        }
    }
    qsort(ret_turns, n, sizeof *ret_turns, turn_compare);
    return n;
}

/* All prompts begin with one common block, as in the trace. */
static void trace_make(struct trace *trace, uint64_t seed)
{
    struct turn *turns = calloc(MAX_REQUESTS, sizeof *turns);
    uint32_t *known = calloc((size_t)MADE_CONVERSATIONS * (MADE_BLOCKS_MAX + 1), sizeof *known);
    CHECK(turns && known);
    uint32_t n = make_turns(turns, &seed);
    for (uint32_t i = 0; i < n; i++) {
        trace_add_request(trace, turns[i].time_ms);
        uint32_t *blocks = &known[(size_t)turns[i].conversation * (MADE_BLOCKS_MAX + 1)];
        for (uint32_t k = 0; k < turns[i].n_blocks; k++) {
            if (k > 0 && !blocks[k])
                blocks[k] = trace->n_distinct; /* never 0: that is the common block */
            trace_add_block(trace, blocks[k]);
        }
    }
    free(known);
    free(turns);
}

/* --- the policies --- */

struct queue {
    uint32_t head, tail, count; /* in at the head, out at the tail */
};

struct block {
    uint32_t before, after; /* towards the head, towards the tail */
    uint32_t children;      /* those in the cache that know it as their parent */
    uint32_t life;          /* counts its insertions */
    uint32_t parent_life;   /* 0: the parent is not known */
    uint32_t slot;          /* LRU: in the order of replacement.c */
    uint8_t present, in_main, uses, node, in_ghost;
};

struct cache {
    const struct policy *policy;
    const struct trace *trace;
    struct block *blocks;
    uint32_t capacity, count;
    bool with_parents;
    struct queue small, main; /* SIEVE and S3-FIFO; SIEVE uses only main */
    uint32_t hand;            /* SIEVE */
    uint32_t *ghosts;         /* S3-FIFO: a ring of what left the small queue */
    uint64_t n_ghosts;
    struct replacement *order; /* LRU */
    uint32_t *block_of_slot, *unused, n_unused;
};

struct policy {
    const char *name;
    void (*insert)(struct cache *, uint32_t block);
    void (*touch)(struct cache *, uint32_t block);
    uint32_t (*take_victim)(struct cache *);
    uint32_t threshold; /* S3-FIFO: uses that lead to the main queue */
};

static void queue_push(struct cache *cache, struct queue *queue, uint32_t b)
{
    cache->blocks[b].before = NONE;
    cache->blocks[b].after = queue->head;
    *(queue->head == NONE ? &queue->tail : &cache->blocks[queue->head].before) = b;
    queue->head = b;
    queue->count++;
}

static void queue_remove(struct cache *cache, struct queue *queue, uint32_t b)
{
    uint32_t before = cache->blocks[b].before, after = cache->blocks[b].after;
    *(before == NONE ? &queue->head : &cache->blocks[before].after) = after;
    *(after == NONE ? &queue->tail : &cache->blocks[after].before) = before;
    queue->count--;
}

static bool has_to_stay(const struct cache *cache, uint32_t b)
{
    return cache->with_parents && cache->blocks[b].children > 0;
}

static void lru_insert(struct cache *cache, uint32_t b)
{
    uint32_t parent = cache->trace->parent[b];
    uint32_t slot = cache->unused[--cache->n_unused];
    bool known = cache->with_parents && cache->blocks[b].parent_life;
    cache->block_of_slot[slot] = b;
    cache->blocks[b].slot = slot;
    replacement_insert(cache->order, slot, known ? cache->blocks[parent].slot : SLOT_NONE);
}

static void lru_touch(struct cache *cache, uint32_t b)
{
    replacement_touch(cache->order, cache->blocks[b].slot);
}

static uint32_t lru_take_victim(struct cache *cache)
{
    uint32_t slot = replacement_victim(cache->order);
    replacement_remove(cache->order, slot);
    cache->unused[cache->n_unused++] = slot;
    return cache->block_of_slot[slot];
}

static void sieve_insert(struct cache *cache, uint32_t b)
{
    queue_push(cache, &cache->main, b);
}

static void sieve_touch(struct cache *cache, uint32_t b)
{
    cache->blocks[b].uses = 1;
}

/* The hand goes from the tail to the head over all that were used or have to stay. */
static uint32_t sieve_take_victim(struct cache *cache)
{
    uint32_t b = cache->hand == NONE ? cache->main.tail : cache->hand;
    for (uint32_t i = 0; i < 2 * cache->count; i++) {
        if (!cache->blocks[b].uses && !has_to_stay(cache, b))
            break;
        if (!has_to_stay(cache, b))
            cache->blocks[b].uses = 0;
        b = cache->blocks[b].before == NONE ? cache->main.tail : cache->blocks[b].before;
    }
    cache->hand = cache->blocks[b].before;
    queue_remove(cache, &cache->main, b);
    return b;
}

static void s3_insert(struct cache *cache, uint32_t b)
{
    struct block *block = &cache->blocks[b];
    block->in_main = block->in_ghost;
    block->in_ghost = 0;
    queue_push(cache, block->in_main ? &cache->main : &cache->small, b);
}

static void s3_touch(struct cache *cache, uint32_t b)
{
    if (cache->blocks[b].uses < S3_USES_MAX)
        cache->blocks[b].uses++;
}

static void s3_remember(struct cache *cache, uint32_t b)
{
    uint32_t *ghost = &cache->ghosts[cache->n_ghosts++ % cache->capacity];
    if (*ghost != NONE)
        cache->blocks[*ghost].in_ghost = 0;
    *ghost = b;
    cache->blocks[b].in_ghost = 1;
}

static void s3_to_main(struct cache *cache, struct queue *from, uint32_t b)
{
    queue_remove(cache, from, b);
    queue_push(cache, &cache->main, b);
    cache->blocks[b].in_main = 1;
}

/* From the tail on, the first of a queue that was not used enough; those before it that were move
 * to the head of the main queue, those that have to stay are passed over.  NONE: no other. */
static uint32_t s3_search(struct cache *cache, struct queue *queue, uint32_t enough_uses,
                          uint32_t keep)
{
    uint32_t b = queue->tail;
    while (b != NONE && queue->count > keep) {
        struct block *block = &cache->blocks[b];
        uint32_t before = block->before;
        if (block->uses >= enough_uses) {
            block->uses = queue == &cache->main ? block->uses - 1u : 0;
            s3_to_main(cache, queue, b);
        } else if (!has_to_stay(cache, b)) {
            return b;
        }
        b = before;
    }
    return NONE;
}

static uint32_t s3_take_victim(struct cache *cache)
{
    uint32_t small_enough = cache->capacity * S3_SMALL_PERCENT / 100;
    uint32_t threshold = cache->policy->threshold;
    uint32_t b = s3_search(cache, &cache->small, threshold, small_enough);
    for (int i = 0; i <= S3_USES_MAX && b == NONE; i++)
        b = s3_search(cache, &cache->main, 1, 0);
    if (b == NONE)
        b = s3_search(cache, &cache->small, threshold, 0);
    if (b == NONE)
        b = cache->main.tail; /* everything is used, or has to stay */
    if (!cache->blocks[b].in_main)
        s3_remember(cache, b);
    queue_remove(cache, cache->blocks[b].in_main ? &cache->main : &cache->small, b);
    return b;
}

static const struct policy policies[] = {
    {"LRU", lru_insert, lru_touch, lru_take_victim, 0},
    {"S3-FIFO, main after 2 uses", s3_insert, s3_touch, s3_take_victim, 2},
    {"S3-FIFO, main after 1 use", s3_insert, s3_touch, s3_take_victim, 1},
    {"SIEVE", sieve_insert, sieve_touch, sieve_take_victim, 0},
};

/* --- the cache --- */

static void cache_init(struct cache *cache, const struct policy *policy, const struct trace *trace,
                       uint32_t capacity, bool with_parents)
{
    *cache = (struct cache){.policy = policy,
                            .trace = trace,
                            .capacity = capacity,
                            .with_parents = with_parents,
                            .hand = NONE,
                            .small = {NONE, NONE, 0},
                            .main = {NONE, NONE, 0}};
    cache->blocks = calloc(trace->n_distinct, sizeof *cache->blocks);
    cache->ghosts = malloc(capacity * sizeof *cache->ghosts);
    cache->block_of_slot = calloc(capacity, sizeof *cache->block_of_slot);
    cache->unused = calloc(capacity, sizeof *cache->unused);
    CHECK(cache->blocks && cache->ghosts && cache->block_of_slot && cache->unused);
    CHECK(replacement_new(capacity, &cache->order) == 0);
    memset(cache->ghosts, 0xff, capacity * sizeof *cache->ghosts);
    while (cache->n_unused < capacity) {
        cache->unused[cache->n_unused] = cache->n_unused;
        cache->n_unused++;
    }
}

static void cache_fini(struct cache *cache)
{
    replacement_free(cache->order);
    free(cache->blocks);
    free(cache->ghosts);
    free(cache->block_of_slot);
    free(cache->unused);
}

static void cache_evict(struct cache *cache)
{
    uint32_t b = cache->policy->take_victim(cache), parent = cache->trace->parent[b];
    struct block *block = &cache->blocks[b];
    block->present = 0;
    block->children = 0;
    cache->count--;
    if (block->parent_life && cache->blocks[parent].present &&
        cache->blocks[parent].life == block->parent_life)
        cache->blocks[parent].children--;
}

static void cache_insert(struct cache *cache, uint32_t b, uint8_t node)
{
    if (cache->count == cache->capacity)
        cache_evict(cache);
    struct block *block = &cache->blocks[b];
    uint32_t parent = cache->trace->parent[b];
    block->present = 1;
    block->uses = 0;
    block->node = node;
    block->life++;
    block->parent_life = 0;
    if (parent != NONE && cache->blocks[parent].present && cache->blocks[parent].node == node) {
        block->parent_life = cache->blocks[parent].life;
        cache->blocks[parent].children++;
    }
    cache->count++;
    cache->policy->insert(cache, b);
}

/* --- a run --- */

enum sight { SEES_ALL, BLIND, HINTS, SIGHTS };

struct rates {
    double blocks, prefix;
};

struct hint {
    uint64_t time_ms;
    uint32_t block, life;
};

struct hints {
    struct hint *queue; /* in the order of their times */
    uint32_t first, n;
    uint64_t random;
};

static void hints_deliver(struct hints *hints, struct cache *cache, uint64_t now_ms)
{
    while (hints->first < hints->n && hints->queue[hints->first].time_ms <= now_ms) {
        const struct hint *hint = &hints->queue[hints->first++];
        const struct block *block = &cache->blocks[hint->block];
        if (block->present && block->life == hint->life)
            cache->policy->touch(cache, hint->block);
    }
}

static void read_block(struct cache *cache, uint32_t b, uint8_t node, enum sight sight,
                       struct hints *hints, uint64_t now_ms)
{
    if (sight == SEES_ALL || cache->blocks[b].node == node)
        cache->policy->touch(cache, b);
    else if (sight == HINTS && splitmix_next(&hints->random) % 100 >= HINT_LOSS_PERCENT)
        hints->queue[hints->n++] = (struct hint){now_ms + HINT_DELAY_MS, b, cache->blocks[b].life};
}

static struct rates run(struct cache *cache, enum sight sight, uint64_t seed)
{
    const struct trace *trace = cache->trace;
    struct hints hints = {.queue = calloc(trace->n_blocks, sizeof *hints.queue), .random = ~seed};
    CHECK(hints.queue);
    uint64_t hits = 0, prefix_hits = 0;
    for (uint32_t i = 0; i < trace->n_requests; i++) {
        const struct request *request = &trace->requests[i];
        uint8_t node = sight == SEES_ALL ? 0 : splitmix_next(&seed) % NODES;
        bool leading = true;
        hints_deliver(&hints, cache, request->time_ms);
        for (uint32_t k = request->first; k < request->first + request->n; k++) {
            uint32_t b = trace->blocks[k];
            leading = leading && cache->blocks[b].present;
            hits += cache->blocks[b].present;
            prefix_hits += leading;
            if (cache->blocks[b].present)
                read_block(cache, b, node, sight, &hints, request->time_ms);
            else
                cache_insert(cache, b, node);
        }
    }
    free(hints.queue);
    double all = trace->n_blocks;
    return (struct rates){100 * (double)hits / all, 100 * (double)prefix_hits / all};
}

/* --- Belady's optimum --- */

/* When each access's block is used next; NONE: never. */
static uint32_t *next_uses(const struct trace *trace)
{
    uint32_t *next = calloc(trace->n_blocks, sizeof *next);
    uint32_t *seen = malloc(trace->n_distinct * sizeof *seen);
    CHECK(next && seen);
    memset(seen, 0xff, trace->n_distinct * sizeof *seen);
    for (uint32_t i = trace->n_blocks; i-- > 0;) {
        next[i] = seen[trace->blocks[i]];
        seen[trace->blocks[i]] = i;
    }
    free(seen);
    return next;
}

struct use {
    uint32_t next, block;
};

static void heap_push(struct use *heap, uint32_t *n, struct use use)
{
    uint32_t i = (*n)++;
    for (; i && heap[(i - 1) / 2].next < use.next; i = (i - 1) / 2)
        heap[i] = heap[(i - 1) / 2];
    heap[i] = use;
}

static struct use heap_pop(struct use *heap, uint32_t *n)
{
    struct use top = heap[0], last = heap[--*n];
    uint32_t i = 0, child;
    while ((child = 2 * i + 1) < *n) {
        if (child + 1 < *n && heap[child + 1].next > heap[child].next)
            child++;
        if (heap[child].next <= last.next)
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = last;
    return top;
}

/* Evicts what is used last of all, which may be the block that just came.  due[] tells, by block,
 * when its stay in the cache is used next; 0: not there.  Other entries of the heap are old. */
static struct rates run_optimum(const struct trace *trace, uint32_t capacity)
{
    uint32_t *next = next_uses(trace), count = 0, n = 0;
    uint32_t *due = calloc(trace->n_distinct, sizeof *due);
    struct use *heap = calloc(trace->n_blocks, sizeof *heap);
    CHECK(due && heap);
    uint64_t hits = 0, prefix_hits = 0;
    for (uint32_t i = 0; i < trace->n_requests; i++) {
        const struct request *request = &trace->requests[i];
        bool leading = true;
        for (uint32_t k = request->first; k < request->first + request->n; k++) {
            uint32_t b = trace->blocks[k];
            leading = leading && due[b];
            hits += due[b] != 0;
            prefix_hits += leading;
            count += due[b] == 0;
            due[b] = next[k];
            heap_push(heap, &n, (struct use){next[k], b});
            while (count > capacity) {
                struct use last = heap_pop(heap, &n);
                if (due[last.block] != last.next)
                    continue;
                due[last.block] = 0;
                count--;
            }
        }
    }
    free(heap);
    free(due);
    free(next);
    double all = trace->n_blocks;
    return (struct rates){100 * (double)hits / all, 100 * (double)prefix_hits / all};
}

/* --- the tables --- */

static void print_rates(const char *name, const char *rule, const struct rates *rates, int n)
{
    printf("| %s | %s |", name, rule);
    for (int i = 0; i < SIGHTS; i++)
        if (i < n)
            printf(" %.2f | %.2f |", rates[i].blocks, rates[i].prefix);
        else
            printf(" | |");
    printf("\n");
}

static void print_table(const struct trace *trace, uint32_t percent, uint64_t seed)
{
    uint32_t capacity = (uint32_t)((uint64_t)trace->n_distinct * percent / 100);
    capacity = capacity ? capacity : 1;
    struct rates optimum = run_optimum(trace, capacity);
    struct rates unlimited = run_optimum(trace, trace->n_distinct);
    printf("\nCache of %u blocks, %u %% of the distinct ones; hit rates in %%.\n\n", capacity,
           percent);
    printf(
        "| policy | parents stay | all reads seen: blocks | prefix | remote reads unseen: blocks "
        "| prefix | hints: blocks | prefix |\n|---|---|---|---|---|---|---|---|\n");
    print_rates("no limit", "", &unlimited, 1);
    print_rates("Belady's optimum", "", &optimum, 1);
    for (size_t p = 0; p < sizeof policies / sizeof *policies; p++) {
        for (int with_parents = 0; with_parents < 2; with_parents++) {
            struct rates rates[SIGHTS];
            for (int sight = 0; sight < SIGHTS; sight++) {
                struct cache cache;
                cache_init(&cache, &policies[p], trace, capacity, with_parents);
                rates[sight] = run(&cache, (enum sight)sight, seed);
                cache_fini(&cache);
            }
            print_rates(policies[p].name, with_parents ? "yes" : "no", rates, SIGHTS);
        }
    }
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"trace", required_argument, NULL, 't'}, {"seed", required_argument, NULL, 's'}, {0}};
    const char *path = NULL;
    uint64_t seed = 1;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 't')
            path = optarg;
        else if (c == 's')
            seed = strtoull(optarg, NULL, 0);
        else
            return 2;
    }
    struct trace trace;
    trace_init(&trace);
    int rc = 0;
    if (path)
        rc = trace_read(&trace, path);
    else
        trace_make(&trace, seed);
    if (rc) {
        fprintf(stderr, "bench-replacement-study: %s: line %u: %s\n", path, trace.n_requests,
                rc == -EBADMSG ? "not a request with timestamp and hash_ids" : strerror(-rc));
        trace_fini(&trace);
        return 1;
    }
    printf("%s, seed %llu: %u requests, %u blocks, %u distinct.\n",
           path ? "Trace" : "Made-up trace", (unsigned long long)seed, trace.n_requests,
           trace.n_blocks, trace.n_distinct);
    print_table(&trace, 3, seed);
    print_table(&trace, 10, seed);
    print_table(&trace, 50, seed);
    trace_fini(&trace);
    return 0;
}
