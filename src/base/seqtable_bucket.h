/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seqtable_bucket.h - one bucket of a seqtable: eight atomic words that are read as one.
 *
 * Only seqtable.c includes this.
 *
 * Word 0 holds a 32-bit sequence and the first four bytes of the value, words 1 and 2 the key, the
 * others the rest of the value.  The writer makes the sequence odd, stores the other words with
 * release, and stores word 0 with a new even sequence.  A reader loads word 0, the others with
 * acquire, and word 0 again: whoever saw one word of a later write also sees that write's word 0,
 * or one still later.  So the two looks differ, unless one number is used twice: the caller takes
 * the number of each write from one counter for all buckets.  0 is the number of memory fresh from
 * the kernel, and of no write.
 */
#ifndef BASE_SEQTABLE_BUCKET_H
#define BASE_SEQTABLE_BUCKET_H

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#include "base/id128.h"
#include "base/seqtable.h"

/* The stress test puts a pause here, and the interleaving test a whole call of the other side:
 * between any two steps that the other side may see. */
#ifndef SEQTABLE_PAUSE
#define SEQTABLE_PAUSE() ((void)0)
#endif

enum { BUCKET_WORDS = 8 };
#define BUCKET_WRITING (UINT64_C(1) << 32) /* the sequence is odd */

struct bucket {
    _Alignas(64) _Atomic uint64_t words[BUCKET_WORDS];
};
_Static_assert(sizeof(struct bucket) == 64, "a bucket is one cache line");

static inline uint64_t word_load(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_acquire);
}

static inline void word_store(_Atomic uint64_t *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_release);
    SEQTABLE_PAUSE();
}

/* 0,0: empty.  For a reader the two words may belong to two keys. */
static inline struct id128 bucket_key(const struct bucket *bucket)
{
    return (struct id128){.hi = word_load(&bucket->words[1]), .lo = word_load(&bucket->words[2])};
}

/* The build without the second look proves that the tests need it. */
#ifdef SEQTABLE_BROKEN
#define SECOND_LOOK(bucket, first_look) (first_look)
#else
#define SECOND_LOOK(bucket, first_look) word_load(&(bucket)->words[0])
#endif

/* 0 and the value that stood beside @key; -EAGAIN: it is being written, or holds another key. */
static inline int bucket_read(const struct bucket *bucket, struct id128 key,
                              struct seqtable_value *ret_value)
{
    uint64_t words[BUCKET_WORDS];
    for (int i = 0; i < BUCKET_WORDS; i++) {
        SEQTABLE_PAUSE();
        words[i] = word_load(&bucket->words[i]);
    }
    if (words[0] & BUCKET_WRITING || SECOND_LOOK(bucket, words[0]) != words[0] ||
        words[1] != key.hi || words[2] != key.lo)
        return -EAGAIN;
    uint32_t first = (uint32_t)words[0];
    memcpy(ret_value->bytes, &first, 4);
    memcpy(ret_value->bytes + 4, &words[3], SEQTABLE_VALUE_BYTES - 4);
    return 0;
}

/* The writer only.  @sequence is even, not 0, and was never used in this table before. */
static inline void bucket_write(struct bucket *bucket, uint32_t sequence, struct id128 key,
                                const struct seqtable_value *value)
{
    uint32_t first;
    uint64_t words[BUCKET_WORDS] = {0, key.hi, key.lo};
    memcpy(&first, value->bytes, 4);
    memcpy(&words[3], value->bytes + 4, SEQTABLE_VALUE_BYTES - 4);

    words[0] = (uint64_t)sequence << 32 | first;
    word_store(&bucket->words[0], words[0] | BUCKET_WRITING);
    for (int i = 1; i < BUCKET_WORDS; i++)
        word_store(&bucket->words[i], words[i]);
    word_store(&bucket->words[0], words[0]);
}

#endif
