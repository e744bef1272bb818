/* Numbers as JSON text, byte for byte as orjson >= 3.11.7 writes them.
 *
 * Doubles: the shortest digits that are read back as the same double, by Schubfach (Raffaello Giulietti, "The Schubfach
 * way to render doubles", 2021). In short: the doubles next to v leave an interval around v in which every decimal is
 * read back as v. Of the decimals with one digit fewer at most one lies in that interval, and is taken if there is one;
 * else the nearer of the two around v. All of it is integer arithmetic on v scaled by a power of ten, of which 126 bits
 * are enough; the table of those powers is made by powers_of_ten.py when the module is imported.
 *
 * The layout of the digits is the JSON writers' in Rust: 1e-5 <= |v| < 1e16 plain, with ".0" if whole; else d.ddde+XX.
 */
#include "native.h"

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

/* The product with the scaled power of ten, without its lowest 128 bits; its last bit is set if they were not zero. So
 * it can be compared with other products as if nothing had been cut off ("round to odd"). */
static uint64_t scaled(const uint64_t power[2], uint64_t factor)
{
    uint128 low = (uint128)power[1] * factor;
    uint128 high = (uint128)power[0] * factor + (uint64_t)(low >> 64);
    return (uint64_t)(high >> 64) | ((uint64_t)high > 1);
}

/* Finite and not zero: significand * 10^exponent, as short as can be but for zeros at the end. */
static uint64_t shortest(uint64_t bits, int *exponent)
{
    uint64_t fraction = bits & ((1ULL << 52) - 1);
    int biased = (int)(bits >> 52 & 0x7FF);
    uint64_t c = biased ? fraction | 1ULL << 52 : fraction; /* the double is c * 2^q */
    int q = (biased ? biased : 1) - 1075;

    if (q <= 0 && q > -53 && (c & ((1ULL << -q) - 1)) == 0) { /* a whole number below 2^53 */
        *exponent = 0;
        return c >> -q;
    }
    bool is_odd = c & 1;
    bool lower_is_closer = fraction == 0 && biased > 1; /* at a power of two, the doubles below lie twice as dense */
    int k = lower_is_closer ? floor_log10_of_3_4_2_to(q) : floor_log10_of_2_to(q);
    int h = q + floor_log2_of_10_to(-k) + 1;
    const uint64_t *power = powers_of_ten[-k - POWER_MIN];

    /* Four times the double and the ends of its interval, scaled by 10^-k. The ends belong to it if c is even. */
    uint64_t lower = scaled(power, (4 * c - 2 + lower_is_closer) << h) + is_odd;
    uint64_t middle = scaled(power, (4 * c) << h);
    uint64_t upper = scaled(power, (4 * c + 2) << h) - is_odd;

    uint64_t s = middle / 4;
    if (s >= 10) { /* one digit fewer? */
        uint64_t tens = s / 10;
        bool down_fits = lower <= 40 * tens, up_fits = 40 * tens + 40 <= upper;
        if (down_fits != up_fits) {
            *exponent = k + 1;
            return tens + up_fits;
        }
    }
    bool down_fits = lower <= 4 * s, up_fits = 4 * s + 4 <= upper;
    bool up = up_fits;
    if (down_fits == up_fits) /* the nearer one; of two as near the even one */
        up = middle > 4 * s + 2 || (middle == 4 * s + 2 && (s & 1));
    *exponent = k;
    return s + up;
}

char *write_double(char *at, double number)
{
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    if ((bits >> 52 & 0x7FF) == 0x7FF) { /* JSON has no such numbers; Feast 0.67 spells them as strings */
        const char *name = bits << 12 ? "\"NaN\"" : bits >> 63 ? "\"-Infinity\"" : "\"Infinity\"";
        size_t length = strlen(name);
        memcpy(at, name, length);
        return at + length;
    }
    if (bits >> 63)
        *at++ = '-';
    if (bits << 1 == 0) {
        memcpy(at, "0.0", 3);
        return at + 3;
    }
    int exponent;
    uint64_t digits = shortest(bits & ~(1ULL << 63), &exponent);
    while (digits % 10 == 0) {
        digits /= 10;
        exponent++;
    }
    char written[24]; /* 17 at most; whole blocks of it are copied */
    int length = (int)(write_unsigned(written, digits) - written);
    int point = length + exponent; /* how many digits stand before the point */

    if (0 < point && point <= 16) {
        memcpy(at, written, 24);
        if (exponent >= 0) { /* 1200.0 */
            memset(at + length, '0', (size_t)exponent);
            memcpy(at + point, ".0", 2);
            return at + point + 2;
        }
        at[point] = '.'; /* 12.34 */
        memcpy(at + point + 1, written + point, (size_t)-exponent);
        return at + length + 1;
    }
    if (-5 < point && point <= 0) { /* 0.00012 */
        memcpy(at, "0.0000", 6);
        memcpy(at + 2 - point, written, 24);
        return at + 2 - point + length;
    }
    *at++ = written[0]; /* 1.2e+34, or 1e+34 */
    if (length > 1) {
        *at = '.';
        memcpy(at + 1, written + 1, 16);
        at += length;
    }
    *at++ = 'e';
    *at++ = point > 0 ? '+' : '-';
    return write_unsigned(at, (uint64_t)(point > 0 ? point - 1 : 1 - point));
}
