/* SPDX-License-Identifier: Apache-2.0 */
/*
 * network.c - control and discovery connections, as the shell of a node has them.
 *
 * A connection keeps the order of each direction and loses nothing until it breaks; different
 * connections overtake each other.  A broken one takes what is on its way with it, and its two ends
 * learn of it at different times.  Across a cut, bytes wait until it ends (path.c).  Every message
 * goes through the codec, so that the bounds of the wire hold here too.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "sim.h"

#define SERVE_RETRY_NS (250 * MS)

struct dialled {
    int from, from_life, to;   /* to: NOBODY in particular, for discovery */
    struct id128 said_node_id; /* in the dialler's hello */
    uint64_t said_incarnation;
    enum purpose purpose;
    bool is_scout;
    struct id128 node_id; /* whom to expect; zero: whoever serves discovery there */
    uint64_t incarnation, at_ns;
    uint32_t number; /* of a dial to discovery */
    char host[8];
};

/* As io/conn.c: who has no hello by then hangs up. */
#define OPEN_TIMEOUT_NS (5 * SECOND)

static bool is_too_late(const struct dialled *dialled)
{
    return world.now_ns > dialled->at_ns + OPEN_TIMEOUT_NS;
}

/* --- events that travel on a link --- */

static struct event *travel(struct link *link, int end, event_run *run)
{
    struct link_end *to = &link->ends[end];
    uint64_t at_ns = path_arrival_ns(link->ends[!end].machine, to->machine);
    if (at_ns <= to->last_delivery_ns)
        at_ns = to->last_delivery_ns + 1;
    to->last_delivery_ns = at_ns;
    struct event *event = world_at(at_ns, run, to->machine);
    event->life = to->life;
    event->a = (uint64_t)(link - world.links) << 1 | (uint64_t)end;
    event->b = link->serial;
    return event;
}

/* The link that an event travelled on; NULL when it broke, or its end has been closed. */
static struct link *arrive(const struct event *event, struct link_end **ret_end)
{
    struct link *link = &world.links[event->a >> 1];
    *ret_end = &link->ends[event->a & 1];
    if (!link->used || link->serial != (uint32_t)event->b || (*ret_end)->is_closed)
        return NULL;
    return link;
}

static bool wait_for_heal(struct event *event, const struct link *link)
{
    int end = (int)(event->a & 1), from = link->ends[!end].machine, to = link->ends[end].machine;
    if (!path_is_cut(from, to))
        return false;
    struct event *later = world_at(path_cut_until_ns(from, to), event->run, event->machine);
    later->order = event->order; /* and before what was sent after it */
    later->life = event->life;
    later->a = event->a;
    later->b = event->b;
    later->box = event->box;
    later->box_len = event->box_len;
    event->box = NULL;
    return true;
}

/* --- messages --- */

static void message_arrives(struct event *event)
{
    struct link_end *end;
    struct link *link = arrive(event, &end);
    struct frame_head head;
    struct message message;
    if (!link || (!link->is_broken && wait_for_heal(event, link)))
        return;
    link->in_flight--;
    if (link->is_broken || !end->is_up)
        return;
    CHECK(event->b >> 32 == end->n_received);
    end->n_received++;
    const uint8_t *frame = event->box;
    CHECK(frame_head_decode(frame, &head) == 0);
    if (message_decode(&head, frame + FRAME_HEAD_BYTES, &world.scratch, &message) != 0)
        world_violated("8", "a message of type %u that cannot be decoded", head.type);
    narrate(NARRATED_message, end->machine, end->number, head.type, 0);
    if (!link->is_scout)
        quiet_message(&message);
    world.totals.messages++;
    struct core_event core_event = {
        .type = CORE_MESSAGE, .link = end->number, .u.message = &message};
    machine_step(&world.machines[end->machine], &core_event, NULL);
}

