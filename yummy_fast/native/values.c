/* Feast's stored Values and event timestamps as JSON text: what feast_format.values and orjson make of them.
 *
 * A stored Value is one field of a oneof (feast/types/Value.proto): a tag, which says which field it is, and what it
 * holds. `18 2a` is field 3, int32_val, of 42; `6a 03 0a 01 2a` is field 13, int32_list_val, a message of three bytes
 * that is itself one packed field of one byte.
 *
 * This file writes a Value that is exactly one field: a scalar, a text, bytes, or a list of one of these. The rest is
 * UNUSUAL: other types, several fields, unpacked numbers, corrupt bytes. Python writes or refuses it. So when in doubt,
 * the code here is strict: that costs time, while leniency could give a wrong answer.
 */
#include "native.h"

/* --- text that grows ---------------------------------------------------------------------------------------------- */

bool text_grow(Text *text, size_t room)
{
    size_t written = text_length(text), size = (size_t)(text->end - text->start);
    if (room > PY_SSIZE_T_MAX / 4 - written)
        return false;
    size = size < 1024 ? 1024 : size;
    while (size - written < room)
        size *= 2;
    char *start = PyMem_Realloc(text->start, size);
    if (start == NULL)
        return false;
    *text = (Text){start, start + written, start + size};
    return true;
}

/* Empty the text; free its memory if that is more than `keep` bytes. */
void text_release(Text *text, size_t keep)
{
    if ((size_t)(text->end - text->start) > keep) {
        PyMem_Free(text->start);
        *text = (Text){0};
    }
    text->at = text->start;
}

/* --- strings ------------------------------------------------------------------------------------------------------ */

/* How many bytes the character at `string` takes; 0 if they are not valid UTF-8 (RFC 3629, section 4). */
static size_t character_length(const uint8_t *string, size_t length)
{
    uint8_t first = string[0];
    size_t wanted = first < 0x80 ? 1 : first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
    if (wanted == 0 || wanted > length)
        return 0;
    for (size_t i = 1; i < wanted; i++)
        if ((string[i] & 0xC0) != 0x80)
            return 0;
    if (wanted > 2) { /* overlong forms, surrogates, and what lies beyond U+10FFFF */
        uint8_t second = string[1];
        if ((first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F) || (first == 0xF0 && second < 0x90) ||
            (first == 0xF4 && second > 0x8F))
            return 0;
    }
    return wanted;
}

/* Whether one of eight bytes needs a look: a control character, a quote, a backslash, or not ASCII. */
static bool needs_a_look(uint64_t word)
{
    const uint64_t ones = 0x0101010101010101, highs = 0x8080808080808080;
    uint64_t control = word - 0x20 * ones; /* borrows where a byte is below 0x20 ... */
    uint64_t quote = (word ^ '"' * ones) - ones, backslash = (word ^ '\\' * ones) - ones; /* ... or is that character */
    return ((control | quote | backslash | word) & highs) != 0;
}

static char *write_escaped(char *at, uint8_t character)
{
    static const char SHORT[] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    *at++ = '\\';
    if (character >= 0x20) {
        *at++ = (char)character;
    } else if (character < sizeof SHORT && SHORT[character]) {
        *at++ = SHORT[character];
    } else {
        memcpy(at, "u00", 3);
        at[3] = (char)('0' + (character >> 4));
        at[4] = "0123456789abcdef"[character & 15];
        at += 5;
    }
    return at;
}

Outcome write_string(Text *text, const uint8_t *string, size_t length)
{
    const uint8_t *end = string + length;
    if (!text_room(text, 1))
        return NO_MEMORY;
    *text->at++ = '"';
    while (string < end) {
        if (!text_room(text, 16)) /* eight characters as they are, or one that is escaped, and the quote at the end */
            return NO_MEMORY;
        if (end - string >= 8 && !needs_a_look(load_64(string))) {
            memcpy(text->at, string, 8);
            string += 8;
            text->at += 8;
        } else if (*string < 0x20 || *string == '"' || *string == '\\') {
            text->at = write_escaped(text->at, *string++);
        } else {
            size_t character = character_length(string, (size_t)(end - string));
            if (character == 0)
                return UNUSUAL;
            memcpy(text->at, string, character);
            string += character;
            text->at += character;
        }
    }
    if (!text_room(text, 1))
        return NO_MEMORY;
    *text->at++ = '"';
    return WRITTEN;
}

