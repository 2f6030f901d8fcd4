/* SPDX-License-Identifier: Apache-2.0 */
/*
 * beliefs.c - a table of members with the last word of each master about each of them.
 *
 * An entry speaks of one life of a node: words about an older one are void, a newer one begins the
 * entry anew.  Entries of who is gone stay until MEMBER_GONE_KEPT_NS have passed, so that a master
 * that has not heard of it does not bring it back.
 */
#include "core/beliefs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/protection.h"
#include "core/member.h"
#include "core/twin.h"

/* Members, and as many again that are gone and not yet forgotten. */
enum { ENTRIES_MAX = 2 * MEMBERS_MAX, UNSAID = 0 };

struct entry {
    struct record_member member; /* its state is what is believed; 0: nothing yet */
    char host[ADDRESS_HOST_BYTES];
    bool is_told;              /* the sink knows it */
    uint64_t unknown_since_ns; /* no fresh master knows it; 0: one does */
    uint64_t gone_ns;
    uint8_t words[BELIEFS_MASTERS_MAX];
};

struct beliefs {
    struct core_config config;
    struct membership_sink sink;
    uint32_t fresh, n;
    uint32_t unheard; /* masters whose word gave way to another's about a copy */
    bool has_news, must_judge_all, has_untold;
    uint64_t judge_at_ns; /* an entry's time is up then; UINT64_MAX: none waits */
    /* Apart, so that a search touches little memory. */
    struct id128 ids[ENTRIES_MAX]; /* zero: unused */
    bool is_news[ENTRIES_MAX];     /* to be judged */
    struct entry entries[ENTRIES_MAX];
};

int beliefs_new(const struct core_config *config, const struct membership_sink *sink,
                struct beliefs **ret_beliefs)
{
    struct beliefs *beliefs = calloc(1, sizeof *beliefs);
    if (!beliefs)
        return -ENOMEM;
    beliefs->config = *config;
    beliefs->sink = *sink;
    beliefs->judge_at_ns = UINT64_MAX;
    *ret_beliefs = beliefs;
    return 0;
}

void beliefs_free(struct beliefs *beliefs)
{
    free(beliefs);
}

/* --- entries --- */

static bool is_gone(const struct entry *entry)
{
    return member_is_gone(entry->member.state);
}

static struct entry *find(struct beliefs *beliefs, struct id128 node_id)
{
    for (uint32_t i = 0; i < beliefs->n; i++)
        if (id128_equal(beliefs->ids[i], node_id))
            return &beliefs->entries[i];
    return NULL;
}

/* In a full table who has been gone longest is forgotten. */
static struct entry *add(struct beliefs *beliefs, struct id128 node_id)
{
    uint32_t at = beliefs->n;
    for (uint32_t i = 0; i < beliefs->n; i++) {
        const struct entry *entry = &beliefs->entries[i];
        if (id128_is_zero(beliefs->ids[i])) {
            at = i;
            break;
        }
        if (beliefs->n == ENTRIES_MAX && is_gone(entry) &&
            (at == beliefs->n || entry->gone_ns < beliefs->entries[at].gone_ns))
            at = i;
    }
    if (at == ENTRIES_MAX)
        return NULL;
    if (at == beliefs->n)
        beliefs->n++;
    beliefs->ids[at] = node_id;
    beliefs->entries[at] = (struct entry){0};
    return &beliefs->entries[at];
}

/* The state stays what is believed. */
static void fill(struct entry *entry, const struct record_member *member)
{
    uint8_t state = entry->member.state;
    member_keep(member, &entry->member, entry->host);
    entry->member.state = state;
}

/* --- what is believed --- */

struct words {
    uint32_t fresh, fresh_there, fresh_dead; /* of fresh masters: that know it; alive; dead */
    bool any_there, has_left;
    uint8_t there; /* alive or draining */
};

static struct words gather(const struct beliefs *beliefs, const struct entry *entry)
{
    struct words words = {.there = MEMBER_ALIVE};
    for (uint32_t i = 0; i < BELIEFS_MASTERS_MAX; i++) {
        uint8_t word = entry->words[i];
        bool is_fresh = word != UNSAID && (beliefs->fresh >> i & 1);
        words.has_left |= word == MEMBER_LEFT;
        words.any_there |= member_is_there(word);
        words.fresh += is_fresh;
        words.fresh_there += is_fresh && member_is_there(word);
        words.fresh_dead += is_fresh && word == MEMBER_DEAD;
        if (word == MEMBER_DRAINING)
            words.there = MEMBER_DRAINING;
    }
    return words;
}

