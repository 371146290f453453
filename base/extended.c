// Numbers with 64 bits of significance; see extended.h.
//
// A decimal text is the integer of its digits times a power of ten. As a fraction of two large
// integers, scaled by a power of two until the quotient has 64 bits, it is divided as in school, by
// one digit of 64 bits (Knuth, The Art of Computer Programming 2, 4.3.1 D); what is left over
// decides the rounding. The integers have a bound, because the text and the range do:
// 1024 digits and 10^1124 take 3,735 bits.
#include "base/extended.h"

#include <assert.h>
#include <string.h>

__extension__ typedef unsigned __int128 wide;

#define LIMBS 64u
#define EXPONENT_MAX 1024    // numbers are below 2 to it
#define MAGNITUDE_MAX 310    // and so below 10 to it
#define MAGNITUDE_MIN (-100) // below 10 to it nothing can be seen of a number
// Below 10 to it a long double has no number but 0, and Redis takes no such text.
#define MAGNITUDE_NONE (-4950)
#define CHUNK UINT64_C(1000000000000000000)
#define CHUNK_DIGITS 18u
#define FRACTION_DIGITS 17u
#define FRACTION_UNIT UINT64_C(100000000000000000)

// A natural number, the least significant limb first.
struct natural {
    uint32_t used; // limbs; the last is not 0
    uint64_t limbs[LIMBS];
};

static void push_limb(struct natural *n, uint64_t limb)
{
    if (limb == 0)
        return;
    assert(n->used < LIMBS);
    n->limbs[n->used++] = limb;
}

static void multiply_add(struct natural *n, uint64_t factor, uint64_t add)
{
    uint64_t carry = add;
    for (uint32_t i = 0; i < n->used; i++) {
        wide product = (wide)n->limbs[i] * factor + carry;
        n->limbs[i] = (uint64_t)product;
        carry = (uint64_t)(product >> 64);
    }
    push_limb(n, carry);
}

static void multiply_by_ten_to(struct natural *n, uint32_t power)
{
    for (; power >= CHUNK_DIGITS; power -= CHUNK_DIGITS)
        multiply_add(n, CHUNK, 0);
    uint64_t rest = 1;
    for (; power > 0; power--)
        rest *= 10;
    multiply_add(n, rest, 0);
}

static uint64_t divide_by_chunk(struct natural *n)
{
    uint64_t rest = 0;
    for (uint32_t i = n->used; i-- > 0;) {
        wide part = (wide)rest << 64 | n->limbs[i];
        n->limbs[i] = (uint64_t)(part / CHUNK);
        rest = (uint64_t)(part % CHUNK);
    }
    while (n->used > 0 && n->limbs[n->used - 1] == 0)
        n->used--;
    return rest;
}

static int32_t bits_of(const struct natural *n)
{
    return (int32_t)(64 * n->used) - __builtin_clzll(n->limbs[n->used - 1]);
}

static void shift_left(struct natural *n, uint32_t bits)
{
    uint32_t limbs = bits / 64;
    uint32_t rest = bits % 64;
    uint64_t carry = 0;
    for (uint32_t i = 0; i < n->used && rest > 0; i++) {
        uint64_t limb = n->limbs[i];
        n->limbs[i] = limb << rest | carry;
        carry = limb >> (64 - rest);
    }
    push_limb(n, carry);
    assert(n->used + limbs <= LIMBS);
    memmove(n->limbs + limbs, n->limbs, n->used * sizeof(n->limbs[0]));
    memset(n->limbs, 0, limbs * sizeof(n->limbs[0]));
    n->used += limbs;
}

static int compare(const struct natural *a, const struct natural *b)
{
    if (a->used != b->used)
        return a->used < b->used ? -1 : 1;
    for (uint32_t i = a->used; i-- > 0;) {
        if (a->limbs[i] != b->limbs[i])
            return a->limbs[i] < b->limbs[i] ? -1 : 1;
    }
    return 0;
}

static uint64_t limb_of(const struct natural *n, uint32_t at)
{
    return at < n->used ? n->limbs[at] : 0;
}

static void trim(struct natural *n)
{
    while (n->used > 0 && n->limbs[n->used - 1] == 0)
        n->used--;
}

// a - factor * b, or that and 2^64 for the limb behind a's last one where it is less than 0, which
// is told.
static bool subtract(struct natural *a, const struct natural *b, uint64_t factor)
{
    uint64_t carry = 0;
    for (uint32_t i = 0; i < a->used; i++) {
        wide take = (wide)limb_of(b, i) * factor + carry;
        carry = (uint64_t)(take >> 64) + (a->limbs[i] < (uint64_t)take);
        a->limbs[i] -= (uint64_t)take;
    }
    return carry > 0;
}

// a + b, up to a's limbs; true when that is too much for them.
static bool add_back(struct natural *a, const struct natural *b)
{
    uint64_t carry = 0;
    for (uint32_t i = 0; i < a->used; i++) {
        wide sum = (wide)a->limbs[i] + limb_of(b, i) + carry;
        a->limbs[i] = (uint64_t)sum;
        carry = (uint64_t)(sum >> 64);
    }
    return carry > 0;
}

