/* SPDX-License-Identifier: Apache-2.0 */
/*
 * codec.h - messages as bytes, framed.
 *
 * A frame is a 16-byte head (magic, type, request, length of the body) and the body.  Every length
 * is checked against its bound before it is used; what does not fit exactly is refused.
 */
#ifndef WIRE_CODEC_H
#define WIRE_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "wire/schema.h"

enum { FRAME_HEAD_BYTES = 16, FRAME_BODY_MAX_BYTES = 1 << 20 };
#define FRAME_MAGIC UINT32_C(0x31574350) /* "PCW1" */

struct frame_head {
    uint16_t type;
    uint32_t request;
    uint32_t body_len_bytes;
};

/* 0; -EPROTO: not a head of ours (magic, type, reserved bits, length). */
int frame_head_decode(const uint8_t bytes[FRAME_HEAD_BYTES], struct frame_head *ret_head);

/* The frame's length; -EMSGSIZE: does not fit into @size or breaks a bound of the schema. */
int64_t message_encode(const struct message *message, uint8_t *ret_bytes, size_t size);

/* Memory for the lists of one decoded message: the caller's, reused for the next one. */
enum { MESSAGE_SCRATCH_BYTES = 256 * 1024 };
struct message_scratch {
    _Alignas(16) uint8_t bytes[MESSAGE_SCRATCH_BYTES];
};

/* Decodes one frame's body.  Texts point into @body, lists into @scratch.  0; -EPROTO: a bound is
 * broken, a text or list does not fit, or bytes are left over, but for a hello or refusal: what
 * stands behind their fields is of a newer version. */
int message_decode(const struct frame_head *head, const uint8_t *body,
                   struct message_scratch *scratch, struct message *ret_message);

/* The first version in which it may be sent; UINT16_MAX: this build knows no such message. */
uint16_t message_since(uint32_t type);
const char *message_type_name(enum message_type type);
/* The most bytes that a frame of this type can have, head included. */
size_t message_max_bytes(enum message_type type);

#endif