void network_send(struct machine *machine, uint32_t number, const struct message *message)
{
    if (number >= MACHINE_LINKS_MAX || machine->links[number] == 0)
        return;
    struct link *link = &world.links[machine->links[number] - 1];
    int to = link->ends[0].machine == machine->number && link->ends[0].number == number ? 1 : 0;
    int64_t len = message_encode(message, world.frame, sizeof world.frame);
    if (len <= 0)
        world_violated("8", "a message of type %u that breaks its bounds", message->type);
    check_says(machine, &link->ends[!to]);
    narrate(NARRATED_send, machine->number, number, message->type, (uint64_t)len);
    if (link->is_broken || link->ends[to].is_closed)
        return;
    struct event *event = travel(link, to, message_arrives);
    event->b |= (uint64_t)link->ends[to].n_sent++ << 32;
    event->box = malloc((size_t)len);
    CHECK(event->box);
    event->box_len = (uint32_t)len;
    memcpy(event->box, world.frame, (size_t)len);
    if (++link->in_flight > world.totals.most_in_flight)
        world.totals.most_in_flight = link->in_flight;
}

/* --- the end of a link --- */

static void free_if_closed(struct link *link)
{
    if (link->ends[0].is_closed && link->ends[1].is_closed)
        link->used = false;
}

/* The core holds it against the other one. */
static void note_hangup(struct machine *machine, const struct link *link, int other)
{
    uint16_t peer;
    if (link->purpose == PURPOSE_CONTROL &&
        view_peer_index(machine->view, link->ends[other].said_node_id,
                        link->ends[other].said_incarnation, &peer) == 0)
        machine->distrusted_ns[peer] = world.now_ns;
}

/* The core is told, unless its process is gone or never knew of this link. */
static void close_end(struct link *link, int which, bool tells_core)
{
    struct link_end *end = &link->ends[which];
    struct machine *machine = &world.machines[end->machine];
    bool was_up = end->is_up;
    end->is_closed = true;
    end->is_up = false;
    free_if_closed(link);
    if (machine->life != end->life)
        return;
    if (end->number < MACHINE_LINKS_MAX)
        machine->links[end->number] = 0;
    if (!was_up || !tells_core)
        return;
    if (!link->is_scout)
        quiet_ends("a connection that ends");
    narrate(NARRATED_link_down, machine->number, end->number, 0, 0);
    note_hangup(machine, link, !which);
    struct core_event event = {.type = CORE_LINK_DOWN, .link = end->number};
    machine_step(machine, &event, NULL);
}

static void end_learns(struct event *event)
{
    struct link_end *end;
    struct link *link = arrive(event, &end);
    if (link)
        close_end(link, (int)(event->a & 1), true);
}

static void tell_end(struct link *link, int which, uint64_t delay_ns)
{
    struct link_end *end = &link->ends[which];
    uint64_t at_ns = world.now_ns + delay_ns;
    if (end->is_closed)
        return;
    if (at_ns <= end->last_delivery_ns && !link->is_broken)
        at_ns = end->last_delivery_ns + 1;
    struct event *event = world_at(at_ns, end_learns, end->machine);
    event->life = end->life;
    event->a = (uint64_t)(link - world.links) << 1 | (uint64_t)which;
    event->b = link->serial;
}

/* Sometimes one end notices nothing for seconds: its peer's host is gone, or the path is. */
static uint64_t notice_delay_ns(void)
{
    return world_chance(15) ? world_below(NOTICE_MOST_NS) : world_spread(2 * MS);
}

void network_break(struct link *link)
{
    link->is_broken = true;
    narrate(NARRATED_broken, link->ends[0].machine, (uint64_t)link->ends[1].machine,
            link->in_flight, 0);
    world.totals.breaks++;
    tell_end(link, 0, notice_delay_ns());
    tell_end(link, 1, notice_delay_ns());
}

