/* Rows, and which fields of a hash they are made of.
 *
 * A Row is one entity: a sequence of bytes and None, in one object. A Picker says which fields of a hash make one, and
 * in which order. It finds the cell of a name in a hash table of its names; or without it, if the hash has its names
 * in the order of the hash before.
 */
#include "native.h"

#include <structmember.h>

enum { MAX_GUESSES = 1024 }; /* names of a hash whose order is kept, 16 bytes each; by default, a listpack has 512 */

/* --- Row ---------------------------------------------------------------------------------------------------------- */

static PyObject *cell_object(const Row *row, Py_ssize_t place)
{
    Cell cell = row->cells[place];
    if (cell.start == ABSENT)
        return Py_NewRef(Py_None);
    return PyBytes_FromStringAndSize((const char *)row_bytes(row) + cell.start, (Py_ssize_t)cell.length);
}

static Py_ssize_t row_length(PyObject *self)
{
    return Py_SIZE(self);
}

static PyObject *row_item(PyObject *self, Py_ssize_t place)
{
    if (place < 0 || place >= Py_SIZE(self)) {
        PyErr_SetString(PyExc_IndexError, "row index out of range");
        return NULL;
    }
    return cell_object((Row *)self, place);
}

static PyObject *row_subscript(PyObject *self, PyObject *key)
{
    if (!PySlice_Check(key)) {
        Py_ssize_t place = PyNumber_AsSsize_t(key, PyExc_IndexError);
        if (place == -1 && PyErr_Occurred())
            return NULL;
        return row_item(self, place < 0 ? place + Py_SIZE(self) : place);
    }
    Py_ssize_t start, stop, step;
    if (PySlice_Unpack(key, &start, &stop, &step) < 0)
        return NULL;
    Py_ssize_t count = PySlice_AdjustIndices(Py_SIZE(self), &start, &stop, step);
    PyObject *cells = PyTuple_New(count);
    for (Py_ssize_t i = 0; cells != NULL && i < count; i++) {
        PyObject *cell = cell_object((Row *)self, start + i * step);
        if (cell == NULL || PyTuple_SetItem(cells, i, cell) < 0)
            Py_CLEAR(cells);
    }
    return cells;
}

static PyObject *row_sizeof(PyObject *self, PyObject *nothing)
{
    (void)nothing;
    const Row *row = (Row *)self;
    size_t size = offsetof(Row, cells) + (size_t)Py_SIZE(self) * sizeof(Cell), bytes = 0;
    for (Py_ssize_t i = 0; i < Py_SIZE(self); i++) {
        size_t end = (size_t)row->cells[i].start + row->cells[i].length;
        if (row->cells[i].start != ABSENT && end > bytes)
            bytes = end;
    }
    return PyLong_FromSize_t(size + bytes);
}

