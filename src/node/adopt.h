/* SPDX-License-Identifier: Apache-2.0 */
/*
 * adopt.h - pages of a node that leaves go over to another: the question, and its answer.
 *
 * The leaving node asks {"ask": "adopt", "hot": BOOL, "pages": [PAGE, ...]} as tools do, with the
 * bytes of all the pages one behind the other as the body:
 *
 *     PAGE  {"name": HEX, "identity": HEX, "epoch": HEX, "group": HEX, "bytes": N, "checksum": HEX}
 *
 * and is answered {"errors": [N, ...]}, 0 for each page that was taken and a negative errno for the
 * others.  What a page is called is computed from its name and namespace, as in a set, and its
 * bytes must have the checksum under which their first holder sealed them.
 */
#ifndef NODE_ADOPT_H
#define NODE_ADOPT_H

#include <jansson.h>

#include "core/core.h"
#include "node/node.h"

enum {
    ADOPT_PAGES_MAX = 64,       /* of one question */
    ADOPT_BODY_BYTES = 4 << 20, /* unless it is a single larger page */
};

/* The tool thread.  The answer, or NULL and a sentence. */
json_t *adopt_pages(struct node *node, const json_t *request, const uint8_t *body, size_t body_len,
                    const char **ret_error);

/* What the asker says of a page; @name has page->name_len bytes. */
json_t *adopt_page_json(const struct core_page *page, const uint8_t *name, uint64_t checksum);

#endif
