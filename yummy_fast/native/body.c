/* Rows to the body of an answer, as features.vectors makes it, in one call.
 *
 * For each column of the answer, Feast's shape is
 *
 *     {"values":[...],"statuses":["PRESENT",...],"event_timestamps":["2026-01-01T00:00:00Z",...]}
 *
 * All columns of one view share what stands behind the values: their tail, which is written once and then copied.
 *
 * This is for the usual answer: all rows are Rows; all Values and times are of the kinds that values.c knows. For any
 * other, `write` returns None, and Python makes the body.
 *
 * Without the ttls of the views, every status is PRESENT, as Feast says for Redis. With them (`--compat strict`), each
 * cell has the status that features.statuses gives it. Few columns of such an answer have another one than PRESENT:
 * their statuses are written one by one, and only the times of the tail are copied.
 */
#include "native.h"

typedef struct {
    uint32_t width; /* features, then ... */
    uint32_t views; /* ... the times of as many views */
} Lookup;

typedef struct {
    uint32_t lookup, place, view;
} Column;

typedef struct {
    PyObject_HEAD
    PyObject *held[3]; /* the bytes that these three are in */
    const Lookup *lookups;
    const Column *columns;
    const int64_t *ttls; /* of each view, in microseconds, 0 for none; null: every status is PRESENT */
    size_t lookups_count, columns_count, views_count;
    size_t *tails; /* where the tail of each view ends, lookup after lookup; scratch of `write` */
} Writer;

/* A longer body would take more than some 10 ms, and is left to those who make it in steps. 100 x 250 take 2 MB. */
enum { MAX_BODY_BYTES = 8 << 20 };
/* So is a longer value: a text of control characters is written six times as long. */
enum { MAX_VALUE_BYTES = 1 << 20 };
static const int64_t FAR = (int64_t)1 << 61; /* in microseconds: 73,000 years. No difference of two is out of range */
enum { KEPT_TEXT = 4 << 20, KEPT_ROWS = 64 << 10 }; /* of scratch, and of rows in it, what is kept */

#define VALUES "{\"values\":["
#define STATUSES "],\"statuses\":["
#define TIMESTAMPS "],\"event_timestamps\":["
#define PRESENT "\"PRESENT\""
#define EPOCH "\"1970-01-01T00:00:00Z\""

static Outcome repeat(Text *text, const char *item, size_t length, size_t count)
{
    if (!text_room(text, count * (length + 1)))
        return NO_MEMORY;
    for (size_t i = 0; i < count; i++) {
        memcpy(text->at, item, length);
        text->at[length] = ',';
        text->at += length + 1;
    }
    text->at--; /* there is one row at least */
    return WRITTEN;
}

static Outcome write_statuses(Text *text, size_t count)
{
    if (!TEXT_ADD(text, STATUSES))
        return NO_MEMORY;
    return repeat(text, PRESENT, sizeof PRESENT - 1, count);
}

/* What entity columns hold: integers or texts. */
static Outcome write_entity(Text *text, PyObject *value)
{
    if (PyLong_CheckExact(value)) {
        int overflow;
        long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
        if (overflow)
            return UNUSUAL;
        if (!text_room(text, MAX_NUMBER_CHARS))
            return NO_MEMORY;
        text->at = write_signed(text->at, number);
        return WRITTEN;
    }
    if (PyUnicode_CheckExact(value)) {
        Py_ssize_t length;
        const char *string = PyUnicode_AsUTF8AndSize(value, &length);
        if (string == NULL) { /* half a surrogate pair, or no memory: Python finds out */
            PyErr_Clear();
            return UNUSUAL;
        }
        return write_string(text, (const uint8_t *)string, (size_t)length);
    }
    return UNUSUAL;
}

static Outcome write_entity_column(Text *text, PyObject *values, size_t count)
{
    if (!PyList_CheckExact(values) || (size_t)PyList_Size(values) != count)
        return UNUSUAL;
    if (!TEXT_ADD(text, VALUES))
        return NO_MEMORY;
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && !TEXT_ADD(text, ","))
            return NO_MEMORY;
        Outcome outcome = write_entity(text, PyList_GetItem(values, (Py_ssize_t)i));
        if (outcome != WRITTEN)
            return outcome;
    }
    if (write_statuses(text, count) != WRITTEN || !TEXT_ADD(text, TIMESTAMPS) ||
        repeat(text, EPOCH, sizeof EPOCH - 1, count) != WRITTEN || !TEXT_ADD(text, "]},"))
        return NO_MEMORY;
    return WRITTEN;
}

