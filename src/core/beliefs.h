/* SPDX-License-Identifier: Apache-2.0 */
/*
 * beliefs.h - what this node believes of the other members, from what its masters say.
 *
 * Each master has a number here, chosen by membership.c.  A member is alive when any fresh master
 * that answers says so; suspect or dead when all of them that know it agree.  One that no fresh
 * master knows is suspect after member_ttl and dead after ring_grace by the own clock.  While no
 * master is fresh, members come and nobody goes.  Who has left stays gone for that life.
 */
#ifndef CORE_BELIEFS_H
#define CORE_BELIEFS_H

#include "core/core.h"
#include "core/masters.h"
#include "core/update.h"

struct beliefs;

enum { BELIEFS_MASTERS_MAX = 32 };

/* Where changes go.  A member that is gone is reported as MEMBER_LEFT or MEMBER_DEAD.  Returns
 * false when there was no room for the member: it is told again. */
struct membership_sink {
    bool (*report)(void *context, struct update *update, const struct record_member *member);
    void *context;
};

int beliefs_new(const struct core_config *config, const struct membership_sink *sink,
                struct beliefs **ret_beliefs);
void beliefs_free(struct beliefs *beliefs);

/* A master's answer.  False: it must be given again as a whole, for not all of it could be
 * taken. */
bool beliefs_take(struct beliefs *beliefs, struct update *update, uint32_t master,
                  const struct message_members *answer);
/* Which masters, as bits, must be asked for the whole again, because another spoke of a copy
 * (twin.h) of a member that they had told of; asked once, they are forgotten here. */
uint32_t beliefs_unheard(struct beliefs *beliefs);
/* What this master said is void. */
void beliefs_forget_master(struct beliefs *beliefs, struct update *update, uint32_t master);
/* This node goes by another id. */
void beliefs_rename(struct beliefs *beliefs, struct id128 node_id);
/* The masters, as bits, that are fresh and answer; and time passed. */
void beliefs_judge(struct beliefs *beliefs, struct update *update, uint32_t fresh);
/* A member said goodbye to this node itself: no list that is still on its way brings it back. */
void beliefs_left(struct beliefs *beliefs, struct update *update, struct id128 node_id,
                  uint64_t incarnation);

/* Goes through the members that are believed to be there (alive, draining, suspect): @cursor starts
 * at 0; NULL at the end.  Valid until the next call of another function. */
const struct record_member *beliefs_next(const struct beliefs *beliefs, uint32_t *cursor);
/* NULL: not believed to be there. */
const struct record_member *beliefs_find(const struct beliefs *beliefs, struct id128 node_id);

#endif
