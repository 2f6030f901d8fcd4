/* SPDX-License-Identifier: Apache-2.0 */
/*
 * _pages.c - peercache._native.Namespace: get, set and exists on lists of pages.
 *
 * A batch comes in as a list of names and flat arrays of addresses and lengths, `segments_per_page`
 * of each a page, which is the form in which SGLang's host pools describe their memory.  The arrays
 * are lists of integers or anything with a buffer of unsigned 64-bit integers.
 *
 * The addresses are used as they are: the caller answers for them being valid and staying mapped
 * until the call returns.  Names are borrowed from bytes objects which the batch holds; those are
 * immutable, so other Python threads may do what they like to the list meanwhile.
 *
 * Nothing here raises for what a page or the world does: a call returns (rc, ...) with rc 0 or a
 * negative errno.  Only arguments of the wrong shape to Python itself are a TypeError.
 */
#include "_native.h"

#include <errno.h>
#include <stdlib.h>

struct namespace_object {
    PyObject_HEAD struct node_object
        *owner; /* a strong reference: the node outlives its namespaces */
    struct peercache_namespace *ns;
};

struct batch {
    size_t n;
    size_t held_count;
    PyObject **held; /* n bytes objects behind the names, then the first parent */
    struct peercache_page *pages;
    struct peercache_segment *segments;
    struct peercache_result *results;
};

typedef int (*batch_call)(struct peercache_namespace *, const struct peercache_page *,
                          struct peercache_result *, size_t, uint32_t);

/* What a call asks for, as parsed. */
struct request {
    PyObject *keys, *addresses, *lengths, *parent;
    Py_ssize_t segments_per_page;
    int chained;
    long long timeout_ms;
    unsigned long long group;
};

static void batch_fini(struct batch *batch)
{
    size_t i;

    for (i = 0; i < batch->held_count; i++)
        Py_XDECREF(batch->held[i]);
    free(batch->held);
    free(batch->pages);
    free(batch->segments);
    free(batch->results);
}

static int batch_init(struct batch *batch, size_t n, size_t segment_count)
{
    *batch = (struct batch){.n = n};
    batch->held = calloc(n + 1, sizeof *batch->held);
    batch->pages = calloc(n + 1, sizeof *batch->pages);
    batch->results = calloc(n + 1, sizeof *batch->results);
    batch->segments = calloc(segment_count + 1, sizeof *batch->segments);
    return batch->held && batch->pages && batch->results && batch->segments ? 0 : -ENOMEM;
}

/*
 * A new reference to the bytes of a name.  What cannot be a name becomes an empty one, which the
 * library refuses for that page alone.
 */
static PyObject *name_bytes(PyObject *name)
{
    PyObject *bytes = NULL;

    if (PyUnicode_Check(name))
        bytes = PyUnicode_AsUTF8String(name);
    else if (PyBytes_Check(name))
        bytes = PyBytes_FromObject(name);
    if (bytes && PyBytes_Size(bytes) <= PEERCACHE_NAME_MAX)
        return bytes;
    Py_XDECREF(bytes);
    PyErr_Clear();
    return PyBytes_FromStringAndSize("", 0);
}

static int batch_hold_name(struct batch *batch, PyObject *name, const void **ret_name,
                           uint32_t *ret_len)
{
    PyObject *bytes = name_bytes(name);
    char *raw;
    Py_ssize_t len;

    if (!bytes)
        return -ENOMEM;
    batch->held[batch->held_count++] = bytes;
    if (PyBytes_AsStringAndSize(bytes, &raw, &len) < 0)
        return -EINVAL;
    *ret_name = raw;
    *ret_len = (uint32_t)len;
    return 0;
}

