/* SPDX-License-Identifier: Apache-2.0 */
/* thread.h - threads of this library, in a host program that does not know of them. */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>

/* Signals are the host program's, so the thread takes none.  @attributes: NULL, or what
 * pthread_create() is to be given; @name: 15 bytes at most.  0, or what pthread_create() says,
 * negative. */
int thread_start(pthread_t *ret_thread, const pthread_attr_t *attributes, const char *name,
                 void *(*run)(void *), void *context);
/* Its timed waits go by clock_now_ns(), which nobody sets. */
void thread_cond_init(pthread_cond_t *cond);

#endif
