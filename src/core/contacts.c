/* SPDX-License-Identifier: Apache-2.0 */
/* contacts.c - masters are held, others are scouted. */
#include "core/contacts.h"

#include <string.h>

#define REDIAL_NS UINT64_C(500000000)
/* A scout that is not connected by then makes room for the next. */
#define SCOUT_PATIENCE_NS UINT64_C(1000000000)
/* Between scouts of a node that has masters: about what a partition may last longer by. */
#define SCOUT_PAUSE_NS UINT64_C(5000000000)

static struct core_service service_of(const struct record_member *member)
{
    struct core_service service = {.port = member->discovery_port};
    memcpy(service.host, member->host.bytes, member->host.len);
    return service;
}

/* Who answers there is not known, and need not be the member that gives that address for its
 * own. */
static void add_candidates(struct contacts *contacts, const struct core_service *services,
                           uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        contacts->candidates[contacts->n_candidates++] =
            (struct candidate){.at = services[i], .is_lost = true, .is_just_lost = true};
}

void contacts_init(struct contacts *contacts, const struct core_config *config)
{
    *contacts = (struct contacts){.config = *config};
    memcpy(contacts->own.host, config->host, sizeof contacts->own.host);
    contacts->own.port = config->discovery_port;
    add_candidates(contacts, config->seeds, config->n_seeds);
    for (uint32_t i = 0; i < config->n_seeds; i++)
        contacts->candidates[i].spreads = config->seed_spreads[i];
    add_candidates(contacts, config->remembered, config->n_remembered);
}

/* --- contacts --- */

static struct contact *find(const struct contacts *contacts, const struct core_service *service)
{
    for (uint32_t i = 0; i < CONTACTS_MAX; i++)
        if (contacts->contacts[i].used && core_service_equal(&contacts->contacts[i].at, service))
            return (struct contact *)&contacts->contacts[i];
    return NULL;
}

/* NULL: the masters have all places, and scouts those that are theirs. */
static struct contact *add(struct contacts *contacts, struct update *update,
                           const struct core_service *service)
{
    for (uint32_t i = 0; i < CONTACTS_MAX; i++) {
        struct contact *contact = &contacts->contacts[i];
        if (contact->used)
            continue;
        *contact = (struct contact){.used = true,
                                    .at = *service,
                                    .dial = ++contacts->dials,
                                    .since_ns = update_now_ns(update),
                                    .good_ns = update_now_ns(update),
                                    .dial_at_ns = update_now_ns(update)};
        return contact;
    }
    return NULL;
}

uint32_t contacts_number(const struct contacts *contacts, const struct contact *contact)
{
    return (uint32_t)(contact - contacts->contacts) + 1;
}

static void drop(struct contacts *contacts, struct update *update, struct beliefs *beliefs,
                 struct contact *contact)
{
    if (contact->has_link) {
        update_hangup(update, contact->link);
        beliefs_forget_master(beliefs, update, contacts_number(contacts, contact));
    }
    *contact = (struct contact){0};
}

void contacts_reborn(struct contacts *contacts, struct update *update, struct id128 node_id,
                     uint64_t incarnation)
{
    contacts->config.node_id = node_id;
    contacts->config.incarnation = incarnation;
    for (uint32_t i = 0; i < CONTACTS_MAX; i++) {
        contacts->contacts[i].has_link = false;
        contacts->contacts[i].dial_at_ns = update_now_ns(update);
    }
}

struct contact *contacts_of_link(struct contacts *contacts, uint32_t link)
{
    for (uint32_t i = 0; i < CONTACTS_MAX; i++)
        if (contacts->contacts[i].has_link && contacts->contacts[i].link == link)
            return &contacts->contacts[i];
    return NULL;
}

bool contacts_have_master(const struct contacts *contacts)
{
    for (uint32_t i = 0; i < CONTACTS_MAX; i++) {
        const struct contact *contact = &contacts->contacts[i];
        if (contact->has_link && contact->is_master && contact->answered_ns > 0)
            return true;
    }
    return false;
}

static bool has_link(const struct contacts *contacts)
{
    for (uint32_t i = 0; i < CONTACTS_MAX; i++)
        if (contacts->contacts[i].has_link)
            return true;
    return false;
}

