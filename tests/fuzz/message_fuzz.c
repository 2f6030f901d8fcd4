/* SPDX-License-Identifier: Apache-2.0 */
/*
 * message_fuzz.c - any bytes at all, decoded; what decodes must encode to the same bytes.
 *
 * Built with clang -fsanitize=fuzzer it is a libFuzzer target.  Built with -DFUZZ_STANDALONE it has
 * a main() of its own, message_fuzz [ITERATIONS [SEED]], that damages the golden samples: a short
 * run for every compiler.  Both belong under AddressSanitizer.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/splitmix.h"
#include "wire/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct message_scratch scratch;

/* Into exactly as much memory as is needed, so that one byte more would be noticed. */
static void encode_again(const struct message *message, const uint8_t *body, size_t body_len)
{
    size_t size = FRAME_HEAD_BYTES + body_len;
    uint8_t *again = malloc(size);
    CHECK(again != NULL);
    int64_t len = message_encode(message, again, size);
    /* Behind the fields of these two may stand what only a newer build knows. */
    bool may_be_shorter = message->type == MESSAGE_hello || message->type == MESSAGE_refuse;
    CHECK(len == (int64_t)size || (may_be_shorter && len >= FRAME_HEAD_BYTES));
    CHECK(memcmp(again + FRAME_HEAD_BYTES, body, (size_t)len - FRAME_HEAD_BYTES) == 0);
    free(again);
}

/* The length in the head is only decoded; what counts is the length that the input has, or nearly
 * every input would end there. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct frame_head head;
    struct message message;
    if (size < FRAME_HEAD_BYTES || frame_head_decode(data, &head) != 0)
        return 0;
    const uint8_t *body = data + FRAME_HEAD_BYTES;
    head.body_len_bytes = (uint32_t)(size - FRAME_HEAD_BYTES);
    if (message_decode(&head, body, &scratch, &message) == 0)
        encode_again(&message, body, head.body_len_bytes);
    return 0;
}

#ifdef FUZZ_STANDALONE

#include "../golden/samples.h"
#include "wire/shapes.h"

enum { FRAME_SIZE = 4096 };

/* The copy is exactly as long as the frame, so that AddressSanitizer sees a read behind it. */
static void run_one(uint64_t *random)
{
    uint8_t bytes[FRAME_SIZE];
    int type = 1 + (int)(splitmix_next(random) % (MESSAGE_TYPE_END - 1));
    int64_t sample_len = message_encode(samples_get((enum message_type)type), bytes, FRAME_SIZE);
    CHECK(sample_len > 0);
    size_t len = shapes_mutate(bytes, (size_t)sample_len, FRAME_SIZE, random);
    uint8_t *copy = malloc(len > 0 ? len : 1);
    CHECK(copy != NULL);
    memcpy(copy, bytes, len);
    LLVMFuzzerTestOneInput(copy, len);
    free(copy);
}

int main(int argc, char **argv)
{
    uint64_t iterations = argc > 1 ? strtoull(argv[1], NULL, 10) : 100000;
    uint64_t random = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    printf("message_fuzz: iterations=%llu seed=%llu\n", (unsigned long long)iterations,
           (unsigned long long)random);
    for (uint64_t i = 0; i < iterations; i++)
        run_one(&random);
    return 0;
}

#endif