/* This end hangs up; what it has said before is still delivered. */
static void hang_up(struct link *link, int which)
{
    close_end(link, which, true);
    if (link->used)
        tell_end(link, !which, world_spread(world.plan.delay_ns));
}

static void hangup_now(struct event *event)
{
    struct machine *machine = &world.machines[event->machine];
    if (machine->links[event->a] == 0)
        return;
    struct link *link = &world.links[machine->links[event->a] - 1];
    if (link->serial != (uint32_t)event->b)
        return;
    int which =
        link->ends[0].machine == machine->number && link->ends[0].number == event->a ? 0 : 1;
    hang_up(link, which);
}

/* As in the shell, hangups are carried out after the step, and messages may come before that. */
void network_hangup(struct machine *machine, uint32_t number)
{
    if (number >= MACHINE_LINKS_MAX || machine->links[number] == 0)
        return;
    struct event *event = world_after(world_below(50 * US), hangup_now, machine->number);
    event->a = number;
    event->b = world.links[machine->links[number] - 1].serial;
}

void network_crashed(const struct machine *machine)
{
    for (uint32_t i = 0; i < LINKS_MAX; i++) {
        struct link *link = &world.links[i];
        for (int which = 0; link->used && which < 2; which++) {
            if (link->ends[which].machine != machine->number || link->ends[which].is_closed)
                continue;
            close_end(link, which, false);
            if (link->used)
                tell_end(link, !which, notice_delay_ns());
        }
    }
}

/* --- dialling --- */

static struct link *new_link(void)
{
    for (uint32_t i = 0; i < LINKS_MAX; i++)
        if (!world.links[i].used)
            return &world.links[i];
    world_violated("8", "more than %d connections at a time", LINKS_MAX);
}

static bool take_number(struct machine *machine, struct link *link, struct link_end *end)
{
    for (uint32_t i = 0; i < MACHINE_LINKS_MAX; i++)
        if (machine->links[i] == 0) {
            machine->links[i] = (uint32_t)(link - world.links) + 1;
            end->number = i;
            return true;
        }
    return false;
}

/* @dial: the number of the dial that it comes from; 0 at the end that was dialled. */
static void open_end(struct link *link, int which, uint32_t dial)
{
    struct link_end *end = &link->ends[which], *other = &link->ends[!which];
    struct machine *machine = &world.machines[end->machine];
    if (!take_number(machine, link, end)) {
        hang_up(link, which);
        return;
    }
    end->is_up = true;
    narrate(NARRATED_link_up, machine->number, end->number, link->purpose, 0);
    struct core_event event = {
        .type = CORE_LINK_UP,
        .link = end->number,
        .u.up = {.purpose = link->purpose,
                 .node_id = other->said_node_id,
                 .incarnation = other->said_incarnation,
                 .dial = dial},
    };
    machine_step(machine, &event, NULL);
}

/* As in node/links.c: whether what this end has said of its machine is still so. */
static bool said_truth(const struct link_end *end)
{
    const struct machine *machine = &world.machines[end->machine];
    return identity_may_speak(machine) && end->said_incarnation == machine->incarnation &&
           id128_equal(end->said_node_id, machine->node_id);
}

static bool is_expected(const struct dialled *dialled, const struct link_end *met)
{
    return id128_is_zero(dialled->node_id) || (met->said_incarnation == dialled->incarnation &&
                                               id128_equal(met->said_node_id, dialled->node_id));
}

static void hello_arrives(struct event *event)
{
    struct link_end *end;
    struct link *link = arrive(event, &end);
    if (!link || link->is_broken || wait_for_heal(event, link))
        return;
    const struct dialled *dialled = event->box;
    if (!is_expected(dialled, &link->ends[1]) || !said_truth(end) || is_too_late(dialled)) {
        narrate(NARRATED_refused, end->machine, (uint64_t)link->ends[1].machine, 0, 0);
        hang_up(link, 0);
    } else {
        open_end(link, 0, dialled->number);
    }
}

