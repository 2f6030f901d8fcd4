/* SPDX-License-Identifier: Apache-2.0 */
/* identity.c - fields sorted by label, each framed, hashed. */
#include "node/identity.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

static int refuse(char ret_error[NODE_ERROR_BYTES], const char *what, const char *field)
{
    snprintf(ret_error, NODE_ERROR_BYTES, "%s: \"%.100s\"; a field is label=value", what, field);
    return -EINVAL;
}

static size_t label_len(const char *field)
{
    return strcspn(field, "=");
}

static int check_field(const char *field, char ret_error[NODE_ERROR_BYTES])
{
    if (!field)
        return refuse(ret_error, "a namespace field is missing", "NULL");
    if (strnlen(field, IDENTITY_FIELD_MAX_BYTES + 1) > IDENTITY_FIELD_MAX_BYTES)
        return refuse(ret_error, "a namespace field is longer than 1024 bytes", field);
    if (label_len(field) == 0 || field[label_len(field)] != '=')
        return refuse(ret_error, "a namespace field has no label", field);
    return 0;
}

static int compare_fields(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int check_fields(const char **sorted, size_t n, char ret_error[NODE_ERROR_BYTES])
{
    for (size_t i = 1; i < n; i++) {
        size_t len = label_len(sorted[i]);
        if (len == label_len(sorted[i - 1]) && memcmp(sorted[i], sorted[i - 1], len) == 0)
            return refuse(ret_error, "a namespace label stands twice", sorted[i]);
    }
    return 0;
}

int identity_of_fields(const char *const *fields, size_t n, struct id128 *ret_identity,
                       char ret_error[NODE_ERROR_BYTES])
{
    const char *sorted[IDENTITY_FIELDS_MAX];
    if (n > IDENTITY_FIELDS_MAX) {
        snprintf(ret_error, NODE_ERROR_BYTES, "%zu namespace fields are more than %d", n,
                 IDENTITY_FIELDS_MAX);
        return -EINVAL;
    }
    for (size_t i = 0; i < n; i++) {
        int error = check_field(fields[i], ret_error);
        if (error)
            return error;
        sorted[i] = fields[i];
    }
    qsort(sorted, n, sizeof *sorted, compare_fields);
    int error = check_fields(sorted, n, ret_error);
    if (error)
        return error;
    struct id128 digests[IDENTITY_FIELDS_MAX + 1] = {{.hi = n}};
    for (size_t i = 0; i < n; i++)
        digests[i + 1] = hash_bytes128(sorted[i], strlen(sorted[i]), SEED_IDENTITY);
    *ret_identity = hash_bytes128(digests, (n + 1) * sizeof *digests, SEED_IDENTITY);
    return 0;
}

struct id128 identity_with_tag(struct id128 identity, const char *tag)
{
    if (tag[0] == 0)
        return identity;
    struct id128 parts[2] = {identity, hash_bytes128(tag, strlen(tag), SEED_TAG)};
    return hash_bytes128(parts, sizeof parts, SEED_TAG);
}

int identity_name_page(const struct node_namespace *ns, const void *name, uint32_t name_len,
                       struct node_page *page)
{
    if (!name || name_len == 0 || name_len > PEERCACHE_NAME_MAX)
        return -EINVAL;
    page->name = name;
    page->name_len = name_len;
    page->digest = hash_page_digest(ns->identity, ns->epoch, name, name_len);
    page->ring_position = hash_ring_position(name, name_len);
    return 0;
}
