/* SPDX-License-Identifier: Apache-2.0 */
/*
 * next.h - what the protocol of the tests' next build has beyond the released one.
 *
 * The tests build the library once more with PEERCACHE_WIRE_NEXT, which speaks one version more, so
 * that nodes of both can be run side by side.  A version that differs in its number only would show
 * no mistake, so that build knows a message which the released one hangs up on, says it on every
 * connection that may carry it, and sends a hello with something behind the fields that all know.
 * When a version 2 is made, its messages go into schema.h, and what is here gets number 3.
 */
#ifndef WIRE_NEXT_H
#define WIRE_NEXT_H

#ifdef PEERCACHE_WIRE_NEXT
#define WIRE_NEXT_VERSIONS 1
#define WIRE_HELLO_TAIL_BYTES 24
#define FIELDS_NOTE(num, id, text, list) num(u64, number)
#define MESSAGES_NEXT(M) M(23, 2, note, NOTE, "for the tests: both ends know version 2")
#else
#define WIRE_NEXT_VERSIONS 0
#define WIRE_HELLO_TAIL_BYTES 0
#define MESSAGES_NEXT(M)
#endif

#endif
