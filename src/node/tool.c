/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tool.c - the requests of tools: status, keys, exists, put, get, drain, stay; and that of a node
 * which leaves: adopt (adopt.h).  The server's tool thread.
 *
 * A request is one JSON object {"ask": ..., ...}; put has the page's bytes as its body, and the
 * answer to get has them as its body.
 */
#include "node/tool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "node/adopt.h"
#include "node/identity.h"
#include "node/inspect.h"
#include "node/internal.h"
#include "node/outcome.h"

enum { KEYS_LIMIT = 1000, DRAIN_TIMEOUT_MAX_S = 3600 };

struct tool_call {
    struct node *node;
    const json_t *request;
    const struct server_request *raw;
    struct server_answer *answer;
};

static void answer_json(struct server_answer *answer, json_t *json)
{
    answer->json = json ? json_dumps(json, JSON_COMPACT) : NULL;
    answer->json_len = answer->json ? strlen(answer->json) : 0;
    if (!answer->json)
        answer->error = -ENOMEM;
    json_decref(json);
}

static void answer_error(struct server_answer *answer, int error, const char *text)
{
    json_t *json = json_pack("{s:s}", "error", text);
    if (!json) /* the sentence quotes what is no text, or was cut inside a character */
        json = json_pack("{s:s}", "error", "the request is not valid");
    answer_json(answer, json);
    answer->error = error;
}

/* --- what a request names --- */

static bool take_namespace(const struct tool_call *call, struct node_namespace *ret_ns)
{
    const char *fields[IDENTITY_FIELDS_MAX];
    char error[NODE_ERROR_BYTES];
    const json_t *list = json_object_get(call->request, "fields");
    size_t n = json_array_size(list);
    if (n > IDENTITY_FIELDS_MAX) {
        answer_error(call->answer, -EINVAL, "\"fields\" has too many entries");
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        fields[i] = json_string_value(json_array_get(list, i));
        if (!fields[i]) {
            answer_error(call->answer, -EINVAL, "\"fields\" must be a list of \"label=value\"");
            return false;
        }
    }
    if (identity_of_fields(fields, n, &ret_ns->identity, error) != 0) {
        answer_error(call->answer, -EINVAL, error);
        return false;
    }
    const char *tag = json_string_value(json_object_get(call->request, "tag"));
    ret_ns->identity = identity_with_tag(ret_ns->identity, tag ? tag : "");
    ret_ns->epoch = node_epoch(call->node, ret_ns->identity);
    return true;
}

static bool take_key(const struct tool_call *call, const struct node_namespace *ns,
                     const json_t *key, struct node_page *ret_page)
{
    if (json_is_string(key) && identity_name_page(ns, json_string_value(key),
                                                  (uint32_t)json_string_length(key), ret_page) == 0)
        return true;
    answer_error(call->answer, -EINVAL, "a key must be text of 1 to 255 bytes");
    return false;
}

static void answer_outcome(struct tool_call *call, const struct peercache_result *result)
{
    answer_json(call->answer,
                json_pack("{s:s, s:s, s:I}", "outcome", outcome_name(result->outcome), "via",
                          via_name(result->via), "bytes", (json_int_t)result->len_bytes));
}

/* --- one function a question --- */

static void tool_status(struct tool_call *call)
{
    answer_json(call->answer, inspect_status(call->node));
}

static void tool_keys(struct tool_call *call)
{
    json_int_t after = json_integer_value(json_object_get(call->request, "after"));
    json_int_t limit = json_integer_value(json_object_get(call->request, "limit"));
    if (limit <= 0 || limit > KEYS_LIMIT)
        limit = KEYS_LIMIT;
    if (after < 0 || after > UINT32_MAX)
        answer_error(call->answer, -EINVAL, "\"after\" is no cursor of a former answer");
    else
        answer_json(call->answer, inspect_keys(call->node, (uint32_t)after, (uint32_t)limit));
}

static void tool_exists(struct tool_call *call)
{
    struct node_namespace ns;
    const json_t *keys = json_object_get(call->request, "keys");
    uint32_t n = (uint32_t)json_array_size(keys);
    if (n == 0 || n > NODE_BATCH_MAX) {
        answer_error(call->answer, -EINVAL, "\"keys\" must be a list of 1 to 1024 keys");
        return;
    }
    struct node_page *pages = calloc(n, sizeof *pages);
    struct peercache_result *results = calloc(n, sizeof *results);
    json_t *found = json_array();
    bool ok = pages && results && take_namespace(call, &ns);
    for (uint32_t i = 0; ok && i < n; i++)
        ok = take_key(call, &ns, json_array_get(keys, i), &pages[i]);
    if (ok) {
        node_find(call->node, pages, results, n,
                  clock_now_ns() + call->node->config.exists_timeout_ns);
        for (uint32_t i = 0; i < n; i++)
            json_array_append_new(found, json_boolean(results[i].outcome == PEERCACHE_FOUND));
        answer_json(call->answer, json_pack("{s:O}", "found", found));
    }
    json_decref(found);
    free(pages);
    free(results);
}

static bool begin_page(struct tool_call *call, struct node_namespace *ret_ns,
                       struct node_page *ret_page)
{
    *ret_page = (struct node_page){0};
    return take_namespace(call, ret_ns) &&
           take_key(call, ret_ns, json_object_get(call->request, "key"), ret_page);
}

