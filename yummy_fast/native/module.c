/* The native room as Python sees it: ReplyReader, Picker, Row, BodyWriter, three functions for clusters, and two for
 * tests. _native.pyi has the types, owner.py decides whether this is used, twin.py has what serves in its place. */
#include "native.h"

/* What `write` makes of some stored bytes, as bytes; None if it leaves them to Python. */
static PyObject *text_of(PyObject *stored, Outcome (*write)(Text *, const uint8_t *, size_t))
{
    char *bytes;
    Py_ssize_t length;
    if (PyBytes_AsStringAndSize(stored, &bytes, &length) < 0)
        return NULL;
    Text text = {0};
    PyObject *result = text_object(&text, write(&text, (const uint8_t *)bytes, (size_t)length));
    PyMem_Free(text.start);
    return result;
}

static PyObject *value_text(PyObject *module, PyObject *stored)
{
    (void)module;
    return text_of(stored, write_value);
}

static Outcome write_moment(Text *text, const uint8_t *stored, size_t length)
{
    int64_t moment;
    return write_timestamp(text, stored, length, &moment);
}

static PyObject *timestamp_text(PyObject *module, PyObject *stored)
{
    (void)module;
    return text_of(stored, write_moment);
}

static int fill_powers_of_ten(void)
{
    PyObject *made = NULL, *module = PyImport_ImportModule("yummy_fast.native.powers_of_ten");
    if (module != NULL)
        made = PyObject_CallMethod(module, "table", NULL);
    Py_XDECREF(module);
    char *bytes;
    Py_ssize_t length;
    int done = made == NULL ? -1 : PyBytes_AsStringAndSize(made, &bytes, &length);
    if (done == 0 && (size_t)length != sizeof powers_of_ten) {
        PyErr_SetString(PyExc_ImportError, "powers_of_ten.py and numbers.c differ in how many there are");
        done = -1;
    }
    if (done == 0)
        memcpy(powers_of_ten, bytes, sizeof powers_of_ten);
    Py_XDECREF(made);
    return done;
}

static int module_exec(PyObject *module)
{
    PyTypeObject **types = ((State *)PyModule_GetState(module))->types;
    PyType_Spec *specs[TYPES] = {[ROW] = &row_spec, [PICKER] = &picker_spec, &reader_spec, &writer_spec};
    for (int i = 0; i < TYPES; i++) {
        types[i] = (PyTypeObject *)PyType_FromModuleAndSpec(module, specs[i], NULL);
        if (types[i] == NULL || PyModule_AddType(module, types[i]) < 0)
            return -1;
    }
    fill_crc_of_byte();
    return fill_powers_of_ten();
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    PyTypeObject **types = ((State *)PyModule_GetState(module))->types;
    for (int i = 0; i < TYPES; i++)
        Py_VISIT(types[i]);
    return 0;
}

static int module_clear(PyObject *module)
{
    PyTypeObject **types = ((State *)PyModule_GetState(module))->types;
    for (int i = 0; i < TYPES; i++)
        Py_CLEAR(types[i]);
    return 0;
}

static void module_free(void *module)
{
    State *state = PyModule_GetState(module);
    module_clear(module);
    PyMem_Free(state->body.start);
    PyMem_Free(state->tails.start);
    PyMem_Free(state->old.start);
    PyMem_Free(state->rows);
}

#define FASTCALL(function) (PyCFunction)(void (*)(void))(function), METH_FASTCALL

static PyMethodDef functions[] = {
    {"slot_of", FASTCALL(slot_of), "slot_of(key, suffix): the slot of a key of a Redis Cluster."},
    {"split_keys", FASTCALL(split_keys), "split_keys(keys, suffix, table): the keys by the owners of their slots."},
    {"put_rows", FASTCALL(put_rows), "put_rows(rows, positions, table): put the rows at these positions of the table."},
    {"value_text", value_text, METH_O, "A stored Value as JSON; None if that is left to Python."},
    {"timestamp_text", timestamp_text, METH_O, "A stored event timestamp as JSON; None if that is left to Python."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_native",
    .m_doc = "The native room: replies of Redis to rows, and rows to JSON.",
    .m_size = sizeof(State),
    .m_methods = functions,
    .m_slots = slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModuleDef_Init(&definition);
}
