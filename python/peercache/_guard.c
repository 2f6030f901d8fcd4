/* SPDX-License-Identifier: Apache-2.0 */
/*
 * _guard.c - peercache._native.Guard: a method out of which no exception comes.
 *
 * An exception ends SGLang's storage threads (up to 0.5.16) or its server (get_stats).  A wrapper
 * in Python could itself fail, if only for want of memory; this one has no line of Python between
 * the caller and the answer.  What goes wrong is handed to report(self, name, error), and the
 * answer is the miss that fits the method:
 *
 *     Guard(method, report, miss)              miss itself, or miss() where it can be called
 *     Guard(method, report, miss, "keys")      [miss] for each of the keys that were given
 *     Guard(method, report, miss, "transfers") {transfer.name: [miss] for each of its keys}
 *
 * The argument that the answer follows is the first one, or the keyword of that name.  What is no
 * Exception (a request to stop) passes.  An instance belongs to its class and lives as long.
 */
#include "_native.h"

struct guard_object {
    PyObject_HEAD PyObject *method, *report, *miss, *shape;
};

/* types.MethodType, looked up once: a call that had to import could fail. */
static PyObject *method_type;

static PyObject *guard_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    PyObject *method, *report, *miss, *shape = Py_None;
    struct guard_object *self;

    (void)keywords;
    if (!PyArg_ParseTuple(args, "OOO|O", &method, &report, &miss, &shape))
        return NULL;
    self = (struct guard_object *)PyType_GenericAlloc(type, 0);
    if (!self)
        return NULL;
    Py_INCREF(method);
    Py_INCREF(report);
    Py_INCREF(miss);
    Py_INCREF(shape);
    self->method = method;
    self->report = report;
    self->miss = miss;
    self->shape = shape;
    return (PyObject *)self;
}

static int guard_traverse(PyObject *object, visitproc visit, void *arg)
{
    struct guard_object *self = (struct guard_object *)object;

    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->method);
    Py_VISIT(self->report);
    Py_VISIT(self->miss);
    Py_VISIT(self->shape);
    return 0;
}

static int guard_clear(PyObject *object)
{
    struct guard_object *self = (struct guard_object *)object;

    Py_CLEAR(self->method);
    Py_CLEAR(self->report);
    Py_CLEAR(self->miss);
    Py_CLEAR(self->shape);
    return 0;
}

static void guard_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    freefunc free_object = (freefunc)PyType_GetSlot(type, Py_tp_free);

    PyObject_GC_UnTrack(object);
    guard_clear(object);
    free_object(object);
    Py_DECREF(type);
}

/* What the answer follows: a borrowed reference, or NULL where it was not given. */
static PyObject *subject_of(const struct guard_object *self, PyObject *args, PyObject *keywords)
{
    if (PyTuple_Size(args) > 1)
        return PyTuple_GetItem(args, 1);
    return keywords ? PyDict_GetItemWithError(keywords, self->shape) : NULL;
}

static PyObject *list_of(PyObject *item, PyObject *keys)
{
    Py_ssize_t n = keys && keys != Py_None ? PySequence_Size(keys) : 0, i;
    PyObject *list;

    PyErr_Clear();
    list = PyList_New(n > 0 ? n : 0);
    for (i = 0; list && i < n; i++) {
        Py_INCREF(item);
        PyList_SetItem(list, i, item);
    }
    return list;
}

static int add_transfer(PyObject *answer, PyObject *transfer, PyObject *item)
{
    PyObject *name = PyObject_GetAttrString(transfer, "name");
    PyObject *keys = name ? PyObject_GetAttrString(transfer, "keys") : NULL;
    PyObject *list = name ? list_of(item, keys) : NULL;
    int rc = list ? PyDict_SetItem(answer, name, list) : -1;

    Py_XDECREF(name);
    Py_XDECREF(keys);
    Py_XDECREF(list);
    return rc;
}

