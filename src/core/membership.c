/* SPDX-License-Identifier: Apache-2.0 */
/*
 * membership.c - join, heartbeat, answers, leave; and the steps in which beliefs follow from them.
 *
 * A tick goes one way: the own table grows older, what it says joins what the masters said, beliefs
 * are judged, the masters are chosen from them, and then is dialled and said what is due.  The own
 * table's part of it stands in membership_table.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/metric.h"
#include "core/member.h"
#include "core/membership_internal.h"
#include "core/service.h"

/* --- from beliefs to the core, and to the own table --- */

static bool believed(void *context, struct update *update, const struct record_member *member)
{
    struct membership *m = context;
    m->must_choose = true;
    if (m->serves)
        roster_hear(m->roster, update_now_ns(update), member);
    if (member_is_there(member->state))
        contacts_found(&m->contacts, member);
    else if (member->state == MEMBER_LEFT)
        contacts_left(&m->contacts, member->node_id);
    else
        contacts_lost(&m->contacts, member);
    return m->sink.report(m->sink.context, update, member);
}

int membership_new(const struct core_config *config, const struct membership_sink *sink,
                   struct membership **ret_membership)
{
    struct membership *m = calloc(1, sizeof *m);
    if (!m)
        return -ENOMEM;
    struct membership_sink own = {believed, m};
    m->config = *config;
    m->sink = *sink;
    m->state = MEMBER_ALIVE;
    m->version = 1;
    m->must_choose = true;
    contacts_init(&m->contacts, config);
    int error = beliefs_new(config, &own, &m->beliefs);
    if (!error)
        error = roster_new(config, &m->roster);
    if (error) {
        membership_free(m);
        return error;
    }
    *ret_membership = m;
    return 0;
}

void membership_free(struct membership *m)
{
    if (!m)
        return;
    roster_free(m->roster);
    beliefs_free(m->beliefs);
    free(m);
}

struct record_member membership_own_record(const struct membership *m)
{
    const struct core_config *config = &m->config;
    return (struct record_member){
        .node_id = config->node_id,
        .incarnation = config->incarnation,
        .version = m->version,
        .state = m->state,
        .boot_id = config->boot_id,
        .uid = config->uid,
        .host = {config->host, (uint32_t)strlen(config->host)},
        .control_port = config->control_port,
        .discovery_port = config->discovery_port,
        .pool_bytes = config->pool_bytes,
        .seat = config->seat,
    };
}

/* --- what this node says --- */

/* An answer that was on its way may come in between, and make nothing of this. */
static uint64_t known_version(struct contact *contact)
{
    uint64_t version = contact->must_hear_all ? 0 : contact->version;
    contact->must_hear_all = false;
    return version;
}

static void say_join(struct membership *m, struct update *update, struct contact *contact)
{
    struct message *message = update_send(update, contact->link, MESSAGE_join);
    struct record_member *member = update_allocate(update, sizeof *member);
    *member = membership_own_record(m);
    message->u.join = (struct message_join){.table = contact->table,
                                            .known_version = known_version(contact),
                                            .members = member,
                                            .n_members = 1};
    contact->said_join = true;
    contact->must_join = false;
}

static void say_heartbeat(struct membership *m, struct update *update, struct contact *contact)
{
    update_send(update, contact->link, MESSAGE_heartbeat)->u.heartbeat = (struct message_heartbeat){
        .node_id = m->config.node_id,
        .incarnation = m->config.incarnation,
        .counter = m->counter,
        .table = contact->table,
        .known_version = known_version(contact),
    };
    contact->said_join = false;
}

static void say(struct membership *m, struct update *update, struct contact *contact)
{
    if (contact->must_join)
        say_join(m, update, contact);
    else
        say_heartbeat(m, update, contact);
    if (contact->owes_since_ns == 0)
        contact->owes_since_ns = update_now_ns(update);
    metric_add(m->config.metrics, METRIC_heartbeats_sent, 1);
}

static void say_to_all(struct membership *m, struct update *update)
{
    uint64_t now_ns = update_now_ns(update);
    if (now_ns >= m->heartbeat_at_ns) {
        m->heartbeat_at_ns = now_ns + m->config.heartbeat_interval_ns;
        m->heartbeat_ns = now_ns;
        m->counter++;
        for (uint32_t i = 0; i < CONTACTS_MAX; i++)
            if (m->contacts.contacts[i].has_link)
                say(m, update, &m->contacts.contacts[i]);
    }
    update_wake_at(update, m->heartbeat_at_ns);
}

/* --- what masters answer --- */

/* Who is not listed joins: at once in answer to a heartbeat, and otherwise, since the master does
 * not want it now, at the pace of heartbeats. */
