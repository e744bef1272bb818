/* Numbers as JSON text, byte for byte as orjson >= 3.11.7 writes them.
 *
 * Doubles: the shortest digits that are read back as the same double, after Schubfach (Raffaello Giulietti, "The
 * Schubfach way to render doubles", 2021). In short: the doubles next to v leave an interval around v in which every
 * decimal is read back as v. Of the decimals with one digit fewer at most one lies in that interval, and is taken if
 * there is one; else the nearer of the two around v. All of it is integer arithmetic on v scaled by a power of ten; the
 * table of those powers is made by powers_of_ten.py when the module is imported.
 *
 * The layout of the digits is the JSON writers' in Rust: 1e-5 <= |v| < 1e16 plain, with ".0" if whole; else d.ddde+XX.
 */
#include "native.h"

#if defined __SSE2__ && !defined PORTABLE_DIGITS /* a build for tests has none of it */
#include <emmintrin.h>
#endif

__extension__ typedef unsigned __int128 uint128;

uint64_t powers_of_ten[POWERS][2]; /* [k - POWER_MIN] = 10^k scaled to [2^127, 2^128), rounded up: high, low half */

static const char PAIRS[] =
    "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849"
    "5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";

static inline char *write_four(char *at, uint32_t number)
{
    memcpy(at, PAIRS + 2 * (number / 100), 2);
    memcpy(at + 2, PAIRS + 2 * (number % 100), 2);
    return at + 4;
}

/* Below 10,000, without zeros in front. */
static inline char *write_up_to_four(char *at, uint32_t number)
{
    if (number >= 1000)
        return write_four(at, number);
    uint32_t high = number / 100, low = number % 100;
    if (high > 0)
        *at++ = (char)('0' + high);
    if (high == 0 && low < 10) {
        *at = (char)('0' + low);
        return at + 1;
    }
    memcpy(at, PAIRS + 2 * low, 2);
    return at + 2;
}

char *write_unsigned(char *at, uint64_t number)
{
    if (number < 10000)
        return write_up_to_four(at, (uint32_t)number);
    if (number < 100000000) {
        at = write_up_to_four(at, (uint32_t)number / 10000);
        return write_four(at, (uint32_t)number % 10000);
    }
    at = write_unsigned(at, number / 100000000);
    uint32_t eight = (uint32_t)(number % 100000000);
    at = write_four(at, eight / 10000);
    return write_four(at, eight % 10000);
}

char *write_signed(char *at, int64_t number)
{
    if (number >= 0)
        return write_unsigned(at, (uint64_t)number);
    *at = '-';
    return write_unsigned(at + 1, 0 - (uint64_t)number);
}

/* floor(log2(10^k)), floor(log10(2^q)), floor(log10(3/4 * 2^q)): exact for all exponents of doubles (section 9.2). */
static int floor_log2_of_10_to(int k) { return (k * 1741647) >> 19; }
static int floor_log10_of_2_to(int q) { return (q * 1262611) >> 22; }
static int floor_log10_of_3_4_2_to(int q) { return (q * 1262611 - 524031) >> 22; }

/* c * 2^q, which is no whole number below 2^53, as digits * 10^exponent: as short as can be but for zeros at the end. Of
 * a normal double there are 16 or 17 digits.
 *
 * All is done with 64 bits behind the point, and errors of 17 in the last of them at most: of a whole number of tens, no
 * end of an interval is nearer than 21 without being equal, and what is rounded is no nearer to a half than 0.69. (So it
 * is for all exponents; continued fractions tell.) Where an end is such a number, which happens from 2^53 on, it belongs
 * to the interval if c is even. So `half` is too large by one to two units of the table's if it is, else too small. */
