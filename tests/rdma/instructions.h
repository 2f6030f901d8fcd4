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

#include "base/sanitizer.h"

/* What a sanitizer or coverage puts in is counted too. */
#define INSTRUCTIONS_ARE_MORE (UNDER_ADDRESS_SANITIZER || UNDER_THREAD_SANITIZER)

/* -EPERM: no process may be traced here; -ECHILD: the call has not ended well.  The call changes
 * memory of the child only. */
int64_t instructions_count(void (*call)(void *context), void *context);

#endif
