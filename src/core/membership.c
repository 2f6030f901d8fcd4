/* SPDX-License-Identifier: Apache-2.0 */
/*
 * membership.c - join, heartbeat, member list, leave; and the table of the head.
 *
 * A record of the head is alive, suspect, or left.  Left ones stay for LEFT_KEPT_NS so that a
 * heartbeat that was still on its way cannot bring its sender back.
 */
#include "core/membership.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { RECORDS_MAX = MEMBERS_MAX, GOODBYES_MAX = 64 };
#define LEFT_KEPT_NS UINT64_C(60000000000)
#define REDIAL_NS UINT64_C(500000000)

struct record {
    bool used;
    struct record_member member; /* its host text lies in `host` */
    char host[64];
    uint8_t word; /* what the member said last: alive or draining */
    uint64_t heard_ns;
};

/* One life of a node that said goodbye to this one. */
struct goodbye {
    struct id128 node_id;
    uint64_t incarnation;
};

struct membership {
    struct core_config config;
    struct membership_sink sink;
    /* as a node */
    uint32_t link; /* to the head; UINT32_MAX: none */
    bool has_link, is_leaving;
    uint8_t state; /* of the own record */
    uint64_t own_version;
    uint64_t dial_at_ns, heartbeat_at_ns, counter, known_version;
    uint32_t n_goodbyes;
    struct goodbye goodbyes[GOODBYES_MAX]; /* the last ones, by n_goodbyes modulo their number */
    /* as the head */
    bool is_head;
    uint64_t head_since_ns, version;
    uint32_t n_records;
    struct record records[RECORDS_MAX];
};

int membership_new(const struct core_config *config, const struct membership_sink *sink,
                   struct membership **ret_membership)
{
    struct membership *m = calloc(1, sizeof *m);
    if (!m)
        return -ENOMEM;
    m->config = *config;
    m->sink = *sink;
    m->state = MEMBER_ALIVE;
    m->own_version = 1;
    *ret_membership = m;
    return 0;
}

void membership_free(struct membership *m)
{
    free(m);
}

static struct record_member own_record(const struct membership *m)
{
    const struct core_config *config = &m->config;
    return (struct record_member){
        .node_id = config->node_id,
        .incarnation = config->incarnation,
        .version = m->own_version,
        .state = m->state,
        .boot_id = config->boot_id,
        .uid = config->uid,
        .host = {config->host, (uint32_t)strlen(config->host)},
        .control_port = config->control_port,
        .pool_bytes = config->pool_bytes,
    };
}

/* --- the head's table --- */

static struct record *find_record(struct membership *m, struct id128 node_id)
{
    for (uint32_t i = 0; i < m->n_records; i++)
        if (m->records[i].used && id128_equal(m->records[i].member.node_id, node_id))
            return &m->records[i];
    return NULL;
}

/* In a full table the one that left longest ago makes room: a restart of all nodes takes less time
 * than who has left is remembered. */
static struct record *new_record(struct membership *m)
{
    struct record *oldest = NULL;
    for (uint32_t i = 0; i < m->n_records; i++) {
        struct record *record = &m->records[i];
        if (!record->used)
            return record;
        if (record->member.state == MEMBER_LEFT && (!oldest || record->heard_ns < oldest->heard_ns))
            oldest = record;
    }
    return m->n_records < RECORDS_MAX ? &m->records[m->n_records++] : oldest;
}

static void store_record(struct membership *m, struct update *update,
                         const struct record_member *member)
{
    struct record *record = find_record(m, member->node_id);
    if (record && member->incarnation < record->member.incarnation)
        return;
    if (record && member->incarnation == record->member.incarnation &&
        record->member.state == MEMBER_LEFT)
        return; /* who has left stays left */
    if (!record)
        record = new_record(m);
    if (!record)
        return; /* a full cluster: the joiner is not listed, and sees it */
    uint8_t word = member->state == MEMBER_DRAINING ? MEMBER_DRAINING : MEMBER_ALIVE;
    bool is_news = !record->used || record->member.incarnation != member->incarnation ||
                   record->member.state != word;
    *record = (struct record){.used = true, .member = *member, .heard_ns = update_now_ns(update)};
    record->member.state = record->word = word;
    memcpy(record->host, member->host.bytes, member->host.len);
    record->member.host.bytes = record->host;
    if (is_news)
        m->version++;
}

static void refresh_record(struct membership *m, struct update *update,
                           const struct message_heartbeat *heartbeat)
{
    struct record *record = find_record(m, heartbeat->node_id);
    if (!record || record->member.incarnation != heartbeat->incarnation ||
        record->member.state == MEMBER_LEFT)
        return; /* it will see that it is not listed, and join */
    record->heard_ns = update_now_ns(update);
    if (record->member.state == MEMBER_SUSPECT) {
        record->member.state = record->word;
        m->version++;
    }
}

