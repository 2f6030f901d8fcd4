/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bounce.c - the blocks, and who has them.  A forked child has none of them, so what an adapter
 * writes is never on a page that the child took away by writing to it.
 */
#include "io/rdma/bounce.h"

#include <errno.h>
#include <sys/mman.h>

#include "base/check.h"
#include "base/log.h"

void bounce_init(struct bounce *bounce, struct memory *memory)
{
    *bounce = (struct bounce){.memory = memory, .free_blocks = (1u << BOUNCE_BLOCKS) - 1};
    pthread_mutex_init(&bounce->mutex, NULL);
}

void bounce_fini(struct bounce *bounce)
{
    CHECK(bounce->free_blocks == (1u << BOUNCE_BLOCKS) - 1);
    memory_remove(bounce->memory, bounce->range);
    if (bounce->bytes)
        munmap(bounce->bytes, BOUNCE_BLOCKS * BOUNCE_BLOCK_BYTES);
    pthread_mutex_destroy(&bounce->mutex);
}

/* With the mutex. */
static bool make(struct bounce *bounce)
{
    char text[MEMORY_TEXT_BYTES] = "out of memory";
    int error = -ENOMEM;
    const size_t size = BOUNCE_BLOCKS * BOUNCE_BLOCK_BYTES;
    void *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (bytes != MAP_FAILED) {
        madvise(bytes, size, MADV_DONTFORK);
        error = memory_add(bounce->memory, "the bounce buffer", bytes, size, VERBS_LOCAL_WRITE,
                           &bounce->range, text);
        if (!error) {
            bounce->bytes = bytes;
            return true;
        }
        munmap(bytes, size);
    }
    if (error != -ECANCELED)
        log_event(LOG_LEVEL_WARNING, "rdma_no_bounce",
                  "reason=%s effect=\"pages that go to memory of no region come by TCP, or with "
                  "protocol=rdma not at all\"",
                  log_quoted(text));
    bounce->has_failed = true;
    return false;
}

bool bounce_has_failed(struct bounce *bounce)
{
    pthread_mutex_lock(&bounce->mutex);
    bool has_failed = bounce->has_failed;
    pthread_mutex_unlock(&bounce->mutex);
    return has_failed;
}

uint8_t *bounce_borrow(struct bounce *bounce)
{
    uint8_t *block = NULL;
    pthread_mutex_lock(&bounce->mutex);
    if (bounce->free_blocks && !bounce->has_failed && (bounce->bytes || make(bounce))) {
        int index = __builtin_ctz(bounce->free_blocks);
        bounce->free_blocks &= bounce->free_blocks - 1;
        block = bounce->bytes + (size_t)index * BOUNCE_BLOCK_BYTES;
    }
    pthread_mutex_unlock(&bounce->mutex);
    return block;
}

void bounce_return(struct bounce *bounce, uint8_t *block)
{
    if (!block)
        return;
    pthread_mutex_lock(&bounce->mutex);
    bounce->free_blocks |= 1u << ((size_t)(block - bounce->bytes) / BOUNCE_BLOCK_BYTES);
    pthread_mutex_unlock(&bounce->mutex);
}
