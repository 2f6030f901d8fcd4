/* SPDX-License-Identifier: Apache-2.0 */
/*
 * members_test.c - strangers who say of themselves and of each other what they like: when they are
 * silent at last, nobody is left of them.
 */
#include <inttypes.h>

#include "core/core_test_harness.h"

enum { IDS = 5, LINKS = 12, FIRST_LINK = 1200, ROUNDS = 100, WORDS = 60 };

struct crowd {
    struct world *world;
    uint64_t random;
    struct record_member speakers[LINKS]; /* who speaks on a link, as it said in its hello */
    bool is_asked[LINKS];                 /* the node called there, and takes its answers */
};

static uint64_t draw(struct crowd *crowd, uint64_t end)
{
    return splitmix_next(&crowd->random) % end;
}

static struct record_member draw_member(struct crowd *crowd)
{
    struct record_member member =
        world_member(1 + (uint32_t)draw(crowd, IDS), 1000 + draw(crowd, 3));
    member.seat = draw(crowd, 3);
    member.version = draw(crowd, 4);
    member.discovery_port = draw(crowd, 2) ? (uint16_t)(3000 + draw(crowd, IDS)) : 0;
    member.state = (uint8_t)(1 + draw(crowd, 5));
    return member;
}

static void call(struct crowd *crowd, uint32_t i)
{
    struct record_member *member = &crowd->speakers[i];
    uint32_t dial = crowd->world->nodes[0]->discovery_dial;
    *member = draw_member(crowd);
    crowd->is_asked[i] = dial != 0 && draw(crowd, 2);
    bool is_discovery = crowd->is_asked[i] || draw(crowd, 2);
    world_open(crowd->world, 0, FIRST_LINK + i, is_discovery ? PURPOSE_DISCOVERY : PURPOSE_CONTROL,
               member->node_id, member->incarnation, crowd->is_asked[i] ? dial : 0);
}

static void answer(struct crowd *crowd, uint32_t i)
{
    struct record_member members[IDS];
    struct message message = {.type = MESSAGE_members};
    struct message_members *answer = &message.u.members;
    *answer = (struct message_members){.table = 7,
                                       .version = draw(crowd, 9),
                                       .fresh = (uint8_t)draw(crowd, 2),
                                       .listed = (uint8_t)draw(crowd, 2),
                                       .whole = (uint8_t)draw(crowd, 2),
                                       .members = members,
                                       .n_members = (uint32_t)draw(crowd, IDS + 1)};
    for (uint32_t k = 0; k < answer->n_members; k++)
        members[k] = draw_member(crowd);
    world_say(crowd->world, 0, FIRST_LINK + i, &message);
}

static void speak(struct crowd *crowd, uint32_t i)
{
    struct record_member member = draw_member(crowd);
    struct message message = {.type = MESSAGE_join};
    member.node_id = crowd->speakers[i].node_id;
    member.incarnation = crowd->speakers[i].incarnation;
    message.u.join = (struct message_join){.members = &member, .n_members = 1};
    if (draw(crowd, 4) == 0) {
        message.type = MESSAGE_leave;
        message.u.leave = (struct message_leave){member.node_id, member.incarnation};
    }
    world_say(crowd->world, 0, FIRST_LINK + i, &message);
}

static void act(struct crowd *crowd)
{
    uint32_t i = (uint32_t)draw(crowd, LINKS);
    bool is_up = crowd->world->nodes[0]->links[FIRST_LINK + i].is_up;
    if (!is_up)
        call(crowd, i);
    else if (draw(crowd, 6) == 0)
        world_break(crowd->world, 0, FIRST_LINK + i);
    else if (crowd->is_asked[i])
        answer(crowd, i);
    else
        speak(crowd, i);
    world_pass(crowd->world, draw(crowd, 3) ? 0 : draw(crowd, 5000));
}

static void assert_alone(const struct world *world, uint64_t round)
{
    for (uint32_t id = 1; id <= IDS; id++)
        for (uint64_t incarnation = 1000; incarnation < 1003; incarnation++)
            if (world_peer(world, 0, world_id(id), incarnation) != CORE_PEER_NONE)
                fail_msg("round %" PRIu64 ": node %" PRIu32 " is a member", round, id);
}

static void nobody_is_left_of_strangers_who_are_silent(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < ROUNDS; round++) {
        struct crowd crowd = {.random = round, .world = world_new()};
        struct core_config config = world_config(0);
        world_add(crowd.world, &config);
        world_make_head(crowd.world, 0);
        for (int i = 0; i < WORDS; i++)
            act(&crowd);
        for (uint32_t i = 0; i < LINKS; i++)
            world_break(crowd.world, 0, FIRST_LINK + i);
        world_pass(crowd.world, 80000);
        assert_alone(crowd.world, round);
        world_free(crowd.world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_is_left_of_strangers_who_are_silent),
    };
    return cmocka_run_group_tests_name("core/members", tests, NULL, NULL);
}