/* The rows of the answer, lookup after lookup, as borrowed pointers: the lists hold them, and nothing runs Python. */
static Outcome gather_rows(const Writer *writer, State *state, PyObject *found, PyObject *row_to_key, size_t count)
{
    size_t wanted = writer->lookups_count * count;
    if (!PyList_CheckExact(found) || (size_t)PyList_Size(found) != writer->lookups_count ||
        !PyList_CheckExact(row_to_key) || (size_t)PyList_Size(row_to_key) != writer->lookups_count)
        return UNUSUAL;
    if (wanted > state->rows_room) {
        Row **room = wanted <= PY_SSIZE_T_MAX / sizeof *room ? PyMem_Realloc(state->rows, wanted * sizeof *room) : NULL;
        if (room == NULL)
            return NO_MEMORY;
        state->rows = room;
        state->rows_room = wanted;
    }
    Row **row = state->rows;
    for (size_t lookup = 0; lookup < writer->lookups_count; lookup++) {
        PyObject *rows = PyList_GetItem(found, (Py_ssize_t)lookup);
        PyObject *keys = PyList_GetItem(row_to_key, (Py_ssize_t)lookup);
        Py_ssize_t cells = (Py_ssize_t)writer->lookups[lookup].width + writer->lookups[lookup].views;
        bool own = keys == Py_None;
        if (!PyList_CheckExact(rows) || (!own && !PyList_CheckExact(keys)) ||
            (size_t)PyList_Size(own ? rows : keys) != count)
            return UNUSUAL;
        Py_ssize_t available = PyList_Size(rows);
        for (size_t i = 0; i < count; i++, row++) {
            Py_ssize_t place = (Py_ssize_t)i;
            if (!own) {
                PyObject *key = PyList_GetItem(keys, place);
                int overflow = 1;
                long number = PyLong_CheckExact(key) ? PyLong_AsLongAndOverflow(key, &overflow) : -1;
                if (overflow || number < 0 || number >= available)
                    return UNUSUAL;
                place = number;
            }
            PyObject *item = PyList_GetItem(rows, place);
            if (!Py_IS_TYPE(item, state->types[ROW]) || Py_SIZE(item) != cells)
                return UNUSUAL;
            *row = (Row *)item;
        }
    }
    return WRITTEN;
}

/* The bytes of a cell; none for None, which is answered like a stored null. */
static inline const uint8_t *cell_bytes(const Row *row, size_t place, size_t *length)
{
    Cell cell = row->cells[place];
    *length = cell.start == ABSENT ? 0 : cell.length;
    return row_bytes(row) + (cell.start == ABSENT ? 0 : cell.start);
}

/* The tail of one view's columns. Most rows were written at one time: a time like the one before is copied. `old`, which
 * may be null, gets which of the rows are from before `oldest`. */
static Outcome write_tail(Text *text, Row *const *rows, size_t count, size_t place, int64_t oldest, char *old)
{
    int64_t moment;
    const uint8_t *last = NULL;
    size_t last_length = 0, last_text = 0, last_text_length = 0;
    if (write_statuses(text, count) != WRITTEN || !TEXT_ADD(text, TIMESTAMPS))
        return NO_MEMORY;
    for (size_t i = 0; i < count; i++) {
        size_t length;
        const uint8_t *stored = cell_bytes(rows[i], place, &length);
        if (i > 0 && !TEXT_ADD(text, ","))
            return NO_MEMORY;
        if (i > 0 && length == last_length && (length == 0 || memcmp(stored, last, length) == 0)) {
            if (!text_room(text, last_text_length))
                return NO_MEMORY;
            memcpy(text->at, text->start + last_text, last_text_length);
            text->at += last_text_length;
            if (old)
                old[i] = old[i - 1];
            continue;
        }
        last = stored;
        last_length = length;
        last_text = text_length(text);
        Outcome outcome = write_timestamp(text, stored, length, &moment);
        if (outcome != WRITTEN)
            return outcome;
        if (old)
            old[i] = moment < oldest;
        last_text_length = text_length(text) - last_text;
    }
    return TEXT_ADD(text, "]},") ? WRITTEN : NO_MEMORY;
}