static void mark_left(struct membership *m, struct update *update, struct id128 node_id,
                      uint64_t incarnation)
{
    struct record *record = find_record(m, node_id);
    if (!record || record->member.incarnation != incarnation || record->member.state == MEMBER_LEFT)
        return;
    record->member.state = MEMBER_LEFT;
    record->heard_ns = update_now_ns(update);
    m->version++;
}

static bool head_is_fresh(const struct membership *m, uint64_t now_ns)
{
    return now_ns >= m->head_since_ns + m->config.member_ttl_ns;
}

static void age_record(struct membership *m, struct record *record, uint64_t now_ns)
{
    uint64_t silent_ns = now_ns - record->heard_ns;
    if (record->member.state == MEMBER_LEFT) {
        record->used = silent_ns < LEFT_KEPT_NS;
    } else if (silent_ns >= m->config.ring_grace_ns) {
        record->used = false;
        m->version++;
    } else if (record->member.state != MEMBER_SUSPECT && silent_ns >= m->config.member_ttl_ns) {
        record->member.state = MEMBER_SUSPECT;
        m->version++;
    }
}

static uint32_t list_members(const struct membership *m, struct record_member *ret_members)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < m->n_records; i++)
        if (m->records[i].used && m->records[i].member.state != MEMBER_LEFT)
            ret_members[n++] = m->records[i].member;
    return n;
}

static void answer(struct membership *m, struct update *update, uint32_t link,
                   uint64_t known_version)
{
    struct message *message = update_send(update, link, MESSAGE_members);
    message->u.members.members_version = m->version;
    if (known_version == m->version)
        return;
    struct record_member *members = update_allocate(update, m->n_records * sizeof *members);
    message->u.members.n_members = list_members(m, members);
    message->u.members.members = members;
    message->u.members.whole = head_is_fresh(m, update_now_ns(update));
}

/* The version of a young head is never the last word: its readers ask again until it is fresh. */
static void head_message(struct membership *m, struct update *update, uint32_t link,
                         const struct message *message)
{
    uint64_t known = 0;
    if (message->type == MESSAGE_join && message->u.join.n_members == 1) {
        store_record(m, update, &message->u.join.members[0]);
    } else if (message->type == MESSAGE_heartbeat) {
        refresh_record(m, update, &message->u.heartbeat);
        known = message->u.heartbeat.members_version;
    } else if (message->type == MESSAGE_leave) {
        mark_left(m, update, message->u.leave.node_id, message->u.leave.incarnation);
        return;
    } else {
        return;
    }
    answer(m, update, link, known);
}

/* --- the node's side --- */

static bool said_goodbye(const struct membership *m, const struct record_member *member)
{
    for (uint32_t i = 0; i < GOODBYES_MAX && i < m->n_goodbyes; i++)
        if (id128_equal(m->goodbyes[i].node_id, member->node_id) &&
            m->goodbyes[i].incarnation == member->incarnation)
            return true;
    return false;
}

static void take_list(struct membership *m, struct update *update,
                      const struct message_members *message)
{
    bool lists_me = false, all_taken = true;
    if (message->whole)
        m->sink.missing(m->sink.context, update, message->members, message->n_members);
    for (uint32_t i = 0; i < message->n_members; i++) {
        lists_me |= id128_equal(message->members[i].node_id, m->config.node_id) &&
                    message->members[i].incarnation == m->config.incarnation;
        if (!said_goodbye(m, &message->members[i]))
            all_taken &= m->sink.report(m->sink.context, update, &message->members[i]);
    }
    m->known_version = message->whole && all_taken ? message->members_version : 0;
    if (!lists_me && !m->is_head && m->counter > 1) /* in answer to a heartbeat: join now */
        m->heartbeat_at_ns = update_now_ns(update);
    if (!lists_me)
        m->counter = 0;
}

static void take_own_list(struct membership *m, struct update *update)
{
    if (m->known_version == m->version)
        return;
    struct record_member *members = update_allocate(update, (m->n_records + 1) * sizeof *members);
    struct message_members list = {.members_version = m->version, .members = members};
    list.n_members = list_members(m, members);
    list.whole = head_is_fresh(m, update_now_ns(update));
    take_list(m, update, &list);
}

static void say_join(struct membership *m, struct update *update)
{
    struct message *message = update_send(update, m->link, MESSAGE_join);
    struct record_member *member = update_allocate(update, sizeof *member);
    *member = own_record(m);
    message->u.join = (struct message_join){.members = member, .n_members = 1};
}

