/* SPDX-License-Identifier: Apache-2.0 */
/* news.c - one word to each member that speaks here, at a bounded pace. */
#include "core/news.h"

enum { TOLD_A_STEP = 64 };

bool news_is(const struct message_members *members)
{
    return members->table == 0;
}

static bool must_begin(struct news *news, const struct roster *roster, struct update *update)
{
    if (roster_version(roster) == news->told_version)
        return false;
    if (update_now_ns(update) >= news->next_at_ns)
        return true;
    update_wake_at(update, news->next_at_ns);
    return false;
}

void news_tell(struct news *news, const struct roster *roster, struct update *update)
{
    uint32_t link;
    if (!news->is_telling && must_begin(news, roster, update))
        *news = (struct news){
            .told_version = roster_version(roster),
            .next_at_ns = update_now_ns(update) + NEWS_PAUSE_NS,
            .is_telling = true,
        };
    for (uint32_t n = 0; news->is_telling && n < TOLD_A_STEP; n++) {
        news->is_telling = roster_next_link(roster, &news->cursor, &link);
        if (news->is_telling)
            update_send(update, link, MESSAGE_members);
    }
    if (news->is_telling)
        update_wake_at(update, update_now_ns(update));
}