/* At the machine that was dialled: it may speak before the dialler has heard its hello.  A
 * connection takes both directions to come about. */
static void dial_arrives(struct event *event)
{
    struct dialled *dialled = event->box;
    if (is_too_late(dialled) || path_is_cut(dialled->from, event->machine) ||
        path_is_cut(event->machine, dialled->from) ||
        world.machines[dialled->from].life != dialled->from_life ||
        !identity_may_speak(&world.machines[event->machine]))
        return;
    struct link *link = new_link();
    *link = (struct link){.used = true,
                          .is_scout = dialled->is_scout,
                          .serial = ++world.link_serial,
                          .purpose = dialled->purpose};
    const struct machine *machine = &world.machines[event->machine];
    link->ends[0] = (struct link_end){.machine = dialled->from,
                                      .life = dialled->from_life,
                                      .number = MACHINE_LINKS_MAX,
                                      .said_node_id = dialled->said_node_id,
                                      .said_incarnation = dialled->said_incarnation};
    link->ends[1] = (struct link_end){.machine = event->machine,
                                      .life = event->life,
                                      .number = MACHINE_LINKS_MAX,
                                      .said_node_id = machine->node_id,
                                      .said_incarnation = machine->incarnation};
    struct event *hello = travel(link, 0, hello_arrives);
    hello->box = dialled;
    event->box = NULL;
    open_end(link, 1, 0);
}

static struct machine *find_server(int host)
{
    for (uint32_t i = 0; i < world.plan.machines; i++)
        if (machine_is_up(&world.machines[i]) && world.machines[i].serves &&
            world.machines[i].host == host)
            return &world.machines[i];
    return NULL;
}

static void try_to_serve(struct event *event)
{
    struct machine *machine = &world.machines[event->machine];
    if (find_server(machine->host)) {
        world_after(SERVE_RETRY_NS, try_to_serve, machine->number);
        return;
    }
    machine->serves = true;
    narrate(NARRATED_serving, machine->number, (uint64_t)machine->host, 0, 0);
    struct core_event serving = {.type = CORE_SERVING};
    machine_step(machine, &serving, NULL);
}

void network_serve(struct machine *machine)
{
    world_after(0, try_to_serve, machine->number);
}

static void dial_leaves(struct event *event)
{
    struct dialled *dialled = event->box;
    struct machine *from = &world.machines[event->machine], *to = NULL;
    if (dialled->purpose == PURPOSE_DISCOVERY) {
        to = find_server(atoi(dialled->host + 1));
    } else {
        to = &world.machines[dialled->to];
    }
    if (!to || !machine_is_up(to))
        return; /* refused: the core dials again */
    dialled->is_scout = dialled->purpose == PURPOSE_DISCOVERY && quiet_allows_scout(from);
    if (!dialled->is_scout)
        quiet_ends("a call to another machine");
    narrate(NARRATED_dial, from->number, (uint64_t)to->number, dialled->purpose, 0);
    struct event *arrival =
        world_at(path_arrival_ns(from->number, to->number), dial_arrives, to->number);
    arrival->box = dialled;
    event->box = NULL;
}

void network_dial(struct machine *machine, const struct core_dial *dial)
{
    struct dialled *dialled = malloc(sizeof *dialled);
    CHECK(dialled);
    *dialled = (struct dialled){
        .from = machine->number,
        .from_life = machine->life,
        .to = dial->purpose == PURPOSE_DISCOVERY ? NOBODY : dial->port - CONTROL_PORT,
        .said_node_id = machine->node_id,
        .said_incarnation = machine->incarnation,
        .purpose = dial->purpose,
        .node_id = dial->node_id,
        .incarnation = dial->incarnation,
        .at_ns = world.now_ns,
        .number = dial->number,
    };
    snprintf(dialled->host, sizeof dialled->host, "%s", dial->host);
    world_after(world_below(20 * US), dial_leaves, machine->number)->box = dialled;
}
