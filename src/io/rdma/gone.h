/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gone.h - a device that the kernel has taken away (unplugged, or reset by its driver) lets go of
 * everything, and of nothing by name.
 *
 * The kernel destroys what was made on the device, and answers EIO to whoever asks for it, for
 * ever, beginning a moment before (drivers/infiniband/core/uverbs_main.c,
 * ib_uverbs_free_hw_resources()).  So EIO means that it is done when the device itself is asked and
 * gives the same answer, and has done so for GONE_NS.  A device that is there and fails to destroy
 * is another matter: it may still write.
 */
#ifndef IO_RDMA_GONE_H
#define IO_RDMA_GONE_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define GONE_NS UINT64_C(1000000000)

/* What destroying has come to: @error, or 0.  @since_ns: of the device, 0 at first. */
static inline int gone_judge(_Atomic(uint64_t) *since_ns, int error, bool device_is_gone,
                             uint64_t now_ns)
{
    uint64_t began_ns = 0;
    if (error != -EIO || !device_is_gone)
        return error;
    if (atomic_compare_exchange_strong(since_ns, &began_ns, now_ns))
        began_ns = now_ns;
    return now_ns - began_ns >= GONE_NS ? 0 : error;
}

#endif