static PyObject *transfers_answer(PyObject *item, PyObject *transfers)
{
    Py_ssize_t n = transfers && transfers != Py_None ? PySequence_Size(transfers) : 0, i;
    PyObject *answer = PyDict_New();

    for (i = 0; answer && i < n; i++) {
        PyObject *transfer = PySequence_GetItem(transfers, i);

        if (!transfer || add_transfer(answer, transfer, item) < 0)
            PyErr_Clear(); /* a transfer without a name cannot be answered for */
        Py_XDECREF(transfer);
    }
    PyErr_Clear();
    return answer;
}

static PyObject *guard_miss(const struct guard_object *self, PyObject *args, PyObject *keywords)
{
    PyObject *subject, *answer;

    if (self->shape == Py_None) {
        if (!PyCallable_Check(self->miss)) {
            Py_INCREF(self->miss);
            return self->miss;
        }
        answer = PyObject_CallObject(self->miss, NULL);
    } else {
        subject = subject_of(self, args, keywords);
        answer = PyUnicode_CompareWithASCIIString(self->shape, "transfers") == 0
                     ? transfers_answer(self->miss, subject)
                     : list_of(self->miss, subject);
    }
    if (answer)
        return answer;
    PyErr_Clear();
    Py_RETURN_NONE; /* not even a list could be made */
}

/* Hands the exception that is set to report(), and leaves none: 0.  -1: report() was asked to stop,
 * by what is no Exception, and that is set now. */
static int guard_report(const struct guard_object *self, PyObject *args)
{
    PyObject *type, *value, *trace, *name, *done = NULL;

    PyErr_Fetch(&type, &value, &trace);
    PyErr_NormalizeException(&type, &value, &trace);
    if (value && trace)
        PyException_SetTraceback(value, trace);
    name = PyObject_GetAttrString(self->method, "__name__");
    if (name && value && PyTuple_Size(args) > 0)
        done =
            PyObject_CallFunctionObjArgs(self->report, PyTuple_GetItem(args, 0), name, value, NULL);
    Py_XDECREF(done);
    Py_XDECREF(name);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(trace);
    if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_Exception))
        return -1;
    PyErr_Clear();
    return 0;
}

static PyObject *guard_call(PyObject *object, PyObject *args, PyObject *keywords)
{
    struct guard_object *self = (struct guard_object *)object;
    PyObject *answer = PyObject_Call(self->method, args, keywords);

    if (answer || !PyErr_ExceptionMatches(PyExc_Exception))
        return answer;
    return guard_report(self, args) == 0 ? guard_miss(self, args, keywords) : NULL;
}

/* Binds like a function: instance.method(...) calls guard(instance, ...). */
static PyObject *guard_bind(PyObject *object, PyObject *instance, PyObject *owner)
{
    (void)owner;
    if (!instance || instance == Py_None) {
        Py_INCREF(object);
        return object;
    }
    return PyObject_CallFunctionObjArgs(method_type, object, instance, NULL);
}

/* What a function has beside its call (its name, its text) is that of the method. */
static PyObject *guard_attribute(PyObject *object, PyObject *name)
{
    PyObject *own = PyObject_GenericGetAttr(object, name);

    if (own && own != Py_None)
        return own;
    Py_XDECREF(own);
    PyErr_Clear();
    return PyObject_GetAttr(((struct guard_object *)object)->method, name);
}

PyTypeObject *native_guard_type_new(void)
{
    static PyType_Slot slots[] = {
        {Py_tp_new, (void *)guard_new},
        {Py_tp_dealloc, (void *)guard_dealloc},
        {Py_tp_traverse, (void *)guard_traverse},
        {Py_tp_clear, (void *)guard_clear},
        {Py_tp_call, (void *)guard_call},
        {Py_tp_descr_get, (void *)guard_bind},
        {Py_tp_getattro, (void *)guard_attribute},
        {0, NULL},
    };
    static PyType_Spec spec = {
        .name = "peercache._native.Guard",
        .basicsize = sizeof(struct guard_object),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
        .slots = slots,
    };

    PyObject *types = PyImport_ImportModule("types");

    if (!types)
        return NULL;
    Py_XDECREF(method_type);
    method_type = PyObject_GetAttrString(types, "MethodType");
    Py_DECREF(types);
    return method_type ? (PyTypeObject *)PyType_FromSpec(&spec) : NULL;
}
