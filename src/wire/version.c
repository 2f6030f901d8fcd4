/* SPDX-License-Identifier: Apache-2.0 */
/* version.c - in a file of its own, so that the tests can link a program with another range. */
#include "wire/version.h"

#include "wire/schema.h"

#ifndef WIRE_VERSION_LOWEST
#define WIRE_VERSION_LOWEST WIRE_VERSION_MIN
#endif

const struct wire_versions wire_versions = {WIRE_VERSION_LOWEST, WIRE_VERSION_MAX};
