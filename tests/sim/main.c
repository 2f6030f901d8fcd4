/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - runs seeds.
 *
 *     sim --seed S [--trace]           one seed, with every line of its story
 *     sim --seeds N [--from S]         seeds S .. S + N - 1; ends at the first violation
 *     sim ... --steps K                events of the active part of a run
 *     sim ... --without NAME[,NAME]    with these protections switched off
 *     sim ... --expect-violation       succeeds only if some seed violates an invariant
 *     sim ... --check-determinism      runs each seed twice and compares the hashes of both
 *     sim --list-protections
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/protection.h"
#include "sim.h"

static struct {
    uint64_t from, seeds;
    uint32_t steps;
    bool expects_violation, checks_determinism, is_verbose;
    const char *without;
} options = {.from = 1, .seeds = 1, .steps = 1500};

static int usage(const char *what)
{
    fprintf(
        stderr,
        "sim: %s\nusage: sim [--seed S | --seeds N [--from S]] [--steps K] [--trace] [--stats]\n"
        "           [--without NAME,...] [--expect-violation] [--check-determinism]\n"
        "       sim --list-protections\n",
        what);
    return 2;
}

static bool switch_off(const char *names)
{
    char list[512];
    snprintf(list, sizeof list, "%s", names);
    for (char *name = strtok(list, ","); name; name = strtok(NULL, ","))
        if (!protection_disable(name)) {
            fprintf(stderr, "sim: no protection has the name '%s'\n", name);
            return false;
        }
    options.without = names;
    return true;
}

static void list_protections(void)
{
    for (int i = 0; i < PROTECTION_COUNT; i++)
        printf("%s\n", protection_name((enum protection)i));
}

/* 0: go on; otherwise the exit status, plus one. */
static int take_options(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(argv[i], "--trace")) {
            world.is_tracing = true;
        } else if (!strcmp(argv[i], "--stats")) {
            options.is_verbose = true;
        } else if (!strcmp(argv[i], "--expect-violation")) {
            options.expects_violation = true;
        } else if (!strcmp(argv[i], "--check-determinism")) {
            options.checks_determinism = true;
        } else if (!strcmp(argv[i], "--list-protections")) {
            list_protections();
            return 1;
        } else if (!value) {
            return usage("an unknown option, or one without its value") + 1;
        } else if (!strcmp(argv[i], "--seed") || !strcmp(argv[i], "--from")) {
            options.from = strtoull(argv[++i], NULL, 0);
        } else if (!strcmp(argv[i], "--seeds")) {
            options.seeds = strtoull(argv[++i], NULL, 0);
        } else if (!strcmp(argv[i], "--steps")) {
            options.steps = (uint32_t)strtoul(argv[++i], NULL, 0);
        } else if (!strcmp(argv[i], "--without")) {
            if (!switch_off(argv[++i]))
                return 2 + 1;
        } else {
            return usage("an unknown option") + 1;
        }
    }
    return 0;
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void report_violation(uint64_t seed)
{
    if (options.expects_violation) {
        printf("seed %llu: %s\n", (unsigned long long)seed, world.violation);
        return;
    }
    narrate_print_last();
    printf("seed %llu violates %s\n", (unsigned long long)seed, world.violation);
    printf("again: sim --seed %llu --steps %u --trace%s%s\n", (unsigned long long)seed,
           options.steps, options.without ? " --without " : "",
           options.without ? options.without : "");
}

static bool is_deterministic(uint64_t seed)
{
    uint64_t hash = world.hash;
    if (world_run(seed, options.steps) && world.hash == hash)
        return true;
    snprintf(world.violation, sizeof world.violation, "determinism: two runs, two stories");
    return false;
}

static int run_seeds(void)
{
    double began_s = seconds();
    for (uint64_t seed = options.from; seed < options.from + options.seeds; seed++) {
        bool ok = world_run(seed, options.steps);
        if (ok && options.checks_determinism)
            ok = is_deterministic(seed);
        if (!ok) {
            report_violation(seed);
            return options.expects_violation ? 0 : 1;
        }
        if (options.is_verbose)
            printf("seed %llu: hash %016llx\n", (unsigned long long)seed,
                   (unsigned long long)world.hash);
    }
    if (options.expects_violation) {
        printf("no violation in %llu seeds from %llu on without %s\n",
               (unsigned long long)options.seeds, (unsigned long long)options.from,
               options.without ? options.without : "anything");
        return 1;
    }
    report_totals(options.seeds, seconds() - began_s);
    return 0;
}

int main(int argc, char **argv)
{
    /* A core reserves more memory than it touches: fresh pages are cheaper than cleared ones. */
    mallopt(M_MMAP_THRESHOLD, 64 << 10);
    mallopt(M_TRIM_THRESHOLD, 64 << 20);
    setvbuf(stdout, NULL, _IOLBF, 0);
    int end = take_options(argc, argv);
    return end ? end - 1 : run_seeds();
}
