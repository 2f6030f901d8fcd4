/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim.h - a cluster of cores in one process, under one seed: what the simulator's files share.
 *
 *     world.c        the seed, the clock, the event queue, the plan of a run
 *     network.c      control connections: delay, order, loss with their connection, partitions
 *     machine.c      one node: its core, its memory, its lives
 *     filling.c      what every filling of every slot ever was, and the bytes that it must have
 *     nic.c          reads of a page in small pieces: own, past the holder, one-sided
 *     serve.c        the holder's side of look-ups and of reads over the network
 *     ask.c get.c set.c application.c   the calls, as state machines
 *     fault.c        what goes wrong, and when it stops
 *     checks.c promises.c groups.c settle.c     invariants while it runs, and after the faults
 *     narrate.c      the story so far, and its hash
 *
 * There is one world at a time.  Nothing here reads a clock or a random number but the world's own.
 */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/attempt.h"
#include "core/core.h"
#include "core/locate.h"
#include "core/view.h"
#include "narrate.h"
#include "wire/codec.h"
#include "wire/slot_header.h"

enum {
    MACHINES_MAX = 6,
    LIVES_MAX = 24,  /* of all machines together */
    APPS_MAX = 3,    /* threads that make calls, a machine */
    BATCH_PAGES = 6, /* pages of one call */
    SLOTS_MAX = 256,
    POOL_MAX_BYTES = 128 << 10,
    PAGE_MAX_BYTES = 8 << 10,
    NAME_BYTES = 8,
    LINKS_MAX = 256, /* connections at a time */
    MACHINE_LINKS_MAX = 64,
    PEERS_SEEN_MAX = 128, /* peer indices that a short life can come to use */
    NAMESPACES = 3,
    KEYS_MAX = 256,  /* of a namespace */
    SEEN_MAX = 64,   /* old locations that a machine remembers */
    CHUNKS_MAX = 16, /* pieces of one copy */
    RECENT_MAX = 32, /* pages set lately, which others ask for */
    SERVES_MAX = 64, /* pages being sent by one machine */
    NOBODY = -1,
};

#define US UINT64_C(1000)
#define MS UINT64_C(1000000)
#define SECOND UINT64_C(1000000000)

struct event;
typedef void event_run(struct event *event);

/* Something that happens to one machine in one of its lives; it is dropped when that life is over.
 * machine NOBODY: it happens to the world. */
struct event {
    uint64_t at_ns, order;
    event_run *run;
    int machine, life;
    uint64_t a, b;
    void *box; /* freed behind the event, unless it is taken out */
    uint32_t box_len;
};

/* --- what a seed decides --- */

struct plan {
    uint32_t machines, hosts, replicas, vnodes, apps;
    uint32_t slots, keys, namespaces, directory_limit, again_every_nth;
    uint32_t page_bytes_most, small_share; /* percent of pages below 600 bytes */
    uint64_t pool_bytes;
    uint64_t delay_ns, chunk_ns, think_ns; /* typical */
    bool is_calm;                          /* nothing goes wrong, and nobody lies */
    bool breaks, partitions, crashes, pauses, leaves, lies, clears, gives_up, loses_requests;
    bool groups;         /* pages of one number are parts of one, of which the first has parents */
    uint32_t late_joins; /* machines that start only after a while */
};

enum { HEARTBEAT_NS = 1000000000, MEMBER_TTL_NS = 2 * 1000000000u };
#define RING_GRACE_NS (6 * SECOND)

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
    uint64_t begun;        /* at which event */
    uint64_t visible;      /* 0, or the event at which its set said that it is */
    uint64_t visible_ring; /* 0: not all machines had this ring then */
};

/* One life of a machine.  Its memory stays as it was when it ended: somebody may be reading it. */
struct life {
    int machine;
    bool is_alive;
    uint64_t incarnation, pool_bytes;
    uint32_t slots;
    struct slot_header *headers;
    uint8_t *payload;
    uint32_t n_fillings, fillings_size;
    struct filling *fillings; /* by generation */
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
    uint32_t asked[BATCH_PAGES]; /* a bit an owner that answered or failed */
    uint32_t knew[BATCH_PAGES];  /* a bit an owner that had it at the start */
    bool denied[BATCH_PAGES];    /* an owner that knows all said no */
};

