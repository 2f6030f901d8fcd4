/* SPDX-License-Identifier: Apache-2.0 */
/*
 * news.h - a master tells those who speak to it that its table has changed.
 *
 * Without it a change would wait for each node's next heartbeat.  What is told is only that there
 * is something: a `members` of no table.  Who hears it says its heartbeat now, and the answer has
 * what is new to it, as always; so nothing depends on this word, and it may be lost or forged.
 */
#ifndef CORE_NEWS_H
#define CORE_NEWS_H

#include <stdbool.h>

#include "core/roster.h"
#include "core/update.h"

/* Changes within this time are told of once, and heard of once. */
#define NEWS_PAUSE_NS UINT64_C(100000000)

struct news {
    uint64_t told_version; /* of the table */
    uint64_t next_at_ns;
    uint32_t cursor;
    bool is_telling;
};

/* Tells some of the members; is woken again for the others. */
void news_tell(struct news *news, const struct roster *roster, struct update *update);
bool news_is(const struct message_members *members);

#endif