static Outcome write_tails(const Writer *writer, State *state, size_t count, int64_t now)
{
    size_t *tail = writer->tails;
    const int64_t *ttl = writer->ttls;
    if (ttl && !text_room(&state->old, writer->views_count * count))
        return NO_MEMORY;
    for (size_t lookup = 0; lookup < writer->lookups_count; lookup++)
        for (size_t view = 0; view < writer->lookups[lookup].views; view++) {
            Row *const *rows = state->rows + lookup * count;
            int64_t oldest = ttl == NULL || *ttl == 0 ? INT64_MIN : now - *ttl;
            char *old = ttl ? state->old.start + (size_t)(tail - writer->tails) * count : NULL;
            size_t place = writer->lookups[lookup].width + view;
            Outcome outcome = write_tail(&state->tails, rows, count, place, oldest, old);
            if (outcome != WRITTEN)
                return outcome;
            *tail++ = text_length(&state->tails);
            if (ttl)
                ttl++;
        }
    return WRITTEN;
}

/* The statuses of a column, of which some may not be PRESENT. */
static Outcome write_exact_statuses(Text *text, Row *const *rows, size_t count, size_t place, const char *old)
{
    static const char *const TEXTS[] = {"\"PRESENT\",", "\"OUTSIDE_MAX_AGE\",", "\"NULL_VALUE\",", "\"NOT_FOUND\","};
    if (!TEXT_ADD(text, STATUSES))
        return NO_MEMORY;
    for (size_t i = 0; i < count; i++) {
        Cell cell = rows[i]->cells[place];
        const char *status = TEXTS[cell.start == ABSENT ? 3 : cell.length == 0 ? 2 : old[i]];
        if (!text_add(text, status, strlen(status)))
            return NO_MEMORY;
    }
    text->at--; /* there is one row at least */
    return WRITTEN;
}

static Outcome write_columns(const Writer *writer, State *state, size_t count)
{
    Text *text = &state->body;
    for (const Column *column = writer->columns; column < writer->columns + writer->columns_count; column++) {
        Row *const *rows = state->rows + column->lookup * count;
        bool has_nulls = false;
        if (!TEXT_ADD(text, VALUES))
            return NO_MEMORY;
        for (size_t i = 0; i < count; i++) {
            size_t length;
            const uint8_t *stored = cell_bytes(rows[i], column->place, &length);
            has_nulls |= length == 0;
            if (UNLIKELY(length > MAX_VALUE_BYTES || text_length(text) > MAX_BODY_BYTES))
                return UNUSUAL;
            Outcome outcome = write_value(text, stored, length);
            if (UNLIKELY(outcome != WRITTEN))
                return outcome;
            if (UNLIKELY(!text_room(text, 1)))
                return NO_MEMORY;
            *text->at++ = ',';
        }
        text->at--; /* there is one row at least */
        size_t start = column->view == 0 ? 0 : writer->tails[column->view - 1];
        const char *old = writer->ttls ? state->old.start + column->view * count : NULL;
        if (old && (has_nulls || memchr(old, 1, count) != NULL)) {
            if (write_exact_statuses(text, rows, count, column->place, old) != WRITTEN)
                return NO_MEMORY;
            start += sizeof STATUSES - 1 + count * (sizeof PRESENT) - 1; /* with commas between them */
        }
        if (!text_add(text, state->tails.start + start, writer->tails[column->view] - start))
            return NO_MEMORY;
    }
    return WRITTEN;
}

static Outcome write_body(const Writer *writer, State *state, PyObject *const *arguments, size_t count, int64_t now)
{
    Text *text = &state->body;
    PyObject *entity_columns = arguments[0];
    if (!PyList_CheckExact(entity_columns) || count == 0)
        return UNUSUAL;
    Outcome outcome = gather_rows(writer, state, arguments[1], arguments[2], count);
    if (outcome != WRITTEN || (outcome = write_tails(writer, state, count, now)) != WRITTEN)
        return outcome;
    if (!TEXT_ADD(text, "{\"results\":["))
        return NO_MEMORY;
    for (Py_ssize_t i = 0; i < PyList_Size(entity_columns); i++)
        if ((outcome = write_entity_column(text, PyList_GetItem(entity_columns, i), count)) != WRITTEN)
            return outcome;
    if ((outcome = write_columns(writer, state, count)) != WRITTEN)
        return outcome;
    if (text->at[-1] == ',') /* behind the last column */
        text->at--;
    char *end;
    Py_ssize_t length;
    PyBytes_AsStringAndSize(arguments[4], &end, &length); /* `writer_write` has seen that it is bytes */
    return text_add(text, end, (size_t)length) ? WRITTEN : NO_MEMORY;
}

