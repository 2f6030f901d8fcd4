/* SPDX-License-Identifier: Apache-2.0 */
/* service.c - join, heartbeat, leave. */
#include "core/service.h"

static void answer(const struct roster *roster, struct update *update, uint32_t link,
                   bool is_listed, uint64_t table, uint64_t known_version)
{
    struct message *message = update_send(update, link, MESSAGE_members);
    roster_answer(roster, update, table, known_version, &message->u.members);
    message->u.members.listed = is_listed;
}

/* Who is refused is told all that is there: also who stands in its place. */
static void take_join(struct roster *roster, struct update *update, uint32_t link,
                      const struct message_join *join)
{
    if (join->n_members != 1)
        return;
    bool is_listed = roster_join(roster, update_now_ns(update), link, &join->members[0]);
    answer(roster, update, link, is_listed, is_listed ? join->table : 0, join->known_version);
}

static void take_heartbeat(struct roster *roster, struct update *update, uint32_t link,
                           const struct message_heartbeat *heartbeat)
{
    bool is_listed = roster_heartbeat(roster, update_now_ns(update), link, heartbeat);
    answer(roster, update, link, is_listed, heartbeat->table, heartbeat->known_version);
}

void service_answer(struct roster *roster, struct update *update, uint32_t link,
                    const struct message *message)
{
    if (message->type == MESSAGE_join)
        take_join(roster, update, link, &message->u.join);
    else if (message->type == MESSAGE_heartbeat)
        take_heartbeat(roster, update, link, &message->u.heartbeat);
    else if (message->type == MESSAGE_leave)
        roster_leave(roster, update_now_ns(update), message->u.leave.node_id,
                     message->u.leave.incarnation);
}
