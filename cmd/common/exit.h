/* SPDX-License-Identifier: Apache-2.0 */
/* exit.h - how the programs end; also in their --help and manual pages. */
#ifndef COMMON_EXIT_H
#define COMMON_EXIT_H

enum exit_status {
    EXIT_OK = 0,
    EXIT_MISS = 1,        /* peercache: a page that was asked for is not there */
    EXIT_OPEN_FAILED = 1, /* peercached: the node could not start */
    EXIT_USAGE = 2,       /* the command line, the environment or a file names what cannot be */
    EXIT_UNREACHABLE = 3, /* no answer from the node */
    EXIT_REFUSED = 4,     /* the node, or this machine, refused or failed */
    EXIT_SUPERSEDED = 5,  /* peercached: another process has the node's id */
};

#endif
