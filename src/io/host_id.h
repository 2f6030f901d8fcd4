/* SPDX-License-Identifier: Apache-2.0 */
/* host_id.h - which host this is, and ids that nobody else has. */
#ifndef IO_HOST_ID_H
#define IO_HOST_ID_H

#include "base/id128.h"

/* The kernel's boot id: equal in all containers of a host, another one after every boot.  A
 * negative errno where it cannot be read (@path is HOST_ID_BOOT_PATH but in tests). */
#define HOST_ID_BOOT_PATH "/proc/sys/kernel/random/boot_id"
int host_id_boot(const char *path, struct id128 *ret_id);

/* Never zero. */
int host_id_random(struct id128 *ret_id);

#endif