static Outcome write_base64(Text *text, const uint8_t *bytes, size_t length)
{
    static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if (!text_room(text, (length + 2) / 3 * 4 + 2))
        return NO_MEMORY;
    char *at = text->at;
    *at++ = '"';
    for (; length > 0; bytes += 3, length -= length < 3 ? length : 3) {
        uint32_t three = (uint32_t)bytes[0] << 16 | (length > 1 ? (uint32_t)bytes[1] << 8 : 0) |
                         (length > 2 ? bytes[2] : 0);
        *at++ = ALPHABET[three >> 18];
        *at++ = ALPHABET[three >> 12 & 63];
        *at++ = length > 1 ? ALPHABET[three >> 6 & 63] : '=';
        *at++ = length > 2 ? ALPHABET[three & 63] : '=';
    }
    *at++ = '"';
    text->at = at;
    return WRITTEN;
}

/* --- Values ------------------------------------------------------------------------------------------------------- */

typedef enum { OTHER = 0, BYTES, STRING, INT32, INT64, DOUBLE, FLOAT, BOOL, LIST = 0x10 } Kind;

/* What each field of Value holds. Lists and sets are the same on the wire. The fields that are missing here are OTHER:
 * null, maps, nested lists, times with a zone, and whatever a later Feast adds. */
static const uint8_t KINDS[] = {
    [1] = BYTES, [2] = STRING, [3] = INT32, [4] = INT64, [5] = DOUBLE, [6] = FLOAT, [7] = BOOL,
    [8] = INT64, /* unix_timestamp */
    [11] = LIST | BYTES, [12] = LIST | STRING, [13] = LIST | INT32, [14] = LIST | INT64,
    [15] = LIST | DOUBLE, [16] = LIST | FLOAT, [17] = LIST | BOOL, [18] = LIST | INT64,
    [22] = LIST | BYTES, [23] = LIST | STRING, [24] = LIST | INT32, [25] = LIST | INT64,
    [26] = LIST | DOUBLE, [27] = LIST | FLOAT, [28] = LIST | BOOL, [29] = LIST | INT64,
    [32] = STRING, [33] = LIST | STRING,                         /* json */
    [36] = STRING, [37] = STRING,                                /* uuid, time_uuid */
    [38] = LIST | STRING, [39] = LIST | STRING, [40] = LIST | STRING, [41] = LIST | STRING, /* lists and sets of them */
    [44] = STRING, [45] = LIST | STRING, [46] = LIST | STRING,   /* decimal */
};

enum { VARINT = 0, FIXED_64 = 1, DELIMITED = 2, FIXED_32 = 5 }; /* wire types */
static const uint8_t WIRE_TYPES[] = {
    [BYTES] = DELIMITED, [STRING] = DELIMITED, [INT32] = VARINT, [INT64] = VARINT,
    [DOUBLE] = FIXED_64, [FLOAT] = FIXED_32, [BOOL] = VARINT,
};

/* Read the varint at `*at`, and move `*at` behind it. False if it does not end before `end`, or has over 64 bits. */
static inline bool read_varint(const uint8_t **at, const uint8_t *end, uint64_t *number)
{
    const uint8_t *byte = *at;
    uint64_t found = 0;
    for (int shift = 0; shift < 64 && byte < end; shift += 7) {
        found |= (uint64_t)(*byte & 0x7F) << shift;
        if (*byte++ < 0x80) {
            if (shift == 63 && byte[-1] > 1)
                return false;
            *at = byte;
            *number = found;
            return true;
        }
    }
    return false;
}