/* Nobody who should know it does: the own clock runs. */
static uint8_t judge_unknown(struct beliefs *beliefs, struct entry *entry, uint64_t now_ns)
{
    uint8_t believed = entry->member.state;
    if (entry->unknown_since_ns == 0)
        entry->unknown_since_ns = now_ns;
    uint64_t suspect_ns = entry->unknown_since_ns + beliefs->config.member_ttl_ns;
    uint64_t dead_ns = entry->unknown_since_ns + beliefs->config.ring_grace_ns;
    uint64_t next_ns = now_ns < suspect_ns ? suspect_ns : dead_ns;
    if (now_ns >= dead_ns)
        return MEMBER_DEAD;
    if (next_ns < beliefs->judge_at_ns)
        beliefs->judge_at_ns = next_ns;
    return now_ns >= suspect_ns ? MEMBER_SUSPECT : believed;
}

/* Where no fresh master knows it any word brings it, also back: else two nodes that differ about
 * who is a master could wait for each other's for ever. */
static uint8_t judge(struct beliefs *beliefs, struct entry *entry, uint64_t now_ns)
{
    struct words words = gather(beliefs, entry);
    uint8_t believed = entry->member.state;
    if (words.has_left || believed == MEMBER_LEFT)
        return MEMBER_LEFT;
    if (words.fresh > 0 || beliefs->fresh == 0 || words.any_there)
        entry->unknown_since_ns = 0;
    bool is_doubted = !PROTECTED(masters_agree) && words.fresh_there < words.fresh;
    bool may_come =
        words.fresh == 0 && words.any_there && (believed != MEMBER_DEAD || beliefs->fresh == 0);
    if ((words.fresh_there > 0 && !is_doubted) || may_come)
        return words.there;
    if (words.fresh > 0)
        return words.fresh_dead == words.fresh ? MEMBER_DEAD : MEMBER_SUSPECT;
    bool is_nothing_told = believed == 0 && !entry->is_told; /* nor of a former life */
    if (beliefs->fresh == 0 || words.any_there || believed == MEMBER_DEAD || is_nothing_told)
        return believed;
    return judge_unknown(beliefs, entry, now_ns);
}

/* A master that says it is there does not say it twice, and was not believed for one that had
 * left. */
static void forget(struct beliefs *beliefs, uint32_t at)
{
    for (uint32_t i = 0; i < BELIEFS_MASTERS_MAX; i++)
        if (member_is_there(beliefs->entries[at].words[i]))
            beliefs->unheard |= 1u << i;
    beliefs->ids[at] = (struct id128){0};
    beliefs->is_news[at] = false;
}

/* Who was never told of is not reported gone. */
static void tell(struct beliefs *beliefs, struct update *update, struct entry *entry)
{
    const struct membership_sink *sink = &beliefs->sink;
    bool is_there_now = !is_gone(entry);
    if (is_there_now || entry->is_told) {
        bool had_room = sink->report(sink->context, update, &entry->member);
        entry->is_told = is_there_now && had_room;
    }
    if (is_there_now && !entry->is_told) {
        entry->member.state = 0;
        beliefs->has_untold = true;
    }
    if (!is_there_now)
        entry->gone_ns = update_now_ns(update);
}

static void judge_at(struct beliefs *beliefs, struct update *update, uint32_t at)
{
    struct entry *entry = &beliefs->entries[at];
    uint64_t now_ns = update_now_ns(update);
    uint8_t state = judge(beliefs, entry, now_ns);
    beliefs->is_news[at] = false;
    if (state != entry->member.state) {
        entry->member.state = state;
        tell(beliefs, update, entry);
    }
    if (!is_gone(entry))
        return;
    if (now_ns >= entry->gone_ns + MEMBER_GONE_KEPT_NS)
        forget(beliefs, at);
    else if (entry->gone_ns + MEMBER_GONE_KEPT_NS < beliefs->judge_at_ns)
        beliefs->judge_at_ns = entry->gone_ns + MEMBER_GONE_KEPT_NS;
}

void beliefs_judge(struct beliefs *beliefs, struct update *update, uint32_t fresh)
{
    bool all = beliefs->must_judge_all || fresh != beliefs->fresh ||
               update_now_ns(update) >= beliefs->judge_at_ns;
    beliefs->fresh = fresh;
    if (all)
        beliefs->judge_at_ns = UINT64_MAX;
    for (uint32_t i = 0; (all || beliefs->has_news) && i < beliefs->n; i++)
        if (!id128_is_zero(beliefs->ids[i]) && (all || beliefs->is_news[i]))
            judge_at(beliefs, update, i);
    beliefs->has_news = beliefs->must_judge_all = false;
    update_wake_at(update, beliefs->judge_at_ns);
}

