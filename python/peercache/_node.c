/* SPDX-License-Identifier: Apache-2.0 */
/*
 * _node.c - peercache._native.Node: one member of the cluster, owned by a Python object.
 *
 * The object owns the handle from open to close(); an object that is dropped without close()
 * closes its node then.  Any Python thread may call anything at any time.  In a forked child
 * nothing is locked and nothing is closed: the handle belongs to the parent.
 *
 * Invariant: the handle is freed only when `calls` is 0 and `closing` is set, and no call enters
 * once `closing` is set.
 */
#include "_native.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

int native_node_enter(struct node_object *self)
{
    int rc = 0;

    if (getpid() != self->pid)
        return -ECHILD;
    pthread_mutex_lock(&self->lock);
    if (self->closing)
        rc = -ESHUTDOWN;
    else
        self->calls++;
    pthread_mutex_unlock(&self->lock);
    return rc;
}

void native_node_leave(struct node_object *self)
{
    pthread_mutex_lock(&self->lock);
    self->calls--;
    if (self->calls == 0)
        pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->lock);
}

void native_node_await_end(struct node_object *self)
{
    pthread_mutex_lock(&self->lock);
    while (!self->closed)
        pthread_cond_wait(&self->changed, &self->lock);
    pthread_mutex_unlock(&self->lock);
}

/* Whoever sets `closing` closes; everybody else waits for it, so that close() means closed. */
static void node_close(struct node_object *self)
{
    bool is_mine;

    pthread_mutex_lock(&self->lock);
    is_mine = !self->closing;
    self->closing = true;
    pthread_mutex_unlock(&self->lock);
    if (is_mine)
        peercache_node_stop(self->node);

    if (!is_mine) {
        native_node_await_end(self);
        return;
    }
    pthread_mutex_lock(&self->lock);
    while (self->calls > 0)
        pthread_cond_wait(&self->changed, &self->lock);
    pthread_mutex_unlock(&self->lock);

    peercache_node_close(self->node);
    pthread_mutex_lock(&self->lock);
    self->node = NULL;
    self->closed = true;
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->lock);
}

static int node_open(struct node_object *self, PyObject *options, int environment)
{
    struct peercache_error error = {{0}};
    struct peercache_config *config;
    int rc;

    if (native_config(options, environment, &config) < 0)
        return -1;
    Py_BEGIN_ALLOW_THREADS rc = peercache_node_open(config, &self->node, &error);
    peercache_config_free(config);
    Py_END_ALLOW_THREADS if (rc < 0)
    {
        self->node = NULL;
        native_raise(native_error, &error, "the node could not be opened");
        return -1;
    }
    return 0;
}

