/* SPDX-License-Identifier: Apache-2.0 */
/* call.h - pages and their bytes, one read of a page, one call of an application. */
#ifndef SIM_CALL_H
#define SIM_CALL_H

#include <stdbool.h>
#include <stdint.h>

#include "core/attempt.h"
#include "core/core.h"
#include "core/locate.h"
#include "limits.h"
#include "wire/slot_header.h"

/* --- pages and their bytes --- */

struct page_key {
    uint32_t ns, number;
    uint64_t epoch;
};

enum filling_state { FILLING_RESERVED = 1, FILLING_WHOLE, FILLING_GIVEN_UP };

struct filling {
    uint8_t state; /* 0: this generation was never given out */
    struct page_key key;
    struct id128 digest;
    uint32_t slot, length_bytes;
    uint64_t offset_bytes;
    int copied_life; /* its bytes are those of this filling; generation 0: its own */
    uint64_t copied_generation;
    uint64_t begun;        /* at which event */
    uint64_t visible;      /* 0, or the event at which its set said that it is */
    uint64_t visible_ring; /* 0: not all machines had this ring then */
    bool is_alone;         /* of no group, whatever its key */
};

/* A page on its way from the pool of one machine to that of another. */
struct original {
    int life;
    uint64_t generation;
    struct page_key key;
    uint64_t group; /* 0: it stands for itself where it comes to */
    uint32_t length_bytes;
    uint8_t bytes[PAGE_MAX_BYTES];
};

/* --- reads --- */

enum read_kind { READ_OWN, READ_SHARED, READ_ONE_SIDED, READ_REMOTE };

struct read;
typedef void read_done(struct read *read, int error);

struct read {
    enum read_kind kind;
    bool is_running;
    uint32_t serial;   /* tells this use from an earlier one that is still answered */
    int machine, life; /* of the reader */
    int source;        /* the life that is read */
    struct page_key key;
    struct slot_expectation expected;
    uint32_t slot, n_chunks, chunk;
    uint8_t order[CHUNKS_MAX];
    uint32_t received_bytes; /* over the network */
    struct slot_sample sample;
    uint64_t deadline_ns;
    read_done *done;
    struct app *asker; /* whose it is, and which of its pages; NULL: of no call */
    uint32_t page;
    uint8_t bytes[PAGE_MAX_BYTES];
};

/* --- calls --- */

enum call_kind { CALL_NONE, CALL_GET, CALL_SET, CALL_EXISTS, CALL_CLEAR };

struct app;
typedef void ask_done(struct app *app);

struct asking {
    struct locate locate;
    struct locate_key keys[BATCH_PAGES];
    struct locate_ask asks[MACHINES_MAX * 4];
    uint8_t answered[MACHINES_MAX * 4];
    uint32_t n_asks, n_open, round;
    uint64_t begun_ns, deadline_ns;
    ask_done *done;
    /* what the checks want to know of each key */
    uint32_t asked[BATCH_PAGES];      /* a bit an owner that answered or failed */
    uint32_t knew[BATCH_PAGES];       /* a bit an owner that had it at the start */
    uint32_t distrusted[BATCH_PAGES]; /* a bit an owner whose breaker was open in some round */
    bool denied[BATCH_PAGES];         /* an owner that knows all said no */
};

/* What exists has said of the pages of this call, and a get has found (honesty.c). */
struct honesty {
    bool is_following; /* the get behind an exists */
    bool is_promised[BATCH_PAGES], was_broken[BATCH_PAGES];
    uint64_t said_ns[BATCH_PAGES]; /* when it was said to be there the first time */
};

struct app {
    int machine;
    uint32_t number;
    enum call_kind call;
    uint32_t serial; /* of the call */
    uint64_t deadline_ns;
    uint64_t held_until_ns; /* by what cannot be interrupted: it may end that late */
    uint32_t n;
    struct page_key keys[BATCH_PAGES];
    uint32_t lengths[BATCH_PAGES];
    bool is_done[BATCH_PAGES];
    struct asking asking;
    struct honesty honesty;
    enum call_kind next; /* CALL_NONE: any, of any pages */
    bool asks_stopped;   /* waits for a process that is stopped */
    /* get */
    struct attempt attempts[BATCH_PAGES];
    struct read reads[BATCH_PAGES];
    uint32_t places[BATCH_PAGES], n_reading, n_touches, n_stales;
    struct core_touch touches[BATCH_PAGES];
    struct core_stale stales[BATCH_PAGES * 4];
    bool is_first_round;
    /* set */
    struct core_page pages[BATCH_PAGES];
    uint32_t n_pages, tries, copying, chunk;
    bool gives_up, doubles;
    /* an operation of the core that is waited for */
    uint32_t op;
    bool is_waiting;
    uint64_t begun; /* at which event the call began */
    uint64_t cleared_epoch;
    uint64_t told[MACHINES_MAX]; /* clear: lives that were alive members, plus one */
};

#endif
