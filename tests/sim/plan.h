/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan.h - what a seed decides before its run begins.
 *
 * Each seed draws its own mix: a kind of fault is on or off, and has a rate of its own, so that
 * many seeds see one kind alone, and some see kinds together that nobody would have thought of.
 */
#ifndef SIM_PLAN_H
#define SIM_PLAN_H

#include <stdbool.h>
#include <stdint.h>

/* name, percent of the seeds with faults in which it happens, what it is */
#define FAULTS(F)                                                                                  \
    F(break_link, 60, "a connection breaks")                                                       \
    F(cut, 25, "two machines cannot reach each other for a while")                                 \
    F(cut_one_way, 20, "one machine does not reach another, which reaches it")                     \
    F(split, 15, "the cluster falls into two parts for a while")                                   \
    F(slow, 20, "the path between two machines is slow for a while")                               \
    F(crash, 45, "a process dies, and mostly comes back")                                          \
    F(host_crash, 10, "all processes of a host die")                                               \
    F(blackout, 5, "all processes of all hosts die")                                               \
    F(pause, 35, "a process is stopped, and continued")                                            \
    F(leave, 25, "a process says goodbye, and mostly comes back")                                  \
    F(drain, 20, "a process hands its pages to others, says goodbye, and mostly comes back")       \
    F(burst, 20, "all applications make their calls without a pause")

enum fault {
#define F(name, percent, what) FAULT_##name,
    FAULTS(F)
#undef F
        FAULT_COUNT
};

/* How two machines come to have one node id. */
enum twins {
    TWINS_NONE,
    TWINS_COPY,  /* a state directory was copied: one of them takes another */
    TWINS_GIVEN, /* somebody gave it to both: the older one ends */
};

struct plan {
    uint32_t machines, hosts, replicas, vnodes, apps;
    uint32_t seeds, max_masters; /* the first hosts are seeds */
    bool has_head;               /* the first of them is pinned */
    uint32_t slots, keys, namespaces, directory_limit, again_every_nth;
    uint32_t page_bytes_most, small_share; /* percent of pages below 600 bytes */
    uint64_t pool_bytes;
    uint64_t delay_ns, chunk_ns, think_ns; /* typical */
    bool is_calm;                          /* nothing goes wrong, and nobody lies */
    bool lies, clears, gives_up;
    bool hot_pages;      /* readers keep what many ask for; every machine is a host of its own */
    bool doubles;        /* sets store what is stored: two that began at once, many holders */
    bool groups;         /* pages of one number are parts of one, of which the first has parents */
    uint32_t late_joins; /* machines that start only after a while */
    uint64_t warm_up_ns; /* how long after its start a machine's applications begin */
    uint32_t skew_ppm;   /* clocks of two hosts run apart by up to this many millionths */
    uint32_t loss_percent;         /* packets lost on the way: bytes come later */
    uint32_t dies_percent;         /* of channels, with what they carry */
    uint32_t fresh_percent;        /* of restarts without the former state: another node id */
    uint32_t weights[FAULT_COUNT]; /* how often this fault happens, in proportion; 0: never */
    uint32_t events_a_strike;      /* typical */
    uint32_t steps_times;          /* so many times the usual length of a run */
    bool pauses_one;               /* calm, but for one machine that is stopped now and then */
    uint32_t stopped;              /* which one */
    enum twins twins;              /* two machines have one node id at first */
    uint32_t twin, twin_of;        /* these: the twin is the later one */
};

#endif