static void take_answer(struct membership *m, struct update *update, struct contact *contact,
                        const struct message_members *answer)
{
    bool is_sequel = answer->whole || answer->table == contact->table;
    contact->owes_since_ns = 0;
    contact->answered_ns = contact->good_ns = update_now_ns(update);
    contact->is_fresh = answer->fresh;
    contact->is_listed = answer->listed;
    contact->must_join |= !answer->listed;
    if (!answer->listed && !contact->said_join)
        say(m, update, contact);
    if (!is_sequel)
        return;
    membership_meet_twins(m, update, answer);
    bool all = beliefs_take(m->beliefs, update, contacts_number(&m->contacts, contact), answer);
    contact->table = answer->table;
    contact->version = answer->version;
    contact->must_hear_all |= !all;
    membership_ask_unheard(m);
    metric_add(m->config.metrics, METRIC_member_records_received, answer->n_members);
}

/* There is something new at a master: the next heartbeat, which asks for it, comes at once. */
static void hear_news(struct membership *m)
{
    if (m->heartbeat_at_ns > m->heartbeat_ns + NEWS_PAUSE_NS)
        m->heartbeat_at_ns = m->heartbeat_ns + NEWS_PAUSE_NS;
}

uint64_t membership_patience_ns(const struct membership *m)
{
    return m->config.member_ttl_ns / 4;
}

static bool answers(const struct membership *m, const struct contact *contact, uint64_t now_ns)
{
    return contact->has_link && contact->answered_ns > 0 &&
           now_ns - contact->answered_ns < m->config.member_ttl_ns &&
           (contact->owes_since_ns == 0 ||
            now_ns - contact->owes_since_ns < membership_patience_ns(m));
}

static bool any_answers(const struct membership *m, uint64_t now_ns)
{
    for (uint32_t i = 0; i < CONTACTS_MAX; i++)
        if (answers(m, &m->contacts.contacts[i], now_ns))
            return true;
    return false;
}

/* Another service answers, and yet nobody speaks here: this node is a master in no other eyes than
 * its own (it has not met the head, say), and the silence says nothing of others. */
static bool is_deserted(const struct membership *m, uint64_t now_ns)
{
    return m->serves && !roster_is_spoken_to(m->roster, now_ns) && any_answers(m, now_ns);
}

/* Whose word counts. */
static uint32_t fresh_masters(const struct membership *m, struct update *update)
{
    uint64_t now_ns = update_now_ns(update);
    uint32_t fresh = 0;
    for (uint32_t i = 0; i < CONTACTS_MAX; i++) {
        const struct contact *contact = &m->contacts.contacts[i];
        if (!answers(m, contact, now_ns))
            continue;
        if (contact->is_fresh)
            fresh |= 1u << contacts_number(&m->contacts, contact);
        if (contact->owes_since_ns)
            update_wake_at(update, contact->owes_since_ns + membership_patience_ns(m));
    }
    if (m->serves && roster_is_fresh(m->roster, now_ns) && !m->contacts.is_deserted)
        fresh |= 1u << OWN_TABLE;
    return fresh;
}

void membership_serve(struct membership *m, struct update *update)
{
    m->serves = m->contacts.serves = m->must_choose = true;
    membership_starve_table(m, update);
    membership_tick_table(m, update);
}

/* --- events --- */

void membership_link_up(struct membership *m, struct update *update, uint32_t link, uint32_t dial,
                        struct id128 node_id, uint64_t incarnation)
{
    m->must_choose = true;
    if (dial == 0)
        return; /* somebody else's to this node */
    struct contact *contact =
        contacts_link_up(&m->contacts, update, link, dial, node_id, incarnation);
    if (!contact)
        return;
    contact->must_join = true;
    contact->table = contact->version = contact->owes_since_ns = contact->answered_ns = 0;
    contact->is_listed = contact->must_hear_all = false;
    say(m, update, contact);
}

/* An unfed table says again what this node believes. */
static void speaker_hung_up(struct membership *m, struct update *update, uint32_t link)
{
    struct id128 node_id;
    while (roster_link_down(m->roster, update_now_ns(update), link, &node_id)) {
        const struct record_member *member = beliefs_find(m->beliefs, node_id);
        if (member)
            roster_hear(m->roster, update_now_ns(update), member);
    }
}

void membership_link_down(struct membership *m, struct update *update, uint32_t link)
{
    struct contact *contact = contacts_of_link(&m->contacts, link);
    if (contact) {
        contact->has_link = false;
        beliefs_forget_master(m->beliefs, update, contacts_number(&m->contacts, contact));
    } else if (m->serves) {
        speaker_hung_up(m, update, link);
    }
}

void membership_message(struct membership *m, struct update *update, uint32_t link,
                        const struct message *message)
{
    struct contact *contact = contacts_of_link(&m->contacts, link);
    if (contact && message->type == MESSAGE_members && news_is(&message->u.members))
        hear_news(m);
    else if (contact && message->type == MESSAGE_members)
        take_answer(m, update, contact, &message->u.members);
    else if (!contact && m->serves && !m->is_leaving)
        service_answer(m->roster, update, link, message);
}

static void choose_masters(struct membership *m, struct update *update)
{
    bool was_master = m->contacts.is_master;
    m->must_choose = false;
    contacts_choose(&m->contacts, update, m->beliefs);
    if (m->contacts.is_master == was_master)
        return;
    m->own_table = 0;
    if (was_master) {
        membership_starve_table(m, update);
        beliefs_forget_master(m->beliefs, update, OWN_TABLE);
    } else {
        roster_feed(m->roster, update_now_ns(update), true);
    }
}