struct app {
    int machine;
    uint32_t number;
    enum call_kind call;
    uint32_t serial;                  /* of the call */
    uint64_t deadline_ns, late_by_ns; /* and how much later it may end */
    uint32_t n;
    struct page_key keys[BATCH_PAGES];
    uint32_t lengths[BATCH_PAGES];
    bool is_done[BATCH_PAGES];
    struct asking asking;
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
    bool gives_up;
    /* an operation of the core that is waited for */
    uint32_t op;
    bool is_waiting;
    uint64_t begun; /* at which event the call began */
    uint64_t cleared_epoch;
    uint64_t told[MACHINES_MAX]; /* clear: lives that were alive members, plus one */
};

/* A page of a group, by its slot, as it was found after the last step. */
struct part {
    uint64_t group, generation; /* generation 0: none */
    struct id128 digest;
};

/* A location as it was once found, believed ever after: what a reader by RDMA does. */
struct seen {
    bool used;
    int life;
    struct page_key key;
    struct location place;
};

struct prober {
    struct read read;
};

/* --- machines --- */

struct machine {
    int number, host, life; /* life: NOBODY when it is down */
    struct id128 node_id;
    uint64_t incarnation, pool_bytes;
    uint32_t slots;
    struct core *core;
    const struct core_view *view;
    uint64_t wake_at_ns, paused_until_ns;
    bool is_head, is_leaving;
    int routes[PEERS_SEEN_MAX];             /* peer index -> life, or NOBODY */
    uint64_t distrusted_ns[PEERS_SEEN_MAX]; /* when a peer last failed, or was not called alive */
    uint32_t links[MACHINE_LINKS_MAX];      /* link number of the core -> connection + 1 */
    uint32_t n_filling, n_serving;
    uint64_t filling_bytes;
    uint32_t steps_now; /* at this moment of the clock */
    uint64_t last_step_ns;
    struct app apps[APPS_MAX];
    struct prober prober;
    struct seen seen[SEEN_MAX];
    uint32_t n_seen;
    struct {
        uint64_t begun, ended; /* of the last clear that this life heard of, as events */
    } cleared[NAMESPACES];
    struct part parts[SLOTS_MAX];
};

struct link_end {
    int machine, life;
    uint32_t number;
    bool is_up, is_closed;
    uint64_t last_delivery_ns; /* to this end */
    uint32_t n_sent, n_received;
};

struct link {
    bool used, is_broken;
    uint32_t serial;
    enum purpose purpose;
    struct link_end ends[2]; /* 0 dialled */
    uint32_t in_flight;
};

struct totals {
    uint64_t events, steps, messages, hits, misses, stored, refused, stopped_before, stopped_after,
        stopped_at_holder, probes, crashes, breaks, groups_left;
    uint32_t most_events, most_in_flight;
};

struct world {
    uint64_t seed, now_ns, random[4], n_events_run, order;
    uint32_t steps; /* events of the active part */
    bool is_settling, is_tracing, had_lies;
    struct plan plan;
    struct machine machines[MACHINES_MAX];
    struct life lives[LIVES_MAX];
    uint32_t n_lives;
    struct link links[LINKS_MAX];
    uint32_t link_serial;
    uint64_t blocked_until_ns[MACHINES_MAX][MACHINES_MAX];
    struct event *events;
    uint32_t n_events, events_size;
    struct id128 identities[NAMESPACES];
    struct page_key recent[RECENT_MAX]; /* what was set lately, by anybody */
    uint32_t n_recent;
    uint64_t hash;
    struct totals totals;
    char violation[400];
    struct message_scratch scratch;
    uint8_t frame[FRAME_HEAD_BYTES + FRAME_BODY_MAX_BYTES];
};

extern struct world world;