static int batch_set_names(struct batch *batch, PyObject *keys)
{
    size_t i;

    for (i = 0; i < batch->n; i++) {
        PyObject *key = PySequence_GetItem(keys, (Py_ssize_t)i);
        int rc;

        if (!key)
            return -EINVAL;
        rc = batch_hold_name(batch, key, &batch->pages[i].name, &batch->pages[i].name_len);
        Py_DECREF(key);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* In a chain the parent of a page is the page before it; the first one's may be given. */
static int batch_set_parents(struct batch *batch, const struct request *request)
{
    size_t i;

    if (request->parent != Py_None && batch->n > 0) {
        struct peercache_page *first = &batch->pages[0];
        int rc = batch_hold_name(batch, request->parent, &first->parent, &first->parent_len);

        if (rc < 0)
            return rc;
        if (first->parent_len == 0)
            first->parent = NULL;
    }
    for (i = 1; request->chained && i < batch->n; i++) {
        if (batch->pages[i - 1].name_len == 0)
            continue;
        batch->pages[i].parent = batch->pages[i - 1].name;
        batch->pages[i].parent_len = batch->pages[i - 1].name_len;
    }
    return 0;
}

static int number_from(PyObject *item, uint64_t *ret_number)
{
    PyObject *index = PyNumber_Index(item);

    if (!index)
        return -EINVAL;
    *ret_number = PyLong_AsUnsignedLongLong(index);
    Py_DECREF(index);
    return PyErr_Occurred() ? -EINVAL : 0;
}

static int numbers_from_list(PyObject *list, uint64_t *ret_numbers, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        PyObject *item = PyList_GetItem(list, (Py_ssize_t)i);

        if (!item || number_from(item, &ret_numbers[i]) < 0)
            return -EINVAL;
    }
    return PyList_Size(list) == (Py_ssize_t)n ? 0 : -EINVAL;
}

/* Fills exactly @n numbers.  May leave an exception set, which the caller clears. */
static int numbers_read(PyObject *object, uint64_t *ret_numbers, size_t n)
{
    bool is_sequence = PyList_Check(object) || PyTuple_Check(object);
    PyObject *copy = is_sequence ? PySequence_List(object) : PyBytes_FromObject(object);
    char *raw;
    Py_ssize_t len;
    int rc = -EINVAL;

    if (!copy)
        return -EINVAL;
    if (is_sequence) {
        rc = numbers_from_list(copy, ret_numbers, n);
    } else if (PyBytes_AsStringAndSize(copy, &raw, &len) == 0 &&
               (size_t)len == n * sizeof *ret_numbers) {
        memcpy(ret_numbers, raw, (size_t)len);
        rc = 0;
    }
    Py_DECREF(copy);
    return rc;
}

static int batch_set_segments(struct batch *batch, const struct request *request, size_t count)
{
    size_t per_page = (size_t)request->segments_per_page, i;
    uint64_t *numbers = malloc((2 * count + 1) * sizeof *numbers);
    int rc;

    if (!numbers)
        return -ENOMEM;
    rc = numbers_read(request->addresses, numbers, count);
    if (rc == 0)
        rc = numbers_read(request->lengths, numbers + count, count);
    for (i = 0; rc == 0 && i < count; i++) {
        batch->segments[i].addr = (void *)(uintptr_t)numbers[i];
        batch->segments[i].len_bytes = numbers[count + i];
    }
    for (i = 0; rc == 0 && i < batch->n; i++) {
        batch->pages[i].segments = batch->segments + i * per_page;
        batch->pages[i].segment_count = (uint32_t)per_page;
        batch->pages[i].group = request->group;
    }
    free(numbers);
    return rc;
}

static int batch_fill(struct batch *batch, const struct request *request, size_t count)
{
    int rc = batch_set_names(batch, request->keys);

    if (rc == 0)
        rc = batch_set_parents(batch, request);
    if (rc == 0 && count > 0)
        rc = batch_set_segments(batch, request, count);
    return rc;
}

static int batch_run(struct namespace_object *self, struct batch *batch, batch_call call,
                     long long timeout_ms)
{
    int rc;

    if (timeout_ms < 0 || timeout_ms > (long long)UINT32_MAX)
        return -EINVAL;
    rc = native_node_enter(self->owner);
    if (rc < 0)
        return rc;
    Py_BEGIN_ALLOW_THREADS rc =
        call(self->ns, batch->pages, batch->results, batch->n, (uint32_t)timeout_ms);
    native_node_leave(self->owner);
    Py_END_ALLOW_THREADS return rc;
}

/* (rc, outcomes) or (rc, outcomes, vias), one byte a page, both empty when rc is not 0. */
static PyObject *batch_answer(const struct batch *batch, int rc, bool with_via)
{
    Py_ssize_t n = rc == 0 ? (Py_ssize_t)batch->n : 0, i;
    char *bytes = malloc(2 * (size_t)n + 1);
    PyObject *answer;

    if (!bytes)
        return PyErr_NoMemory();
    for (i = 0; i < n; i++) {
        bytes[i] = (char)batch->results[i].outcome;
        bytes[n + i] = (char)batch->results[i].via;
    }
    answer = with_via ? Py_BuildValue("(iy#y#)", rc, bytes, n, bytes + n, n)
                      : Py_BuildValue("(iy#)", rc, bytes, n);
    free(bytes);
    return answer;
}

static PyObject *request_run(PyObject *object, const struct request *request, batch_call call,
                             bool with_via)
{
    Py_ssize_t n = PySequence_Size(request->keys);
    struct batch batch = {0};
    PyObject *answer;
    size_t count;
    int rc = -EINVAL;

    if (n >= 0 && request->segments_per_page >= 0 &&
        request->segments_per_page <= PEERCACHE_SEGMENTS_MAX) {
        count = (size_t)n * (size_t)request->segments_per_page;
        rc = batch_init(&batch, (size_t)n, count);
        if (rc == 0)
            rc = batch_fill(&batch, request, count);
    }
    PyErr_Clear();
    if (rc == 0 && n > 0)
        rc = batch_run((struct namespace_object *)object, &batch, call, request->timeout_ms);
    answer = batch_answer(&batch, rc, with_via);
    batch_fini(&batch);
    return answer;
}

static PyObject *move_pages(PyObject *self, PyObject *args, PyObject *keywords, batch_call call)
{
    static char *names[] = {"keys",   "addresses", "lengths",    "segments_per_page",
                            "parent", "chained",   "timeout_ms", "group",
                            NULL};
    struct request request = {.parent = Py_None, .timeout_ms = PEERCACHE_TIMEOUT_DEFAULT};

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "OOOn|OpLK", names, &request.keys,
                                     &request.addresses, &request.lengths,
                                     &request.segments_per_page, &request.parent, &request.chained,
                                     &request.timeout_ms, &request.group))
        return NULL;
    return request_run(self, &request, call, true);
}

