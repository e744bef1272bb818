/* Replies of Redis to Rows: a reader that is told what comes next.
 *
 * Whoever sends commands tells the reader, in the same order, which Picker their replies are for. So of a hash of 275
 * fields of which 50 are wanted, 50 values are copied into one object, and the rest are stepped over; no object is made
 * for a name or a value. One reply to HGETALL, cut where its elements end:
 *
 *     *550\r\n   $4\r\nx9a!\r\n   $3\r\n\x18\xd2\x09\r\n   $7\r\n_ts:one\r\n   $6\r\n\x08\x80...\r\n   ...
 *
 * What the reader knows between two elements is in its struct, so a reply may be cut anywhere: only an element that is
 * not whole is kept and read again, and of a long line no byte is searched twice. A reply that is no hash's is read to
 * its end and becomes None, an error its text. The grammar is RESP2's, and stricter than hiredis's at one point: behind
 * a bulk string there has to be CR LF. Of RESP3, it knows what a connection that keeps a cache true is sent: hashes as
 * maps, nulls, and pushes, which come between replies and are no replies. One that names a key which has changed:
 *
 *     >2\r\n   $10\r\ninvalidate\r\n   *1\r\n   $41\r\n<the key>\r\n
 *
 * After damage there is no telling where a reply begins: `failed` says what was found, and nothing more is read.
 */
#include "native.h"

#include <structmember.h>

enum { CR_LF = '\r' | '\n' << 8 }; /* as load_16 has it */

#ifndef MAX_ROW_BYTES /* a build for tests has a small one */
#define MAX_ROW_BYTES (UINT32_MAX - 1)
#endif
enum { KEPT_BYTES = 256 << 10 }; /* scratch memory that a reader holds on to between two reads */

typedef struct {
    Picker *picker;    /* NULL: whatever comes is not looked at */
    PyObject *answer;  /* a list of Rows; or, once something else came, the first that did: an error's text, or None */
    Py_ssize_t missing;
} Expected;

typedef struct {
    PyObject_HEAD
    Expected *expected; /* a ring: `first`, and `count` of them */
    size_t room, first, count;

    /* The reply that has begun */
    uint64_t elements; /* still to come, those of nested arrays as well; 0 between two replies */
    uint64_t place;    /* of the next value; in a reply to HGETALL, of the next name and value */
    bool at_value;     /* the next element is the value of the name that came last, ... */
    int32_t cell;      /* ... which belongs here */
    bool no_hash;      /* it is read to its end, but no Row will come of it */
    bool in_push;      /* it is a push, ... */
    bool tells_keys;   /* ... which says `invalidate`, so that keys follow */
    Cell *cells;       /* the Row so far */
    size_t cells_room;
    Text bytes;

    Text rest;         /* of what was fed: an element that is not whole */
    size_t searched;   /* bytes of `rest` in which no line ends */
    unsigned long long unfinished_bytes;
    const char *failed;
    PyObject *invalidated; /* a list of the keys that pushes have named since it was taken, and of None for all */
} Reader;

typedef enum {
    BYTES_ELEMENT, ARRAY_ELEMENT, MAP_ELEMENT, PUSH_ELEMENT, NIL_ELEMENT, OTHER_ELEMENT, ERROR_ELEMENT,
    CUT, DAMAGED, OUT_OF_MEMORY, /* no element */
} Kind;

typedef struct {
    const uint8_t *bytes; /* BYTES_ELEMENT, ERROR_ELEMENT: `number` of them */
    uint64_t number;      /* ARRAY_ELEMENT, MAP_ELEMENT, PUSH_ELEMENT: how many elements follow */
} Element;

/* A number as Redis writes it, and no other way: 0, 17, -1. */
static bool parse_number(const uint8_t *at, const uint8_t *end, int64_t *number)
{
    bool negative = at < end && *at == '-';
    at += negative;
    if (at == end || (*at == '0' && (negative || end - at > 1)))
        return false;
    uint64_t found = 0;
    for (; at < end; at++) {
        unsigned digit = *at - (unsigned)'0';
        if (digit > 9 || found > (UINT64_MAX - digit) / 10)
            return false;
        found = found * 10 + digit;
    }
    if (found > (uint64_t)INT64_MAX + negative)
        return false;
    *number = negative ? -(int64_t)(found - 1) - 1 : (int64_t)found;
    return true;
}

