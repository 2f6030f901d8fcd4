/* SPDX-License-Identifier: Apache-2.0 */
/*
 * _native.c - the module peercache._native: options, names and constants.
 *
 * The module is thin on purpose.  It turns Python values into the structures of peercache.h, lets
 * go of the interpreter lock, calls, and turns the results back; policy lives in store.py.  It is
 * built for the stable ABI (Python 3.9 and later), so one file serves every interpreter.
 *
 * Ownership: Node and Namespace objects own their handles (_node.c, _pages.c).  Buffers are passed
 * as raw addresses and stay the caller's: he keeps them mapped until the call returns.
 */
#include "_native.h"

PyObject *native_error, *native_config_error;
PyTypeObject *native_node_type, *native_namespace_type;

_Static_assert(PEERCACHE_REFUSED_DRAINING < 256, "outcomes are handed out as one byte a page");
_Static_assert(sizeof(long) == 8, "the constants, PEERCACHE_TIMEOUT_DEFAULT too, fit a long");

PyObject *native_raise(PyObject *type, const struct peercache_error *error, const char *what)
{
    /* "replace": the text may quote bytes that a user typed, and must arrive in any case. */
    const char *text = error->text[0] ? error->text : what;
    PyObject *message = PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");

    if (message) {
        PyErr_SetObject(type, message);
        Py_DECREF(message);
    }
    return NULL;
}

PyObject *native_text(PyObject *text, const char **ret_text)
{
    PyObject *bytes;
    char *raw;

    if (!PyUnicode_Check(text)) {
        PyErr_SetString(PyExc_TypeError, "expected a str");
        return NULL;
    }
    bytes = PyUnicode_AsUTF8String(text);
    if (!bytes)
        return NULL;
    /* Without a length to return, this call refuses a NUL inside: C would see a shorter text. */
    if (PyBytes_AsStringAndSize(bytes, &raw, NULL) < 0) {
        Py_DECREF(bytes);
        return NULL;
    }
    *ret_text = raw;
    return bytes;
}

static int config_set(struct peercache_config *config, PyObject *name, PyObject *value)
{
    struct peercache_error error = {{0}};
    const char *name_text, *value_text;
    PyObject *name_bytes, *value_bytes;
    int rc = -1;

    name_bytes = native_text(name, &name_text);
    if (!name_bytes)
        return -1;
    value_bytes = native_text(value, &value_text);
    if (!value_bytes)
        goto drop_name;
    rc = peercache_config_set(config, name_text, value_text, &error);
    if (rc < 0) {
        native_raise(native_config_error, &error, "the option was refused");
        rc = -1;
    }
    Py_DECREF(value_bytes);
drop_name:
    Py_DECREF(name_bytes);
    return rc;
}

int native_config(PyObject *options, int environment, struct peercache_config **ret_config)
{
    struct peercache_error error = {{0}};
    struct peercache_config *config;
    PyObject *name, *value;
    Py_ssize_t position = 0;

    if (options != Py_None && !PyDict_Check(options)) {
        PyErr_SetString(PyExc_TypeError, "options must be a dict or None");
        return -1;
    }
    if (peercache_config_new(&config) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    if (environment && peercache_config_load_environment(config, &error) < 0) {
        native_raise(native_config_error, &error, "the environment was refused");
        goto free_config;
    }
    while (options != Py_None && PyDict_Next(options, &position, &name, &value)) {
        if (config_set(config, name, value) < 0)
            goto free_config;
    }
    *ret_config = config;
    return 0;
free_config:
    peercache_config_free(config);
    return -1;
}

static PyObject *module_options(PyObject *module, PyObject *unused)
{
    const char *name, *value, *help;
    PyObject *list = PyList_New(0);
    size_t i;

    (void)module;
    (void)unused;
    if (!list)
        return NULL;
    for (i = 0; (name = peercache_config_option(i, &value, &help)); i++) {
        PyObject *row = Py_BuildValue("(szz)", name, value, help);

        if (!row || PyList_Append(list, row) < 0) {
            Py_XDECREF(row);
            Py_DECREF(list);
            return NULL;
        }
        Py_DECREF(row);
    }
    return list;
}

static PyObject *resolved_values(const struct peercache_config *config)
{
    PyObject *values = PyDict_New();
    const char *name;
    size_t i;

    if (!values)
        return NULL;
    for (i = 0; (name = peercache_config_option(i, NULL, NULL)); i++) {
        PyObject *value = Py_BuildValue("z", peercache_config_get(config, name));

        if (!value || PyDict_SetItemString(values, name, value) < 0) {
            Py_XDECREF(value);
            Py_DECREF(values);
            return NULL;
        }
        Py_DECREF(value);
    }
    return values;
}

static PyObject *module_resolve(PyObject *module, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"options", "environment", NULL};
    struct peercache_config *config;
    PyObject *options = Py_None, *values;
    int environment = 1;

    (void)module;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|Op", names, &options, &environment))
        return NULL;
    if (native_config(options, environment, &config) < 0)
        return NULL;
    values = resolved_values(config);
    peercache_config_free(config);
    return values;
}

