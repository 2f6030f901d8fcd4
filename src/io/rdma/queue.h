/* SPDX-License-Identifier: Apache-2.0 */
/*
 * queue.h - one queue pair by which this node reads: chains posted on it by any thread, and its
 * end.
 *
 * Who posts a chain waits for its end, takes the verdicts, and releases it.  No byte of it lands
 * any more once it is DONE; one that FAILED may still be landing until queue_break() has returned.
 */
#ifndef IO_RDMA_QUEUE_H
#define IO_RDMA_QUEUE_H

#include "io/rdma/rail.h"

/* Takes a free place of the rail and makes a queue pair in it.  -ENOSPC: none is free. */
int queue_open(struct rail *rail, struct queue **ret_queue);
int queue_connect(struct queue *queue, const struct verbs_path *path);
/* Nobody uses it any more.  NULL is allowed. */
void queue_close(struct queue *queue);

/* What comes next of the batch, as far as there is room.  -EAGAIN: none now; -ENODATA: the batch is
 * at its end; -EIO: broken.  @scratch is the caller's, used during the call.  @waiter is ticked
 * when the chain ends. */
int queue_post(struct queue *queue, struct chain_reads *scratch, const struct chain_source *source,
               const struct chain_page *pages, uint32_t n, struct chain_cursor *cursor,
               uint32_t waiter, struct chain **ret_chain);
/* One READ of the first slot's header: the path works when it is DONE. */
int queue_post_probe(struct queue *queue, const struct chain_source *source, uint32_t waiter,
                     struct chain **ret_chain);
void queue_release(struct queue *queue, struct chain *chain);

/* Any thread, also several: ends the queue pair, and with it all access of the adapter to the
 * memory of its chains; those under way end as FAILED.  Waits until the adapter has let go. */
void queue_break(struct queue *queue);
bool queue_is_broken(struct queue *queue);

/* The poller: a READ named @id has completed. */
void queue_completed(struct rail *rail, const struct verbs_completion *completion);

#endif
