/* SPDX-License-Identifier: Apache-2.0 */
/* identity.h - what makes the bytes of two pages comparable, as one digest. */
#ifndef NODE_IDENTITY_H
#define NODE_IDENTITY_H

#include <stddef.h>

#include "base/id128.h"
#include "node/node.h"

enum { IDENTITY_FIELDS_MAX = 64, IDENTITY_FIELD_MAX_BYTES = 1024 };

/* The digest of "label=value" fields in any order.  Each field is framed by its length, so no two
 * lists of fields are confused.  -EINVAL with a sentence: no '=', no label, a label twice, too
 * many or too long. */
int identity_of_fields(const char *const *fields, size_t n, struct id128 *ret_identity,
                       char ret_error[NODE_ERROR_BYTES]);

/* The same pages under another tag have another identity; an empty tag changes nothing. */
struct id128 identity_with_tag(struct id128 identity, const char *tag);

/* Fills digest and ring position of a page's name; -EINVAL: 0 or more than 255 bytes. */
int identity_name_page(const struct node_namespace *ns, const void *name, uint32_t name_len,
                       struct node_page *page);

#endif
