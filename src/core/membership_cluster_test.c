/* SPDX-License-Identifier: Apache-2.0 */
/*
 * membership_cluster_test.c - clusters of cores whose masters die, hang, begin anew, and lose sight
 * of each other.
 */
#include "core/membership.h"

#include <stdio.h>

#include "core/core_test_harness.h"

enum { FIRST_LINK = 5 };

/* Each on a host of its own, serving there; the first is the head. */
static struct world *cluster(uint32_t n, uint32_t max_masters)
{
    struct world *world = world_new();
    for (uint32_t id = 0; id < n; id++) {
        struct core_config config = world_config(id);
        snprintf(config.host, sizeof config.host, "10.0.0.%u", id);
        config.max_masters = max_masters;
        config.seeds[0] = (struct core_service){"10.0.0.0", 1999};
        config.seeds[1] = (struct core_service){"10.0.0.1", 1999};
        config.n_seeds = 2;
        world_add(world, &config);
        world_make_head(world, (int)id);
    }
    return world;
}

static void assert_members(struct world *world, int node, uint32_t n)
{
    static struct core_inspection inspection;
    core_inspect(world->nodes[node]->core, &inspection);
    assert_int_equal(inspection.n_members, n);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(inspection.members[i].state, MEMBER_ALIVE);
}

static uint32_t masters_of(struct world *world, int node)
{
    static struct core_inspection inspection;
    uint32_t n = 0;
    core_inspect(world->nodes[node]->core, &inspection);
    for (uint32_t i = 0; i < inspection.n_masters; i++)
        n += inspection.masters[i].answers && inspection.masters[i].is_fresh;
    return n;
}

/* Nobody's ring changes for so long. */
static void assert_steady(struct world *world, uint32_t without, uint64_t ms)
{
    uint64_t hash = 0;
    for (; ms > 0; ms -= 100) {
        world_pass(world, 100);
        for (int node = 0; node < world->n; node++) {
            if (without >> node & 1)
                continue;
            hash = hash ? hash : view_ring_hash(world->nodes[node]->view);
            assert_true(view_ring_hash(world->nodes[node]->view) == hash);
        }
    }
}

static void small_cluster_has_all_hosts_as_masters(void **state)
{
    struct world *world = cluster(3, 3);
    (void)state;
    world_pass(world, 20000);
    for (int node = 0; node < 3; node++) {
        assert_members(world, node, 3);
        assert_int_equal(masters_of(world, node), 3);
    }
    world_free(world);
}

static void restarted_master_moves_no_keys(void **state)
{
    struct world *world = cluster(4, 1);
    (void)state;
    world_pass(world, 20000);
    for (int node = 0; node < 4; node++)
        assert_members(world, node, 4);
    world_restart(world, 0);
    world_make_head(world, 0);
    world_pass(world, 2600); /* a heartbeat, and the time until it dials and is dialled */
    assert_steady(world, 0, 40000);
    for (int node = 0; node < 4; node++)
        assert_members(world, node, 4);
    world_free(world);
}

/* failure-modes 18: its process hangs for a minute; nobody else is missed, and when it goes on it
 * takes nobody away. */
static void hung_master_removes_nobody(void **state)
{
    (void)state;
    for (int hung = 0; hung < 2; hung++) {
        struct world *world = cluster(4, 2);
        world_pass(world, 20000);
        world->nodes[hung]->is_hung = true;
        for (int i = 0; i < 60; i++) {
            world_pass(world, 1000);
            for (int node = 0; node < 4; node++)
                for (int peer = 0; peer < 4; peer++) {
                    struct view_peer view;
                    uint16_t index = world_peer(world, node, world_id((uint32_t)peer), 100);
                    if (node == hung || peer == hung)
                        continue;
                    assert_int_equal(view_peer(world->nodes[node]->view, index, &view), 0);
                    assert_int_equal(view.state, MEMBER_ALIVE);
                }
        }
        world_go_on(world, hung);
        world_pass(world, 40000);
        for (int node = 0; node < 4; node++)
            assert_members(world, node, 4);
        world_free(world);
    }
}

/* The head first, then the others; those that are left find new masters, and then each other. */
static void masters_die_one_after_another(void **state)
{
    struct world *world = cluster(4, 2);
    (void)state;
    world_pass(world, 20000);
    for (int dead = 0; dead < 3; dead++) {
        world_kill(world, dead);
        world_pass(world, 60000);
        for (int node = dead + 1; node < 4; node++) {
            assert_members(world, node, (uint32_t)(3 - dead));
            assert_in_range(masters_of(world, node), 1, 2);
        }
    }
    for (int node = 2; node >= 0; node--) {
        world_restart(world, node);
        world_make_head(world, node);
    }
    world_pass(world, 60000);
    for (int node = 0; node < 4; node++)
        assert_members(world, node, 4);
    world_free(world);
}

static void new_node_joins_through_another_seed(void **state)
{
    struct world *world = cluster(4, 3);
    (void)state;
    world_kill(world, 3);
    world_pass(world, 20000);
    world_kill(world, 0);
    world_pass(world, 60000);
    world_restart(world, 3);
    world_make_head(world, 3);
    world_pass(world, 5000);
    for (int node = 1; node < 4; node++)
        assert_members(world, node, 3);
    world_free(world);
}

