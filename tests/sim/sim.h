/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim.h - a cluster of cores in one process, under one seed: what the simulator's files share.
 *
 *     world.c        the seed, a run from its plan to its end
 *     events.c       what is yet to happen
 *     plan.c         what a seed decides
 *     clock.c        what time it is on a host
 *     path.c         from machine to machine: how long it takes, and whether it is cut
 *     network.c      control connections: delay, order, loss with their connection
 *     machine.c      one node: its core, its memory, its lives
 *     identity.c     who a machine is, and when it becomes another
 *     filling.c      what every filling of every slot ever was, and the bytes that it must have
 *     nic.c          reads of a page in small pieces: own, past the holder, one-sided
 *     serve.c        the holder's side of look-ups and of reads over the network
 *     ask.c get.c copies.c set.c application.c   the calls, as state machines
 *     drain.c        a machine hands its pages to others before it leaves
 *     fault.c        what goes wrong, and when it stops
 *     checks.c promises.c groups.c stopped.c     invariants while it runs
 *     honesty.c      how often exists says true before a miss
 *     settle.c shards.c quiet.c        what must hold once the faults have stopped
 *     narrate.c who.c                  the story so far, and its hash; who everybody is
 *
 * There is one world at a time.  Nothing here reads a clock or a random number but the world's own.
 */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "call.h"
#include "core/core.h"
#include "core/inspection.h"
#include "core/lease.h"
#include "core/view.h"
#include "events.h"
#include "limits.h"
#include "narrate.h"
#include "plan.h"
#include "wire/codec.h"
#include "wire/slot_header.h"

/* --- machines --- */

