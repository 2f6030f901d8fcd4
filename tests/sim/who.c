/* SPDX-License-Identifier: Apache-2.0 */
/* who.c - who each machine is, and whom it knows: printed under a traced story that ends badly. */
#include <stdio.h>

#include "core/inspection.h"
#include "sim.h"

/* The machine whose present id this is; that of a former life as 100 and more; -1: nobody's. */
static int machine_of(struct id128 node_id)
{
    for (uint32_t i = 0; i < world.plan.machines; i++)
        if (id128_equal(world.machines[i].node_id, node_id))
            return (int)i;
    for (uint32_t i = 0; i < world.n_lives; i++)
        if (id128_equal(world.lives[i].node_id, node_id))
            return 100 + world.lives[i].machine;
    return -1;
}

static void print_masters(const struct core_inspection *inspection)
{
    printf("   masters:");
    for (uint32_t i = 0; i < inspection->n_masters; i++) {
        const struct core_master *master = &inspection->masters[i];
        printf(" %s%s%s%s%s", master->at.host, master->is_self ? " (self)" : "",
               master->is_connected ? "" : " (not connected)",
               master->answers ? "" : " (does not answer)", master->is_fresh ? "" : " (not fresh)");
    }
}

static void print_members(const struct core_inspection *inspection)
{
    printf("\n   members:");
    for (uint32_t i = 0; i < inspection->n_members; i++) {
        const struct core_member *member = &inspection->members[i];
        printf(" m%d/%llu state %d%s;", machine_of(member->node_id),
               (unsigned long long)member->incarnation, member->state,
               member->is_connected ? "" : " (not connected)");
    }
    printf("\n");
}

void report_machines(void)
{
    static struct core_inspection inspection;
    printf("max_masters %u, seeds %u of %u hosts\n", world.plan.max_masters, world.plan.seeds,
           world.plan.hosts);
    for (uint32_t i = 0; i < world.plan.machines; i++) {
        const struct machine *machine = &world.machines[i];
        printf("m%u of host %d: node %016llx, incarnation %llu, seat %llu%s%s\n", i, machine->host,
               (unsigned long long)machine->node_id.hi, (unsigned long long)machine->incarnation,
               (unsigned long long)machine->seat, machine->serves ? ", serves" : "",
               machine_is_up(machine) ? "" : ", down");
        if (!machine_is_up(machine))
            continue;
        core_inspect(machine->core, &inspection);
        print_masters(&inspection);
        print_members(&inspection);
    }
}