/* All its seeds are down, and it remembers the members of its former life. */
static void restarted_node_joins_through_those_it_remembers(void **state)
{
    struct world *world = cluster(4, 3);
    (void)state;
    world_pass(world, 20000);
    world_kill(world, 0);
    world_kill(world, 1);
    world_kill(world, 3);
    world_pass(world, 60000);
    struct core_config *config = &world->nodes[3]->config;
    config->n_remembered = 2;
    config->remembered[0] = (struct core_service){"10.0.0.77", 1999};
    config->remembered[1] = (struct core_service){"10.0.0.2", 1999};
    world_restart(world, 3);
    world_make_head(world, 3);
    world_pass(world, 5000);
    assert_members(world, 2, 2);
    assert_members(world, 3, 2);
    world_free(world);
}

/* Two and two for longer than ring_grace, on either side a seed: each half goes on alone, and they
 * find each other again, though nobody is a member of the other half any more. */
static void halves_find_each_other_again(void **state)
{
    struct world *world = cluster(4, 2);
    (void)state;
    world_pass(world, 20000);
    for (int node = 0; node < 2; node++) {
        world->nodes[node * 2]->cut_off = node ? 3 : 12;
        world->nodes[node * 2 + 1]->cut_off = node ? 3 : 12;
    }
    for (int node = 0; node < 2; node++)
        for (int other = 2; other < 4; other++)
            for (enum purpose purpose = PURPOSE_CONTROL; purpose <= PURPOSE_DISCOVERY; purpose++)
                for (uint32_t link;
                     (link = world_link_to(world, node, other, purpose)) != UINT32_MAX;)
                    world_break(world, node, link);
    world_pass(world, 60000);
    for (int node = 0; node < 4; node++)
        assert_members(world, node, 2);
    world_kill(world, 0); /* the head is not there to join them */
    world_pass(world, 60000);
    for (int node = 1; node < 4; node++)
        world->nodes[node]->cut_off = 0;
    world_pass(world, 30000);
    for (int node = 1; node < 4; node++)
        assert_members(world, node, 3);
    world_free(world);
}

/* Ranks of one host: those that do not serve talk to the one that does; it dies, another takes
 * over. */
static void ranks_of_a_host_share_its_service(void **state)
{
    struct world *world = world_new();
    (void)state;
    for (uint32_t id = 0; id < 4; id++) {
        struct core_config config = world_config(id);
        world_add(world, &config);
    }
    world_make_head(world, 2);
    world_pass(world, 20000);
    for (int node = 0; node < 4; node++) {
        assert_members(world, node, 4);
        assert_int_equal(masters_of(world, node), 1);
    }
    world_kill(world, 2);
    world_make_head(world, 1);
    world_pass(world, 60000);
    for (int node = 0; node < 4; node++)
        if (node != 2)
            assert_members(world, node, 3);
    world_free(world);
}

static uint64_t rings_built(struct world *world, uint32_t joins, uint64_t ms_apart)
{
    uint64_t hash = 0, n = 0;
    for (uint32_t i = 0; i < joins; i++) {
        struct record_member member = world_member(100 + i, 1);
        struct message message = {.type = MESSAGE_join,
                                  .u.join = {.members = &member, .n_members = 1}};
        world_link_up(world, 0, FIRST_LINK + i, PURPOSE_DISCOVERY, member.node_id, 1);
        world_say(world, 0, FIRST_LINK + i, &message);
        world_pass(world, ms_apart);
        n += view_ring_hash(world->nodes[0]->view) != hash;
        hash = view_ring_hash(world->nodes[0]->view);
    }
    return n;
}

/* Hundreds of joins within a second: the ring is built for many of them together. */
static void flood_of_joins_builds_few_rings(void **state)
{
    struct world *world = world_new();
    struct core_config config = world_config(0);
    (void)state;
    world_add(world, &config);
    world_make_head(world, 0);
    world_pass(world, 1000);
    assert_int_equal(rings_built(world, 5, 0), 5); /* a few are followed at once */
    world_pass(world, 1000);
    assert_in_range(rings_built(world, 900, 1), 1, 60);
    world_pass(world, 1000);
    assert_members(world, 0, 901);
    world_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_cluster_has_all_hosts_as_masters),
        cmocka_unit_test(restarted_master_moves_no_keys),
        cmocka_unit_test(hung_master_removes_nobody),
        cmocka_unit_test(masters_die_one_after_another),
        cmocka_unit_test(new_node_joins_through_another_seed),
        cmocka_unit_test(restarted_node_joins_through_those_it_remembers),
        cmocka_unit_test(halves_find_each_other_again),
        cmocka_unit_test(ranks_of_a_host_share_its_service),
        cmocka_unit_test(flood_of_joins_builds_few_rings),
    };
    return cmocka_run_group_tests_name("core/membership_cluster", tests, NULL, NULL);
}
