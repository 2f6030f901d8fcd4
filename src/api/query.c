/* SPDX-License-Identifier: Apache-2.0 */
/* query.c - one question to a running node, by a process that is no member. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "api/handle.h"
#include "base/clock.h"
#include "io/host_id.h"
#include "io/tool_client.h"
#include "wire/version.h"

/* Whom to ask: the first that answers. */
struct candidates {
    struct address addresses[NODE_SEEDS_MAX];
    uint32_t n;
};

static int find_nodes(const struct options *options, const char *node,
                      struct candidates *ret_candidates, struct peercache_error *ret_error)
{
    char text[ADDRESS_ERROR_BYTES];
    const char *from = node ? node : options->discovery_addr;
    if (from[0] == 0) {
        handle_error(ret_error, "no node to ask: give --node HOST:PORT or --discovery_addr "
                                "HOST:PORT, or set PEERCACHE_DISCOVERY_ADDR");
        return -EDESTADDRREQ;
    }
    int error =
        address_parse_list(from, node ? 0 : OPTION_DISCOVERY_PORT, node ? 1 : NODE_SEEDS_MAX,
                           ret_candidates->addresses, &ret_candidates->n, text);
    if (error)
        handle_error(ret_error, text);
    return error;
}

static void take_answer(struct server_answer *from, struct peercache_answer *ret_answer)
{
    *ret_answer = (struct peercache_answer){
        .json = from->json, .body = from->body, .body_len_bytes = from->body_len};
}

static bool is_unreachable(int error)
{
    return error == -ECONNREFUSED || error == -EHOSTUNREACH || error == -ENETUNREACH ||
           error == -ETIMEDOUT;
}

/* One that cannot be reached leaves the others their part of the time.  The reason is that
 * of the last. */
static int ask_first(const struct candidates *candidates, const struct message_hello *hello,
                     const struct server_request *request, uint64_t timeout_ns,
                     struct server_answer *ret_answer, char ret_reason[HELLO_REASON_BYTES])
{
    uint64_t now_ns = clock_now_ns(), deadline_ns = now_ns + timeout_ns;
    int error = 0;
    for (uint32_t i = 0; i < candidates->n; i++) {
        now_ns = clock_now_ns();
        uint64_t left_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
        error = tool_client_ask(&candidates->addresses[i], hello, request,
                                now_ns + left_ns / (candidates->n - i), ret_answer, ret_reason);
        if (!is_unreachable(error))
            break;
    }
    return error;
}

/* A node that cannot answer says why in {"error": "..."}. */
static void explain(const struct server_answer *answer, struct peercache_error *ret_error)
{
    json_t *json = json_loads(answer->json ? answer->json : "", 0, NULL);
    const char *text = json_string_value(json_object_get(json, "error"));
    handle_error(ret_error, text ? text : "the node refused the request");
    json_decref(json);
}

int peercache_query(const struct peercache_config *config, const struct peercache_request *request,
                    uint32_t timeout_ms, struct peercache_answer *ret_answer,
                    struct peercache_error *ret_error)
{
    struct candidates candidates;
    struct server_answer answer = {0};
    char reason[HELLO_REASON_BYTES] = "";
    if (!config || !request || !request->json || !ret_answer) {
        handle_error(ret_error, "a query needs a configuration and a request");
        return -EINVAL;
    }
    int error = find_nodes(&config->options, request->node, &candidates, ret_error);
    if (error)
        return error;
    struct message_hello hello = {
        .version_min = wire_versions.min,
        .version_max = wire_versions.max,
        .auth = AUTH_NONE,
        .cluster = {config->options.cluster_name, (uint32_t)strlen(config->options.cluster_name)},
    };
    host_id_random(&hello.node_id);
    struct server_request raw = {request->json, strlen(request->json), request->body,
                                 request->body_len_bytes};
    uint64_t timeout_ns = timeout_ms == PEERCACHE_TIMEOUT_DEFAULT ? config->options.get_timeout_ns
                                                                  : timeout_ms * UINT64_C(1000000);
    error = ask_first(&candidates, &hello, &raw, timeout_ns, &answer, reason);
    if (error) {
        handle_error(ret_error, reason);
        return error;
    }
    if (answer.error)
        explain(&answer, ret_error);
    take_answer(&answer, ret_answer);
    return answer.error;
}

void peercache_answer_fini(struct peercache_answer *answer)
{
    if (!answer)
        return;
    free(answer->json);
    free(answer->body);
    *answer = (struct peercache_answer){0};
}
