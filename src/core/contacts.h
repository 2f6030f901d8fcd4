/* SPDX-License-Identifier: Apache-2.0 */
/*
 * contacts.h - the discovery services to which this node holds a connection, and whom it tries.
 *
 * Contacts are the masters (masters.h), dialled until they are there.  One other than the head that
 * does not answer for member_ttl is passed over by this node, which goes on calling it: if it is
 * dead, so do all, and the next one becomes a master who can say that it is.  For a head that does
 * not answer there is one master more.  And there are scouts: services that are tried because no
 * master is connected, or, slowly and by masters only, because a part of the cluster may live on
 * there of which nobody here knows any more.  Scouted are the seeds, the members of a former life,
 * and members that died; not those that are members.
 *
 * One service may have two names (a seed by its host name, a member's record by its address): who
 * answered tells, so it is no master twice.
 */
#ifndef CORE_CONTACTS_H
#define CORE_CONTACTS_H

#include "core/beliefs.h"
#include "core/core.h"
#include "core/masters.h"
#include "core/update.h"

enum {
    SCOUTS_MAX = 8,  /* at a time */
    FAILING_MAX = 7, /* former masters; more are forgotten, and tried again */
    CONTACTS_MAX = CORE_MASTERS_MAX + SCOUTS_MAX + FAILING_MAX,
    LOST_MAX = 64, /* members that died and are scouted; the oldest makes room */
    CANDIDATES_MAX = 2 * CORE_SEEDS_MAX + LOST_MAX,
};

struct contact {
    bool used, is_master, has_link;
    bool is_failing; /* it has not answered for member_ttl */
    struct core_service at;
    struct id128 node_id; /* who answered there last, and which life of it; zero: nobody has */
    uint64_t incarnation;
    uint32_t link, dial; /* its connection; the number of its dials */
    uint64_t since_ns, dial_at_ns;
    /* membership.c: what was said there */
    uint64_t table, version;   /* of that table this node knows */
    bool must_hear_all;        /* and yet asks next for all of it */
    uint64_t owes_since_ns;    /* the first question without an answer; 0: none */
    uint64_t answered_ns;      /* 0: never on this connection */
    uint64_t good_ns;          /* when it last answered at all; at first: when it was chosen */
    bool is_fresh, is_listed;  /* the table, and this node in it, by its last answer */
    bool said_join, must_join; /* the last word was a join; the next one is */
};

struct candidate {
    struct core_service at;
    struct id128 node_id; /* who was met there, or is said to be; zero: nobody */
    uint64_t incarnation; /* and which life of it */
    bool spreads;         /* a name with several hosts behind it */
    bool is_lost;         /* it died, left or is silent, and nobody was met there since, or ever */
    bool is_just_lost;    /* nor was it tried */
};

struct contacts {
    struct core_config config;
    struct core_service own; /* of this host */
    bool serves, is_master;  /* this node at `own` */
    bool head_is_self;       /* the head is this node under another name */
    bool is_deserted;        /* nobody speaks to this node's service, though another one answers */
    uint32_t dials;
    uint64_t scout_at_ns;
    uint32_t n_candidates, next_candidate, n_lost;
    struct candidate candidates[CANDIDATES_MAX];
    struct contact contacts[CONTACTS_MAX];
};

void contacts_init(struct contacts *contacts, const struct core_config *config);
/* Notices who has failed, or answers again, or whether this node's own service @is_deserted: then
 * masters must be chosen anew. */
bool contacts_review(struct contacts *contacts, struct update *update, bool is_deserted);
/* The member list has changed: who are the masters now.  Gives up connections that nobody needs. */
void contacts_choose(struct contacts *contacts, struct update *update, struct beliefs *beliefs);
/* Dials what is due. */
void contacts_dial(struct contacts *contacts, struct update *update, struct beliefs *beliefs);
/* A connection from dial number @dial is up: the contact, or NULL, and then it is hung up. */
struct contact *contacts_link_up(struct contacts *contacts, struct update *update, uint32_t link,
                                 uint32_t dial, struct id128 node_id, uint64_t incarnation);
/* Its number among the masters of beliefs.h; 0 is this node's own table. */
uint32_t contacts_number(const struct contacts *contacts, const struct contact *contact);
struct contact *contacts_of_link(struct contacts *contacts, uint32_t link);
/* This node goes on as another life: all connections are given up, and made again at once. */
void contacts_reborn(struct contacts *contacts, struct update *update, struct id128 node_id,
                     uint64_t incarnation);
/* A member died or is silent: a part of the cluster may live on there. */
void contacts_lost(struct contacts *contacts, const struct record_member *member);
/* A member is there: it may be who answers where another one was lost. */
void contacts_found(struct contacts *contacts, const struct record_member *member);
/* A member left: somebody else may answer where it was met, or its next life. */
void contacts_left(struct contacts *contacts, struct id128 node_id);
/* Another life with this node's id (twin.h) is there.  Its service is no member's here, and may yet
 * be the master of all the others: it is called once. */
void contacts_met_twin(struct contacts *contacts, struct update *update,
                       const struct record_member *member);
/* A master other than this node is connected and has answered. */
bool contacts_have_master(const struct contacts *contacts);

#endif
