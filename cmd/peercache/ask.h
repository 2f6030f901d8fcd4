/* SPDX-License-Identifier: Apache-2.0 */
/* ask.h - one question to a running node, and its answer. */
#ifndef PEERCACHE_ASK_H
#define PEERCACHE_ASK_H

#include <jansson.h>

#include "invocation.h"

struct reply {
    json_t *json;                   /* an object */
    struct peercache_answer answer; /* its body holds the bytes of a get */
};

/* A request {"ask": name}, with the namespace's fields where @with_fields. */
json_t *ask_new(const struct invocation *invocation, const char *name, bool with_fields);

/* Sends @request, which it takes over, and fills @ret_reply; or prints why not, and returns an enum
 * exit_status other than 0.  The caller ends a filled reply with ask_fini(). */
int ask(const struct invocation *invocation, json_t *request, const void *body, uint64_t len_bytes,
        struct reply *ret_reply);
void ask_fini(struct reply *reply);

/* 0, or EXIT_USAGE after a sentence, when @key cannot be a page's name. */
int ask_check_key(const char *key);

/* The text of reply.name, or "". */
const char *ask_text(const json_t *object, const char *name);
/* The whole number object.name, or 0. */
uint64_t ask_number(const json_t *object, const char *name);
bool ask_flag(const json_t *object, const char *name);

/* Prints @object, which it takes over. */
void ask_print_object(FILE *file, json_t *object);
/* Prints the reply's JSON. */
void ask_print_json(FILE *file, const struct reply *reply);

#endif