/* --- what is said --- */

static void void_words(struct beliefs *beliefs, uint32_t master)
{
    for (uint32_t i = 0; i < beliefs->n; i++)
        beliefs->entries[i].words[master] = UNSAID;
    beliefs->must_judge_all = true;
}

void beliefs_forget_master(struct beliefs *beliefs, struct update *update, uint32_t master)
{
    void_words(beliefs, master);
    update_wake_at(update, update_now_ns(update));
}

void beliefs_rename(struct beliefs *beliefs, struct id128 node_id)
{
    beliefs->config.node_id = node_id;
}

/* Another life takes the entry.  What masters said of the former one is void; where that is no
 * older life but a copy, they may be right all the same, and do not say it twice. */
static void begin_anew(struct beliefs *beliefs, struct entry *entry,
                       const struct record_member *member)
{
    bool is_told = entry->is_told;
    for (uint32_t i = 0; i < BELIEFS_MASTERS_MAX; i++)
        if (entry->words[i] != UNSAID && entry->member.seat != member->seat)
            beliefs->unheard |= 1u << i;
    *entry = (struct entry){.is_told = is_told};
}

/* NULL: not worth an entry, or no room for one. */
static struct entry *entry_of(struct beliefs *beliefs, const struct record_member *member)
{
    struct entry *entry = find(beliefs, member->node_id);
    if (!entry && !member_is_gone(member->state))
        entry = add(beliefs, member->node_id);
    if (!entry)
        return NULL;
    bool is_first = entry->member.incarnation == 0;
    bool is_same = member->incarnation == entry->member.incarnation;
    if (!is_first && !is_same && twin_is_old_news(&entry->member, member))
        return NULL;
    if (!is_same)
        begin_anew(beliefs, entry, member);
    if (entry->member.incarnation == 0 || member->version >= entry->member.version)
        fill(entry, member);
    return entry;
}

/* False: somebody who is there was not taken, because of another life or for lack of room. */
static bool take_word(struct beliefs *beliefs, uint32_t master, const struct record_member *member)
{
    if (id128_equal(member->node_id, beliefs->config.node_id) || id128_is_zero(member->node_id) ||
        member->state < MEMBER_ALIVE || member->state > MEMBER_DEAD)
        return true;
    struct entry *entry = entry_of(beliefs, member);
    bool is_taken = entry != NULL;
    if (!is_taken)
        entry = find(beliefs, member->node_id);
    if (entry) {
        entry->words[master] = is_taken ? member->state : UNSAID; /* it lists one life of a node */
        beliefs->is_news[entry - beliefs->entries] = beliefs->has_news = true;
    }
    return is_taken || !member_is_there(member->state);
}

bool beliefs_take(struct beliefs *beliefs, struct update *update, uint32_t master,
                  const struct message_members *answer)
{
    bool all = true;
    (void)update;
    if (answer->whole)
        void_words(beliefs, master);
    beliefs->must_judge_all |= beliefs->has_untold;
    beliefs->has_untold = false;
    for (uint32_t i = 0; i < answer->n_members; i++)
        all &= take_word(beliefs, master, &answer->members[i]);
    return all;
}

uint32_t beliefs_unheard(struct beliefs *beliefs)
{
    uint32_t unheard = beliefs->unheard;
    beliefs->unheard = 0;
    return unheard;
}

void beliefs_left(struct beliefs *beliefs, struct update *update, struct id128 node_id,
                  uint64_t incarnation)
{
    struct entry *entry = find(beliefs, node_id);
    if (!entry && (entry = add(beliefs, node_id)))
        entry->member = (struct record_member){.node_id = node_id, .incarnation = incarnation};
    if (!entry || entry->member.incarnation != incarnation)
        return;
    entry->member.state = MEMBER_LEFT;
    entry->gone_ns = update_now_ns(update);
    entry->is_told = false; /* whoever says so here knows it */
}

/* --- questions --- */

static bool is_believed(const struct entry *entry)
{
    return entry->member.state != 0 && !is_gone(entry);
}

const struct record_member *beliefs_next(const struct beliefs *beliefs, uint32_t *cursor)
{
    while (*cursor < beliefs->n) {
        const struct entry *entry = &beliefs->entries[(*cursor)++];
        if (!id128_is_zero(beliefs->ids[entry - beliefs->entries]) && is_believed(entry))
            return &entry->member;
    }
    return NULL;
}

const struct record_member *beliefs_find(const struct beliefs *beliefs, struct id128 node_id)
{
    const struct entry *entry = find((struct beliefs *)beliefs, node_id);
    return entry && is_believed(entry) ? &entry->member : NULL;
}