/* Where the line that begins at `at` ends, before its CR LF; NULL if that has not come. */
static const uint8_t *line_end(Reader *reader, const uint8_t *at, const uint8_t *end)
{
    const uint8_t *from = at + reader->searched;
    while (end - from >= 2 && (from = memchr(from, '\r', (size_t)(end - from - 1))) != NULL) {
        if (from[1] == '\n') {
            reader->searched = 0;
            return from;
        }
        from++;
    }
    reader->searched = (size_t)(end - at) - (end > at && end[-1] == '\r');
    return NULL;
}

static Kind damaged(Reader *reader, const char *what)
{
    reader->failed = what;
    return DAMAGED;
}

/* An element of RESP3 that RESP2 does not have: a null, or the head of a map or of a push. */
static Kind next_new_element(Reader *reader, const uint8_t **at, const uint8_t *end, Element *element)
{
    uint8_t type = **at;
    if (type != '_' && type != '%' && type != '>')
        return damaged(reader, "a reply of no known type");
    const uint8_t *line = *at + 1, *stop = line_end(reader, *at, end);
    if (stop == NULL)
        return CUT;
    *at = stop + 2;
    if (type == '_')
        return stop == line ? NIL_ELEMENT : damaged(reader, "a null with something in it");
    int64_t number;
    if (!parse_number(line, stop, &number))
        return damaged(reader, "something that is no number");
    if (number < 0 || number > UINT32_MAX)
        return damaged(reader, "a length out of range");
    element->number = type == '%' ? 2 * (uint64_t)number : (uint64_t)number;
    return type == '%' ? MAP_ELEMENT : PUSH_ELEMENT;
}

/* The element that begins at `*at`, which moves behind it; CUT if it is not whole. */
static Kind next_element(Reader *reader, const uint8_t **at, const uint8_t *end, Element *element)
{
    if (*at == end)
        return CUT;
    uint8_t type = **at;
    if (type != '$' && type != '*' && type != '+' && type != '-' && type != ':')
        return next_new_element(reader, at, end, element);
    const uint8_t *line = *at + 1, *stop = line_end(reader, *at, end);
    if (stop == NULL)
        return CUT;
    element->bytes = line;
    element->number = (uint64_t)(stop - line);
    if (type == '+' || type == '-') {
        if (memchr(line, '\r', element->number) || memchr(line, '\n', element->number))
            return damaged(reader, "a line with half an end in it");
        *at = stop + 2;
        return type == '+' ? BYTES_ELEMENT : ERROR_ELEMENT;
    }
    int64_t number;
    if (!parse_number(line, stop, &number))
        return damaged(reader, "something that is no number");
    stop += 2;
    if (type == ':' || number == -1) {
        *at = stop;
        return type == ':' ? OTHER_ELEMENT : NIL_ELEMENT;
    }
    if (number < -1 || (type == '*' && number > UINT32_MAX))
        return damaged(reader, "a length out of range");
    element->number = (uint64_t)number;
    if (type == '*') {
        *at = stop;
        return ARRAY_ELEMENT;
    }
    if (end - stop < 2 || (uint64_t)(end - stop - 2) < element->number)
        return CUT;
    element->bytes = stop;
    stop += element->number;
    if (stop[0] != '\r' || stop[1] != '\n')
        return damaged(reader, "a bulk string longer than it says");
    *at = stop + 2;
    return BYTES_ELEMENT;
}

/* The length of a bulk string that is whole, shorter than 100 bytes, and well formed, and where it begins. */
static inline bool short_string(const uint8_t *at, const uint8_t *end, const uint8_t **string, size_t *length)
{
    if (end - at < 6 || at[0] != '$')
        return false;
    size_t head = 4;
    *length = at[1] - (unsigned)'0';
    if (*length > 9)
        return false;
    if (at[2] != '\r') { /* two digits, then */
        size_t digit = at[2] - (unsigned)'0';
        if (digit > 9 || *length == 0 || at[3] != '\r')
            return false;
        *length = *length * 10 + digit;
        head = 5;
    }
    *string = at + head;
    return at[head - 1] == '\n' && (size_t)(end - at) >= head + *length + 2 && (*string)[*length] == '\r' &&
           (*string)[*length + 1] == '\n';
}