static PyObject *writer_write(PyObject *self, PyObject *const *arguments, Py_ssize_t arguments_count)
{
    const Writer *writer = (Writer *)self;
    if (arguments_count != (writer->ttls ? 6 : 5) || !PyLong_CheckExact(arguments[3]) ||
        !PyBytes_CheckExact(arguments[4])) {
        PyErr_SetString(PyExc_TypeError, "expected write(entity_columns, rows, row_to_key, count: int, end: bytes), "
                                         "and now: int behind them if there are ttls");
        return NULL;
    }
    int64_t now = writer->ttls ? PyLong_AsLongLong(arguments[5]) : 0;
    if (now == -1 && PyErr_Occurred())
        return NULL;
    if (now < -FAR || now > FAR) {
        PyErr_SetString(PyExc_ValueError, "expected a moment in microseconds");
        return NULL;
    }
    size_t count = PyLong_AsSize_t(arguments[3]);
    if (count == (size_t)-1 && PyErr_Occurred())
        return NULL;
    State *state = PyType_GetModuleState(Py_TYPE(self));
    PyObject *body = text_object(&state->body, write_body(writer, state, arguments, count, now));
    text_release(&state->body, KEPT_TEXT);
    text_release(&state->tails, KEPT_TEXT);
    text_release(&state->old, KEPT_TEXT);
    if (state->rows_room > KEPT_ROWS) {
        PyMem_Free(state->rows);
        state->rows = NULL;
        state->rows_room = 0;
    }
    return body;
}

static PyObject *writer_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"lookups", "columns", "ttls", NULL};
    PyObject *lookups, *columns, *ttls = NULL;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "SS|S:BodyWriter", names, &lookups, &columns, &ttls))
        return NULL;
    Writer *writer = (Writer *)PyType_GenericAlloc(type, 0); /* zeroed */
    if (writer == NULL)
        return NULL;
    writer->held[0] = Py_NewRef(lookups);
    writer->held[1] = Py_NewRef(columns);
    writer->lookups = (const Lookup *)PyBytes_AsString(lookups);
    writer->columns = (const Column *)PyBytes_AsString(columns);
    writer->lookups_count = (size_t)PyBytes_Size(lookups) / sizeof(Lookup);
    writer->columns_count = (size_t)PyBytes_Size(columns) / sizeof(Column);
    for (size_t i = 0; i < writer->lookups_count; i++)
        writer->views_count += writer->lookups[i].views;
    if (ttls != NULL) {
        writer->held[2] = Py_NewRef(ttls);
        writer->ttls = (const int64_t *)PyBytes_AsString(ttls);
        bool fit = (size_t)PyBytes_Size(ttls) == writer->views_count * sizeof(int64_t);
        for (size_t i = 0; fit && i < writer->views_count; i++)
            fit = writer->ttls[i] >= -FAR && writer->ttls[i] <= FAR;
        if (!fit) {
            PyErr_SetString(PyExc_ValueError, "expected a ttl for each view, in microseconds");
            goto failed;
        }
    }
    for (size_t i = 0; i < writer->columns_count; i++) {
        const Column *column = &writer->columns[i];
        if (column->lookup >= writer->lookups_count || column->place >= writer->lookups[column->lookup].width ||
            column->view >= writer->views_count) {
            PyErr_SetString(PyExc_ValueError, "a column of no lookup, feature or view that there is");
            goto failed;
        }
    }
    writer->tails = PyMem_Calloc(writer->views_count, sizeof *writer->tails);
    if (writer->tails == NULL) {
        PyErr_NoMemory();
        goto failed;
    }
    return (PyObject *)writer;
failed:
    Py_DECREF(writer);
    return NULL;
}

static void writer_dealloc(PyObject *self)
{
    Writer *writer = (Writer *)self;
    Py_XDECREF(writer->held[0]);
    Py_XDECREF(writer->held[1]);
    Py_XDECREF(writer->held[2]);
    PyMem_Free(writer->tails);
    free_object(self);
}

static PyMethodDef writer_methods[] = {
    {"write", (PyCFunction)(void (*)(void))writer_write, METH_FASTCALL,
     "write(entity_columns, rows, row_to_key, count, end[, now]): the body; None if it is not a usual one."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot writer_slots[] = {
    {Py_tp_doc, "Writes the bodies of one plan. lookups: (width, views) each; columns: (lookup, place, view) each; ttls: "
                "of the views, for exact statuses."},
    {Py_tp_new, writer_new},
    {Py_tp_dealloc, writer_dealloc},
    {Py_tp_methods, writer_methods},
    {0, NULL},
};

PyType_Spec writer_spec = {
    .name = "yummy_fast.native._native.BodyWriter",
    .basicsize = sizeof(Writer),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = writer_slots,
};
