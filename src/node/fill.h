/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fill.h - a page's bytes into the slot that the core has reserved for it.
 *
 * For whoever stores: a set, a reader that keeps what it read, a node that takes over from one that
 * leaves.  Any thread; the slot is the caller's from reserve to copied.
 */
#ifndef NODE_FILL_H
#define NODE_FILL_H

#include "core/core.h"
#include "node/node.h"

/* What to reserve for a page of this namespace. */
struct core_page fill_page(const struct node_namespace *ns, const struct node_page *page);

/* Copies the bytes of @source, hashing them, between the fences of base/slot_word.h.  The page's
 * name goes behind its payload, so that the pool can be listed.  0; -ETIMEDOUT: the deadline had
 * passed before the first byte. */
int fill_slot(struct node *node, const struct core_page *page, const struct node_page *source,
              uint64_t deadline_ns);
/* 0 or -ESTALE. */
int fill_seal(struct node *node, const struct core_page *page);
/* Both, for bytes that another holder has sealed under this checksum: -EILSEQ: they are not
 * those. */
int fill_copy(struct node *node, const struct core_page *page, const struct node_page *source,
              uint64_t checksum, uint64_t deadline_ns);

#endif