static PyObject *module_nearest(PyObject *module, PyObject *name)
{
    const char *text;
    PyObject *bytes, *nearest;

    (void)module;
    bytes = native_text(name, &text);
    if (!bytes)
        return NULL;
    nearest = Py_BuildValue("z", peercache_config_nearest(text));
    Py_DECREF(bytes);
    return nearest;
}

static PyObject *module_outcome_name(PyObject *module, PyObject *args)
{
    unsigned short outcome;

    (void)module;
    if (!PyArg_ParseTuple(args, "H", &outcome))
        return NULL;
    return Py_BuildValue("z", peercache_outcome_name(outcome));
}

static PyObject *module_via_name(PyObject *module, PyObject *args)
{
    unsigned char via;

    (void)module;
    if (!PyArg_ParseTuple(args, "b", &via))
        return NULL;
    return Py_BuildValue("z", peercache_via_name(via));
}

static PyObject *query_answer(int rc, struct peercache_answer *answer,
                              const struct peercache_error *error)
{
    PyObject *text;

    if (rc < 0)
        text = native_raise(native_error, error, "the node did not answer");
    else
        text = PyUnicode_DecodeUTF8(answer->json, (Py_ssize_t)strlen(answer->json), "replace");
    peercache_answer_fini(answer);
    return text;
}

static PyObject *module_query(PyObject *module, PyObject *args)
{
    struct peercache_request request = {NULL, NULL, NULL, 0};
    struct peercache_answer answer = {NULL, NULL, 0};
    struct peercache_error error = {{0}};
    struct peercache_config *config;
    unsigned int timeout_ms;
    PyObject *options;
    int rc;

    (void)module;
    if (!PyArg_ParseTuple(args, "OsI", &options, &request.json, &timeout_ms))
        return NULL;
    if (native_config(options, 1, &config) < 0)
        return NULL;
    Py_BEGIN_ALLOW_THREADS rc = peercache_query(config, &request, timeout_ms, &answer, &error);
    peercache_config_free(config);
    Py_END_ALLOW_THREADS return query_answer(rc, &answer, &error);
}

static PyObject *module_version(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyUnicode_FromString(peercache_version());
}

static PyMethodDef module_methods[] = {
    {"options", module_options, METH_NOARGS, "options() -> [(name, default, help)]"},
    {"resolve", (PyCFunction)(void (*)(void))module_resolve, METH_VARARGS | METH_KEYWORDS,
     "resolve(options=None, environment=True) -> {name: value}, or ConfigError"},
    {"nearest", module_nearest, METH_O, "nearest(name) -> the option nearest to it, or None"},
    {"outcome_name", module_outcome_name, METH_VARARGS, "outcome_name(number) -> str"},
    {"via_name", module_via_name, METH_VARARGS, "via_name(number) -> str"},
    {"query", module_query, METH_VARARGS,
     "query(options, json, timeout_ms) -> what the node at discovery_addr answers, as JSON text, or "
     "PeerCacheError"},
    {"version", module_version, METH_NOARGS, "version() -> str"},
    {NULL, NULL, 0, NULL},
};