static inline uint64_t shortest(uint64_t c, int q, bool is_power_of_two, int *exponent)
{
    /* The doubles below a power of two lie twice as dense as those above. */
    int k = UNLIKELY(is_power_of_two) ? floor_log10_of_3_4_2_to(q) : floor_log10_of_2_to(q);
    int h = q + floor_log2_of_10_to(-k) + 1; /* 1 to 4 */
    const uint64_t *power = powers_of_ten[-k - POWER_MIN];
    *exponent = k;

    /* The double, scaled by 10^-k; half the way to the next one; and the whole numbers below the interval's ends. */
    uint64_t factor = c << h;
    uint128 low = (uint128)power[1] * factor + (1ULL << 63); /* so that what follows is rounded */
    uint128 scaled = (uint128)power[0] * factor + (uint64_t)(low >> 64);
    uint128 half = (uint128)(power[0] + 2 - 3 * (c & 1)) * (1ULL << (h - 1));
    uint64_t upper = (uint64_t)((scaled + half) >> 64);
    uint64_t lower = (uint64_t)((scaled - (UNLIKELY(is_power_of_two) ? half / 2 : half)) >> 64);

    uint64_t whole = (uint64_t)(scaled >> 64), fraction = (uint64_t)scaled;
    uint64_t nearer = whole + (fraction + (whole & 1) > 1ULL << 63); /* of two as near the even one */
    if (UNLIKELY(is_power_of_two) && nearer <= lower)
        nearer++;
    uint64_t tens = upper / 10 * 10;
    __asm__("" : "+r"(nearer)); /* computed in any case: a branch around it would be guessed wrongly too often */
    return tens > lower ? tens : nearer;
}

/* Sixteen digits, which are those of two numbers below 10^8. How many there are without the zeros at the end.
 *
 * In each step, all numbers are divided at once, and what is left over goes to the higher half of their room: 12345678;
 * 1234, 5678; 12, 34, 56, 78; and then a digit a byte. */
#if defined __SSE2__ && !defined PORTABLE_DIGITS
static inline unsigned write_sixteen(char *at, uint32_t high, uint32_t low)
{
    __m128i hundred = _mm_set1_epi16(100), ten = _mm_set1_epi16(10);
    __asm__("" : "+x"(hundred), "+x"(ten)); /* constants that GCC does not know: it would multiply by shifts and sums */
    __m128i all = _mm_set_epi64x((long long)low, (long long)high);
    __m128i quotients = _mm_srli_epi64(_mm_mul_epu32(all, _mm_set1_epi32((int)3518437209)), 45); /* by 10,000 */
    all = _mm_sub_epi32(all, _mm_mul_epu32(quotients, _mm_set1_epi32(10000)));
    all = _mm_or_si128(quotients, _mm_slli_epi64(all, 32));
    quotients = _mm_srli_epi16(_mm_mulhi_epu16(all, _mm_set1_epi16(5243)), 3); /* by 100 */
    all = _mm_or_si128(quotients, _mm_slli_epi32(_mm_sub_epi16(all, _mm_mullo_epi16(quotients, hundred)), 16));
    quotients = _mm_mulhi_epu16(all, _mm_set1_epi16(6554)); /* by 10 */
    all = _mm_or_si128(quotients, _mm_slli_epi16(_mm_sub_epi16(all, _mm_mullo_epi16(quotients, ten)), 8));
    _mm_storeu_si128((__m128i *)at, _mm_or_si128(all, _mm_set1_epi8('0')));
    unsigned zeros = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(all, _mm_setzero_si128()));
    return 31 - (unsigned)__builtin_clz((zeros ^ 0xFFFF) << 1 | 1);
}
#else
static inline uint64_t eight_digits(uint32_t number)
{
    uint64_t all = number / 10000 | (uint64_t)(number % 10000) << 32;
    uint64_t quotients = (all * 10486 >> 20) & 0x0000007F0000007F; /* by 100 */
    all = quotients | (all - quotients * 100) << 16;
    quotients = (all * 103 >> 10) & 0x000F000F000F000F; /* by 10 */
    return quotients | (all - quotients * 10) << 8;
}