static PyMethodDef row_methods[] = {
    {"__sizeof__", row_sizeof, METH_NOARGS, "How many bytes of memory it takes."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot row_slots[] = {
    {Py_tp_doc, "One entity as Redis answered it: a sequence of bytes and None."},
    {Py_tp_dealloc, free_object},
    {Py_tp_methods, row_methods},
    {Py_sq_length, row_length},
    {Py_sq_item, row_item},
    {Py_mp_length, row_length},
    {Py_mp_subscript, row_subscript},
    {0, NULL},
};

PyType_Spec row_spec = {
    .name = "yummy_fast.native._native.Row",
    .basicsize = offsetof(Row, cells),
    .itemsize = sizeof(Cell),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = row_slots,
};

/* --- Picker ------------------------------------------------------------------------------------------------------- */

static uint32_t name_hash(const uint8_t *name, size_t length)
{
    const uint64_t mix = 0x9E3779B97F4A7C15;
    uint64_t hash = length;
    if (length < 8) {
        for (; length > 0; name++, length--)
            hash = (hash ^ *name) * mix;
    } else {
        for (; length > 8; name += 8, length -= 8)
            hash = (hash ^ load_64(name)) * mix;
        hash = (hash ^ load_64(name + length - 8)) * mix; /* some of these eight may be in it already */
    }
    hash = (hash ^ hash >> 32) * mix; /* until here, the last bytes, which tell names apart, moved the highest bits only */
    return (uint32_t)(hash >> 32);
}

static bool is_named(const Wanted *wanted, const uint8_t *name, size_t length)
{
    return wanted->length == length && memcmp(wanted->name, name, length) == 0;
}

/* The cell of this name, or UNWANTED. `slot` gets where in the table it is, or would be. */
static int32_t find_cell(const Picker *picker, const uint8_t *name, size_t length, uint32_t *slot)
{
    for (*slot = name_hash(name, length) & picker->mask;; *slot = (*slot + 1) & picker->mask) {
        int32_t cell = picker->table[*slot];
        if (cell == UNWANTED || is_named(&picker->wanted[cell], name, length))
            return cell;
    }
}

/* The cell of the name at this place of a hash, or UNWANTED. */
int32_t cell_of_name(Picker *picker, uint64_t place, const uint8_t *name, size_t length)
{
    if (place < picker->guesses_room) {
        int32_t cell = picker->guesses[place].cell;
        if (cell != UNWANTED && is_named(&picker->wanted[cell], name, length))
            return cell;
    }
    uint32_t slot;
    int32_t cell = find_cell(picker, name, length, &slot);
    if (place < picker->guesses_room) {
        uint8_t head[8] = "$4\r\n";
        memcpy(head + 4, name, length == 4 ? 4 : 0);
        picker->guesses[place] = (Guess){length == 4 ? load_64(head) : 0, cell};
    }
    return cell;
}

/* Make room to remember the order of a hash of `names` names. Without memory, no more is kept: it is only a guess. */
void make_guesses(Picker *picker, uint64_t names)
{
    size_t room = names < MAX_GUESSES ? names : MAX_GUESSES;
    Guess *guesses = room > picker->guesses_room ? PyMem_Realloc(picker->guesses, room * sizeof(Guess)) : NULL;
    if (guesses == NULL)
        return;
    for (size_t i = picker->guesses_room; i < room; i++)
        guesses[i] = (Guess){0, UNWANTED};
    picker->guesses = guesses;
    picker->guesses_room = room;
}

static PyObject *picker_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names_of_arguments[] = {"names", "named", NULL};
    PyObject *given;
    int named;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "Op:Picker", names_of_arguments, &given, &named))
        return NULL;
    Picker *picker = (Picker *)PyType_GenericAlloc(type, 0); /* zeroed */
    if (picker == NULL)
        return NULL;
    picker->named = named;
    picker->names = PySequence_Tuple(given);
    Py_ssize_t width = picker->names ? PyTuple_Size(picker->names) : -1;
    if (width < 0)
        goto failed;
    if (width > 1 << 24) {
        PyErr_SetString(PyExc_ValueError, "more than 16,777,216 names");
        goto failed;
    }
    picker->width = (uint32_t)width;
    size_t slots = 4;
    while (slots < 2 * (size_t)width)
        slots *= 2;
    picker->mask = (uint32_t)slots - 1;
    picker->table = PyMem_Malloc(slots * sizeof *picker->table);
    picker->wanted = PyMem_Calloc((size_t)width, sizeof *picker->wanted);
    if (picker->table == NULL || picker->wanted == NULL) {
        PyErr_NoMemory();
        goto failed;
    }
    memset(picker->table, 0xFF, slots * sizeof *picker->table); /* UNWANTED */
    for (int32_t cell = 0; cell < width; cell++) {
        char *name;
        Py_ssize_t length;
        if (PyBytes_AsStringAndSize(PyTuple_GetItem(picker->names, cell), &name, &length) < 0)
            goto failed;
        uint32_t slot;
        int32_t same = find_cell(picker, (const uint8_t *)name, (size_t)length, &slot);
        picker->wanted[cell] = (Wanted){(const uint8_t *)name, (size_t)length, same};
        if (same == UNWANTED)
            picker->table[slot] = cell;
        else
            picker->has_twins = true;
    }
    return (PyObject *)picker;
failed:
    Py_DECREF(picker);
    return NULL;
}

static void picker_dealloc(PyObject *self)
{
    Picker *picker = (Picker *)self;
    Py_XDECREF(picker->names);
    PyMem_Free(picker->wanted);
    PyMem_Free(picker->table);
    PyMem_Free(picker->guesses);
    free_object(self);
}

static PyMemberDef picker_members[] = {
    {"longest", T_PYSSIZET, offsetof(Picker, longest), READONLY, "Bytes of the longest name or value that has come."},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot picker_slots[] = {
    {Py_tp_doc, "Which fields of a hash make a Row. named: replies hold names and values, as those to HGETALL do."},
    {Py_tp_new, picker_new},
    {Py_tp_dealloc, picker_dealloc},
    {Py_tp_members, picker_members},
    {0, NULL},
};

PyType_Spec picker_spec = {
    .name = "yummy_fast.native._native.Picker",
    .basicsize = sizeof(Picker),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = picker_slots,
};
