/* SPDX-License-Identifier: Apache-2.0 */
/* roster_test_harness.h - for tests: a table that is fed, and time. */
#ifndef CORE_ROSTER_TEST_HARNESS_H
#define CORE_ROSTER_TEST_HARNESS_H

#include "core/core_test_harness.h"
#include "core/news.h"
#include "core/roster.h"

struct fixture {
    struct core_config config;
    struct update *update;
    struct roster *roster;
    uint64_t now_ns;
    uint64_t counter; /* roster_test: of heartbeats, and the last answer */
    struct message_members answer;
    struct news news; /* news_test: and the last step */
    struct core_update ended;
};

static inline int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->config = world_config(0);
    f->update = update_new();
    f->now_ns = 5000000 * WORLD_MS;
    assert_int_equal(roster_new(&f->config, &f->roster), 0);
    update_begin(f->update, f->now_ns);
    roster_feed(f->roster, f->now_ns, true);
    *state = f;
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    protection_enable_all();
    roster_free(f->roster);
    update_free(f->update);
    free(f);
    return 0;
}

#endif