/* One life of a machine.  Its memory stays as it was when it ended: somebody may be reading it. */
struct life {
    int machine;
    struct id128 node_id;
    bool is_alive;
    uint64_t incarnation, pool_bytes;
    uint32_t slots;
    struct slot_header *headers;
    uint8_t *payload;
    uint32_t n_fillings, fillings_size;
    struct filling *fillings; /* by generation */
    uint32_t n_former;
    struct {
        struct id128 node_id;
        uint64_t incarnation;
    } former[FORMER_MAX]; /* its names before it was reborn in place */
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

struct machine {
    int number, host, life; /* life: NOBODY when it is down */
    struct id128 node_id;
    uint64_t incarnation, pool_bytes;
    uint64_t seat;
    uint64_t void_incarnation; /* it was stopped for long under this one; 0: not */
    struct lease lease;
    bool has_ended;     /* another machine has its id */
    uint32_t cancelled; /* the operation that the present step cancels; 0: none */
    uint32_t slots;
    struct core *core;
    const struct core_view *view;
    uint64_t wake_at_ns, paused_until_ns;
    bool serves; /* discovery, for its host */
    uint64_t scouted_ns;
    bool is_leaving, is_draining;
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
    struct id128 said_node_id; /* in this end's hello */
    uint64_t said_incarnation;
};

struct link {
    bool used, is_broken;
    bool is_scout; /* its dialler only looks who is there */
    uint32_t serial;
    enum purpose purpose;
    struct link_end ends[2]; /* 0 dialled */
    uint32_t in_flight;
};

/* One direction of the way between two machines. */
struct path {
    uint64_t cut_until_ns, slow_until_ns, slow_by_ns;
};

/* Of a host: what it shows is began_ns + the world's time * pace / a million. */
struct clock {
    uint64_t began_ns, pace;
};

struct totals {
    uint64_t active_ns, events, steps, messages, hits, misses, stored, refused, stopped_before,
        stopped_after, stopped_at_holder, copies, handed_over, probes, crashes, breaks, groups_left,
        late_calls, most_late_ns, longest_heal_ns, longest_heal_seed, promised[2],
        broken[2] /* [1]: in calm runs */, until_false, until_false_ns, longest_until_false_ns,
        beside_stopped, waited_for_stopped, missed_beside, strikes[FAULT_COUNT];
    const char *longest_heal_by;
    uint32_t most_in_flight;
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
    struct path paths[MACHINES_MAX][MACHINES_MAX]; /* from, to */
    struct clock clocks[MACHINES_MAX];             /* by host */
    uint64_t strike_at, burst_until_ns, last_start_ns, calm_ns, changed_ns;
    const char *changed_by;
    uint64_t stopped_at; /* at which event a process was stopped last */
    struct events events;
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
void world_run_until(uint64_t until_ns);
/* Does not return: the run of this seed ends here. */
_Noreturn void world_violated(const char *invariant, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* plan.c */
void plan_run(void);

/* clock.c */
void clocks_begin(void);
uint64_t clock_ns(const struct machine *machine);
uint64_t clock_when_ns(const struct machine *machine, uint64_t says_ns);

/* path.c */
bool path_is_cut(int from, int to);
uint64_t path_cut_until_ns(int from, int to);
/* When something sent now may arrive: later, and not before a cut ends. */
uint64_t path_arrival_ns(int from, int to);
void path_cut(int from, int to, uint64_t for_ns);
void path_slow(int from, int to, uint64_t for_ns, uint64_t by_ns);
uint64_t path_all_well_ns(void);

/* network.c */
void network_send(struct machine *machine, uint32_t number, const struct message *message);
void network_dial(struct machine *machine, const struct core_dial *dial);
void network_hangup(struct machine *machine, uint32_t number);
/* Serves discovery for its host as soon as nobody else there does. */
void network_serve(struct machine *machine);
void network_break(struct link *link);
void network_crashed(const struct machine *machine);

/* machine.c */
void machine_start(struct machine *machine);
void machine_crash(struct machine *machine);
void machine_step(struct machine *machine, struct core_event *event, struct app *waiter);
void machine_free_all(void);
bool machine_is_up(const struct machine *machine);
struct life *machine_life(const struct machine *machine);
int machine_find_life(struct id128 node_id, uint64_t incarnation);
int machine_route(const struct machine *machine, uint16_t peer);
void machine_peer_failed(struct machine *machine, uint16_t peer);
void machine_peer_answered(struct machine *machine, uint16_t peer);
void machine_distrust_all(struct machine *machine);

/* identity.c */
void identity_begin(struct machine *machine);
/* Before a step: the machine goes on as what it is, or as another life. */
void identity_go_on(struct machine *machine);
bool identity_may_speak(const struct machine *machine);
void identity_obey(struct machine *machine, const struct core_yield *yield);
void note_stopped(struct machine *machine, uint64_t for_ns);
void check_says(const struct machine *machine, const struct link_end *end);
void check_no_former_life(const struct machine *machine);

/* filling.c */
uint32_t filling_length(uint32_t ns, uint32_t number);
uint32_t filling_other_length(uint32_t ns, uint32_t number);
void filling_name(uint32_t number, uint8_t ret_name[NAME_BYTES]);
struct id128 filling_digest(const struct page_key *key);
uint64_t filling_ring_position(const struct page_key *key);
struct filling *filling_begin(struct life *life, const struct core_page *page,
                              const struct page_key *key);
struct filling *filling_find(const struct life *life, uint64_t generation);
/* Its bytes are those that another one had. */
void filling_copy(struct filling *filling, int life, uint64_t generation);
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

/* copies.c drain.c */
void copies_keep_read(const struct read *read);
/* False: there was no room, or the page is there. */
bool copies_keep(struct machine *machine, const struct original *original, enum core_claim claim);
/* @gone runs when everything was offered to others. */
void drain_begin(struct machine *machine, event_run *gone);

/* get.c set.c */
void get_begin(struct app *app);
void set_begin(struct app *app);
void set_completed(struct app *app, int error, const uint8_t *recorded, uint32_t n);

/* application.c */
void app_schedule(struct app *app, uint64_t delay_ns);
void app_end(struct app *app);
void call_is_held(struct app *app, uint64_t until_ns);
uint64_t call_allowed_ns(const struct app *app);
void app_completed(struct machine *machine, const struct core_completion *completion);
bool app_event_is_stale(const struct event *event, struct app **ret_app);

/* report.c */
void report_totals(uint64_t seeds, double took_s);

/* who.c */
void report_machines(void);

/* fault.c */
void fault_begin(void);
void fault_after_event(void);
uint64_t fault_stop(void);

/* promises.c */
void check_epoch_used(const struct app *app);
void check_cleared(const struct app *app);
void check_hit_is_new(const struct app *app, int source, const struct filling *filling);
void note_visible(const struct life *life, uint64_t generation);
void check_unknown_is_invisible(const struct app *app, uint32_t key);
/* The ring of all machines that are up, or 0 when they do not agree, or a shard is not complete. */
uint64_t check_common_ring(void);
bool check_is_live(const struct life *life, const struct filling *filling, uint64_t generation);

/* stopped.c */
void check_arrived(const struct app *app, uint32_t page);
void check_not_taken_away(const struct machine *machine, int life, uint8_t state);
void note_asked(struct app *app, int life);
void note_beside_stopped(const struct app *app);

/* honesty.c */
void honesty_exists(struct app *app, uint32_t key, bool is_there);
void honesty_get(struct app *app, uint32_t key, bool is_hit);
enum call_kind honesty_next(struct app *app, enum call_kind ended);

/* groups.c */
uint64_t group_of(const struct page_key *key);
void check_groups(struct machine *machine);

/* shards.c */
bool shard_place_is_live(const struct machine *owner, struct id128 digest,
                         const struct location *place, struct pool_page *ret_page);
void check_shard(const struct machine *owner);
void check_is_listed(const struct machine *holder, const struct pool_page *page);

/* quiet.c */
void quiet_ends(const char *by);
void quiet_message(const struct message *message);
/* A call to a discovery service may be one that is no change, whatever is said there. */
bool quiet_allows_scout(struct machine *machine);
void quiet_check(uint64_t healed_ns);

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
bool settle_has_discovery(void);

#endif