/* One scalar, without its tag. `*at` moves behind it. */
static ALWAYS_INLINE Outcome write_scalar(Text *text, Kind kind, const uint8_t **at, const uint8_t *end)
{
    uint64_t number;
    switch (kind) {
    case BYTES:
    case STRING: {
        if (!read_varint(at, end, &number) || number > (uint64_t)(end - *at))
            return UNUSUAL;
        const uint8_t *content = *at;
        *at += number;
        return kind == STRING ? write_string(text, content, number) : write_base64(text, content, number);
    }
    case INT32:
    case INT64:
    case BOOL:
        if (!read_varint(at, end, &number))
            return UNUSUAL;
        if (UNLIKELY(!text_room(text, MAX_NUMBER_CHARS)))
            return NO_MEMORY;
        if (kind == BOOL)
            return text_add(text, number ? "true" : "false", number ? 4 : 5) ? WRITTEN : NO_MEMORY;
        /* As in protobuf, an int32 is the lower half of the varint. */
        text->at = write_signed(text->at, kind == INT32 ? (int32_t)(uint32_t)number : (int64_t)number);
        return WRITTEN;
    case DOUBLE:
    case FLOAT: {
        size_t size = kind == DOUBLE ? 8 : 4;
        if ((size_t)(end - *at) < size)
            return UNUSUAL;
        if (UNLIKELY(!text_room(text, MAX_NUMBER_CHARS)))
            return NO_MEMORY;
        text->at = write_floats(text->at, *at, size, kind == DOUBLE) - 1;
        *at += size;
        return WRITTEN;
    }
    default:
        return UNUSUAL;
    }
}

/* The numbers of a list, and its `]`. An embedding has a thousand floats: room is made for 64 at a time. */
static Outcome write_float_list(Text *text, bool are_doubles, const uint8_t *at, const uint8_t *end)
{
    size_t size = are_doubles ? 8 : 4, length = (size_t)(end - at);
    if (length % size != 0)
        return UNUSUAL;
    for (size_t some; length > 0; at += some, length -= some) {
        some = length < 64 * size ? length : 64 * size;
        if (UNLIKELY(!text_room(text, some / size * MAX_NUMBER_CHARS)))
            return NO_MEMORY;
        text->at = write_floats(text->at, at, some, are_doubles);
    }
    text->at -= text->at[-1] == ','; /* behind the last number */
    return TEXT_ADD(text, "]") ? WRITTEN : NO_MEMORY;
}

/* A message whose field 1 holds the items: numbers packed into one field, texts and bytes in a field each. */
static Outcome write_list(Text *text, Kind kind, const uint8_t *at, const uint8_t *end)
{
    enum { TAG = 1 << 3 | DELIMITED };
    uint64_t length;
    if (!TEXT_ADD(text, "["))
        return NO_MEMORY;
    bool packed = kind != STRING && kind != BYTES;
    if (packed && at < end) {
        if (*at++ != TAG || !read_varint(&at, end, &length) || length != (uint64_t)(end - at))
            return UNUSUAL;
    }
    if (kind == DOUBLE || kind == FLOAT)
        return write_float_list(text, kind == DOUBLE, at, end);
    while (at < end) {
        if (!packed && *at++ != TAG)
            return UNUSUAL;
        Outcome outcome = write_scalar(text, kind, &at, end);
        if (outcome != WRITTEN)
            return outcome;
        if (at < end && !TEXT_ADD(text, ","))
            return NO_MEMORY;
    }
    return TEXT_ADD(text, "]") ? WRITTEN : NO_MEMORY;
}

/* A Value of whatever kind. */
static Outcome write_other_value(Text *text, const uint8_t *at, const uint8_t *end)
{
    uint32_t tag = *at++;
    if (tag >= 0x80) { /* fields from 16 on: two bytes */
        if (at == end || *at >= 0x80)
            return UNUSUAL;
        tag = (tag & 0x7F) | (uint32_t)*at++ << 7;
    }
    uint32_t field = tag >> 3;
    Kind kind = field < sizeof KINDS ? KINDS[field] : OTHER;
    if (kind & LIST) {
        uint64_t size;
        if ((tag & 7) != DELIMITED || !read_varint(&at, end, &size) || size != (uint64_t)(end - at))
            return UNUSUAL;
        return write_list(text, kind & ~LIST, at, end);
    }
    if (kind == OTHER || (tag & 7) != WIRE_TYPES[kind])
        return UNUSUAL;
    Outcome outcome = write_scalar(text, kind, &at, end);
    return outcome == WRITTEN && at != end ? UNUSUAL : outcome;
}

