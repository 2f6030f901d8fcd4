/* SPDX-License-Identifier: Apache-2.0 */
/*
 * roster.h - the table of a discovery service: who is there, as this master judges it.
 *
 * Each change gets the next version of the table, so a reader that names the version it knows is
 * told what came after.  Versions mean something in one table only, which has a number: a service
 * that begins anew has another.
 *
 * A record is its member's own word (alive, draining, left; the higher incarnation, then the higher
 * version wins).  A table that is *fed*, because its host is a master, judges by its own clock and
 * never by hearsay who is silent: for member_ttl suspect, for ring_grace dead.  One that has not
 * been fed for member_ttl and a heartbeat yet, or was stopped for a while, is not fresh, and its
 * readers take nobody away on its word.  A table that is not fed repeats what its node believes.
 */
#ifndef CORE_ROSTER_H
#define CORE_ROSTER_H

#include "core/core.h"
#include "core/update.h"

struct roster;

int roster_new(const struct core_config *config, struct roster **ret_roster);
void roster_free(struct roster *roster);

/* The node goes on as another life, and its table begins anew. */
void roster_reborn(struct roster *roster, struct id128 node_id, uint64_t incarnation);
/* From now on heartbeats come here, or no longer. */
void roster_feed(struct roster *roster, uint64_t now_ns, bool is_fed);

/* What a member says itself, on a link: whether it is listed.  A join is refused (the member sees
 * who is listed in its place) while another life keeps it out (twin.h). */
bool roster_join(struct roster *roster, uint64_t now_ns, uint32_t link,
                 const struct record_member *member);
bool roster_heartbeat(struct roster *roster, uint64_t now_ns, uint32_t link,
                      const struct message_heartbeat *heartbeat);
void roster_leave(struct roster *roster, uint64_t now_ns, struct id128 node_id,
                  uint64_t incarnation);
/* Where members are not heard for long, nobody is there because it spoke once.  True: a member that
 * spoke on this link now counts as dead here, unless it is heard of (roster_hear()); and there may
 * be another one. */
bool roster_link_down(struct roster *roster, uint64_t now_ns, uint32_t link,
                      struct id128 *ret_node_id);
/* What other masters say of a member, as this node believes it. */
void roster_hear(struct roster *roster, uint64_t now_ns, const struct record_member *member);
/* Time passed; and when it matters next, if nobody is heard until then. */
void roster_age(struct roster *roster, uint64_t now_ns);
uint64_t roster_age_at_ns(const struct roster *roster);

/* Of the last change. */
uint64_t roster_version(const struct roster *roster);
/* The link of one more member that speaks here; false: there is none behind *@cursor, at first
 * 0. */
bool roster_next_link(const struct roster *roster, uint32_t *cursor, uint32_t *ret_link);
bool roster_is_fresh(const struct roster *roster, uint64_t now_ns);
/* Another member speaks here, and has done so within member_ttl. */
bool roster_is_spoken_to(const struct roster *roster, uint64_t now_ns);
/* The answer to a reader that knows this version of that table; lists last until the next step. */
void roster_answer(const struct roster *roster, struct update *update, uint64_t table,
                   uint64_t known_version, struct message_members *ret_answer);

#endif