/* The value of a cell, copied to where the Row grows. */
static inline Kind take_value(Reader *reader, int32_t cell, const uint8_t *value, uint64_t length)
{
    size_t start = text_length(&reader->bytes);
    if (UNLIKELY(length > MAX_ROW_BYTES - start))
        return damaged(reader, "a row of 4 GB");
    if (UNLIKELY(!text_add(&reader->bytes, value, length)))
        return OUT_OF_MEMORY;
    reader->cells[cell] = (Cell){(uint32_t)start, (uint32_t)length};
    return BYTES_ELEMENT;
}

/* An array begins, or a map, which may be of a hash. False if there is no memory. */
static bool begin_array(Reader *reader, Picker *picker, uint64_t elements)
{
    reader->elements = elements;
    reader->place = 0;
    reader->at_value = false;
    reader->no_hash = picker == NULL || (picker->named ? elements % 2 != 0 : elements != picker->width);
    if (reader->no_hash || picker->width == 0)
        return true;
    if (picker->named && elements / 2 > picker->guesses_room)
        make_guesses(picker, elements / 2);
    if (picker->width > reader->cells_room) {
        Cell *cells = PyMem_Realloc(reader->cells, picker->width * sizeof(Cell));
        if (cells == NULL)
            return false;
        reader->cells = cells;
        reader->cells_room = picker->width;
    }
    memset(reader->cells, 0xFF, picker->width * sizeof(Cell)); /* ABSENT */
    return true;
}

/* One element of a hash's reply. */
static Kind take_element(Reader *reader, Picker *picker, Kind kind, const Element *element)
{
    if (kind == BYTES_ELEMENT && element->number > picker->longest)
        picker->longest = element->number;
    if (picker->named && !reader->at_value) {
        reader->at_value = true;
        reader->no_hash = kind != BYTES_ELEMENT;
        if (!reader->no_hash)
            reader->cell = cell_of_name(picker, reader->place, element->bytes, element->number);
        return kind;
    }
    int32_t cell = picker->named ? reader->cell : (int32_t)reader->place;
    reader->at_value = false;
    reader->place++;
    if (kind != BYTES_ELEMENT && kind != NIL_ELEMENT)
        reader->no_hash = true;
    else if (cell != UNWANTED && kind == NIL_ELEMENT)
        reader->cells[cell].start = ABSENT;
    else if (cell != UNWANTED)
        return take_value(reader, cell, element->bytes, element->number);
    return kind;
}

/* Pairs as nearly all are, most of which are stepped over: a name that was guessed, and a value of less than ten bytes.
 *
 *     $4\r\nx9a!\r\n   $3\r\n\x18\xd2\x09\r\n
 *
 * It stops at the first pair that is another, or so near to the end that it may not be whole. Where that is: */
static inline const uint8_t *take_usual_pairs(Reader *reader, const Picker *picker, const uint8_t *here,
                                              const uint8_t *end, uint64_t *elements, uint64_t *place, size_t *longest)
{
    enum { LOOKED_AT = 32 }; /* bytes of a pair at most: 10, 4, then 16 that are copied at once, whatever the length */
    const uint32_t value_head = '$' | CR_LF << 16, but_its_digit = 0xFFFF00FF;
    while (*elements > 1 && *place < picker->guesses_room && end - here >= LOOKED_AT) {
        const Guess *guess = &picker->guesses[*place];
        uint32_t head = load_32(here + 10), length = (head >> 8 & 0xFF) - '0';
        if (guess->head == 0 || load_64(here) != guess->head || load_16(here + 8) != CR_LF ||
            (head & but_its_digit) != value_head || length > 9 || load_16(here + 14 + length) != CR_LF)
            break;
        if (guess->cell != UNWANTED) {
            Text *bytes = &reader->bytes;
            size_t start = text_length(bytes);
            if (start + 16 > MAX_ROW_BYTES || !text_room(bytes, 16))
                break;
            memcpy(bytes->at, here + 14, 16);
            bytes->at += length;
            reader->cells[guess->cell] = (Cell){(uint32_t)start, length};
        }
        *longest = *longest < length ? length : *longest;
        here += 16 + length;
        *elements -= 2;
        ++*place;
    }
    return here;
}

