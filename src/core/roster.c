/* SPDX-License-Identifier: Apache-2.0 */
/*
 * roster.c - the table of a discovery service.
 *
 * Records stand in a list by the version of their last change, the newest first, so an answer costs
 * what has changed and not what is there.  Who left or died stays in the table for
 * MEMBER_GONE_KEPT_NS: its readers must hear of it, and a heartbeat that was on its way cannot
 * bring back who left.  A reader that knows less than the table still remembers gets the whole
 * list.
 */
#include "core/roster.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/protection.h"
#include "core/member.h"
#include "core/twin.h"

enum { RECORDS_MAX = MEMBERS_MAX, NOBODY = 0xffff, LINK_UNKNOWN = 0xffffffff, SEED_TABLE = 12 };

struct record {
    struct record_member member; /* its host text lies in `host` */
    char host[ADDRESS_HOST_BYTES];
    uint8_t said; /* the member's own word, while member.state is the judgement */
    uint32_t link;
    uint64_t heard_ns, counter, version;
    uint16_t newer, older;
};

struct roster {
    struct core_config config;
    uint64_t number, version;
    uint64_t forgotten_version; /* readers that know no more than this get the whole list */
    uint64_t fed_since_ns, aged_ns;
    uint64_t age_at_ns; /* no record's time is up before */
    bool is_fed;
    uint16_t newest;
    uint32_t n;
    struct id128 ids[RECORDS_MAX]; /* apart, so that a search touches little memory; zero: unused */
    struct record records[RECORDS_MAX];
};

int roster_new(const struct core_config *config, struct roster **ret_roster)
{
    struct roster *roster = calloc(1, sizeof *roster);
    if (!roster)
        return -ENOMEM;
    roster->config = *config;
    roster->newest = NOBODY;
    *ret_roster = roster;
    return 0;
}

void roster_free(struct roster *roster)
{
    free(roster);
}

/* --- the list by version --- */

static void unlink_record(struct roster *roster, uint16_t at)
{
    struct record *record = &roster->records[at];
    if (record->newer != NOBODY)
        roster->records[record->newer].older = record->older;
    else
        roster->newest = record->older;
    if (record->older != NOBODY)
        roster->records[record->older].newer = record->newer;
}

static void link_newest(struct roster *roster, uint16_t at)
{
    struct record *record = &roster->records[at];
    record->version = ++roster->version;
    record->newer = NOBODY;
    record->older = roster->newest;
    if (roster->newest != NOBODY)
        roster->records[roster->newest].newer = at;
    roster->newest = at;
}

static void changed(struct roster *roster, struct record *record)
{
    uint16_t at = (uint16_t)(record - roster->records);
    unlink_record(roster, at);
    link_newest(roster, at);
}

/* --- records --- */

static bool is_gone(const struct record *record)
{
    return member_is_gone(record->member.state);
}

/* When the next thing happens to a record that nobody hears of. */
static uint64_t due_ns(const struct roster *roster, const struct record *record)
{
    if (is_gone(record))
        return record->heard_ns + MEMBER_GONE_KEPT_NS;
    if (!roster->is_fed)
        return UINT64_MAX;
    return record->heard_ns + (record->member.state == MEMBER_SUSPECT
                                   ? roster->config.ring_grace_ns
                                   : roster->config.member_ttl_ns);
}

static void expect(struct roster *roster, const struct record *record)
{
    uint64_t at_ns = due_ns(roster, record);
    if (at_ns < roster->age_at_ns)
        roster->age_at_ns = at_ns;
}

static struct record *find(struct roster *roster, struct id128 node_id)
{
    for (uint32_t i = 0; i < roster->n; i++)
        if (id128_equal(roster->ids[i], node_id))
            return &roster->records[i];
    return NULL;
}

static void forget(struct roster *roster, uint32_t at)
{
    if (roster->records[at].version > roster->forgotten_version)
        roster->forgotten_version = roster->records[at].version;
    unlink_record(roster, (uint16_t)at);
    roster->ids[at] = (struct id128){0};
}

/* In a full table the one that has been gone longest makes room: a restart of all nodes takes less
 * time than who is gone is remembered. */