static PyObject *namespace_get(PyObject *self, PyObject *args, PyObject *keywords)
{
    return move_pages(self, args, keywords, peercache_get);
}

static PyObject *namespace_set(PyObject *self, PyObject *args, PyObject *keywords)
{
    return move_pages(self, args, keywords, peercache_set);
}

static PyObject *namespace_exists(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"keys", "timeout_ms", NULL};
    struct request request = {.parent = Py_None, .timeout_ms = PEERCACHE_TIMEOUT_DEFAULT};

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|L", names, &request.keys,
                                     &request.timeout_ms))
        return NULL;
    return request_run(self, &request, peercache_exists, false);
}

static PyObject *namespace_clear(PyObject *object, PyObject *args)
{
    struct namespace_object *self = (struct namespace_object *)object;
    unsigned int timeout_ms = PEERCACHE_TIMEOUT_DEFAULT;
    int rc;

    if (!PyArg_ParseTuple(args, "|I", &timeout_ms))
        return NULL;
    rc = native_node_enter(self->owner);
    if (rc == 0) {
        Py_BEGIN_ALLOW_THREADS rc = peercache_namespace_clear(self->ns, timeout_ms);
        native_node_leave(self->owner);
        Py_END_ALLOW_THREADS
    }
    return PyLong_FromLong(rc);
}

static void namespace_dealloc(PyObject *object)
{
    struct namespace_object *self = (struct namespace_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    freefunc free_object = (freefunc)PyType_GetSlot(type, Py_tp_free);

    /* A node that is closed, or that a parent process owns, has freed or keeps the handle. */
    if (self->ns && native_node_enter(self->owner) == 0) {
        peercache_namespace_close(self->ns);
        native_node_leave(self->owner);
    }
    Py_XDECREF((PyObject *)self->owner);
    free_object(object);
    Py_DECREF(type);
}

PyObject *native_namespace_wrap(struct node_object *owner, struct peercache_namespace *ns)
{
    struct namespace_object *self;

    self = (struct namespace_object *)PyType_GenericAlloc(native_namespace_type, 0);
    if (!self)
        return NULL;
    Py_INCREF((PyObject *)owner);
    self->owner = owner;
    self->ns = ns;
    return (PyObject *)self;
}

/* A Namespace comes from Node.namespace() only: one made otherwise would have no handle. */
static PyObject *namespace_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    (void)type;
    (void)args;
    (void)keywords;
    PyErr_SetString(PyExc_TypeError, "use Node.namespace(fields)");
    return NULL;
}

#define MOVE_ARGUMENTS                                                                             \
    "(keys, addresses, lengths, segments_per_page, parent=None, chained=False,"                    \
    " timeout_ms, group=0) -> (rc, outcomes, vias)"

static PyMethodDef namespace_methods[] = {
    {"get", (PyCFunction)(void (*)(void))namespace_get, METH_VARARGS | METH_KEYWORDS,
     "get" MOVE_ARGUMENTS},
    {"set", (PyCFunction)(void (*)(void))namespace_set, METH_VARARGS | METH_KEYWORDS,
     "set" MOVE_ARGUMENTS},
    {"exists", (PyCFunction)(void (*)(void))namespace_exists, METH_VARARGS | METH_KEYWORDS,
     "exists(keys, timeout_ms) -> (rc, outcomes)"},
    {"clear", namespace_clear, METH_VARARGS, "clear(timeout_ms) -> rc"},
    {NULL, NULL, 0, NULL},
};

PyTypeObject *native_namespace_type_new(void)
{
    static PyType_Slot slots[] = {
        {Py_tp_new, (void *)namespace_new},
        {Py_tp_dealloc, (void *)namespace_dealloc},
        {Py_tp_methods, namespace_methods},
        {Py_tp_doc, "Pages that are comparable; from Node.namespace(fields)."},
        {0, NULL},
    };
    static PyType_Spec spec = {
        .name = "peercache._native.Namespace",
        .basicsize = sizeof(struct namespace_object),
        .flags = Py_TPFLAGS_DEFAULT,
        .slots = slots,
    };

    return (PyTypeObject *)PyType_FromSpec(&spec);
}