/* Another life with this node's id (twin.h) is not this node: it goes without an id here. */
struct contact *contacts_link_up(struct contacts *contacts, struct update *update, uint32_t link,
                                 uint32_t dial, struct id128 node_id, uint64_t incarnation)
{
    struct contact *contact = NULL;
    if (incarnation != contacts->config.incarnation &&
        id128_equal(node_id, contacts->config.node_id))
        node_id = (struct id128){0};
    for (uint32_t i = 0; i < CONTACTS_MAX; i++)
        if (contacts->contacts[i].used && contacts->contacts[i].dial == dial)
            contact = &contacts->contacts[i];
    for (uint32_t i = 0; contact && i < contacts->n_candidates; i++)
        if (core_service_equal(&contacts->candidates[i].at, &contact->at)) {
            contacts->candidates[i].node_id = node_id;
            contacts->candidates[i].incarnation = incarnation;
            contacts->candidates[i].is_lost = contacts->candidates[i].is_just_lost = false;
        }
    if (contact) {
        contact->node_id = node_id;
        contact->incarnation = incarnation;
    }
    if (!contact || contact->has_link || id128_equal(node_id, contacts->config.node_id)) {
        update_hangup(update, link);
        return NULL;
    }
    contact->has_link = true;
    contact->link = link;
    return contact;
}

/* --- who is a master --- */

static const struct core_service *head_of(const struct contacts *contacts)
{
    return contacts->config.has_head ? &contacts->config.seeds[0] : NULL;
}

static bool is_self(const struct contacts *contacts, const struct core_service *service)
{
    return contacts->serves && core_service_equal(service, &contacts->own);
}

/* The name under which the head stands in the member list, if that is another than the seed's. */
static struct core_service head_alias(struct contacts *contacts, const struct beliefs *beliefs)
{
    const struct core_service *head = head_of(contacts);
    const struct contact *contact = head ? find(contacts, head) : NULL;
    contacts->head_is_self = head && is_self(contacts, head);
    if (!contact || id128_is_zero(contact->node_id))
        return (struct core_service){0};
    if (id128_equal(contact->node_id, contacts->config.node_id)) {
        contacts->head_is_self = contacts->serves;
        return contacts->own;
    }
    const struct record_member *member = beliefs_find(beliefs, contact->node_id);
    bool is_same = member && member->incarnation == contact->incarnation; /* it has not moved */
    return is_same ? service_of(member) : (struct core_service){0};
}

/* Where nobody was ever met it is likely that nobody is there, and the next in the order may be
 * dead as well. */
static uint64_t patience_ns(const struct contacts *contacts, const struct contact *contact)
{
    uint64_t ttl_ns = contacts->config.member_ttl_ns;
    return id128_is_zero(contact->node_id) ? ttl_ns / 2 : ttl_ns;
}

bool contacts_review(struct contacts *contacts, struct update *update, bool is_deserted)
{
    bool is_news = is_deserted != contacts->is_deserted;
    contacts->is_deserted = is_deserted;
    for (uint32_t i = 0; i < CONTACTS_MAX; i++) {
        struct contact *contact = &contacts->contacts[i];
        uint64_t fails_ns = contact->good_ns + patience_ns(contacts, contact);
        bool is_failing =
            (contact->is_master || contact->is_failing) && update_now_ns(update) >= fails_ns;
        is_news |= is_failing != contact->is_failing;
        contact->is_failing = is_failing;
        if (contact->is_master && !is_failing)
            update_wake_at(update, fails_ns);
    }
    return is_news;
}

static bool fails(const struct contacts *contacts, const struct core_service *service)
{
    const struct contact *contact = find(contacts, service);
    return contact && contact->is_failing;
}

/* The others do not know of a service to which nobody speaks: whom they have instead is found
 * without it, and told of this node. */
static bool offers_own(const struct contacts *contacts)
{
    return contacts->own.port != 0 && !contacts->is_deserted &&
           (contacts->serves || !fails(contacts, &contacts->own));
}

static void choose(struct contacts *contacts, const struct beliefs *beliefs,
                   struct masters *ret_masters)
{
    struct core_service alias = head_alias(contacts, beliefs);
    uint32_t cursor = 0;
    const struct core_service *head = head_of(contacts);
    bool head_fails = head && fails(contacts, head);
    masters_begin(ret_masters, contacts->config.max_masters + head_fails, head);
    if (offers_own(contacts) && !core_service_equal(&alias, &contacts->own))
        masters_offer(ret_masters, &contacts->own);
    for (const struct record_member *member; (member = beliefs_next(beliefs, &cursor));) {
        struct core_service service = service_of(member);
        if (service.port != 0 && member->state != MEMBER_SUSPECT &&
            !core_service_equal(&service, &alias) && !fails(contacts, &service))
            masters_offer(ret_masters, &service);
    }
}

static void hold(struct contacts *contacts, struct update *update,
                 const struct core_service *service)
{
    struct contact *contact = find(contacts, service);
    if (!contact)
        contact = add(contacts, update, service);
    if (contact)
        contact->is_master = true;
}

