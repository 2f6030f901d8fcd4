/* SPDX-License-Identifier: Apache-2.0 */
/* model_queue.h - queues of the model: the part of its table that model_queue.c has. */
#ifndef TESTS_RDMA_MODEL_QUEUE_H
#define TESTS_RDMA_MODEL_QUEUE_H

#include "model_internal.h"

int model_completions_create(const struct verbs *verbs, struct verbs_device *device, uint32_t depth,
                             struct verbs_completions **ret_completions);
void model_completions_destroy(const struct verbs *verbs, struct verbs_completions *completions);
int model_poll(const struct verbs *verbs, struct verbs_completions *completions,
               struct verbs_completion *ret_completions, uint32_t most, uint32_t *ret_n);
int model_arm(const struct verbs *verbs, struct verbs_completions *completions);
int model_completions_fd(const struct verbs *verbs, const struct verbs_completions *completions);
void model_woken(const struct verbs *verbs, struct verbs_completions *completions);
int model_queue_create(const struct verbs *verbs, struct verbs_device *device,
                       const struct verbs_queue_request *request, struct verbs_queue **ret_queue,
                       struct verbs_queue_made *ret_made);
int model_queue_connect(const struct verbs *verbs, struct verbs_queue *queue,
                        const struct verbs_path *path);
int model_queue_destroy(const struct verbs *verbs, struct verbs_queue *queue);
int model_post(const struct verbs *verbs, struct verbs_queue *queue, const struct verbs_read *reads,
               uint32_t n, uint32_t *ret_posted);

/* Frees also the destroyed ones. */
void model_free_queues(struct model *model);

#endif
