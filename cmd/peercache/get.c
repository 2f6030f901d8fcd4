/* SPDX-License-Identifier: Apache-2.0 */
/* get.c - `peercache get KEY FILE`: one page becomes one file. */
#include <errno.h>
#include <string.h>

#include "ask.h"
#include "command.h"
#include "common/exit.h"
#include "text.h"

/* The file is opened only now, so that a miss leaves an older file as it is. */
static int write_page(const char *path, const struct peercache_answer *answer)
{
    bool is_output = !strcmp(path, "-");
    FILE *file = is_output ? stdout : fopen(path, "wb");
    if (!file)
        return text_fail(EXIT_USAGE, "%s: %s", path, strerror(errno));
    size_t written = fwrite(answer->body, 1, answer->body_len_bytes, file);
    int error = written == answer->body_len_bytes ? 0 : errno;
    if (is_output ? fflush(file) : fclose(file))
        error = errno;
    return error ? text_fail(EXIT_REFUSED, "%s: %s", path, strerror(error)) : EXIT_OK;
}

/* Where the page goes to the standard output, words about it go to the standard error. */
static int report(const struct invocation *invocation, const struct reply *reply)
{
    const char *path = invocation->args[1], *outcome = ask_text(reply->json, "outcome");
    FILE *words = strcmp(path, "-") ? stdout : stderr;
    if (invocation->json)
        ask_print_json(words, reply);
    if (strcasecmp(outcome, "HIT")) {
        bool is_miss = !strncasecmp(outcome, "MISS_", strlen("MISS_"));
        return text_fail(is_miss ? EXIT_MISS : EXIT_REFUSED, "not found: %s (%s)",
                         text_reason(outcome), outcome);
    }
    if (!reply->answer.body)
        return text_fail(EXIT_REFUSED, "the node's answer has no bytes");
    int status = write_page(path, &reply->answer);
    if (!status && !invocation->json && words == stdout)
        printf("got %llu bytes via %s\n", (unsigned long long)reply->answer.body_len_bytes,
               ask_text(reply->json, "via"));
    return status;
}

int command_get(const struct invocation *invocation)
{
    const char *key = invocation->args[0];
    int status = ask_check_key(key);
    if (status)
        return status;
    struct reply reply;
    json_t *request = ask_new(invocation, "get", true);
    json_object_set_new(request, "key", json_string(key));
    status = ask(invocation, request, NULL, 0, &reply);
    if (status)
        return status;
    status = report(invocation, &reply);
    ask_fini(&reply);
    return status;
}
