/* SPDX-License-Identifier: Apache-2.0 */
/*
 * adopt.c - takes pages over from a node that leaves, on the tool thread.
 *
 * Hot pages may have the room of retired ones, others only what is free (enum core_claim): nothing
 * that can be found goes for them.
 */
#include "node/adopt.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "node/fill.h"
#include "node/identity.h"
#include "node/internal.h"
#include "node/step.h"

#define COPY_TIMEOUT_NS UINT64_C(500000000)
#define ANNOUNCE_TIMEOUT_NS UINT64_C(300000000)

struct adopted {
    struct node_namespace ns;
    struct node_page page;
    struct peercache_segment segment;
    uint64_t checksum;
    uint8_t name[PEERCACHE_NAME_MAX];
};

struct adoption {
    uint32_t n;
    struct adopted list[ADOPT_PAGES_MAX];
    struct core_page pages[ADOPT_PAGES_MAX];
    struct waiter waiter;
};

/* --- the question --- */

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

static bool is_hex(const char *text)
{
    return *text && text[strspn(text, "0123456789abcdef")] == 0;
}

static bool take_number(const json_t *object, const char *name, uint64_t *ret_number)
{
    const char *text = text_of(object, name);
    errno = 0;
    *ret_number = strtoull(text, NULL, 16);
    return is_hex(text) && errno == 0;
}

static bool take_id(const json_t *object, const char *name, struct id128 *ret_id)
{
    const char *text = text_of(object, name);
    return strlen(text) == ID128_TEXT_LEN && is_hex(text) &&
           sscanf(text, "%16" SCNx64 "%16" SCNx64, &ret_id->hi, &ret_id->lo) == 2;
}

static bool take_name(const json_t *item, struct adopted *adopted)
{
    const char *hex = text_of(item, "name");
    size_t len = strlen(hex) / 2;
    if (len == 0 || len > PEERCACHE_NAME_MAX || strlen(hex) % 2 || !is_hex(hex))
        return false;
    for (size_t i = 0; i < len; i++)
        sscanf(hex + 2 * i, "%2hhx", &adopted->name[i]);
    return identity_name_page(&adopted->ns, adopted->name, (uint32_t)len, &adopted->page) == 0;
}

static bool take_page(const json_t *item, const uint8_t *bytes, size_t left,
                      struct adopted *adopted)
{
    json_int_t len = json_integer_value(json_object_get(item, "bytes"));
    if (len <= 0 || (uint64_t)len > left || len > PEERCACHE_PAGE_MAX_BYTES ||
        !take_id(item, "identity", &adopted->ns.identity) ||
        !take_number(item, "epoch", &adopted->ns.epoch) ||
        !take_number(item, "group", &adopted->page.group) ||
        !take_number(item, "checksum", &adopted->checksum) || !take_name(item, adopted))
        return false;
    adopted->segment = (struct peercache_segment){(void *)bytes, (uint64_t)len};
    adopted->page.segments = &adopted->segment;
    adopted->page.segment_count = 1;
    adopted->page.length_bytes = (uint64_t)len;
    return true;
}

static bool take_pages(const json_t *request, const uint8_t *body, size_t body_len,
                       struct adoption *adoption)
{
    const json_t *list = json_object_get(request, "pages");
    size_t at = 0;
    if (json_array_size(list) == 0 || json_array_size(list) > ADOPT_PAGES_MAX)
        return false;
    adoption->n = (uint32_t)json_array_size(list);
    for (uint32_t i = 0; i < adoption->n; i++) {
        struct adopted *adopted = &adoption->list[i];
        if (!take_page(json_array_get(list, i), body + at, body_len - at, adopted))
            return false;
        at += adopted->page.length_bytes;
    }
    return at == body_len;
}

json_t *adopt_page_json(const struct core_page *page, const uint8_t *name, uint64_t checksum)
{
    char hex[2 * PEERCACHE_NAME_MAX + 1], identity[ID128_TEXT_LEN + 1], epoch[20], group[20],
        sum[20];
    for (uint32_t i = 0; i < page->name_len; i++)
        snprintf(hex + 2 * i, 3, "%02x", name[i]);
    id128_format(page->identity, identity);
    snprintf(epoch, sizeof epoch, "%" PRIx64, page->epoch);
    snprintf(group, sizeof group, "%" PRIx64, page->group);
    snprintf(sum, sizeof sum, "%" PRIx64, checksum);
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:s}", "name", hex, "identity", identity, "epoch",
                     epoch, "group", group, "bytes", (json_int_t)page->length_bytes, "checksum",
                     sum);
}

/* --- what is done --- */

static uint32_t reserve(struct node *node, struct adoption *adoption, enum core_claim claim)
{
    uint32_t op;
    struct core_event event = {
        .type = CORE_RESERVE, .u.set = {.pages = adoption->pages, .n = adoption->n, .ret_op = &op}};
    for (uint32_t i = 0; i < adoption->n; i++) {
        adoption->pages[i] = fill_page(&adoption->list[i].ns, &adoption->list[i].page);
        adoption->pages[i].claim = (uint8_t)claim;
    }
    node_step(node, &event, NULL);
    return op;
}

/* The owners are waited for: the asker leaves when it is told that the pages are here. */
static void announce(struct node *node, struct adoption *adoption, uint32_t op)
{
    struct core_event event = {.type = CORE_COPIED,
                               .u.set = {.pages = adoption->pages, .n = adoption->n, .op = op}};
    node_step(node, &event, &adoption->waiter);
    node_wait(node, &adoption->waiter, clock_now_ns() + ANNOUNCE_TIMEOUT_NS);
}

static void adopt(struct node *node, struct adoption *adoption, enum core_claim claim)
{
    uint64_t until_ns = clock_now_ns() + COPY_TIMEOUT_NS, n_adopted = 0;
    uint32_t op = reserve(node, adoption, claim);
    for (uint32_t i = 0; op != 0 && i < adoption->n; i++) {
        struct core_page *page = &adoption->pages[i];
        const struct adopted *adopted = &adoption->list[i];
        if (page->error == 0)
            page->error = fill_copy(node, page, &adopted->page, adopted->checksum, until_ns);
        n_adopted += page->error == 0;
    }
    if (op != 0)
        announce(node, adoption, op);
    metric_add(&node->metrics, METRIC_pages_adopted, n_adopted);
}

json_t *adopt_pages(struct node *node, const json_t *request, const uint8_t *body, size_t body_len,
                    const char **ret_error)
{
    struct adoption *adoption = calloc(1, sizeof *adoption);
    json_t *errors = json_array();
    if (!adoption || !errors || !take_pages(request, body, body_len, adoption)) {
        *ret_error = "\"pages\" must list 1 to 64 pages, and the body must be their bytes";
        json_decref(errors);
        free(adoption);
        return NULL;
    }
    bool is_hot = json_is_true(json_object_get(request, "hot"));
    adopt(node, adoption, is_hot ? CORE_CLAIM_RETIRED : CORE_CLAIM_FREE);
    for (uint32_t i = 0; i < adoption->n; i++)
        json_array_append_new(errors, json_integer(adoption->pages[i].error));
    free(adoption);
    return json_pack("{s:o}", "errors", errors);
}