/* The usual elements of a hash's reply, as long as they are usual: names that were guessed, and short values. It stops
 * where something is not, or not whole; what `next_element` then says of it counts. */
static Kind take_usual_elements(Reader *reader, Picker *picker, const uint8_t **at, const uint8_t *end)
{
    const uint8_t *here = *at, *string;
    size_t length, longest = picker->longest;
    uint64_t elements = reader->elements, place = reader->place;
    bool named = picker->named, at_value = !named || reader->at_value;
    int32_t cell = reader->cell;
    Kind kind = BYTES_ELEMENT;
    while (elements > 0 && kind == BYTES_ELEMENT) {
        if (!at_value) {
            here = take_usual_pairs(reader, picker, here, end, &elements, &place, &longest);
            if (elements == 0)
                break;
            const Guess *guess = place < picker->guesses_room ? &picker->guesses[place] : NULL;
            if (LIKELY(guess && guess->head && end - here >= 10 && load_64(here) == guess->head && here[8] == '\r' &&
                       here[9] == '\n')) {
                cell = guess->cell;
                here += 10;
            } else if (short_string(here, end, &string, &length)) {
                longest = longest < length ? length : longest;
                cell = cell_of_name(picker, place, string, length);
                here = string + length + 2;
            } else {
                break;
            }
            at_value = true;
            elements--;
        }
        if (UNLIKELY(!short_string(here, end, &string, &length)))
            break;
        longest = longest < length ? length : longest;
        if (!named)
            cell = (int32_t)place;
        if (cell != UNWANTED)
            kind = take_value(reader, cell, string, length);
        here = string + length + 2;
        at_value = !named;
        elements--;
        place++;
    }
    if (here != *at)
        reader->searched = 0; /* in an element that has been taken, if there was any */
    *at = here;
    reader->elements = elements;
    reader->place = place;
    reader->at_value = at_value;
    reader->cell = cell;
    picker->longest = longest;
    return kind;
}

/* The Row of the reply that has come to its end. */
static PyObject *finish_row(Reader *reader, const Picker *picker, PyTypeObject *row_type)
{
    if (picker->has_twins && picker->named)
        for (uint32_t cell = 0; cell < picker->width; cell++)
            if (picker->wanted[cell].same != UNWANTED)
                reader->cells[cell] = reader->cells[picker->wanted[cell].same];
    size_t cells = picker->width * sizeof(Cell), bytes = text_length(&reader->bytes);
    Row *row = PyObject_Malloc(offsetof(Row, cells) + cells + bytes);
    if (row == NULL)
        return NULL;
    PyObject_InitVar((PyVarObject *)row, row_type, (Py_ssize_t)picker->width);
    if (cells)
        memcpy(row->cells, reader->cells, cells);
    if (bytes)
        memcpy((uint8_t *)row->cells + cells, reader->bytes.start, bytes);
    reader->bytes.at = reader->bytes.start;
    return (PyObject *)row;
}

/* Put `reply`, which may be NULL for want of memory, where it was expected; into `answers` goes what is complete. */
static bool deliver(Reader *reader, PyObject *reply, bool is_row, PyObject *answers)
{
    Expected *expected = &reader->expected[reader->first];
    if (reply == NULL)
        return false;
    if (!PyList_CheckExact(expected->answer)) {
        Py_DECREF(reply); /* one problem is enough */
    } else if (is_row) {
        bool done = PyList_Append(expected->answer, reply) == 0;
        Py_DECREF(reply);
        if (!done)
            return false;
    } else {
        Py_DECREF(expected->answer);
        expected->answer = reply;
    }
    if (--expected->missing == 0) {
        if (PyList_Append(answers, expected->answer) < 0)
            return false;
        Py_DECREF(expected->answer);
        Py_XDECREF(OBJECT(expected->picker));
        reader->first = (reader->first + 1) % reader->room;
        reader->count--;
    }
    return true;
}

