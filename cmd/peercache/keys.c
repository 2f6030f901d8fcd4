/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keys.c - `peercache keys`: the pages that one node holds.
 *
 * They come in portions, each with a cursor for the next, and are printed as they come: a pool may
 * hold millions.  With --json the portions together are one document.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "ask.h"
#include "command.h"
#include "common/exit.h"
#include "text.h"

enum { PORTION = 1000 };

struct listing {
    const struct invocation *invocation;
    uint64_t printed;
    bool started;
    json_t *cursor; /* of the next portion; NULL: the first, or none left */
};

static uint64_t wanted(const struct listing *listing)
{
    uint64_t limit = listing->invocation->limit;
    uint64_t left = limit ? limit - listing->printed : PORTION;
    return left < PORTION ? left : PORTION;
}

static void print_key(struct listing *listing, const json_t *item)
{
    if (listing->invocation->json) {
        fputs(listing->printed ? ",\n  " : "\n  ", stdout);
        json_dumpf(item, stdout, JSON_PRESERVE_ORDER);
    } else {
        printf("%10" PRIu64 "  ", ask_number(item, "bytes"));
        text_print_name(stdout, ask_text(item, "key"));
        putchar('\n');
    }
    listing->printed++;
}

/* Takes the cursor over.  One that does not move would never end. */
static int move_cursor(struct listing *listing, const json_t *next)
{
    json_t *before = listing->cursor;
    listing->cursor = next && !json_is_null(next) ? json_deep_copy(next) : NULL;
    bool stands_still = before && listing->cursor && json_equal(before, listing->cursor);
    json_decref(before);
    return stands_still ? text_fail(EXIT_REFUSED, "the node's listing does not end") : EXIT_OK;
}

static int print_portion(struct listing *listing)
{
    const struct invocation *invocation = listing->invocation;
    json_t *request = ask_new(invocation, "keys", false);
    json_object_set_new(request, "limit", json_integer((json_int_t)wanted(listing)));
    if (listing->cursor)
        json_object_set(request, "after", listing->cursor);
    struct reply reply;
    int status = ask(invocation, request, NULL, 0, &reply);
    if (status)
        return status;
    if (invocation->json && !listing->started)
        fputs("{\"keys\": [", stdout);
    listing->started = true;
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(reply.json, "keys"), i, item)
    {
        if (wanted(listing))
            print_key(listing, item);
    }
    status = move_cursor(listing, json_object_get(reply.json, "next"));
    ask_fini(&reply);
    return status;
}

int command_keys(const struct invocation *invocation)
{
    struct listing listing = {.invocation = invocation};
    int status;
    if (invocation->n_fields)
        return text_fail(EXIT_USAGE, "keys lists the pages of all namespaces of the node: leave "
                                     "--namespace out");
    do
        status = print_portion(&listing);
    while (!status && listing.cursor && wanted(&listing));
    if (!status && invocation->json)
        fputs("\n]}\n", stdout);
    json_decref(listing.cursor);
    return status;
}
