/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chain.h - pages of one peer as a chain of READs for one queue pair, and the verdict on them.
 *
 *     payload ... payload | headers (the first fenced) ... headers (the last signalled)
 *
 * The fence holds the headers back until all the payload has landed, so a header that still bears
 * the expected generation, sealed, was sampled after all of it: the bytes were whole.  A page that
 * does not fit, or is split over several queue pairs, is several parts; each has a header READ of
 * its own behind its bytes on the queue pair that brought them, and the page is whole when all of
 * its parts are.
 *
 * Pure: memory is the caller's, nothing is posted here.  A chain belongs to one thread at a time,
 * but for its end, which chain_finish() tells from another thread.
 */
#ifndef IO_RDMA_CHAIN_H
#define IO_RDMA_CHAIN_H

#include <stdatomic.h>

#include "io/rdma/verbs.h"
#include "wire/slot_header.h"

enum {
    CHAIN_PARTS_MAX = 128,
    CHAIN_SEGMENTS_MAX = 1024, /* of all its reads */
    /* A header READ goes on over so many slots that nobody asked for: 64 bytes each cost less than
     * another message. */
    CHAIN_SLOTS_PASSED = 3,
    CHAIN_HEADERS_MAX = CHAIN_PARTS_MAX * (1 + CHAIN_SLOTS_PASSED),
    /* The same of payload: between neighbours lies the name of the first, 255 bytes at most, and
     * what rounds it up to 64. */
    CHAIN_PASSED_BYTES = 320,
    /* What a chain's end costs, a journey and a half, is hidden by the other queue pair's payload,
     * of which there should be so much: 20 us at 400 Gbit/s.  A larger page is several parts. */
    CHAIN_PAYLOAD_BYTES = 1 << 20,
};
/* Memory is registered in slices of this size, of which a READ never sees two: some adapters are
 * slower in larger ones. */
#define CHAIN_SLICE_BYTES (UINT64_C(1) << 31)

/* Where headers land, and payload that nobody asked for; registered for local writes by its owner,
 * who frees it after the queue pair. */
struct chain_landing {
    struct slot_header headers[CHAIN_HEADERS_MAX];
    uint8_t passed[CHAIN_PASSED_BYTES];
};

/* A peer's arena as it can be read on one rail.  All of it is the peer's word: wrong addresses and
 * keys cost a refused READ or bytes whose header does not match. */
struct chain_source {
    uint64_t headers_addr, payload_addr; /* at the peer */
    uint64_t payload_bytes;
    uint32_t slot_count;
    uint32_t key_count;   /* may still grow */
    uint64_t base_addr;   /* of the first slice */
    const uint32_t *keys; /* remote, a slice */
};

/* Bytes of one page that one queue pair is to bring: all of it, or a part. */
struct chain_page {
    struct slot_expectation expected;
    uint32_t slot;
    uint32_t from_bytes, len_bytes; /* of the page */
    uint32_t segment_count;
    const struct verbs_segment *segments; /* none is empty; they add up to len_bytes */
};

/* 0; -EBADMSG: no such place in the arena; -EAGAIN: it is not registered, so far. */
int chain_check_page(const struct chain_source *source, const struct chain_page *page);

/* How far a batch has been asked for.  All zero is the start. */
struct chain_cursor {
    uint32_t page, page_bytes; /* the next byte of pages[page] */
    uint32_t segment, segment_bytes;
};

/* What the queue pair takes, now. */
struct chain_room {
    uint32_t reads;         /* not under way; at most VERBS_CHAIN_MAX are used */
    uint32_t segments;      /* of one READ, at most VERBS_SEGMENTS_MAX */
    uint32_t message_bytes; /* of one READ */
    uint32_t payload_bytes; /* of the chain; CHAIN_PAYLOAD_BYTES as a rule */
};

enum chain_end { CHAIN_UNDER_WAY, CHAIN_DONE, CHAIN_FAILED };

/* What is to be remembered until the verdict. */
struct chain {
    _Atomic(uint64_t) end; /* the id, and behind it 2 bits of enum chain_end */
    uint32_t n_reads, n_parts;
    const struct chain_landing *landing;
    struct chain_part {
        uint32_t page; /* index in the batch */
        uint32_t len_bytes;
        uint32_t landed;  /* index of its header in the landing */
        bool has_verdict; /* always, but in tests without that protection */
    } parts[CHAIN_PARTS_MAX];
};

/* The READs of a chain, until they are posted. */
struct chain_reads {
    struct verbs_read reads[VERBS_CHAIN_MAX];
    struct verbs_segment segments[CHAIN_SEGMENTS_MAX];
    uint32_t n_segments;
};

/* Makes a chain of what comes next, all of it named @id, and moves the cursor behind it.  An id has
 * 62 bits and is used once in the life of the chain's memory.  Pages were checked with
 * chain_check_page().  Returns the number of READs; 0: the batch is at its end, or
 * there is no room for a page with its header. */
uint32_t chain_build(struct chain *chain, struct chain_reads *reads,
                     const struct chain_source *source, const struct chain_page *pages, uint32_t n,
                     struct chain_cursor *cursor, const struct chain_room *room, uint64_t id,
                     const struct chain_landing *landing, uint32_t landing_key);

/* Any thread: a READ named @id has completed so, or (VERBS_FLUSHED) its queue pair is destroyed.
 * Only the signalled one tells of success.  False: the end was known already, or the chain is
 * another one by now. */
bool chain_finish(struct chain *chain, uint64_t id, enum verbs_status status);
static inline enum chain_end chain_end(const struct chain *chain)
{
    return (enum chain_end)(atomic_load_explicit(&chain->end, memory_order_acquire) & 3);
}
static inline uint64_t chain_id(const struct chain *chain)
{
    return atomic_load_explicit(&chain->end, memory_order_relaxed) >> 2;
}

/* Of a part, once the chain has ended: 0: its bytes are in the segments, and were whole.  -ESTALE:
 * the holder let the page go; -EBADMSG: the location was wrong; -EIO: its bytes may have come or
 * not, and may still be coming unless the queue pair is destroyed.  The sample is the header's, on
 * success. */
int chain_verdict(const struct chain *chain, uint32_t part, const struct chain_page *pages,
                  struct slot_sample *ret_sample);

#endif