/* world.c */
uint64_t world_random(void);
uint64_t world_below(uint64_t limit); /* 0 .. limit - 1 */
bool world_chance(uint32_t percent);
uint64_t world_spread(uint64_t typical_ns); /* mostly near, sometimes far above */
struct event *world_after(uint64_t delay_ns, event_run *run, int machine);
struct event *world_at(uint64_t at_ns, event_run *run, int machine);
/* Runs one seed; true: no invariant was violated. */
bool world_run(uint64_t seed, uint32_t steps);
/* Does not return: the run of this seed ends here. */
_Noreturn void world_violated(const char *invariant, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* network.c */
void network_send(struct machine *machine, uint32_t number, const struct message *message);
void network_dial(struct machine *machine, const struct core_dial *dial);
void network_hangup(struct machine *machine, uint32_t number);
void network_break(struct link *link);
void network_crashed(const struct machine *machine);
/* When something sent now may arrive: later, and not before a partition ends. */
uint64_t network_arrival_ns(int from, int to);
bool network_is_blocked(int from, int to);

/* machine.c */
void machine_start(struct machine *machine);
void machine_crash(struct machine *machine);
void machine_step(struct machine *machine, struct core_event *event, struct app *waiter);
void machine_free_all(void);
bool machine_is_up(const struct machine *machine);
struct life *machine_life(const struct machine *machine);
int machine_route(const struct machine *machine, uint16_t peer);
void machine_peer_failed(struct machine *machine, uint16_t peer);
void machine_peer_answered(struct machine *machine, uint16_t peer);
void machine_distrust_all(struct machine *machine);

/* filling.c */
uint32_t filling_length(uint32_t ns, uint32_t number);
uint32_t filling_other_length(uint32_t ns, uint32_t number);
void filling_name(uint32_t number, uint8_t ret_name[NAME_BYTES]);
struct id128 filling_digest(const struct page_key *key);
uint64_t filling_ring_position(const struct page_key *key);
struct filling *filling_begin(struct life *life, const struct core_page *page,
                              const struct page_key *key);
struct filling *filling_find(const struct life *life, uint64_t generation);
/* Bytes [from, from + len) of a filling. */
void filling_write(int life, uint64_t generation, uint32_t from, uint32_t len, uint8_t *to);
bool filling_is(int life, uint64_t generation, const uint8_t *bytes, uint32_t from, uint32_t len);
void filling_free_all(void);

/* nic.c */
void read_begin(struct read *read);
void read_take_payload(struct read *read, const struct record_status *status);
void read_take_bytes(struct read *read, const uint8_t *bytes, uint32_t len);
void read_cancel(struct read *read);
uint32_t read_cut(uint32_t length_bytes, uint32_t *ret_chunk_bytes);
void probe_schedule(struct machine *machine, uint64_t delay_ns);

/* What a page takes of the pool: its bytes and its name, in whole units. */
uint64_t filling_room_bytes(uint32_t length_bytes);

/* serve.c */
void serve_ask_lookup(struct app *app, uint32_t ask);
void serve_ask_read(struct read *read);

/* ask.c */
void ask_begin(struct app *app, uint64_t deadline_ns, ask_done *done);
void ask_go_on(struct app *app);
void ask_answered(struct app *app, uint32_t ask, const struct message_locations *answer);
void ask_failed(struct app *app, uint32_t ask);

/* get.c set.c */
void get_begin(struct app *app);
void set_begin(struct app *app);
void set_completed(struct app *app, int error, const uint8_t *recorded, uint32_t n);

/* application.c */
void app_schedule(struct app *app, uint64_t delay_ns);
void app_end(struct app *app);
void app_completed(struct machine *machine, const struct core_completion *completion);
bool app_event_is_stale(const struct event *event, struct app **ret_app);

/* fault.c */
void fault_begin(void);
uint64_t fault_stop(void);

/* promises.c */
void check_epoch_used(const struct app *app);
void check_cleared(const struct app *app);
void check_hit_is_new(const struct app *app, int source, const struct filling *filling);
void note_visible(const struct life *life, uint64_t generation);
void check_unknown_is_invisible(const struct app *app, uint32_t key);

/* groups.c */
uint64_t group_of(const struct page_key *key);
void check_groups(struct machine *machine);

/* checks.c settle.c */
void check_after_event(void);
void check_hit(const struct read *read);
void check_found(const struct machine *owner, const struct message_locations *answer,
                 const struct message_lookup *lookup);
void check_ask_begins(struct app *app);
void check_ask_ended(const struct app *app);
void check_pool(const struct machine *machine);
void check_rings(void);
void settle_check(void);

#endif