static inline unsigned write_sixteen(char *at, uint32_t high, uint32_t low)
{
    uint64_t words[] = {eight_digits(high), eight_digits(low)};
    const uint64_t text[] = {words[0] | 0x3030303030303030, words[1] | 0x3030303030303030};
    memcpy(at, text, sizeof text);
    if (words[1] == 0)
        return words[0] ? 8 - (unsigned)__builtin_clzll(words[0]) / 8 : 0;
    return 16 - (unsigned)__builtin_clzll(words[1]) / 8;
}
#endif

/* 17 digits, the first apart from the others. How many others there are without the zeros at the end. */
static inline unsigned write_seventeen(char *first, char *others, uint64_t digits)
{
    uint32_t nine = (uint32_t)(digits / 100000000), eight = (uint32_t)(digits % 100000000);
    *first = (char)('0' + nine / 100000000);
    return write_sixteen(others, nine % 100000000, eight);
}

static inline char *write_double(char *at, double number)
{
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    bool is_negative = bits >> 63;
    uint64_t fraction = bits & ((1ULL << 52) - 1), c = fraction | 1ULL << 52; /* the double is c * 2^q */
    int biased = (int)(bits >> 52 & 0x7FF), q = biased - 1075;
    if (UNLIKELY((unsigned)biased - 1 >= 0x7FE)) {
        if (biased == 0x7FF || fraction == 0) { /* JSON has no such numbers; Feast 0.67 spells them as strings */
            const char *name = biased == 0 ? &"-0.0"[!is_negative]
                               : fraction  ? "\"NaN\""
                                           : is_negative ? "\"-Infinity\"" : "\"Infinity\"";
            size_t length = strlen(name);
            memcpy(at, name, length);
            return at + length;
        }
        c = fraction;
        q = -1074;
    }
    *at = '-';
    at += is_negative;
    if ((unsigned)-q <= (unsigned)__builtin_ctzll(c)) { /* a whole number below 2^53 */
        at = write_unsigned(at, c >> -q);
        memcpy(at, ".0", 2);
        return at + 2;
    }
    int exponent;
    uint64_t digits = shortest(c, q, fraction == 0, &exponent);
    int point = 17 + exponent; /* how many of 17 digits stand before the point */

    if (LIKELY(-4 < point && point <= 1)) { /* 1.2, 0.00012. If there are 16, a zero comes first, and it is well. */
        memcpy(at, "0.000\0\0", 8);
        at += 3 - point;
        return at + write_seventeen(at - (point == 1 ? 2 : 1), at, digits);
    }
    for (; digits < 10000000000000000; point--)
        digits *= 10;
    if (point == -4) { /* 0.000012 */
        memcpy(at, "0.0000", 6);
        return at + 7 + write_seventeen(at + 6, at + 7, digits);
    }
    if (0 < point && point <= 16) { /* 12.34, 9007199254740994.0 */
        int length = (int)write_seventeen(at, at + 1, digits);
        at += point;
        memmove(at + 1, at, 16);
        *at = '.';
        return at + (length > point ? length - point + 2 : 2);
    }
    unsigned length = write_seventeen(at, at + 2, digits);
    at[1] = '.';
    at += length > 0 ? length + 2 : 1; /* 1.2e+34, 1e+34 */
    *at++ = 'e';
    *at++ = point > 0 ? '+' : '-';
    return write_unsigned(at, (uint64_t)(point > 0 ? point - 1 : 1 - point));
}

/* Doubles or floats as protobuf packs them, each with a comma behind it. */
char *write_floats(char *at, const uint8_t *packed, size_t length, bool are_doubles)
{
    for (const uint8_t *end = packed + length; packed < end;) {
        double number;
        if (are_doubles) {
            memcpy(&number, packed, sizeof number);
            packed += sizeof number;
        } else {
            float narrow;
            memcpy(&narrow, packed, sizeof narrow);
            packed += sizeof narrow;
            number = (double)narrow; /* Python has no other floats: 0.1f is written as 0.10000000149011612 */
        }
        at = write_double(at, number);
        *at++ = ',';
    }
    return at;
}
