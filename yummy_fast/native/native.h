/* What the C files share: a text buffer that grows, Rows and Pickers, and the functions that one file calls in another.
 *
 * Reading order: numbers.c (integers and doubles to text), values.c (stored Values and times to JSON), rows.c (Rows,
 * and which fields of a hash they are made of), replies.c (replies of Redis to Rows), body.c (Rows to the body of an
 * answer), slots.c (keys to the nodes of a cluster), module.c (what Python sees).
 *
 * The rules that all of them keep:
 * - The limited API of Python 3.11 (abi3): one binary for every later version.
 * - No length in received bytes is trusted: it is compared with the bytes that are there before it is used. Arithmetic
 *   on lengths has 64 bits.
 * - While a pointer into a buffer is in use, nothing is called that can run Python: no object is made that the cycle
 *   collector tracks (making one may start the collector), and no method of an object is called.
 * - Memory comes from PyMem_ and PyObject_ functions alone, so that a test can let every single allocation fail.
 * - Unusual values are not written here: the function returns UNUSUAL, and Python writes the answer.
 */
#ifndef YUMMY_FAST_NATIVE_H
#define YUMMY_FAST_NATIVE_H

#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030B0000
#endif
#include <Python.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "only for little-endian machines: fixed-width numbers of protobuf are copied as they are; use twin.py"
#endif

#define OBJECT(pointer) ((PyObject *)(uintptr_t)(pointer)) /* for functions of Python's API; drops const */
#define LIKELY(condition) __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#define ALWAYS_INLINE inline __attribute__((always_inline)) /* compiled anew for the constant arguments of each call */

/* How writing text ends. With NO_MEMORY no exception is set yet: `text_object` sets it. */
typedef enum { WRITTEN = 0, UNUSUAL, NO_MEMORY } Outcome;

/* --- text that grows ---------------------------------------------------------------------------------------------- */

typedef struct {
    char *start, *at, *end; /* written up to `at`; memory up to `end` */
} Text;

bool text_grow(Text *text, size_t room);
void text_release(Text *text, size_t keep);

/* Whether `room` more bytes can be written at `at`. False means that there is no memory for them. */
static inline bool text_room(Text *text, size_t room)
{
    return LIKELY((size_t)(text->end - text->at) >= room) || text_grow(text, room);
}

static inline size_t text_length(const Text *text)
{
    return (size_t)(text->at - text->start);
}

static inline bool text_add(Text *text, const void *bytes, size_t length)
{
    if (UNLIKELY(!text_room(text, length)))
        return false;
    if (length > 0) { /* neither memcpy nor a sum takes a null pointer, even for 0 bytes */
        memcpy(text->at, bytes, length);
        text->at += length;
    }
    return true;
}

#define TEXT_ADD(text, literal) text_add((text), (literal), sizeof(literal) - 1)

/* What Python gets: the text as bytes; None if it is UNUSUAL; NULL and a MemoryError if there was NO_MEMORY. */
static inline PyObject *text_object(const Text *text, Outcome outcome)
{
    if (outcome == WRITTEN)
        return PyBytes_FromStringAndSize(text->start, (Py_ssize_t)text_length(text));
    return outcome == UNUSUAL ? Py_NewRef(Py_None) : PyErr_NoMemory();
}

/* Free an object of one of our types, and give up its reference to the type. */
static inline void free_object(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_Free(self);
    Py_DECREF(type);
}

static inline uint32_t load_16(const void *bytes)
{
    uint16_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

static inline uint32_t load_32(const void *bytes)
{
    uint32_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

static inline uint64_t load_64(const void *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

/* --- numbers.c ---------------------------------------------------------------------------------------------------- */

enum { MAX_NUMBER_CHARS = 40 }; /* what writing a number may touch: it writes 16 digits at a time, then moves them */

char *write_unsigned(char *at, uint64_t number);
char *write_signed(char *at, int64_t number);
char *write_floats(char *at, const uint8_t *packed, size_t length, bool are_doubles);

enum { POWER_MIN = -292, POWER_MAX = 324, POWERS = POWER_MAX - POWER_MIN + 1 };
extern uint64_t powers_of_ten[POWERS][2]; /* filled at import; see powers_of_ten.py */

/* --- values.c ----------------------------------------------------------------------------------------------------- */

Outcome write_value(Text *text, const uint8_t *stored, size_t length);
Outcome write_string(Text *text, const uint8_t *string, size_t length);
Outcome write_timestamp(Text *text, const uint8_t *stored, size_t length, int64_t *moment);

/* --- rows.c ------------------------------------------------------------------------------------------------------- */

#define ABSENT UINT32_MAX

typedef struct {
    uint32_t start, length; /* within the Row's bytes; `start` is ABSENT for None */
} Cell;

/* One entity as Redis answered it: `Py_SIZE` cells, then the bytes of all of them. One object, without references. */
typedef struct {
    PyObject_VAR_HEAD
    Cell cells[];
} Row;

static inline const uint8_t *row_bytes(const Row *row)
{
    return (const uint8_t *)(row->cells + Py_SIZE(OBJECT(row)));
}

enum { UNWANTED = -1 };

typedef struct {
    const uint8_t *name; /* within the bytes that `Picker.names` holds */
    size_t length;
    int32_t same; /* the earlier cell that has the same name, and so the same value; or UNWANTED */
} Wanted;

/* Which field stood at one place of the last hash. Redis keeps the order of fields, and most hashes have the same. */
typedef struct {
    uint64_t head; /* a name of four bytes as Redis sends it, "$4\r\nx9a!"; 0 for names of other lengths */
    int32_t cell;
} Guess;

/* Which fields of a hash make a Row. */
typedef struct {
    PyObject_HEAD
    PyObject *names; /* a tuple of bytes */
    Wanted *wanted;
    uint32_t width;
    bool named;      /* HGETALL: names and values in turn. HMGET: the values, in the order of the names */
    bool has_twins;
    uint32_t mask;
    int32_t *table;  /* open addressing, at most half full: cells by the hash of their name; UNWANTED in a free slot */
    Guess *guesses;
    size_t guesses_room;
    size_t longest;
} Picker;

int32_t cell_of_name(Picker *picker, uint64_t place, const uint8_t *name, size_t length);
void make_guesses(Picker *picker, uint64_t names);
extern PyType_Spec row_spec, picker_spec;

/* --- replies.c ---------------------------------------------------------------------------------------------------- */

extern PyType_Spec reader_spec;

/* --- body.c ------------------------------------------------------------------------------------------------------- */

extern PyType_Spec writer_spec;

/* --- slots.c ------------------------------------------------------------------------------------------------------ */

void fill_crc_of_byte(void);
PyObject *slot_of(PyObject *module, PyObject *const *args, Py_ssize_t nargs);
PyObject *split_keys(PyObject *module, PyObject *const *args, Py_ssize_t nargs);
PyObject *put_rows(PyObject *module, PyObject *const *args, Py_ssize_t nargs);

/* --- module.c ----------------------------------------------------------------------------------------------------- */

enum { ROW, PICKER, TYPES = 4 };

typedef struct {
    PyTypeObject *types[TYPES]; /* Row, Picker, and two that C never looks up */
    Text body, tails;  /* scratch of the writers: nothing runs Python while one of them is in use */
    Text old;          /* a byte for each view and row: whether the row is older than the ttl */
    Row **rows;        /* and the rows of the answer that is being written */
    size_t rows_room;
} State;

#endif
