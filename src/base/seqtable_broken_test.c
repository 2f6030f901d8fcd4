/* SPDX-License-Identifier: Apache-2.0 */
/* seqtable_broken_test.c - without the second look at the sequence, overtaken readers are wrong. */
#define SEQTABLE_BROKEN
#include "base/seqtable_interleave_test.c"