/* Read on in the push that has begun, up to its end or to the first element that is not whole. What is nested in it is
 * told apart by nothing but its place: of `invalidate`, all that follows is keys, or the null that stands for all. */
static Kind read_push(Reader *reader, const uint8_t **at, const uint8_t *end, Element *element)
{
    for (; reader->elements > 0; reader->place++) {
        Kind kind = next_element(reader, at, end, element);
        if (kind == CUT || kind == DAMAGED)
            return kind;
        if (kind == PUSH_ELEMENT)
            return damaged(reader, "a push within another one");
        reader->elements--;
        if (kind == ARRAY_ELEMENT || kind == MAP_ELEMENT)
            reader->elements += element->number;
        if (reader->place == 0) {
            reader->tells_keys = kind == BYTES_ELEMENT && element->number == 10 &&
                                 memcmp(element->bytes, "invalidate", 10) == 0;
        } else if (reader->tells_keys && (kind == BYTES_ELEMENT || kind == NIL_ELEMENT)) {
            PyObject *key = kind == NIL_ELEMENT ? Py_NewRef(Py_None)
                                                : PyBytes_FromStringAndSize((const char *)element->bytes,
                                                                            (Py_ssize_t)element->number);
            bool done = key != NULL && PyList_Append(reader->invalidated, key) == 0;
            Py_XDECREF(key);
            if (!done)
                return OUT_OF_MEMORY;
        }
    }
    reader->in_push = false;
    return PUSH_ELEMENT;
}

/* Read on in the reply that has begun, or begin one, up to its end or to the first element that is not whole. What it
 * was, if it ended: ARRAY_ELEMENT for an array or a map, PUSH_ELEMENT for a push, else what its one element is. */
static Kind read_reply(Reader *reader, Picker *picker, const uint8_t **at, const uint8_t *end, Element *element)
{
    if (reader->elements == 0) {
        Kind kind = next_element(reader, at, end, element);
        if (kind != ARRAY_ELEMENT && kind != MAP_ELEMENT && kind != PUSH_ELEMENT)
            return kind;
        if (kind == MAP_ELEMENT && (picker == NULL || !picker->named))
            return damaged(reader, "a map where none was asked for");
        if (!begin_array(reader, picker, element->number))
            return OUT_OF_MEMORY;
        reader->in_push = kind == PUSH_ELEMENT;
        reader->tells_keys = false;
    }
    if (UNLIKELY(reader->in_push))
        return read_push(reader, at, end, element);
    while (reader->elements > 0) {
        if (!reader->no_hash) {
            Kind kind = take_usual_elements(reader, picker, at, end);
            if (kind != BYTES_ELEMENT)
                return kind;
            if (reader->elements == 0)
                break;
        }
        Kind kind = next_element(reader, at, end, element);
        if (kind == CUT || kind == DAMAGED)
            return kind;
        reader->elements--;
        if (kind == PUSH_ELEMENT)
            return damaged(reader, "a push within a reply");
        if (kind == ARRAY_ELEMENT || kind == MAP_ELEMENT)
            reader->elements += element->number; /* no overflow: 2^32 arrays of 2^32 would take 2^34 bytes to say */
        if (!reader->no_hash && (kind = take_element(reader, picker, kind, element)) > ERROR_ELEMENT)
            return kind;
    }
    return ARRAY_ELEMENT;
}

/* Read the replies from `*at` on, which moves to the first element that is not whole; `*reply_end` to the end of the
 * last reply. False if there is no memory. Nothing in here runs Python: lists grow, but none is made, and neither text
 * nor Rows are the cycle collector's. */