// above / below, which is less than 2^64; above becomes what is left over. The highest bit of
// below's last limb is set, so the guess from the highest limbs alone is at most 2 too large.
static uint64_t divide_once(struct natural *above, const struct natural *below)
{
    uint32_t top = below->used - 1;
    uint64_t divisor = below->limbs[top];
    wide high = (wide)limb_of(above, top + 1) << 64 | limb_of(above, top);
    wide guess = high / divisor;
    uint64_t quotient = guess > UINT64_MAX ? UINT64_MAX : (uint64_t)guess;
    bool negative = subtract(above, below, quotient);
    while (negative) {
        quotient--;
        negative = !add_back(above, below);
    }
    trim(above);
    return quotient;
}

// `half` is the bit behind the last one of out->bits, and `more` says whether any bit behind that
// is set. False when the number is out of range.
static bool round_to_even(struct mf_extended *out, bool half, bool more)
{
    if (half && (more || (out->bits & 1) != 0)) {
        out->bits++;
        if (out->bits == 0) {
            out->bits = UINT64_C(1) << 63;
            out->exponent++;
        }
    }
    return out->exponent + 64 <= EXPONENT_MAX;
}

// above / below, to the nearest. Neither is 0.
static bool divide(struct natural *above, struct natural *below, struct mf_extended *out)
{
    // Shifted until 1/2 < above / below < 2, and the highest limbs are full; then one more where it
    // is less than 1, and so far that the quotient has 64 bits.
    int32_t shift = bits_of(below) - bits_of(above);
    uint32_t fill = (uint32_t) - (shift > 0 ? bits_of(below) : bits_of(above)) % 64;
    shift_left(above, fill + (shift > 0 ? (uint32_t)shift : 0));
    shift_left(below, fill + (shift < 0 ? (uint32_t)-shift : 0));
    bool less = compare(above, below) < 0;
    shift_left(above, 63 + less);
    out->bits = divide_once(above, below);
    out->exponent = -63 - shift - less;
    shift_left(above, 1);
    int rest = compare(above, below);
    return round_to_even(out, rest >= 0, rest > 0);
}

// The digits of a text and where their point is.
struct decimal {
    bool negative;
    struct natural digits;
    uint64_t chunk; // the latest of them, which are not among `digits` yet ...
    uint64_t unit;  // ... and 10 to their number
    uint32_t count; // of all, from the first that is not 0
    int32_t scale;  // the digits are to be multiplied with 10 to it
};

static void put_chunk(struct decimal *decimal)
{
    multiply_add(&decimal->digits, decimal->unit, decimal->chunk);
    decimal->chunk = 0;
    decimal->unit = 1;
}

static void take_digit(struct decimal *decimal, uint8_t digit)
{
    decimal->chunk = decimal->chunk * 10 + digit;
    decimal->unit *= 10;
    if (decimal->unit == CHUNK)
        put_chunk(decimal);
    decimal->count += decimal->count > 0 || digit > 0;
}

static bool take_exponent(struct mf_bytes text, size_t at, int32_t *exponent)
{
    bool negative = at < text.len && text.data[at] == '-';
    if (at < text.len && (text.data[at] == '-' || text.data[at] == '+'))
        at++;
    int32_t value = 0;
    if (at == text.len)
        return false;
    for (; at < text.len; at++) {
        uint8_t digit = (uint8_t)(text.data[at] - '0');
        if (digit > 9)
            return false;
        value = value < 100000 ? value * 10 + digit : value;
    }
    *exponent = negative ? -value : value;
    return true;
}

static bool take_decimal(struct mf_bytes text, struct decimal *decimal)
{
    size_t at = 0;
    size_t digits = 0;
    bool point = false;
    if (text.len > MF_EXTENDED_TEXT_MAX)
        return false;
    if (text.len > 0 && (text.data[0] == '-' || text.data[0] == '+'))
        decimal->negative = text.data[at++] == '-';
    for (; at < text.len; at++) {
        uint8_t digit = (uint8_t)(text.data[at] - '0');
        if (text.data[at] == '.' && !point) {
            point = true;
            continue;
        }
        if (digit > 9)
            break;
        take_digit(decimal, digit);
        decimal->scale -= point;
        digits++;
    }
    put_chunk(decimal);
    int32_t exponent = 0;
    if (digits == 0)
        return false;
    if (at < text.len &&
        ((text.data[at] != 'e' && text.data[at] != 'E') || !take_exponent(text, at + 1, &exponent)))
        return false;
    decimal->scale += exponent;
    return true;
}

