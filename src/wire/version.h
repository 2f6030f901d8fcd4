/* SPDX-License-Identifier: Apache-2.0 */
/*
 * version.h - the protocol versions that this build speaks, lowest and highest.
 *
 * Two nodes use the highest that both speak, on each connection by itself (io/hello.h).  What never
 * changes, and how a version may differ from the one before, is in ARCHITECTURE.md.
 */
#ifndef WIRE_VERSION_H
#define WIRE_VERSION_H

#include <stdint.h>

struct wire_versions {
    uint16_t min, max;
};

extern const struct wire_versions wire_versions;

#endif
