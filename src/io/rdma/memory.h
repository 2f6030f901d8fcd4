/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.h - memory that adapters may use: registered on every rail, in slices, and found again by
 * its address.
 *
 * A range is the pool (others may read it), a region of the caller's (reads may land there), or the
 * bounce buffer.  It may be used slice by slice while the rest is still being registered.  Who
 * reads into it borrows it meanwhile, and its end waits for that: no adapter knows its keys any
 * more when memory_remove() returns.
 */
#ifndef IO_RDMA_MEMORY_H
#define IO_RDMA_MEMORY_H

#include "io/rdma/chain.h"
#include "io/rdma/verbs.h"

enum {
    MEMORY_RAILS_MAX = 8,
    MEMORY_RANGES_MAX = 128, /* of one node */
    MEMORY_THREADS_MAX =
        4, /* that register one range; the kernel pins pages at about 2 GiB/s each */
    MEMORY_TEXT_BYTES = 320,
};
/* Registering that takes longer than this tells how far it is, and so again. */
#define MEMORY_TELL_NS UINT64_C(2000000000)

struct memory;
struct memory_range;

/* The devices, in the order of the rails; they outlive it. */
int memory_new(const struct verbs *verbs, struct verbs_device *const *devices, uint32_t n_rails,
               struct memory **ret_memory);
/* All ranges were removed.  NULL is allowed. */
void memory_free(struct memory *memory);

/* Any thread; waits until all of it is registered on all rails; others find its slices meanwhile.
 * @what names it in the log.  All or nothing: on failure (-ENOMEM as a rule: the limit of locked
 * memory; -ENOSPC: too many ranges) it is as after memory_remove(), and @ret_text is a sentence
 * that says what to change. */
int memory_add(struct memory *memory, const char *what, void *addr, uint64_t len_bytes,
               uint32_t rights, struct memory_range **ret_range, char ret_text[MEMORY_TEXT_BYTES]);
/* Any thread: waits for those who have borrowed it, and for the adapters, and frees the range.
 * NULL is allowed. */
void memory_remove(struct memory *memory, struct memory_range *range);

/* Any thread: what is being registered is given up soon, and nothing can be registered any more:
 * -ECANCELED.  What is registered stays. */
void memory_give_up(struct memory *memory);

/* The range with reads' landing rights around these bytes, or NULL; given back by
 * memory_return(). */
struct memory_range *memory_borrow(struct memory *memory, const void *addr, uint64_t len_bytes);
void memory_return(struct memory *memory, struct memory_range *range);
bool memory_range_holds(const struct memory_range *range, const void *addr, uint64_t len_bytes);
uint64_t memory_range_bytes(const struct memory_range *range);
/* Whether these bytes, which it holds, are registered on all rails by now. */
bool memory_range_is_ready(const struct memory_range *range, const void *addr, uint64_t len_bytes);

/* The bytes as segments with their local keys, cut where slices end, for one rail.  The number of
 * segments; 0: more than @most would be needed, or a slice is not registered yet. */
uint32_t memory_cut(const struct memory_range *range, uint32_t rail, const void *addr,
                    uint64_t len_bytes, struct verbs_segment *ret_segments, uint32_t most);

/* The remote keys of the first slices of the range that begins at @addr, as many as are registered
 * without a gap; at most @most.  Any thread. */
uint32_t memory_remote_keys(struct memory *memory, const void *addr, uint32_t rail,
                            uint32_t *ret_keys, uint32_t most);

#endif
