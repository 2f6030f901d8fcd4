/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slot_pin.h - what a holder does before it sends a page that somebody wants: pins the slot, and
 * holds the pinned header against what was asked for.
 */
#ifndef WIRE_SLOT_PIN_H
#define WIRE_SLOT_PIN_H

#include "wire/schema.h"
#include "wire/slot_header.h"

/* The slots of one arena. */
struct slot_table {
    struct slot_header *headers;
    uint32_t slot_count;
    uint64_t payload_bytes; /* of the arena */
};

/* 0: the slot holds that page, whole, until slot_word_unpin(); nothing is pinned otherwise.
 * -ESTALE: the page was let go; -EBADMSG: such a page was never there; or what slot_word_pin()
 * says. */
int slot_pin(const struct slot_table *table, const struct record_wanted *wanted);

#endif