/* Whether a member answers for this service, or might. */
static bool is_members(const struct contacts *contacts, const struct beliefs *beliefs,
                       const struct core_service *service)
{
    uint32_t cursor = 0;
    if (core_service_equal(service, &contacts->own))
        return true;
    for (const struct record_member *member; (member = beliefs_next(beliefs, &cursor));) {
        struct core_service theirs = service_of(member);
        if (core_service_equal(&theirs, service))
            return true;
    }
    return false;
}

/* Who is no master any more: connected, it is kept until there is another (is_tired()); failing, as
 * long as it is a member, so that it is called and not chosen again. */
static void let_go(struct contacts *contacts, struct update *update, struct beliefs *beliefs,
                   struct contact *contact, const struct masters *masters)
{
    if (!contact->used)
        return;
    bool was_held = contact->is_master || contact->is_failing;
    contact->is_master = masters_have(masters, &contact->at);
    bool is_wanted = contact->is_master || contact->has_link ||
                     (contact->is_failing && is_members(contacts, beliefs, &contact->at));
    if ((was_held && !is_wanted) || is_self(contacts, &contact->at))
        drop(contacts, update, beliefs, contact);
}

void contacts_choose(struct contacts *contacts, struct update *update, struct beliefs *beliefs)
{
    struct masters masters;
    choose(contacts, beliefs, &masters);
    contacts->is_master =
        contacts->serves && (contacts->head_is_self || masters_have(&masters, &contacts->own));
    for (uint32_t i = 0; i < CONTACTS_MAX; i++)
        let_go(contacts, update, beliefs, &contacts->contacts[i], &masters);
    for (uint32_t i = 0; i < masters.n; i++)
        if (!is_self(contacts, &masters.services[i]))
            hold(contacts, update, &masters.services[i]);
}

/* --- dialling --- */

/* Calls to a hung process pile up there until it goes on, so one that has long been silent is
 * called at the pace of heartbeats. */
static uint64_t redial_pause_ns(const struct contacts *contacts, const struct contact *contact)
{
    uint64_t interval_ns = contacts->config.heartbeat_interval_ns;
    if (!contact->is_master && !contact->is_failing)
        return SCOUT_PATIENCE_NS;
    return contact->is_failing && interval_ns > REDIAL_NS ? interval_ns : REDIAL_NS;
}

static void dial(const struct contacts *contacts, struct update *update, struct contact *contact)
{
    uint64_t now_ns = update_now_ns(update);
    if (now_ns >= contact->dial_at_ns) {
        contact->dial_at_ns = now_ns + redial_pause_ns(contacts, contact);
        update_dial(update, &(struct core_dial){.purpose = PURPOSE_DISCOVERY,
                                                .host = contact->at.host,
                                                .port = contact->at.port,
                                                .number = contact->dial});
    }
    update_wake_at(update, contact->dial_at_ns);
}

/* Only where nobody is known to be.  Where one was lost another node of its host may be a member,
 * and yet who answers there may not.  Behind a name with several hosts there may always be
 * another. */
static bool is_worth_a_try(struct contacts *contacts, const struct beliefs *beliefs,
                           const struct candidate *candidate)
{
    if (is_self(contacts, &candidate->at) || find(contacts, &candidate->at))
        return false;
    if (candidate->spreads)
        return true;
    const struct record_member *member = beliefs_find(beliefs, candidate->node_id);
    bool has_not_moved = member && member->incarnation == candidate->incarnation;
    if (id128_equal(candidate->node_id, contacts->config.node_id) ||
        (has_not_moved && member->state != MEMBER_SUSPECT))
        return false;
    return candidate->is_lost || !is_members(contacts, beliefs, &candidate->at);
}

/* The next one in turn; of those that have just been lost, where there are any. */
static struct candidate *next_candidate(struct contacts *contacts, const struct beliefs *beliefs,
                                        bool just_lost)
{
    for (uint32_t i = 0; i < contacts->n_candidates; i++) {
        uint32_t at = contacts->next_candidate++ % contacts->n_candidates;
        struct candidate *candidate = &contacts->candidates[at];
        if (candidate->is_just_lost >= just_lost && is_worth_a_try(contacts, beliefs, candidate))
            return candidate;
    }
    return NULL;
}

static bool send_scout(struct contacts *contacts, struct update *update,
                       const struct beliefs *beliefs)
{
    struct candidate *candidate = next_candidate(contacts, beliefs, true);
    if (!candidate)
        candidate = next_candidate(contacts, beliefs, false);
    if (!candidate)
        return false;
    candidate->is_just_lost = false;
    return add(contacts, update, &candidate->at) != NULL;
}