static bool read_replies(Reader *reader, const uint8_t **at, const uint8_t *end, PyObject *answers,
                         const uint8_t **reply_end)
{
    PyTypeObject *row_type = ((State *)PyType_GetModuleState(Py_TYPE(OBJECT(reader))))->types[ROW];
    while (*at < end) {
        if (reader->count == 0 && **at != '>' && !reader->in_push) {
            reader->failed = "a reply to no command";
            return true;
        }
        Picker *picker = reader->count == 0 ? NULL : reader->expected[reader->first].picker;
        Element element;
        Kind kind = read_reply(reader, picker, at, end, &element);
        if (kind == CUT || kind == DAMAGED)
            return true;
        if (kind == OUT_OF_MEMORY)
            return false;
        if (kind == PUSH_ELEMENT) {
            *reply_end = *at;
            continue;
        }
        PyObject *reply;
        bool is_row = kind == ARRAY_ELEMENT && !reader->no_hash;
        if (kind == ERROR_ELEMENT)
            reply = PyUnicode_DecodeUTF8((const char *)element.bytes, (Py_ssize_t)element.number, "replace");
        else if (is_row)
            reply = finish_row(reader, picker, row_type);
        else
            reply = Py_NewRef(Py_None);
        if (!deliver(reader, reply, is_row, answers))
            return false;
        *reply_end = *at;
    }
    return true;
}

/* Read on from `*at`, `fresh` of whose bytes have not been counted. */
static bool read_piece(Reader *reader, const uint8_t **at, const uint8_t *end, size_t fresh, PyObject *answers)
{
    const uint8_t *reply_end = NULL;
    bool done = read_replies(reader, at, end, answers, &reply_end);
    reader->unfinished_bytes = reply_end ? (uint64_t)(end - reply_end) : reader->unfinished_bytes + fresh;
    return done;
}

/* Read what has come. An element that is not whole is kept; the next time, it is made whole with some of what has come
 * then, and the others are read where they are. Only if that does not make it whole, all is copied behind it. */
static bool read_all(Reader *reader, const uint8_t *bytes, size_t length, PyObject *answers)
{
    enum { SOME_BYTES = 64 }; /* a name and a number have less */
    Text *rest = &reader->rest;
    size_t kept = text_length(rest), copied = 0;
    if (kept > 0) {
        copied = length < SOME_BYTES ? length : SOME_BYTES;
        if (!text_add(rest, bytes, copied))
            return false;
        const uint8_t *at = (const uint8_t *)rest->start;
        if (!read_piece(reader, &at, (const uint8_t *)rest->at, copied, answers))
            return false;
        size_t taken = (size_t)(at - (const uint8_t *)rest->start);
        if (reader->failed)
            return true;
        if (taken < kept) {
            if (!text_add(rest, bytes + copied, length - copied))
                return false;
            at = (const uint8_t *)rest->start + taken;
            if (copied < length && !read_piece(reader, &at, (const uint8_t *)rest->at, length - copied, answers))
                return false;
            size_t left = (size_t)((const uint8_t *)rest->at - at);
            memmove(rest->start, at, left);
            rest->at = rest->start + left;
            return true;
        }
        rest->at = rest->start;
        bytes += taken - kept;
        length -= taken - kept;
        copied -= taken - kept;
    }
    const uint8_t *at = bytes, *end = bytes + length;
    return read_piece(reader, &at, end, length - copied, answers) &&
           (reader->failed || text_add(rest, at, (size_t)(end - at)));
}

static PyObject *reader_feed(PyObject *self, PyObject *data)
{
    Reader *reader = (Reader *)self;
    Py_buffer fed;
    if (PyObject_GetBuffer(data, &fed, PyBUF_SIMPLE) < 0)
        return NULL;
    PyObject *answers = PyList_New(0); /* before any pointer is taken: this may run Python, even feed this reader */
    if (answers != NULL && reader->failed == NULL && fed.len > 0) {
        bool done = read_all(reader, fed.buf, (size_t)fed.len, answers);
        if (text_length(&reader->rest) == 0 || !done || reader->failed)
            text_release(&reader->rest, KEPT_BYTES);
        if (reader->elements == 0)
            text_release(&reader->bytes, KEPT_BYTES); /* of a Row that was given up, there may be bytes */
        if (!done) { /* what had come is lost with the list: whoever feeds this reader has to give up on it */
            reader->failed = "no memory";
            Py_CLEAR(answers);
            PyErr_NoMemory();
        }
    }
    PyBuffer_Release(&fed);
    return answers;
}

static PyObject *reader_take_invalidated(PyObject *self, PyObject *nothing)
{
    (void)nothing;
    Reader *reader = (Reader *)self;
    PyObject *fresh = PyList_New(0); /* this may run Python, which may come here again */
    if (fresh == NULL)
        return NULL;
    PyObject *taken = reader->invalidated;
    reader->invalidated = fresh;
    return taken;
}

