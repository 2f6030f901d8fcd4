/* SPDX-License-Identifier: Apache-2.0 */
/* memlock.h - how much memory this process may register: adapters need it locked. */
#ifndef IO_RDMA_MEMLOCK_H
#define IO_RDMA_MEMLOCK_H

#include <stdbool.h>
#include <stdint.h>

enum { MEMLOCK_TEXT_BYTES = 256 };

#define MEMLOCK_UNLIMITED UINT64_MAX

/* RLIMIT_MEMLOCK, or MEMLOCK_UNLIMITED where it does not hold this process.  @root stands before
 * /proc: "" but in tests. */
uint64_t memlock_limit_bytes(const char *root);

/* Whether @needed_bytes may be registered; if not, a sentence that names the limit and says how it
 * is raised. */
bool memlock_allows(uint64_t limit_bytes, uint64_t needed_bytes, char ret_text[MEMLOCK_TEXT_BYTES]);

#endif
