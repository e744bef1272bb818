/* libFuzzer with a Python inside: the native room is linked in, so that clang's sanitizers see each byte that it reads.
 * What each input means, and what is a finding besides theirs, fuzz_native.py says in `test_one_input`. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>

PyMODINIT_FUNC PyInit__native(void);

static PyObject *test_one_input;

static void stop_on_error(int failed)
{
    if (failed) {
        PyErr_Print();
        abort();
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    stop_on_error(PyImport_AppendInittab("_native", PyInit__native));
    Py_Initialize();
    stop_on_error(PyRun_SimpleString("import sys, importlib, yummy_fast.native as wing\n"
                                     "wing._native = importlib.import_module('_native')\n"
                                     "sys.modules['yummy_fast.native._native'] = wing._native\n"));
    PyObject *module = PyImport_ImportModule("tests.fuzz.fuzz_native");
    test_one_input = module ? PyObject_GetAttrString(module, "test_one_input") : NULL;
    stop_on_error(test_one_input == NULL);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    PyObject *result = PyObject_CallFunction(test_one_input, "y#", data, (Py_ssize_t)size);
    stop_on_error(result == NULL);
    Py_DECREF(result);
    return 0;
}
