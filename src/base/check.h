/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.h - assertions that stay on in release builds.
 *
 * CHECK is for what our own code must never do.  What the world does to us is an error value.
 */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

_Noreturn void check_failed(const char *condition, const char *file, int line);

#define CHECK(condition) ((condition) ? (void)0 : check_failed(#condition, __FILE__, __LINE__))

#endif
