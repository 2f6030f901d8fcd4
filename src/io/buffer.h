/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buffer.h - bytes that wait between a socket and the codec: filled at the end, taken from the
 * front, grown on demand up to the caller's bound.
 */
#ifndef IO_BUFFER_H
#define IO_BUFFER_H

#include <stddef.h>
#include <stdint.h>

#include "wire/codec.h"

struct buffer {
    uint8_t *bytes;
    size_t size, begin, end; /* what waits is bytes[begin .. end) */
};

static inline size_t buffer_len(const struct buffer *buffer)
{
    return buffer->end - buffer->begin;
}

static inline size_t buffer_room(const struct buffer *buffer)
{
    return buffer->size - buffer->end;
}

/* Room for at least @room more bytes behind the end.  -ENOBUFS: it would take more than @max_size
 * in all; -ENOMEM. */
int buffer_reserve(struct buffer *buffer, size_t room, size_t max_size);
void buffer_consume(struct buffer *buffer, size_t len);
void buffer_fini(struct buffer *buffer);

/* Appends a message.  -ENOBUFS: no room within @max_size; -EMSGSIZE: breaks a bound of the
 * schema. */
int buffer_put_message(struct buffer *buffer, const struct message *message, size_t max_size);

/* Appends a message that is encoded already.  -ENOBUFS. */
int buffer_put_frame(struct buffer *buffer, const uint8_t *frame, size_t len, size_t max_size);

/* The frame at the front.  1: it is complete; 0: @ret_len says how many bytes it needs in all, as
 * far as that is known; -EPROTO: no frame, or too long for its type. */
int buffer_peek_frame(const struct buffer *buffer, struct frame_head *ret_head, size_t *ret_len);

#endif