static struct record *add(struct roster *roster, struct id128 node_id)
{
    uint32_t at = roster->n, oldest = RECORDS_MAX;
    for (uint32_t i = 0; i < roster->n && at == roster->n; i++) {
        const struct record *record = &roster->records[i];
        if (id128_is_zero(roster->ids[i]))
            at = i;
        else if (is_gone(record) &&
                 (oldest == RECORDS_MAX || record->heard_ns < roster->records[oldest].heard_ns))
            oldest = i;
    }
    if (at == RECORDS_MAX) {
        if (oldest == RECORDS_MAX)
            return NULL;
        forget(roster, oldest);
        at = oldest;
    } else if (at == roster->n) {
        roster->n++;
    }
    roster->ids[at] = node_id;
    link_newest(roster, (uint16_t)at);
    return &roster->records[at];
}

static void fill(struct record *record, const struct record_member *member)
{
    member_keep(member, &record->member, record->host);
    record->said = member->state;
    record->counter = 0;
    record->link = LINK_UNKNOWN;
}

static void judge(struct roster *roster, struct record *record, uint8_t state, uint64_t now_ns)
{
    if (record->member.state == state)
        return;
    record->member.state = state;
    if (is_gone(record))
        record->heard_ns = now_ns; /* from now on it is kept for MEMBER_GONE_KEPT_NS */
    expect(roster, record);
    changed(roster, record);
}

/* --- the own clock --- */

/* After a stop nobody was heard, which is no fault of theirs. */
static void notice_stop(struct roster *roster, uint64_t now_ns)
{
    bool was_stopped = now_ns - roster->aged_ns >= roster->config.member_ttl_ns / 2;
    roster->aged_ns = now_ns;
    if (!was_stopped || !PROTECTED(stopped_master_is_young))
        return;
    roster->fed_since_ns = now_ns;
    for (uint32_t i = 0; i < roster->n; i++)
        if (!is_gone(&roster->records[i]))
            roster->records[i].heard_ns = now_ns;
}

static void begin_table(struct roster *roster, uint64_t now_ns)
{
    uint64_t parts[4] = {roster->config.node_id.hi, roster->config.node_id.lo,
                         roster->config.incarnation, now_ns};
    roster->number = hash_bytes64(parts, sizeof parts, SEED_TABLE) | 1; /* 0 means: none known */
    roster->aged_ns = now_ns;
}

void roster_feed(struct roster *roster, uint64_t now_ns, bool is_fed)
{
    if (roster->number == 0)
        begin_table(roster, now_ns);
    if (is_fed && !roster->is_fed) {
        roster->fed_since_ns = now_ns;
        for (uint32_t i = 0; i < roster->n; i++)
            if (!is_gone(&roster->records[i]))
                roster->records[i].heard_ns = now_ns;
        roster->age_at_ns = now_ns;
    }
    roster->is_fed = is_fed;
}

void roster_reborn(struct roster *roster, struct id128 node_id, uint64_t incarnation)
{
    roster->config.node_id = node_id;
    roster->config.incarnation = incarnation;
    roster->number = roster->version = roster->forgotten_version = roster->age_at_ns = 0;
    roster->is_fed = false;
    roster->newest = NOBODY;
    roster->n = 0;
}

static void age(struct roster *roster, struct record *record, uint64_t now_ns)
{
    uint64_t silent_ns = now_ns - record->heard_ns;
    if (is_gone(record)) {
        if (silent_ns >= MEMBER_GONE_KEPT_NS)
            forget(roster, (uint32_t)(record - roster->records));
    } else if (!roster->is_fed) {
        return;
    } else if (silent_ns >= roster->config.ring_grace_ns) {
        judge(roster, record, MEMBER_DEAD, now_ns);
    } else if (silent_ns >= roster->config.member_ttl_ns) {
        judge(roster, record, MEMBER_SUSPECT, now_ns);
    }
}

void roster_age(struct roster *roster, uint64_t now_ns)
{
    notice_stop(roster, now_ns);
    if (now_ns < roster->age_at_ns)
        return;
    roster->age_at_ns = UINT64_MAX;
    for (uint32_t i = 0; i < roster->n; i++) {
        if (!id128_is_zero(roster->ids[i]))
            age(roster, &roster->records[i], now_ns);
        if (!id128_is_zero(roster->ids[i]))
            expect(roster, &roster->records[i]);
    }
}

