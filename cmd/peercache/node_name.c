/* SPDX-License-Identifier: Apache-2.0 */
/* node_name.c - finds the one member whose id begins as was said. */
#include "node_name.h"

#include <stdio.h>
#include <string.h>

#include "ask.h"
#include "common/exit.h"
#include "text.h"

enum { ID_DIGITS = 32 };

bool node_name_is_address(const char *word)
{
    const char *colon = strrchr(word, ':');
    return colon && colon != word && colon[1];
}

bool node_name_is_id(const char *word)
{
    size_t len = strlen(word);
    return len > 0 && len <= ID_DIGITS && strspn(word, "0123456789abcdefABCDEF") == len;
}

static bool begins_so(const json_t *member, const char *beginning)
{
    return strncasecmp(ask_text(member, "node_id"), beginning, strlen(beginning)) == 0;
}

static int take_address(const json_t *member, char ret_address[NODE_ADDRESS_BYTES])
{
    const char *address = ask_text(member, "address");
    if (!node_name_is_address(address) || strlen(address) >= NODE_ADDRESS_BYTES)
        return text_fail(EXIT_REFUSED, "the node says no address of %s",
                         ask_text(member, "node_id"));
    strcpy(ret_address, address);
    return EXIT_OK;
}

static int find_member(const json_t *members, const char *beginning,
                       char ret_address[NODE_ADDRESS_BYTES])
{
    const json_t *found = NULL;
    for (size_t i = 0; i < json_array_size(members); i++) {
        const json_t *member = json_array_get(members, i);
        if (!begins_so(member, beginning))
            continue;
        if (found)
            return text_fail(EXIT_USAGE,
                             "the ids of several nodes begin with '%s': %s, %s; say more",
                             beginning, ask_text(found, "node_id"), ask_text(member, "node_id"));
        found = member;
    }
    if (!found)
        return text_fail(EXIT_USAGE, "no member's id begins with '%s'; see peercache status",
                         beginning);
    return take_address(found, ret_address);
}

int node_name_resolve(const struct invocation *invocation, const char *word,
                      char ret_address[NODE_ADDRESS_BYTES])
{
    struct reply reply;
    if (node_name_is_address(word) && strlen(word) < NODE_ADDRESS_BYTES) {
        strcpy(ret_address, word);
        return EXIT_OK;
    }
    if (!node_name_is_id(word))
        return text_fail(EXIT_USAGE, "'%.80s' names no node: it must be " NODE_NAME_FORM, word);
    int status = ask(invocation, ask_new(invocation, "status", false), NULL, 0, &reply);
    if (status)
        return status;
    status = find_member(json_object_get(reply.json, "members"), word, ret_address);
    ask_fini(&reply);
    return status;
}
