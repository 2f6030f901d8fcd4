/* SPDX-License-Identifier: Apache-2.0 */
/*
 * _native.h - what the files of the module peercache._native share.
 */
#ifndef PEERCACHE_NATIVE_H
#define PEERCACHE_NATIVE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

#include "peercache.h"

/*
 * A node as Python sees it.  Calls run without the interpreter lock, so close() may come while
 * other threads are inside the library: each call enters first, and close() waits until all that
 * entered have left.  The lock guards three words and is never held across a library call.
 */
struct node_object {
    PyObject_HEAD struct peercache_node *node;
    pid_t pid;     /* the process that opened it; a forked child must not lock */
    bool has_lock; /* false on an object whose constructor failed early */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned calls;
    bool closing, closed;
};

/* Created once by the module's initialisation and never freed. */
extern PyObject *native_error, *native_config_error;
extern PyTypeObject *native_node_type, *native_namespace_type;

/* Sets PeerCacheError(text).  Always returns NULL. */
PyObject *native_raise(PyObject *type, const struct peercache_error *error, const char *what);

/* A new reference to @text as UTF-8 bytes without a NUL inside, or NULL with an exception set. */
PyObject *native_text(PyObject *text, const char **ret_text);

/* 0 and a configuration: the defaults, then the environment if wanted, then @options (a dict of
 * strings or None).  -1: an exception is set. */
int native_config(PyObject *options, int environment, struct peercache_config **ret_config);

/* 0: the node stays open until native_node_leave().  -ECHILD, -ESHUTDOWN. */
int native_node_enter(struct node_object *self);
void native_node_leave(struct node_object *self);
/* Waits until a node that is closing is closed.  Without the interpreter lock, outside of a
 * call. */
void native_node_await_end(struct node_object *self);

PyMODINIT_FUNC PyInit__native(void);

PyTypeObject *native_node_type_new(void);
PyTypeObject *native_namespace_type_new(void);
PyTypeObject *native_guard_type_new(void);
PyTypeObject *native_region_type_new(void);

/* The Namespace that Node.namespace() returns; takes over @ns on success only. */
PyObject *native_namespace_wrap(struct node_object *owner, struct peercache_namespace *ns);

#endif