static const struct {
    const char *name;
    long value;
} module_constants[] = {
    {"HIT", PEERCACHE_HIT},
    {"FOUND", PEERCACHE_FOUND},
    {"STORED", PEERCACHE_STORED},
    {"STORED_LOCAL", PEERCACHE_STORED_LOCAL},
    {"ALREADY_STORED", PEERCACHE_ALREADY_STORED},
    {"MISS_UNKNOWN", PEERCACHE_MISS_UNKNOWN},
    {"MISS_EVICTED", PEERCACHE_MISS_EVICTED},
    {"MISS_LENGTH", PEERCACHE_MISS_LENGTH},
    {"MISS_CHECKSUM", PEERCACHE_MISS_CHECKSUM},
    {"MISS_PEER", PEERCACHE_MISS_PEER},
    {"MISS_DEADLINE", PEERCACHE_MISS_DEADLINE},
    {"REFUSED_FULL", PEERCACHE_REFUSED_FULL},
    {"REFUSED_INVALID", PEERCACHE_REFUSED_INVALID},
    {"REFUSED_TOO_LARGE", PEERCACHE_REFUSED_TOO_LARGE},
    {"REFUSED_CLOSED", PEERCACHE_REFUSED_CLOSED},
    {"REFUSED_DRAINING", PEERCACHE_REFUSED_DRAINING},
    {"NAME_MAX", PEERCACHE_NAME_MAX},
    {"SEGMENTS_MAX", PEERCACHE_SEGMENTS_MAX},
    {"PAGE_MAX_BYTES", PEERCACHE_PAGE_MAX_BYTES},
    {"GROUP_MAX", PEERCACHE_GROUP_MAX},
    {"TIMEOUT_NOW", PEERCACHE_TIMEOUT_NOW},
    {"TIMEOUT_DEFAULT", (long)PEERCACHE_TIMEOUT_DEFAULT},
};

static int add_object(PyObject *module, const char *name, PyObject *object)
{
    if (!object)
        return -1;
    /* PyModule_AddObject() takes the reference on success only; the globals keep one more. */
    Py_INCREF(object);
    if (PyModule_AddObject(module, name, object) < 0) {
        Py_DECREF(object);
        return -1;
    }
    return 0;
}

static int module_fill(PyObject *module)
{
    PyTypeObject *guard_type, *region_type;
    size_t i;

    native_error = PyErr_NewExceptionWithDoc("peercache._native.PeerCacheError",
                                             "A node or namespace could not be opened.",
                                             PyExc_RuntimeError, NULL);
    native_config_error = PyErr_NewExceptionWithDoc("peercache._native.ConfigError",
                                                    "An option has a value that is not accepted.",
                                                    PyExc_ValueError, NULL);
    native_node_type = native_node_type_new();
    native_namespace_type = native_namespace_type_new();
    guard_type = native_guard_type_new();
    region_type = native_region_type_new();
    if (add_object(module, "PeerCacheError", native_error) < 0 ||
        add_object(module, "ConfigError", native_config_error) < 0 ||
        add_object(module, "Node", (PyObject *)native_node_type) < 0 ||
        add_object(module, "Namespace", (PyObject *)native_namespace_type) < 0 ||
        add_object(module, "Region", (PyObject *)region_type) < 0 ||
        add_object(module, "Guard", (PyObject *)guard_type) < 0)
        return -1;
    for (i = 0; i < sizeof module_constants / sizeof *module_constants; i++) {
        if (PyModule_AddIntConstant(module, module_constants[i].name, module_constants[i].value) <
            0)
            return -1;
    }
    return 0;
}

static struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "peercache._native",
    .m_doc = "Thin binding of libpeercache; see peercache.store for the SGLang adapter.",
    .m_size = -1,
    .m_methods = module_methods,
};

PyMODINIT_FUNC PyInit__native(void)
{
    PyObject *module = PyModule_Create(&module_definition);

    if (module && module_fill(module) < 0) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