uint64_t roster_age_at_ns(const struct roster *roster)
{
    return roster->age_at_ns;
}

uint64_t roster_version(const struct roster *roster)
{
    return roster->version;
}

/* The node's own record has a link too, which is none. */
static bool has_link(const struct roster *roster, uint32_t at)
{
    return !id128_is_zero(roster->ids[at]) && roster->records[at].link < CORE_LINKS_MAX;
}

bool roster_next_link(const struct roster *roster, uint32_t *cursor, uint32_t *ret_link)
{
    for (; *cursor < roster->n; ++*cursor) {
        const struct record *record = &roster->records[*cursor];
        if (!has_link(roster, *cursor))
            continue;
        *ret_link = record->link;
        ++*cursor;
        return true;
    }
    return false;
}

bool roster_is_fresh(const struct roster *roster, uint64_t now_ns)
{
    if (!PROTECTED(fresh_masters_only))
        return true;
    uint64_t since_ns = roster->fed_since_ns + roster->config.member_ttl_ns +
                        roster->config.heartbeat_interval_ns; /* other masters' words are as old */
    return roster->is_fed && now_ns >= since_ns &&
           now_ns - roster->aged_ns < roster->config.member_ttl_ns / 2;
}

bool roster_is_spoken_to(const struct roster *roster, uint64_t now_ns)
{
    for (uint32_t i = 0; i < roster->n; i++)
        if (has_link(roster, i) &&
            now_ns - roster->records[i].heard_ns < roster->config.member_ttl_ns)
            return true;
    return false;
}

/* --- what members say --- */

/* The other life is there: it speaks here or, where members do not speak, it is believed to be.  A
 * table that only repeats what is believed does not decide between two lives: their masters do. */
static bool is_taken(const struct roster *roster, const struct record *record,
                     const struct record_member *member, uint64_t now_ns)
{
    if (!roster->is_fed && record->link == LINK_UNKNOWN && member_is_there(record->member.state) &&
        member->incarnation != record->member.incarnation)
        return true;
    bool speaks =
        record->link != LINK_UNKNOWN && now_ns - record->heard_ns < roster->config.member_ttl_ns;
    return twin_keeps_out(&record->member, member) && (speaks || !roster->is_fed);
}

static bool is_older(const struct record_member *member, const struct record *record)
{
    if (member->incarnation != record->member.incarnation)
        return twin_is_old_news(&record->member, member);
    return record->said == MEMBER_LEFT || member->version < record->member.version;
}

/* 1: it was stored; 0: it is no news; -1: what is listed is newer, or there is no room. */
static int store(struct roster *roster, uint64_t now_ns, const struct record_member *member,
                 struct record **ret_record)
{
    struct record *record = find(roster, member->node_id);
    bool is_new = !record;
    if (record && is_older(member, record))
        return -1;
    if (!record)
        record = add(roster, member->node_id);
    if (!record)
        return -1; /* a full cluster: the joiner is not listed, and sees it */
    *ret_record = record;
    if (!is_new && record->member.incarnation == member->incarnation &&
        record->member.version == member->version)
        return 0;
    fill(record, member);
    record->heard_ns = now_ns;
    expect(roster, record);
    if (!is_new)
        changed(roster, record);
    return 1;
}

bool roster_join(struct roster *roster, uint64_t now_ns, uint32_t link,
                 const struct record_member *member)
{
    notice_stop(roster, now_ns);
    struct record *record = find(roster, member->node_id);
    if (!member_is_there(member->state) || id128_is_zero(member->node_id) ||
        (record && is_taken(roster, record, member, now_ns)))
        return false;
    if (store(roster, now_ns, member, &record) < 0)
        return false;
    record->heard_ns = now_ns;
    record->link = link;
    judge(roster, record, record->said, now_ns);
    return true;
}