Outcome write_value(Text *text, const uint8_t *stored, size_t length)
{
    if (length == 0)
        return TEXT_ADD(text, "null") ? WRITTEN : NO_MEMORY;
    const uint8_t *at = stored + 1, *end = stored + length;
    Outcome outcome;
    switch (*stored) { /* for the most frequent types, one comparison with the tag is enough */
    case 3 << 3 | VARINT:
        outcome = write_scalar(text, INT32, &at, end);
        break;
    case 4 << 3 | VARINT:
        outcome = write_scalar(text, INT64, &at, end);
        break;
    case 5 << 3 | FIXED_64:
        outcome = write_scalar(text, DOUBLE, &at, end);
        break;
    case 6 << 3 | FIXED_32:
        outcome = write_scalar(text, FLOAT, &at, end);
        break;
    default:
        return write_other_value(text, stored, end);
    }
    return outcome == WRITTEN && at != end ? UNUSUAL : outcome;
}

/* --- event timestamps --------------------------------------------------------------------------------------------- */

static const uint64_t SECONDS_END = 253402300800; /* 10000-01-01: datetime's years end before it */

/* The date of a day since 1970-01-01 (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms"): days are counted
 * from 0000-03-01, so that a leap day is the last of its year. */
static void civil_date(uint32_t day, uint32_t *year, uint32_t *month, uint32_t *day_of_month)
{
    day += 719468;
    uint32_t era = day / 146097, of_era = day % 146097; /* 400 years each */
    uint32_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    uint32_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    uint32_t from_march = (5 * of_year + 2) / 153;
    *day_of_month = of_year - (153 * from_march + 2) / 5 + 1;
    *month = from_march < 10 ? from_march + 3 : from_march - 9;
    *year = era * 400 + year_of_era + (*month <= 2);
}

/* A google.protobuf.Timestamp from 1970 to 9999 as Feast's Redis store reads it: its seconds and nanoseconds are added
 * as floats and rounded to microseconds, half to even, as datetime.fromtimestamp does. Fractions have 3 or 6 digits.
 * `moment_of` gets the microseconds since 1970. */
Outcome write_timestamp(Text *text, const uint8_t *stored, size_t length, int64_t *moment_of)
{
    const uint8_t *at = stored, *end = stored + length;
    uint64_t seconds = 0, nanos = 0, micros = 0;
    if (at < end && *at == (1 << 3 | VARINT)) {
        at++;
        if (!read_varint(&at, end, &seconds) || seconds >= SECONDS_END)
            return UNUSUAL;
    }
    if (at < end && *at == (2 << 3 | VARINT)) {
        at++;
        if (!read_varint(&at, end, &nanos) || nanos > 999999999)
            return UNUSUAL;
    }
    if (at != end)
        return UNUSUAL;
    if (nanos != 0) {
        double moment = (double)seconds + (double)nanos / 1e9;
        seconds = (uint64_t)moment;
        double fraction = (moment - (double)seconds) * 1e6; /* the difference is exact; only the product is rounded */
        micros = (uint64_t)fraction;
        double rest = fraction - (double)micros;
        if (rest > 0.5 || (rest == 0.5 && (micros & 1)))
            micros++;
        if (micros >= 1000000) {
            micros -= 1000000;
            seconds++;
        }
        if (seconds >= SECONDS_END)
            return UNUSUAL;
    }
    if (!text_room(text, 32))
        return NO_MEMORY;
    *moment_of = (int64_t)(seconds * 1000000 + micros);
    uint32_t year, month, day, second = (uint32_t)(seconds % 86400);
    civil_date((uint32_t)(seconds / 86400), &year, &month, &day);
    const uint32_t pairs[] = {year / 100, year % 100, month, day, second / 3600, second / 60 % 60, second % 60};
    char *moment = text->at;
    memcpy(moment, "\"YYYY-MM-DDThh:mm:ss", 20);
    static const uint8_t PLACES[] = {1, 3, 6, 9, 12, 15, 18};
    for (size_t i = 0; i < sizeof PLACES; i++) {
        moment[PLACES[i]] = (char)('0' + pairs[i] / 10);
        moment[PLACES[i] + 1] = (char)('0' + pairs[i] % 10);
    }
    moment += 20;
    if (micros != 0) {
        int digits = micros % 1000 ? 6 : 3;
        uint64_t left = digits == 6 ? micros : micros / 1000;
        *moment++ = '.';
        for (int i = digits; i-- > 0; left /= 10)
            moment[i] = (char)('0' + left % 10);
        moment += digits;
    }
    memcpy(moment, "Z\"", 2);
    text->at = moment + 2;
    return WRITTEN;
}