static void tool_put(struct tool_call *call)
{
    struct node_namespace ns;
    struct node_page page;
    struct peercache_result result = {0};
    struct peercache_segment segment = {(void *)call->raw->body, call->raw->body_len};
    if (!begin_page(call, &ns, &page))
        return;
    if (segment.len_bytes == 0 || segment.len_bytes > PEERCACHE_PAGE_MAX_BYTES) {
        answer_error(call->answer, -EINVAL, "a page has 1 byte to 127 MiB");
        return;
    }
    page.segments = &segment;
    page.segment_count = 1;
    page.length_bytes = segment.len_bytes;
    node_store(call->node, &ns, &page, &result, 1,
               clock_now_ns() + call->node->config.set_timeout_ns);
    answer_outcome(call, &result);
}

static void tool_get(struct tool_call *call)
{
    struct node_namespace ns;
    struct node_page page;
    struct peercache_result result = {0};
    if (!begin_page(call, &ns, &page))
        return;
    uint64_t deadline_ns = clock_now_ns() + call->node->config.get_timeout_ns;
    node_find(call->node, &page, &result, 1, deadline_ns);
    if (result.outcome != PEERCACHE_FOUND || result.len_bytes > PEERCACHE_PAGE_MAX_BYTES) {
        answer_outcome(call, &result);
        return;
    }
    struct peercache_segment segment = {malloc(result.len_bytes), result.len_bytes};
    page.segments = &segment;
    page.segment_count = 1;
    page.length_bytes = segment.len_bytes;
    result = (struct peercache_result){0};
    if (segment.addr)
        node_fetch(call->node, &ns, &page, &result, 1, deadline_ns);
    if (result.outcome == PEERCACHE_HIT) {
        call->answer->body = segment.addr;
        call->answer->body_len = segment.len_bytes;
    } else {
        free(segment.addr);
    }
    answer_outcome(call, &result);
}

static bool begin_drain(struct tool_call *call)
{
    const json_t *timeout = json_object_get(call->request, "timeout_s");
    double timeout_s = json_number_value(timeout);
    uint64_t timeout_ns = call->node->config.drain_timeout_ns;
    if (timeout && !(timeout_s >= 0 && timeout_s <= DRAIN_TIMEOUT_MAX_S)) {
        answer_error(call->answer, -EINVAL, "\"timeout_s\" must be 0 to 3600 seconds");
        return false;
    }
    if (timeout)
        timeout_ns = (uint64_t)(timeout_s * 1e9);
    int error = drain_start(call->node, timeout_ns);
    if (error == -EBUSY)
        answer_error(call->answer, error, "a drain that was cancelled is not over yet: ask again");
    else if (error)
        answer_error(call->answer, error, "the node could not start a thread to drain");
    return !error;
}

/* Begins it, unless it has begun or "begin" is false, and says how far it is. */
static void tool_drain(struct tool_call *call)
{
    if (json_is_false(json_object_get(call->request, "begin")) || begin_drain(call))
        answer_json(call->answer, drain_json(call->node));
}

/* A question of its own: a node that does not know it must not take it for the opposite. */
static void tool_stay(struct tool_call *call)
{
    drain_cancel(call->node);
    answer_json(call->answer, drain_json(call->node));
}

static void tool_adopt(struct tool_call *call)
{
    const char *error = NULL;
    json_t *json =
        adopt_pages(call->node, call->request, call->raw->body, call->raw->body_len, &error);
    if (json)
        answer_json(call->answer, json);
    else
        answer_error(call->answer, -EINVAL, error);
}

static const struct {
    const char *ask;
    void (*answer)(struct tool_call *call);
} questions[] = {
    {"status", tool_status}, {"keys", tool_keys},   {"exists", tool_exists}, {"put", tool_put},
    {"get", tool_get},       {"drain", tool_drain}, {"stay", tool_stay},     {"adopt", tool_adopt},
};

static void answer_question(struct tool_call *call)
{
    const char *ask = json_string_value(json_object_get(call->request, "ask"));
    for (size_t i = 0; ask && i < sizeof questions / sizeof *questions; i++)
        if (strcmp(ask, questions[i].ask) == 0) {
            questions[i].answer(call);
            return;
        }
    answer_error(call->answer, -EOPNOTSUPP,
                 "\"ask\" must be status, keys, exists, put, get, drain, stay or adopt");
}

void tool_request(void *context, const struct server_request *request,
                  struct server_answer *ret_answer)
{
    struct node *node = context;
    *ret_answer = (struct server_answer){0};
    json_t *json = json_loadb(request->json, request->json_len, JSON_REJECT_DUPLICATES, NULL);
    struct tool_call call = {node, json, request, ret_answer};
    const char *ask = json_string_value(json_object_get(json, "ask"));
    bool only_looks = ask && strcmp(ask, "status") == 0;
    if (!json_is_object(json))
        answer_error(ret_answer, -EINVAL, "the request is no JSON object");
    else if ((only_looks ? node_enter_to_look(node) : node_enter(node)) != 0)
        answer_error(ret_answer, -ESHUTDOWN,
                     atomic_load(&node->has_ended) ? node->end_text : "the node is stopping");
    else {
        answer_question(&call);
        node_exit(node);
    }
    json_decref(json);
}