bool roster_heartbeat(struct roster *roster, uint64_t now_ns, uint32_t link,
                      const struct message_heartbeat *heartbeat)
{
    notice_stop(roster, now_ns);
    struct record *record = find(roster, heartbeat->node_id);
    if (!record || record->member.incarnation != heartbeat->incarnation || is_gone(record))
        return false; /* it will join */
    if (heartbeat->counter <= record->counter)
        return true;
    record->counter = heartbeat->counter;
    record->heard_ns = now_ns;
    record->link = link;
    judge(roster, record, record->said, now_ns);
    return true;
}

static void mark_left(struct roster *roster, uint64_t now_ns, struct record *record)
{
    record->said = MEMBER_LEFT;
    judge(roster, record, MEMBER_LEFT, now_ns);
}

void roster_leave(struct roster *roster, uint64_t now_ns, struct id128 node_id,
                  uint64_t incarnation)
{
    struct record *record = find(roster, node_id);
    if (record && record->member.incarnation == incarnation)
        mark_left(roster, now_ns, record);
}

bool roster_link_down(struct roster *roster, uint64_t now_ns, uint32_t link,
                      struct id128 *ret_node_id)
{
    for (uint32_t i = 0; i < roster->n; i++) {
        struct record *record = &roster->records[i];
        if (id128_is_zero(roster->ids[i]) || record->link != link)
            continue;
        record->link = LINK_UNKNOWN;
        if (roster->is_fed || is_gone(record))
            continue;
        judge(roster, record, MEMBER_DEAD, now_ns);
        *ret_node_id = roster->ids[i];
        return true;
    }
    return false;
}

/* A new member counts as heard now: it has member_ttl to be heard here itself. */
void roster_hear(struct roster *roster, uint64_t now_ns, const struct record_member *member)
{
    struct record *record = find(roster, member->node_id);
    bool is_there = member_is_there(member->state);
    if (!record && !is_there)
        return;
    if (!is_there && record->member.incarnation != member->incarnation) {
        if (!roster->is_fed && record->link == LINK_UNKNOWN && !is_gone(record))
            judge(roster, record, MEMBER_DEAD, now_ns);
        return;
    }
    if (member->state == MEMBER_LEFT) {
        mark_left(roster, now_ns, record);
        return;
    }
    bool repeats = record && !roster->is_fed && record->link == LINK_UNKNOWN;
    if (is_there && record && !repeats && is_taken(roster, record, member, now_ns))
        return;
    if (is_there && store(roster, now_ns, member, &record) != 0)
        return;
    if (!roster->is_fed && record->member.incarnation == member->incarnation &&
        record->said != MEMBER_LEFT)
        judge(roster, record, member->state, now_ns);
}

/* --- answers --- */

/* What a reader of another table, or of one that has forgotten too much, gets: who is there. */
static void list_all(const struct roster *roster, struct update *update,
                     struct message_members *answer)
{
    struct record_member *members = update_allocate(update, roster->n * sizeof *members);
    for (uint16_t at = roster->newest; at != NOBODY; at = roster->records[at].older)
        if (!is_gone(&roster->records[at]))
            members[answer->n_members++] = roster->records[at].member;
    answer->members = members;
    answer->whole = 1;
}

static void list_since(const struct roster *roster, struct update *update, uint64_t known_version,
                       struct message_members *answer)
{
    uint32_t n = 0;
    uint16_t at;
    for (at = roster->newest; at != NOBODY && roster->records[at].version > known_version;
         at = roster->records[at].older)
        n++;
    struct record_member *members = update_allocate(update, n * sizeof *members);
    for (at = roster->newest; answer->n_members < n; at = roster->records[at].older)
        members[answer->n_members++] = roster->records[at].member;
    answer->members = members;
}

void roster_answer(const struct roster *roster, struct update *update, uint64_t table,
                   uint64_t known_version, struct message_members *ret_answer)
{
    *ret_answer = (struct message_members){
        .table = roster->number,
        .version = roster->version,
        .fresh = roster_is_fresh(roster, update_now_ns(update)),
    };
    bool knows = table == roster->number && known_version <= roster->version &&
                 known_version >= roster->forgotten_version;
    if (knows)
        list_since(roster, update, known_version, ret_answer);
    else
        list_all(roster, update, ret_answer);
}
