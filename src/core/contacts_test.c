/* SPDX-License-Identifier: Apache-2.0 */
/* contacts_test.c - how long a master is waited for, and whom a master scouts. */
#include "core/contacts.h"

#include "core/core_test_harness.h"

enum { MASTER = 0, LINK = 3 };

struct fixture {
    struct core_config config;
    struct update *update;
    struct beliefs *beliefs;
    struct contacts contacts;
    uint64_t now_ns;
};

static bool on_report(void *context, struct update *update, const struct record_member *member)
{
    (void)context, (void)update, (void)member;
    return true;
}

/* This node is the head; a second seed is known. */
static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct membership_sink sink = {on_report, f};
    f->config = world_config(0);
    f->config.seeds[1] = (struct core_service){"10.0.0.1", 1999};
    f->config.n_seeds = 2;
    f->update = update_new();
    f->now_ns = 5000000 * WORLD_MS;
    assert_int_equal(beliefs_new(&f->config, &sink, &f->beliefs), 0);
    contacts_init(&f->contacts, &f->config);
    update_begin(f->update, f->now_ns);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    beliefs_free(f->beliefs);
    update_free(f->update);
    free(f);
    return 0;
}

/* Whom it calls in this time, one dial a letter: the last of the host's text. */
static const char *dials(struct fixture *f, uint64_t ms)
{
    static char hosts[256];
    uint32_t n = 0;
    for (uint64_t i = 0; i < ms / 100; i++) {
        struct core_update update;
        f->now_ns += 100 * WORLD_MS;
        update_begin(f->update, f->now_ns);
        contacts_dial(&f->contacts, f->update, f->beliefs);
        update_end(f->update, &update);
        for (size_t j = 0; j < update.n_dials; j++)
            hosts[n++] = update.dials[j].host[strlen(update.dials[j].host) - 1];
        assert_true(n < sizeof hosts - 8);
    }
    hosts[n] = 0;
    return hosts;
}

static struct record_member member_at(uint32_t id, const char *host, uint8_t state)
{
    struct record_member member = world_member(id, 1);
    member.host = (struct wire_text){host, (uint32_t)strlen(host)};
    member.state = state;
    return member;
}

static void believe(struct fixture *f, const struct record_member *member)
{
    struct message_members answer = {.members = member, .n_members = 1};
    beliefs_take(f->beliefs, f->update, MASTER, &answer);
    beliefs_judge(f->beliefs, f->update, 1u << MASTER);
    if (member->state == MEMBER_SUSPECT || member->state == MEMBER_DEAD)
        contacts_lost(&f->contacts, member);
}

static void be_master(struct fixture *f)
{
    f->contacts.serves = true;
    contacts_choose(&f->contacts, f->update, f->beliefs);
    assert_true(f->contacts.is_master);
    dials(f, 1000);
    contacts_link_up(&f->contacts, f->update, LINK + 1, f->contacts.contacts[0].dial, world_id(9),
                     1);
    assert_string_equal(dials(f, 20000), ""); /* it is not alone, and knows of nobody else */
}

static bool is_failing_after(struct fixture *f, uint64_t ms)
{
    update_begin(f->update, f->now_ns + ms * WORLD_MS);
    contacts_review(&f->contacts, f->update, false);
    return f->contacts.contacts[0].is_failing;
}

/* With the masters of half the cluster dead, each that is waited for in vain delays the rest. */
static void master_that_was_never_met_is_waited_for_half_as_long(void **state)
{
    struct fixture *f = *state;
    contacts_choose(&f->contacts, f->update,
                    f->beliefs); /* does not serve: the head is elsewhere */
    assert_true(f->contacts.contacts[0].is_master);
    assert_false(is_failing_after(f, 2999));
    assert_true(is_failing_after(f, 3000));
    contacts_link_up(&f->contacts, f->update, LINK, f->contacts.contacts[0].dial, world_id(9), 1);
    assert_false(is_failing_after(f, 5999));
    assert_true(is_failing_after(f, 6000));
}

static void who_has_just_been_lost_is_scouted_at_once(void **state)
{
    struct fixture *f = *state;
    be_master(f);
    struct record_member lost[3] = {member_at(5, "10.0.0.5", MEMBER_DEAD),
                                    member_at(6, "10.0.0.6", MEMBER_DEAD),
                                    member_at(7, "10.0.0.7", MEMBER_SUSPECT)};
    for (int i = 0; i < 3; i++)
        believe(f, &lost[i]);
    const char *hosts = dials(f, 2000);
    for (const char *host = "567"; *host; host++)
        assert_non_null(strchr(hosts, *host));
    assert_true(strlen(dials(f, 20000)) <= 10); /* and then slowly again */
}

/* Two ranks of one host on two sides of a split: who answers there may be on the other one. */
static void service_of_a_silent_member_is_scouted_though_another_shares_it(void **state)
{
    struct fixture *f = *state;
    be_master(f);
    struct record_member there = member_at(5, "10.0.0.5", MEMBER_ALIVE);
    struct record_member lost = member_at(6, "10.0.0.5", MEMBER_SUSPECT);
    believe(f, &there);
    believe(f, &lost);
    assert_non_null(strchr(dials(f, 1000), '5'));
    uint32_t dial = f->contacts.contacts[1].dial;
    contacts_link_up(&f->contacts, f->update, LINK, dial, world_id(5), 1);
    assert_null(strchr(dials(f, 20000), '5')); /* a member answered */
}

