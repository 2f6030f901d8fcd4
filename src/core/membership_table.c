/* SPDX-License-Identifier: Apache-2.0 */
/*
 * membership_table.c - this node's own table as one master more, and what answers say of this node
 * itself, or make necessary to ask.
 */
#include "core/member.h"
#include "core/membership_internal.h"

/* --- answers --- */

static bool is_twin(const struct membership *m, const struct record_member *member)
{
    return id128_equal(member->node_id, m->config.node_id) &&
           (member->incarnation != m->config.incarnation || member->seat != m->config.seat);
}

void membership_meet_twins(struct membership *m, struct update *update,
                           const struct message_members *answer)
{
    for (uint32_t i = 0; i < answer->n_members; i++) {
        const struct record_member *member = &answer->members[i];
        if (!is_twin(m, member))
            continue;
        if (!member_is_gone(member->state))
            contacts_met_twin(&m->contacts, update, member);
        m->sink.report(m->sink.context, update, member);
    }
}

void membership_ask_unheard(struct membership *m)
{
    uint32_t unheard = beliefs_unheard(m->beliefs);
    for (uint32_t i = 0; i < CONTACTS_MAX; i++)
        if (unheard >> contacts_number(&m->contacts, &m->contacts.contacts[i]) & 1)
            m->contacts.contacts[i].must_hear_all = true;
    if (unheard >> OWN_TABLE & 1)
        m->own_known_version = 0;
}

/* --- the own table --- */

/* Only what it judges itself: a table that repeats what this node believes is no reason to
 * believe. */
static void take_own_table(struct membership *m, struct update *update)
{
    struct message_members answer;
    if (!m->contacts.is_master)
        return;
    roster_answer(m->roster, update, m->own_table, m->own_known_version, &answer);
    m->own_table = answer.table;
    m->own_known_version = answer.version;
    membership_meet_twins(m, update, &answer);
    if ((answer.whole || answer.n_members > 0) &&
        !beliefs_take(m->beliefs, update, OWN_TABLE, &answer))
        m->own_known_version = 0;
    membership_ask_unheard(m);
}

void membership_tick_table(struct membership *m, struct update *update)
{
    uint64_t now_ns = update_now_ns(update);
    struct record_member self = membership_own_record(m);
    roster_age(m->roster, now_ns);
    roster_join(m->roster, now_ns, LINK_SELF, &self);
    take_own_table(m, update);
    update_wake_at(update, roster_age_at_ns(m->roster));
    update_wake_at(
        update, now_ns + membership_patience_ns(m)); /* else it would seem to have been stopped */
}

void membership_starve_table(struct membership *m, struct update *update)
{
    uint32_t cursor = 0;
    roster_feed(m->roster, update_now_ns(update), false);
    for (const struct record_member *member; (member = beliefs_next(m->beliefs, &cursor));)
        roster_hear(m->roster, update_now_ns(update), member);
}
