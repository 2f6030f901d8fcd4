/* SPDX-License-Identifier: Apache-2.0 */
/*
 * instructions.h - how many instructions a call takes in user mode, counted one by one.
 *
 * A child of this process makes the call and is traced in single steps, so the figure is exact, the
 * same on a busy machine, and needs no counter of the processor, which virtual machines often lack.
 * Each turn of a repeated string instruction is a step.
 */
#ifndef TESTS_RDMA_INSTRUCTIONS_H
#define TESTS_RDMA_INSTRUCTIONS_H

#include <stdint.h>

/* What a sanitizer or coverage puts in is counted too. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define INSTRUCTIONS_ARE_MORE 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define INSTRUCTIONS_ARE_MORE 1
#endif
#endif
#ifndef INSTRUCTIONS_ARE_MORE
#define INSTRUCTIONS_ARE_MORE 0
#endif

/* -EPERM: no process may be traced here; -ECHILD: the call has not ended well.  The call changes
 * memory of the child only. */
int64_t instructions_count(void (*call)(void *context), void *context);

#endif
