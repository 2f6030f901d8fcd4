/* SPDX-License-Identifier: Apache-2.0 */
/* exists.c - `peercache exists KEY...`: which pages the cluster has. */
#include "ask.h"
#include "command.h"
#include "common/exit.h"
#include "text.h"

static json_t *new_request(const struct invocation *invocation)
{
    json_t *keys = json_array();
    for (int i = 0; i < invocation->n_args; i++)
        json_array_append_new(keys, json_string(invocation->args[i]));
    json_t *request = ask_new(invocation, "exists", true);
    json_object_set_new(request, "keys", keys);
    return request;
}

/* The node answers in the order of the question; here each answer stands beside its key. */
static void print_json(const struct invocation *invocation, const json_t *found)
{
    json_t *pages = json_array();
    for (int i = 0; i < invocation->n_args; i++)
        json_array_append_new(
            pages, json_pack("{ssso}", "key", invocation->args[i], "found",
                             json_boolean(json_is_true(json_array_get(found, (size_t)i)))));
    ask_print_object(stdout, json_pack("{so}", "pages", pages));
}

static int report(const struct invocation *invocation, const struct reply *reply)
{
    const json_t *found = json_object_get(reply->json, "found");
    if (json_array_size(found) != (size_t)invocation->n_args)
        return text_fail(EXIT_REFUSED, "the node's answer does not match the question");
    if (invocation->json)
        print_json(invocation, found);
    int status = EXIT_OK;
    for (int i = 0; i < invocation->n_args; i++) {
        bool is_found = json_is_true(json_array_get(found, (size_t)i));
        status = is_found ? status : EXIT_MISS;
        if (invocation->json)
            continue;
        printf("%-9s  ", is_found ? "found" : "not found");
        text_print_name(stdout, invocation->args[i]);
        putchar('\n');
    }
    return status;
}

int command_exists(const struct invocation *invocation)
{
    for (int i = 0; i < invocation->n_args; i++) {
        int status = ask_check_key(invocation->args[i]);
        if (status)
            return status;
    }
    struct reply reply;
    int status = ask(invocation, new_request(invocation), NULL, 0, &reply);
    if (status)
        return status;
    status = report(invocation, &reply);
    ask_fini(&reply);
    return status;
}