/* Without any connection all are tried, as many at a time as there is room for.  Masters go on
 * slowly when they have each other, but for who has just been lost; ordinary nodes learn from
 * them. */
static void scout(struct contacts *contacts, struct update *update, const struct beliefs *beliefs)
{
    uint64_t now_ns = update_now_ns(update);
    bool is_alone = !has_link(contacts);
    if (!is_alone && !contacts->is_master)
        return;
    bool is_urgent = is_alone || next_candidate(contacts, beliefs, true);
    if (is_urgent && contacts->scout_at_ns > now_ns + REDIAL_NS)
        contacts->scout_at_ns = now_ns + REDIAL_NS;
    if (now_ns >= contacts->scout_at_ns) {
        contacts->scout_at_ns = now_ns + (is_urgent ? REDIAL_NS : SCOUT_PAUSE_NS);
        for (uint32_t i = 0; i < (is_alone ? SCOUTS_MAX : 1u); i++)
            if (!send_scout(contacts, update, beliefs))
                break;
    }
    update_wake_at(update, contacts->scout_at_ns);
}

/* Of those that do not fail.  Who is no master any more is heard until then: what it says may be
 * why another one is, and without its word that one would not be. */
static bool all_masters_answer(const struct contacts *contacts)
{
    for (uint32_t i = 0; i < CONTACTS_MAX; i++) {
        const struct contact *contact = &contacts->contacts[i];
        if (contact->is_master && !contact->is_failing &&
            (!contact->has_link || contact->answered_ns == 0))
            return false;
    }
    return true;
}

static bool is_tired(const struct contacts *contacts, const struct contact *contact,
                     uint64_t now_ns)
{
    if (!contact->used || contact->is_master || contact->is_failing)
        return false;
    if (!contact->has_link)
        return now_ns >= contact->since_ns + SCOUT_PATIENCE_NS;
    return contact->answered_ns > 0 && contacts_have_master(contacts) &&
           all_masters_answer(contacts);
}

void contacts_dial(struct contacts *contacts, struct update *update, struct beliefs *beliefs)
{
    for (uint32_t i = 0; i < CONTACTS_MAX; i++)
        if (is_tired(contacts, &contacts->contacts[i], update_now_ns(update)))
            drop(contacts, update, beliefs, &contacts->contacts[i]);
    scout(contacts, update, beliefs);
    for (uint32_t i = 0; i < CONTACTS_MAX; i++) {
        struct contact *contact = &contacts->contacts[i];
        bool is_other = !id128_equal(contact->node_id, contacts->config.node_id);
        if (contact->used && !contact->has_link && is_other)
            dial(contacts, update, contact);
    }
}

void contacts_met_twin(struct contacts *contacts, struct update *update,
                       const struct record_member *member)
{
    struct core_service service = service_of(member);
    if (service.port != 0 && !is_self(contacts, &service) && !find(contacts, &service))
        (void)add(contacts, update, &service);
}

static struct candidate *candidate_at(struct contacts *contacts, const struct core_service *service)
{
    uint32_t first = contacts->config.n_seeds + contacts->config.n_remembered;
    for (uint32_t i = 0; i < contacts->n_candidates; i++)
        if (core_service_equal(&contacts->candidates[i].at, service))
            return &contacts->candidates[i];
    uint32_t at = first + contacts->n_lost++ % LOST_MAX;
    contacts->candidates[at] = (struct candidate){.at = *service};
    if (at >= contacts->n_candidates)
        contacts->n_candidates = at + 1;
    return &contacts->candidates[at];
}

void contacts_lost(struct contacts *contacts, const struct record_member *member)
{
    struct core_service service = service_of(member);
    if (service.port == 0)
        return;
    struct candidate *candidate = candidate_at(contacts, &service);
    candidate->node_id = member->node_id;
    candidate->incarnation = member->incarnation;
    candidate->is_lost = candidate->is_just_lost = true;
}

void contacts_found(struct contacts *contacts, const struct record_member *member)
{
    struct core_service service = service_of(member);
    for (uint32_t i = 0; i < contacts->n_candidates; i++) {
        struct candidate *candidate = &contacts->candidates[i];
        if (!core_service_equal(&candidate->at, &service))
            continue;
        candidate->is_lost &= !id128_equal(candidate->node_id, member->node_id);
        candidate->is_just_lost = candidate->is_lost;
    }
}

void contacts_left(struct contacts *contacts, struct id128 node_id)
{
    for (uint32_t i = 0; i < contacts->n_candidates; i++)
        if (id128_equal(contacts->candidates[i].node_id, node_id))
            contacts->candidates[i].is_lost = contacts->candidates[i].is_just_lost = true;
}