/* Its next life may know of nobody; and where another of its host answers, that is the end of
 * it. */
static void service_where_one_was_met_that_left_is_tried_at_once(void **state)
{
    struct fixture *f = *state;
    be_master(f);
    struct record_member there = member_at(5, "10.0.0.1", MEMBER_ALIVE);
    believe(f, &there);
    f->contacts.contacts[0].has_link = false;
    contacts_left(&f->contacts, world_id(9)); /* whom be_master() met */
    f->contacts.contacts[0] = (struct contact){0};
    f->contacts.contacts[1] = (struct contact){.used = true, .has_link = true, .link = LINK + 2};
    assert_non_null(strchr(dials(f, 1000), '1'));
    contacts_link_up(&f->contacts, f->update, LINK, f->contacts.contacts[0].dial, world_id(5), 1);
    assert_null(strchr(dials(f, 20000), '1'));
}

/* It may be the master of all the others, who do not know this life of the node. */
static void service_of_another_life_of_this_node_is_called(void **state)
{
    struct fixture *f = *state;
    contacts_choose(&f->contacts, f->update, f->beliefs); /* the head is elsewhere */
    contacts_link_up(&f->contacts, f->update, LINK, f->contacts.contacts[0].dial, world_id(9), 1);
    assert_string_equal(dials(f, 5000), "");
    struct record_member twin = member_at(0, "10.0.0.8", MEMBER_ALIVE);
    for (int i = 0; i < 2; i++) { /* each time that it is named, for as long as a scout has */
        contacts_met_twin(&f->contacts, f->update, &twin);
        contacts_met_twin(&f->contacts, f->update, &twin);
        assert_int_equal(strspn(dials(f, 5000), "8"), 1);
    }
}

static struct contact *contact_at(struct fixture *f, const char *host)
{
    for (uint32_t i = 0; i < CONTACTS_MAX; i++)
        if (f->contacts.contacts[i].used && strcmp(f->contacts.contacts[i].at.host, host) == 0)
            return &f->contacts.contacts[i];
    return NULL;
}

/* What it says may be why another one is a master, whose word nobody has heard yet. */
static void former_master_is_heard_until_the_new_one_answers(void **state)
{
    struct fixture *f = *state;
    contacts_choose(&f->contacts, f->update, f->beliefs);
    contacts_link_up(&f->contacts, f->update, LINK, f->contacts.contacts[0].dial, world_id(9), 1);
    f->contacts.contacts[0].answered_ns = f->now_ns;
    struct record_member former = member_at(0, "10.0.0.8", MEMBER_ALIVE);
    contacts_met_twin(&f->contacts, f->update, &former); /* as good as any */
    struct contact *contact = contact_at(f, "10.0.0.8");
    contact->has_link = true;
    contact->answered_ns = f->now_ns;
    struct record_member next = member_at(5, "10.0.0.5", MEMBER_ALIVE);
    believe(f, &next);
    contacts_choose(&f->contacts, f->update, f->beliefs);
    assert_true(contact_at(f, "10.0.0.5")->is_master);
    dials(f, 5000);
    assert_non_null(contact_at(f, "10.0.0.8"));
    contact = contact_at(f, "10.0.0.5");
    contact->has_link = true;
    contact->answered_ns = f->now_ns;
    dials(f, 100);
    assert_null(contact_at(f, "10.0.0.8"));
}

/* The others do not know of it, so this node has the masters that they have. */
static void deserted_service_is_no_master(void **state)
{
    static const char *const hosts[] = {"10.0.0.5", "10.0.0.6", "10.0.0.7", "10.0.0.8"};
    struct fixture *f = *state;
    f->contacts.config.has_head = false;
    f->contacts.config.max_masters = 4;
    f->contacts.serves = true;
    for (uint32_t i = 0; i < 4; i++) {
        struct record_member member = member_at(5 + i, hosts[i], MEMBER_ALIVE);
        believe(f, &member);
    }
    contacts_choose(&f->contacts, f->update, f->beliefs);
    assert_true(f->contacts.is_master); /* and so one of the four is not */
    assert_true(contacts_review(&f->contacts, f->update, true));
    contacts_choose(&f->contacts, f->update, f->beliefs);
    assert_false(f->contacts.is_master);
    for (uint32_t i = 0; i < 4; i++)
        assert_true(contact_at(f, hosts[i])->is_master);
    assert_true(contacts_review(&f->contacts, f->update, false));
    contacts_choose(&f->contacts, f->update, f->beliefs);
    assert_true(f->contacts.is_master);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(master_that_was_never_met_is_waited_for_half_as_long),
        TEST(who_has_just_been_lost_is_scouted_at_once),
        TEST(service_of_a_silent_member_is_scouted_though_another_shares_it),
        TEST(service_where_one_was_met_that_left_is_tried_at_once),
        TEST(service_of_another_life_of_this_node_is_called),
        TEST(former_master_is_heard_until_the_new_one_answers),
        TEST(deserted_service_is_no_master),
    };
    return cmocka_run_group_tests_name("core/contacts", tests, NULL, NULL);
}
