/* SPDX-License-Identifier: Apache-2.0 */
/*
 * note.h - where connections say and hear the message that only the tests' next build has
 * (wire/next.h).  In the released build there is none, and nothing is left of this.
 */
#ifndef IO_NOTE_H
#define IO_NOTE_H

#include <stdbool.h>

#include "wire/codec.h"

#ifdef PEERCACHE_WIRE_NEXT
/* False: there is nothing to say. */
static inline bool note_make(struct message *ret_message)
{
    *ret_message = (struct message){.type = MESSAGE_note, .u.note = {.number = 2}};
    return true;
}
static inline bool note_is(enum message_type type)
{
    return type == MESSAGE_note;
}
#else
static inline bool note_make(struct message *ret_message)
{
    (void)ret_message;
    return false;
}
static inline bool note_is(enum message_type type)
{
    (void)type;
    return false;
}
#endif

#endif
