/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buffer.c - bytes that wait between a socket and the codec.
 *
 * A buffer belongs to one connection and its thread.
 */
#include "io/buffer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

/* A hello with its answer fits; the next sizes are its doubles. */
enum { BUFFER_MIN_BYTES = 1024 };

int buffer_reserve(struct buffer *buffer, size_t room, size_t max_size)
{
    if (buffer_room(buffer) >= room)
        return 0;
    size_t len = buffer_len(buffer);
    if (len + room > max_size)
        return -ENOBUFS;
    if (len + room > buffer->size) {
        size_t size = buffer->size > 0 ? buffer->size : BUFFER_MIN_BYTES;
        while (size < len + room)
            size *= 2;
        if (size > max_size)
            size = max_size;
        uint8_t *bytes = malloc(size);
        if (bytes == NULL)
            return -ENOMEM;
        if (len > 0)
            memcpy(bytes, buffer->bytes + buffer->begin, len);
        free(buffer->bytes);
        buffer->bytes = bytes;
        buffer->size = size;
    } else if (len > 0) {
        memmove(buffer->bytes, buffer->bytes + buffer->begin, len);
    }
    buffer->begin = 0;
    buffer->end = len;
    return 0;
}

void buffer_consume(struct buffer *buffer, size_t len)
{
    CHECK(len <= buffer_len(buffer));
    buffer->begin += len;
    if (buffer->begin == buffer->end)
        buffer->begin = buffer->end = 0;
}

void buffer_fini(struct buffer *buffer)
{
    free(buffer->bytes);
    *buffer = (struct buffer){0};
}

/* Most messages are far below their type's bound, so the room is guessed first, and doubled while
 * the codec says that it does not do. */
int buffer_put_message(struct buffer *buffer, const struct message *message, size_t max_size)
{
    size_t most = message_max_bytes(message->type);
    size_t room = buffer_room(buffer) > 0 ? buffer_room(buffer) : BUFFER_MIN_BYTES;
    for (;;) {
        if (room > most)
            room = most;
        int error = buffer_reserve(buffer, room, max_size);
        if (error < 0)
            return error;
        int64_t len = message_encode(message, buffer->bytes + buffer->end, buffer_room(buffer));
        if (len >= 0) {
            buffer->end += (size_t)len;
            return 0;
        }
        if (len != -EMSGSIZE || room == most)
            return (int)len;
        room *= 2;
    }
}

int buffer_put_frame(struct buffer *buffer, const uint8_t *frame, size_t len, size_t max_size)
{
    int error = buffer_reserve(buffer, len, max_size);
    if (error < 0)
        return error;
    memcpy(buffer->bytes + buffer->end, frame, len);
    buffer->end += len;
    return 0;
}

int buffer_peek_frame(const struct buffer *buffer, struct frame_head *ret_head, size_t *ret_len)
{
    *ret_len = FRAME_HEAD_BYTES;
    if (buffer_len(buffer) < FRAME_HEAD_BYTES)
        return 0;
    if (frame_head_decode(buffer->bytes + buffer->begin, ret_head) < 0)
        return -EPROTO;
    *ret_len = FRAME_HEAD_BYTES + (size_t)ret_head->body_len_bytes;
    return buffer_len(buffer) >= *ret_len;
}
