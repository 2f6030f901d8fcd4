/* SPDX-License-Identifier: Apache-2.0 */
/*
 * member_file.h - the discovery services that a node knew last, kept over restarts.
 *
 * Text, one host:port a line; lines that are none are passed over, so a damaged file costs what is
 * damaged.  The nodes of one host may share it: it is replaced as a whole, and the last one counts.
 */
#ifndef IO_MEMBER_FILE_H
#define IO_MEMBER_FILE_H

#include <stdint.h>

#include "base/address.h"

enum { MEMBER_FILE_MAX = 64 };

/* How many there are; a file that is missing or cannot be read has none. */
uint32_t member_file_read(const char *folder, struct address ret_services[MEMBER_FILE_MAX]);
/* 0 or a negative errno. */
int member_file_write(const char *folder, const struct address *services, uint32_t n);

#endif