bool mf_extended_read(struct mf_bytes text, struct mf_extended *out)
{
    struct decimal decimal = {.unit = 1};
    *out = (struct mf_extended){0};
    if (!take_decimal(text, &decimal))
        return false;
    out->negative = decimal.negative;
    if (decimal.count == 0)
        return true;
    int32_t magnitude = decimal.scale + (int32_t)decimal.count;
    if (magnitude > MAGNITUDE_MAX || magnitude < MAGNITUDE_NONE)
        return false;
    if (magnitude < MAGNITUDE_MIN)
        return true;
    struct natural below = {.used = 1, .limbs = {1}};
    if (decimal.scale >= 0)
        multiply_by_ten_to(&decimal.digits, (uint32_t)decimal.scale);
    else
        multiply_by_ten_to(&below, (uint32_t)-decimal.scale);
    return divide(&decimal.digits, &below, out);
}

// The larger first; both have their highest bit set.
static bool add_magnitudes(const struct mf_extended *a, const struct mf_extended *b, bool subtract,
                           struct mf_extended *sum)
{
    // Two bits are kept in front, for the sum, and 62 behind. What the smaller number has behind
    // those matters only as being there at all: `total` is the sum without it, rounded down.
    int32_t distance = a->exponent - b->exponent;
    wide first = (wide)a->bits << 62;
    wide second = (wide)b->bits << 62;
    bool lost = distance > 125 || (second & (((wide)1 << distance) - 1)) != 0;
    second = distance > 125 ? 0 : second >> distance;
    wide total = subtract ? first - second - lost : first + second;
    *sum = (struct mf_extended){.negative = a->negative};
    if (total == 0 && !lost)
        return true;
    int32_t high = 127 - ((total >> 64) != 0 ? __builtin_clzll((uint64_t)(total >> 64))
                                             : 64 + __builtin_clzll((uint64_t)total));
    int32_t drop = high - 63;
    sum->exponent = a->exponent - 62 + drop;
    if (drop <= 0) {
        sum->bits = (uint64_t)total << -drop;
        return true;
    }
    sum->bits = (uint64_t)(total >> drop);
    wide half = (wide)1 << (drop - 1);
    return round_to_even(sum, (total & half) != 0, lost || (total & (half - 1)) != 0);
}

bool mf_extended_add(const struct mf_extended *a, const struct mf_extended *b,
                     struct mf_extended *sum)
{
    if (a->bits == 0 || b->bits == 0) {
        *sum = a->bits == 0 ? *b : *a;
        return true;
    }
    const struct mf_extended x = *a;
    const struct mf_extended y = *b;
    bool larger = x.exponent > y.exponent || (x.exponent == y.exponent && x.bits >= y.bits);
    return add_magnitudes(larger ? &x : &y, larger ? &y : &x, x.negative != y.negative, sum);
}

// The whole number, from the right; returns how many digits.
static size_t print_whole(struct natural *whole, char *end)
{
    char *at = end;
    do {
        uint64_t chunk = divide_by_chunk(whole);
        for (uint32_t i = 0; i < CHUNK_DIGITS && (chunk > 0 || whole->used > 0 || at == end); i++) {
            *--at = (char)('0' + chunk % 10);
            chunk /= 10;
        }
    } while (whole->used > 0);
    return (size_t)(end - at);
}

static size_t print_fraction(uint64_t fraction, char *out)
{
    char digits[FRACTION_DIGITS];
    size_t len = FRACTION_DIGITS;
    for (size_t i = FRACTION_DIGITS; i-- > 0; fraction /= 10)
        digits[i] = (char)('0' + fraction % 10);
    while (len > 0 && digits[len - 1] == '0')
        len--;
    if (len == 0)
        return 0;
    *out = '.';
    memcpy(out + 1, digits, len);
    return len + 1;
}

// Splits a number with bits behind the point, `right` of them, in units of the last digit.
static void split(uint64_t bits, uint32_t right, uint64_t *whole, uint64_t *fraction)
{
    *whole = right < 64 ? bits >> right : 0;
    wide part = right < 64 ? bits & ((UINT64_C(1) << right) - 1) : bits;
    wide units = part * FRACTION_UNIT; // less than 2^121
    wide half = (wide)1 << (right - 1);
    wide rest = units & ((half << 1) - 1);
    *fraction = (uint64_t)(units >> right);
    if (rest > half || (rest == half && (*fraction & 1) != 0))
        ++*fraction;
    if (*fraction == FRACTION_UNIT) {
        *fraction = 0;
        ++*whole;
    }
}

size_t mf_extended_print(const struct mf_extended *number, char out[MF_EXTENDED_CHARS_MAX])
{
    struct natural whole = {0};
    uint64_t fraction = 0;
    if (number->exponent >= 0) {
        push_limb(&whole, number->bits);
        if (whole.used > 0)
            shift_left(&whole, (uint32_t)number->exponent);
    } else if (number->exponent > -128) { // smaller ones are nothing in the last digit
        uint64_t units;
        split(number->bits, (uint32_t)-number->exponent, &units, &fraction);
        push_limb(&whole, units);
    }
    size_t len = 0;
    if (number->negative && (whole.used > 0 || fraction > 0))
        out[len++] = '-';
    char digits[MF_EXTENDED_CHARS_MAX];
    size_t count = print_whole(&whole, digits + sizeof(digits));
    memcpy(out + len, digits + sizeof(digits) - count, count);
    len += count;
    return len + print_fraction(fraction, out + len);
}
