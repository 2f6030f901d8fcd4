/* SPDX-License-Identifier: Apache-2.0 */
/*
 * _region.c - peercache._native.Region: memory that the node's RDMA devices may read into.
 *
 * The object owns the registration and holds, as long as that lasts, what keeps the memory mapped.
 * It ends with release(), with the object, or with the node, whichever comes first.  Registering
 * takes up to a second a GiB and runs without the interpreter lock; Node.stop() and close() cut it
 * short.  In a forked child nothing is released: the registration is the parent's.
 */
#include "_native.h"

#include <errno.h>

struct region_object {
    PyObject_HEAD struct node_object *node; /* a strong reference */
    struct peercache_region *region;        /* NULL: released, or never there */
    PyObject *memory;                       /* whatever keeps the memory where it is */
};

static int region_register(struct region_object *self, void *base, uint64_t len_bytes)
{
    struct peercache_error error = {{0}};
    int rc = native_node_enter(self->node);

    if (rc < 0) {
        native_raise(native_error, &error, "the node is closed");
        return -1;
    }
    Py_BEGIN_ALLOW_THREADS rc =
        peercache_region_register(self->node->node, base, len_bytes, &self->region, &error);
    native_node_leave(self->node);
    Py_END_ALLOW_THREADS if (rc < 0)
    {
        self->region = NULL;
        native_raise(native_error, &error, "the memory could not be registered");
        return -1;
    }
    return 0;
}

/* A node that is closing releases it; the memory must not go before. */
static void region_end(struct region_object *self, struct peercache_region *region)
{
    int rc = native_node_enter(self->node);

    if (rc == 0) {
        peercache_region_release(region);
        native_node_leave(self->node);
    } else if (rc == -ESHUTDOWN) {
        native_node_await_end(self->node);
    }
}

static void region_release(struct region_object *self)
{
    struct peercache_region *region = self->region;

    self->region = NULL;
    if (region) {
        Py_BEGIN_ALLOW_THREADS region_end(self, region);
        Py_END_ALLOW_THREADS
    }
    Py_CLEAR(self->memory);
}

static PyObject *region_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"node", "address", "len_bytes", "memory", NULL};
    unsigned long long address, len_bytes;
    struct region_object *self;
    PyObject *node, *memory;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O!KKO", names, native_node_type, &node,
                                     &address, &len_bytes, &memory))
        return NULL;
    self = (struct region_object *)PyType_GenericAlloc(type, 0);
    if (!self)
        return NULL;
    Py_INCREF(node);
    Py_INCREF(memory);
    self->node = (struct node_object *)node;
    self->memory = memory;
    if (region_register(self, (void *)(uintptr_t)address, len_bytes) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void region_dealloc(PyObject *object)
{
    struct region_object *self = (struct region_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    freefunc free_object = (freefunc)PyType_GetSlot(type, Py_tp_free);

    region_release(self);
    Py_XDECREF(self->node);
    free_object(object);
    Py_DECREF(type);
}

static PyObject *region_method_release(PyObject *object, PyObject *unused)
{
    (void)unused;
    region_release((struct region_object *)object);
    Py_RETURN_NONE;
}

static PyMethodDef region_methods[] = {
    {"release", region_method_release, METH_NOARGS,
     "release(): waits for calls that read into the memory; idempotent"},
    {NULL, NULL, 0, NULL},
};

PyTypeObject *native_region_type_new(void)
{
    static PyType_Slot slots[] = {
        {Py_tp_new, (void *)region_new},
        {Py_tp_dealloc, (void *)region_dealloc},
        {Py_tp_methods, region_methods},
        {Py_tp_doc, "Region(node, address, len_bytes, memory): memory that RDMA reads straight "
                    "into; holds the object @memory meanwhile.  PeerCacheError: see "
                    "peercache_region_register()."},
        {0, NULL},
    };
    static PyType_Spec spec = {
        .name = "peercache._native.Region",
        .basicsize = sizeof(struct region_object),
        .flags = Py_TPFLAGS_DEFAULT,
        .slots = slots,
    };

    return (PyTypeObject *)PyType_FromSpec(&spec);
}