static PyObject *node_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"options", "environment", NULL};
    PyObject *options = Py_None;
    struct node_object *self;
    int environment = 1;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|Op", names, &options, &environment))
        return NULL;
    self = (struct node_object *)PyType_GenericAlloc(type, 0);
    if (!self)
        return NULL;
    self->pid = getpid();
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->changed, NULL);
    self->has_lock = true;
    if (node_open(self, options, environment) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void node_dealloc(PyObject *object)
{
    struct node_object *self = (struct node_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    freefunc free_object = (freefunc)PyType_GetSlot(type, Py_tp_free);

    /* Namespaces and calls hold references, so nobody else is inside now. */
    if (self->node && getpid() == self->pid) {
        Py_BEGIN_ALLOW_THREADS node_close(self);
        Py_END_ALLOW_THREADS
    }
    if (self->has_lock && getpid() == self->pid) {
        pthread_cond_destroy(&self->changed);
        pthread_mutex_destroy(&self->lock);
    }
    free_object(object);
    Py_DECREF(type);
}

static PyObject *node_method_close(PyObject *object, PyObject *unused)
{
    struct node_object *self = (struct node_object *)object;

    (void)unused;
    if (getpid() == self->pid) {
        Py_BEGIN_ALLOW_THREADS node_close(self);
        Py_END_ALLOW_THREADS
    }
    Py_RETURN_NONE;
}

static PyObject *node_method_stop(PyObject *object, PyObject *unused)
{
    struct node_object *self = (struct node_object *)object;

    (void)unused;
    if (native_node_enter(self) == 0) {
        Py_BEGIN_ALLOW_THREADS peercache_node_stop(self->node);
        native_node_leave(self);
        Py_END_ALLOW_THREADS
    }
    Py_RETURN_NONE;
}

static PyObject *node_method_status(PyObject *object, PyObject *unused)
{
    struct node_object *self = (struct node_object *)object;
    PyObject *text;
    char *json = NULL;
    int rc;

    (void)unused;
    if (native_node_enter(self) < 0)
        Py_RETURN_NONE;
    Py_BEGIN_ALLOW_THREADS rc = peercache_node_status(self->node, &json);
    native_node_leave(self);
    Py_END_ALLOW_THREADS if (rc < 0) Py_RETURN_NONE;
    text = PyUnicode_DecodeUTF8(json, (Py_ssize_t)strlen(json), "replace");
    free(json);
    return text;
}

static PyObject *node_method_has_rdma(PyObject *object, PyObject *unused)
{
    struct node_object *self = (struct node_object *)object;
    long answer;

    (void)unused;
    if (native_node_enter(self) < 0)
        Py_RETURN_FALSE;
    answer = peercache_node_has_rdma(self->node);
    native_node_leave(self);
    return PyBool_FromLong(answer);
}

/* An array of C strings that point into @held, a list of bytes objects; NULL: exception set. */
static const char **fields_borrow(PyObject *fields, PyObject *held, Py_ssize_t n)
{
    const char **texts = PyMem_Malloc((size_t)(n ? n : 1) * sizeof *texts);
    Py_ssize_t i;

    if (!texts) {
        PyErr_NoMemory();
        return NULL;
    }
    for (i = 0; i < n; i++) {
        PyObject *field = PySequence_GetItem(fields, i);
        PyObject *bytes = field ? native_text(field, &texts[i]) : NULL;
        int rc = bytes ? PyList_Append(held, bytes) : -1;

        Py_XDECREF(bytes);
        Py_XDECREF(field);
        if (rc < 0) {
            PyMem_Free(texts);
            return NULL;
        }
    }
    return texts;
}

static PyObject *namespace_open(struct node_object *self, const char *const *texts, Py_ssize_t n)
{
    struct peercache_error error = {{0}};
    struct peercache_namespace *ns = NULL;
    PyObject *wrapped;
    int rc = native_node_enter(self);

    if (rc < 0)
        return native_raise(native_error, &error, "the node is closed");
    Py_BEGIN_ALLOW_THREADS rc = peercache_namespace_open(self->node, texts, (size_t)n, &ns, &error);
    Py_END_ALLOW_THREADS wrapped =
        rc < 0 ? native_raise(native_error, &error, "the namespace could not be opened")
               : native_namespace_wrap(self, ns);
    if (rc == 0 && !wrapped)
        peercache_namespace_close(ns);
    native_node_leave(self);
    return wrapped;
}

static PyObject *node_method_namespace(PyObject *object, PyObject *fields)
{
    Py_ssize_t n = PySequence_Size(fields);
    PyObject *held, *wrapped = NULL;
    const char **texts;

    if (n < 0)
        return NULL;
    held = PyList_New(0);
    if (!held)
        return NULL;
    texts = fields_borrow(fields, held, n);
    if (texts) {
        wrapped = namespace_open((struct node_object *)object, texts, n);
        PyMem_Free(texts);
    }
    Py_DECREF(held);
    return wrapped;
}

static PyMethodDef node_methods[] = {
    {"namespace", node_method_namespace, METH_O,
     "namespace(fields) -> Namespace; fields is a list of 'label=value'"},
    {"status", node_method_status, METH_NOARGS, "status() -> JSON text, or None once closed"},
    {"has_rdma", node_method_has_rdma, METH_NOARGS,
     "has_rdma() -> whether it reads by RDMA, so that a Region is of use"},
    {"stop", node_method_stop, METH_NOARGS, "stop(): calls in flight end soon, as refused"},
    {"close", node_method_close, METH_NOARGS, "close(): stop, wait for calls, leave; idempotent"},
    {NULL, NULL, 0, NULL},
};

PyTypeObject *native_node_type_new(void)
{
    static PyType_Slot slots[] = {
        {Py_tp_new, (void *)node_new},
        {Py_tp_dealloc, (void *)node_dealloc},
        {Py_tp_methods, node_methods},
        {Py_tp_doc, "Node(options=None, environment=True): a member of the cluster."},
        {0, NULL},
    };
    static PyType_Spec spec = {
        .name = "peercache._native.Node",
        .basicsize = sizeof(struct node_object),
        .flags = Py_TPFLAGS_DEFAULT,
        .slots = slots,
    };

    return (PyTypeObject *)PyType_FromSpec(&spec);
}
