/* SPDX-License-Identifier: Apache-2.0 */
/* put.c - `peercache put KEY FILE`: one file becomes one page. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ask.h"
#include "command.h"
#include "common/exit.h"
#include "text.h"

struct bytes {
    char *data;
    size_t len_bytes;
};

/* Reads up to one byte more than a page may have, which is enough to know that it is too large.
 * The length of a pipe is not known before its end, so the buffer grows. */
static int read_all(FILE *file, struct bytes *ret_bytes)
{
    size_t room = 0;
    while (ret_bytes->len_bytes <= PEERCACHE_PAGE_MAX_BYTES) {
        if (ret_bytes->len_bytes == room) {
            room = room ? room * 2 : 64 << 10;
            char *data = realloc(ret_bytes->data, room);
            if (!data)
                return -ENOMEM;
            ret_bytes->data = data;
        }
        size_t n =
            fread(ret_bytes->data + ret_bytes->len_bytes, 1, room - ret_bytes->len_bytes, file);
        ret_bytes->len_bytes += n;
        if (!n)
            return ferror(file) ? -(errno ? errno : EIO) : 0;
    }
    return 0;
}

static int read_page(const char *path, struct bytes *ret_bytes)
{
    bool is_input = !strcmp(path, "-");
    FILE *file = is_input ? stdin : fopen(path, "rb");
    if (!file)
        return text_fail(EXIT_USAGE, "%s: %s", path, strerror(errno));
    int error = read_all(file, ret_bytes);
    if (!is_input)
        fclose(file);
    if (error < 0)
        return text_fail(EXIT_USAGE, "%s: %s", path, strerror(-error));
    if (!ret_bytes->len_bytes)
        return text_fail(EXIT_USAGE, "%s: is empty; a page has at least 1 byte", path);
    if (ret_bytes->len_bytes > PEERCACHE_PAGE_MAX_BYTES)
        return text_fail(EXIT_USAGE, "%s: is larger than 127 MiB, the most that a page may have",
                         path);
    return EXIT_OK;
}

static void print_stored(const char *key, bool was_stored, size_t len_bytes)
{
    if (!was_stored) {
        printf("stored %zu bytes\n", len_bytes);
        return;
    }
    text_print_name(stdout, key);
    puts(" is there already; nothing was stored");
}

static int report(const struct invocation *invocation, const struct reply *reply, size_t len_bytes)
{
    const char *outcome = ask_text(reply->json, "outcome");
    bool is_stored = !strcasecmp(outcome, "STORED") || !strcasecmp(outcome, "STORED_LOCAL");
    bool was_stored = !strcasecmp(outcome, "ALREADY_STORED");
    /* The answer bears the length of the file, and the page that is there may have another. */
    if (was_stored)
        json_object_del(reply->json, "bytes");
    if (invocation->json)
        ask_print_json(stdout, reply);
    if (!is_stored && !was_stored)
        return text_fail(EXIT_REFUSED, "not stored: %s (%s)", text_reason(outcome), outcome);
    if (!invocation->json)
        print_stored(invocation->args[0], was_stored, len_bytes);
    return EXIT_OK;
}

int command_put(const struct invocation *invocation)
{
    const char *key = invocation->args[0];
    struct bytes bytes = {0};
    int status = ask_check_key(key);
    if (!status)
        status = read_page(invocation->args[1], &bytes);
    if (!status) {
        struct reply reply;
        json_t *request = ask_new(invocation, "put", true);
        json_object_set_new(request, "key", json_string(key));
        status = ask(invocation, request, bytes.data, bytes.len_bytes, &reply);
        if (!status) {
            status = report(invocation, &reply, bytes.len_bytes);
            ask_fini(&reply);
        }
    }
    free(bytes.data);
    return status;
}
