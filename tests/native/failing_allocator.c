/* Lets one allocation of Python's fail: the nth one that a call makes. For test_memory.py.
 *
 * All memory of the native room comes from PyMem_ and PyObject_ functions, which Python lets anyone replace. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

static PyMemAllocatorEx originals[2];
static const PyMemAllocatorDomain domains[2] = {PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ};
static Py_ssize_t countdown; /* the allocation that takes it to zero fails */
static int counting;

static int fails(void)
{
    return counting && --countdown == 0;
}

static void *hooked_malloc(void *original, size_t size)
{
    PyMemAllocatorEx *allocator = original;
    return fails() ? NULL : allocator->malloc(allocator->ctx, size);
}

static void *hooked_calloc(void *original, size_t count, size_t size)
{
    PyMemAllocatorEx *allocator = original;
    return fails() ? NULL : allocator->calloc(allocator->ctx, count, size);
}

static void *hooked_realloc(void *original, void *memory, size_t size)
{
    PyMemAllocatorEx *allocator = original;
    return fails() ? NULL : allocator->realloc(allocator->ctx, memory, size);
}

static void hooked_free(void *original, void *memory)
{
    PyMemAllocatorEx *allocator = original;
    allocator->free(allocator->ctx, memory);
}

/* call(nth, function, *arguments): what it returns or raises, and how many allocations were left to go; below one, the
 * failing one was met. */
static PyObject *call(PyObject *module, PyObject *arguments)
{
    PyObject *function = PyTuple_GetItem(arguments, 1);
    PyObject *rest = PyTuple_GetSlice(arguments, 2, PyTuple_Size(arguments));
    if (function == NULL || rest == NULL)
        return NULL;
    countdown = PyLong_AsSsize_t(PyTuple_GetItem(arguments, 0));
    for (int i = 0; i < 2; i++) {
        PyMem_GetAllocator(domains[i], &originals[i]);
        PyMemAllocatorEx hooked = {&originals[i], hooked_malloc, hooked_calloc, hooked_realloc, hooked_free};
        PyMem_SetAllocator(domains[i], &hooked);
    }
    counting = 1;
    PyObject *result = PyObject_Call(function, rest, NULL);
    counting = 0;
    for (int i = 0; i < 2; i++)
        PyMem_SetAllocator(domains[i], &originals[i]);
    Py_DECREF(rest);
    if (result == NULL)
        return NULL;
    return Py_BuildValue("Nn", result, countdown);
}

static PyMethodDef functions[] = {{"call", call, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};
static PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "failing_allocator", .m_methods = functions};

PyMODINIT_FUNC PyInit_failing_allocator(void)
{
    return PyModule_Create(&definition);
}