static PyObject *reader_expect(PyObject *self, PyObject *const *arguments, Py_ssize_t arguments_count)
{
    Reader *reader = (Reader *)self;
    PyObject *picker = arguments_count == 2 ? arguments[0] : NULL;
    Py_ssize_t replies = picker && PyLong_CheckExact(arguments[1]) ? PyLong_AsSsize_t(arguments[1]) : 0;
    if (replies == -1 && PyErr_Occurred())
        return NULL;
    PyTypeObject *picker_type = ((State *)PyType_GetModuleState(Py_TYPE(self)))->types[PICKER];
    if (replies < 1 || (picker != Py_None && !Py_IS_TYPE(picker, picker_type))) {
        PyErr_SetString(PyExc_TypeError, "expected a Picker or None, and a number of replies above zero");
        return NULL;
    }
    PyObject *list = PyList_New(0); /* this may run Python, which may come here again: the ring is looked at below */
    if (list == NULL)
        return NULL;
    if (reader->count == reader->room) {
        size_t room = reader->room ? 2 * reader->room : 16;
        Expected *expected = PyMem_Malloc(room * sizeof *expected);
        if (expected == NULL) {
            Py_DECREF(list);
            return PyErr_NoMemory();
        }
        for (size_t i = 0; i < reader->count; i++)
            expected[i] = reader->expected[(reader->first + i) % reader->room];
        PyMem_Free(reader->expected);
        reader->expected = expected;
        reader->room = room;
        reader->first = 0;
    }
    reader->expected[(reader->first + reader->count++) % reader->room] = (Expected){
        .picker = picker == Py_None ? NULL : (Picker *)Py_NewRef(picker),
        .answer = list,
        .missing = replies,
    };
    Py_RETURN_NONE;
}

static PyObject *reader_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, ":ReplyReader", (char *[]){NULL}))
        return NULL;
    PyObject *invalidated = PyList_New(0);
    Reader *reader = invalidated == NULL ? NULL : (Reader *)PyType_GenericAlloc(type, 0); /* zeroed */
    if (reader == NULL) {
        Py_XDECREF(invalidated);
        return NULL;
    }
    reader->invalidated = invalidated;
    return (PyObject *)reader;
}

static void reader_dealloc(PyObject *self)
{
    Reader *reader = (Reader *)self;
    Py_XDECREF(reader->invalidated);
    for (size_t i = 0; i < reader->count; i++) {
        Expected *expected = &reader->expected[(reader->first + i) % reader->room];
        Py_DECREF(expected->answer);
        Py_XDECREF(OBJECT(expected->picker));
    }
    PyMem_Free(reader->expected);
    PyMem_Free(reader->cells);
    PyMem_Free(reader->bytes.start);
    PyMem_Free(reader->rest.start);
    free_object(self);
}

static PyMemberDef reader_members[] = {
    {"failed", T_STRING, offsetof(Reader, failed), READONLY, "Why nothing more is read, or None."},
    {"unfinished_bytes", T_ULONGLONG, offsetof(Reader, unfinished_bytes), READONLY, "Of the reply that is not whole."},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef reader_methods[] = {
    {"expect", (PyCFunction)(void (*)(void))reader_expect, METH_FASTCALL,
     "expect(picker, replies): what comes after all that is expected so far."},
    {"feed", reader_feed, METH_O,
     "feed(data): for each `expect` that is now answered, rows; or an error's text, or None."},
    {"take_invalidated", reader_take_invalidated, METH_NOARGS,
     "take_invalidated(): the keys that have changed since the last call, by what was fed; None stands for all keys."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot reader_slots[] = {
    {Py_tp_doc, "Replies of Redis, out of bytes that were cut anywhere."},
    {Py_tp_new, reader_new},
    {Py_tp_dealloc, reader_dealloc},
    {Py_tp_members, reader_members},
    {Py_tp_methods, reader_methods},
    {0, NULL},
};

PyType_Spec reader_spec = {
    .name = "yummy_fast.native._native.ReplyReader",
    .basicsize = sizeof(Reader),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = reader_slots,
};
