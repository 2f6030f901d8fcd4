/* SPDX-License-Identifier: Apache-2.0 */
/* ask.c - requests and replies in JSON over peercache_query(), errors as exit status. */
#include "ask.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/exit.h"
#include "text.h"

json_t *ask_new(const struct invocation *invocation, const char *name, bool with_fields)
{
    json_t *request = json_pack("{ss}", "ask", name);
    if (!with_fields)
        return request;
    json_t *fields = json_array();
    for (size_t i = 0; i < invocation->n_fields; i++)
        json_array_append_new(fields, json_string(invocation->fields[i]));
    json_object_set_new(request, "fields", fields);
    const char *tag = peercache_config_get(invocation->config, "tag");
    if (tag && *tag)
        json_object_set_new(request, "tag", json_string(tag));
    return request;
}

/* Errors that mean that no node has answered, whatever the reason. */
static bool is_unreachable(int error)
{
    static const int errors[] = {ECONNREFUSED, ECONNRESET,  ECONNABORTED, EHOSTUNREACH,
                                 EHOSTDOWN,    ENETUNREACH, ENETDOWN,     ETIMEDOUT,
                                 EPIPE,        ENOTCONN,    EADDRNOTAVAIL};
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (errors[i] == -error)
            return true;
    return false;
}

static int fail_with(int error, const struct peercache_error *why)
{
    bool is_usage = error == -EINVAL || error == -EDESTADDRREQ;
    int status = is_usage ? EXIT_USAGE : is_unreachable(error) ? EXIT_UNREACHABLE : EXIT_REFUSED;
    return text_fail(status, "%s", *why->text ? why->text : strerror(-error));
}

/* A node that understood the question but cannot answer says so in {"error": "..."}. */
static int parse_reply(struct reply *reply)
{
    json_error_t where;
    reply->json = json_loads(reply->answer.json ? reply->answer.json : "", 0, &where);
    if (!json_is_object(reply->json))
        return text_fail(EXIT_REFUSED, "the node's answer is no JSON object");
    const char *error = json_string_value(json_object_get(reply->json, "error"));
    return error ? text_fail(EXIT_REFUSED, "the node refused: %s", error) : EXIT_OK;
}

int ask(const struct invocation *invocation, json_t *request, const void *body, uint64_t len_bytes,
        struct reply *ret_reply)
{
    char *text = json_dumps(request, JSON_COMPACT);
    json_decref(request);
    if (!text)
        return text_fail(EXIT_USAGE, "keys and namespaces on the command line must be UTF-8");
    struct peercache_request question = {
        .node = invocation->node, .json = text, .body = body, .body_len_bytes = len_bytes};
    struct peercache_error why = {{0}};
    *ret_reply = (struct reply){0};
    int error = peercache_query(invocation->config, &question, invocation->timeout_ms,
                                &ret_reply->answer, &why);
    free(text);
    if (error < 0)
        return fail_with(error, &why);
    int status = parse_reply(ret_reply);
    if (status)
        ask_fini(ret_reply);
    return status;
}

void ask_fini(struct reply *reply)
{
    json_decref(reply->json);
    peercache_answer_fini(&reply->answer);
}

int ask_check_key(const char *key)
{
    size_t len = strlen(key);
    if (!len)
        return text_fail(EXIT_USAGE, "a key must not be empty: give it 1 to %d bytes",
                         PEERCACHE_NAME_MAX);
    if (len > PEERCACHE_NAME_MAX)
        return text_fail(EXIT_USAGE, "a key has at most %d bytes, this one has %zu: shorten it",
                         PEERCACHE_NAME_MAX, len);
    json_t *text = json_string(key);
    json_decref(text);
    return text ? EXIT_OK : text_fail(EXIT_USAGE, "a key on the command line must be UTF-8");
}

const char *ask_text(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

uint64_t ask_number(const json_t *object, const char *name)
{
    json_int_t number = json_integer_value(json_object_get(object, name));
    return number < 0 ? 0 : (uint64_t)number;
}

bool ask_flag(const json_t *object, const char *name)
{
    return json_is_true(json_object_get(object, name));
}

void ask_print_object(FILE *file, json_t *object)
{
    json_dumpf(object, file, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    fputc('\n', file);
    json_decref(object);
}

void ask_print_json(FILE *file, const struct reply *reply)
{
    ask_print_object(file, json_incref(reply->json));
}
