/* SPDX-License-Identifier: Apache-2.0 */
/*
 * membership_internal.h - what membership.c (the talk with masters) and membership_table.c (the own
 * table, and what answers say of this node itself) share.
 */
#ifndef CORE_MEMBERSHIP_INTERNAL_H
#define CORE_MEMBERSHIP_INTERNAL_H

#include "core/contacts.h"
#include "core/membership.h"
#include "core/news.h"
#include "core/roster.h"

enum { OWN_TABLE = 0, LINK_SELF = 0xfffffffe };
_Static_assert((int)CONTACTS_MAX < (int)BELIEFS_MASTERS_MAX,
               "each contact and the own table have a number");

struct membership {
    struct core_config config;
    struct membership_sink sink;
    struct beliefs *beliefs;
    struct roster *roster;
    bool serves, is_leaving, must_choose;
    uint8_t state; /* of the own record, and its version */
    uint64_t version;
    uint64_t heartbeat_at_ns, heartbeat_ns, counter; /* the next, the last, their number */
    struct news news;                                /* of the own table */
    uint64_t own_table, own_known_version;           /* of the own table, in the beliefs already */
    struct contacts contacts;
};

/* membership.c: what this node says of itself. */
struct record_member membership_own_record(const struct membership *m);
/* How long a master may take for an answer: what a hung one said counts no longer well before those
 * that it says are alive could be suspect. */
uint64_t membership_patience_ns(const struct membership *m);

/* membership_table.c: whoever else goes by this node's id is no matter of belief. */
void membership_meet_twins(struct membership *m, struct update *update,
                           const struct message_members *answer);
/* Masters whose word gave way to another's are asked for all of their table. */
void membership_ask_unheard(struct membership *m);
/* The own table grows older, and what it says joins what the masters said. */
void membership_tick_table(struct membership *m, struct update *update);
/* From now on the own table repeats what this node believes. */
void membership_starve_table(struct membership *m, struct update *update);

#endif