static void say_heartbeat(struct membership *m, struct update *update)
{
    if (m->counter++ == 0) {
        say_join(m, update);
        return;
    }
    struct message *message = update_send(update, m->link, MESSAGE_heartbeat);
    message->u.heartbeat = (struct message_heartbeat){
        .node_id = m->config.node_id,
        .incarnation = m->config.incarnation,
        .counter = m->counter,
        .members_version = m->known_version,
    };
}

static void dial_head(struct membership *m, struct update *update)
{
    if (update_now_ns(update) < m->dial_at_ns)
        return;
    m->dial_at_ns = update_now_ns(update) + REDIAL_NS;
    update_dial(update, &(struct core_dial){.purpose = PURPOSE_DISCOVERY,
                                            .host = m->config.discovery_host,
                                            .port = m->config.discovery_port});
}

void membership_set_head(struct membership *m, struct update *update, bool is_head)
{
    m->is_head = is_head;
    if (!is_head)
        return;
    m->n_records = 0;
    m->version = update_now_ns(update) | 1; /* differs from that of any head before */
    m->head_since_ns = update_now_ns(update);
    struct record_member self = own_record(m);
    store_record(m, update, &self);
    m->known_version = 0;
    take_own_list(m, update);
}

void membership_link_up(struct membership *m, struct update *update, uint32_t link)
{
    if (m->has_link) {
        update_hangup(update, link); /* two calls to the head were under way */
        return;
    }
    m->link = link;
    m->has_link = true;
    m->counter = 0;
    m->known_version = 0;
    say_heartbeat(m, update);
    m->heartbeat_at_ns = update_now_ns(update) + m->config.heartbeat_interval_ns;
}

void membership_link_down(struct membership *m, uint32_t link)
{
    if (m->has_link && m->link == link)
        m->has_link = false;
}

void membership_message(struct membership *m, struct update *update, uint32_t link,
                        const struct message *message)
{
    if (message->type == MESSAGE_members) {
        if (m->has_link && link == m->link && !m->is_head &&
            message->u.members.members_version != m->known_version)
            take_list(m, update, &message->u.members);
    } else if (m->is_head) {
        head_message(m, update, link, message);
        take_own_list(m, update);
    }
}

static void tick_head(struct membership *m, struct update *update)
{
    uint64_t now_ns = update_now_ns(update);
    struct record *self = find_record(m, m->config.node_id);
    if (self)
        self->heard_ns = now_ns;
    for (uint32_t i = 0; i < m->n_records; i++)
        if (m->records[i].used)
            age_record(m, &m->records[i], now_ns);
    take_own_list(m, update);
}

void membership_tick(struct membership *m, struct update *update)
{
    uint64_t now_ns = update_now_ns(update);
    if (m->is_leaving || (m->config.discovery_host[0] == 0 && !m->is_head))
        return;
    if (m->is_head) {
        tick_head(m, update);
        update_wake_at(update, now_ns + m->config.heartbeat_interval_ns);
    } else if (!m->has_link) {
        dial_head(m, update);
        update_wake_at(update, m->dial_at_ns);
    } else {
        if (now_ns >= m->heartbeat_at_ns) {
            say_heartbeat(m, update);
            m->heartbeat_at_ns = now_ns + m->config.heartbeat_interval_ns;
        }
        update_wake_at(update, m->heartbeat_at_ns);
    }
}

/* It joins anew, with the newer version of its record. */
void membership_set_state(struct membership *m, struct update *update, uint8_t state)
{
    m->state = state;
    m->own_version++;
    m->counter = 0;
    m->heartbeat_at_ns = update_now_ns(update);
    if (!m->is_head)
        return;
    struct record_member self = own_record(m);
    store_record(m, update, &self);
}

void membership_leave(struct membership *m, struct update *update)
{
    m->is_leaving = true;
    if (!m->has_link)
        return;
    struct message *message = update_send(update, m->link, MESSAGE_leave);
    message->u.leave = (struct message_leave){m->config.node_id, m->config.incarnation};
}

void membership_peer_left(struct membership *m, struct update *update, struct id128 node_id,
                          uint64_t incarnation)
{
    m->goodbyes[m->n_goodbyes++ % GOODBYES_MAX] = (struct goodbye){node_id, incarnation};
    if (m->is_head)
        mark_left(m, update, node_id, incarnation);
}

bool membership_is_head(const struct membership *m)
{
    return m->is_head;
}

bool membership_is_connected(const struct membership *m)
{
    return m->is_head || m->has_link;
}