static uint32_t count_masters(const struct membership *m)
{
    uint32_t n = m->contacts.is_master;
    for (uint32_t i = 0; i < CONTACTS_MAX; i++)
        n += m->contacts.contacts[i].is_master && m->contacts.contacts[i].has_link;
    return n;
}

void membership_tick(struct membership *m, struct update *update)
{
    if (m->is_leaving || (m->config.n_seeds == 0 && !m->serves))
        return;
    if (m->serves)
        membership_tick_table(m, update);
    m->must_choose |= contacts_review(&m->contacts, update, is_deserted(m, update_now_ns(update)));
    beliefs_judge(m->beliefs, update, fresh_masters(m, update));
    if (m->must_choose)
        choose_masters(m, update);
    contacts_dial(&m->contacts, update, m->beliefs);
    say_to_all(m, update);
    if (m->contacts.is_master)
        news_tell(&m->news, m->roster, update);
    metric_set(m->config.metrics, METRIC_masters, count_masters(m));
}

void membership_set_state(struct membership *m, struct update *update, uint8_t state)
{
    if (m->state == state)
        return;
    m->state = state;
    m->version++;
    m->heartbeat_at_ns = update_now_ns(update);
    for (uint32_t i = 0; i < CONTACTS_MAX; i++)
        m->contacts.contacts[i].must_join = true;
}

/* Who was silent while this node was stopped is not known: its table is that of a restarted
 * master. */
void membership_reborn(struct membership *m, struct update *update, struct id128 node_id,
                       uint64_t incarnation)
{
    m->config.node_id = node_id;
    m->config.incarnation = incarnation;
    m->must_choose = true;
    m->own_table = m->own_known_version = 0;
    beliefs_rename(m->beliefs, node_id);
    contacts_reborn(&m->contacts, update, node_id, incarnation);
    for (uint32_t master = 0; master < BELIEFS_MASTERS_MAX; master++)
        beliefs_forget_master(m->beliefs, update, master);
    roster_reborn(m->roster, node_id, incarnation);
    if (!m->serves)
        return;
    membership_serve(m, update);
    roster_feed(m->roster, update_now_ns(update), m->contacts.is_master);
}

void membership_leave(struct membership *m, struct update *update)
{
    m->is_leaving = true;
    for (uint32_t i = 0; i < CONTACTS_MAX; i++)
        if (m->contacts.contacts[i].has_link)
            update_send(update, m->contacts.contacts[i].link, MESSAGE_leave)->u.leave =
                (struct message_leave){m->config.node_id, m->config.incarnation};
}

void membership_peer_left(struct membership *m, struct update *update, struct id128 node_id,
                          uint64_t incarnation)
{
    beliefs_left(m->beliefs, update, node_id, incarnation);
    contacts_left(&m->contacts, node_id);
    m->must_choose = true;
    if (m->serves)
        roster_leave(m->roster, update_now_ns(update), node_id, incarnation);
}

/* --- questions --- */

bool membership_is_listed(const struct membership *m)
{
    bool is_listed = false;
    for (uint32_t i = 0; i < CONTACTS_MAX; i++)
        is_listed |= m->contacts.contacts[i].has_link && m->contacts.contacts[i].is_fresh &&
                     m->contacts.contacts[i].is_listed;
    return is_listed;
}

bool membership_serves(const struct membership *m)
{
    return m->serves;
}

bool membership_is_connected(const struct membership *m)
{
    const struct contacts *contacts = &m->contacts;
    bool is_seed = contacts->head_is_self;
    for (uint32_t i = 0; i < m->config.n_seeds; i++)
        is_seed |= core_service_equal(&m->config.seeds[i], &contacts->own);
    return (contacts->is_master && is_seed) || contacts_have_master(contacts);
}

uint32_t membership_masters(const struct membership *m, uint64_t now_ns,
                            struct core_master ret_masters[CORE_MASTERS_MAX])
{
    const struct contacts *contacts = &m->contacts;
    uint32_t n = 0;
    if (contacts->is_master)
        ret_masters[n++] = (struct core_master){
            .at = contacts->own,
            .is_self = true,
            .is_head = contacts->head_is_self,
            .is_connected = true,
            .answers = true,
            .is_fresh = roster_is_fresh(m->roster, now_ns),
        };
    for (uint32_t i = 0; i < CONTACTS_MAX && n < CORE_MASTERS_MAX; i++) {
        const struct contact *contact = &contacts->contacts[i];
        if (!contact->used || !contact->is_master ||
            id128_equal(contact->node_id, m->config.node_id))
            continue;
        ret_masters[n++] = (struct core_master){
            .at = contact->at,
            .is_head = m->config.has_head && core_service_equal(&contact->at, &m->config.seeds[0]),
            .is_connected = contact->has_link,
            .answers = answers(m, contact, now_ns),
            .is_fresh = contact->is_fresh,
        };
    }
    return n;
}
